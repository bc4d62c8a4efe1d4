"""A whole search: checks before the first trial, trials in one process or several, best recipe and report."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from saccade.data.transforms.steps import check_settings
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_to_yaml
from saccade.engine.train.guard import InterruptGuard
from saccade.engine.train.phases import resolve_phases
from saccade.engine.train.samplers import batches_an_update
from saccade.engine.train.setup import build_model
from saccade.engine.train.steps import resolve_steps
from saccade.engine.tune.fields import get_field, with_fields
from saccade.engine.tune.fitness import Fitness, choose_fitness
from saccade.engine.tune.report import importances, trial_rows, write_tune_report
from saccade.engine.tune.samplers import make_sampler
from saccade.engine.tune.space import Choice, Dimension, has_value, to_config
from saccade.engine.tune.study import Search, abandon, counted, is_recipe, open_study, read_search, recover
from saccade.engine.tune.trials import Opened, Outcome, disk_use, run_trial, take_trial, trim
from saccade.errors import ConfigError, SaccadeError
from saccade.models.registry import get_builder
from saccade.structures.files import write_text
from saccade.structures.text import printable
from saccade.tasks import get_task

__all__ = ["TuneResult", "run_search", "run_worker", "storage_url"]

_INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)  # codes of a process that was asked to end
_SAME_FAULT = 3  # so many trials that fail alike before any succeeds end the search
_REPORT_SECONDS = 60.0  # between two reports of a search that goes on


@dataclass
class TuneResult:
    """Outcome of a search.

    Args:
        folder: Of the search.
        metric: Name of what was maximised.
        best_value: Fitness of the best trial.
        best_values: Its values by field.
        best_config: YAML file of the recipe with them, for ``saccade train --config``.
        report: ``tune.html``.
        recipe_value: Fitness of the values that the search started from; None if they are outside the space.
        trials: One row a trial.
        importances: Share of the variance that each field explains; empty for few trials.
    """

    folder: Path
    metric: str
    best_value: float
    best_values: dict[str, Any]
    best_config: Path
    report: Path
    recipe_value: float | None = None
    trials: list[dict[str, Any]] = field(default_factory=list)
    importances: dict[str, float] = field(default_factory=dict)


def storage_url(folder: Path, storage: str | None) -> str:
    """URL of the storage: a SQLite file in the folder of the search if none is given.

    Example:
        >>> storage_url(Path("runs/x_tune"), None)
        'sqlite:///runs/x_tune/study.db'
    """
    return storage or f"sqlite:///{(folder / 'study.db').as_posix()}"


def run_search(
    search: Search | None,
    folder: Path,
    jobs: int = 1,
    storage: str | None = None,
    resume: bool = False,
    given: Mapping[str, Any] | None = None,
) -> TuneResult:
    """Search to the end, or go on with a search.

    Args:
        search: Its settings; None, with ``resume``, for those in the storage.
        folder: Where trials, best recipe and report go. Its name is that of the study.
        jobs: Processes on this machine.
        storage: URL of a storage that several machines share.
        resume: Go on with the search of that folder.
        given: Number of trials and sampler that were asked for; None stands for what the search has.

    Raises:
        SaccadeError: If the search cannot begin, there is one already, or every trial would meet the same error.
        KeyboardInterrupt: After Ctrl-C; what was done is kept.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}; it is a number of processes, at least 1.")
    url = storage_url(folder, storage)
    search = _agreed(search, url, folder, storage is not None, resume)
    search = replace(search, **{name: value for name, value in (given or {}).items() if value is not None})
    if search.trials < 1:
        raise ConfigError(f"--trials is {search.trials}; it is at least 1.")
    opened = Opened(search.base)
    _check_before(search, opened)
    fitness = choose_fitness(get_task(get_builder(search.base.model).task), search.metric)
    folder.mkdir(parents=True, exist_ok=True)
    with open_study(url, folder.name, search) as study:
        _begin(study, search)
        for number in recover(study):
            _say(f"trial {number} was cut off when its process was killed; it is begun again")
        done = sum(one.state.is_finished() for one in counted(study))
        _say(f"{folder}: {search.trials} trials, {done} done; sampler {search.sampler}, {jobs} process(es)")
        for one in search.space:
            _say(f"  {one}")
        try:
            if jobs == 1:
                _work(study, search, folder, opened, fitness)
            else:
                _work_together(study, search, folder, url, jobs)
        finally:
            trim(study, folder / "trials")
            metric = _write_best(study, search, folder, fitness, report=True)
        return _result(study, search, folder, metric)


