"""What is wrong with a data set, before a training finds out: broken pictures, faulty boxes, wrong sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from saccade.data.annotations import TableDataset
from saccade.data.combine import ConcatDataset
from saccade.data.dataset import VisionDataset
from saccade.data.faults import box_faults
from saccade.data.images import image_size
from saccade.data.sample import Target
from saccade.errors import DataError

__all__ = ["CheckReport", "Issue", "check_dataset"]

Severity = Literal["error", "warning"]

_REMEDIES = {
    "not finite": "Write finite numbers, or remove the object.",
    "inverted": "Swap the corners, or open with bad_labels=repair.",
    "zero area": "Draw the box again, or remove it (bad_labels=drop).",
    "outside": "Clip the box to the picture, or open with bad_labels=repair.",
}


@dataclass(frozen=True)
class Issue:
    """One fault.

    Args:
        file: Where it is.
        field: What in that file.
        problem: What is wrong.
        remedy: What to do about it.
        severity: ``error`` if training refuses it (or dies of it), ``warning`` if it only learns less.
    """

    file: str
    field: str
    problem: str
    remedy: str
    severity: Severity


@dataclass
class CheckReport:
    """Outcome of :func:`check_dataset`.

    Args:
        name: Data set and split.
        issues: All faults, by picture.
        images: Pictures in the data set.
        objects: Objects in all pictures.
        empty_images: Pictures without an object, which are data like any other.
        class_counts: Objects by class name; for label maps pictures that show the class, for keypoints labelled points.
    """

    name: str
    issues: list[Issue] = field(default_factory=list)
    images: int = 0
    objects: int = 0
    empty_images: int = 0
    class_counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether training would take the data as it is."""
        return not any(issue.severity == "error" for issue in self.issues)

    @property
    def counts(self) -> dict[str, int]:
        """All counts by name, for a table."""
        return {
            "images": self.images,
            "images without objects": self.empty_images,
            "objects": self.objects,
            **{f"class {name}": count for name, count in self.class_counts.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "ok": self.ok,
            "counts": self.counts,
            "issues": [asdict(issue) for issue in self.issues],
        }

    def to_text(self, limit: int | None = None) -> str:
        """Counts and issues as lines of text.

        Args:
            limit: Issues to list; all if not given.
        """
        lines = [self.name, *(f"  {name}: {count}" for name, count in self.counts.items())]
        errors = sum(issue.severity == "error" for issue in self.issues)
        lines.append(f"{errors} errors, {len(self.issues) - errors} warnings" if self.issues else "no faults found")
        lines += [
            f"  {issue.severity}: {issue.file}: {issue.field}: {issue.problem}. {issue.remedy}"
            for issue in self.issues[:limit]
        ]
        return "\n".join(lines)


def check_dataset(dataset: VisionDataset, images: bool = True) -> CheckReport:
    """Look through every picture and its truth.

    Args:
        dataset: As :func:`saccade.data.open.open_raw` gives it: a label policy would have removed what is looked for.
        images: Also decode every picture, which finds broken files and wrong sizes.

    Returns:
        Counts and issues.
    """
    info = dataset.info
    report = CheckReport(f"{info.name} ({info.split}), {info.task}", images=len(dataset))
    counts: Counter[str] = Counter(dict.fromkeys(info.class_names, 0))
    for index in range(len(dataset)):
        target, size = _read(dataset, index, images, report)
        if target is not None:
            report.issues += _check_target(dataset, index, target, size)
            _count(dataset, target, report, counts)
    report.class_counts = dict(counts)
    return report


def _read(
    dataset: VisionDataset, index: int, images: bool, report: CheckReport
) -> tuple[Target | None, tuple[int, int] | None]:
    """Truth and (height, width) of a picture, as far as they can be had; what cannot is reported."""
    target: Target | None = None
    said = ""
    try:
        target = dataset.target(index)
    except DataError as error:
        said = str(error)
        report.issues.append(_from_error(dataset, index, error, "annotation"))
    annotated = _annotated_size(dataset, index)
    if not images:
        return target, annotated
    try:
        size = dataset.read(index).size
    except DataError as error:
        if str(error) != said:
            report.issues.append(_from_error(dataset, index, error, "picture"))
        return target, annotated
    if annotated is not None and annotated != size:
        report.issues.append(_size_issue(dataset, index, annotated, size))
    return target, size


def _check_target(dataset: VisionDataset, index: int, target: Target, size: tuple[int, int] | None) -> Iterator[Issue]:
    """Faults of one picture's objects."""
    file = _annotation_path(dataset, index)
    if "labels" in target and dataset.info.task != "keypoints":
        known = len(dataset.info.class_names)
        for position, label in enumerate(np.atleast_1d(target["labels"]).tolist()):
            if not 0 <= label < known:
                remedy = "Add the class to the class list, or correct the name."
                name = _class_name(dataset, index, label)
                yield Issue(file, f"object {position}", f"unknown class '{name}'", remedy, "error")
    if "boxes" in target:
        yield from _check_boxes(dataset, index, file, target, size)
    if "keypoints" in target:
        yield from _check_keypoints(dataset, file, target["keypoints"], size)


def _check_boxes(
    dataset: VisionDataset, index: int, file: str, target: Target, size: tuple[int, int] | None
) -> Iterator[Issue]:
    boxes: NDArray[np.float32] = target["boxes"]
    labels = target["labels"].tolist()

    def field_of(position: int) -> str:
        return f"object {position} ({_class_name(dataset, index, labels[position])})"

    bad = np.zeros(len(boxes), np.bool_)
    for kind, found in box_faults(boxes, np.array(size or (0, 0), np.int32)).items():
        bad |= found
        picture = f" of the {size[1]}x{size[0]} picture" if kind == "outside" and size else ""
        for position in np.flatnonzero(found).tolist():
            numbers = ", ".join(f"{value:g}" for value in boxes[position].tolist())
            yield Issue(file, field_of(position), f"box {numbers}: {kind}{picture}", _REMEDIES[kind], "error")
    sides = boxes[:, 2:] - boxes[:, :2]
    for position in np.flatnonzero(~bad & (sides < 1).any(axis=1)).tolist():
        width, height = sides[position].tolist()
        remedy = "Look whether it is meant; remove it if not."
        yield Issue(file, field_of(position), f"box of {width:.2f}x{height:.2f} pixels is tiny", remedy, "warning")
    seen: dict[tuple[float, ...], int] = {}
    for position, row in enumerate(boxes.tolist()):
        first = seen.setdefault((labels[position], *row), position)
        if first != position:
            problem = f"box and class repeat object {first}"
            yield Issue(file, field_of(position), problem, "Remove one of the two.", "warning")


def _check_keypoints(
    dataset: VisionDataset, file: str, keypoints: NDArray[np.float32], size: tuple[int, int] | None
) -> Iterator[Issue]:
    if not np.isfinite(keypoints).all():
        yield Issue(file, "keypoints", "a coordinate is not finite", _REMEDIES["not finite"], "error")
    if size is None:
        return
    x, y, visibility = np.moveaxis(keypoints, -1, 0)
    outside = (visibility > 0) & ((x < 0) | (y < 0) | (x > size[1]) | (y > size[0]))
    for position, point in np.argwhere(outside).tolist():
        name = dataset.info.class_names[point]
        problem = f"point {x[position, point]:g}, {y[position, point]:g} is outside of the {size[1]}x{size[0]} picture"
        remedy = "Correct it, or mark it as not labelled."
        yield Issue(file, f"object {position}, {name}", problem, remedy, "warning")


def _count(dataset: VisionDataset, target: Target, report: CheckReport, counts: Counter[str]) -> None:
    """Add one picture to the counts."""
    names = dataset.info.class_names
    if "label_map" in target:
        present = [label for label in np.unique(target["label_map"]).tolist() if label < len(names)]
        counts.update(names[label] for label in present)
        return
    if "keypoints" in target:
        labelled = (target["keypoints"][..., 2] > 0).sum(axis=0)
        for name, number in zip(names, labelled.tolist(), strict=True):
            counts[name] += number
    labels = np.atleast_1d(target["labels"])
    if "keypoints" not in target:
        counts.update(names[label] for label in labels.tolist() if 0 <= label < len(names))
    report.objects += len(labels)
    report.empty_images += len(labels) == 0


def _size_issue(dataset: VisionDataset, index: int, annotated: tuple[int, int], size: tuple[int, int]) -> Issue:
    """The annotated size is another than the picture's; tells whether EXIF orientation explains it."""
    problem = f"annotated as {annotated[1]}x{annotated[0]}, the picture is {size[1]}x{size[0]}"
    remedy = "Correct the annotated size, and look whether the boxes fit the picture."
    if image_size(dataset.path(index)) == annotated:
        problem += " once its EXIF orientation is applied"
        remedy = "The labels were drawn on the unturned pixels: turn the file's pixels, or draw the labels again."
    return Issue(_annotation_path(dataset, index), "size", problem, remedy, "warning")


def _from_error(dataset: VisionDataset, index: int, error: DataError, field_name: str) -> Issue:
    """A ``DataError`` reads "file: problem. Remedy."; taken apart again."""
    message = str(error)
    file = next(
        (path for path in (_annotation_path(dataset, index), dataset.path(index)) if message.startswith(path)), ""
    )
    problem, _, remedy = message.removeprefix(file).lstrip(": ").partition(". ")
    return Issue(file or dataset.path(index), field_name, problem, remedy, "error")


def _table_of(dataset: VisionDataset, index: int) -> tuple[TableDataset, int] | None:
    """The table a picture comes from, and its place in it, if it comes from one."""
    if isinstance(dataset, ConcatDataset):
        return _table_of(*dataset.locate(index))
    return (dataset, index) if isinstance(dataset, TableDataset) else None


def _annotation_path(dataset: VisionDataset, index: int) -> str:
    found = _table_of(dataset, index)
    return dataset.path(index) if found is None else found[0].annotation_path(found[1])


def _annotated_size(dataset: VisionDataset, index: int) -> tuple[int, int] | None:
    found = _table_of(dataset, index)
    if found is None:
        return None
    height, width = found[0].table.sizes[found[1]].tolist()
    return (height, width) if height and width else None


def _class_name(dataset: VisionDataset, index: int, label: int) -> str:
    found = _table_of(dataset, index)
    names = dataset.info.class_names if dataset.info.task != "keypoints" else ("object",)
    return names[label] if 0 <= label < len(names) else found[0].table.class_name(label, names) if found else str(label)
