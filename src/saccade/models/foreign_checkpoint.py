"""Checkpoints of files of weights that others wrote: the network, its classes and its input, found out and kept.

A file of torchvision, timm or a training script holds tensors and nothing else. What a network needs besides is told by
the layout (number of classes, options), by the published table (normalisation, options that no tensor shows), and by
the user (names of classes).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from saccade.errors import ConfigError, DataError, SaccadeError, WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.fitting import arguments_of
from saccade.models.registry import BuilderEntry, create_model, get_builder
from saccade.structures.input_spec import InputSpec
from saccade.structures.reading import read_text
from saccade.structures.text import printable
from saccade.weights.entry import PublishedWeights
from saccade.weights.fit import fits, shorten
from saccade.weights.load import LoadReport, load_weights
from saccade.weights.published import PUBLISHED
from saccade.weights.source import WeightsSource, open_source

__all__ = ["ConvertedWeights", "convert_weights", "model_of_weights", "read_class_names"]

logger = logging.getLogger("saccade")
_MAX_NAMES = 16 << 20  # bytes of a list of class names
_COMMON_NAMES = ("model.safetensors", "pytorch_model.bin")  # of every model on a hub


@dataclass(frozen=True)
class ConvertedWeights:
    """What :func:`convert_weights` wrote; ``str()`` is the account.

    Args:
        path: The checkpoint.
        builder: Network.
        arguments: Its options.
        num_classes: Its classes.
        class_names: Their names; empty where nothing tells them.
        input_spec: Its input.
        loaded: What was recognised and renamed.
    """

    path: Path
    builder: str
    arguments: Mapping[str, Any]
    num_classes: int
    class_names: tuple[str, ...]
    input_spec: InputSpec
    loaded: LoadReport

    def __str__(self) -> str:
        spec = self.input_spec
        shown = ", ".join(printable(name, limit=40) for name in self.class_names[:4])
        more = ", ..." if len(self.class_names) > 4 else ""
        names = f"named {shown}{more}" if self.class_names else "without names; --class-names FILE gives them"
        others = {key: value for key, value in self.arguments.items() if key != "num_classes"}
        options = "".join(f", {key}={printable(repr(value), limit=60)}" for key, value in others.items())
        return (
            f"{self.loaded}\n{printable(str(self.path))}: {self.builder}{options}, {self.num_classes} classes {names}; "
            f"input {spec.size[0]} x {spec.size[1]} ({spec.resize}), mean {_numbers(spec.mean)}, std "
            f"{_numbers(spec.std)}, {spec.channel_order}"
        )

    def to_json(self) -> dict[str, Any]:
        """The account as plain JSON."""
        return {
            "path": str(self.path),
            "model": self.builder,
            "arguments": dict(self.arguments),
            "class_names": list(self.class_names),
            "input_spec": self.input_spec.to_dict(),
            "source": self.loaded.source,
            "layout": self.loaded.recognised,
            "tensors": self.loaded.loaded,
            "unexpected": list(self.loaded.unexpected),
        }


def convert_weights(
    weights: str | Path,
    out: str | Path,
    model: str,
    class_names: str | Path | Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
) -> ConvertedWeights:
    """Write a checkpoint of a file of weights that others wrote, which every verb takes.

    Args:
        weights: Safetensors, a torch file, Darknet's format, or a name of the published table.
        out: Checkpoint to write, ``*.safetensors``.
        model: Builder of the network that the file is of.
        class_names: Names of its classes in their order, or a text file with one a line; those of published weights
            are known.
        arguments: Options of the builder that the file does not tell.

    Raises:
        SaccadeError: If the file is not of that network, lacks a part of it, has another number of classes than there
            are names, or ``out`` cannot be written.

    Example:
        >>> import torchvision
        >>> torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), "last.pth")
        >>> converted = convert_weights("last.pth", "pets.safetensors", "resnet18", ("cat", "dog"))
        >>> saccade.load("pets.safetensors").class_names
        ('cat', 'dog')
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"'{printable(str(out))}' is no name of a checkpoint. End it with .safetensors.")
    if out.exists():
        raise ConfigError(f"'{printable(str(out))}' exists. Remove it, or write to another name.")
    if Path(weights).suffix == ".safetensors" and Path(weights).is_file():
        source = open_source(weights, model)
        if source.builder_name:
            raise ConfigError(f"'{source.name}' is a checkpoint of Saccade already, which every verb takes as it is.")
    names = read_class_names(class_names) if isinstance(class_names, str | Path) else tuple(class_names)
    built, report = _build(model, weights, names, arguments or {})
    save_model(built, out, extra={"converted_from": report.source, "layout": report.recognised})
    return ConvertedWeights(
        out, model, built.builder_args, built.num_classes, built.class_names, built.input_spec, report
    )