def _agreed(search: Search | None, url: str, folder: Path, shared: bool, resume: bool) -> Search:
    """The settings of a search, which are those of its storage where it has begun."""
    before = read_search(url, folder.name)
    if before is None:
        if search is None:
            raise ConfigError(f"{folder} holds no search to go on with. Check --out, or start one without --resume.")
        return search
    if not resume and not shared:
        raise ConfigError(
            f"{folder} already holds a search. Add --resume to go on with it, --out OTHER to keep it, or delete it."
        )
    if search is None:
        return before
    search = replace(search, trials=before.trials, sampler=before.sampler)
    difference = search.differs_from(before)
    if difference is not None:
        raise ConfigError(
            f"{folder}: the search there is another one ({difference}). Take its settings, or another --out."
        )
    return search


def _check_before(search: Search, opened: Opened) -> None:
    """Meet, before the first trial, what every trial or an end of a range would meet."""
    base = opened.base
    if base.data.val is None:
        raise ConfigError("tune chooses by the validation split, and data.val is not set. Name one: --data.val SPLIT.")
    make_sampler(search.sampler, search.space, search.trials, 0)
    first = resolve_steps(base)[0].config
    data = opened(first)
    build_model(first, data.train.info, pretrained=False)
    target = data.train.target(0) if len(data.train) else {}
    for one in search.space:
        for value in one.ends:
            _check_value(base, one, value, data, target)


def _check_value(base: TrainConfig, one: Dimension, value: Any, data: Any, target: dict[str, Any]) -> None:
    """Refuse an end of a range that the network or the augmentation would refuse."""
    head = one.name.partition(".")[0]
    if head not in ("model", "model_args", "augment", "phases", "steps", "data", "nominal_batch", "accumulate"):
        return
    try:
        config = with_fields(base, {one.name: value})
        for step in resolve_steps(config):
            info = data.train.info
            model = build_model(step.config, info, pretrained=False)
            for settings in resolve_phases(step.config, model):
                check_settings(settings.augment, model.input_spec, info, target, "augment")
            batches_an_update(step.config)
    except (SaccadeError, ValueError, TypeError, RuntimeError) as error:
        text = " ".join(str(error).split())
        shown = value if isinstance(one, Choice) else f"{value:g}"
        raise ConfigError(f"--space {one.name}: {shown} is refused: {text}") from error


def _begin(study: Study, search: Search) -> None:
    """Put the recipe's own values at the head of a new search."""
    if study.get_trials(deepcopy=False):
        return
    outside = [one.name for one in search.space if not has_value(search.base, one)]
    if outside:
        name = outside[0]
        _say(f"the recipe's own {name} ({get_field(search.base, name)}) is outside the space: no trial has its values")
        return
    values = {one.name: get_field(search.base, one.name) for one in search.space}
    labels = {
        one.name: one.labels[one.choices.index(values[one.name])] if isinstance(one, Choice) else values[one.name]
        for one in search.space
    }
    study.enqueue_trial(labels, user_attrs={"recipe": True})


