"""PASCAL VOC: ``JPEGImages/``, ``Annotations/<id>.xml``, ``ImageSets/Main/<split>.txt``, and ``class_names.txt``.

*Coordinates* are those of :mod:`saccade.data.readers.voc` inverted: pixels counted from 1, both ends included, whole
numbers without a point. The format has no boxes thinner than a pixel, and takes one of exactly a pixel for a box
without area; such boxes are written wide enough to be read as boxes, and counted as changed.

*Objects* get the pose, truncated and difficult that they have as attributes, or VOC's defaults; further attributes
become elements of their names. Polygons and masks are dropped.

*Label maps* (task ``segmentation``) become ``SegmentationClass/<id>.png``, palette images in VOC's colours, listed in
``ImageSets/Segmentation``; 255 = ignore.
"""

from __future__ import annotations

import filecmp
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from saccade.data.readers.voc import CLASS_FILE
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import drop_points, image_size, unique_stems
from saccade.errors import DataError
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation")
# A split is a list of names here, so a union of others (trainval) costs nothing.
KEEPS_UNIONS = True

# A box of one pixel is read as one without area; this much more is enough to be read as a box.
_WIDER = 1e-3
_FIRST: dict[str, Any] = {"pose": "Unspecified", "truncated": 0, "difficult": 0}  # fields of every object of VOC
_RESERVED = frozenset({"name", "bndbox", "part"})
_RESERVED_OF_IMAGES = frozenset({"filename", "size", "object", "annotation"})


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as PASCAL VOC.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits, of the same classes.
        split: Name of the split.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or the classes are not those of the splits written before.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "train", "none", LossReport("csv", "voc"))
        >>> re.findall(r"<([xy]m..)>(\d+)", Path("out/Annotations/a.xml").read_text())
        [('xmin', '2'), ('ymin', '3'), ('xmax', '30'), ('ymax', '20')]
    """
    _write_classes(dataset, folder / CLASS_FILE, report)
    chosen = _unique_names(dataset, folder / "JPEGImages", split, report)
    written = write_images(dataset, folder / "JPEGImages", images, report, dict(enumerate(chosen)))
    names = [written[index] for index in range(len(dataset))]
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    if dataset.info.task == "segmentation":
        _write_label_maps(dataset, folder, stems, report)
        kind = "Segmentation"
    else:
        _write_annotations(dataset, folder, names, stems, report)
        kind = "Main"
    write_text(folder / "ImageSets" / kind / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))


def _write_classes(dataset: TableDataset, path: Path, report: LossReport) -> None:
    text = "".join(f"{name}\n" for name in dataset.info.class_names)
    if not path.is_file():
        report.keep("classes", len(dataset.info.class_names))
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path}: split '{dataset.info.split}' has other classes than those before. Give all the same.")


def _unique_names(dataset: TableDataset, folder: Path, split: str, report: LossReport) -> list[str]:
    """File names of different stems; an image that another split has written already keeps its name."""
    there = {file.stem.lower(): file for file in folder.glob("*")} if folder.is_dir() else {}
    names = []
    for index, name in enumerate(unique_names(dataset)):
        path = PurePosixPath("_".join(name.split()))  # an id has no blanks
        other = there.get(path.stem.lower())
        taken = other is not None and not _same_image(other, Path(dataset.path(index)), path.suffix)
        names.append(f"{split}_{path}" if taken else str(path))
        report.change("images", "renamed, because another split's has the same id", taken)
        report.change("images", "renamed, because an id has no blanks", str(path) != name)
    return unique_stems(names, report)


def _same_image(first: Path, second: Path, suffix: str) -> bool:
    return first.suffix == suffix and second.is_file() and filecmp.cmp(first, second, shallow=False)


def _write_label_maps(dataset: TableDataset, folder: Path, stems: list[str], report: LossReport) -> None:
    from PIL import Image

    target = folder / "SegmentationClass"
    target.mkdir(parents=True, exist_ok=True)
    for index, stem in enumerate(stems):
        image = Image.fromarray(np.ascontiguousarray(dataset.target(index)["label_map"], np.uint8))
        image.putpalette(_palette().tobytes())
        image.save(target / f"{stem}.png")
    report.keep("label maps", len(stems))
    table = dataset.table
    if table.outlines is not None:
        report.change("objects", "painted into label maps", len(table.labels))
        _count_attributes(table.attributes, "attribute", report)
    _count_attributes(table.image_attributes, "attribute of images:", report)


def _count_attributes(texts: Any, prefix: str, report: LossReport) -> None:
    for row in range(0 if texts is None else len(texts)):
        for name in texts.get(row):
            report.drop(f"{prefix} {name}", "label maps have no attributes")


def _palette() -> NDArray[np.uint8]:
    """VOC's colours, (256, 3): bits 0, 3, 6 of the index make red from its highest bit down, 1, 4, 7 green, ..."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.int64)
    for level in range(8):
        for channel in range(3):
            bit = 3 * level + channel
            colors[:, channel] |= ((index >> bit) & 1) << (7 - level)
    return colors.astype(np.uint8)


