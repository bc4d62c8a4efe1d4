"""The list of networks: a decorator puts a builder in, ``create_model`` and ``list_models`` find it."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model

__all__ = ["BuilderEntry", "Reported", "create_model", "get_builder", "list_models", "register_model"]

P = ParamSpec("P")
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Reported:
    """Figures that a paper prints of one of its networks, as it prints them; None where it prints none.

    Args:
        params: Parameters.
        macs: Multiply-adds of one image of the paper's size (half of what a paper gives that counts both apart).
        top1: Accuracy on its own test set (ImageNet's validation images unless ``source`` says otherwise), one crop
            where the paper has one, per cent.
        source: Where it stands: ``table 1``.
    """

    params: float | None = None
    macs: float | None = None
    top1: float | None = None
    source: str = ""


@dataclass(frozen=True)
class BuilderEntry:
    """A row of the registry.

    Args:
        name: Builder name, as in the paper's table.
        task: Task it solves.
        paper: Authors, venue and year with the arXiv id where there is one.
        build: The builder.
        reported: What the paper says of it.
    """

    name: str
    task: str
    paper: str
    build: Callable[..., Model]
    reported: Reported | None = None

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Arguments the builder takes, by name."""
        return dict(inspect.signature(self.build).parameters)


_BUILDERS: dict[str, BuilderEntry] = {}


def register_model(
    task: str, paper: str, reported: Reported | None = None
) -> Callable[[Callable[P, M]], Callable[P, M]]:
    """Put a builder in the registry.

    The wrapped builder remembers its own name and arguments on the model (so that a checkpoint can build it again) and
    loads ``weights``
    after building, if it was asked for any.

    Args:
        task: A name of ``saccade.tasks``.
        paper: Authors, venue, year, arXiv id.
        reported: Figures that the paper prints of this network.
    """

    def decorate(builder: Callable[P, M]) -> Callable[P, M]:
        name = builder.__name__
        signature = inspect.signature(builder)

        @functools.wraps(builder)
        def build(*args: P.args, **kwargs: P.kwargs) -> M:
            bound = signature.bind(*args, **kwargs)
            wanted = bound.arguments.get("weights")
            if isinstance(wanted, str):
                from saccade.weights.published import published_arguments

                # Options that these weights were trained with; what the caller says goes before them.
                for key, value in published_arguments(name, wanted).items():
                    bound.arguments.setdefault(key, value)
            bound.apply_defaults()
            model = builder(*bound.args, **bound.kwargs)
            weights = bound.arguments.pop("weights", None)
            model.builder_name, model.builder_args = name, dict(bound.arguments)
            if weights is not None:
                from saccade.weights import load_weights

                load_weights(model, weights)
            return model

        if name in _BUILDERS:
            raise ConfigError(f"two builders are named '{name}'.")
        _BUILDERS[name] = BuilderEntry(name, task, paper, build, reported)
        return build

    return decorate


@functools.cache
def _import_all() -> None:
    import saccade.models as package

    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)


def get_builder(name: str) -> BuilderEntry:
    """Registry row of ``name``.

    Raises:
        ConfigError: If there is none; the message offers the nearest name, or the checkpoint in a folder.
    """
    _import_all()
    if name not in _BUILDERS:
        if Path(name).is_dir():
            inside = min(Path(name).glob("*.safetensors"), default=None)
            remedy = f"Give the checkpoint in it: {inside}" if inside else "Give a checkpoint or the name of a model."
            raise ConfigError(f"'{name}' is a folder. {remedy}")
        if Path(name).suffix == ".safetensors":
            raise ConfigError(f"no checkpoint '{name}'. Check the path.")
        raise ConfigError(f"unknown model '{name}'.{did_you_mean(name, _BUILDERS)}")
    return _BUILDERS[name]


def list_models(task: str | None = None) -> list[str]:
    """Names of all builders, sorted.

    Args:
        task: Only those that solve this task.
    """
    _import_all()
    tasks = {entry.task for entry in _BUILDERS.values()}
    if task is not None and task not in tasks:
        raise ConfigError(f"unknown task '{task}'.{did_you_mean(task, tasks)}")
    return sorted(name for name, entry in _BUILDERS.items() if task in (None, entry.task))


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
    if num_classes is not None:
        options["num_classes"] = num_classes
    if weights is not None:
        options["weights"] = weights
    return entry.build(**options)
