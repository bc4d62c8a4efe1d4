"""CVAT XML, "CVAT for images 1.1": ``annotations.xml``, or ``<split>.xml``, and ``images/``.

Boxes stay boxes and polygons polygons. CVAT has neither holes nor objects of several polygons: such an object becomes a
mask. Classes of whole images become tags, attributes elements of their name, which ``meta`` declares for the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from saccade.data.tables.outlines import mask_of_rings
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import class_names_of, drop_points, image_size
from saccade.data.writers._shapes import DrawnShape, class_of_image, drawn_shapes
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation", "classification")

_OF_SHAPES = ("occluded", "z_order", "group_id", "source")  # of every shape, not of its class


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as CVAT XML.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits.
        split: Name of the split; ``all`` writes ``annotations.xml``.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or an outline is malformed.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,1,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "all", "none", LossReport("csv", "cvat"))
        >>> print(Path("out/annotations.xml").read_text().splitlines()[-3].strip())
        <box label="cat" occluded="0" z_order="0" xtl="1.0" ytl="2.0" xbr="30.0" ybr="20.0"></box>
    """
    whole = split == "all"
    place = folder / "images" if whole else folder / "images" / split
    names = write_images(dataset, place, images, report, dict(enumerate(unique_names(dataset))))
    drop_points(dataset, report)
    lines = [*_meta(dataset, report), *_images(dataset, names, report)]
    text = "".join(f"  {line}\n" for line in lines)
    path = folder / ("annotations.xml" if whole else f"{split}.xml")
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{text}</annotations>\n')


def _meta(dataset: TableDataset, report: LossReport) -> Iterator[str]:
    """Version, classes, and names of the attributes that objects have beside those of every shape."""
    texts = dataset.table.attributes
    rows = () if texts is None else (texts.get(row) for row in range(len(texts)))
    attributes = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _OF_SHAPES]
    names = class_names_of(dataset)
    report.keep("classes", len(names))
    yield "<version>1.1</version>"
    yield f"<meta><task><name>{escape(dataset.info.name)}</name><labels>"
    inside = "".join(
        f"<attribute><name>{escape(name)}</name><mutable>False</mutable><input_type>text</input_type>"
        "<default_value></default_value><values></values></attribute>"
        for name in attributes
    )
    yield from (f"<label><name>{escape(name)}</name><attributes>{inside}</attributes></label>" for name in names)
    yield "</labels></task></meta>"


def _images(dataset: TableDataset, names: Mapping[int, str], report: LossReport) -> Iterator[str]:
    for index in range(len(dataset)):
        height, width = image_size(dataset, index)
        number = int(dataset.image_ids[index])
        yield f'<image id="{number}" name={quoteattr(names[index])} width="{width}" height="{height}">'
        if dataset.info.task == "classification":
            label, attributes = class_of_image(dataset, index)
            report.keep("objects")
            yield _element("tag", {"label": label}, attributes, report)
        else:
            yield from (_shape(shape, (height, width), report) for shape in drawn_shapes(dataset, index, report))
        yield "</image>"


def _shape(shape: DrawnShape, size: tuple[int, int], report: LossReport) -> str:
    own = {name: shape.attributes.get(name) for name in _OF_SHAPES}
    fields = {"label": shape.label, "occluded": int(own["occluded"] or 0), "z_order": own["z_order"] or 0}
    fields |= {name: own[name] for name in ("group_id", "source") if own[name] is not None}
    attributes = {name: value for name, value in shape.attributes.items() if name not in _OF_SHAPES}
    if not shape.rings:
        report.keep("boxes")
        fields |= dict(zip(("xtl", "ytl", "xbr", "ybr"), shape.box_xyxy, strict=True))
        return _element("box", fields, attributes, report)
    if len(shape.rings) == 1 and not any(shape.holes):
        report.keep("polygons")
        fields["points"] = ";".join(f"{x},{y}" for x, y in shape.rings[0].tolist())
        return _element("polygon", fields, attributes, report)
    report.change("polygons", "objects with holes or several parts became masks")
    fields |= _mask(mask_of_rings(shape.rings, shape.holes, *size))
    return _element("mask", fields, attributes, report)


def _mask(mask: NDArray[np.uint8]) -> dict[str, Any]:
    """Fields of a mask: run lengths along the rows of the rectangle around it, beginning with those of 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        rows = columns = np.array([0])
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flat = np.concatenate([[0], window.reshape(-1), [2]])
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))]))
    return {
        "rle": ", ".join(map(str, runs.tolist())),
        "left": int(columns[0]),
        "top": int(rows[0]),
        "width": window.shape[1],
        "height": window.shape[0],
    }


def _element(tag: str, fields: Mapping[str, Any], attributes: Mapping[str, Any], report: LossReport) -> str:
    inside = ""
    for name, value in attributes.items():
        if isinstance(value, dict | list):
            report.drop(f"attribute {name}", "CVAT has texts and numbers only")
            continue
        report.keep(f"attribute {name}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        inside += f"<attribute name={quoteattr(name)}>{escape(text)}</attribute>"
    written = " ".join(f"{name}={quoteattr(str(value))}" for name, value in fields.items())
    return f"<{tag} {written}>{inside}</{tag}>"
