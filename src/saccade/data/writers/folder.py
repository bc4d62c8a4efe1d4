"""One folder for each class: ``<split>/<class>/<image>``, and ``saccade.yaml`` with the classes by label.

A data set without splits has its class folders in the root.

Images that are no files of their own become files: PNG for an array (MNIST's idx), the file itself out of a zip.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from saccade.data.readers._common import UNSPLIT, check_name
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport
from saccade.data.writers._images import drop_attributes, write_images, write_options

__all__ = ["TASKS", "write"]

TASKS = ("classification",)


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as a folder for each class.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits, of the same classes.
        split: Name of the split.
        images: ``copy`` or ``link``; with ``none`` only the folders are made.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, a class cannot be the name of a folder, or the classes are not those of the
            splits written before.

    Example:
        >>> from saccade.data.open import open_raw
        >>> from saccade.structures.files import write_text
        >>> write_text("pets/train.csv", "file,label\na.jpg,cat\nb.jpg,dog\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "folder"))
        >>> sorted(path.as_posix() for path in Path("out").rglob("*"))
        ['out/saccade.yaml', 'out/train', 'out/train/cat', 'out/train/dog']
    """
    classes = dataset.info.class_names
    for name in classes:
        check_name(name, folder, "a class name")
    options = {"format": "folder", "class_names": list(classes), "nested": _is_nested(classes)}
    write_options(folder, options, report)
    below = folder if split in UNSPLIT else folder / split  # a folder 'all' would be read as a class
    for name in classes:  # a class without an image keeps its label
        (below / name).mkdir(parents=True, exist_ok=True)
    labels = dataset.table.labels[dataset.table.offsets[:-1]].tolist()
    known = [index for index in range(len(dataset)) if 0 <= labels[index] < len(classes)]
    report.drop("images", "their class is not in the class list", len(dataset) - len(known))
    names = _unique_names(dataset, known, [classes[labels[index]] for index in known])
    write_images(dataset, below, images, report, names)
    drop_attributes(dataset, report)
    report.keep("objects", len(known))


def _is_nested(classes: tuple[str, ...]) -> bool:
    return any("/" in name for name in classes)


def _unique_names(dataset: TableDataset, indices: list[int], classes: list[str]) -> dict[int, str]:
    """``<class>/<file>`` of each image; the file name begins with the image's number where two would be equal."""
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
