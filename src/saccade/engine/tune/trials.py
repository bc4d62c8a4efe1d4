"""One trial of a search: a training run in its own folder, its fitness, and why it failed."""

from __future__ import annotations

import contextlib
import csv
import gc
import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import Trial, TrialState

from saccade.engine.train.callbacks import Callback, EpochEvent
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.lock import process_record
from saccade.engine.train.setup import Datasets, open_datasets
from saccade.engine.tune.fitness import Fitness, MetricError
from saccade.engine.tune.space import to_config
from saccade.engine.tune.study import Heartbeat, Search, abandon, counted, suggest
from saccade.errors import DataError, NonFiniteLossError, SaccadeError

__all__ = ["Opened", "Outcome", "disk_use", "run_trial", "take_trial", "trim"]

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
_REASON_LENGTH = 240


class Opened:
    """Opens the data of trials; those of the recipe stay open, as most trials share them.

    Args:
        base: Configuration that the search starts from.

    Example:
        >>> from saccade.engine.train.config import DataConfig
        >>> opened = Opened(TrainConfig(model="lenet5", data=DataConfig(source="digit_scenes")))
        >>> opened(opened.base) is opened(opened.base)
        True
    """

    def __init__(self, base: TrainConfig) -> None:
        self.base = _scored(base)
        self._kept: Datasets | None = None

    def __call__(self, config: TrainConfig) -> Datasets:
        """Data sets of a run."""
        if _key(config) != _key(self.base):
            return open_datasets(config)
        if self._kept is None:
            self._kept = open_datasets(self.base)
        return self._kept


def _key(config: TrainConfig) -> str:
    data = replace(config.data, batch_size=1, val_batch_size=None, size=None, repeats=1, workers=None)
    return repr((data, config.model, config.model_args, config.seed if data.tile.size else 0))


def _scored(config: TrainConfig) -> TrainConfig:
    """Without the test split, which a search must not see."""
    return replace(config, data=replace(config.data, test=None))


@dataclass
class Outcome:
    """What became of a trial.

    Args:
        number: Of the trial.
        state: ``complete``, ``pruned`` or ``failed``.
        value: Best fitness of its epochs.
        figures: Validation figures of that epoch.
        epochs: How many were trained.
        reason: Why it failed.
        minutes: How long it took.
        fatal: Error that every other trial would meet.
    """

    number: int
    state: str = "complete"
    value: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    reason: str = ""
    minutes: float = 0.0
    fatal: BaseException | None = None


def take_trial(study: Study, total: int) -> Trial | None:
    """The next trial of this process; None if the search has as many as it is to have.

    Exact for any number of processes: of those that ask at the same moment the ones that come too late step back.
    """
    trials = counted(study)
    waiting = any(one.state == TrialState.WAITING for one in trials)
    if len(trials) >= total and not waiting:
        return None
    trial = study.ask()
    trial.set_user_attr("process", process_record())
    trial.set_user_attr("beat", time.time())
    if sum(one.number < trial.number for one in counted(study)) >= total:
        abandon(study, study.trials[trial.number], "one more than asked for", again=False)
        return None
    return trial


class _Watch(Callback):
    """Follows a trial by its epochs: reports them, and tells when it is to be pruned."""

    def __init__(self, trial: Trial, fitness: Fitness, total_epochs: int, outcome: Outcome) -> None:
        self.trial, self.fitness, self.total, self.outcome = trial, fitness, total_epochs, outcome
        self.error: MetricError | None = None

    def see(self, row: Mapping[str, float]) -> float | None:
        """Take in the row of an epoch; returns its fitness, None if it was not scored."""
        outcome, epoch = self.outcome, int(row["epoch"])
        outcome.epochs = epoch
        value = self.fitness.of(row)
        if value is None or math.isnan(value):
            return None
        self.trial.report(value, epoch)
        if outcome.value is None or value > outcome.value:
            outcome.value = value
            outcome.figures = {key.removeprefix("val/"): one for key, one in row.items() if key.startswith("val/")}
        return value

    def on_epoch(self, event: EpochEvent) -> bool:
        """True to stop the training."""
        row = event.figures
        try:
            value = self.see(row)
        except MetricError as error:
            self.error = error
            return True
        if value is not None and outcome_may_be_pruned(row, self.total) and self.trial.should_prune():
            self.outcome.state = "pruned"
        return self.outcome.state == "pruned"


