"""Lock of a run folder: two runs never write into one folder."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from saccade.errors import ConfigError
from saccade.structures.text import printable

__all__ = ["RunLock", "is_alive", "process_record"]


class RunLock:
    """Lock of a run folder, a file that names the process which holds it.

    A lock is void once its process has ended, which is seen on the machine where it ran: there is no process of that
    number, or one that started later, or the machine has started anew. It is given back at the end, on errors too, and
    only by the process that took it, never by one forked from it.

    Args:
        folder: The run folder; it is made if need be, and then removed again if nothing was put into it.
        active: Whether this process takes the lock; of several processes of one run only the first does.

    Raises:
        ConfigError: If another run holds it, or the folder cannot be made.

    Example:
        >>> with RunLock(Path("runs/digits")):
        ...     with RunLock(Path("runs/digits")):
        ...         pass
        Traceback (most recent call last):
        saccade.errors.ConfigError: runs/digits is being written by another run: process ...
    """

    FILE = ".lock"

    def __init__(self, folder: Path, active: bool = True) -> None:
        self.folder = folder
        self.path = folder / self.FILE
        self.active = active
        self._holder: int | None = None  # the process that took the lock
        self._made = False  # the folder was not there before

    def __enter__(self) -> RunLock:
        if not self.active:
            return self
        try:
            self._made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._open() as file:
                holder = _read(file)
                if holder is not None and is_alive(holder):
                    host, since = (printable(str(holder[key]), limit=80) for key in ("host", "since"))
                    raise ConfigError(
                        f"{self.folder} is being written by another run: process {holder['pid']} on {host}, since "
                        f"{since}. Wait for it, or give another --name; if there is none, delete {self.path}."
                    )
                _write(file, process_record())
                self._holder = os.getpid()
        except OSError as error:
            raise ConfigError(
                f"the run folder {self.folder} cannot be written ({error.strerror or error}). Choose another with "
                "--out or --name."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holder != os.getpid():
            return
        with suppress(OSError):
            self.path.unlink()
            if self._made:
                self.folder.rmdir()  # only an empty folder goes

    @contextmanager
    def _open(self) -> Iterator[int]:
        """Open the lock file, alone among all processes while it is read and written."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _wait_alone(file)
                if self._is_current(file):
                    yield file
                    return
            finally:
                os.close(file)

    def _is_current(self, file: int) -> bool:
        """Whether the opened file still has its name; its holder may just have removed it."""
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False


def _wait_alone(file: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs that start within the same milliseconds are not told apart
        return
    with suppress(OSError):  # file systems without locks, likewise
        fcntl.flock(file, fcntl.LOCK_EX)


def process_record() -> dict[str, Any]:
    """What tells this process from all others, of this machine and of others.

    Example:
        >>> sorted(process_record()), is_alive(process_record())
        (['boot', 'host', 'pid', 'since', 'start'], True)
    """
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "start": _start_of(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read(file: int) -> dict[str, Any] | None:
    """Who holds the lock; None for an empty or broken file, which a killed process may leave."""
    try:
        holder: dict[str, Any] = json.loads(os.pread(file, 4096, 0).decode())
    except ValueError:
        return None
    known = isinstance(holder, dict) and {"pid", "host", "boot", "start", "since"} <= holder.keys()
    return holder if known and isinstance(holder["pid"], int) and holder["pid"] > 0 else None


def _write(file: int, holder: dict[str, Any]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode(), 0)


def is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that took the lock still runs; one of another machine is believed to."""
    if holder["host"] != socket.gethostname() or os.name == "nt":
        return True
    if holder["boot"] != _boot():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    start = _start_of(holder["pid"])
    return start is None or start == holder["start"]


def _boot() -> str:
    """What is different each time that the machine starts; empty where it is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; None where it is not told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # field 22 of proc(5); the name in brackets may hold blanks
