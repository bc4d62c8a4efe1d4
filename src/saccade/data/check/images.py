"""Statistics of every image, decoded once, in threads: errors of reading, true size, fingerprints of the content.

OpenCV and the file system leave the interpreter to other threads while they work, so threads are as quick as processes
here and share the data set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.check.report import Issue
from saccade.data.check.split_view import LocatedIssue, SplitView, annotation_path, is_table_backed
from saccade.data.images.decode import image_size
from saccade.data.images.fingerprint import fingerprint
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = ["ImageStats", "Progress", "check_images", "collect_stats", "parse_error"]

# Wraps the images, given their number, to show a bar.
Progress = Callable[[Iterable[Any], int], Iterable[Any]]

# Phrases in the message of an error and the code of the fault that each stands for; the first found counts.
_PHRASES = (
    ("does not exist", "image.missing"),
    ("is empty", "image.empty"),
    ("truncated", "image.truncated"),
    ("exceed the limit", "image.too-large"),
    ("too many pixels", "image.too-large"),
    ("holds colours", "maps.colours"),
    ("is none of", "maps.value"),
)


@dataclass(slots=True)
class ImageStats:
    """Statistics of one image: size, errors of reading, labels present, fingerprints of the content.

    Args:
        size: (height, width) as decoded, EXIF orientation applied; (0, 0) if it was not decoded.
        target: Its ground truth without masks, where the data set has no annotation table.
        present: Labels in its label map.
        map_size: (height, width) of its label map.
        errors: What could not be read, each with the field it belongs to.
        digest: Hash of the pixels; empty if they were not decoded or the image is uniform.
        signs: Signs of its 64 lowest frequencies, (64,) int8 of -1 and 1; None where there is nothing to compare.
        thumb: Reduced grey copy, (256,) float32 of mean 0 and length 1; None where ``signs`` is.
    """

    size: tuple[int, int] = (0, 0)
    target: Target | None = None
    present: tuple[int, ...] = ()
    map_size: tuple[int, int] | None = None
    errors: list[tuple[str, DataError]] = field(default_factory=list)
    digest: bytes = b""
    signs: NDArray[np.int8] | None = None
    thumb: NDArray[np.float32] | None = None


def collect_stats(dataset: VisionDataset, decode: bool, progress: Progress | None = None) -> list[ImageStats]:
    """Collect the statistics of every image of a split, in threads.

    Args:
        dataset: The split.
        decode: Decode the images; otherwise only ground truth outside of an annotation table is read.
        progress: Wraps the images, given their number, to show a bar.

    Returns:
        Statistics by image; empty ones where nothing had to be read.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> stats = collect_stats(DigitScenes("detection", count=2), decode=True)
        >>> stats[0].size, len(stats[0].target["boxes"]), stats[0].signs.shape
        ((256, 256), 1, (64,))
    """
    if not decode and is_table_backed(dataset):
        return [ImageStats() for _ in range(len(dataset))]
    workers = min(os.cpu_count() or 1, 16)
    with ThreadPoolExecutor(workers) as pool:
        stats: Iterable[ImageStats] = pool.map(lambda index: _read_stats(dataset, index, decode), range(len(dataset)))
        return list(stats if progress is None else progress(stats, len(dataset)))


def _read_stats(dataset: VisionDataset, index: int, decode: bool) -> ImageStats:
    stats = ImageStats()
    pixels: NDArray[Any] | None = None
    if isinstance(dataset, TableDataset):
        if decode:
            try:
                pixels = dataset.pixels(index)
            except DataError as error:
                stats.errors.append(("image", error))
        if not is_table_backed(dataset):
            try:
                _keep_target(stats, dataset.target(index))
            except DataError as error:
                stats.errors.append(("annotation", error))
    else:
        try:
            if decode:
                sample = dataset.read(index)
                pixels = sample.image
                _keep_target(stats, sample.target)
            else:
                _keep_target(stats, dataset.target(index))
        except DataError as error:
            stats.errors.append(("image" if decode else "annotation", error))
    if pixels is not None:
        stats.size = (pixels.shape[0], pixels.shape[1])
        found = fingerprint(pixels)
        stats.digest, stats.signs, stats.thumb = found.digest, found.signs, found.thumb
    return stats


def _keep_target(stats: ImageStats, target: Target) -> None:
    """Store the ground truth without masks and label map, which would fill the memory."""
    stats.target = {key: value for key, value in target.items() if key not in ("masks", "label_map")}
    if "label_map" in target:
        label_map = target["label_map"]
        stats.map_size = (label_map.shape[0], label_map.shape[1])
        counts = np.bincount(label_map.reshape(-1), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
        stats.present = tuple(np.flatnonzero(counts).tolist())


def check_images(view: SplitView, split_stats: Sequence[ImageStats]) -> Iterator[LocatedIssue]:
    """Find images and annotations that cannot be read, and sizes that do not agree.

    Args:
        view: The split.
        split_stats: Statistics of its images.
    """
    dataset = view.dataset
    for index, stats in enumerate(split_stats):
        reported = set()
        for name, error in stats.errors:
            if str(error) not in reported:
                yield LocatedIssue(index, -1, parse_error(dataset, index, error, name))
            reported.add(str(error))
        if stats.map_size is not None and stats.size[0] and stats.map_size != stats.size:
            problem = f"the label map is {_format_size(stats.map_size)}, its image {_format_size(stats.size)}"
            remedy = "Save both in the same size (labels by nearest pixel)."
            where = (view.file(index), "image", problem, remedy)
            yield LocatedIssue(index, -1, Issue(*where, "error", "maps.size", view.split, dataset.path(index)))
    both = (view.annotated > 0).all(axis=1) & (view.real > 0).all(axis=1)
    for index in np.flatnonzero(both & (view.annotated != view.real).any(axis=1)).tolist():
        yield LocatedIssue(index, -1, _size_issue(view, index))


def _size_issue(view: SplitView, index: int) -> Issue:
    """The annotated size is not the image's; the remedy depends on which EXIF orientation would explain it."""
    annotated, size = ((int(pair[0]), int(pair[1])) for pair in (view.annotated[index], view.real[index]))
    problem = f"annotated as {_format_size(annotated)}, the image is {_format_size(size)}"
    remedy = "Correct the annotated size, and check whether the boxes match the image."
    if _stored_size(view.dataset.path(index)) == annotated:
        problem += " once its EXIF orientation is applied"
        remedy = (
            "The labels were drawn on the pixels before rotation: rotate the file's pixels, or draw the labels again."
        )
    elif annotated == size[::-1]:
        problem += ", which is the same with height and width exchanged"
        remedy = "Exchange the annotated height and width, and check whether the boxes match the image."
    where = (view.file(index), "size", problem, remedy)
    return Issue(*where, "warning", "image.size", view.split, view.dataset.path(index))


def _stored_size(path: str) -> tuple[int, int] | None:
    """(height, width) of a file before its EXIF orientation is applied; None where images are no files."""
    try:
        return image_size(path) if Path(path).is_file() else None
    except DataError:
        return None


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def parse_error(dataset: VisionDataset, index: int, error: DataError, field_name: str) -> Issue:
    """Turn an error of reading into an issue: its message, "file: problem. Remedy.", is split into fields.

    Args:
        dataset: The split.
        index: The image.
        error: What reading it raised.
        field_name: ``image`` or ``annotation``.
    """
    message = str(error)
    image = dataset.path(index)
    file = next((path for path in (annotation_path(dataset, index), image) if message.startswith(path)), "")
    problem, _, remedy = message.removeprefix(file).lstrip(": ").partition(". ")
    code = next((code for phrase, code in _PHRASES if phrase in problem), "")
    code = code or ("image.unreadable" if field_name == "image" else "labels.unreadable")
    if field_name != "image" and code.startswith("image."):  # a label map, whose errors are those of any image
        code = "maps.missing" if code == "image.missing" else "maps.unreadable"
    return Issue(file or image, field_name, problem, remedy, "error", code, dataset.info.split, image)
