"""A training run: its steps one after another, then the figures of the weights that are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.engine.evaluate.baseline import evaluate_constant_baseline
from saccade.engine.train.callbacks import Callback
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.guard import InterruptGuard
from saccade.engine.train.lock import RunLock
from saccade.engine.train.loggers import check_loggers
from saccade.engine.train.loop import GradientStep, ModelStep
from saccade.engine.train.run_files import settle_status
from saccade.engine.train.session import Session
from saccade.engine.train.setup import Datasets
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.structures.plugins import load_plugins

__all__ = ["RunResult", "fit"]


@dataclass
class RunResult:
    """Outcome of a training run: its folder, the kept weights, the history and the figures.

    Args:
        folder: The run folder.
        model_path: The weights that were kept (``best.safetensors``).
        history: One row an epoch, as in ``metrics.csv``.
        report: Figures of the kept weights on the test split, or on the validation split; None without either.
        baseline: Figures, on the same images, of the constant baseline, which ignores them; None where the task has
            none.
        is_main: This process is the first of the run's, the one that writes files.
    """

    folder: Path
    model_path: Path
    history: list[dict[str, float]]
    report: MetricReport | None
    baseline: MetricReport | None = None
    is_main: bool = True

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the kept weights by name."""
        return {} if self.report is None else self.report.values


def fit(
    config: TrainConfig,
    resume: bool = False,
    model: Model | None = None,
    data: Datasets | Callable[[TrainConfig], Datasets] | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train a network by a configuration; weights, figures and logs go to a run folder.

    Args:
        config: The whole run.
        resume: Go on where the run of that name stopped; the final weights equal an unbroken run's, bit for bit on a
            CPU with the same number of threads.
        model: Train this instead of building ``config.model``.
        data: Train on these instead of opening ``config.data``; or a function that opens those of a step.
        callbacks: Told on the main process of the start, of steps, of every epoch and of the end; each may stop the
            run (:class:`~saccade.engine.train.callbacks.Callback`).

    Raises:
        SaccadeError: For anything the user can mend: data, options, a non-finite loss, a full disk. What was
            trained is kept.
        KeyboardInterrupt: After Ctrl-C, once the state of the last whole step is saved.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.engine.train.config import DataConfig
        >>> train, val = (DigitScenes("classification", split, count=16, size=(32, 32)) for split in ("train", "val"))
        >>> config = TrainConfig(name="digits", model="lenet5", epochs=1, data=DataConfig(batch_size=8, workers=0))
        >>> result = fit(config, data=Datasets(train, val))
        >>> result.model_path.as_posix(), len(result.history), result.report.primary
        ('runs/digits/best.safetensors', 1, 'top1')
    """
    load_plugins(config.plugins)
    check_loggers(config)
    if config.augment.extra:  # before the data are opened, which may take minutes
        from saccade.data.transforms.extra import extra_transforms

        extra_transforms(config.augment.extra)
    with RunLock(Path(config.out) / config.name, active=int(os.environ.get("RANK", "0")) == 0):
        session = Session(config, resume, model, data, callbacks)
        last = None
        try:
            with InterruptGuard() as session.interrupt:
                while session.at.run_step < len(session.steps) and not session.stopped:
                    step = session.steps[session.at.run_step]
                    last = (ModelStep if step.solver == "model" else GradientStep)(session, step).run()
            result = _finish(session, last)
        except BaseException as error:
            session.monitor.fail(session.at.step, error)
            raise
        session.monitor.end(session.at.step, result.metrics, session.stopped)
        if session.is_main and not session.monitor.started:
            settle_status(session.folder.path, session.at.step, result.metrics)
        return result


def _finish(session: Session, last: MetricReport | None) -> RunResult:
    """Figures of the kept weights: on the test split, or else on the validation split.

    Args:
        session: The run.
        last: Figures of the kept weights, where they are those of the last epoch.
    """
    if session.state is not None:  # all is done, and no step has loaded the weights
        session.take_state()
        session.restore_files(session.model)
    session.fabric.barrier()
    data = session.data_of(session.steps[-1])
    held_out = data.test or data.val
    report = last
    if held_out is not None and (data.test is not None or last is None):
        report = session.score(held_out)
        if data.test is not None:
            session.store_metrics(report.values)
            session.display.say(f"test: {_brief(report)}")
        else:
            report.values = session.kept_metrics() | report.values  # losses are those of training
    baseline = None if held_out is None else evaluate_constant_baseline(data.train, held_out, task=session.model.task)
    if baseline is not None:
        value = baseline.values[baseline.primary]
        session.display.say(f"the constant baseline scores {baseline.primary} {value:.4f}")
    session.display.say(f"kept {session.folder.best_model}")
    folder = session.folder
    return RunResult(folder.path, folder.best_model, session.at.history, report, baseline, session.is_main)


def _brief(report: MetricReport) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in list(report.values.items())[:12])
