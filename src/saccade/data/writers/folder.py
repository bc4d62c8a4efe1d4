"""One folder a class: ``<split>/<class>/<image>``, and ``saccade.yaml`` with the classes by label.

Images that are no files of their own (MNIST's idx, a zip) become PNG files, or the file that lies in the zip.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from saccade.data.readers._common import check_name
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.data.writers._images import drop_attributes, put_images, write_options

__all__ = ["TASKS", "write"]

TASKS = ("classification",)


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    """Write one split.

    Args:
        dataset: What to write.
        folder: Data folder; it may hold other splits, of the same classes.
        split: Name of the part.
        images: ``copy`` or ``link``; with ``none`` there is nothing but the folders.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, a class cannot be the name of a folder, or the classes are not those of the
            splits written before.
    """
    classes = dataset.info.class_names
    for name in classes:
        check_name(name, folder, "a class name")
    options = {"format": "folder", "class_names": list(classes), "nested": _is_nested(classes)}
    write_options(folder, options, report)
    for name in classes:  # a class without an image keeps its label
        (folder / split / name).mkdir(parents=True, exist_ok=True)
    labels = dataset.table.labels[dataset.table.offsets[:-1]].tolist()
    known = [index for index in range(len(dataset)) if 0 <= labels[index] < len(classes)]
    report.drop("images", "their class is not in the class list", len(dataset) - len(known))
    names = _unique_names(dataset, known, [classes[labels[index]] for index in known])
    put_images(dataset, folder / split, images, report, names)
    drop_attributes(dataset, report)
    report.keep("objects", len(known))


def _is_nested(classes: tuple[str, ...]) -> bool:
    return any("/" in name for name in classes)


def _unique_names(dataset: TableDataset, indices: list[int], classes: list[str]) -> dict[int, str]:
    """``<class>/<file>`` of each image; the number of the image goes before the file where two are the same."""
    names = {
        index: f"{name}/{PurePosixPath(dataset.table.path(index)).name}"
        for index, name in zip(indices, classes, strict=True)
    }
    counts = Counter(name.casefold() for name in names.values())
    return {
        index: name if counts[name.casefold()] == 1 else str(path.with_name(f"{index}_{path.name}"))
        for index, name in names.items()
        for path in (PurePosixPath(name),)
    }