def _work(study: Study, search: Search, folder: Path, opened: Opened, fitness: Fitness, jobs: int = 1) -> None:
    """Run trials in this process until the search has them all."""
    times: list[float] = []
    written = time.monotonic()
    while (outcome := _next_outcome(study, search, folder / "trials", opened, fitness)) is not None:
        times.append(outcome.minutes)
        trim(study, folder / "trials")
        _say(_progress(study, search, outcome, sum(times) / len(times) / jobs))
        if outcome.fatal is not None:
            raise outcome.fatal
        _stop_if_all_fail(study)
        if jobs == 1 or time.monotonic() - written > _REPORT_SECONDS:
            late = time.monotonic() - written > _REPORT_SECONDS
            _write_best(study, search, folder, fitness, report=late)
            written = time.monotonic() if late else written


def _next_outcome(study: Study, search: Search, folder: Path, opened: Opened, fitness: Fitness) -> Outcome | None:
    """Take a trial and run it; one that is interrupted, at whatever moment, is at the head of the queue after that."""
    trial = None
    try:
        with InterruptGuard() as guard:  # taken as a whole or not at all
            trial = take_trial(study, search.trials)
        guard.raise_if_requested()
        return None if trial is None else run_trial(search, study, trial, folder, opened, fitness)
    except KeyboardInterrupt:
        if trial is not None:
            abandon(study, study.trials[trial.number], "interrupted")
        raise


def _progress(study: Study, search: Search, outcome: Outcome, minutes_a_trial: float) -> str:
    """One line: what the trial reached, the best so far, and the minutes that are left."""
    trials = counted(study)
    done = sum(one.state.is_finished() for one in trials)
    left = max(search.trials - done, 0) * minutes_a_trial
    best = _best(study)
    parts = [f"trial {outcome.number} ({done}/{search.trials})"]
    if outcome.state == "failed":
        parts.append(f"failed: {outcome.reason}")
    else:
        figures = "  ".join(
            f"{name} {value:.4f}" for name, value in outcome.figures.items() if name in ("AP", "AP50", "loss")
        )
        pruned = f" pruned after epoch {outcome.epochs}" if outcome.state == "pruned" else ""
        parts.append(f"{outcome.value:.4f}{pruned}" + (f" ({figures})" if figures else ""))
    if best is not None:
        parts.append(f"best {best.value:.4f} (trial {best.number})")
    parts.append(f"{outcome.minutes:.1f} min, {left:.1f} min left")
    return "  ".join(parts)


def _stop_if_all_fail(study: Study) -> None:
    trials = [one for one in counted(study) if one.state.is_finished()]
    reasons = {_words(one.user_attrs.get("reason", "")) for one in trials}
    if len(trials) < _SAME_FAULT or any(one.state != TrialState.FAIL for one in trials) or len(reasons) > 1:
        return
    reason = trials[0].user_attrs.get("reason", "")
    if not reason.startswith("diverged"):
        raise ConfigError(f"the first {len(trials)} trials all fail alike: {reason}")


def _words(reason: str) -> str:
    return "".join(letter for letter in reason if not letter.isdigit())


def _best(study: Study) -> FrozenTrial | None:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda one: (one.value or 0.0, -one.number), default=None)


def _write_best(study: Study, search: Search, folder: Path, fitness: Fitness, report: bool) -> str:
    """Write ``best.yaml``, and the report if asked for; returns the name of what is maximised."""
    best = _best(study)
    metric, text = fitness.name_for({}), ""
    if best is not None:
        figures = json.loads(best.user_attrs.get("figures", "{}"))
        metric = fitness.name_for({f"val/{name}": value for name, value in figures.items()})
        config = to_config(search.base, search.space, best.params)
        text = config_to_yaml(replace(config, name=f"{search.base.name}_tuned"))
        path = folder / "best.yaml"
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)
    if report:
        write_tune_report(folder / "tune.html", f"{folder.name}: search", study, search.space, metric, text)
    return metric


