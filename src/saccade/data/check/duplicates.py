"""Duplicate images: exact ones by content, near ones by a hash that survives resizing and compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.images import ImageStats
from saccade.data.images.fingerprint import near_copies

__all__ = ["Duplicate", "find_duplicates"]


@dataclass(frozen=True)
class Duplicate:
    """An image that repeats an earlier one, exactly or nearly.

    Args:
        image: Index of the image.
        first: Index of the earlier one.
        exact: Whether the pixels are the same.
        leak: Whether the two lie in different splits.
    """

    image: int
    first: int
    exact: bool
    leak: bool


def find_duplicates(all_stats: Sequence[ImageStats], splits: NDArray[np.int64]) -> list[Duplicate]:
    """Find images that repeat an earlier one, within a split or across splits.

    An image is listed at most twice: with the first like it in its own split, and with the first in another. Uniform
    images are left out, since all of them are alike. Near duplicates agree in a perceptual hash (Zauner 2010) and in
    a reduced copy.

    Args:
        all_stats: Statistics of all images.
        splits: Number of the split of each, (M,).

    Returns:
        Duplicates by rising index of the image.

    Example:
        >>> all_stats = [ImageStats(digest=b"a"), ImageStats(digest=b"b"), ImageStats(digest=b"a")]
        >>> find_duplicates(all_stats, splits=np.array([0, 0, 1]))
        [Duplicate(image=2, first=0, exact=True, leak=True)]
    """
    found: dict[tuple[int, bool], Duplicate] = {}
    seen: dict[bytes, dict[int, int]] = {}
    for index, stats in enumerate(all_stats):
        if not stats.digest:
            continue
        own = int(splits[index])
        firsts = seen.setdefault(stats.digest, {})
        for split, first in firsts.items():
            leak = split != own
            found.setdefault((index, leak), Duplicate(index, first, True, leak))
        firsts.setdefault(own, index)
    for image, first, leak in _find_near(all_stats, splits):
        found.setdefault((image, leak), Duplicate(image, first, False, leak))
    return [found[key] for key in sorted(found)]


def _find_near(all_stats: Sequence[ImageStats], splits: NDArray[np.int64]) -> list[tuple[int, int, bool]]:
    """Triples (image, earlier image, whether they lie in two splits) whose hashes and reduced copies agree."""
    rows = np.array([index for index, stats in enumerate(all_stats) if stats.signs is not None], np.int64)
    if len(rows) < 2:
        return []
    signs = np.stack([all_stats[row].signs for row in rows]).astype(np.float32)
    thumbs = np.stack([all_stats[row].thumb for row in rows])
    groups = splits[rows]
    pairs: list[tuple[int, int, bool]] = []
    for some, others, close in near_copies(signs, thumbs):
        foreign = groups[some][:, None] != groups[others][None, :]
        for leak, chosen in ((False, close & ~foreign), (True, close & foreign)):
            hits = np.flatnonzero(chosen.any(axis=1))
            partners = others[chosen[hits].argmax(axis=1)]
            images = rows[some[hits]].tolist()
            pairs += [(image, first, leak) for image, first in zip(images, rows[partners].tolist(), strict=True)]
    return pairs