def outcome_may_be_pruned(row: Mapping[str, float], total_epochs: int) -> bool:
    """A trial that is through gains nothing by being stopped.

    Example:
        >>> outcome_may_be_pruned({"epoch": 2.0}, total_epochs=3), outcome_may_be_pruned({"epoch": 3.0}, 3)
        (True, False)
    """
    return row["epoch"] < total_epochs


def run_trial(search: Search, study: Study, trial: Trial, folder: Path, opened: Opened, fitness: Fitness) -> Outcome:
    """Train one trial in its folder and tell the study what became of it.

    Args:
        search: The search.
        study: Its study.
        trial: A trial that was just taken.
        folder: Of all trials of this machine.
        opened: Opens its data.
        fitness: What is maximised.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
    """
    outcome, started = Outcome(trial.number), time.monotonic()
    try:
        with Heartbeat(study, trial):
            _train(search, trial, folder, opened, fitness, outcome)
    except Exception as error:  # whatever goes wrong in one trial is recorded, and the search goes on
        outcome.state, outcome.reason = "failed", reason_of(error)
        if is_of_every_trial(error, search):
            outcome.fatal = error
    outcome.minutes = (time.monotonic() - started) / 60
    _tell(study, trial, outcome)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return outcome


def _train(search: Search, trial: Trial, folder: Path, opened: Opened, fitness: Fitness, outcome: Outcome) -> None:
    values = suggest(trial, search.space)
    name = str(trial.user_attrs.get("folder", f"{trial.number:04d}"))
    trial.set_user_attr("folder", name)
    config = replace(_scored(to_config(search.base, search.space, values)), name=name, out=str(folder))
    place = folder / name
    begun = (place / "last" / "state.pt").exists()
    if not begun and place.exists():  # killed before its first checkpoint
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    total = sum(step.changes.get("epochs", config.epochs) for step in config.steps) or config.epochs
    watch = _Watch(trial, fitness, total, outcome)
    for row in _earlier_rows(place) if begun else []:
        watch.see(row)
    with (place / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        fit(config, resume=begun, data=opened, callbacks=[watch])
    if watch.error is not None:
        raise watch.error
    if outcome.value is None:
        raise SaccadeError("no epoch was scored; evaluate_every and epochs leave none, or its score is not a number.")


def _earlier_rows(place: Path) -> list[dict[str, float]]:
    """Epochs that a killed process has trained."""
    path = place / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def reason_of(error: BaseException) -> str:
    """Why a trial failed, in one line.

    Example:
        >>> reason_of(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
        'out of memory: CUDA out of memory. Tried to allocate 2 GiB'
    """
    text = " ".join(str(error).split())[:_REASON_LENGTH]
    if isinstance(error, NonFiniteLossError):
        return f"diverged: {text.partition('. The batch')[0]}"
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        return f"out of memory: {text}".rstrip(": ")
    return text if isinstance(error, SaccadeError) else f"{type(error).__name__}: {text}"


def is_of_every_trial(error: BaseException, search: Search) -> bool:
    """Whether an error would meet every other trial as well: the data, the disk, the metric."""
    if isinstance(error, (MetricError, OSError)):
        return True
    if isinstance(error, DataError):
        return not any(one.name.startswith("data.") for one in search.space)
    return "Free some space" in str(error)


def _tell(study: Study, trial: Trial, outcome: Outcome) -> None:
    trial.set_user_attr("epochs", outcome.epochs)
    trial.set_user_attr("minutes", outcome.minutes)
    trial.set_user_attr("figures", json.dumps(outcome.figures))
    trial.set_user_attr("best_epoch_value", outcome.value)
    if outcome.state == "failed":
        trial.set_user_attr("reason", outcome.reason)
        study.tell(trial, state=TrialState.FAIL)
    elif outcome.state == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, outcome.value)


def trim(study: Study, folder: Path) -> None:
    """Remove weights and training states of all finished trials but the best one's weights; figures and logs stay."""
    finished = [one for one in counted(study) if one.state.is_finished()]
    complete = [one for one in finished if one.state == TrialState.COMPLETE]
    best = max(complete, key=lambda one: (one.value or 0.0, -one.number), default=None)
    for trial in finished:
        place = folder / str(trial.user_attrs.get("folder", ""))
        if place == folder or not place.is_dir():
            continue
        for heavy in ("last", "nonfinite", "events"):
            shutil.rmtree(place / heavy, ignore_errors=True)
        if best is None or trial.number != best.number:
            for weights in place.glob("best*.safetensors"):
                weights.unlink(missing_ok=True)


def disk_use(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
