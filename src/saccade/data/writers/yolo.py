"""YOLO: ``images/<split>/``, ``labels/<split>/<image>.txt`` and ``data.yaml``, which grows with each split.

Rows hold boxes if no object of the split has an outline, polygons otherwise, or keypoints; see
:mod:`saccade.data.readers.yolo` for their form. An object is one row with one polygon, so several rings are joined by
bridges without width, which enclose nothing, and holes are cut in the same way.

What a row cannot hold is counted: crowd regions and unknown classes, which are left out, since a row would make
ordinary objects of them; attributes; and images that had to be renamed, because another has the same stem.

A data set without splits becomes ``all``, which ``data.yaml`` names as ``train`` too; it has no ``val``, since images
that were trained on validate nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import (
    class_names_of,
    drop_points,
    drop_skeleton,
    has_background,
    image_size,
    regions_of,
    rings_of,
    unique_stems,
)
from saccade.errors import DataError
from saccade.structures.files import write_text
from saccade.structures.yaml_files import read_yaml

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation", "keypoints")

# Pixels by which a box may differ from its polygon's; COCO rounds boxes to hundredths.
_SAME_BOX = 0.02
_STANDARD = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as YOLO.

    Args:
        dataset: Split to write.
        folder: Root of the new data set; it may hold other splits.
        split: Name of the split.
        images: Whether images are copied, linked or left out.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or the classes are not those of the splits written before.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "yolo"))
        >>> Path("out/labels/train/a.txt").read_text()
        '0 0.258333333 0.275 0.483333333 0.45\n'
    """
    sizes = [image_size(dataset, index) for index in range(len(dataset))]
    _describe(dataset, folder / "data.yaml", split, report)
    names = dict(enumerate(unique_stems(unique_names(dataset), report)))
    written = write_images(dataset, folder / "images" / split, images, report, names)
    rows = _rows_of(dataset, report)
    for index, image in written.items():
        with np.errstate(invalid="ignore", over="ignore"):  # faulty numbers are carried over
            lines = [_line(label, numbers) for label, numbers in rows.of_image(index, sizes[index])]
        write_text(folder / "labels" / split / PurePosixPath(image).with_suffix(".txt"), "".join(lines), durable=False)
    _count_losses(dataset, report)


def _describe(dataset: TableDataset, path: Path, split: str, report: LossReport) -> None:
    """Write ``data.yaml``, or add a split to it."""
    import yaml

    info = dataset.info
    own: dict[str, Any] = {"names": dict(enumerate(class_names_of(dataset)))}
    points = info.points.names if _has_point_rows(dataset) else ()
    if points:
        own["kpt_shape"] = [len(points), 3]
        if info.flip_pairs:
            mirrored = list(range(len(points)))
            for first, second in info.flip_pairs:
                mirrored[first], mirrored[second] = second, first
            own["flip_idx"] = mirrored
        own["kpt_names"] = {label: list(points) for label in own["names"]}
    before: dict[str, Any] = read_yaml(path) if path.is_file() else {}
    known = {key: value for key, value in before.items() if key in (*own, "kpt_shape", "flip_idx")}
    if before and known != own:
        raise DataError(f"{path}: split '{split}' has other classes than those before. Give all splits the same.")
    if not before:
        report.keep("classes", len(own["names"]))
    image_folder = f"images/{split}"
    key = re.sub(r"\d+$", "", split) or split
    key = _STANDARD.get(key, key)
    added = dict.fromkeys(("all", "train"), image_folder) if split == "all" else {key: image_folder}
    if key in before:  # train2014 beside train2017
        added = {split: image_folder}
    splits = {key: value for key, value in before.items() if key not in own} | added
    write_text(path, yaml.safe_dump(splits | own, sort_keys=False, allow_unicode=True))


_Row = tuple[int, NDArray[np.float64]]


