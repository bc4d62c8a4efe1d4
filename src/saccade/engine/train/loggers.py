"""Loggers: callbacks that send the figures of a run to TensorBoard, a CSV file, MLflow or Weights & Biases."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from saccade.engine.train.callbacks import Callback, EndEvent, EpochEvent, StartEvent, StepEvent
from saccade.engine.train.config import TrainConfig
from saccade.errors import ConfigError, did_you_mean
from saccade.structures.files import explain_write_errors, write_text
from saccade.structures.plugins import load_installed

__all__ = [
    "CsvLogger",
    "MlflowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "check_loggers",
    "make_loggers",
    "register_logger",
]


class TensorBoardLogger(Callback):
    """Logger that writes TensorBoard's event files, ``events/`` in the run folder.

    Example:
        >>> config = TrainConfig(loggers=("tensorboard",))  # as it is anyway
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._writer: Any = None

    def on_start(self, event: StartEvent) -> None:
        """Remember where to write; events beyond the position of a run that goes on are hidden."""
        self.folder = event.folder / "events"
        self._purge = event.step + 1

    def on_step(self, event: StepEvent) -> None:
        """Add losses, rate and speed."""
        self._add(_of_step(event), event.step)

    def on_epoch(self, event: EpochEvent) -> None:
        """Add the figures of the epoch."""
        self._add(event.figures, event.step)
        with explain_write_errors(self.folder):
            self._writer.flush()

    def on_end(self, event: EndEvent) -> None:
        """Finish the file."""
        if self._writer is not None:
            with explain_write_errors(self.folder):
                self._writer.close()

    def _add(self, figures: Mapping[str, float], step: int) -> None:
        with explain_write_errors(self.folder):
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self.folder), purge_step=self._purge)
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)


class CsvLogger(Callback):
    """Logger that writes ``steps.csv`` in the run folder: a row each time that the figures of a step are read.

    Rows of epochs are in ``metrics.csv``, which every run has.

    Example:
        >>> config = TrainConfig(loggers=("tensorboard", "csv"), log_every=10)
    """

    def __init__(self) -> None:
        self.path = Path()
        self._rows: list[dict[str, str]] = []

    def on_start(self, event: StartEvent) -> None:
        """Read the rows of a run that goes on, up to where it does."""
        self.path = event.folder / "steps.csv"
        self._rows = []
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if 0 < int(row["step"] or 0) <= event.step]
            self.path.unlink()
        for row in self._rows:
            self._write(row)

    def on_step(self, event: StepEvent) -> None:
        """Add a row."""
        figures = {"epoch": event.epoch, "step": event.step, **_of_step(event)}
        self._write({name: f"{value:.9g}" for name, value in figures.items()})

    def _write(self, row: Mapping[str, str]) -> None:
        with explain_write_errors(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


class MlflowLogger(Callback):
    """Logger to MLflow (extra ``mlflow``): settings as parameters, figures as metrics.

    Where to, and under which experiment, is set as ever: ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``. A run
    that goes on goes on there too.

    Raises:
        ConfigError: If MLflow is not installed.

    Example:
        >>> config = TrainConfig(loggers=("tensorboard", "mlflow"))  # pip install "saccade[mlflow]"
    """

    def __init__(self) -> None:
        self._mlflow = _require("mlflow")

    def on_start(self, event: StartEvent) -> None:
        """Begin a run, or go on with it, and log the settings."""
        known = _remembered(event.folder / "mlflow_run.txt", event.step)
        run = self._mlflow.start_run(run_id=known or None, run_name=None if known else event.config.name)
        write_text(event.folder / "mlflow_run.txt", run.info.run_id)
        if not known:
            settings = list(_settings(event.config).items())
            for start in range(0, len(settings), 100):  # as many as the server takes at once
                self._mlflow.log_params({name: str(value)[:500] for name, value in settings[start : start + 100]})

    def on_step(self, event: StepEvent) -> None:
        """Log losses, rate and speed."""
        self._mlflow.log_metrics(_of_step(event), step=event.step)

    def on_epoch(self, event: EpochEvent) -> None:
        """Log the figures of the epoch."""
        self._mlflow.log_metrics(dict(event.figures), step=event.step)

    def on_end(self, event: EndEvent) -> None:
        """Log the final figures and close the run."""
        if event.metrics:
            self._mlflow.log_metrics({f"final/{name}": value for name, value in event.metrics.items()})
        states = {"failed": "FAILED", "interrupted": "KILLED"}
        self._mlflow.end_run(status=states.get(event.state, "FINISHED"))


class WandbLogger(Callback):
    """Logger to Weights & Biases (extra ``wandb``): settings, figures, and the final ones as summary.

    The project is ``saccade`` unless ``WANDB_PROJECT`` says otherwise; ``WANDB_MODE=offline`` sends nothing. A run that
    goes on goes on there too.

    Raises:
        ConfigError: If wandb is not installed.

    Example:
        >>> config = TrainConfig(loggers=("tensorboard", "wandb"))  # pip install "saccade[wandb]"
    """

    def __init__(self) -> None:
        self._wandb = _require("wandb")
        self._run: Any = None

    def on_start(self, event: StartEvent) -> None:
        """Begin a run, or go on with it, with the settings."""
        known = _remembered(event.folder / "wandb_run.txt", event.step)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "saccade"),
            name=event.config.name,
            config=_settings(event.config),
            dir=str(event.folder),
            id=known or None,
            resume="allow" if known else None,
        )
        write_text(event.folder / "wandb_run.txt", str(self._run.id))

    def on_step(self, event: StepEvent) -> None:
        """Log losses, rate and speed."""
        self._run.log(_of_step(event), step=event.step)

    def on_epoch(self, event: EpochEvent) -> None:
        """Log the figures of the epoch."""
        self._run.log(dict(event.figures), step=event.step)

    def on_end(self, event: EndEvent) -> None:
        """Write the final figures as summary and close the run."""
        self._run.summary.update(dict(event.metrics))
        self._run.finish(exit_code=0 if event.state in ("finished", "stopped") else 1)


