"""A process of a search with several: reads its settings from stdin, runs trials, writes one line if it cannot."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from types import FrameType

from saccade.errors import SaccadeError

__all__ = ["main"]

_PARENT_SECONDS = 2.0


def main() -> int:
    """Run trials until the search has them all.

    Returns:
        0; 2 if every trial would fail, for the reason that is written to stdout; 130 after Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    settings = json.loads(sys.stdin.read())
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    warnings.filterwarnings("ignore", module=r"(?!saccade\b)")
    try:
        from saccade.engine.tune.search import run_worker

        run_worker(settings)
    except (SaccadeError, OSError) as error:
        sys.stdout.write(" ".join(str(error).split()))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The search asks its processes to end by SIGTERM: as Ctrl-C would, also before and between trials."""
    raise KeyboardInterrupt


def _end_with_parent(parent: int) -> None:
    """A search that was killed leaves no process behind."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
