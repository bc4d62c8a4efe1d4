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

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from saccade.data.images.decode import IMAGE_SUFFIXES, upright_size
from saccade.data.readers._collector import AnnotationCollector, outside_error
from saccade.data.readers._common import UNSPLIT, check_class_count, check_task, choose, list_files, resolve_split
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, find_image_root, usual_folders
from saccade.data.readers._tables import cell_number, heading, is_yes, read_rows
from saccade.data.readers._xml_files import plain_value
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["matches", "read", "splits"]

_NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_SIDES = (("XMin", 1), ("YMin", 0), ("XMax", 1), ("YMax", 0))  # column, and which of (height, width) it is a share of


def matches(root: Path) -> bool:
    """Whether a table has the columns of Open Images' boxes."""
    return bool(_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Splits by which the tables' names begin; ``all`` for a single table.

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
    folders = [""] if images else ["", *usual_folders(own)]
    finder = ImageFinder(image_root, source, list(dict.fromkeys(folders)), own)
    collector = _collect(source, finder, names)
    if class_names is None:
        seen = set(collector.class_names)
        for other in files.values():  # labels must not depend on the split
            seen.update(_classes_of(other, names) if other != source else ())
        class_names = sorted(seen)
        check_class_count(len(class_names), source, "LabelName")
    table = collector.build(class_names)
    if not len(table):
        faults = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{source}: no row of it can be read. Name another table or split.{faults}")
    if whole:
        table = table.select_images(choose(len(table), split, None, root))
    info = DatasetInfo(root.name, task, tuple(class_names), split)
    return TableDataset(info, root, table, source.relative_to(root).as_posix(), image_root=image_root)


def _files(root: Path) -> dict[str, Path]:
    """Table of each split."""
    tables = [file for file in _tables(root) if set(_NEEDED) <= set(heading(file))]
    named = {_split_name(file): file for file in tables}
    if len(tables) == 1 and not re.search("train|val|test", tables[0].stem):
        return {"all": tables[0]}
    return named if len(named) == len(tables) else {file.stem: file for file in tables}


def _tables(root: Path) -> list[Path]:
    return [root / name for name in list_files(root, [".csv"], recursive=False)]


def _split_name(file: Path) -> str:
    """``train`` of ``oidv6-train-annotations-bbox.csv``."""
    return re.sub(r"^oidv\d+-|[-_]annotations.*$", "", file.stem)


def _collect(source: Path, finder: ImageFinder, names: Mapping[str, str]) -> AnnotationCollector:
    collector = AnnotationCollector(source=source)
    head = heading(source)
    columns = {name: index for index, name in enumerate(head)}
    if not set(_NEEDED) <= set(columns):
        raise DataError(f"{source}: there are no columns {', '.join(_NEEDED)}. Add them.")
    more = [(name, index) for name, index in columns.items() if name and name not in _NEEDED]
    # The table is read twice rather than held: that of Open Images has fourteen million rows.
    rows = itertools.islice(read_rows(source), 1, None)
    identifiers = dict.fromkeys(row[columns["ImageID"]] for _, row in rows if len(row) == len(head))
    images = _Images(collector, finder, list(identifiers), source)
    for line, row in itertools.islice(read_rows(source), 1, None):
        where = f"{source}: line {line}"
        try:
            if len(row) != len(head):
                message = f"it has {len(row)} cells, not {len(head)}. Correct it, or remove the line."
                raise FieldError("labels.columns", where, message)
            image, size = images.add(row[columns["ImageID"]])
            if image is None:
                continue  # its fault is noted
            label = row[columns["LabelName"]]
            if not label:
                raise FieldError("labels.class", where, "LabelName is empty. Name the class, or remove the line.")
            box = [cell_number(row, columns, name, source, line) * size[side] for name, side in _SIDES]
        except FieldError as error:
            collector.add_fault(error)
            continue
        about = {name: plain_value(row[index]) for name, index in more if row[index]}
        crowd = is_yes(str(about.get("IsGroupOf", "")))
        if about.get("IsGroupOf") in (0, 1):
            del about["IsGroupOf"]  # iscrowd of the table holds it
        collector.add_object(image, names.get(label, label), box, crowd, attributes=about)
    return collector


class _Images:
    """Images of a table's rows, added as they come.

    Args:
        collector: Where they are added.
        finder: Finds their files.
        identifiers: All of the table.
        source: The table, for messages.
    """

    def __init__(
        self, collector: AnnotationCollector, finder: ImageFinder, identifiers: Sequence[str], source: Path
    ) -> None:
        names = [_candidate(identifier) for identifier in identifiers]
        self._paths = dict(zip(identifiers, finder.find(names), strict=True))
        self._known: dict[str, tuple[int | None, tuple[int, int]]] = {}
        self._collector = collector
        self._root = finder.root
        self._source = source

    def add(self, identifier: str) -> tuple[int | None, tuple[int, int]]:
        """Index and (height, width) of an image; None for one that cannot be read."""
        if identifier not in self._known:
            path = self._paths[identifier]
            try:
                if path is None:
                    raise outside_error(identifier, self._source, self._root)
                size = _size(self._root / path)
                self._known[identifier] = (self._collector.add_image(path, size), size)
            except FieldError as error:
                self._collector.add_fault(error)
                self._known[identifier] = (None, (0, 0))
        return self._known[identifier]


def _size(path: Path) -> tuple[int, int]:
    try:
        return upright_size(path)
    except DataError as error:
        message = f"boxes are shares of its size, which cannot be read ({error})."
        raise FieldError("image.unreadable", str(path), message) from error


def _candidate(identifier: str) -> str:
    """File name of an image; its identifier may be one already."""
    return identifier if Path(identifier).suffix.lower() in IMAGE_SUFFIXES else f"{identifier}.jpg"


def _class_names(root: Path, class_descriptions: str | None) -> dict[str, str]:
    """Class name by the identifier that tables use."""
    found = (
        [root / class_descriptions]
        if class_descriptions
        else [file for file in _tables(root) if "class-descriptions" in file.name]
    )
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
