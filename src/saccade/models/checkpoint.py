"""Checkpoints of models: safetensors with the metadata to build the network, its input and its classes again."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saccade.errors import ConfigError, WeightsError
from saccade.models.base import Model
from saccade.models.class_names import check_class_names
from saccade.models.registry import create_model
from saccade.structures.input_spec import InputSpec
from saccade.weights.files import read_file, save_file
from saccade.weights.heads import heads_metadata, heads_state, split_heads

__all__ = ["FORMAT_VERSION", "library_version", "load_model", "model_metadata", "read_metadata", "save_model"]

# Goes up when older code could misread a new file.
FORMAT_VERSION = 1


def library_version() -> str:
    """Installed version of Saccade.

    Example:
        >>> library_version() == saccade.__version__
        True
    """
    return importlib.metadata.version("saccade")


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
        "metrics": dict(metrics or {}),
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


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint: builder, classes, input, metrics, ``extra``.

    Raises:
        WeightsError: If the file is no checkpoint of Saccade.

    Example:
        >>> read_metadata(save_model(create_model("lenet5"), "lenet.safetensors"))["input_spec"]["size"]
        [32, 32]
    """
    return _checked(read_file(path)[1], Path(path))


def load_model(path: str | Path, earlier_head: int | None = None) -> Model:
    """Build the network of a checkpoint and fill it, ready to predict (in eval mode, on the CPU).

    Args:
        path: File written by :func:`save_model`.
        earlier_head: Number of the head to build it with, of those that the network had before it learnt its present
            classes on a frozen body; 0 is the oldest.

    Raises:
        WeightsError: If the file is damaged or no checkpoint of Saccade, its network has changed since, it names
            another number of classes, or there is no such head.

    Example:
        >>> path = save_model(create_model("lenet5"), "lenet.safetensors")
        >>> load_model(path).builder_name
        'lenet5'
    """
    path = Path(path)
    state, metadata = read_file(path)
    _checked(metadata, path)
    state, heads = split_heads(state, metadata.get("earlier_heads", ()))
    if earlier_head is not None:
        if not 0 <= earlier_head < len(heads):
            raise WeightsError(
                f"'{path}' has no earlier head {earlier_head}; it keeps {len(heads)}. Heads are kept by training a new "
                "one on a frozen network: train --weights CHECKPOINT --trainable head."
            )
        chosen = heads[earlier_head]
        state.update(chosen.tensors)
        metadata["builder_args"] |= {"num_classes": chosen.num_classes}
        metadata["class_names"] = chosen.class_names
        heads = ()
    name, arguments = metadata["builder_name"], {key: _tuples(value) for key, value in metadata["builder_args"].items()}
    try:
        # Random initial values are drawn and thrown away; the caller's random numbers go on as if nothing had been
        # built.
        with torch.random.fork_rng(devices=[]):
            model = create_model(name, **arguments)
    except ConfigError as error:
        raise WeightsError(
            f"'{path}' was saved by saccade {metadata['saccade_version']} from '{name}', which this version "
            f"({library_version()}) cannot build: {error}"
        ) from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"'{path}' does not fit today's '{name}' (it was saved by saccade {metadata['saccade_version']}, this is "
            f"{library_version()}): {error}"
        ) from error
    check_class_names(model.num_classes, metadata["class_names"], f"'{path}'")
    model.class_names = tuple(metadata["class_names"])
    model.input_spec = InputSpec.from_dict(metadata["input_spec"])
    model.earlier_heads = heads
    model.finish = metadata.get("finish", model.finish)
    model.finish_options = metadata.get("finish_options", model.finish_options)
    return model.eval()


def _checked(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    if not metadata.get("builder_name"):
        raise WeightsError(
            f"'{path}' holds weights but not the name of their network (no Saccade metadata). Build it and load them: "
            f"model = saccade.create_model(<name>, num_classes=<number>); saccade.weights.load_weights(model, "
            f"'{path}')."
        )
    if metadata["format_version"] > FORMAT_VERSION:
        raise WeightsError(
            f"'{path}' was written by a newer saccade ({metadata['saccade_version']}; this is {library_version()}). "
            "Upgrade: pip install --upgrade saccade."
        )
    return metadata


def _tuples(value: Any) -> Any:
    # JSON knows no tuples; builders take sequences as tuples.
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
