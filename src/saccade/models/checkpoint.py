"""Checkpoints of models: safetensors with the metadata to build the network, its input and its classes again."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError, WeightsError
from saccade.models.base import Model
from saccade.models.class_names import check_class_names
from saccade.models.registry import create_model, from_header
from saccade.models.unfilled import Unfilled
from saccade.ops.nms import NmsSettings
from saccade.structures.input_spec import InputSpec
from saccade.structures.plugins import load_plugins
from saccade.structures.point_layout import PointLayout
from saccade.weights.files import read_file, read_header, save_file
from saccade.weights.heads import heads_metadata, heads_state, split_heads
from saccade.weights.metadata import CHECKPOINT_FIELDS, FORMAT_VERSION, library_version, require_fields

__all__ = [
    "find_checkpoint",
    "keep_fields",
    "load_model",
    "model_metadata",
    "read_metadata",
    "save_model",
]

_EARLIER = "earlier_heads."  # what names of tensors of earlier heads begin with


def model_metadata(model: Model, metrics: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Collect the metadata of a network for every file made of it: checkpoints and exported models alike.

    Args:
        model: The network.
        metrics: What it scored, by name.

    Raises:
        WeightsError: If it has names for another number of classes.

    Example:
        >>> metadata = model_metadata(create_model("lenet5", num_classes=3))
        >>> metadata["builder_name"], metadata["builder_args"], metadata["task"]
        ('lenet5', {'num_classes': 3}, 'classification')
    """
    check_class_names(model.num_classes, model.class_names, model.builder_name or type(model).__name__)
    settings = getattr(model, "nms", None)
    return {
        "format_version": FORMAT_VERSION,
        "saccade_version": library_version(),
        "builder_name": model.builder_name,
        "builder_args": dict(model.builder_args),
        "task": model.task,
        "num_classes": model.num_classes,
        "class_names": list(model.class_names),
        "input_spec": model.input_spec.to_dict(),
        "decoded_keys": list(model.decoded_keys),
        "finish": model.finish,
        "finish_options": dict(model.finish_options),
        **({"score_thresholds": list(model.score_thresholds)} if model.score_thresholds else {}),
        "metrics": dict(metrics or {}),
        **({"nms": asdict(settings)} if isinstance(settings, NmsSettings) else {}),
        **({"points": model.point_layout.to_dict()} if model.point_layout else {}),
    }


