"""PASCAL VOC: ``JPEGImages/``, ``Annotations/<id>.xml``, ``ImageSets/Main/<split>.txt``.

*Coordinates.* VOC counts pixels from 1 and its boxes include both end pixels (development kit of VOC2012, "Annotation
files"). In continuous coordinates pixel ``n`` covers ``[n - 1, n]``, so a box becomes ``xmin - 1, ymin - 1, xmax,
ymax``: one around the whole picture is ``0, 0, width, height``. Where the two written corners coincide in an axis,
nothing is subtracted in that axis: annotation tools write a click without a drag so, and the box is reported as one
without area instead of being taken for a single pixel. Corners the wrong way round stay so, and are reported too.

*Difficult* objects keep their mark in ``table.extras["difficult"]``; they are ordinary objects in the target, as
training on VOC takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from saccade.data.annotations import TableBuilder, TableDataset
from saccade.data.dataset import DatasetInfo
from saccade.data.readers.common import (
    UNSPLIT,
    check_name,
    check_task,
    choose,
    list_images,
    natural_key,
    resolve_split,
)
from saccade.errors import DataError

__all__ = ["matches", "read", "splits"]


@dataclass(slots=True)
class _Object:
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    difficult: bool


@dataclass(slots=True)
class _Annotation:
    file_name: str
    size: tuple[int, int]
    objects: list[_Object]


def matches(root: Path) -> bool:
    """Whether there are pictures and XML annotations where VOC has them."""
    return (root / "JPEGImages").is_dir() and next((root / "Annotations").glob("*.xml"), None) is not None


def splits(root: Path) -> tuple[str, ...]:
    """Names of the lists in ``ImageSets/Main`` (those of single classes left out), or ``all``, ``train``, ``val``."""
    names = sorted(file.stem for file in (root / "ImageSets" / "Main").glob("*.txt"))
    return tuple(name for name in names if name.rpartition("_")[2] not in names or "_" not in name) or UNSPLIT


def read(root: Path, split: str, task: str | None = None, class_names: Sequence[str] | None = None) -> TableDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``detection``.
        class_names: Names of labels 0..N-1; if not given, those of all annotation files, sorted.

    Raises:
        DataError: If a list, an annotation or one of its fields is missing or malformed, or names a file outside
            ``root``.
    """
    check_task(task, ("detection",), "voc")
    folder = root / "Annotations"
    ids = _ids(root, split)
    annotations: dict[str, _Annotation] = {}
    if class_names is None:
        # Labels must not depend on the split, so all files have their say.
        annotations = {file.stem: _parse(file) for file in sorted(folder.glob("*.xml"))}
        class_names = sorted({item.class_name for entry in annotations.values() for item in entry.objects})
    files = {Path(name).stem: name for name in list_images(root / "JPEGImages")}
    builder = TableBuilder(class_names)
    for identifier in ids:
        entry = annotations.get(identifier) or _parse(folder / f"{identifier}.xml")
        # The id decides: <filename> is often stale, it is only asked where no picture bears the id.
        name = files.get(identifier) or entry.file_name or f"{identifier}.jpg"
        builder.add_image(f"JPEGImages/{name}", size=entry.size)
        for item in entry.objects:
            builder.add_object(item.class_name, item.box_xyxy, difficult=item.difficult)
    info = DatasetInfo(root.name, "detection", tuple(class_names), split)
    return TableDataset(info, root, builder.build(), annotations="Annotations/{stem}.xml")


def _ids(root: Path, split: str) -> list[str]:
    """Picture ids of a split; the second column of a class's list is not read."""
    lists = root / "ImageSets" / "Main"
    if not any(lists.glob("*.txt")):
        stems = sorted((file.stem for file in (root / "Annotations").glob("*.xml")), key=natural_key)
        return [stems[index] for index in choose(len(stems), split, None, root)]
    file = lists / f"{resolve_split(split, splits(root), root)}.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    ids = [check_name(line.split()[0], file, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not ids:
        raise DataError(f"{file}: the list is empty. Write one picture id a line.")
    return ids


def _parse(path: Path) -> _Annotation:
    try:
        tree = ElementTree.parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: the annotation does not exist. Write it, or take the id off the split list."
        ) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{path}: the XML declares a document type or entities, which are not read. Remove them."
        ) from error
    except (ParseError, OSError, ValueError) as error:
        raise DataError(f"{path}: this is not valid XML ({error}). Write the annotation again.") from error
    assert tree is not None, "a parsed document has a root"
    name = (tree.findtext("filename") or "").strip()
    size = tree.find("size")
    return _Annotation(
        file_name=check_name(name, path, "filename") if name else "",
        size=(0, 0)
        if size is None
        else (int(_number(size, "height", path, "size")), int(_number(size, "width", path, "size"))),
        objects=[_parse_object(item, path, f"object[{index}]") for index, item in enumerate(tree.findall("object"))],
    )


def _parse_object(item: Element, path: Path, field: str) -> _Object:
    name = (item.findtext("name") or "").strip()
    box = item.find("bndbox")
    if not name or box is None:
        missing = "bndbox" if name else "name"
        raise DataError(f"{path}: {field}.{missing} is missing. Add it, or remove the object.")
    xmin, ymin, xmax, ymax = (_number(box, key, path, f"{field}.bndbox") for key in ("xmin", "ymin", "xmax", "ymax"))
    (x1, x2), (y1, y2) = _to_continuous(xmin, xmax), _to_continuous(ymin, ymax)
    return _Object(name, (x1, y1, x2, y2), (item.findtext("difficult") or "").strip() == "1")


def _to_continuous(first: float, last: float) -> tuple[float, float]:
    """One axis of a box: 1 is taken off the smaller end, off none if they coincide."""
    return first - (first < last), last - (last < first)


def _number(parent: Element, key: str, path: Path, field: str) -> float:
    text = parent.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{path}: {field}.{key} is '{text}', not a number. Correct it, or remove the object.") from None
