"""One function a run. Its docstring says on what, how long, and what it reached."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable

from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError, did_you_mean
from saccade.structures.plugins import load_installed

__all__ = ["default_recipe", "get_recipe", "list_recipes", "recipe"]

_RECIPES: dict[str, Callable[[], TrainConfig]] = {}


def recipe(function: Callable[[], TrainConfig]) -> Callable[[], TrainConfig]:
    """Put a recipe in the list, under its function's name; the run is named after it.

    Raises:
        ConfigError: If it is not of the package, which has one of that name.
    """
    if function.__module__.partition(".")[0] != "saccade":
        _import_all()
        known = _RECIPES.get(function.__name__)
        if known is not None and known.__module__.partition(".")[0] == "saccade":
            raise ConfigError(f"'{function.__name__}' is a recipe of the package. Choose another name.")

    @functools.wraps(function)
    def named() -> TrainConfig:
        config = function()
        config.name = function.__name__
        return config

    _RECIPES[function.__name__] = named
    return named


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__, __name__ + "."):
        importlib.import_module(module.name)


def list_recipes() -> list[str]:
    """Names of all recipes, those of plugins too, sorted."""
    _import_all()
    load_installed()
    return sorted(_RECIPES)


def get_recipe(name: str) -> TrainConfig:
    """A fresh configuration of the recipe.

    Raises:
        ConfigError: If there is none of that name.
    """
    _import_all()
    if name not in _RECIPES:
        load_installed()
    if name not in _RECIPES:
        raise ConfigError(f"unknown recipe '{name}'.{did_you_mean(name, _RECIPES)}")
    return _RECIPES[name]()


def default_recipe(model: str, *data: str) -> TrainConfig:
    """Settings that train ``model`` sensibly on data of one's own.

    Args:
        model: A name of ``list_models()``.
        *data: Catalogue name or path; of several, the run joins them.
    """
    from saccade.models.registry import get_builder
    from saccade.recipes.defaults import default_settings

    entry = get_builder(model)
    config = default_settings(entry.task, entry.family, entry.name)
    config.name, config.model = "_".join(map(_slug, (entry.name, *data))), model
    if len(data) == 1:
        config.data.source = data[0]
    else:
        config.data.sources = data
    return config


def _slug(text: str) -> str:
    last = text.rstrip("/").split("/")[-1] or "data"
    return "".join(letter if letter.isalnum() else "_" for letter in last)