def model_of_weights(model: str, weights: str | Path) -> Model:
    """A network as a file of weights has it, whole: ready to predict, not only to be trained.

    Args:
        model: Builder.
        weights: File, or name of published weights.

    Raises:
        SaccadeError: If there is no such network or file, or the file lacks a part of the network, its head included.

    Example:
        >>> import torchvision
        >>> torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), "last.pth")
        >>> model_of_weights("resnet18", "last.pth").num_classes
        2
    """
    return _build(model, weights, (), {})[0]


def read_class_names(path: str | Path) -> tuple[str, ...]:
    r"""Names of classes of a text file, one a line, in the order of their numbers.

    Raises:
        DataError: If it cannot be read, names nothing, or names a class twice.

    Example:
        >>> _ = Path("names.txt").write_text("cat\ndog\n")
        >>> read_class_names("names.txt")
        ('cat', 'dog')
    """
    names = [line.strip() for line in read_text(path, _MAX_NAMES).splitlines()]
    while names and not names[-1]:
        names.pop()
    title = printable(str(path))
    if not names:
        raise DataError(f"{title}: it names no class. Write one name a line.")
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            problem = f"'{printable(name, limit=60)}' occurs twice" if name else "it is empty"
            raise DataError(f"{title}: line {number}: {problem}. Write one name a line, each once.")
    return tuple(names)


def _build(
    model: str, weights: str | Path, class_names: tuple[str, ...], arguments: Mapping[str, Any]
) -> tuple[Model, LoadReport]:
    """A whole network of a file, and what was read.

    Raises:
        SaccadeError: As of :func:`convert_weights`.
    """
    entry = get_builder(model)
    source = _as_published(open_source(weights, entry.name), entry, arguments)
    if class_names:
        source = replace(source, class_names=class_names)
    options = {**source.arguments, **arguments}
    built = create_model(entry.name, **arguments_of(entry.build, options, source), **options)
    report = load_weights(built, source)
    auxiliary = tuple(f"{head}." for head in built.auxiliary_heads)
    lacking = [*(name for name in report.missing if not name.startswith(auxiliary)), *report.head]
    if lacking:
        raise WeightsError(
            f"'{source.name}' does not have all of {entry.name}, and its answers would be chance: {shorten(lacking)}. "
            f"Train it first: saccade train --model {entry.name} --weights FILE --data DATA."
        )
    if class_names and len(class_names) != built.num_classes:
        raise ConfigError(
            f"'{source.name}' has {built.num_classes} classes, and {len(class_names)} class names were given. Give one "
            "name a class, in the order of the file's rows."
        )
    return built.eval(), report


def _as_published(source: WeightsSource, entry: BuilderEntry, arguments: Mapping[str, Any]) -> WeightsSource:
    """The file with what the published table knows of it: by its file name, or where all rows of its layout agree."""
    if source.class_names or source.builder_name or source.is_darknet:
        return source  # published ones, asked for by name, have it already; so have our own
    rows = [row for row in PUBLISHED.values() if row.builder == entry.name]
    named = [row for row in rows if row.url.rsplit("/", 1)[1] == source.path.name not in _COMMON_NAMES]
    if named:
        logger.info("'%s': taken as the published %s/%s, by its file name", source.name, entry.name, named[0].name)
        source = replace(source, class_names=named[0].class_names())
    rows = named or [row for row in rows if row.layout == source.layout and _fits(row, source, entry, arguments)]
    kinds = [(dict(row.arguments), dict(row.preprocessing)) for row in rows]
    if not kinds or any(kind != kinds[0] for kind in kinds) or kinds[0] == ({}, {}):
        return source
    options, preprocessing = kinds[0]
    if not named:
        told = ", ".join(f"{key}={value!r}" for key, value in {**options, **preprocessing}.items())
        logger.info("'%s': taken to be as published in its layout (%s): %s", source.name, source.layout, told)
    return replace(source, arguments=options, preprocessing=preprocessing)


def _fits(row: PublishedWeights, source: WeightsSource, entry: BuilderEntry, arguments: Mapping[str, Any]) -> bool:
    try:
        with torch.device("meta"):
            return fits(entry.build(**{**row.arguments, **arguments}), source)
    except (SaccadeError, TypeError):  # options of the user's that are none, which building names
        return False


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
