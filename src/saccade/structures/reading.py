"""Files read safely: only regular ones, never past a limit; what operating systems and editors leave is passed over."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from saccade.errors import DataError

__all__ = ["MAX_TEXT_BYTES", "is_archive", "is_hidden", "natural_key", "read_bytes", "read_text", "require_regular"]

MAX_TEXT_BYTES = 2 << 30  # COCO's own training annotations take 0.5 GB

# Left by macOS archives, Synology and QNAP servers, Windows, notebooks; names that start with a dot are hidden anyway.
_LEFTOVERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "__pycache__", "thumbs.db", "desktop.ini"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's: hidden, or left there by a system or an editor.

    Args:
        name: Last part of a path.

    Example:
        >>> [name for name in ("cat", "__MACOSX", "@eaDir", ".ipynb_checkpoints", "._0.jpg") if not is_hidden(name)]
        ['cat']
    """
    return name.startswith(".") or name.lower() in _LEFTOVERS


def require_regular(path: str | Path, limit: int | None = None) -> int:
    """Check that a path is a regular file of bounded size before it is opened; links are followed.

    A device or a pipe has no end: reading one fills the memory or waits forever.

    Args:
        path: The file.
        limit: Largest size in bytes; None for any.

    Returns:
        Its size in bytes.

    Raises:
        DataError: If it is missing, a folder, a device, a pipe or a socket, or larger than the limit.

    Example:
        >>> _ = Path("a.txt").write_text("12345")
        >>> require_regular("a.txt")
        5
        >>> require_regular("/dev/null")
        Traceback (most recent call last):
        saccade.errors.DataError: /dev/null: this is a device, not a file. Only regular files are read.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - names that are no UTF-8 stay as they are
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise DataError(f"{path}: there is no such file.") from error
        raise DataError(f"{path}: {error.strerror}. Check its name and rights.") from error
    except ValueError as error:  # a null byte in the name
        raise DataError(f"{path}: this is not a name a file can have ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: this is {_kind(status.st_mode)}, not a file. Only regular files are read.")
    if limit is not None and status.st_size > limit:
        raise DataError(f"{path}: it has {_size(status.st_size)}, more than the {_size(limit)} that are read.")
    return status.st_size


def read_bytes(path: str | Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Content of a regular file.

    Args:
        path: The file.
        limit: Largest size in bytes.

    Raises:
        DataError: If it is no regular file (:func:`require_regular`), is too large or cannot be read.

    Example:
        >>> _ = Path("a.bin").write_bytes(b"123")
        >>> read_bytes("a.bin")
        b'123'
    """
    require_regular(path, limit)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Check its rights.") from error


def read_text(path: str | Path, limit: int = MAX_TEXT_BYTES) -> str:
    r"""Text of a regular file in UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        limit: Largest size in bytes.

    Raises:
        DataError: If it is no regular file (:func:`require_regular`), is too large, cannot be read or is no UTF-8.

    Example:
        >>> _ = Path("a.txt").write_bytes(b"\xef\xbb\xbfcat")
        >>> read_text("a.txt")
        'cat'
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no UTF-8. Save the file as UTF-8.") from error


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which ``2.png`` comes before ``10.png``.

    Example:
        >>> sorted(["10.png", "2.png"], key=natural_key)
        ['2.png', '10.png']
    """
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def is_archive(path: Path) -> bool:
    """Whether a path is a zip that can be read in place.

    Example:
        >>> is_archive(Path("missing.zip"))
        False
    """
    return path.suffix.lower() == ".zip" and path.is_file()
