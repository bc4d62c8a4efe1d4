"""``metrics.jsonl`` and ``status.json``: a run that can be watched from outside while it runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from saccade.engine.train.callbacks import Callback, EndEvent, EpochEvent, StartEvent, StepEvent
from saccade.structures.files import explain_write_errors, to_json, write_text

__all__ = ["RunFiles", "settle_status"]


class RunFiles(Callback):
    """Callback that writes ``metrics.jsonl``, a line an event, and ``status.json``, what holds now.

    The status is always a whole file. Lines of the metrics beyond the position that a run goes on from are taken out
    again, so that each step is there once.

    Args:
        folder: The run folder.

    Example:
        >>> Path("digits").mkdir()
        >>> files = RunFiles(Path("digits"))
        >>> model = saccade.create_model("lenet5")
        >>> files.on_start(StartEvent(saccade.recipe("lenet5_mnist"), files.folder, model, step=0, steps=400))
        >>> files.on_step(StepEvent(1, 4, 50, 400, {"cross_entropy": 2.3}, 0.01, 80.0, 70.0))
        >>> status = json.loads(Path("digits/status.json").read_text())
        >>> status["state"], status["step"], status["seconds_left"]
        ('running', 50, 70.0)
        >>> files.on_end(EndEvent("finished", 400, {"top1": 0.99}))
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics, self.status = folder / "metrics.jsonl", folder / "status.json"
        self._file: TextIO | None = None
        self._now: dict[str, Any] = {}

    def on_start(self, event: StartEvent) -> None:
        """Take out what goes beyond the position, and say that the run is running."""
        if self.metrics.exists():
            kept = [
                line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _is_done(line, event.step)
            ]
            write_text(self.metrics, "".join(f"{line}\n" for line in kept))
        with explain_write_errors(self.metrics):
            self._file = self.metrics.open("a", encoding="utf-8")
        self._now = {"state": "running", "name": event.config.name, "pid": os.getpid(), "error": ""}
        self._tell(step=event.step, steps=event.steps, started=_now())

    def on_step(self, event: StepEvent) -> None:
        """Add a line, and renew the status."""
        figures = {"loss": event.loss, **event.losses, "lr": event.lr, "images_per_second": event.images_per_second}
        self._add("step", {"epoch": event.epoch, "step": event.step, **figures})
        self._tell(
            epoch=event.epoch,
            epochs=event.epochs,
            step=event.step,
            steps=event.steps,
            seconds_left=event.seconds_left,
            images_per_second=event.images_per_second,
            losses=dict(event.losses),
        )

    def on_epoch(self, event: EpochEvent) -> None:
        """Add the row of the epoch, and renew the status."""
        self._add("epoch", {**event.figures, "epoch": event.epoch, "step": event.step})
        self._tell(
            epoch=event.epoch,
            epochs=event.epochs,
            step=event.step,
            seconds_left=event.seconds_left,
            figures=dict(event.figures),
        )

    def on_end(self, event: EndEvent) -> None:
        """Say how it ended."""
        if self._file is not None:
            self._file.close()
        over = event.state in ("finished", "stopped")
        last = {"seconds_left": 0.0, "steps": event.step, "metrics": dict(event.metrics)} if over else {}
        self._tell(state=event.state, error=event.error, step=event.step, **last)

    def _add(self, event: str, figures: dict[str, Any]) -> None:
        assert self._file is not None
        with explain_write_errors(self.metrics):
            self._file.write(to_json({"event": event, "time": _now(), **figures}) + "\n")
            self._file.flush()

    def _tell(self, **changes: Any) -> None:
        self._now |= {**changes, "updated": _now()}
        write_text(self.status, to_json(self._now, indent=1), durable=False)


def settle_status(folder: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Say that a run is finished which was killed while it was scored, and of which nothing was left to train.

    A status that says so already, or a folder without one, stays as it is.

    Args:
        folder: Of the run.
        step: Steps that it took.
        metrics: Figures of the kept weights.

    Example:
        >>> _ = Path("status.json").write_text('{"state": "running", "name": "digits"}')
        >>> settle_status(Path(), 40, {"top1": 0.9})
        >>> status = json.loads(Path("status.json").read_text())
        >>> status["state"], status["step"], status["metrics"]
        ('finished', 40, {'top1': 0.9})
    """
    file = folder / "status.json"
    try:
        now = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if now.get("state") not in ("finished", "stopped"):
        over = {"state": "finished", "error": "", "step": step, "seconds_left": 0.0, "metrics": dict(metrics)}
        write_text(file, to_json({**now, **over, "updated": _now()}, indent=1), durable=False)


def _is_done(line: str, step: int) -> bool:
    """Whether a line is whole and within the steps that are done."""
    try:
        return 0 < json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False  # cut off when a process was killed


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
