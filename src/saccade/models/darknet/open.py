"""A ``.cfg``, a ``.weights`` and a ``.names`` file opened as one network, ready to predict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from saccade.errors import ConfigError, WeightsError
from saccade.models.base import Model
from saccade.models.darknet.cfg import parse_cfg, read_cfg
from saccade.models.foreign_checkpoint import read_class_names
from saccade.models.registry import create_model
from saccade.structures.reading import read_text
from saccade.structures.text import printable
from saccade.weights.darknet import read_darknet
from saccade.weights.fit import unusable

__all__ = ["cfg_builder", "load_darknet", "read_darknet_names"]

_MAX_BYTES = 1 << 20
_NAMES = re.compile(r"^[ \t]*(?:names|labels)[ \t]*=[ \t]*(\S.*?)[ \t]*$", flags=re.MULTILINE)


def cfg_builder(cfg: str | Path) -> tuple[str, dict[str, str]]:
    r"""Builder of the network of a ``.cfg`` file, and its arguments.

    Raises:
        SaccadeError: If the file cannot be read or is no configuration.

    Example:
        >>> text = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=5\n[avgpool]\n[softmax]"
        >>> _ = Path("tiny.cfg").write_text(text)
        >>> cfg_builder("tiny.cfg")[0]
        'darknet_classifier'
    """
    text = read_cfg(cfg)
    try:
        kinds = {section.kind for section in parse_cfg(text)}
    except ConfigError as error:
        raise ConfigError(f"'{printable(str(cfg))}': {error}") from error
    return "darknet_detector" if kinds & {"yolo", "region", "detection"} else "darknet_classifier", {"cfg": text}


def load_darknet(cfg: str | Path, weights: str | Path, class_names: str | Path | Sequence[str] | None = None) -> Model:
    r"""Network of a ``.cfg`` file with the weights of a ``.weights`` file, in eval mode; every number is copied once.

    Args:
        cfg: The configuration.
        weights: Darknet's ``.weights`` that belong to it.
        class_names: Names of its classes in their order; or a ``.names`` file with one a line, or a ``.data`` file that
            names one. Without them the network has none.

    Raises:
        SaccadeError: If a file cannot be read, the configuration asks for what it cannot have, the weights are of
            another one, or there is not one name a class.

    Example:
        >>> from saccade.weights.darknet import write_darknet
        >>> text = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=2\n[avgpool]\n[softmax]"
        >>> _ = Path("pets.cfg").write_text(text)
        >>> path = write_darknet("pets.weights", saccade.create_model("darknet_classifier", cfg=text))
        >>> load_darknet("pets.cfg", path, ("cat", "dog")).class_names
        ('cat', 'dog')
    """
    builder, arguments = cfg_builder(cfg)
    try:
        with torch.device("meta"):
            model = create_model(builder, **arguments)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"'{printable(str(cfg))}': {error}") from error
    if class_names is not None:
        names = read_darknet_names(class_names) if isinstance(class_names, str | Path) else tuple(class_names)
        if len(names) != model.num_classes:
            where = f"'{printable(str(class_names))}'" if isinstance(class_names, str | Path) else "class_names"
            raise ConfigError(
                f"{where} has {len(names)} names, and '{printable(str(cfg))}' has {model.num_classes} classes. Give "
                "one name a class, in their order."
            )
        model.class_names = names
    own = model.state_dict()
    state = {name: tensor for name, tensor in read_darknet(weights, model).items() if not tensor.is_meta}
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"'{printable(str(weights))}' is of a configuration with another number of classes than "
                f"'{printable(str(cfg))}', which has {model.num_classes}."
            )
    problem = unusable(own, state)
    if problem:
        raise WeightsError(f"'{printable(str(weights))}' cannot be loaded: {problem}. Copy or download it again.")
    model.load_state_dict(state, strict=False, assign=True)
    _fill_buffers(model)
    return model.eval()


def read_darknet_names(path: str | Path) -> tuple[str, ...]:
    r"""Names of classes of a ``.names`` file, one a line, or of that which a ``.data`` file names.

    Raises:
        DataError: If a file cannot be read, names nothing, or names a class twice.
        ConfigError: If a ``.data`` file names no ``.names`` file, or one that is not there.

    Example:
        >>> _ = Path("pets.names").write_text("cat\ndog\n")
        >>> _ = Path("pets.data").write_text("classes = 2\nnames = pets.names\n")
        >>> read_darknet_names("pets.data")
        ('cat', 'dog')
    """
    path = Path(path)
    if path.suffix != ".data":
        return read_class_names(path)
    title = printable(str(path))
    found = _NAMES.search(read_text(path, _MAX_BYTES))
    if found is None:
        raise ConfigError(f"'{title}' names no file of class names. Add a line: names = FILE.names")
    # Relative to where Darknet is run: its own folder, usually the one above that of the file.
    for folder in (path.parent, path.parent.parent, Path()):
        if (folder / found[1]).is_file():
            return read_class_names(folder / found[1])
    raise ConfigError(
        f"'{title}' names '{printable(found[1])}', which is neither beside it, nor in the folder above, nor here."
    )


def _fill_buffers(model: Model) -> None:
    """Give values to what the file does not hold: counters of BatchNorm, and anchors."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.num_batches_tracked = torch.tensor(0)
    restore = getattr(model, "restore_buffers", None)
    if restore is not None:
        restore()
