"""Compressed rows (CSR): rows of unequal length in one flat array, with the offset of each row's first element."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["elements_of_rows", "group_by_row", "offsets_of"]


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """First element of each row and the end, from the rows' lengths.

    Example:
        >>> offsets_of(np.array([2, 0, 3]))
        array([0, 2, 2, 5])
    """
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def elements_of_rows(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all elements of some rows, row by row.

    Example:
        >>> elements_of_rows(np.array([0, 2, 2, 5]), np.array([2, 0]))
        array([2, 3, 4, 0, 1])
    """
    counts = np.diff(offsets)[rows]
    starts = offsets_of(counts)
    return np.arange(starts[-1]) + np.repeat(offsets[:-1][rows] - starts[:-1], counts)


def group_by_row(rows: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order that sorts elements by their row, and the offsets of the rows then.

    Args:
        rows: Row of each element, shape (N,); elements of one row stay in their order.
        count: Number of rows.

    Example:
        >>> group_by_row(np.array([1, 0, 1]), count=2)
        (array([1, 0, 2]), array([0, 1, 3]))
    """
    return np.argsort(rows, kind="stable"), offsets_of(np.bincount(rows, minlength=count))