class _Rows:
    """Rows of objects without outlines: label and box."""

    def __init__(self, dataset: TableDataset, report: LossReport) -> None:
        self.dataset = dataset
        self.table = dataset.table
        self.report = report

    def of_image(self, index: int, size: tuple[int, int]) -> Iterator[_Row]:
        """Rows of image ``index`` of (height, width)."""
        scale = np.array([size[1], size[0]], np.float64)
        for row in range(*self.table.objects(index).indices(len(self.table.labels))):
            label = int(self.table.labels[row])
            if label < 0:
                self.report.drop("objects", "their class is not in the class list")
            elif self.table.iscrowd[row]:
                self.report.drop("objects", "YOLO has no crowd regions")
            else:
                self.report.keep("objects")
                yield label, self.numbers(row, scale)

    def numbers(self, row: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers of one object after its label, as shares of the image's size."""
        self.report.keep("boxes")
        return self.box(row, scale)

    def box(self, row: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centre and sides of an object's box, shape (4,)."""
        assert self.table.boxes is not None, "the task has boxes"
        low, high = self.table.boxes[row, :2], self.table.boxes[row, 2:]
        return np.concatenate([(low + high) / 2 / scale, (high - low) / scale])


class _PolygonRows(_Rows):
    """Rows of objects with outlines: label and one polygon."""

    def of_image(self, index: int, size: tuple[int, int]) -> Iterator[_Row]:
        """Rows of image ``index`` of (height, width)."""
        self._first = int(self.table.offsets[index])
        self._masks = self.dataset.object_masks(index) if self.table.outlines is None else np.zeros((0, 0, 0), np.uint8)
        yield from super().of_image(index, size)

    def numbers(self, row: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners of one object, x, y, x, y, ..."""
        rings = self._rings(row)
        if not rings:
            self.report.change("boxes", "written as polygons of four corners")
            assert self.table.boxes is not None, "what has no polygon has a box"
            x1, y1, x2, y2 = self.table.boxes[row].tolist()
            return (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) / scale).reshape(-1)
        ring = _join(rings)
        if self.table.boxes is not None:
            hull = np.concatenate([ring.min(axis=0), ring.max(axis=0)])
            if np.abs(hull - self.table.boxes[row]).max() <= _SAME_BOX:
                self.report.keep("boxes")
            else:
                self.report.change("boxes", "became those around the polygon")
        return (ring / scale).reshape(-1)

    def _rings(self, row: int) -> list[NDArray[np.float64]]:
        """Rings of an object that enclose something, holes among them."""
        mask = self._mask(row)
        if mask is not None:
            rings, holes = rings_of(mask)
            self.report.change("masks", "written as polygons") if rings else self.report.drop(
                "masks", "too small or malformed"
            )
            self.report.change("holes", "cut in by bridges without width", sum(holes))
            return rings
        outlines = self.table.outlines
        assert outlines is not None, "what has no masks has outlines"
        pairs = list(zip(outlines.rings(row), outlines.hole_flags(row), strict=True))
        kept = [(ring, hole) for ring, hole in pairs if len(ring) >= 3]
        self.report.drop("polygons", "fewer than three points", len(pairs) - len(kept))
        cut = sum(hole for _, hole in kept)
        self.report.change("holes", "cut in by bridges without width", cut)
        if len(kept) - cut > 1:
            self.report.change("polygons", "several rings of an object became one", len(kept) - cut)
        else:
            self.report.keep("polygons", len(kept) - cut)
        return [ring for ring, _ in kept]

    def _mask(self, row: int) -> NDArray[np.uint8] | None:
        """Mask of an object that has one instead of rings."""
        outlines = self.table.outlines
        if outlines is None:
            return self._masks[row - self._first]
        if not len(outlines.mask_runs(row)):
            return None
        height, width = outlines.run_sizes[row].tolist()
        try:
            return outlines.mask(row, height, width)
        except ValueError:
            return np.zeros((0, 0), np.uint8)  # malformed: no ring will be found


class _LabelMapRows(_Rows):
    """Rows of label maps: label and one polygon for each region."""

    def of_image(self, index: int, size: tuple[int, int]) -> Iterator[_Row]:
        """Rows of the regions of each class of image ``index``."""
        label_map = self.dataset.target(index)["label_map"]
        scale = np.array(label_map.shape[::-1], np.float64)
        first = int(has_background(self.dataset))
        for value, rings, holes in regions_of(label_map, first, self.report):
            self.report.keep("objects")
            self.report.change("holes", "cut in by bridges without width", sum(holes))
            yield value - first, (_join(rings) / scale).reshape(-1)


class _PointRows(_Rows):
    """Rows of objects with keypoints: label, box and points."""

    def numbers(self, row: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Box, then x, y and visibility of each point; zeros for one that is not labelled."""
        points = self.table.keypoints[row].astype(np.float64)
        labelled = points[:, 2] > 0
        self.report.keep("keypoints", int(labelled.sum()))
        outlines = self.table.outlines
        if outlines is not None and (outlines.has_rings()[row] or outlines.has_runs()[row]):
            self.report.drop("polygons", "YOLO has none beside keypoints")
        if self.table.boxes is not None:
            self.report.keep("boxes")
            box = self.box(row, scale)
        else:
            self.report.change("boxes", "drawn around the keypoints, as there were none")
            seen = points[labelled, :2] if labelled.any() else np.zeros((1, 2))
            low, high = seen.min(axis=0), seen.max(axis=0)
            box = np.concatenate([(low + high) / 2 / scale, (high - low) / scale])
        points[:, :2] /= scale
        points[~labelled] = 0.0
        return np.concatenate([box, points.reshape(-1)])


def _rows_of(dataset: TableDataset, report: LossReport) -> _Rows:
    outlines = dataset.table.outlines
    if _has_point_rows(dataset):
        drop_skeleton(dataset, report)
        return _PointRows(dataset, report)
    drop_points(dataset, report)
    if dataset.info.task == "segmentation":
        return _LabelMapRows(dataset, report) if outlines is None else _PolygonRows(dataset, report)
    return _PolygonRows(dataset, report) if _has_outlines(dataset) else _Rows(dataset, report)


def _has_point_rows(dataset: TableDataset) -> bool:
    """Whether rows hold keypoints: those of detection give way to outlines, as a row cannot hold both."""
    return dataset.info.task == "keypoints" or (bool(dataset.info.points) and not _has_outlines(dataset))


def _has_outlines(dataset: TableDataset) -> bool:
    outlines = dataset.table.outlines
    if outlines is None:  # readers of instance maps give masks without outlines
        return type(dataset).object_masks is not TableDataset.object_masks
    return bool(outlines.has_rings().any() or outlines.has_runs().any())


def _join(rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One closed line through all rings, with bridges there and back: by the even-odd rule it encloses what they do."""
    path = rings[0]
    for ring in rings[1:]:
        start = int(np.square(path - ring[0]).sum(axis=1).argmin())
        end = int(np.square(ring - path[start]).sum(axis=1).argmin())
        path = np.concatenate([path[: start + 1], ring[end:], ring[: end + 1], path[start:]])
    return path


def _line(label: int, numbers: NDArray[np.float64]) -> str:
    """A row of text; nine digits are a thousandth of a pixel in images of any size."""
    return " ".join([str(label), *(f"{number:.9f}".rstrip("0").rstrip(".") for number in numbers.tolist())]) + "\n"


def _count_losses(dataset: TableDataset, report: LossReport) -> None:
    """Count as dropped what rows cannot hold."""
    table = dataset.table
    for name, values in table.extras.items():
        report.drop(name, "YOLO has no such mark", int(np.count_nonzero(values)))
    for texts, prefix in ((table.attributes, "attribute"), (table.image_attributes, "attribute of images:")):
        names = Counter(name for row in range(len(texts)) for name in texts.get(row)) if texts is not None else {}
        for name, count in names.items():
            report.drop(f"{prefix} {name}", "YOLO has no attributes", count)
