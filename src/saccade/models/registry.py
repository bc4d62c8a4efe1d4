"""Registry of networks: a decorator puts a builder in, ``create_model`` and ``list_models`` find it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch

from saccade.errors import ConfigError, did_you_mean
from saccade.models.arguments import check_arguments
from saccade.models.base import Model
from saccade.models.fitting import arguments_of, describe_fitting, find_fitting
from saccade.models.names import OUTSIDE, builder_modules, unknown_model
from saccade.structures.imports import import_module
from saccade.structures.plugins import from_plugin, load_installed
from saccade.weights.advice import Fits, set_adviser
from saccade.weights.loadable import Loadable
from saccade.weights.source import open_source

__all__ = [
    "BuilderEntry",
    "Reported",
    "create_for_classes",
    "create_model",
    "example_of",
    "from_header",
    "get_builder",
    "has_model",
    "input_names_of",
    "list_models",
    "register_model",
    "target_names_of",
]

P = ParamSpec("P")
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Reported:
    """Figures that a paper prints of one of its networks, as it prints them; None where it prints none.

    Args:
        params: Parameters.
        macs: Multiply-adds of one image of the paper's size (half of what a paper gives that counts both apart).
        top1: Accuracy on its own test set (ImageNet's validation images unless ``source`` names another), one crop
            where the paper has one, per cent.
        source: Table or section of the paper: ``table 1``.
    """

    params: float | None = None
    macs: float | None = None
    top1: float | None = None
    source: str = ""


@dataclass(frozen=True)
class BuilderEntry:
    """Registry entry of a network: its builder, task and paper.

    Args:
        name: Builder name, as in the paper's table.
        task: Task it solves.
        paper: Authors, venue and year with the arXiv id where there is one.
        build: The builder.
        reported: Figures that the paper prints of it.

    Example:
        >>> list(get_builder("lenet5").parameters)
        ['num_classes', 'weights']
    """

    name: str
    task: str
    paper: str
    build: Callable[..., Model]
    reported: Reported | None = None

    @property
    def family(self) -> str:
        """Name of the file that the builder stands in, which is the paper's: ``yolox``."""
        return self.build.__module__.rpartition(".")[2]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Arguments the builder takes, by name."""
        return dict(inspect.signature(self.build).parameters)

    @functools.cached_property
    def required(self) -> tuple[str, ...]:
        """Arguments without which it builds nothing, such as the text of a configuration."""
        return tuple(name for name, one in self.parameters.items() if one.default is inspect.Parameter.empty)


_BUILDERS: dict[str, BuilderEntry] = {}
# Set while a network is built as a file says: nothing is imported for it, downloaded, or read.
_FROM_HEADER: ContextVar[bool] = ContextVar("from_header", default=False)


@contextlib.contextmanager
def from_header() -> Iterator[None]:
    """Within it, building a network reaches no module, file or address: the words come from a file, not from the user.

    Example:
        >>> with from_header():
        ...     create_model("os:system")
        Traceback (most recent call last):
        saccade.errors.ConfigError: 'os:system' is a network from outside of Saccade, whose module 'os' would be ...
    """
    token = _FROM_HEADER.set(True)
    try:
        yield
    finally:
        _FROM_HEADER.reset(token)


def register_model(
    task: str, paper: str, reported: Reported | None = None
) -> Callable[[Callable[P, M]], Callable[P, M]]:
    """Register a builder of networks under the name of its function (a decorator).

    The wrapped builder remembers its own name and arguments on the model (so that a checkpoint can build it again) and
    loads ``weights`` after building, if it was asked for any.

    Args:
        task: A name of ``saccade.tasks``.
        paper: Authors, venue, year, arXiv id.
        reported: Figures that the paper prints of this network.
    """

    def decorate(builder: Callable[P, M]) -> Callable[P, M]:
        name = builder.__name__
        # A network from outside the package is found again, by a checkpoint too, through its module.
        outside = builder.__module__.split(".")[0] not in ("saccade", "__main__")
        full_name = f"{builder.__module__}:{name}" if outside else name
        signature = inspect.signature(builder)

        @functools.wraps(builder)
        def build(*args: P.args, **kwargs: P.kwargs) -> M:
            bound = signature.bind(*args, **kwargs)
            wanted = bound.arguments.get("weights")
            if wanted is not None and _FROM_HEADER.get():
                raise ConfigError("a file names no other weights than its own.")
            check_arguments(full_name, builder, bound.arguments)
            source = None
            if wanted is not None:
                # Options that the weights were trained with, and what their file tells; those of the caller go before.
                source = open_source(wanted, full_name)
                del bound.arguments["weights"]
                for key, value in source.arguments.items():
                    bound.arguments.setdefault(key, value)
                bound.arguments.update(arguments_of(builder, bound.arguments, source))
            bound.apply_defaults()
            model = builder(*bound.args, **bound.kwargs)
            bound.arguments.pop("weights", None)
            model.builder_name, model.builder_args = full_name, dict(bound.arguments)
            if source is not None:
                from saccade.weights import load_weights

                load_weights(model, source)
            return model

        known = _BUILDERS.get(full_name)
        if known is not None and not outside:
            raise ConfigError(f"two builders are named '{name}'.")
        _BUILDERS[full_name] = BuilderEntry(full_name, task, paper, build, reported)
        if outside:
            OUTSIDE.add(name)
        return build

    return decorate


@functools.cache
def _import_all() -> None:
    import saccade.models as package

    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)


def _import_outside(name: str) -> None:
    """Import the module of ``package.module:builder``, which registers the builder; the current folder counts too.

    Raises:
        ConfigError: If the module cannot be imported, or registers no such builder.
    """
    module_name, _, builder = name.partition(":")
    if _FROM_HEADER.get():
        raise ConfigError(
            f"'{name}' is a network from outside of Saccade, whose module '{module_name}' would be imported, that is, "
            "run. If you trust the file, say so by trust=True (--trust), or import the module yourself first "
            "(--plugin)."
        )
    module = import_module(module_name, f"model '{name}'")
    if name not in _BUILDERS:
        found = [known.partition(":")[2] for known in _BUILDERS if known.startswith(f"{module_name}:")]
        hint = did_you_mean(builder, found) if found else " Put @register_model before the function that builds it."
        what = "is not registered" if hasattr(module, builder) else "does not exist"
        raise ConfigError(f"model '{name}': '{builder}' {what} in module '{module_name}'.{hint}")


def example_of(name: str, options: Mapping[str, Any]) -> Model:
    """A network without memory, by which to learn what it takes before it is built for the data's classes.

    Example:
        >>> example_of("dsnt", {}).single_object
        True
    """
    return _example(name, json.dumps(dict(options), default=str))


@functools.cache
def _example(name: str, options: str) -> Model:
    with torch.device("meta"):
        return create_model(name, **json.loads(options))


def target_names_of(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Find the kinds of ground truth that a network learns from, before it is built for the data's classes.

    Example:
        >>> target_names_of("resnet18", {})
        ('labels',)
    """
    return example_of(name, options).target_names


def input_names_of(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Find the further inputs that a network takes, before it is built for the data's classes.

    Example:
        >>> input_names_of("resnet18", {})
        ()
    """
    return example_of(name, options).input_names


def get_builder(name: str) -> BuilderEntry:
    """Get the registry entry of ``name``, or of ``package.module:builder`` for a network from outside the package.

    One of a plugin, or of a module that was imported before, is found by its name alone where there is no other.

    Raises:
        ConfigError: If there is none; the message offers the nearest name, or the checkpoint in a folder.

    Example:
        >>> entry = get_builder("resnet18")
        >>> entry.task, entry.family, entry.paper
        ('classification', 'resnet', 'He et al., CVPR 2016, arXiv 1512.03385')
    """
    if name not in _BUILDERS and name in builder_modules():
        importlib.import_module(builder_modules()[name])  # alone, as that of all takes a second
    if name not in _BUILDERS:
        _import_all()
    if ":" in name and name not in _BUILDERS:
        _import_outside(name)
    known = _find(name)
    if known is None and not _FROM_HEADER.get():
        load_installed()
        known = _find(name)
    if known is None:
        raise unknown_model(name, {one.rpartition(":")[2] for one in _BUILDERS})
    return known


def _find(name: str) -> BuilderEntry | None:
    """The entry of a name, also without the module of one from outside the package.

    Raises:
        ConfigError: If several modules have such a one.
    """
    if name in _BUILDERS:
        return _BUILDERS[name]
    found = [entry for known, entry in _BUILDERS.items() if known.endswith(f":{name}")]
    if len(found) > 1:
        names = " and ".join(f"'{entry.name}'" for entry in found)
        raise ConfigError(f"there are several models '{name}': {names}. Give the whole name.")
    return found[0] if found else None


def has_model(name: str) -> bool:
    """Whether a name alone builds a network.

    Example:
        >>> has_model("resnet18"), has_model("resnet81")
        (True, False)
    """
    _import_all()
    if _find(name) is None:
        load_installed()
    known = _find(name)
    return known is not None and not known.required


def list_models(task: str | None = None) -> list[str]:
    """List the names of all builders of the package and of plugins, sorted; not those that need more than a name.

    Args:
        task: Only those that solve this task.

    Example:
        >>> "yolox_s" in list_models("detection"), "yolox_s" in list_models("classification")
        (True, False)
    """
    _import_all()
    load_installed()
    listed = {
        name: entry
        for name, entry in _BUILDERS.items()
        if not entry.required and (":" not in name or from_plugin(entry.build.__module__))
    }
    tasks = {entry.task for entry in listed.values()}
    if task is not None and task not in tasks:
        raise ConfigError(f"unknown task '{task}'.{did_you_mean(task, tasks)}")
    return sorted(name for name, entry in listed.items() if task in (None, entry.task))


def create_model(name: str, num_classes: int | None = None, weights: str | None = None, **options: Any) -> Model:
    """Build a network by name.

    Args:
        name: A name of ``list_models()``.
        num_classes: Classes without background; the paper's number if not given.
        weights: Name of published weights, or path of a checkpoint in any known layout.
        options: Further arguments of that builder; unknown ones are errors.

    Raises:
        ConfigError: If the name or an option is unknown; the message offers the nearest.

    Example:
        >>> create_model("resnet18", num_classes=3).num_classes
        3
    """
    entry = get_builder(name)
    for option in options:
        if option not in entry.parameters:
            raise ConfigError(f"model '{name}' has no option '{option}'.{did_you_mean(option, entry.parameters)}")
    for option in entry.required:
        if option not in options:
            raise ConfigError(f"model '{name}' needs {option}: its network is not known without.")
    if num_classes is not None:
        if "num_classes" not in entry.parameters:
            raise ConfigError(f"model '{name}' has no classes of its own. Leave num_classes out.")
        options["num_classes"] = num_classes
    if weights is not None:
        options["weights"] = weights
    return entry.build(**options)


def create_for_classes(name: str, classes: int, /, **options: Any) -> Model:
    """Build a network for data with so many classes; one that has none of its own is built as it is.

    Args:
        name: A name of ``list_models()``.
        classes: Those of the data, unless the options name others (``num_classes``).
        options: Further arguments of that builder.

    Raises:
        ConfigError: As :func:`create_model`.

    Example:
        >>> create_for_classes("lenet5", 3).num_classes, create_for_classes("protonet_conv4", 3).num_classes
        (3, 0)
    """
    if "num_classes" in get_builder(name).parameters:
        options.setdefault("num_classes", classes)
    return create_model(name, **options)


def _advise(model: Loadable, fits: Fits) -> str:
    """What a file of weights fits that does not fit ``model``."""
    _import_all()
    return describe_fitting(find_fitting(model.builder_name, model.builder_args, _BUILDERS, fits))


set_adviser(_advise)
