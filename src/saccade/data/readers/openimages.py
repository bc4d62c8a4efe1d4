"""Open Images boxes: tables with the columns ImageID, LabelName, XMin, XMax, YMin, YMax, and usually more.

``train-annotations-bbox.csv`` belongs to the split ``train``; images are ``<ImageID>.jpg`` in a folder of the split's
name, in ``images/``, or beside the table. Classes are named by ``*class-descriptions*.csv`` (two columns: the
identifier that the tables use, and the name) where there is one, and sorted by name.

*Coordinates* are shares of the upright image's width and height, so every image's header is read. Numbers may
have a decimal comma, as tables have that a spreadsheet wrote.

``IsGroupOf`` makes an object a crowd. Source, Confidence, IsOccluded, IsTruncated, IsDepiction, IsInside and further
columns are its attributes where they are not empty. Images without a row are not part of the data set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from saccade.data.images.decode import IMAGE_SUFFIXES, upright_size
from saccade.data.readers._collector import AnnotationCollector
from saccade.data.readers._common import UNSPLIT, check_name, check_task, choose, resolve_split
from saccade.data.readers._images import find_image_root, folder_of
from saccade.data.readers._tables import cell_number, heading, is_yes, read_rows
from saccade.data.readers._xml_files import plain_value
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["matches", "read", "splits"]

_NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_SIDES = (("XMin", 1), ("YMin", 0), ("XMax", 1), ("YMax", 0))  # column, and which of (height, width) it is a share of
_SUFFIXES = (".jpg", ".jpeg", ".png")


def matches(root: Path) -> bool:
    """Whether a table has the columns of Open Images' boxes."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Splits by which the tables' names begin; ``all``, ``train``, ``val`` for a single table.

    Example:
        >>> for split in ("train", "validation"):
        ...     _ = Path(f"{split}-annotations-bbox.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax")
        >>> splits(Path())
        ('train', 'validation')
    """
    files = _files(root)
    return UNSPLIT if list(files) in ([], ["all"]) else tuple(files)


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    class_descriptions: str | None = None,
    images: str | None = None,
) -> TableDataset:
    r"""Read one split of Open Images boxes.

    Args:
        root: Data folder.
        split: ``val`` also finds ``validation``.
        task: ``detection``.
        class_names: Names of labels 0..N-1; those of all tables, sorted, if not given.
        class_descriptions: Table of class names, relative to ``root``; found by its name if not given.
        images: Folder of the images, relative to ``root``.

    Raises:
        DataError: If a table, one of its columns or numbers, or an image is missing or malformed, or an image's name
            leads out of ``root``.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("a1.jpg", np.zeros((40, 60, 3), np.uint8))
        >>> _ = Path("boxes.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\na1,cat,0.5,1,0.25,0.75")
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[30., 10., 60., 30.]]))
    """
    task = check_task(task, ("detection",), "openimages")
    files = _files(root)
    if not files:
        raise DataError(f"{root}: there is no table with columns {', '.join(_NEEDED)}. Put one there.")
    whole = list(files) == ["all"]
    own = "all" if whole else resolve_split(split, files, root)
    source, image_root = files[own], find_image_root(root, images)
    names = _class_names(root, class_descriptions)
    collector = _collect(source, image_root, own, names)
    if class_names is None:
        seen = set(collector.class_names)
        for other in files.values():  # labels must not depend on the split
            seen.update(_classes_of(other, names) if other != source else ())
        class_names = sorted(seen)
    table = collector.build(class_names)
    if whole:
        table = table.select_images(choose(len(table), split, None, root))
    info = DatasetInfo(root.name, task, tuple(class_names), split)
    return TableDataset(info, root, table, source.relative_to(root).as_posix(), image_root=image_root)


def _files(root: Path) -> dict[str, Path]:
    """Table of each split."""
    tables = [file for file in sorted(root.glob("*.csv")) if set(_NEEDED) <= set(heading(file))]
    named = {_split_name(file): file for file in tables}
    if len(tables) == 1 and not re.search("train|val|test", tables[0].stem):
        return {"all": tables[0]}
    return named if len(named) == len(tables) else {file.stem: file for file in tables}


def _split_name(file: Path) -> str:
    """``train`` of ``oidv6-train-annotations-bbox.csv``."""
    return re.sub(r"^oidv\d+-|[-_]annotations.*$", "", file.stem)


def _collect(source: Path, image_root: Path, split: str, names: Mapping[str, str]) -> AnnotationCollector:
    collector = AnnotationCollector()
    rows = read_rows(source)
    _, head = next(rows)
    columns = {name: index for index, name in enumerate(head)}
    more = [(name, index) for name, index in columns.items() if name and name not in _NEEDED]
    image_of: dict[str, int] = {}
    sizes: list[tuple[int, int]] = []
    folder: str | None = None
    for line, row in rows:
        if len(row) != len(head):
            raise DataError(f"{source}: line {line} has {len(row)} cells, not {len(head)}. Correct or remove it.")
        identifier, label = row[columns["ImageID"]], row[columns["LabelName"]]
        if not label:
            raise DataError(f"{source}: line {line}: LabelName is empty. Name the class, or remove the line.")
        image = image_of.get(identifier)
        if image is None:
            check_name(identifier, source, f"line {line}: ImageID")
            folder = _folder(image_root, identifier, split) if folder is None else folder
            path = folder + _file_name(image_root / folder, identifier)
            sizes.append(upright_size(image_root / path))
            image = image_of[identifier] = collector.add_image(path, sizes[-1])
        box = [cell_number(row, columns, name, source, line) * sizes[image][side] for name, side in _SIDES]
        about = {name: plain_value(row[index]) for name, index in more if row[index]}
        crowd = is_yes(str(about.get("IsGroupOf", "")))
        if about.get("IsGroupOf") in (0, 1):
            del about["IsGroupOf"]  # iscrowd of the table holds it
        collector.add_object(image, names.get(label, label), box, crowd, attributes=about)
    if not len(collector):
        raise DataError(f"{source}: the table has no rows. Name another table or split.")
    return collector


def _folder(image_root: Path, identifier: str, split: str) -> str:
    """Folder of the images, found by the first of them."""
    folders = (folder_of(image_root, name, split, ["data/"]) for name in _candidates(identifier))
    return next((folder for folder in folders if folder), "")


def _file_name(folder: Path, identifier: str) -> str:
    candidates = _candidates(identifier)
    return next((name for name in candidates if (folder / name).is_file()), candidates[0])


def _candidates(identifier: str) -> list[str]:
    """Possible file names of an image; its identifier may be one already."""
    own = [identifier] if Path(identifier).suffix.lower() in IMAGE_SUFFIXES else []
    return own or [identifier + suffix for suffix in _SUFFIXES]


def _class_names(root: Path, class_descriptions: str | None) -> dict[str, str]:
    """Class name by the identifier that tables use."""
    found = sorted(root.glob("*class-descriptions*.csv")) if class_descriptions is None else [root / class_descriptions]
    names: dict[str, str] = {}
    for file in found[:1]:
        for line, row in read_rows(file):
            if len(row) < 2 or not row[1]:
                raise DataError(f"{file}: line {line} is not 'number,name'. Correct or remove it.")
            if row[:2] != ["LabelName", "DisplayName"]:
                names[row[0]] = row[1]
    return names


def _classes_of(source: Path, names: Mapping[str, str]) -> set[str]:
    rows = read_rows(source)
    column = next(rows)[1].index("LabelName")
    labels = {row[column] for _, row in rows if len(row) > column and row[column]}
    return {names.get(label, label) for label in labels}
