"""``saccade tune``: search for the values of a recipe's fields that score best."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from inspect import cleandoc
from typing import Any

import tyro

from saccade.api._start import start_config
from saccade.api.options import TuneOptions
from saccade.cli._arguments import FLAGS, option_names, options_of, refuse_unknown
from saccade.cli._console import print_line, print_mapping, print_text
from saccade.cli._early import refuse_unknown_names
from saccade.cli._plugins import take_plugins
from saccade.cli.train import name_leading, sources_given, take_model_arguments
from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError
from saccade.structures.plugins import load_plugins

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, search, print the best values and how to train with them."""
    if "-h" in argv or "--help" in argv:
        return _help()
    options = _resolve(argv)
    from saccade import api
    from saccade.engine.train.guard import Terminated

    try:
        result = api.tune(**options)
    except KeyboardInterrupt as stop:
        command = shlex.join(["saccade", "tune", *(word for word in argv if word != "--resume"), "--resume"])
        print_text(f"interrupted; finished trials are kept. Go on with: {command}", stderr=True)
        return 143 if isinstance(stop, Terminated) else 130
    print_mapping(result.best_values, "best values")
    print_mapping({f"best {result.metric}": result.best_value, "of the recipe": result.recipe_value}, "figures")
    print_line(f"report {result.report}")
    print_line(shlex.join(["saccade", "train", "--config", str(result.best_config)]))
    return 0


def _resolve(argv: Sequence[str]) -> dict[str, Any]:
    """Options of the function; fields of the configuration that are given too are set on it, as in ``train``."""
    words, plugins = take_plugins(argv)
    load_plugins(plugins)
    words, model_arguments = take_model_arguments(name_leading(words))
    names = [*option_names(TuneOptions), *option_names(TrainConfig)]
    refuse_unknown(words, [name for name in names if name not in ("model_args", "phases", "steps")])
    arguments, rest = tyro.cli(
        TuneOptions, args=words, prog="saccade tune", config=FLAGS, return_unknown_args=True, add_help=False
    )
    refuse_unknown_names(arguments)
    options = options_of(arguments, TuneOptions)
    start = {name: options.pop(name) for name in ("config", "recipe", "model", "data")}
    if options["resume"] and not any(start.values()):
        if rest or model_arguments:
            raise ConfigError("--resume without a recipe takes the settings of the search; leave the others out.")
        return options
    start["data"] = start["data"] or sources_given(words)
    config = start_config(**start)
    plugins = list(dict.fromkeys([*config.plugins, *plugins]))
    config = replace(config, model_args=config.model_args | model_arguments, plugins=tuple(plugins))
    options["config"] = tyro.cli(TrainConfig, default=config, args=rest, prog="saccade tune", add_help=False)
    return options


def _help() -> int:
    """The verb's own options, then every field of the configuration."""
    with contextlib.suppress(SystemExit):
        about = cleandoc(TuneOptions.__doc__ or "")
        tyro.cli(TuneOptions, args=["--help"], prog="saccade tune", description=about, config=FLAGS)
    tyro.cli(TrainConfig, args=["--help"], prog="saccade tune")
    return 0