_OWN: dict[str, Callable[[], Callback]] = {
    "tensorboard": TensorBoardLogger,
    "csv": CsvLogger,
    "mlflow": MlflowLogger,
    "wandb": WandbLogger,
}
_REGISTERED: dict[str, Callable[[], Callback]] = {}


def register_logger(name: str, make: Callable[[], Callback]) -> None:
    """Add a callback of one's own that ``loggers`` names, in configurations and in the shell.

    Args:
        name: Of the logger; one that was registered before is replaced.
        make: The class, or a function, that makes the callback of a run.

    Raises:
        ConfigError: If the package has a logger of that name.

    Example:
        >>> class Print(Callback):
        ...     def on_epoch(self, event: EpochEvent) -> None:
        ...         print(event.epoch, event.figures)
        >>> register_logger("print", Print)
        >>> [type(logger).__name__ for logger in make_loggers(TrainConfig(loggers=("print",)))]
        ['Print']
        >>> del _REGISTERED["print"]  # as if it had never been
    """
    if name in _OWN:
        raise ConfigError(f"'{name}' is a logger of the package. Choose another name.")
    _REGISTERED[name] = make


def check_loggers(config: TrainConfig) -> None:
    """Refuse the name of a logger that there is not, before the run begins.

    Raises:
        ConfigError: With the nearest name.

    Example:
        >>> check_loggers(TrainConfig(loggers=("tensorbord",)))
        Traceback (most recent call last):
        saccade.errors.ConfigError: loggers: there is no 'tensorbord'. Did you mean 'tensorboard'? ...
    """
    if any(name not in _OWN and name not in _REGISTERED for name in config.loggers):
        load_installed()
    known = {**_OWN, **_REGISTERED}
    for name in config.loggers:
        if name not in known:
            raise ConfigError(
                f"loggers: there is no '{name}'.{did_you_mean(name, known)} One of your own is registered by its "
                "module (--plugin MODULE; in Python import it)."
            )


def make_loggers(config: TrainConfig) -> list[Callback]:
    """Build the loggers that a configuration names.

    Raises:
        ConfigError: If there is none of a name, or the package of one is not installed.

    Example:
        >>> [type(logger).__name__ for logger in make_loggers(TrainConfig(loggers=("csv", "tensorboard")))]
        ['CsvLogger', 'TensorBoardLogger']
    """
    check_loggers(config)
    return [{**_OWN, **_REGISTERED}[name]() for name in dict.fromkeys(config.loggers)]


def _of_step(event: StepEvent) -> dict[str, float]:
    losses = {f"step/{name}": value for name, value in event.losses.items()}
    return {"step/loss": event.loss, **losses, "step/lr": event.lr, "step/images_per_second": event.images_per_second}


def _settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """All fields by their dotted names."""
    found: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            found |= _settings(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"loggers: '{package}' is not installed ({error}). pip install \"saccade[{package}]\", or leave it out."
        ) from error


def _remembered(path: Path, step: int) -> str:
    """What a run that goes on is called elsewhere; empty for one that begins."""
    return path.read_text(encoding="utf-8").strip() if step > 0 and path.is_file() else ""
