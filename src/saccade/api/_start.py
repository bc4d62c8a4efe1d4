"""Where a training starts: a recipe, a configuration, or a model and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.errors import ConfigError, did_you_mean
from saccade.structures.plugins import load_plugins

if TYPE_CHECKING:
    from saccade.engine.train.config import TrainConfig

__all__ = ["set_fields", "start_config"]


def start_config(
    config: TrainConfig | str | Path | None = None,
    *,
    recipe: str | None = None,
    model: str | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    trainable: str | None = None,
) -> TrainConfig:
    """The configuration that these options of ``train`` ask for; one that is handed in stays as it is.

    Args:
        config: Configuration, or its YAML file.
        recipe: Name of a recipe, in place of it.
        model: Network: replaces that of the recipe or configuration, or has settings of its own together with ``data``.
        data: Data set, likewise; or several, which are joined by class name.
        trainable: Replaces ``freeze.trainable``.

    Raises:
        ConfigError: If there is nothing to train, or two things to start from, or a name is unknown.
    """
    if recipe is not None and config is not None:
        raise ConfigError("recipe and config are both configurations to start from; give one of them.")
    arguments: dict[str, str] = {}
    if model is not None and Path(model).suffix == ".cfg":
        from saccade.models.darknet.open import cfg_builder

        model, arguments = cfg_builder(model)
    if isinstance(data, Mapping):
        raise ConfigError("data is the name or path of a data set. Set fields by their names: **{'data.workers': 0}.")
    sources = () if data is None else (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))
    start = _start(config, recipe, model, sources)
    load_plugins(start.plugins)
    if model is not None:
        start = replace(start, model=model, model_args={**start.model_args, **arguments})
    if sources:
        source, several = (sources[0], ()) if len(sources) == 1 else ("", sources)
        start = replace(start, data=replace(start.data, source=source, sources=several))
    if trainable is not None:
        start = replace(start, freeze=replace(start.freeze, trainable=trainable))
    return start


def set_fields(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """A configuration with some fields changed; the one that is handed in stays as it is.

    Args:
        config: The configuration.
        settings: By name, dotted or as mappings: ``{"epochs": 3, "optimizer": {"lr": 0.01}, "data.workers": 0}``.

    Raises:
        ConfigError: If a field is unknown, or a value of the wrong type.
    """
    if not settings:
        return config
    from saccade.engine.train.config import TrainConfig
    from saccade.engine.train.configfile import config_from_dict

    values = asdict(config)
    for name, value in settings.items():
        group, last = values, name
        while "." in last:
            first, _, last = last.partition(".")
            if not isinstance(group.get(first), dict):
                raise ConfigError(f"train: unknown option '{name}'.{did_you_mean(first, group)}")
            group = group[first]
        merged = isinstance(value, Mapping) and isinstance(group.get(last), dict)
        group[last] = {**group[last], **value} if merged else value
    return config_from_dict(TrainConfig, values, "train")


def _start(
    config: TrainConfig | str | Path | None, recipe: str | None, model: str | None, sources: Sequence[str]
) -> TrainConfig:
    from saccade import recipes

    if recipe is not None:
        return recipes.get_recipe(recipe)
    if isinstance(config, (str, Path)):
        from saccade.engine.train.configfile import load_config

        if not Path(config).exists() and str(config) in recipes.list_recipes():
            raise ConfigError(f"'{config}' is a recipe, not a file. Give it as recipe='{config}' (--recipe {config}).")
        return load_config(config)
    if config is not None:
        return config
    if model is not None and sources:
        return recipes.default_recipe(model, *sources)
    raise ConfigError(
        f"there is nothing to train. Give a recipe (--recipe NAME, of {', '.join(recipes.list_recipes())}), "
        "a configuration (--config FILE), or a model and data (--model NAME --data PATH)."
    )
