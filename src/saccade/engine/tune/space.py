"""Search space: ranges and choices of fields of a configuration, read from ``optimizer.lr=1e-4:1e-2:log``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from saccade.engine.train.config import TrainConfig
from saccade.engine.tune.fields import get_field, limits_of, type_of, with_fields
from saccade.errors import ConfigError, DataError
from saccade.models.registry import get_builder
from saccade.structures.yaml_files import parse_yaml
from saccade.tasks import get_task

__all__ = ["Choice", "Dimension", "Range", "default_space", "has_value", "parse_space", "to_config"]

_HOW = "Write NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:STEP, or NAME=A,B,C."


@dataclass(frozen=True)
class Range:
    """Range of a number.

    Args:
        name: Dotted name of the field.
        low: Smallest value.
        high: Largest value.
        log: Draw evenly in the logarithm.
        step: Distance of the values; None for all, and 1 for whole numbers.
        whole: Whole numbers only.

    Example:
        >>> str(Range("optimizer.lr", 1e-4, 1e-2, log=True))
        'optimizer.lr=0.0001:0.01:log'
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __str__(self) -> str:
        tail = ":log" if self.log else "" if self.step is None else f":{self.step:g}"
        return f"{self.name}={self.low:.10g}:{self.high:.10g}{tail}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must be valid."""
        return self.low, self.high

    def clip(self, value: float) -> float:
        """The nearest value of the range."""
        value = min(max(float(value), self.low), self.high)
        step = self.step or (1 if self.whole else None)
        if step is not None:
            value = min(self.low + round((value - self.low) / step) * step, self.high)
        return int(value) if self.whole else value


@dataclass(frozen=True)
class Choice:
    """Values of any type to choose from.

    Example:
        >>> choice = Choice("data.size", ([160, 160], [192, 192]))
        >>> choice.labels, choice.value_of("[192, 192]")
        (('[160, 160]', '[192, 192]'), [192, 192])
    """

    name: str
    choices: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name}={','.join(one if isinstance(one, str) else json.dumps(one) for one in self.choices)}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must be valid."""
        return self.choices

    @property
    def labels(self) -> tuple[Any, ...]:
        """What the storage holds: scalars as they are, lists and mappings as JSON."""
        return tuple(json.dumps(one) if isinstance(one, (list, dict)) else one for one in self.choices)

    def value_of(self, label: Any) -> Any:
        """The choice of a label."""
        return self.choices[self.labels.index(label)]


Dimension = Range | Choice


def parse_space(config: TrainConfig, space: Mapping[str, str] | Iterable[str]) -> list[Dimension]:
    """Read a search space, and refuse what contradicts the type or the limits of a field.

    Args:
        config: Configuration that the fields belong to.
        space: ``NAME=RANGE`` each, or ranges by name.

    Raises:
        ConfigError: With the field and the remedy; a name that is no field is met by the nearest.

    Example:
        >>> config = TrainConfig(model="lenet5")
        >>> [str(one) for one in parse_space(config, ["optimizer.lr=1e-4:1e-2:log", "data.batch_size=8,16"])]
        ['optimizer.lr=0.0001:0.01:log', 'data.batch_size=8,16']
        >>> parse_space(config, ["ema.decay=0.9:1.5"])
        Traceback (most recent call last):
        saccade.errors.ConfigError: --space ema.decay: 1.5 is not below 1. ...
    """
    pairs = list(space.items()) if isinstance(space, Mapping) else [_split(text) for text in space]
    found: list[Dimension] = []
    for name, text in pairs:
        name = name.strip().replace("-", "_")
        if name in [one.name for one in found]:
            raise ConfigError(f"--space {name} is given twice.")
        kind = type_of(config, name)
        one = _read(name, text.strip(), kind)
        _check(config, one, kind)
        found.append(one)
    for one in found:
        for other in found:
            if other.name.startswith(one.name + "."):
                raise ConfigError(
                    f"--space {other.name} is part of {one.name}, which varies too. Leave one of them out."
                )
    return found


def to_config(config: TrainConfig, space: Sequence[Dimension], values: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a trial.

    Args:
        config: What the search starts from.
        space: The space.
        values: Values by name, as the storage holds them.

    Example:
        >>> space = parse_space(TrainConfig(), ["data.size=[96, 96],[128, 128]"])
        >>> to_config(TrainConfig(), space, {"data.size": "[128, 128]"}).data.size
        (128, 128)
    """
    chosen = {
        one.name: one.value_of(values[one.name]) if isinstance(one, Choice) else values[one.name] for one in space
    }
    return with_fields(config, chosen)


