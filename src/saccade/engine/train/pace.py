"""Speed of a run and the time that is left of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Pace", "duration"]

_STEPS = 100  # over which the speed is taken


class Pace:
    """Speed of the last steps, and how long an epoch takes beside its steps (scores, files, loader processes).

    The first step of each epoch counts for neither: it waits for the loader.

    Args:
        clock: Seconds, rising.

    Example:
        >>> seconds = iter([0.0, 9.0, 10.0, 11.0])  # the run begins; three steps, of which the first is slow
        >>> pace = Pace(clock=lambda: next(seconds))
        >>> for _ in range(3):
        ...     pace.step(images=16)
        >>> pace.images_per_second, pace.left(steps=60, epochs=1)
        (16.0, 60.0)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = self._last = clock()
        self._times: deque[float] = deque(maxlen=_STEPS)
        self._images: deque[int] = deque(maxlen=_STEPS)
        self._between: list[float] = []
        self._seconds: float | None = None  # a step
        self._rate = 0.0  # images a second, before the steps that are counted now

    def step(self, images: int) -> None:
        """Count a step of so many images."""
        now = self._clock()
        if self._seconds is not None and not self._times:
            self._between.append(max(now - self._last - self._seconds, 0.0))
        self._times.append(now)
        self._images.append(images)
        self._last = now
        if len(self._times) > 1:
            self._seconds = (now - self._times[0]) / (len(self._times) - 1)

    def end_epoch(self) -> None:
        """An epoch is over; what comes before the next step is no part of a step."""
        self._rate = self.images_per_second
        self._times.clear()
        self._images.clear()

    @property
    def images_per_second(self) -> float:
        """Over the last steps, at the first one of an epoch as before it; 0 if it is not known yet."""
        if len(self._times) < 2:
            return self._rate
        counted = sum(self._images) - self._images[0]
        return counted / max(self._times[-1] - self._times[0], 1e-9)

    def left(self, steps: int, epochs: int) -> float | None:
        """Seconds for so many steps and the ends of so many epochs; None if the speed is not known yet."""
        if self._seconds is None:
            return None
        between = sum(self._between) / len(self._between) if self._between else 0.0
        return steps * self._seconds + epochs * between


def duration(seconds: float) -> str:
    """A time in words, to two places.

    Example:
        >>> duration(42.4), duration(600), duration(7500), duration(200000)
        ('42 s', '10 min', '2 h 05 min', '2 d 08 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"
