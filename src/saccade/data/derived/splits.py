"""Parts of a data set held out for validation, and the folds of cross-validation.

What belongs together stays together: copies of an image, also resized or compressed ones; several files made from one
original (``cat.rf.0a1b….jpg``, ``cat (1).jpg``); frames of one video or series, known by the common part of their names
before the last number, where there are several series. Images of each class are divided alike where an image has one
class; elsewhere images with objects and images without.

A division depends on the names of the files, on their content and on ``SEED`` only: neither on the order in which a
file system lists them nor on where the data lie.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.combine import ConcatDataset
from saccade.data.images.decode import read_image
from saccade.data.images.fingerprint import Fingerprint, fingerprint, near_copies
from saccade.data.loading.reduced_decode import decode_reduced
from saccade.data.notices import say_once
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset

__all__ = ["MOST_COMPARED", "SEED", "SHARE", "can_hold_out", "divide", "hold_out"]

logger = logging.getLogger("saccade")

SEED = 0
SHARE = 5  # one image of so many is held out
MOST_COMPARED = 20_000  # images; beyond, copies are not looked for, since each must be decoded

_MANY = 2000  # images above which the log says that they are compared
_COMPARED_SIZE = (128, 128)  # that a reduced image still covers
_SMALLEST_SIDE = 64  # pixels of it below which the image is decoded whole
_LARGEST_SERIES = 0.5  # share of the images above which a series is no help
_FEWEST_SERIES = 3
# Roboflow's copies of an image; "(2)" and "copy" of file managers.
_COPY = re.compile(r"\.rf\.[0-9a-zA-Z]{8,}$|[ _-]*\(\d+\)$|[ _-]+copy\d*$", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"\d+$")
_YEAR = re.compile(r"(?:19|20)\d\d[_-]?")


@dataclass(frozen=True)
class _Group:
    """Images that stay together.

    Args:
        rows: Their indices.
        stratum: What is divided alike: a class, or whether there are objects.
        key: First of their names, by which groups are shuffled.
    """

    rows: tuple[int, ...]
    stratum: Hashable
    key: str


def hold_out(dataset: VisionDataset) -> NDArray[np.bool_]:
    """Choose the images that are held out for validation: one of ``SHARE``, at least one where there are two.

    Args:
        dataset: Data set without a validation split.

    Returns:
        Which images are held out, (M,).

    Raises:
        DataError: If none can be held out: there is one image, or one of each class or with objects.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.structures.dataset import DatasetInfo
        >>> builder = TableBuilder(["cat"])
        >>> for number in range(10):
        ...     builder.add_image(f"{number}.jpg")
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path("cats"), builder.build())
        >>> np.flatnonzero(hold_out(data)).tolist()
        [4, 8]
    """
    held = _held(dataset, _groups(dataset))
    if not held.any() and len(dataset) > 1:
        held = _held(dataset, _groups(dataset, together=False))
        if held.any():
            say_once(
                f"{dataset.info.name}: all images belong together, by their content or their names, so that what is "
                "held out for validation is like what is trained on; its score says little"
            )
    if not held.any():
        what = "one image of each class" if dataset.info.task == "classification" else "one image with objects"
        raise DataError(
            f"there is only {'one image' if len(dataset) == 1 else what}, so that none can be held out for "
            "validation. Add images, name another validation split (data.val), or train without one (--data.val None)."
        )
    return held


def can_hold_out(dataset: VisionDataset) -> bool:
    """Whether there are images enough for :func:`hold_out`.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> can_hold_out(DigitScenes("detection", count=2)), can_hold_out(DigitScenes("detection", count=1))
        (True, False)
    """
    return bool(_held(dataset, _groups(dataset, together=False)).any())


def divide(dataset: VisionDataset, folds: int) -> NDArray[np.int64]:
    """Number of the fold of each image, for cross-validation; folds are alike in size and classes.

    Args:
        dataset: Data set to divide.
        folds: How many, at least 2.

    Returns:
        Fold of each image, (M,), from 0.

    Raises:
        DataError: If there are fewer images, or groups of images that belong together, than folds.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> np.bincount(divide(DigitScenes("classification", count=50), 5)).tolist()
        [10, 10, 10, 11, 9]
    """
    groups = _groups(dataset)
    if not 2 <= folds <= len(groups):
        raise DataError(
            f"{folds} folds of {len(groups)} images (or groups of images that belong together) are impossible. Ask for "
            f"2 to {max(len(groups), 2)}."
        )
    fold_of = np.zeros(len(dataset), np.int64)
    totals = [0] * folds
    counts: dict[Hashable, list[int]] = defaultdict(lambda: [0] * folds)
    for group in sorted(groups, key=lambda group: (-len(group.rows), _shuffled(group.key))):
        own = counts[group.stratum]
        fold = min(range(folds), key=lambda number: (own[number], totals[number], number))
        own[fold] += len(group.rows)
        totals[fold] += len(group.rows)
        fold_of[list(group.rows)] = fold
    return fold_of


def _held(dataset: VisionDataset, groups: Sequence[_Group]) -> NDArray[np.bool_]:
    """Which images are held out of these groups; none where nothing could be learnt or scored then."""
    strata: dict[Hashable, list[_Group]] = defaultdict(list)
    for group in groups:
        strata[group.stratum].append(group)
    chosen = {stratum: _choose(own) for stratum, own in strata.items()}
    held = np.zeros(len(dataset), np.bool_)
    # Objects to validate on are needed where there are any; images without them alone would score nothing.
    if dataset.info.task == "classification" or True not in chosen or chosen[True]:
        for group in (group for own in chosen.values() for group in own):
            held[list(group.rows)] = True
    return held


def _choose(groups: Sequence[_Group]) -> list[_Group]:
    """Groups of one stratum that are held out: about one image of ``SHARE``, never all."""
    count = sum(len(group.rows) for group in groups)
    if len(groups) < 2:
        return []
    wanted = max(1, round(count / SHARE))
    chosen: list[_Group] = []
    held = 0
    for group in sorted(groups, key=lambda group: _shuffled(group.key)):
        if held < wanted and held + len(group.rows) <= 1.25 * wanted:
            chosen.append(group)
            held += len(group.rows)
    return chosen or [min(groups, key=lambda group: (len(group.rows), _shuffled(group.key)))]


def _shuffled(key: str) -> bytes:
    """Sort key of a name in an order that has nothing to do with the alphabet."""
    return hashlib.blake2b(f"{SEED}:{key}".encode(errors="surrogateescape"), digest_size=16).digest()


def _groups(dataset: VisionDataset, together: bool = True) -> list[_Group]:
    """Images that belong together, or each alone, in the order of their names."""
    names = [_name(dataset, index) for index in range(len(dataset))]
    strata = _strata(dataset)
    sets = _DisjointSets(len(dataset))
    if together:
        for rows in (*_series(names, strata), *_copies(dataset)):
            sets.join(rows)
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(names)), key=lambda index: names[index]):
        members[sets.root(index)].append(index)
    return [_Group(tuple(rows), strata[rows[0]], names[rows[0]]) for rows in members.values()]


class _DisjointSets:
    """Sets of numbers that grow together (Tarjan 1975), with path halving."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, index: int) -> int:
        """Representative of a number's set."""
        parents = self._parents
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    def join(self, rows: Iterable[int]) -> None:
        """Make one set of the sets of some numbers."""
        first = None
        for row in rows:
            root = self.root(row)
            if first is None:
                first = root
            else:
                self._parents[root] = first


