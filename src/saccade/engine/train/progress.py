"""Progress of a run: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from saccade.structures.text import printable

__all__ = ["TrainingDisplay", "note", "track"]


class TrainingDisplay:
    """Progress of a training run; silent on all processes but the first.

    Args:
        active: Whether this process prints.
    """

    def __init__(self, active: bool) -> None:
        self.active = active
        self._bar: Any = None
        self._task: Any = None
        self._shown = 0.0

    def epoch(self, batches: Iterable[Any], epoch: int, total_epochs: int, steps: int, start: int) -> Iterator[Any]:
        """Yield the batches of one epoch under a bar."""
        if not self.active or not sys.stderr.isatty():
            yield from batches
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as self._bar:
            self._task = self._bar.add_task(
                "", total=steps, completed=start, epoch=f"{epoch + 1}/{total_epochs}", note=""
            )
            for batch in batches:
                yield batch
                self._bar.advance(self._task)
        self._bar = None

    def due(self) -> bool:
        """Whether it is time to show a new figure (asking a GPU for one makes it wait)."""
        return self._bar is not None and time.monotonic() - self._shown > 0.5

    def note(self, terms: Mapping[str, float], lr: float) -> None:
        """Show the current losses beside the bar."""
        self._shown = time.monotonic()
        parts = [f"{name} {value:.4g}" for name, value in terms.items()]
        self._bar.update(self._task, note="  ".join([*parts, f"lr {lr:.3g}"]))

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


def track(batches: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    """Iterate under a progress bar; without one where stderr is no terminal.

    Example:
        >>> list(track(["a", "b"], total=2, label="images"))
        ['a', 'b']
    """
    if not sys.stderr.isatty():
        yield from batches
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track as rich_track

    # The label may name a file, whose name is anybody's.
    label = escape(printable(label))
    yield from rich_track(batches, description=label, total=total, console=Console(stderr=True), transient=True)


def note(text: str) -> None:
    """Print one plain line on stderr, where something without a bar takes its time.

    Example:
        >>> note("step 8 of 96: loss 2.3026, 1 s")
    """
    TrainingDisplay(active=True).say(text)
