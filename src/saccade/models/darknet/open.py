"""A ``.cfg``, a ``.weights`` and a ``.names`` file opened as one network, ready to predict."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from saccade.errors import ConfigError, SaccadeError, WeightsError
from saccade.models.base import Model
from saccade.models.darknet.cfg import parse_cfg, read_cfg
from saccade.models.darknet.keys import warn_of_unknown_keys
from saccade.models.foreign_checkpoint import read_class_names
from saccade.models.registry import create_model
from saccade.structures.reading import read_text
from saccade.structures.text import printable
from saccade.weights.darknet import count_darknet_classes, count_darknet_layers, is_darknet_file, read_darknet
from saccade.weights.fit import unusable

__all__ = ["cfg_builder", "load_darknet", "names_beside", "names_of_weights", "read_darknet_names"]

logger = logging.getLogger("saccade")

_MAX_BYTES = 1 << 20
_NAMING = (".names", ".data")
_ENTRY = re.compile(r"^[ \t]*(names|labels)[ \t]*=[ \t]*(\S.*?)[ \t]*$", flags=re.MULTILINE)


def cfg_builder(cfg: str | Path) -> tuple[str, dict[str, str]]:
    r"""Builder of the network of a ``.cfg`` file, and its arguments; keys that nothing knows are logged as a warning.

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
        sections = parse_cfg(text)
    except ConfigError as error:
        raise ConfigError(f"'{printable(str(cfg))}': {error}") from error
    warn_of_unknown_keys(text, sections, str(cfg))
    kinds = {section.kind for section in sections}
    return "darknet_detector" if kinds & {"yolo", "region", "detection"} else "darknet_classifier", {"cfg": text}


def load_darknet(cfg: str | Path, weights: str | Path, class_names: str | Path | Sequence[str] | None = None) -> Model:
    r"""Network of a ``.cfg`` file with the weights of a ``.weights`` file, in eval mode; every number is copied once.

    Args:
        cfg: The configuration.
        weights: Darknet's ``.weights`` that belong to it.
        class_names: Names of its classes in their order; or a ``.names`` file with one a line, or a ``.data`` file that
            names one. If not given, those that lie beside the configuration (:func:`names_beside`).

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
    if class_names is None:
        model.class_names = names_beside(cfg, model.num_classes)
    else:
        model.class_names = _one_a_class(class_names, cfg, model.num_classes)
    own = model.state_dict()
    state = {name: tensor for name, tensor in read_darknet(weights, model).items() if not tensor.is_meta}
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"'{printable(str(weights))}' is of a configuration with another number of classes than "
                f"'{printable(str(cfg))}', which has {model.num_classes}."
            )
    held, layers = count_darknet_layers(weights, model)
    if held < layers:
        raise WeightsError(
            f"'{printable(str(weights))}' holds the first {held} of {layers} layers with weights, to start training "
            "from, and the answers of the network would be chance. Train it first: saccade train --model CFG --weights "
            "FILE --data DATA."
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
    entries = dict(_ENTRY.findall(read_text(path, _MAX_BYTES)))
    listed = entries.get("names", entries.get("labels"))
    if listed is None:
        raise ConfigError(f"'{title}' names no file of class names. Add a line: names = FILE.names")
    # Relative to where Darknet is run: its own folder, usually the one above that of the file.
    for folder in (path.parent, path.parent.parent, Path()):
        if (folder / listed).is_file():
            return read_class_names(folder / listed)
    raise ConfigError(
        f"'{title}' names '{printable(listed)}', which is neither beside it, nor in the folder above, nor here."
    )


def names_beside(cfg: str | Path, num_classes: int) -> tuple[str, ...]:
    r"""Names of the classes of a ``.cfg`` file from what lies in its folder; empty, with a warning, if nothing tells.

    A ``.names`` or ``.data`` file with the name of the configuration is its own. Of others, those count that name as
    many classes; they are taken if they agree.

    Args:
        cfg: The configuration.
        num_classes: Its classes.

    Raises:
        SaccadeError: If its own file cannot be read, or does not name as many classes.

    Example:
        >>> _ = Path("pets.names").write_text("cat\ndog\n")
        >>> names_beside("yolo.cfg", num_classes=2)
        ('cat', 'dog')
    """
    cfg = Path(cfg)
    for suffix in _NAMING:
        if cfg.with_suffix(suffix).is_file():
            return _one_a_class(cfg.with_suffix(suffix), cfg, num_classes)
    found: dict[tuple[str, ...], Path] = {}
    for path in sorted(path for suffix in _NAMING for path in cfg.parent.glob(f"*{suffix}")):
        try:
            names = read_darknet_names(path)
        except SaccadeError:  # nobody said that it was of this network
            continue
        if len(names) == num_classes:
            found.setdefault(names, path)
    title = printable(str(cfg))
    if len(found) == 1:
        names, path = found.popitem()
        logger.info("'%s': names of its classes from '%s', which lies beside it", title, printable(str(path)))
        return names
    seen = " and ".join(f"'{printable(path.name)}'" for path in found.values())
    problem = f"{seen} beside it name as many, but not the same" if found else "no file beside it names as many"
    logger.warning(
        "'%s' has %d classes without names: %s. Put them there as '%s', one a line, or give the file as class_names to "
        "saccade.load, or to saccade convert (--class-names FILE).",
        title,
        num_classes,
        problem,
        printable(cfg.with_suffix(".names").name),
    )
    return ()


def names_of_weights(cfg: str | Path, weights: str | Path) -> tuple[str, ...]:
    """Those of :func:`names_beside` for a ``.weights`` file of the same classes; empty for any other file.

    Raises:
        SaccadeError: As of :func:`names_beside`, or if the configuration or the file cannot be read.
    """
    builder, arguments = cfg_builder(cfg)
    with torch.device("meta"):
        model = create_model(builder, **arguments)  # type: ignore[arg-type]
    same = is_darknet_file(weights) and count_darknet_classes(weights, model) == model.num_classes
    return names_beside(cfg, model.num_classes) if same else ()


def _one_a_class(class_names: str | Path | Sequence[str], cfg: str | Path, num_classes: int) -> tuple[str, ...]:
    """Names that are given, or of a file, of which there must be one a class."""
    names = read_darknet_names(class_names) if isinstance(class_names, str | Path) else tuple(class_names)
    if len(names) != num_classes:
        where = f"'{printable(str(class_names))}'" if isinstance(class_names, str | Path) else "class_names"
        raise ConfigError(
            f"{where} has {len(names)} names, and '{printable(str(cfg))}' has {num_classes} classes. Give one name a "
            "class, in their order."
        )
    return names


def _fill_buffers(model: Model) -> None:
    """Give values to what the file does not hold: counters of BatchNorm, and anchors."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.num_batches_tracked = torch.tensor(0)
    restore = getattr(model, "restore_buffers", None)
    if restore is not None:
        restore()
