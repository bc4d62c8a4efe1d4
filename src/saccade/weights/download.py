"""Download of one file: resumed after a cut, verified, never half there.

Only called when the user asked for published weights or data.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from saccade.errors import SaccadeError, WeightsError

__all__ = ["Progress", "download", "sha256_of"]

logger = logging.getLogger("saccade")

# Called with bytes done and bytes in all (None where the server sends no length).
Progress = Callable[[int, "int | None"], None]

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 4  # connections in a row that bring nothing new


def sha256_of(path: str | Path) -> str:
    """SHA-256 hash of a file, 64 hexadecimal digits.

    Example:
        >>> _ = Path("weights.bin").write_bytes(b"saccade")
        >>> sha256_of("weights.bin")[:12]
        '3941d4453740'
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(url: str, path: str | Path, sha256: str | None = None, progress: Progress | None = None) -> str:
    """Download ``url`` to ``path``: resumed after a cut, verified by its hash.

    What has arrived is kept beside the target as ``*.part``; after a cut connection, and on the next call after a stop,
    the download goes on from there (HTTP Range) as long as the server still has the same file. The target appears only
    once it is complete and verified.

    Args:
        url: ``http`` or ``https``.
        path: Target; a file that is there is replaced.
        sha256: Expected hash, in full or its first digits; not checked if not given.
        progress: Called with bytes done and bytes in all after each chunk.

    Returns:
        The hash of the file, 64 digits.

    Raises:
        WeightsError: If the server cannot be reached or refuses, the connection keeps breaking, or the hash is another
            (the file is then removed).
        SaccadeError: If the disk is full.

    Example:
        >>> url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
        >>> download(url, "resnet18.pth", sha256="f37072fd")[:8]  # doctest: +SKIP
        'f37072fd'
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError(f"cannot download '{url}': only http and https are allowed.")
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    was_there = path.is_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_name(f"{path.name}.lock")):
            if path.is_file() and not was_there:  # another process brought it while this one waited
                return sha256_of(path)
            _fetch(url, path, part, progress)
            found = sha256_of(part)
            if sha256 is not None and not found.startswith(sha256.lower()):
                _discard(part)
                raise WeightsError(
                    f"{url} has sha256 {found}, expected {sha256}: the file is not the published one, or was damaged "
                    "on the way. It was removed; ask again, and if it stays so do not use it."
                )
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
            _tag_path(part).unlink(missing_ok=True)
    except OSError as error:
        raise SaccadeError(
            f"cannot write '{path}': {error.strerror or error}. Free some space, or set SACCADE_CACHE to a folder that "
            "can be written; what has arrived is kept and the next try goes on from there."
        ) from error
    return found


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lock file: one process at a time (the ranks of a distributed run ask together); freed when a process dies."""
    with FileLock(path):
        try:
            yield
        finally:
            with contextlib.suppress(PermissionError):  # Windows removes no open file; an empty one stays
                path.unlink(missing_ok=True)


def _tag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_path(part).unlink(missing_ok=True)


def _fetch(url: str, path: Path, part: Path, progress: Progress | None) -> None:
    idle = 0
    reason = "the connection was cut"
    while idle < _ATTEMPTS:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _connect(url, part, progress):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    if before and error.headers.get("Content-Range") == f"bytes */{before}":
                        return  # stopped last time between the last byte and the renaming
                    _discard(part)  # no beginning of what is there now
                elif error.code < 500:
                    raise WeightsError(
                        f"{url}: the server answered {error.code} {error.reason}. The file may have moved; "
                        f"{_by_hand(path)}"
                    ) from error
            reason = f"the server answered {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, socket.gaierror):
                raise WeightsError(
                    f"cannot reach {urlsplit(url).hostname} ({cause.strerror}). This machine seems to be offline; "
                    f"{_by_hand(path)}"
                ) from error
            reason = str(cause) or type(cause).__name__
        after = part.stat().st_size if part.is_file() else 0
        idle = 0 if after > before else idle + 1
        if 0 < idle < _ATTEMPTS:
            time.sleep(0.25 * idle)
    raise WeightsError(
        f"cannot download {url}: {reason}, {_ATTEMPTS} times in a row. What has arrived is kept and the next try goes "
        f"on from there; or {_by_hand(path)}"
    )


def _by_hand(path: Path) -> str:
    return f"put the file at '{path}' yourself, or pass the path of one you have."


def _connect(url: str, part: Path, progress: Progress | None) -> bool:
    """One connection; True once the part is complete."""
    tag = _tag_path(part)
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "saccade", "Accept-Encoding": "identity"})  # noqa: S310 (checked)
    if done:
        request.add_header("Range", f"bytes={done}-")
        if tag.is_file():  # the server sends the whole file if it is another one by now
            request.add_header("If-Range", tag.read_text())
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 (checked)
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version is None or version.startswith("W/"):  # weak tags promise nothing about bytes
            tag.unlink(missing_ok=True)
        elif not done:
            tag.write_text(version)
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    return total is None or done >= total
