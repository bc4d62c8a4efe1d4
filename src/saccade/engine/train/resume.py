"""Going on with a run under another configuration: each setting that differs is applied or refused, by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from saccade.engine.train.budget import out_of_time
from saccade.engine.train.classes import compare_names
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_from_dict
from saccade.engine.train.position import Position
from saccade.engine.train.steps import RunStep, resolve_steps
from saccade.errors import ConfigError, SaccadeError, WeightsError
from saccade.models.base import Model
from saccade.structures.text import printable
from saccade.structures.yaml_files import parse_yaml

__all__ = [
    "Change",
    "changed_settings",
    "check_network",
    "describe_network",
    "is_finished",
    "read_position",
    "take_settings",
]

# A run is the same run in another folder; its steps are compared one by one.
_ELSEWHERE = ("name", "out", "steps")
# What a run was begun with.
_FIXED = {
    "model": "the weights are those of the other network",
    "model_args": "the weights are those of the other network",
    "weights": "they count where a run begins",
    "partial_weights": "they count where a run begins",
    "optimizer.name": "the state of one optimiser is of no use to another",
    "data.val": "the best weights were chosen on the other split",
    "data.folds": "the best weights were chosen on the other images",
    "data.fold": "the best weights were chosen on the other images",
    "data.tile": "the best weights were chosen on other tiles",
    "data.format": "the classes may be others",
    "data.rectangular": "the best weights were chosen on other canvases",
    "auto_anchor": "anchors are fitted before the first step",
}
# What decides which images an epoch has, in which order, and how many make a step.
_BETWEEN_EPOCHS = (
    *("data.train", "data.batch_size", "data.repeats", "data.sampler", "data.episode", "data.pair", "data.balance"),
    *("data.keep_empty", "data.bad_labels", "seed", "accumulate", "nominal_batch"),
)
# What has an effect, or does no harm, where nothing is left to train.
_AFTER_THE_END = (
    *("data.test", "data.source", "data.sources", "data.workers", "data.val_batch_size", "data.bad_labels"),
    *("data.bad_images", "data.cache", "epochs", "max_minutes", "patience", "evaluate_every", "checkpoint_every"),
    *("precision", "log_every", "loggers", "plugins", "channels_last", "compile", "deterministic"),
)


@dataclass(frozen=True)
class Change:
    """Setting that differs between two configurations.

    Args:
        name: Dotted name.
        before: Value in the first.
        after: Value in the second.
    """

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name}: {_show(self.before)} -> {_show(self.after)}"

    def is_of(self, names: Iterable[str]) -> bool:
        """Whether it is one of these settings or belongs to one of these groups."""
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)


def changed_settings(before: Any, after: Any, prefix: str = "") -> list[Change]:
    """List the fields that differ between two configurations, by their dotted names.

    Example:
        >>> from saccade.engine.train.config import OptimizerConfig
        >>> changes = changed_settings(TrainConfig(), TrainConfig(epochs=3, optimizer=OptimizerConfig(lr=0.1)))
        >>> [str(change) for change in changes]
        ['optimizer.lr: 0.01 -> 0.1', 'epochs: 10 -> 3']
    """
    changes: list[Change] = []
    for field in fields(after):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if is_dataclass(new) and type(old) is type(new):
            changes += changed_settings(old, new, f"{prefix}{field.name}.")
        elif _as_tuples(old) != _as_tuples(new):
            changes.append(Change(prefix + field.name, old, new))
    return changes


def _as_tuples(value: Any) -> Any:
    """Lists, of which YAML makes tuples on some levels, in one form."""
    if isinstance(value, Mapping):
        return {key: _as_tuples(one) for key, one in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, (list, tuple)) else value


def take_settings(stored: str, config: TrainConfig, at: Position, where: Path) -> list[str]:
    """Take the settings that a run is to go on with; each that differs from the saved ones has effect or is refused.

    Args:
        stored: YAML of the configuration in the training state.
        config: The configuration now; a layout that is not given becomes that of before.
        at: Position of the run; more epochs, minutes or patience let one that had ended go on.
        where: File of the training state, for messages.

    Returns:
        One line for every setting that is applied, or one that nothing is left to train.

    Raises:
        ConfigError: If a setting cannot change in a run that goes on; the message names it.
        WeightsError: If the stored configuration does not read.
    """
    try:
        earlier = config_from_dict(TrainConfig, parse_yaml(stored, str(where)))
        before = resolve_steps(earlier)
    except (SaccadeError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{where}: its configuration does not read ({str(error)[:200]}). It is of another version; start the run "
            "anew under another --name."
        ) from error
    if config.channels_last is None:
        config.channels_last = earlier.channels_last
    after = resolve_steps(config)
    if [(step.name, step.solver) for step in before] != [(step.name, step.solver) for step in after]:
        names = [", ".join(step.name for step in steps) or "none" for steps in (before, after)]
        raise _refusal("steps", names[0], names[1], "they are a row", where)
    lines = []
    if at.run_step < len(after):
        _go_on(before[at.run_step].config, after[at.run_step].config, at)
    finished = is_finished(after, at)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        title = f"step '{new.name}': " if new.name else ""
        for change in changed_settings(old.config, new.config):
            if change.name in _ELSEWHERE:
                continue
            done = number < at.run_step or (finished and number == len(after) - 1)
            _check(change, old, new, at if number == at.run_step else None, done, title, where)
            if not done:
                begun = number == at.run_step and at.step > 0
                lines.append(f"{title}{change}" + (f" from epoch {at.epochs_done + 1} on" if begun else ""))
            elif number == len(after) - 1:
                lines.append(f"{title}{change}")
    if finished:
        stopped = at.run_step < len(after) and at.epoch < after[-1].config.epochs
        how = (
            "stopped early; more --patience, --max-minutes or --epochs let"
            if stopped
            else "is finished; more --epochs let"
        )
        lines.append(f"the run {how} it go on: {at.epochs_done} epochs are done.")
    return list(dict.fromkeys(lines))


def _go_on(before: TrainConfig, after: TrainConfig, at: Position) -> None:
    """Let a step that had ended go on where its settings ask for more."""
    if after.epochs > before.epochs:
        at.stale = 0  # patience begins anew
    if after.max_minutes is None or (after.max_minutes, after.epochs) != (before.max_minutes, before.epochs):
        at.total_epochs = 0  # to be found anew


def is_finished(steps: Sequence[RunStep], at: Position) -> bool:
    """Whether nothing is left to train at a position.

    Example:
        >>> steps = resolve_steps(TrainConfig(epochs=3))
        >>> is_finished(steps, Position(epoch=3, total_epochs=3)), is_finished(steps, Position(epoch=2))
        (True, False)
    """
    if at.run_step >= len(steps):
        return True
    config = steps[at.run_step].config
    stopped = config.patience is not None and at.stale >= config.patience
    ended = at.batch == 0 and at.epoch > 0 and (at.epoch >= (at.total_epochs or config.epochs) or stopped)
    return at.run_step == len(steps) - 1 and (ended or out_of_time(config, at))


def _check(
    change: Change, old: RunStep, new: RunStep, at: Position | None, done: bool, title: str, where: Path
) -> None:
    """Refuse a change that cannot be applied.

    Args:
        change: The change.
        old: Step as it was.
        new: Step as it is to be.
        at: Position in the step; None if the run is not in it.
        done: The step is done.
        title: Of the step, for messages.
        where: File of the training state.
    """
    name = title + change.name
    for fixed, reason in _FIXED.items():
        if change.is_of([fixed]):
            raise _refusal(name, _show(change.before), _show(change.after), reason, where)
    if at is not None and change.name == "epochs" and new.config.epochs < at.epoch + (at.batch > 0):
        begun = f"{at.epoch} epochs are done" + (f" and {at.batch} batches of the next" if at.batch else "")
        raise ConfigError(f"{name}: {old.config.epochs} -> {new.config.epochs}, but {begun}. Give at least as many.")
    if done and not change.is_of(_AFTER_THE_END):
        more = "the run is finished; add --epochs N to train on" if not title or at is not None else "the step is done"
        raise ConfigError(f"{name}: {_show(change.before)} -> {_show(change.after)} would change nothing: {more}.")
    if at is not None and at.batch > 0 and change.is_of(_BETWEEN_EPOCHS):
        raise ConfigError(
            f"{name}: {_show(change.before)} -> {_show(change.after)} cannot change within an epoch, and {at.batch} of "
            f"{at.batches or 'its'} batches of epoch {at.epochs_done + 1} are done. Go on with the old value, for "
            f"example to the end of this epoch (--epochs {at.epoch + 1})."
        )


def _refusal(name: str, before: str, after: str, reason: str, where: Path) -> ConfigError:
    return ConfigError(
        f"{name}: {before} -> {after} cannot change in a run that goes on: {reason}. Give the old value, or begin "
        f"another run with these weights (--name OTHER --weights {where.parent / 'model.safetensors'})."
    )


def _show(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) or not value else value
    return printable(text, limit=80)


def read_position(values: Any, where: Path) -> Position:
    """Read the position in a training state.

    Raises:
        WeightsError: If a field is missing or of another type.

    Example:
        >>> read_position({"epoch": 3}, Path("last/state.pt")).epoch
        3
    """
    try:
        return msgspec.convert(values, Position)
    except (msgspec.ValidationError, RecursionError) as error:
        raise WeightsError(
            f"{where}: position: {error}. It is of another version; start the run anew under another --name."
        ) from error


def describe_network(model: Model) -> dict[str, Any]:
    """What a training state says of its network, to be compared when the run goes on.

    Example:
        >>> describe_network(saccade.create_model("lenet5", num_classes=3))
        {'builder': 'lenet5', 'class_names': [], 'num_classes': 3}
    """
    return {
        "builder": model.builder_name or type(model).__name__,
        "class_names": list(model.class_names),
        "num_classes": model.num_classes,
    }


def check_network(state: Mapping[str, Any], model: Model, where: Path) -> None:
    """Refuse a network or classes that are not those of a training state.

    Args:
        state: The training state.
        model: The network that is to go on.
        where: File of the state, for messages.

    Raises:
        ConfigError: If builder, classes or tensors differ; the message names the first difference.
    """
    before, now = state["network"], describe_network(model)
    if before["builder"] != now["builder"]:
        raise _refusal("model", _show(before["builder"]), _show(now["builder"]), _FIXED["model"], where)
    old, new = list(before["class_names"]), list(now["class_names"])
    if before["num_classes"] != now["num_classes"] or (old and new and old != new):
        differ = f": {compare_names(old, new, 'the run', 'the data')}" if old and new else ""
        raise ConfigError(
            f"classes: the run was trained on {before['num_classes']} ({_names(old)}), the data has "
            f"{now['num_classes']} ({_names(new)}){differ}. Give the data it was trained on, or begin "
            f"another run with its weights (--name OTHER --weights {where.parent / 'model.safetensors'})."
        )
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in state["model"].items() if isinstance(value, Tensor)}
    for name in sorted(shapes.keys() | saved.keys()):
        if shapes.get(name) != saved.get(name):
            raise ConfigError(
                f"model: tensor '{printable(name, limit=120)}' is {saved.get(name, 'missing')} in {where} and "
                f"{shapes.get(name, 'missing')} in the network. Build the network that the run was begun with, or "
                "start anew under another --name."
            )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, limit=40) for name in names[:8])
    return (shown or "no names") + (", ..." if len(names) > 8 else "")
