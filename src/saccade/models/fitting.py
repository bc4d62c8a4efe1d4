"""Which network a file of weights fits: the relatives of a network are built without memory and held against it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

import torch

from saccade.models.base import Model
from saccade.weights.fit import fits as fits_file
from saccade.weights.source import WeightsSource

__all__ = ["Builder", "arguments_of", "describe_fitting", "find_fitting"]

_MAX_VARIANTS = 24  # of the options of one builder
_WIDTHS = ("base_channels", "fc_channels")  # halves and doubles are tried


class Builder(Protocol):
    """What is asked of a registry entry."""

    @property
    def name(self) -> str:
        """Builder name."""
        ...

    @property
    def family(self) -> str:
        """File that the builder stands in."""
        ...

    @property
    def build(self) -> Callable[..., Model]:
        """The builder."""
        ...


def find_fitting(
    name: str, arguments: Mapping[str, Any], builders: Mapping[str, Builder], fits: Callable[[Model], bool]
) -> tuple[str, dict[str, Any]] | None:
    """Find the builder and the options of the network that a file fits: the same with another option, or a relative.

    Args:
        name: Builder of the network at hand.
        arguments: Its arguments.
        builders: All builders by name.
        fits: Whether a network without memory is the one that the file was made for.

    Returns:
        Name and those arguments that differ from the network at hand or from the defaults; None if nothing fits.

    Example:
        >>> from saccade.models.registry import get_builder, list_models
        >>> builders = {name: get_builder(name) for name in list_models("classification")}
        >>> find_fitting("resnet18", {}, builders, lambda other: other.builder_name == "resnet34")
        ('resnet34', {})
    """
    own = builders.get(name)
    if own is None:
        return None
    others = [entry for entry in builders.values() if entry.family == own.family and entry.name != name]
    for entry in (own, *others):
        given = dict(arguments) if entry is own else {}
        for options in _variants(entry.build):
            changed = {key: value for key, value in options.items() if entry is not own or given.get(key) != value}
            model = _without_memory(entry.build, {**given, **options})
            if model is not None and fits(model):
                return entry.name, _apart_from_defaults(entry.build, changed) if entry is not own else changed
    return None


def arguments_of(build: Callable[..., Model], given: Mapping[str, Any], source: WeightsSource) -> dict[str, Any]:
    """Find the arguments of a builder that a file of weights tells: the number of classes, an option of the layout.

    Args:
        build: The builder.
        given: Arguments that are decided; they stay.
        source: The file.

    Returns:
        Further arguments; none where the file does not fit in any way that is tried.

    Example:
        >>> from saccade.weights.source import open_source
        >>> from saccade.models.registry import create_model, get_builder
        >>> torch.save(create_model("resnet20_cifar", shortcut="padding", num_classes=7).state_dict(), "mine.pth")
        >>> arguments_of(get_builder("resnet20_cifar").build, {}, open_source("mine.pth", "resnet20_cifar"))
        {'num_classes': 7, 'shortcut': 'padding'}
    """
    parameters = inspect.signature(build).parameters
    for options in _variants(build):
        if any(given.get(key, value) != value for key, value in options.items()):
            continue
        model = _without_memory(build, {**given, **options})
        if model is None or not fits_file(model, source):
            continue
        found = {} if "num_classes" in given or "num_classes" not in parameters else _classes_of(model, source)
        chosen = {key: value for key, value in options.items() if key not in given}
        return {**found, **_apart_from_defaults(build, chosen)}
    return {}


def _classes_of(model: Model, source: WeightsSource) -> dict[str, int]:
    classes = source.count_classes(model)
    return {"num_classes": classes} if classes and classes != model.num_classes else {}


def _without_memory(build: Callable[..., Model], arguments: Mapping[str, Any]) -> Model | None:
    """A network on the device ``meta``; None where its options are none, or contradict each other."""
    try:
        with torch.device("meta"):
            return build(**arguments)
    except Exception:  # a builder of anybody's; where it is built in earnest, its error is seen
        return None


def describe_fitting(found: tuple[str, dict[str, Any]] | None) -> str:
    """The sentence about what :func:`find_fitting` found; empty for nothing.

    Example:
        >>> describe_fitting(("resnet34", {}))
        'It fits resnet34.'
    """
    if found is None:
        return ""
    name, options = found
    if not options:
        return f"It fits {name}."
    python = ", ".join(f"{key}={value!r}" for key, value in options.items())
    shell = " ".join(f"--model-args.{key.replace('_', '-')} {value}" for key, value in options.items())
    return f"It fits {name} with {python} ({shell})."


def _variants(build: Callable[..., Model]) -> Iterator[dict[str, Any]]:
    """Values of those options of a builder that have few: literals, switches, widths; the defaults come first."""
    choices: dict[str, tuple[Any, ...]] = {}
    try:
        hints = get_type_hints(inspect.unwrap(build))
    except NameError:  # a builder from outside of the package, whose annotations are for type checkers alone
        hints = {}
    for name, parameter in inspect.signature(build).parameters.items():
        hint = hints.get(name)
        values: tuple[Any, ...] = ()
        if get_origin(hint) is Literal:
            values = get_args(hint)
        elif hint is bool:
            values = (False, True)
        elif name in _WIDTHS:
            values = (parameter.default // 4, parameter.default // 2, parameter.default * 2)
        if values:
            choices[name] = (parameter.default, *(value for value in values if value != parameter.default))
    rows = itertools.product(*choices.values())
    return (dict(zip(choices, row, strict=True)) for row in itertools.islice(rows, _MAX_VARIANTS))


def _apart_from_defaults(build: Callable[..., Model], options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(build).parameters
    return {key: value for key, value in options.items() if value != parameters[key].default}
