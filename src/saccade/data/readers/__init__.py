"""Readers, one file a format, each with ``matches``, ``splits`` and ``read``; none repairs what it reads."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast, get_type_hints

from saccade.data.readers import folder, masks
from saccade.data.readers._formats import LAYOUTS, TASKS, describe_folder
from saccade.errors import DataError, did_you_mean
from saccade.structures.dataset import VisionDataset
from saccade.structures.plugins import load_installed
from saccade.structures.reading import is_archive, is_hidden

__all__ = [
    "LAYOUTS",
    "READERS",
    "Reader",
    "describe_folder",
    "detect_format",
    "get_reader",
    "option_types",
    "register_reader",
]


class Reader(Protocol):
    """Interface of a reader's module.

    A reader of many options takes them as ``**options`` and names their record as ``OPTIONS``; one that reads zips in
    place has ``READS_ARCHIVES = True``; one whose splits depend on its options takes them in ``splits`` as well and has
    ``SPLITS_BY_OPTIONS = True``.
    """

    def matches(self, root: Path) -> bool:
        """Whether a folder is in this format; cheap."""
        ...

    def splits(self, root: Path, **options: Any) -> tuple[str, ...]:
        """Names of the folder's splits; ``("all",)`` for one without splits, of which opening it holds a part out."""
        ...

    def read(self, root: Path, split: str, task: str | None = None, **options: Any) -> VisionDataset:
        """Data set of one split; faulty boxes are kept, a file that cannot be parsed is a ``DataError``."""
        ...


# In the order of detection: the most specific layout first, the bare folder of images last.
_NAMES = (
    "coco",
    "labelme",
    "via",
    "voc",
    "cvat",
    "openimages",
    "yolo",
    "idx",
    "omniglot",
    "csv",
    "keypoint_csv",
    "unpaired",
    "masks",
    "instance_masks",
    "paired",
    "folder",
)
_GUESSED = ("paired", "folder")  # known by the images alone, so that they may be something else
READERS: dict[str, Reader] = {
    name: cast(Reader, importlib.import_module(f"saccade.data.readers.{name}")) for name in _NAMES
}


def get_reader(name: str) -> Reader:
    """Reader of a format.

    Raises:
        DataError: If there is none of that name; the nearest is offered.

    Example:
        >>> get_reader("coco").__name__
        'saccade.data.readers.coco'
        >>> get_reader("vok")
        Traceback (most recent call last):
        saccade.errors.DataError: there is no format 'vok'. Did you mean 'voc'? ...
    """
    if name not in READERS:
        load_installed()
    if name not in READERS:
        raise DataError(
            f"there is no format '{name}'.{did_you_mean(name, READERS)} One of your own is registered by its module "
            "(--plugin MODULE; in Python import it)."
        )
    return READERS[name]


def register_reader(name: str, reader: Reader) -> None:
    """Add a format of one's own, which is opened by its name and found before those of the package.

    Args:
        name: Of the format; one that was registered before is replaced.
        reader: Module, or any object, with ``matches``, ``splits`` and ``read``.

    Raises:
        DataError: If the package has a format of that name, or one of the functions is missing.

    Example:
        >>> from saccade.data.readers import csv
        >>> register_reader("table", csv)
        >>> get_reader("table") is csv
        True
        >>> del READERS["table"]  # as if it had never been
    """
    if name in _NAMES:
        raise DataError(f"'{name}' is a format of the package. Choose another name.")
    for function in ("matches", "splits", "read"):
        if not callable(getattr(reader, function, None)):
            raise DataError(f"format '{name}': its reader has no function '{function}'. Write one.")
    others = {known: value for known, value in READERS.items() if known != name}
    READERS.clear()
    READERS.update({name: reader, **others})


def option_types(name: str) -> dict[str, Any]:
    """Options of a format's reader: their types by name.

    Raises:
        DataError: If there is no such format.

    Example:
        >>> option_types("coco")
        {'masks': <class 'bool'>, 'images': str | None, 'keypoints': <class 'bool'>}
    """
    reader = get_reader(name)
    record = getattr(reader, "OPTIONS", None)
    types = get_type_hints(reader.read if record is None else record)
    return {option: kind for option, kind in types.items() if option not in ("root", "split", "task", "return")}


def detect_format(root: Path, task: str | None = None) -> str:
    """Name of the format that a folder is in.

    Formats are tried from the most telling to the least: files of annotations first, label maps next, a folder of
    images for each class last and only where nothing speaks against it.

    Args:
        root: Data folder, or zip.
        task: What the data are opened for: formats without ground truth for it are passed over, and a segmenter takes
            label maps rather than outlines.

    Raises:
        DataError: If it is in none; the message names what was looked for and what is there.

    Example:
        >>> Path("annotations").mkdir()
        >>> Path("annotations/instances_train.json").touch()
        >>> detect_format(Path())
        'coco'
    """
    load_installed()  # their formats go before those of the package
    others = []
    for name in _by_task(root, task):
        reader = READERS[name]
        if (not is_archive(root) or getattr(reader, "READS_ARCHIVES", False)) and reader.matches(root):
            if task is None or task in TASKS.get(name, (task,)):
                return name
            others.append(name)
    if others and others[0] not in _GUESSED:
        return others[0]  # it is that format, whose reader says what it offers
    if root.is_dir() and not any(not is_hidden(entry.name) for entry in root.iterdir()):
        raise DataError(f"{root}: the folder is empty. Put images and annotations there, or name another folder.")
    if others:
        raise DataError(
            f"{root}: this looks like format '{others[0]}' ({', '.join(TASKS[others[0]])}), which has no ground truth "
            f"for task '{task}'; {_looked_for(root, task)}"
        )
    hint = folder.why_not(root) if "folder" in READERS else ""
    raise DataError(
        f"{root}: no known layout of images and annotations was found{hint and f' ({hint})'}; {_looked_for(root, task)}"
    )


def _by_task(root: Path, task: str | None) -> list[str]:
    """Formats in the order in which they are tried."""
    names = list(READERS)
    if task == "segmentation" and not is_archive(root) and masks.prefers_maps(root):
        names.remove("masks")
        names.insert(names.index(_NAMES[0]), "masks")
    return names


def _looked_for(root: Path, task: str | None) -> str:
    formats = [name for name in READERS if name in LAYOUTS and (task is None or task in TASKS[name])]
    looked = "; ".join(f"{name}: {LAYOUTS[name]}" for name in formats)
    options = "Folders of other names are given by image_dir, label_dir and label_suffix in saccade.yaml. "
    maps = options if "masks" in formats else ""
    return f"{describe_folder(root)}. Looked for: {looked}. {maps}Name the format: {', '.join(formats)}."
