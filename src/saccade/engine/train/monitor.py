"""Monitor of a run: how fast it is, when its figures are read, and who is told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from saccade.engine.train.callbacks import Callback, EndEvent, EpochEvent, StartEvent, StepEvent
from saccade.engine.train.pace import Pace
from saccade.engine.train.progress import TrainingDisplay

__all__ = ["Monitor"]

_LONGEST = 30.0  # seconds between two events of steps


class Monitor:
    """Tells the display and the callbacks of a run what happens; silent on all processes but the main one.

    Figures are read from the device every ``log_every`` steps, and in between only where the display is due: a GPU
    waits when it is asked for one.

    Args:
        display: Of the run.
        callbacks: Told of every event, in this order.
        log_every: Steps between two events.

    Example:
        >>> monitor = Monitor(TrainingDisplay(active=True), [], log_every=50)
        >>> monitor.due(step=49, images=16), monitor.due(step=50, images=16)
        (False, True)
    """

    def __init__(self, display: TrainingDisplay, callbacks: Sequence[Callback], log_every: int) -> None:
        self.display, self.callbacks, self.log_every = display, callbacks, log_every
        self.pace = Pace()
        self.stop = False  # a callback asked for it
        self.started = self._ended = False
        self._told = time.monotonic()

    def start(self, event: StartEvent) -> None:
        """The run begins; once, also of several steps."""
        if self.started or not self.display.active:
            return
        self.started = True
        for callback in self.callbacks:
            callback.on_start(event)

    def due(self, step: int, images: int) -> bool:
        """Count a step of so many images; returns whether its figures are to be read."""
        if not self.display.active:
            return False
        self.pace.step(images)
        return self._event_due(step) or self.display.due()

    def step(self, event: StepEvent) -> None:
        """Show the figures of a step, and tell the callbacks if it is time."""
        if self.display.due():
            self.display.note(event)
        if self._event_due(event.step):
            self._told = time.monotonic()
            for callback in self.callbacks:
                self.stop |= bool(callback.on_step(event))

    def epoch(self, event: EpochEvent) -> None:
        """Tell of an epoch that is over."""
        self.pace.end_epoch()
        if self.display.active:
            for callback in self.callbacks:
                self.stop |= bool(callback.on_epoch(event))

    def end(self, step: int, metrics: Mapping[str, float], stopped: bool) -> None:
        """The run came to its end."""
        if self.started and not self._ended:
            self._ended = True
            for callback in self.callbacks:
                callback.on_end(EndEvent("stopped" if stopped else "finished", step, metrics))

    def fail(self, step: int, error: BaseException) -> None:
        """The run ends by an error, which no callback may hide."""
        if not self.started or self._ended:
            return
        self._ended = True
        interrupted = isinstance(error, KeyboardInterrupt)
        text = "" if interrupted else f"{type(error).__name__}: {error}"
        for callback in self.callbacks:
            self._end_despite_errors(callback, EndEvent("interrupted" if interrupted else "failed", step, {}, text))

    def _end_despite_errors(self, callback: Callback, event: EndEvent) -> None:
        try:
            callback.on_end(event)
        except Exception as error:
            self.display.say(f"{type(callback).__name__}.on_end: {type(error).__name__}: {error}")

    def _event_due(self, step: int) -> bool:
        return step % self.log_every == 0 or time.monotonic() - self._told >= _LONGEST