def _result(study: Study, search: Search, folder: Path, metric: str) -> TuneResult:
    best = _best(study)
    if best is None or best.value is None:
        reasons = [one.user_attrs["reason"] for one in counted(study) if one.user_attrs.get("reason")]
        raise ConfigError(
            f"no trial of {folder} was completed{f'; the last failed: {reasons[-1]}' if reasons else ''}. "
            "Widen the space, or --no-prune."
        )
    recipe = next((one.value for one in study.trials if is_recipe(one) and one.state == TrialState.COMPLETE), None)
    values = {
        one.name: one.value_of(best.params[one.name]) if isinstance(one, Choice) else best.params[one.name]
        for one in search.space
    }
    path = folder / "best.yaml"
    rows = trial_rows(counted(study), search.space)
    _say(
        f"best: trial {best.number}, {metric} {best.value:.4f}"
        + ("" if recipe is None else f"; the recipe {recipe:.4f}")
    )
    _say(f"{folder} takes {disk_use(folder) / 1e6:.1f} MB; the weights of trial {best.number} are kept")
    _say(f"train it: {shlex.join(['saccade', 'train', '--config', str(path)])}")
    return TuneResult(folder, metric, best.value, values, path, folder / "tune.html", recipe, rows, importances(study))


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - progress, as in training


# ---- several processes ----


def _work_together(study: Study, search: Search, folder: Path, url: str, jobs: int) -> None:
    """Run trials in processes of their own; one that is killed is replaced."""
    running: dict[int, subprocess.Popen[str]] = {}
    allowed = 2 * jobs  # replacements
    try:
        for number in range(jobs):
            running[number] = _start_worker(folder, url, jobs, number)
        while running:
            time.sleep(0.2)
            for number, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[number]
                message = process.communicate()[0].strip()
                if code == 0:
                    continue
                if code in _INTERRUPTED:
                    raise KeyboardInterrupt
                if code > 0:
                    _end(running)
                    raise ConfigError(message or f"a process of the search ended with code {code}.")
                _say(f"a process of the search was killed by signal {-code} (out of memory?)")
                for lost in recover(study):
                    _say(f"trial {lost} was cut off when its process was killed; it is begun again")
                if allowed > 0:
                    allowed -= 1
                    running[number] = _start_worker(folder, url, jobs, number + jobs)
    except KeyboardInterrupt:
        _end(running)
        raise
    if any(one.state == TrialState.WAITING for one in counted(study)):
        raise SaccadeError(f"{2 * jobs} processes of the search were killed. Fewer --jobs need less memory; --resume.")


def _start_worker(folder: Path, url: str, jobs: int, number: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109
    environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // jobs, 1)))
    process = subprocess.Popen(
        [sys.executable, "-m", "saccade.engine.tune.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        # Ctrl-C of the terminal reaches this process alone, which asks each of its own to end, once.
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        # Not in the arguments, which every user of the machine can read: a URL may hold a password.
        process.stdin.write(json.dumps({"folder": str(folder), "url": url, "jobs": jobs, "number": number}))
        process.stdin.close()
    process.stdin = None
    return process


def _end(running: Mapping[int, subprocess.Popen[str]]) -> None:
    """Ask the processes to end after the step under way, and wait for them."""
    for process in running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    ends = time.monotonic() + 60
    while any(process.poll() is None for process in running.values()) and time.monotonic() < ends:
        time.sleep(0.1)
    for process in running.values():
        process.kill()
        process.communicate()


def run_worker(settings: Mapping[str, Any]) -> None:
    """Run trials as one of several processes of a search.

    Args:
        settings: ``folder``, ``url``, ``jobs`` and ``number`` of the process.
    """
    folder, url = Path(settings["folder"]), str(settings["url"])
    search = read_search(url, folder.name)
    assert search is not None
    with open_study(url, folder.name, search, worker=int(settings["number"]) + 1) as study:
        fitness = choose_fitness(get_task(get_builder(search.base.model).task), search.metric)
        _work(study, search, folder, Opened(search.base), fitness, jobs=int(settings["jobs"]))
