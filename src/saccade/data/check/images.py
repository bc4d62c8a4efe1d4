"""Every image decoded once, in threads: what cannot be read, how large it really is, and what it looks like.

OpenCV and the file system leave the interpreter to other threads while they work, so threads are as quick as processes
here and share the data set.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import Issue
from saccade.data.check.split_view import LocatedIssue, SplitView, annotation_path, reads_table
from saccade.data.images.decode import image_size
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = ["ImageStats", "Progress", "check_images", "look_at_all", "tell_error"]

# Wraps the images, given their number, to show a bar.
Progress = Callable[[Iterable[Any], int], Iterable[Any]]

_HASH_SIDE = 32  # pixels a side of the reduced image that is compared
_THUMB_SIDE = 16
_SMALLEST = 64  # pixels a side below which images are compared exactly only: small images are alike too easily
_FLAT = 1.0  # grey levels of deviation below which a reduced image has nothing to compare

# What the message of an error tells of its kind, in the order in which they are looked for.
_PHRASES = (
    ("does not exist", "missing-file"),
    ("is empty", "empty-file"),
    ("truncated", "truncated"),
    ("exceed the limit", "too-large"),
    ("too many pixels", "too-large"),
    ("holds colours", "map-colours"),
    ("is none of", "map-value"),
)


@dataclass(slots=True)
class ImageStats:
    """What one image showed.

    Args:
        size: (height, width) as decoded, EXIF orientation applied; (0, 0) if it was not decoded.
        target: Its ground truth without masks, where the data set has no table that says it.
        present: Labels in its label map.
        map_size: (height, width) of its label map.
        errors: What could not be read, each with the field it belongs to.
        digest: Of the pixels; empty if they were not decoded or all are the same.
        signs: Signs of its 64 lowest frequencies, (64,) int8 of -1 and 1; None where there is nothing to compare.
        thumb: (256,) float32 of mean 0 and length 1, with ``signs``.
    """

    size: tuple[int, int] = (0, 0)
    target: Target | None = None
    present: tuple[int, ...] = ()
    map_size: tuple[int, int] | None = None
    errors: list[tuple[str, DataError]] = field(default_factory=list)
    digest: bytes = b""
    signs: NDArray[np.int8] | None = None
    thumb: NDArray[np.float32] | None = None


def look_at_all(dataset: VisionDataset, decode: bool, progress: Progress | None = None) -> list[ImageStats]:
    """Look at every image of a split.

    Args:
        dataset: The split.
        decode: Decode the images; else only ground truth that is no table is read.
        progress: Shows a bar.
    """
    if not decode and reads_table(dataset):
        return [ImageStats() for _ in range(len(dataset))]
    workers = min(os.cpu_count() or 1, 16)
    with ThreadPoolExecutor(workers) as pool:
        looks: Iterable[ImageStats] = pool.map(lambda index: _look(dataset, index, decode), range(len(dataset)))
        return list(looks if progress is None else progress(looks, len(dataset)))


def _look(dataset: VisionDataset, index: int, decode: bool) -> ImageStats:
    look = ImageStats()
    pixels: NDArray[Any] | None = None
    if isinstance(dataset, TableDataset):
        if decode:
            try:
                pixels = dataset.pixels(index)
            except DataError as error:
                look.errors.append(("image", error))
        if not reads_table(dataset):
            try:
                _keep(look, dataset.target(index))
            except DataError as error:
                look.errors.append(("annotation", error))
    else:
        try:
            if decode:
                sample = dataset.read(index)
                pixels = sample.image
                _keep(look, sample.target)
            else:
                _keep(look, dataset.target(index))
        except DataError as error:
            look.errors.append(("image" if decode else "annotation", error))
    if pixels is not None:
        look.size = (pixels.shape[0], pixels.shape[1])
        look.digest, look.signs, look.thumb = _prints(pixels)
    return look


def _keep(look: ImageStats, target: Target) -> None:
    """Remember a ground truth, but neither its masks nor its map, which would fill the memory."""
    look.target = {key: value for key, value in target.items() if key not in ("masks", "label_map")}
    if "label_map" in target:
        label_map = target["label_map"]
        look.map_size = (label_map.shape[0], label_map.shape[1])
        counts = np.bincount(label_map.reshape(-1), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
        look.present = tuple(np.flatnonzero(counts).tolist())


def _prints(pixels: NDArray[Any]) -> tuple[bytes, NDArray[np.int8] | None, NDArray[np.float32] | None]:
    """Content hash, signs of the lowest frequencies (Zauner 2010, "pHash") and a small copy of an image."""
    if int(pixels.max()) - int(pixels.min()) <= 2:
        return b"", None, None  # a uniform image is like every other, which says nothing
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(repr(pixels.shape).encode())
    if min(pixels.shape[:2]) < _SMALLEST:
        return digest.digest(), None, None
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels[..., 0]
    small = cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if pixels.dtype == np.uint16:
        small /= 257
    if small.std() < _FLAT:
        return digest.digest(), None, None
    low = cv2.dct(small)[:8, :8].reshape(-1)
    low[0] = 0  # the mean brightness
    signs = np.where(low > np.median(low[1:]), 1, -1).astype(np.int8)
    thumb = cv2.resize(small, (_THUMB_SIDE, _THUMB_SIDE), interpolation=cv2.INTER_AREA).reshape(-1)
    thumb -= thumb.mean()
    length = float(np.linalg.norm(thumb))
    return digest.digest(), signs, thumb / length if length > 0 else thumb


def check_images(part: SplitView, looks: list[ImageStats]) -> Iterator[LocatedIssue]:
    """Faults of the files of a split: what cannot be read, and sizes that do not agree."""
    dataset = part.dataset
    for index, look in enumerate(looks):
        said = set()
        for name, error in look.errors:
            if str(error) not in said:
                yield LocatedIssue(index, -1, tell_error(dataset, index, error, name))
            said.add(str(error))
        if look.map_size is not None and look.size[0] and look.map_size != look.size:
            problem = f"the map is {_words(look.map_size)}, its image {_words(look.size)}"
            remedy = "Save both in the same size (labels by nearest pixel)."
            where = (part.file(index), "image", problem, remedy)
            yield LocatedIssue(index, -1, Issue(*where, "error", "map-size", part.split, dataset.path(index)))
    both = (part.annotated > 0).all(axis=1) & (part.real > 0).all(axis=1)
    for index in np.flatnonzero(both & (part.annotated != part.real).any(axis=1)).tolist():
        yield LocatedIssue(index, -1, _size_issue(part, index))


def _size_issue(part: SplitView, index: int) -> Issue:
    """The annotated size is another than the image's; tells which reading of the EXIF orientation it fits."""
    annotated, size = ((int(pair[0]), int(pair[1])) for pair in (part.annotated[index], part.real[index]))
    problem = f"annotated as {_words(annotated)}, the image is {_words(size)}"
    remedy = "Correct the annotated size, and look whether the boxes fit the image."
    if _stored_size(part.dataset.path(index)) == annotated:
        problem += " once its EXIF orientation is applied"
        remedy = "The labels were drawn on the unturned pixels: turn the file's pixels, or draw the labels again."
    elif annotated == size[::-1]:
        problem += ", which is the same with height and width exchanged"
        remedy = "Exchange the annotated height and width, and look whether the boxes fit the image."
    where = (part.file(index), "size", problem, remedy)
    return Issue(*where, "warning", "image-size", part.split, part.dataset.path(index))


def _stored_size(path: str) -> tuple[int, int] | None:
    """(height, width) of a file before it is turned upright; None where images are no files."""
    try:
        return image_size(path) if Path(path).is_file() else None
    except DataError:
        return None


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def tell_error(dataset: VisionDataset, index: int, error: DataError, field_name: str) -> Issue:
    """A ``DataError`` reads "file: problem. Remedy."; taken apart again."""
    message = str(error)
    image = dataset.path(index)
    file = next((path for path in (annotation_path(dataset, index), image) if message.startswith(path)), "")
    problem, _, remedy = message.removeprefix(file).lstrip(": ").partition(". ")
    kind = next((kind for phrase, kind in _PHRASES if phrase in problem), "")
    kind = kind or ("unreadable" if field_name == "image" else "annotation")
    return Issue(file or image, field_name, problem, remedy, "error", kind, dataset.info.split, image)
