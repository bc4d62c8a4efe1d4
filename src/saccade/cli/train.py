"""``saccade train``: a recipe, a configuration file or the user's own folder, with any field overridden by name."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
import yaml

from saccade.cli._arguments import FLAGS, option_names, refuse_unknown
from saccade.cli._console import print_mapping, printer
from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError

__all__ = ["resolve", "run"]

_MODEL_ARGUMENT = "--model-args."


@dataclass
class TrainArguments:
    """Train a model. Start from --recipe, --config, or --model and --data; then set any field by its name."""

    recipe: str | None = None
    """Name of a recipe; an unknown name lists them."""
    config: Path | None = None
    """YAML file, for example the config.yaml of an earlier run."""
    model: str | None = None
    """Network to train. Its own options are set by --model-args.OPTION VALUE."""
    data: str | None = None
    """Name in the catalogue, or a path; short for --data.source."""
    trainable: str | None = None
    """What moves: all, head, or last:k for the last k stages and the head; short for --freeze.trainable. With --init
    CHECKPOINT, this is transfer learning."""
    resume: bool = False
    """Go on where the run of this name was stopped."""
    dry_run: bool = False
    """Print the resolved configuration as YAML and stop."""


def run(argv: Sequence[str]) -> int:
    """Parse, train, say where the result is."""
    if "-h" in argv or "--help" in argv:
        return _help()
    arguments, config = resolve(argv)
    if arguments.dry_run:
        from saccade.engine.train.configfile import config_to_yaml

        sys.stdout.write(config_to_yaml(config))
        return 0
    from saccade import api

    try:
        result = api.train(config, resume=arguments.resume)
    except KeyboardInterrupt:
        _say_how_to_resume(config, argv)
        return 130
    print_mapping(result.metrics, "figures")
    printer().print(f"kept in {result.folder}", soft_wrap=True)
    return 0


def resolve(argv: Sequence[str]) -> tuple[TrainArguments, TrainConfig]:
    """The verb's own arguments, and the configuration after all overrides.

    Args:
        argv: Words after ``train``.

    Raises:
        ConfigError: If an option, recipe or model is unknown, or nothing says what to train.
    """
    words, model_arguments = _take_model_arguments(argv)
    names = [*option_names(TrainArguments), *option_names(TrainConfig)]
    refuse_unknown(words, [name for name in names if name not in ("model_args", "phases")])
    arguments, rest = tyro.cli(
        TrainArguments, args=words, prog="saccade train", config=FLAGS, return_unknown_args=True, add_help=False
    )
    config = _start(arguments)
    if arguments.model:
        config = replace(config, model=arguments.model)
    if arguments.data:
        config = replace(config, data=replace(config.data, source=arguments.data))
    if arguments.trainable:
        config = replace(config, freeze=replace(config.freeze, trainable=arguments.trainable))
    config = replace(config, model_args=config.model_args | model_arguments)
    return arguments, tyro.cli(TrainConfig, default=config, args=rest, prog="saccade train", add_help=False)


def _start(arguments: TrainArguments) -> TrainConfig:
    if arguments.recipe and arguments.config:
        raise ConfigError("--recipe and --config both say where to start; give one of them.")
    if arguments.config:
        from saccade.engine.train.configfile import load_config

        return load_config(arguments.config)
    from saccade import recipes

    if arguments.recipe:
        return recipes.get_recipe(arguments.recipe)
    if arguments.model and arguments.data:
        return recipes.default_recipe(arguments.model, arguments.data)
    names = ", ".join(recipes.list_recipes())
    raise ConfigError(
        f"nothing says what to train. Give --recipe NAME ({names}), --config FILE, or --model NAME with --data PATH."
    )


def _take_model_arguments(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split off ``--model-args.OPTION VALUE``; values are read as YAML, as every builder has its own options."""
    words: list[str] = []
    taken: dict[str, Any] = {}
    remaining = iter(argv)
    for word in remaining:
        if not word.replace("_", "-").startswith(_MODEL_ARGUMENT):
            words.append(word)
            continue
        name, equals, value = word[len(_MODEL_ARGUMENT) :].partition("=")
        if not equals:
            try:
                value = next(remaining)
            except StopIteration:
                raise ConfigError(f"option '{word}' needs a value.") from None
        taken[name.replace("-", "_")] = yaml.safe_load(value)
    return words, taken


def _say_how_to_resume(config: TrainConfig, argv: Sequence[str]) -> None:
    folder = Path(config.out) / config.name
    written = (folder / "last" / "state.pt").exists()
    kept = f"what was trained is kept in {folder}" if written else "the first checkpoint was not yet written"
    command = shlex.join(["saccade", "train", *(word for word in argv if word != "--resume"), "--resume"])
    printer(stderr=True).print(f"interrupted; {kept}. Go on with: {command}", soft_wrap=True, markup=False)


def _help() -> int:
    """The verb's own options, then every field of the configuration."""
    with contextlib.suppress(SystemExit):
        tyro.cli(TrainArguments, args=["--help"], prog="saccade train", config=FLAGS)
    tyro.cli(TrainConfig, args=["--help"], prog="saccade train")
    return 0