def save_model(
    model: Model, path: str | Path, metrics: Mapping[str, float] | None = None, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint that :func:`load_model` reads without further arguments; never half-written.

    Args:
        model: A network built by ``create_model`` or a registered builder.
        path: The file, usually ``*.safetensors``.
        metrics: What it scored, by name.
        extra: Anything else worth keeping, as plain JSON.

    Returns:
        The file.

    Raises:
        WeightsError: If the network cannot be built again from its name and arguments, or has names for another number
            of classes.
        SaccadeError: If the file cannot be written; an older one then stays.

    Example:
        >>> model = create_model("lenet5", num_classes=2)
        >>> model.class_names = ("cat", "dog")
        >>> path = save_model(model, "pets.safetensors", metrics={"top1": 0.9})
        >>> read_metadata(path)["class_names"]
        ['cat', 'dog']
    """
    if not model.builder_name:
        raise WeightsError(
            f"cannot save a {type(model).__name__} so that it can be built again: it was not made by a registered "
            "builder. Put @register_model before the function that builds it, or save model.state_dict() yourself."
        )
    path = Path(path)
    metadata = {**model_metadata(model, metrics), "extra": dict(extra or {})}
    if model.earlier_heads:
        metadata["earlier_heads"] = heads_metadata(model.earlier_heads)
    save_file(path, {**model.state_dict(), **heads_state(model.earlier_heads)}, metadata)
    return path


def keep_fields(path: str | Path, fields: Mapping[str, Any]) -> None:
    """Write fields into the metadata of a checkpoint, replacing those it holds; never half-written.

    Args:
        path: File written by :func:`save_model`.
        fields: Plain JSON by name.

    Raises:
        WeightsError: If the file is no checkpoint of Saccade.
        SaccadeError: If it cannot be written; the older one then stays.

    Example:
        >>> path = save_model(create_model("lenet5"), "lenet.safetensors")
        >>> keep_fields(path, {"metrics": {"top1": 0.99}})
        >>> read_metadata(path)["metrics"]
        {'top1': 0.99}
    """
    tensors, metadata = read_file(path)
    save_file(path, tensors, {**_checked(metadata, Path(path)), **fields})


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint: builder, classes, input, metrics, ``extra``.

    Raises:
        WeightsError: If the file is no checkpoint of Saccade.

    Example:
        >>> read_metadata(save_model(create_model("lenet5"), "lenet.safetensors"))["input_spec"]["size"]
        (32, 32)
    """
    return _checked(read_header(path)[1], Path(path))


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint that a path stands for: a file stands for itself, the folder of a run for its best one.

    Raises:
        WeightsError: If the folder holds no checkpoint, or several of which none is the best.

    Example:
        >>> _ = save_model(create_model("lenet5"), "runs/digits/best.safetensors")
        >>> find_checkpoint("runs/digits").as_posix()
        'runs/digits/best.safetensors'
    """
    path = Path(path)
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    inside = [best] if best.exists() else sorted(path.glob("*.safetensors"))
    if len(inside) == 1:
        return inside[0]
    if inside:
        several = ", ".join(file.name for file in inside[:5])
        raise WeightsError(f"'{path}' is a folder of several checkpoints ({several}). Name one of them.")
    last = path / "last" / "model.safetensors"
    remedy = (
        f"The network as it was when the run stopped is {last}." if last.exists() else "Train first, or name a file."
    )
    raise WeightsError(f"'{path}' is a folder without a checkpoint (best.safetensors). {remedy}")


def load_model(path: str | Path, earlier_head: int | None = None, trust: bool = False) -> Model:
    """Build the network of a checkpoint and fill it, ready to predict (in eval mode, on the CPU).

    A checkpoint is read as a stranger's: its header is checked field by field, and nothing of it runs code, opens
    another file or asks for more memory than the file has.

    Args:
        path: File written by :func:`save_model`, or the folder of a run, which means its best checkpoint.
        earlier_head: Number of the head to build it with, of those that the network had before it learnt its present
            classes on a frozen body; 0 is the oldest.
        trust: Import the module of a network from outside the package, and the plugins of its run, which runs them. Not
            needed where they were imported before.

    Raises:
        WeightsError: If the file is damaged or no checkpoint of Saccade, its network has changed since, it names
            another number of classes, or there is no such head.

    Example:
        >>> path = save_model(create_model("lenet5"), "runs/digits/best.safetensors")
        >>> load_model(path).builder_name, load_model("runs/digits").builder_name
        ('lenet5', 'lenet5')
    """
    path = find_checkpoint(path)
    shapes, metadata = read_header(path)
    _checked(metadata, path)
    if trust:
        _load_plugins(metadata, path)
    earlier = metadata.get("earlier_heads", ())
    if earlier_head is not None:
        if not 0 <= earlier_head < len(earlier):
            raise WeightsError(
                f"'{path}' has no earlier head {earlier_head}; it keeps {len(earlier)}. Heads are kept by training a "
                "new one on a frozen network: train --weights CHECKPOINT --trainable head."
            )
        metadata["builder_args"] |= {"num_classes": earlier[earlier_head]["num_classes"]}
        metadata["class_names"] = earlier[earlier_head]["class_names"]
        prefix = f"{_EARLIER}{earlier_head}."
        shapes |= {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    if ":" not in metadata["builder_name"]:  # others may not be made for tensors without memory
        with torch.device("meta"), _bounded(shapes):
            _check_shapes(_build(metadata, path, trust), shapes, metadata, path)
    model = _build(metadata, path, trust)
    spec = InputSpec.from_dict(metadata["input_spec"])
    if spec.channels != model.input_spec.channels or (model.input_spec.fixed and spec.size != model.input_spec.size):
        raise WeightsError(
            f"'{path}': metadata, field input_spec: {spec.channels} channels at {spec.size} are not what its network "
            f"takes ({model.input_spec.channels} at {model.input_spec.size}). Copy, download or save it again."
        )
    state, heads = split_heads(read_file(path)[0], earlier)
    if earlier_head is not None:
        state.update(heads[earlier_head].tensors)
        heads = ()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{_unfit(metadata, path)}: {error}") from error
    check_class_names(model.num_classes, metadata["class_names"], f"'{path}'")
    model.class_names = tuple(metadata["class_names"])
    model.input_spec = spec
    if earlier_head is None:  # another head may be for other points
        model.point_layout = PointLayout.from_dict(metadata.get("points", {}))
    model.earlier_heads = heads
    if "nms" in metadata and isinstance(getattr(model, "nms", None), NmsSettings):
        vars(model)["nms"] = NmsSettings(**metadata["nms"])
    if earlier_head is None:  # an earlier head has other classes
        model.score_thresholds = tuple(metadata.get("score_thresholds", ()))
    model.finish = metadata.get("finish", model.finish)
    model.finish_options = metadata.get("finish_options", model.finish_options)
    return model.eval()


def _load_plugins(metadata: Mapping[str, Any], path: Path) -> None:
    """Load the plugins that the run of a checkpoint had, which its network may need beside its own module."""
    names = metadata.get("extra", {}).get("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"'{path}': metadata, field extra.plugins: expected a list of names. Save it again.")
    try:
        load_plugins(names)
    except ConfigError as error:
        raise WeightsError(f"'{path}' was trained with a plugin that cannot be loaded: {error}") from error


def _build(metadata: Mapping[str, Any], path: Path, trust: bool) -> Model:
    """Build the network of a header; whatever goes wrong is a fault of the file.

    The caller's random numbers go on as if nothing had been built. None are drawn for networks of this package.
    """
    filled = contextlib.nullcontext() if ":" in metadata["builder_name"] else Unfilled()
    arguments = {key: _tuples(value) for key, value in metadata["builder_args"].items()}
    try:
        with filled, torch.random.fork_rng(devices=[]), contextlib.nullcontext() if trust else from_header():
            return create_model(metadata["builder_name"], **arguments)
    except Exception as error:  # a builder's arguments come from the file, and may be anything
        raise WeightsError(
            f"'{path}' was saved by saccade {metadata['saccade_version']} from '{metadata['builder_name']}', which "
            f"this version ({library_version()}) cannot build: {error}"
        ) from error


class _TooLargeError(Exception):
    """A header asks for far more than its file holds."""


@contextlib.contextmanager
def _bounded(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Stop the building of a network that has many times the tensors or values of its file.

    What a builder makes and throws away, such as the head of a backbone, is allowed for.
    """
    thread = threading.get_ident()
    left = {"tensors": 4 * len(shapes) + 1_000, "values": 4 * sum(map(math.prod, shapes.values())) + (1 << 28)}

    def register(module: nn.Module, name: str, value: Tensor | None) -> None:
        if value is None or threading.get_ident() != thread:
            return
        left["tensors"] -= 1
        left["values"] -= value.numel()
        if min(left.values()) < 0:
            raise _TooLargeError(f"its arguments ask for far more than the {len(shapes)} tensors that the file holds")

    hooks = nn.modules.module
    handles = [
        hooks.register_module_parameter_registration_hook(register),
        hooks.register_module_buffer_registration_hook(register),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check_shapes(model: Model, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, Any], path: Path) -> None:
    """Refuse a file whose tensors are not those of its network, before memory is asked for."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: shape for name, shape in shapes.items() if not name.startswith(_EARLIER)}
    for name in [*own, *found]:
        if own.get(name) != found.get(name):
            mine, its = (one.get(name, "missing") for one in (own, found))
            raise WeightsError(f"{_unfit(metadata, path)}: tensor {name} is {its} in the file, {mine} in the network.")


def _unfit(metadata: Mapping[str, Any], path: Path) -> str:
    return (
        f"'{path}' does not fit today's '{metadata['builder_name']}' (it was saved by saccade "
        f"{metadata['saccade_version']}, this is {library_version()})"
    )


def _checked(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    if not metadata.get("builder_name"):
        raise WeightsError(
            f"'{path}' holds weights but not the name of their network (no Saccade metadata). Make a checkpoint of it: "
            "saccade convert FILE --model NAME --out NEW.safetensors."
        )
    require_fields(metadata, CHECKPOINT_FIELDS, path, WeightsError)
    if metadata["format_version"] > FORMAT_VERSION:
        raise WeightsError(
            f"'{path}' was written by a newer saccade ({metadata['saccade_version']}; this is {library_version()}). "
            "Upgrade: pip install --upgrade saccade."
        )
    return metadata


def _tuples(value: Any) -> Any:
    # JSON knows no tuples; builders take sequences as tuples.
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