def _name(dataset: VisionDataset, index: int) -> str:
    """Name of an image below its data folder."""
    if isinstance(dataset, ConcatDataset):
        return _name(*dataset.locate(index))
    name = dataset.table.path(index) if isinstance(dataset, TableDataset) else dataset.path(index)
    if isinstance(dataset, TableDataset) and type(dataset).path is not TableDataset.path:
        name = f"{name}[{dataset.image_ids[index]}]"  # many images of one file
    return name.replace("\\", "/")


def _strata(dataset: VisionDataset) -> list[Hashable]:
    """Class of each image of a classifier, else whether it has objects."""
    if isinstance(dataset, ConcatDataset):
        return [stratum for part in dataset.parts for stratum in _strata(part)]
    if dataset.info.task == "classification":
        if isinstance(dataset, TableDataset):
            return [dataset.table.labels[dataset.table.objects(index)].tolist()[0] for index in range(len(dataset))]
        return [int(dataset.target(index)["labels"]) for index in range(len(dataset))]
    if isinstance(dataset, TableDataset):
        return [bool(count) for count in np.diff(dataset.table.offsets).tolist()]
    return [True] * len(dataset)


def _series(names: Sequence[str], strata: Sequence[Hashable]) -> list[list[int]]:
    """Images that were made from one original or belong to one series, by their names."""
    originals: dict[tuple[str, str], list[int]] = defaultdict(list)
    scopes: dict[Hashable, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (name, stratum) in enumerate(zip(names, strata, strict=True)):
        path = PurePosixPath(name)
        stem = _COPY.sub("", path.stem)
        originals[str(path.parent), stem].append(index)
        stem = _LAST_NUMBER.sub("", re.sub(r"_(?:jpe?g|png|bmp)$", "", stem))
        # Images of one class are divided among themselves; the series of others are those of the whole set.
        scopes[None if isinstance(stratum, bool) else stratum][str(path.parent), stem].append(index)
    found = [rows for rows in originals.values() if len(rows) > 1]
    for series in scopes.values():
        if _is_helpful(series):
            found += [rows for rows in series.values() if len(rows) > 1]
    return found


def _is_helpful(series: dict[tuple[str, str], list[int]]) -> bool:
    """Whether names tell series apart: several, none of them most of the images, and not those of a year."""
    sizes = [len(rows) for rows in series.values()]
    if len(sizes) < _FEWEST_SERIES or max(sizes) < 2 or max(sizes) > _LARGEST_SERIES * sum(sizes):
        return False
    return not all(_YEAR.fullmatch(stem) for _, stem in series)


def _copies(dataset: VisionDataset) -> list[list[int]]:
    """Images of equal pixels, and pairs of near copies; none of a data set that is too large to decode for it."""
    if len(dataset) > MOST_COMPARED:
        say_once(
            f"{dataset.info.name}: more than {MOST_COMPARED:,} images are not compared with each other, so that copies "
            "of an image may be trained on and validated on; 'saccade check' finds them"
        )
        return []
    if len(dataset) > _MANY:
        logger.info("%s: %d images are compared, to keep copies together", dataset.info.name, len(dataset))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        prints = list(pool.map(lambda index: _fingerprint(dataset, index), range(len(dataset))))
    equal: dict[bytes, list[int]] = defaultdict(list)
    for index, found in enumerate(prints):
        if found.digest:
            equal[found.digest].append(index)
    copies = [rows for rows in equal.values() if len(rows) > 1]
    rows = np.array([index for index, found in enumerate(prints) if found.signs is not None], np.int64)
    if len(rows) > 1:
        signs = np.stack([prints[row].signs for row in rows.tolist()]).astype(np.float32)
        thumbs = np.stack([prints[row].thumb for row in rows.tolist()])
        for some, others, close in near_copies(signs, thumbs):
            first, second = np.nonzero(close)
            copies += [
                list(pair) for pair in zip(rows[some[first]].tolist(), rows[others[second]].tolist(), strict=True)
            ]
    return copies


def _fingerprint(dataset: VisionDataset, index: int) -> Fingerprint:
    """Fingerprint of one image; an empty one if it cannot be read, which is told where it is trained on."""
    if isinstance(dataset, ConcatDataset):
        return _fingerprint(*dataset.locate(index))
    try:
        if not isinstance(dataset, TableDataset):
            if getattr(dataset, "generated", False):
                return Fingerprint()  # what is made on the fly has no copies
            return fingerprint(dataset.read(index).image)
        if type(dataset).pixels is not TableDataset.pixels:
            return fingerprint(dataset.pixels(index))
        path = dataset.path(index)
        state = Path(path).stat()
        return _fingerprint_of_file(path, state.st_mtime_ns, state.st_size, dataset.channels)
    except (DataError, OSError, ValueError):
        return Fingerprint()


@functools.lru_cache(maxsize=MOST_COMPARED)
def _fingerprint_of_file(path: str, modified: int, size: int, channels: int) -> Fingerprint:
    """Fingerprint of a file, cached: training and validation images are found by the same comparison."""
    reduced = decode_reduced(Path(path), 1, _COMPARED_SIZE) if channels in (1, 3) else None
    if reduced is not None and min(reduced[0].shape[:2]) >= _SMALLEST_SIDE:
        return fingerprint(reduced[0])
    return fingerprint(read_image(path, 1 if channels in (1, 3) else channels))
