"""Progress of a run: a bar on a terminal; elsewhere a line an epoch, and at least every 30 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from saccade.engine.train.callbacks import StepEvent
from saccade.engine.train.pace import duration
from saccade.structures.text import printable

__all__ = ["TrainingDisplay", "describe_step", "estimate", "note", "track"]

_REFRESH = 0.5  # seconds between two figures of a bar
_BETWEEN_LINES = 30.0  # seconds between two lines where there is no bar
_BEFORE_ESTIMATE = 5.0  # seconds of training before its whole length is told
_BAR = 12  # columns


class TrainingDisplay:
    """Progress of a training run; silent on all processes but the first.

    Args:
        active: Whether this process prints.
        clock: Seconds, rising.
    """

    def __init__(self, active: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.active = active
        self._clock = clock
        self._bar: Any = None
        self._task: Any = None
        self._room = 80  # columns for the note beside the bar
        self._shown: float | None = None  # when a figure was shown
        self._estimated = False

    def epoch(self, batches: Iterable[Any], epoch: int, total_epochs: int, steps: int, start: int) -> Iterator[Any]:
        """Yield the batches of one epoch under a bar."""
        if self._shown is None:
            self._shown = self._clock()
        if not self.active or not sys.stderr.isatty():
            yield from batches
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        title = f"epoch {epoch + 1}/{total_epochs}"
        columns = (
            TextColumn(f"[bold]{title}"),
            BarColumn(_BAR),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        console = Console(stderr=True)
        self._room = console.width - len(title) - _BAR - 2 * len(str(steps)) - 5
        with Progress(*columns, console=console, transient=True, refresh_per_second=2) as self._bar:
            self._task = self._bar.add_task("", total=steps, completed=start, note="")
            for batch in batches:
                yield batch
                self._bar.advance(self._task)
        self._bar = None

    def due(self) -> bool:
        """Whether it is time to show a new figure (asking a GPU for one makes it wait)."""
        if not self.active or self._shown is None:
            return False
        without_bar = _BETWEEN_LINES if self._estimated else _BEFORE_ESTIMATE
        return self._clock() - self._shown >= (without_bar if self._bar is None else _REFRESH)

    def note(self, event: StepEvent) -> None:
        """Show the figures of a step: beside the bar, or as a line."""
        if self._bar is not None:
            self._shown = self._clock()
            self._bar.update(self._task, note=_beside_bar(event, self._room))
            return
        if not self._estimated and event.seconds_left is None:
            return  # the speed is known after the next step
        self._shown = self._clock()
        if not self._estimated:
            self._estimated = True
            self.say(estimate(event))
        self.say(describe_step(event))

    def track(self, batches: Iterable[Any], total: int, label: str) -> Iterator[Any]:
        """Iterate under a bar of its own, between two epochs; see :func:`track`."""
        return track(batches, total, label) if self.active else iter(batches)

    def end_epoch(self, row: Mapping[str, float], total_epochs: int, primary: str | None) -> None:
        """Print one line with the figures of the epoch."""
        if not self.active:
            return
        parts = [
            f"epoch {int(row['epoch'])}/{total_epochs}",
            f"{row['minutes']:.1f} min",
        ]
        # A step that the model solved has figures of its own and no loss.
        figures = ["train/loss"] if "train/loss" in row else [name for name in row if name.startswith("train/")]
        parts += [f"{name.removeprefix('train/')} {row[name]:.4f}" for name in figures]
        if "val/loss" in row:
            parts.append(f"val loss {row['val/loss']:.4f}")
        if primary is not None and f"val/{primary}" in row:
            parts.append(f"{primary} {row[f'val/{primary}']:.4f}")
        self.say("  ".join(parts))

    def say(self, text: str) -> None:
        """Print one plain line on stderr."""
        if self.active:
            print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the display


def describe_step(event: StepEvent) -> str:
    """Line of a step, where there is no bar.

    Example:
        >>> describe_step(StepEvent(1, 30, 40, 1200, {"box": 1.5, "class": 0.5}, 0.01, 12.34, 840.0))
        'epoch 1/30  step 40/1200 (3 %)  12.3 images/s  loss 2  box 1.5  class 0.5  lr 0.01  14 min left'
    """
    where = f"epoch {event.epoch}/{event.epochs}  step {event.step}/{event.steps} ({_percent(event)})"
    return "  ".join([where, *_speed(event), *_losses(event), *_left(event)])


def estimate(event: StepEvent) -> str:
    """How long the whole run will take, after its first steps.

    Example:
        >>> estimate(StepEvent(1, 30, 40, 1200, {"loss": 2.0}, 0.01, 12.3, 7500.0))
        'estimate: 2 h 05 min for the rest of the run, at most 1200 steps; scoring is counted from the first time on'
    """
    assert event.seconds_left is not None
    scoring = "" if event.epoch > 1 else "; scoring is counted from the first time on"
    return f"estimate: {duration(event.seconds_left)} for the rest of the run, at most {event.steps} steps{scoring}"


def _beside_bar(event: StepEvent, room: int) -> str:
    """Percentage and time left, then as many figures as have room, each whole."""
    text = "  ".join([_percent(event), *_left(event)])
    for part in [*_losses(event), *_speed(event)]:
        if len(text) + 2 + len(part) > room:
            break
        text += f"  {part}"
    return text


def _percent(event: StepEvent) -> str:
    return f"{100 * event.step // max(event.steps, 1)} %"


def _speed(event: StepEvent) -> list[str]:
    return [f"{event.images_per_second:.1f} images/s"] if event.images_per_second else []


def _left(event: StepEvent) -> list[str]:
    return [] if event.seconds_left is None else [f"{duration(event.seconds_left)} left"]


def _losses(event: StepEvent) -> list[str]:
    terms = [f"{name} {value:.4g}" for name, value in event.losses.items()]
    return [f"loss {event.loss:.4g}", *(terms if len(terms) > 1 else []), f"lr {event.lr:.3g}"]


def track(batches: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    """Iterate under a progress bar; where stderr is no terminal, with a line every 30 seconds.

    Example:
        >>> list(track(["a", "b"], total=2, label="images"))
        ['a', 'b']
    """
    if not sys.stderr.isatty():
        yield from _with_lines(batches, total, label)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track as rich_track

    # The label may name a file, whose name is anybody's.
    label = escape(printable(label))
    yield from rich_track(batches, description=label, total=total, console=Console(stderr=True), transient=True)


def _with_lines(batches: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    began = shown = time.monotonic()
    for done, batch in enumerate(batches, start=1):
        yield batch
        now = time.monotonic()
        if now - shown >= _BETWEEN_LINES and done < total:
            shown = now
            note(f"{label}: {done} of {total}, {duration((now - began) / done * (total - done))} left")


def note(text: str) -> None:
    """Print one plain line on stderr, where something without a bar takes its time.

    Example:
        >>> note("step 8 of 96: loss 2.3026, 1 s")
    """
    TrainingDisplay(active=True).say(text)
