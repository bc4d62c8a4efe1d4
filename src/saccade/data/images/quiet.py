"""Decoders of C kept from writing to the terminal: what they find is in our errors, which name the file."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

__all__ = ["quiet_decoders"]

# Lines of libjpeg (the warnings of its jerror.h), libpng, libtiff and OpenCV.
_OF_DECODERS = re.compile(
    rb"Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS parameters|Unknown Adobe color"
    rb"|Warning: unknown JFIF|Application transferred|libpng (warning|error)|TIFF\w*:|\[ ?(WARN|ERROR|INFO):"
    rb"|OpenCV: FFMPEG:"
)


class _Sink:
    """Temporary file in place of standard error, shared by all threads that decode at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0  # threads that decode
        self.stderr = -1  # the real one, while they do
        self.file: int | None = None
        self.passed = 0  # bytes of it that were read

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside > 1 or not hasattr(os, "pread"):  # Windows
                return
            try:
                self.stderr = os.dup(2)
                os.dup2(self._open(), 2)
            except OSError:  # a process without standard error has nothing to be kept from it
                self.stderr = -1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.stderr < 0:
                return
            self._pass_on()
            if not self.inside:
                os.dup2(self.stderr, 2)
                os.close(self.stderr)
                self.stderr = -1
                self._pass_on(last=True)

    def restore(self) -> None:
        """Give a process that was forked meanwhile its standard error."""
        if self.stderr >= 0:
            os.dup2(self.stderr, 2)
        self.__init__()  # type: ignore[misc]

    def _open(self) -> int:
        if self.file is None:
            import fcntl  # not on Windows

            if hasattr(os, "memfd_create"):
                self.file = os.memfd_create("stderr", os.MFD_CLOEXEC)
            else:
                self.file = os.dup(tempfile.TemporaryFile().fileno())  # noqa: SIM115 - the duplicate outlives it
            # Two threads that write at once to a memfd may get the same position; appending has no position.
            fcntl.fcntl(self.file, fcntl.F_SETFL, fcntl.fcntl(self.file, fcntl.F_GETFL) | os.O_APPEND)
        return self.file

    def _pass_on(self, last: bool = False) -> None:
        """Write what others wrote in the meantime where it was meant to go.

        Args:
            last: Nobody writes here any more.
        """
        assert self.file is not None
        size = os.fstat(self.file).st_size
        if size > self.passed:
            text = os.pread(self.file, size - self.passed, self.passed)
            self.passed = size
            rest = b"".join(line for line in text.splitlines(keepends=True) if not _OF_DECODERS.match(line))
            if rest:
                os.write(2 if last else self.stderr, rest)
        if last and size:
            os.ftruncate(self.file, 0)
            self.passed = 0


_SINK = _Sink()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SINK.restore)


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    r"""Within it, lines that image decoders write to the process's standard error are left out.

    The libraries offer no other way: they write past Python. What others write meanwhile, such as another thread's
    progress bar, comes a few milliseconds late. None is lost, but lines written while standard error is given back
    may change places.

    Example:
        >>> import os
        >>> with quiet_decoders():
        ...     _ = os.write(2, b"Corrupt JPEG data: premature end of data segment\n")
    """
    _SINK.enter()
    try:
        yield
    finally:
        _SINK.leave()
