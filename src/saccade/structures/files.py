"""Files that are never half-written: the old content or the new, whatever happens to the process."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from saccade.errors import SaccadeError

__all__ = ["atomic_write", "explain_write_errors", "previous_path", "to_json", "write_text"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def previous_path(path: str | Path) -> Path:
    """Path at which ``atomic_write(..., keep_previous=True)`` keeps the file that it replaced.

    Example:
        >>> previous_path("runs/last.pt").as_posix()
        'runs/last.previous.pt'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def atomic_write(
    path: str | Path, write: Callable[[Path], None], keep_previous: bool = False, durable: bool = True
) -> None:
    """Write a file atomically: a reader, now or after a crash, sees the old one or the new one and never a part.

    The content goes to a temporary file in the same folder, is flushed to the disk and then renamed. On any failure the
    temporary file is removed and the old file stays as it was.

    Args:
        path: The file; its folder is made if it is not there.
        write: Writes the content to the path it is given, which has the suffix of ``path``.
        keep_previous: Keep the file that is replaced under :func:`previous_path`.
        durable: Wait until the disk has the content, so that it survives a power cut. Not needed
            for thousands of small files in a new folder: half such a folder is thrown away in any case.

    Raises:
        SaccadeError: If the disk is full or the folder cannot be written; the message names the file and the remedy.

    Example:
        >>> atomic_write("model.pt", lambda path: torch.save({"weight": torch.ones(2)}, path))
        >>> torch.load("model.pt")
        {'weight': tensor([1., 1.])}
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A part of the name, since a name may be as long as the file system allows.
            handle, name = tempfile.mkstemp(prefix=f".{path.stem[:32]}.", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            write(temporary)
            temporary.chmod(_default_mode())
            if durable:
                _flush(temporary)
            if keep_previous and path.exists():
                _keep(path)
            temporary.replace(path)
            if durable:
                _flush_folder(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Raise failures of the file system as errors that name the file and the remedy, for writers of others.

    Args:
        path: What is written.

    Raises:
        SaccadeError: If the disk is full or the folder cannot be written.

    Example:
        >>> with explain_write_errors(Path("runs/events")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
            ...
        saccade.errors.SaccadeError: cannot write 'runs/events': the disk is full (or a quota is reached). ...
    """
    try:
        yield
    except Exception as error:
        problem = _file_problem(error, path)
        if problem is None:
            raise
        raise SaccadeError(problem) from error


def write_text(path: str | Path, text: str, durable: bool = True) -> None:
    """Write a text file in UTF-8, whole or not at all; see :func:`atomic_write`.

    Args:
        path: The file; its folder is made if it is not there.
        text: Its content.
        durable: See :func:`atomic_write`.

    Raises:
        SaccadeError: If the disk is full or the folder cannot be written.

    Example:
        >>> write_text("runs/note.txt", "epoch 3")
        >>> Path("runs/note.txt").read_text()
        'epoch 3'
    """

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic_write(path, write, durable=durable)


def to_json(value: Any, indent: int | None = None) -> str:
    """Text of a value as strict JSON, which every parser takes: figures that are no number are null.

    Args:
        value: Mappings, sequences and plain values; paths become text, NumPy and torch values numbers or lists.
        indent: Blanks a level; one line if not given.

    Raises:
        TypeError: If it holds something that JSON has no form for.

    Example:
        >>> to_json({"AP": float("nan"), "count": np.int64(3), "file": Path("a.json")})
        '{"AP": null, "count": 3, "file": "a.json"}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str | int) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"{type(value).__name__} {value!r:.60} has no form in JSON")


def _default_mode() -> int:
    # mkstemp makes private files; a checkpoint is as readable as any other new file.
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep(path: Path) -> None:
    previous = previous_path(path)
    link = path.with_name(f".{path.name}.{os.getpid()}.link")
    try:
        # A second name for the old content: there is no moment at which ``path`` does not exist.
        os.link(path, link)
        link.replace(previous)
        link.unlink(missing_ok=True)  # it stays where both are one file already, after a kill between two renames
    except OSError:
        link.unlink(missing_ok=True)
        path.replace(previous)  # file systems without hard links


def _file_problem(error: Exception, path: Path) -> str | None:
    """The user's message for a failure of the file system; None for any other error.

    Writers outside Python (torch.save, safetensors) report a full disk as an error of their own, so its text and the
    free space are checked as well.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    full = number in _NO_ROOM or any(f"os error {code}" in text for code in _NO_ROOM)
    if not full and not isinstance(error, SaccadeError):
        with contextlib.suppress(OSError):
            full = shutil.disk_usage(path.parent).free < 1 << 16
    if full:
        return (
            f"cannot write '{path}': the disk is full (or a quota is reached). Free some space or choose another "
            "folder; what was there before is unchanged."
        )
    if isinstance(error, OSError):
        return (
            f"cannot write '{path}': {error.strerror or error}. Choose a folder that can be written; "
            "what was there before is unchanged."
        )
    return None
