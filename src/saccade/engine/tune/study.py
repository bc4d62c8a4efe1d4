"""The study of a search in its storage: settings, trials, and what dead processes left behind."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_from_dict, config_to_yaml
from saccade.engine.train.lock import is_alive, process_record
from saccade.engine.tune.fields import plain
from saccade.engine.tune.samplers import make_sampler
from saccade.engine.tune.space import Choice, Dimension, parse_space
from saccade.errors import ConfigError
from saccade.structures.plugins import load_plugins
from saccade.structures.yaml_files import parse_yaml

__all__ = ["Heartbeat", "Search", "abandon", "counted", "is_recipe", "open_study", "read_search", "recover", "suggest"]

_ATTRIBUTE = "saccade_search"
_BEAT_SECONDS = 15.0
# A trial of another machine whose process has not been heard of for so long is given up.
STALE_SECONDS = 300.0
# How often a trial is begun whose process is killed: a third time it would be killed again.
_ATTEMPTS = 2


@dataclass(frozen=True)
class Search:
    """Settings of a search, kept in its storage.

    Args:
        base: Configuration that every trial changes.
        space: Ranges and choices.
        trials: How many in all.
        sampler: Name of the sampler.
        metric: Figure to maximise; the task's own if None.
        prune: Stop trials that are worse than the median of those before.
    """

    base: TrainConfig
    space: list[Dimension]
    trials: int
    sampler: str = "tpe"
    metric: str | None = None
    prune: bool = True

    def to_json(self) -> str:
        """As text for the storage."""
        values = {"base": config_to_yaml(self.base), "space": [str(one) for one in self.space]}
        more = {"trials": self.trials, "sampler": self.sampler, "metric": self.metric, "prune": self.prune}
        return json.dumps(values | more)

    @classmethod
    def from_json(cls, text: str) -> Search:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        base = config_from_dict(TrainConfig, parse_yaml(values["base"], "storage"), "storage")
        load_plugins(base.plugins)
        space = parse_space(base, values.pop("space"))
        return cls(**(values | {"base": base, "space": space}))

    def differs_from(self, other: Search) -> str | None:
        """The first setting in which two searches differ; where the data lie may differ from machine to machine."""
        pairs: list[tuple[str, Any, Any]] = [
            ("space", [str(one) for one in self.space], [str(one) for one in other.space]),
            ("metric", self.metric, other.metric),
        ]
        ours, theirs = _flat(plain(self.base)), _flat(plain(other.base))
        elsewhere = {"out", "name", "data.source", "data.sources", "data.workers", "data.cache"}
        names = (ours.keys() | theirs.keys()) - elsewhere
        pairs += [(name, ours.get(name), theirs.get(name)) for name in sorted(names)]
        for name, own, others in pairs:
            if own != others:
                return f"{name} is {own} here and {others} there"
        return None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


@contextmanager
def open_storage(url: str) -> Iterator[RDBStorage]:
    """The storage of a URL, closed again.

    Raises:
        ConfigError: If it cannot be opened.
    """
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    storage = None
    for attempt in range(5):
        try:
            storage = RDBStorage(url, engine_kwargs=options)
            break
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            raise ConfigError(f"--storage '{_without_password(url)}' cannot be opened: {_brief(error)}") from error
        except SQLAlchemyError as error:  # two processes that make the tables at once
            if attempt == 4:
                raise ConfigError(f"--storage '{_without_password(url)}' cannot be used: {_brief(error)}") from error
            time.sleep(0.5 * (attempt + 1))
    assert storage is not None
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _without_password(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}...@{rest.rpartition('@')[2]}" if "@" in rest else url


def read_search(url: str, name: str) -> Search | None:
    """Settings of the search of that name in a storage; None if there is none."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return None
    with open_storage(url) as storage:
        if name not in optuna.get_all_study_names(storage):
            return None
        text = optuna.load_study(study_name=name, storage=storage).user_attrs.get(_ATTRIBUTE)
    if text is None:
        raise ConfigError(f"storage: study '{name}' was not made by saccade tune. Choose another --out.")
    return Search.from_json(text)


