"""Whether there is anything to learn or score: no verb passes over splits, images or objects that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.data.tables.annotations import ReadFault
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset

__all__ = ["SplitContent", "content_faults", "count_content", "require_content"]

# Splits that are scored: one class may happen there, none may not. Test splits are often published without labels.
_VALIDATION = frozenset({"val", "valid", "validation", "dev"})
_SCORED = _VALIDATION | {"test", "testing"}


@dataclass(frozen=True)
class SplitContent:
    """How much a split holds.

    Args:
        split: Name of the split.
        task: Task it is opened for.
        images: Number of images.
        objects: Number of objects, or of images that show a class; None where the ground truth is no list of objects.
        classes: Classes that occur.
        listed: Number of classes in the class list.
        source: Data folder.
        looked_in: File that the ground truth of the first image is read from.
    """

    split: str
    task: str
    images: int
    objects: int | None
    classes: frozenset[str]
    listed: int
    source: str
    looked_in: str = ""


def count_content(dataset: VisionDataset) -> SplitContent:
    """Count the content of a split by its annotation table, without reading any image.

    Example:
        >>> from saccade.data.tables.annotations import TableBuilder
        >>> from saccade.structures.dataset import DatasetInfo
        >>> builder = TableBuilder(["cat"])
        >>> builder.add_image("a.png")
        >>> builder.add_object("cat", (10, 5, 30, 35))
        >>> data = TableDataset(DatasetInfo("cats", "detection", ("cat",)), Path("cats"), builder.build())
        >>> content = count_content(data)
        >>> content.images, content.objects, sorted(content.classes)
        (1, 1, ['cat'])
    """
    info = dataset.info
    if not isinstance(dataset, TableDataset) or type(dataset).target is not TableDataset.target:
        source = str(dataset.root) if isinstance(dataset, TableDataset) else info.name
        names = info.class_names
        return SplitContent(info.split, info.task, len(dataset), None, frozenset(names), len(names), source)
    labels = np.unique(dataset.table.labels).tolist()
    classes = frozenset(dataset.table.class_name(label, info.class_names) for label in labels)
    looked_in = dataset.annotation_path(0) if len(dataset) else ""
    return SplitContent(
        split=info.split,
        task=info.task,
        images=len(dataset),
        objects=len(dataset.table.labels),
        classes=classes,
        listed=len(info.class_names),
        source=str(dataset.root),
        looked_in=looked_in,
    )


def content_faults(splits: Sequence[SplitContent]) -> list[tuple[str, ReadFault]]:
    """Find what is missing altogether: images, objects, classes.

    Args:
        splits: The splits of a data set.

    Returns:
        Split (empty for the whole data set) and fault, of the codes ``splits.none``, ``splits.empty``, ``labels.none``,
        ``splits.no-objects`` and ``classes.one``.

    Example:
        >>> counts = [SplitContent("val", "detection", 9, 0, frozenset(), 2, "birds", "birds/val.json")]
        >>> print(content_faults(counts)[0][1])
        birds: none of its 9 images has an object; they were looked for in birds/val.json. Check that the labels belong
        to these images, or name their format.
    """
    if not splits:
        return [("", ReadFault("splits.none", "the data set", "it has no split. Name its folder and its format."))]
    source, task = splits[0].source, splits[0].task
    found = [
        (split.split, ReadFault("splits.empty", split.source, f"split '{split.split}' has no images. Leave it out."))
        for split in splits
        if not split.images
    ]
    counted = [split for split in splits if split.images and split.objects is not None]
    if counted and not any(split.objects for split in counted):
        images = sum(split.images for split in counted)
        looked = f"; they were looked for in {counted[0].looked_in}" if counted[0].looked_in else ""
        remedy = "Check that the labels belong to these images, or name their format."
        problem = f"none of its {images} images has an object{looked}. {remedy}"
        return [*found, ("", ReadFault("labels.none", source, problem))]
    for split in counted:
        if not split.objects and split.split not in _SCORED - _VALIDATION:
            looked = f"; they were looked for in {split.looked_in}" if split.looked_in else ""
            problem = f"none of the {split.images} images of split '{split.split}' has an object{looked}. "
            remedy = "Add its labels, or name another split."
            found.append((split.split, ReadFault("splits.no-objects", split.source, problem + remedy)))
    classes = frozenset[str]().union(*(split.classes for split in splits))
    trained = any(split.split not in _SCORED for split in splits)
    count = len(classes) if trained else min(split.listed for split in splits)
    if task == "classification" and any(split.images for split in splits) and count < 2:
        name = next(iter(classes), "")
        problem = f"all images are of one class, '{name}'; a classifier needs two or more. "
        remedy = "Name the folder that holds a folder for each class, or add images of other classes."
        found.append(("", ReadFault("classes.one", source, problem + remedy)))
    return found


def require_content(parts: Sequence[VisionDataset]) -> None:
    """Refuse data sets without images or objects, and classifiers' with one class.

    Args:
        parts: Splits that are used together.

    Raises:
        DataError: With the first of :func:`content_faults`.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> require_content([DigitScenes("detection", count=2)])
    """
    faults = content_faults([count_content(part) for part in parts])
    if faults:
        raise DataError(str(faults[0][1]))
