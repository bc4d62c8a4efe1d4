"""YAML to typed configuration and back; an unknown key is an error that names the nearest one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError, DataError
from saccade.structures.configuration import config_from_dict
from saccade.structures.yaml_files import read_yaml

__all__ = ["config_from_dict", "config_to_yaml", "load_config"]


def load_config(path: str | Path) -> TrainConfig:
    """Read a run's ``config.yaml``, or one written by hand.

    Raises:
        ConfigError: If the file is missing or no YAML mapping, or a key or value is wrong.

    Example:
        >>> _ = Path("digits.yaml").write_text(config_to_yaml(TrainConfig(model="lenet5", epochs=3)))
        >>> load_config("digits.yaml").epochs
        3
    """
    try:
        values = read_yaml(path)
    except DataError as error:
        raise ConfigError(f"{error} Start from 'saccade train --recipe NAME --dry-run'.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no mapping of options. Start from 'saccade train --recipe NAME --dry-run'.")
    return config_from_dict(TrainConfig, values, str(path))


def config_to_yaml(config: Any) -> str:
    """Write a configuration as YAML, which :func:`load_config` reads back to an equal one.

    Example:
        >>> from saccade.engine.train.config import EmaConfig
        >>> print(config_to_yaml(EmaConfig(decay=0.9998)))
        decay: 0.9998
        warmup_steps: 2000.0
    """
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
