"""Label Studio: ``tasks.json`` (or ``<split>.json``), ``label_config.xml`` and ``images/``.

Objects with a ``score`` go into ``predictions``, which the tool shows as drafts to be accepted or corrected; others
into ``annotations``. Boxes become rectangles, polygons polygons, classes of images choices, keypoints points.
Coordinates are percentages of the image's sides. Images are served by the tool's local storage, whose document root is
the folder written here: set ``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and
``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=FOLDER``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import ImagePolicy, LossReport, unique_names
from saccade.data.writers._images import write_images
from saccade.data.writers._objects import class_names_of, drop_skeleton, image_size
from saccade.data.writers._shapes import DrawnShape, class_of_image, drawn_shapes
from saccade.structures.files import write_text

__all__ = ["TASKS", "write"]

TASKS = ("detection", "segmentation", "classification", "keypoints")

_POINT_WIDTH = 0.5  # of a point's circle, in percent of the image's width


def write(dataset: TableDataset, folder: Path, split: str, images: ImagePolicy, report: LossReport) -> None:
    r"""Write one split as tasks of Label Studio.

    Args:
        dataset: Split to write.
        folder: Data folder; it may hold other splits.
        split: Name of the split; ``all`` writes ``tasks.json``.
        images: ``copy``, ``link`` or ``none``.
        report: Counts what is kept, changed and dropped.

    Raises:
        DataError: If an image is missing, or an outline is malformed.

    Example:
        >>> from saccade.data.open import open_raw
        >>> write_text("pets/train.csv", "file,width,height,x1,y1,x2,y2,label\na.jpg,60,40,6,2,30,20,cat\n")
        >>> write(open_raw("pets", "train"), Path("out"), "all", "none", LossReport("csv", "label_studio"))
        >>> task = json.loads(Path("out/tasks.json").read_text())[0]
        >>> task["data"]["image"], task["annotations"][0]["result"][0]["value"]["x"]
        ('/data/local-files/?d=images/a.jpg', 10.0)
    """
    place = "images" if split == "all" else f"images/{split}"
    names = write_images(dataset, folder / place, images, report, dict(enumerate(unique_names(dataset))))
    tasks = [_task(dataset, index, f"{place}/{names[index]}", report) for index in range(len(dataset))]
    text = json.dumps(tasks, ensure_ascii=False, indent=1)
    write_text(folder / ("tasks.json" if split == "all" else f"{split}.json"), text + "\n")
    drop_skeleton(dataset, report)
    config = folder / "label_config.xml"
    if not config.exists():
        report.keep("classes", len(class_names_of(dataset)))
    write_text(config, _config(dataset))


def _task(dataset: TableDataset, index: int, image: str, report: LossReport) -> dict[str, Any]:
    size = image_size(dataset, index)
    if dataset.info.task == "classification":
        label, attributes = class_of_image(dataset, index)
        report.keep("objects")
        regions = [_region("class", "choices", {"choices": [label]}, size, attributes, report)]
    else:
        shapes = enumerate(drawn_shapes(dataset, index, report))
        regions = [one for number, shape in shapes for one in _regions(dataset, shape, size, f"o{number}", report)]
    scores = [region["score"] for region in regions if "score" in region]
    task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={quote(image)}"}}
    if scores:
        task["predictions"] = [{"model_version": "saccade", "score": min(scores), "result": regions}]
    else:
        task["annotations"] = [{"result": regions}]
    return task


def _regions(
    dataset: TableDataset, shape: DrawnShape, size: tuple[int, int], name: str, report: LossReport
) -> Iterator[dict[str, Any]]:
    """Regions of one object: its polygons or its box, and its keypoints, which name it as their parent."""
    height, width = size
    x1, y1, x2, y2 = shape.box_xyxy
    rings = [ring for ring, hole in zip(shape.rings, shape.holes, strict=True) if not hole]
    report.drop("holes", "Label Studio's polygons have none", len(shape.rings) - len(rings))
    report.change("polygons", "parts of one object became regions of their own", len(rings) if len(rings) > 1 else 0)
    report.keep("polygons", len(rings) if len(rings) == 1 else 0)
    for number, ring in enumerate(rings):
        points = [[100 * x / width, 100 * y / height] for x, y in ring.tolist()]
        value = {"points": points, "closed": True, "polygonlabels": [shape.label]}
        region = _region("polygon", "polygonlabels", value, size, shape.attributes, report)
        yield {**region, "id": f"{name}_{number}" if number else name}
    if not rings:
        report.keep("boxes")
        value = {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [shape.label],
        }
        yield {**_region("box", "rectanglelabels", value, size, shape.attributes, report), "id": name}
    if shape.points is None:
        return
    points_of = dataset.info.points.names
    for number, (x, y, visibility) in enumerate(shape.points.tolist()):
        if visibility > 0:
            report.keep("keypoints")
            label = points_of[number] if number < len(points_of) else str(number)
            value = {"x": 100 * x / width, "y": 100 * y / height, "width": _POINT_WIDTH, "keypointlabels": [label]}
            region = _region("point", "keypointlabels", value, size, {}, report)
            yield {**region, "id": f"{name}_p{number}", "parentID": name}


def _region(
    name: str,
    kind: str,
    value: dict[str, Any],
    size: tuple[int, int],
    attributes: dict[str, Any],
    report: LossReport,
) -> dict[str, Any]:
    region: dict[str, Any] = {"from_name": name, "to_name": "image", "type": kind, "value": value}
    region |= {"original_width": size[1], "original_height": size[0], "image_rotation": 0}
    for key, content in attributes.items():
        report.keep(f"attribute {key}")
        region |= {"score": content} if key == "score" else {"meta": {**region.get("meta", {}), key: content}}
    return region


def _config(dataset: TableDataset) -> str:
    """Labelling interface: the classes for each kind of region of the task."""
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in class_names_of(dataset))
    task = dataset.info.task
    if task == "classification":
        choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in dataset.info.class_names)
        tools = f'  <Choices name="class" toName="image">{choices}</Choices>\n'
    else:
        tools = f'  <RectangleLabels name="box" toName="image">{labels}</RectangleLabels>\n'
        tools += f'  <PolygonLabels name="polygon" toName="image">{labels}</PolygonLabels>\n'
    points = dataset.info.points.names
    if points:
        names = "".join(f"<Label value={quoteattr(name)}/>" for name in points)
        tools += f'  <KeyPointLabels name="point" toName="image">{names}</KeyPointLabels>\n'
    return f'<View>\n  <Image name="image" value="$image"/>\n{tools}</View>\n'
