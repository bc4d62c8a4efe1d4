"""``report.html`` while a run goes on: curves and figures, without drawings, after the evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from saccade.engine.report.report import write_report
from saccade.engine.report.samples import show_samples
from saccade.engine.train.callbacks import Callback, EpochEvent, StartEvent

__all__ = ["InterimReport"]

_SHARE = 20  # a report may take this part of the time
_FIRST = 1.0  # seconds that the first one is believed to take


class InterimReport(Callback):
    """Callback that writes ``report.html`` after every evaluation, or as often as takes a twentieth of the time.

    The final report, with drawings, takes its place.

    Args:
        folder: The run folder.
        history: Gives the rows of ``metrics.csv``.
        clock: Seconds, rising.

    Example:
        >>> report = InterimReport(Path("runs/digits"), lambda: [{"epoch": 1.0, "train/loss": 2.3}])
    """

    def __init__(
        self,
        folder: Path,
        history: Callable[[], Sequence[Mapping[str, float]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.history = folder, history
        self._clock = clock
        self._took, self._written = _FIRST, clock()
        self._title = ""

    def on_start(self, event: StartEvent) -> None:
        """Remember the name."""
        self._title = f"{event.config.name} (running)"

    def on_epoch(self, event: EpochEvent) -> None:
        """Write it, if it is worth its time."""
        began = self._clock()
        if event.report is None or began - self._written < _SHARE * self._took:
            return
        write_report(
            self.folder / "report.html",
            title=self._title,
            history=self.history(),
            report=event.report,
            drawings=show_samples(self.folder),
            tables={},
            config_yaml=(self.folder / "config.yaml").read_text(encoding="utf-8"),
        )
        self._written = self._clock()
        self._took = self._written - began