@contextmanager
def open_study(url: str, name: str, search: Search, worker: int = 0) -> Iterator[Study]:
    """The study of a search, made if it is not there; a new one begins with the recipe's own values.

    Args:
        url: Of the storage.
        name: Of the study.
        search: Its settings.
        worker: Number of this process, so that no two draw alike.
    """
    pruner: BasePruner = MedianPruner(n_startup_trials=4, n_warmup_steps=0) if search.prune else NopPruner()
    with open_storage(url) as storage, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna warns of what it calls experimental
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", pruner=pruner, load_if_exists=True
        )
        seed = search.base.seed + 1000 * worker + len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(search.sampler, search.space, search.trials, seed)
        if study.user_attrs.get(_ATTRIBUTE) != search.to_json():
            study.set_user_attr(_ATTRIBUTE, search.to_json())
        yield study


def distributions(space: list[Dimension]) -> dict[str, BaseDistribution]:
    """The space in optuna's terms."""
    found: dict[str, BaseDistribution] = {}
    for one in space:
        if isinstance(one, Choice):
            found[one.name] = CategoricalDistribution(one.labels)
        elif one.whole:
            found[one.name] = IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
        else:
            found[one.name] = FloatDistribution(one.low, one.high, one.log, one.step)
    return found


def suggest(trial: Trial, space: list[Dimension]) -> dict[str, Any]:
    """Draw the values of a trial, as the storage holds them."""
    values: dict[str, Any] = {}
    for name, kind in distributions(space).items():
        if isinstance(kind, CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, kind.choices)
        elif isinstance(kind, IntDistribution):
            values[name] = trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
        elif isinstance(kind, FloatDistribution):
            values[name] = trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)
    return values


def counted(study: Study) -> list[FrozenTrial]:
    """The trials of the search, without those that are begun again or were one too many."""
    return [one for one in study.get_trials(deepcopy=False) if "abandoned" not in one.user_attrs]


def is_recipe(trial: FrozenTrial) -> bool:
    """Whether a trial has the values that the search starts from."""
    return bool(trial.user_attrs.get("recipe"))


def abandon(study: Study, trial: FrozenTrial, reason: str, again: bool = True) -> bool:
    """Take a trial out of the count, and put its values at the head of the queue.

    Args:
        study: Of the trial.
        trial: A trial that runs no more.
        reason: Why.
        again: Begin it again, with its values and in its folder.

    Returns:
        Whether this call did it; another process may have been first.
    """
    attempt = int(trial.user_attrs.get("attempt", 1))
    # One that had drawn no values yet may have been given some: those of the recipe, or of an earlier attempt.
    values = trial.params or trial.system_attrs.get("fixed_params", {})
    again = again and bool(values)
    repeated = again and attempt >= _ATTEMPTS
    key, text = ("reason", f"{reason}, {attempt} times; out of memory?") if repeated else ("abandoned", reason)
    try:
        study._storage.set_trial_user_attr(trial._trial_id, key, text)
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):  # finished meanwhile
        return False
    if again and not repeated:
        kept: dict[str, Any] = {
            name: trial.user_attrs[name] for name in ("recipe", "folder") if name in trial.user_attrs
        }
        study.enqueue_trial(values, user_attrs={**kept, "attempt": attempt + (reason != "interrupted")})
    return True


def recover(study: Study) -> list[int]:
    """Begin trials again whose process has died.

    Returns:
        Their numbers.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [one.number for one in running if _is_dead(one) and abandon(study, one, "its process was killed")]


def _is_dead(trial: FrozenTrial) -> bool:
    holder = trial.user_attrs.get("process")
    if holder is None:  # killed before it was known, or just begun
        started = trial.datetime_start
        return started is not None and time.time() - started.timestamp() > 60
    if holder["host"] == process_record()["host"]:
        return not is_alive(holder)
    return time.time() - float(trial.user_attrs.get("beat", 0.0)) > STALE_SECONDS


class Heartbeat:
    """Says in the storage, every some seconds, that the process of a trial is alive.

    Args:
        study: Of the trial.
        trial: The trial.
    """

    def __init__(self, study: Study, trial: Trial) -> None:
        self._study, self._trial, self._ended = study, trial, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        storage = self._study._storage
        while not self._ended.wait(_BEAT_SECONDS):
            with suppress(Exception):  # a storage that is away for a while is no reason to end a trial
                storage.set_trial_user_attr(self._trial._trial_id, "beat", time.time())
        if isinstance(storage, RDBStorage):
            storage.remove_session()
