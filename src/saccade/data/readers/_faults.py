"""Faults of single rows, objects and files, which readers note and read past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from saccade.errors import DataError

__all__ = ["FieldError", "noting"]


class FieldError(DataError):
    """A row, an object or a file that cannot be read, while what is around it can.

    Args:
        code: Stable name of the kind of fault, such as ``labels.number``.
        where: File, and line or field in it.
        message: What is wrong and what to do about it, without the place.

    Example:
        >>> error = FieldError("labels.number", "a.csv: line 2", "x1 is 'x', not a number. Correct it.")
        >>> str(error)
        "a.csv: line 2: x1 is 'x', not a number. Correct it."
    """

    def __init__(self, code: str, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.code = code
        self.where = where
        self.message = message

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str, str]]:
        return type(self), (self.code, self.where, self.message)  # between processes


@contextmanager
def noting(note: Callable[[FieldError], None]) -> Iterator[None]:
    """Block of which a fault is noted, rather than raised, after which reading goes on.

    Args:
        note: Takes the fault.

    Example:
        >>> faults = []
        >>> for text in ("1", "x", "3"):
        ...     with noting(faults.append):
        ...         if not text.isdigit():
        ...             raise FieldError("labels.number", "a.txt", f"'{text}' is not a number.")
        >>> len(faults)
        1
    """
    try:
        yield
    except FieldError as error:
        note(error)
