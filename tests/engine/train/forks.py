"""Runs in a forked process, which may be killed at any of the moments at which it touches a file."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

KILLED = 9
_CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate", "shutil.copyfile"}


def run_forked(work: Callable[[], object]) -> int:
    """Exit code of a forked process that does this work; its errors are printed, and are 70."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, which do nothing here
        child = os.fork()
    if child == 0:
        code = 70
        try:
            torch.set_num_threads(1)  # threads of OpenMP do not survive a fork
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_change(folder: Path, number: int) -> None:
    """End this process right before the change of that number, from 1 on, to a file below a folder."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in _CHANGES and not (event == "open" and _writes(arguments)):
            return
        if not any(str(path).startswith(str(folder)) for path in arguments if isinstance(path, (str, os.PathLike))):
            return
        seen += 1
        if seen == number:
            os._exit(KILLED)

    sys.addaudithook(watch)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