def _write_annotations(
    dataset: TableDataset, folder: Path, names: list[str], stems: list[str], report: LossReport
) -> None:
    table = dataset.table
    drop_points(dataset, report)
    report.drop("crowds", "VOC has no mark for them; they are objects", int(table.iscrowd.sum()))
    if table.outlines is not None:
        report.drop("polygons", "VOC has boxes only", len(table.outlines.holes) - int(table.outlines.holes.sum()))
        report.drop("holes", "VOC has boxes only", int(table.outlines.holes.sum()))
        report.drop("masks", "VOC has boxes only", int(table.outlines.has_runs().sum()))
    elif type(dataset).object_masks is not TableDataset.object_masks:
        report.drop("masks", "VOC has boxes only", len(table.labels))
    for index, (name, stem) in enumerate(zip(names, stems, strict=True)):
        lines = "\n".join(f"\t{line}" for line in _annotation(dataset, index, name, report))
        path, text = folder / "Annotations" / f"{stem}.xml", f"<annotation>\n{lines}\n</annotation>\n"
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise DataError(f"{path}: another split has other objects for this image. Make them agree.")
        write_text(path, text, durable=False)


def _annotation(dataset: TableDataset, index: int, name: str, report: LossReport) -> Iterator[str]:
    table = dataset.table
    about = {} if table.image_attributes is None else table.image_attributes.get(index)
    report.keep("attribute of images: depth", "depth" in about)
    depth = about.pop("depth", dataset.channels)
    height, width = table.sizes[index].tolist()
    if not (height and width):
        height, width = image_size(dataset, index)
    yield from _elements({"folder": about.pop("folder", None)}, frozenset(), "attribute of images:", report)
    yield _element("filename", name)
    yield from _elements(about, _RESERVED_OF_IMAGES, "attribute of images:", report)
    yield "<size>"
    yield from (f"\t{_element(key, value)}" for key, value in (("width", width), ("height", height), ("depth", depth)))
    yield "</size>"
    for row in range(*table.objects(index).indices(len(table.labels))):
        yield "<object>"
        yield from (f"\t{line}" for line in _object(dataset, row, report))
        yield "</object>"


def _object(dataset: TableDataset, row: int, report: LossReport) -> Iterator[str]:
    table = dataset.table
    assert table.boxes is not None, "detection has boxes"
    given = {} if table.attributes is None else table.attributes.get(row)
    difficult = table.extras.get("difficult")
    marks = _FIRST | ({} if difficult is None else {"difficult": int(difficult[row])})
    yield _element("name", table.class_name(int(table.labels[row]), dataset.info.class_names))
    for key, default in marks.items():
        value = given.pop(key, None)
        if value is not None:
            report.keep(f"attribute {key}")
        yield _element(key, default if value is None else value)
    yield from _elements(given, _RESERVED, "attribute", report)
    x1, y1, x2, y2 = table.boxes[row].tolist()
    (xmin, xmax), (ymin, ymax) = _counted_from_one(x1, x2), _counted_from_one(y1, y2)
    yield "<bndbox>"
    for key, value in (("xmin", xmin), ("ymin", ymin), ("xmax", xmax), ("ymax", ymax)):
        yield f"\t{_element(key, value)}"
    yield "</bndbox>"
    report.keep("objects")
    axes = [(start, end) for start, end in ((x1, x2), (y1, y2)) if start != end and math.isfinite(start + end)]
    rounded = any((min(axis) + 1) - 1 != min(axis) for axis in axes)
    if any(abs(end - start) <= 1 for start, end in axes):
        report.change("boxes", "not wider than a pixel, written a little wider")
    elif rounded:
        report.change("boxes", "the last digit rounded, since VOC counts from 1")
    else:
        report.keep("boxes")


def _counted_from_one(start: float, end: float) -> tuple[float, float]:
    """One axis of a box: 1 is added to the smaller end, to none if they coincide."""
    if start == end:
        return start, end
    if start < end:
        return start + 1, max(end, start + 1 + _WIDER)
    return max(start, end + 1 + _WIDER), end + 1


def _elements(values: Mapping[str, Any], reserved: frozenset[str], prefix: str, report: LossReport) -> Iterator[str]:
    """Attributes as elements; the entries of a table are nested elements."""
    for key, value in values.items():
        if value is None or value == {}:
            continue
        kind = f"{prefix} {key}"
        if key in reserved:
            report.drop(kind, "VOC has another element of that name")
        elif not _is_writable(key, value):
            report.drop(kind, "not writable as XML elements")
        else:
            report.keep(kind)
            if isinstance(value, dict):
                yield f"<{key}>"
                yield from (f"\t{_element(name, entry)}" for name, entry in value.items())
                yield f"</{key}>"
            else:
                yield _element(key, value)


def _is_writable(key: str, value: Any) -> bool:
    """Whether name and value can stand in XML; tables of plain values can, lists cannot."""
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", key):
        return False
    if isinstance(value, dict):
        return all(not isinstance(entry, dict) and _is_writable(name, entry) for name, entry in value.items())
    return isinstance(value, bool | int | float) or (isinstance(value, str) and value.isprintable())


def _element(key: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(int(value)) if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)
    return f"<{key}>{escape(text)}</{key}>"
