"""Guards that stop a run in good order: on a non-finite loss, and on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import torch
from torch import Tensor

from saccade.errors import NonFiniteLossError
from saccade.structures.batch import Batch
from saccade.structures.files import atomic_write

__all__ = ["InterruptGuard", "LossGuard", "Terminated"]


class LossGuard:
    """Stops the run on a NaN or infinite loss and saves the batch that gave it.

    A step is checked when the next one has been queued, so that a GPU never waits; the checkpoint before it is
    untouched by then.

    Args:
        folder: Where the batch goes.

    Example:
        >>> guard = LossGuard(Path("nonfinite"))
        >>> guard.check({"loss": torch.tensor(float("nan"))}, Batch(torch.zeros(1, 3, 8, 8), {}, []), step=0)
        >>> guard.flush()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        saccade.errors.NonFiniteLossError: step 0: loss loss is not finite. The batch is saved in ...
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: tuple[dict[str, Tensor], Batch, int] | None = None

    def check(self, terms: Mapping[str, Tensor], batch: Batch, step: int) -> None:
        """Remember this step and check the one before.

        Raises:
            NonFiniteLossError: If the one before was not finite.
        """
        self.flush()
        self._pending = ({name: value.detach() for name, value in terms.items()}, batch, step)

    def flush(self) -> None:
        """Check the step that is still waiting.

        Raises:
            NonFiniteLossError: If it was not finite; the message names the loss terms, the images and the saved
            batch.
        """
        if self._pending is None:
            return
        terms, batch, step = self._pending
        self._pending = None
        if bool(torch.isfinite(torch.stack([value.float() for value in terms.values()])).all()):
            return
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
        paths = [info.path for info in batch.infos]
        target = self.folder / "batch.pt"
        saved: dict[str, Any] = {
            "images": batch.images.cpu(),
            "targets": {key: value.cpu() for key, value in batch.targets.items()},
            "paths": paths,
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, lambda path: torch.save(saved, path))
        shown = ", ".join(paths[:4]) + (", ..." if len(paths) > 4 else "")
        raise NonFiniteLossError(
            f"step {step}: loss {', '.join(bad)} is not finite. The batch is saved in {target} (images: {shown}). "
            "The last checkpoint is intact; lower --optimizer.lr, set --clip-norm, or use --precision 32, and --resume."
        )


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as clusters do before they kill."""


class InterruptGuard:
    """Turns the first Ctrl-C, or SIGTERM, into a stop after the step under way; a second Ctrl-C stops at once.

    Example:
        >>> with InterruptGuard() as guard:
        ...     guard.raise_if_requested()  # does nothing before Ctrl-C
        >>> guard.requested
        False
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        return self._signal is not None

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def raise_if_requested(self) -> None:
        """End the run here if this process was asked to stop; see :meth:`stop`."""
        if self.requested:
            self.stop()

    def stop(self) -> NoReturn:
        """End the run here.

        Raises:
            Terminated: After SIGTERM.
            KeyboardInterrupt: After Ctrl-C, or where another process of the run was asked to stop.
        """
        if self._signal == signal.SIGTERM:
            raise Terminated
        raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is None:
            self._signal = number
