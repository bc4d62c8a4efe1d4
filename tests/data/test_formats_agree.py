"""One ground truth in six formats: the boxes and classes that each reader makes of it are the same.

The hundred photographs of ``voc100_multiformat`` were labelled once, in VOC XML, and converted by the tools of their
source. Those tools copied VOC's numbers, without converting pixels counted from 1 to continuous coordinates. So in the
five other files the left and upper edges are a pixel further to the right and down than by VOC's rule. That is a
difference of the files, not of the readers: with ``one_based=False`` the XML files are read as those tools read them,
and then all six agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.open import open_dataset
from saccade.data.tables.table_dataset import TableDataset

pytestmark = pytest.mark.data("voc100_multiformat")

PHOTOGRAPHS = "../../images"
# Folder, options, and the largest difference in pixels of any edge from VOC's numbers; some formats round.
FORMATS: dict[str, tuple[str, dict[str, Any], float]] = {
    "voc": ("pascalvoc_format", {"one_based": False}, 0.0),
    "coco v1": ("coco_format_v1", {}, 0.0),
    "coco v2": ("coco_format_v2", {}, 0.0),
    "cvat": ("cvat_format", {}, 0.0),
    "openimages": ("openimages_format", {}, 2.2e-8),  # ten decimals of a share: 2.1e-8 measured
    "yolo": ("yolo_format", {}, 3.3e-4),  # six decimals of a share: 3.2e-4 measured
}

Objects = dict[str, list[tuple[str, tuple[float, ...]]]]


def ground_truth(data: TableDataset) -> Objects:
    """Class name and box of each object by the image's name, sorted."""
    found: Objects = {}
    for index in range(len(data)):
        target = data.target(index)
        names = [data.info.class_names[label] for label in target["labels"]]
        pairs = zip(names, map(tuple, target["boxes"].tolist()), strict=True)
        found[Path(data.path(index)).name] = sorted(pairs, key=lambda pair: (pair[0], [round(x) for x in pair[1]]))
    return found


def load(data_root: Path, name: str, **options: Any) -> TableDataset:
    folder, own, _ = FORMATS[name]
    root = data_root / "voc100_multiformat" / "gts" / folder
    split = "train" if name == "yolo" else "all"  # darknet's obj.data calls its only list so
    data = open_dataset(root, split, images=PHOTOGRAPHS, **{**own, **options})
    assert isinstance(data, TableDataset)
    return data


@pytest.mark.parametrize("name", FORMATS)
def test_boxes_and_classes_are_those_of_voc(data_root: Path, name: str) -> None:
    data = load(data_root, name)
    expected, found = ground_truth(load(data_root, "voc")), ground_truth(data)
    assert len(found) == 100
    assert sum(len(objects) for objects in found.values()) == 273
    assert len(data.info.class_names) == 20
    assert sorted(found) == sorted(expected)
    largest = 0.0
    for image, objects in expected.items():
        assert [class_name for class_name, _ in found[image]] == [class_name for class_name, _ in objects]
        if objects:
            mine, theirs = (np.array([box for _, box in each]) for each in (found[image], objects))
            largest = max(largest, float(np.abs(mine - theirs).max()))
    assert largest <= FORMATS[name][2]


def test_voc_itself_counts_pixels_from_one(data_root: Path) -> None:
    """Every left and upper edge is a pixel before the number, every right and lower one on it."""
    written, read = ground_truth(load(data_root, "voc")), ground_truth(load(data_root, "voc", one_based=True))
    differences = {
        tuple(np.subtract(one, other).tolist())
        for image in written
        for (_, one), (_, other) in zip(written[image], read[image], strict=True)
    }
    assert differences == {(1.0, 1.0, 0.0, 0.0)}


@pytest.mark.parametrize("name", FORMATS)
def test_photographs_are_found(data_root: Path, name: str) -> None:
    data = load(data_root, name)
    sample = data.read(7)
    height, width = data.table.sizes[7].tolist()
    assert (height, width) in ((0, 0), sample.size)
    boxes = sample.target["boxes"]
    assert boxes[:, 2].max() <= sample.size[1] + 0.01
    assert boxes[:, 3].max() <= sample.size[0] + 0.01