def has_value(config: TrainConfig, one: Dimension) -> bool:
    """Whether the configuration's own value is one of the space's."""
    value = get_field(config, one.name)
    if isinstance(one, Choice):
        return value in one.choices
    return value is not None and one.low <= value <= one.high and abs(one.clip(value) - value) <= 1e-9 * abs(value)


def default_space(config: TrainConfig) -> list[str]:
    """A space that suits the task: rate, decay, momentum, and the strength of the usual augmentations.

    Example:
        >>> from saccade.engine.train.config import OptimizerConfig
        >>> default_space(TrainConfig(model="lenet5", optimizer=OptimizerConfig(lr=0.01, momentum=0.9)))[:2]
        ['optimizer.lr=0.001:0.1:log', 'optimizer.weight_decay=0:0.05']
    """
    lr, decay = config.optimizer.lr, config.optimizer.weight_decay
    found = [
        f"optimizer.lr={lr / 10:.6g}:{lr * 10:.6g}:log",
        f"optimizer.weight_decay={decay / 10:.6g}:{decay * 10:.6g}:log" if decay else "optimizer.weight_decay=0:0.05",
    ]
    if config.optimizer.name in ("sgd", "rmsprop"):
        found.append("optimizer.momentum=0:0.98")
    return [*found, *get_task(get_builder(config.model).task).searched]


def _split(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise ConfigError(f"--space '{text}' is no range. {_HOW}")
    return name, rest


def _read(name: str, text: str, kind: Any) -> Dimension:
    parts = text.split(":")
    numbers = [_number(part) for part in parts if part.strip() != "log"]
    if len(parts) == 1 or kind is str or get_origin(kind) in (Literal, tuple) or "," in text:
        return _read_choices(name, text, kind)
    if None in numbers or len(parts) > 3 or len(numbers) < 2 or parts[0].strip() == "log" or parts[1].strip() == "log":
        raise ConfigError(f"--space {name}={text}: is no range. {_HOW}")
    low, high, *steps = [number for number in numbers if number is not None]
    whole = kind is int or (kind is not float and all(_is_whole(part) for part in parts if part.strip() != "log"))
    if kind is bool:
        raise ConfigError(f"--space {name}={text}: the field is true or false. Write {name}=true,false.")
    if not low < high:
        raise ConfigError(f"--space {name}={text}: the smallest value comes first, and the two differ.")
    if len(parts) == 3 and not steps and low <= 0:
        raise ConfigError(f"--space {name}={text}: a logarithm needs values above 0. Leave ':log' out.")
    if steps and not 0 < steps[0] <= high - low:
        raise ConfigError(f"--space {name}={text}: the step must be above 0 and fit into the range.")
    if whole and any(number != int(number) for number in (low, high, *steps)):
        raise ConfigError(f"--space {name}={text}: the field holds whole numbers.")
    step = steps[0] if steps else None
    if whole:
        return Range(name, int(low), int(high), len(parts) == 3 and not steps, step and int(step), whole=True)
    return Range(name, low, high, len(parts) == 3 and not steps, step)


def _read_choices(name: str, text: str, kind: Any) -> Choice:
    try:
        choices = parse_yaml(f"[{text}]", f"--space {name}")
    except DataError as error:
        raise ConfigError(f"--space {name}={text}: is no list of choices. {_HOW}") from error
    if kind in (float, int):
        read = [_number(one) if isinstance(one, str) else one for one in choices]
        choices = [one if number is None else number for one, number in zip(choices, read, strict=True)]
    if len(choices) < 2 or any(one in choices[:index] for index, one in enumerate(choices)):
        raise ConfigError(f"--space {name}={text}: needs two different values or more. {_HOW}")
    return Choice(name, tuple(choices))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _check(config: TrainConfig, one: Dimension, kind: Any) -> None:
    """Refuse values that are not of the field's type, or beyond its limits."""
    if isinstance(one, Range) and (get_args(kind) or kind not in (int, float, Any)):
        raise ConfigError(f"--space {one}: the field is no number. Write {one.name}=A,B,C.")
    low, high, excluded = limits_of(one.name)
    for value in one.ends:
        try:
            with_fields(config, {one.name: value})
        except ConfigError as error:
            raise ConfigError(f"--space {str(error).removeprefix('tune: ')}") from error
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, (int, float)) or isinstance(number, bool):
                continue
            if not low <= number or (excluded == "low" and number == low):
                words = f"above {low:g}" if excluded == "low" else f"{low:g} or more"
                raise ConfigError(f"--space {one.name}: {number:g} is not {words}. Narrow the range: {one}.")
            if not number <= high or (excluded == "high" and number == high):
                words = f"below {high:g}" if excluded == "high" else f"{high:g} or less"
                raise ConfigError(f"--space {one.name}: {number:g} is not {words}. Narrow the range: {one}.")
