"""``saccade train``: a recipe, a configuration file or the user's own folder, with any field overridden by name."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc
from pathlib import Path
from typing import Any

import tyro

from saccade.api._start import start_config
from saccade.api.options import TrainOptions
from saccade.cli._arguments import FLAGS, option_names, options_of, refuse_unknown
from saccade.cli._console import print_line, print_mapping, print_text
from saccade.cli._early import refuse_unknown_names
from saccade.cli._plugins import take_plugins
from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError
from saccade.structures.plugins import load_plugins
from saccade.structures.yaml_files import parse_yaml

__all__ = ["TrainArguments", "name_leading", "resolve", "run", "sources_given", "take_model_arguments"]

_MODEL_ARGUMENT = "--model-args."
_LEADING = ("--model", "--data")


@dataclass(kw_only=True)
class TrainArguments(TrainOptions):
    """Options of ``train``, and the printing of its configuration, whose fields are options too."""

    dry_run: bool = False
    """Print the resolved configuration as YAML and stop."""


def run(argv: Sequence[str]) -> int:
    """Parse, train, print the figures and where the model is kept."""
    if "-h" in argv or "--help" in argv:
        return _help()
    arguments, config = resolve(argv)
    if arguments.dry_run:
        from saccade.engine.train.configfile import config_to_yaml

        sys.stdout.write(config_to_yaml(config))
        return 0
    from saccade import api
    from saccade.engine.train.guard import Terminated

    try:
        result = api.train(config, resume=arguments.resume)
    except KeyboardInterrupt as stop:
        _say_how_to_resume(config, argv)
        return 143 if isinstance(stop, Terminated) else 130
    print_mapping(result.metrics, "figures")
    print_line(f"kept in {result.folder}")
    return 0


def resolve(argv: Sequence[str]) -> tuple[TrainArguments, TrainConfig]:
    """The verb's own arguments, and the configuration after all overrides.

    Args:
        argv: Words after ``train``.

    Raises:
        ConfigError: If an option, recipe or model is unknown, or there is nothing to train.
    """
    words, plugins = take_plugins(argv)
    load_plugins(plugins)
    words, model_arguments = take_model_arguments(name_leading(words))
    names = [*option_names(TrainArguments), *option_names(TrainConfig)]
    refuse_unknown(words, [name for name in names if name not in ("model_args", "phases", "steps")])
    arguments, rest = tyro.cli(
        TrainArguments, args=words, prog="saccade train", config=FLAGS, return_unknown_args=True, add_help=False
    )
    refuse_unknown_names(arguments)
    options = options_of(arguments, TrainOptions)
    for name in ("resume", "callbacks", "train", "val", "test"):
        del options[name]
    options["data"] = options["data"] or sources_given(words)
    config = start_config(**options)
    plugins = list(dict.fromkeys([*config.plugins, *plugins]))
    config = replace(config, model_args=config.model_args | model_arguments, plugins=tuple(plugins))
    return arguments, tyro.cli(TrainConfig, default=config, args=rest, prog="saccade train", add_help=False)


def name_leading(argv: Sequence[str]) -> list[str]:
    """The words, with a model and data that stand first given by their names.

    The fields of a configuration are parsed apart, so that words between options cannot be told from values.

    Args:
        argv: Words after ``train``.

    Raises:
        ConfigError: If more than two words stand first.

    Example:
        >>> name_leading(["yolox_nano", "photos", "--epochs", "3"])
        ['--model', 'yolox_nano', '--data', 'photos', '--epochs', '3']
    """
    first = next((number for number, word in enumerate(argv) if word.startswith("-")), len(argv))
    if first > len(_LEADING):
        raise ConfigError(f"'{argv[len(_LEADING)]}' is one word too many: MODEL and DATA stand first, then options.")
    named = [part for pair in zip(_LEADING, argv[:first], strict=False) for part in pair]
    return [*named, *argv[first:]]


def take_model_arguments(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split off ``--model-args.OPTION VALUE``; values are read as YAML, as every builder has its own options.

    Args:
        argv: Words of a command line.

    Returns:
        The other words, and the options by name.

    Raises:
        ConfigError: If one has no value.

    Example:
        >>> take_model_arguments(["--model", "unet", "--model-args.base-channels", "16"])
        (['--model', 'unet'], {'base_channels': 16})
    """
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
        taken[name.replace("-", "_")] = parse_yaml(value, f"option '{word}'")
    return words, taken


def sources_given(words: Sequence[str]) -> list[str] | None:
    """Data sets of ``--data.sources``, which a training of a network by its name can begin with; None without it.

    Example:
        >>> sources_given(["--model", "yolox_nano", "--data.sources", "pets", "farm", "--epochs", "3"])
        ['pets', 'farm']
    """
    option = "--data.sources"
    if option not in words:
        return None
    values = words[words.index(option) + 1 :]
    return list(itertools.takewhile(lambda word: not word.startswith("--"), values)) or None


def _say_how_to_resume(config: TrainConfig, argv: Sequence[str]) -> None:
    folder = Path(config.out) / config.name
    written = (folder / "last" / "state.pt").exists()
    kept = f"what was trained is kept in {folder}" if written else "the first checkpoint was not yet written"
    command = shlex.join(["saccade", "train", *(word for word in argv if word != "--resume"), "--resume"])
    print_text(f"interrupted; {kept}. Go on with: {command}", stderr=True)


def _help() -> int:
    """The verb's own options, then every field of the configuration."""
    with contextlib.suppress(SystemExit):
        about = cleandoc(TrainOptions.__doc__ or "")
        tyro.cli(TrainArguments, args=["--help"], prog="saccade train", description=about, config=FLAGS)
    tyro.cli(TrainConfig, args=["--help"], prog="saccade train")
    return 0
