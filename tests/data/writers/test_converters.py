"""There and back again: VOC to COCO to YOLO to labelme to VOC, and what each conversion reports as lost."""

from __future__ import annotations

import errno
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data.check.repair import repair_source
from saccade.data.open import open_dataset, open_raw
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.errors import ConfigError, DataError, SaccadeError

FORMATS = ("coco", "yolo", "labelme", "voc")


def around(source: Path, out: Path, splits: str | None = None, **options: Any) -> dict[str, LossReport]:
    """Convert through all formats; the reports by format."""
    reports = {}
    for format_name in FORMATS:
        more = options if format_name == FORMATS[0] else {}
        reports[format_name] = convert(source, out / format_name, format_name, splits=splits, **more)
        source = out / format_name
    return reports


def by_name(data: TableDataset) -> dict[str, list[tuple[str, list[float]]]]:
    """Class and box of each object by its image's stem."""
    found = {}
    for index in range(len(data)):
        target = data.target(index)
        names = [data.info.class_names[label] for label in target["labels"]]
        found[Path(data.path(index)).stem] = list(zip(names, target["boxes"].tolist(), strict=True))
    return found


def same_objects(before: TableDataset, after: TableDataset) -> float:
    """The largest difference of an edge in pixels, once names, classes and order are seen to be the same."""
    one, other = by_name(before), by_name(after)
    assert sorted(one) == sorted(other)
    largest = 0.0
    for image, objects in one.items():
        assert [name for name, _ in objects] == [name for name, _ in other[image]]
        for (_, box), (_, again) in zip(objects, other[image], strict=True):
            largest = max(largest, float(np.abs(np.subtract(box, again)).max()))
    return largest


def table_of(source: Path, split: str, **options: Any) -> TableDataset:
    data = open_raw(source, split, **options)
    assert isinstance(data, TableDataset)
    return data


@pytest.fixture
def root(tmp_path: Path, write_voc: Any) -> Path:
    objects = {
        "first": [("dog", 1, 1, 60, 40), ("cat", 7, 5, 18, 30, 1), ("dog", 3, 4, 9, 21)],
        "empty": [],
        "third": [("cat", 2.5, 3.25, 9, 9.125)],
        "fourth": [("ant", 11, 12, 33, 34, 1)],
    }
    return write_voc(tmp_path / "in", objects, {"train": ["first", "empty", "third"], "val": ["fourth"]})


def test_around_four_formats(root: Path, tmp_path: Path) -> None:
    reports = around(root, tmp_path)
    for split in ("train", "val"):
        before, after = table_of(root, split), table_of(tmp_path / "voc", split)
        assert after.info.class_names == before.info.class_names == ("ant", "cat", "dog")
        assert same_objects(before, after) <= 1e-3
        images = {Path(after.path(index)).stem: after.read(index).image for index in range(len(after))}
        for index in range(len(before)):
            assert np.array_equal(images[Path(before.path(index)).stem], before.read(index).image)
    for format_name, report in reports.items():
        assert report.kept["images"] == 4, format_name
        assert report.kept["objects"] == 5, format_name
    # COCO carries the mark of difficult objects as an attribute; YOLO cannot hold it, and reports so.
    assert reports["coco"].lossless
    assert reports["coco"].kept["attribute difficult"] == 5
    assert sum(count for (kind, _), count in reports["yolo"].dropped.items() if kind == "attribute difficult") == 5
    assert not reports["labelme"].dropped
    assert not reports["voc"].dropped
    assert not any(table_of(tmp_path / "voc", split).table.extras["difficult"].any() for split in ("train", "val"))


@pytest.mark.parametrize("between", ["coco", "labelme", "csv"])
def test_difficult_survives_where_the_format_has_attributes(root: Path, tmp_path: Path, between: str) -> None:
    first = convert(root, tmp_path / between, between)
    second = convert(tmp_path / between, tmp_path / "back", "voc")
    assert not first.dropped
    assert not second.dropped
    for split in ("train", "val"):
        before, after = table_of(root, split), table_of(tmp_path / "back", split)
        assert same_objects(before, after) <= 1e-3
        marks = []
        for data in (before, after):
            difficult = data.table.extras["difficult"]
            stems = {Path(data.path(index)).stem: data.table.objects(index) for index in range(len(data))}
            marks.append({stem: difficult[rows].tolist() for stem, rows in stems.items()})
        assert marks[0] == marks[1]


def test_masks_of_voc_become_masks_of_coco(root: Path, tmp_path: Path) -> None:
    (root / "SegmentationObject").mkdir()
    values = np.random.default_rng(0).choice([0, 1, 2, 3, 255], (40, 60)).astype(np.uint8)
    for stem in ("first", "empty", "third", "fourth"):
        Image.fromarray(values).save(root / "SegmentationObject" / f"{stem}.png")
    report = convert(root, tmp_path / "out", "coco", masks=True)
    assert report.lossless
    assert report.kept["masks"] == 5
    masks = table_of(tmp_path / "out", "train", masks=True).target(0)["masks"]
    assert np.array_equal(masks, [values == 1, values == 2, values == 3])


def test_all_content_of_cvat_survives_coco(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "annotations.xml").write_text(
        '<annotations><image id="7" name="a.png" width="60" height="40" note="wet">'
        '<box label="cat" xtl="1.5" ytl="2" xbr="30" ybr="20.25" occluded="1" z_order="3">'
        '<attribute name="age">4</attribute></box>'
        '<box label="cat" xtl="10" ytl="15" xbr="30" ybr="25" rotation="30.5"/>'
        '<polygon label="dog" points="1.1,1;20,2.2;15.5,30" group_id="2"/>'
        '<mask label="dog" rle="1,2,1,2,5,1" left="20" top="11" width="4" height="3"/>'
        '<polyline label="dog" points="1,1;2,2"/><tag label="cat"/></image></annotations>'
    )
    report = convert(tmp_path / "in", tmp_path / "out", "coco")
    assert report.lossless
    before = table_of(tmp_path / "in", "all", masks=True)
    after = table_of(tmp_path / "out", "all", masks=True)
    one, other = before.target(0), after.target(0)
    for key in ("boxes", "labels", "area", "masks"):
        assert np.array_equal(one[key], other[key]), key
    for mine, theirs in (
        (before.table.attributes, after.table.attributes),
        (before.table.image_attributes, after.table.image_attributes),
    ):
        assert mine is not None
        assert theirs is not None
        assert [mine.get(row) for row in range(len(mine))] == [theirs.get(row) for row in range(len(theirs))]
    assert after.image_ids.tolist() == [7]
    assert before.table.attributes is not None
    assert before.table.attributes.get(0) == {"occluded": 1, "z_order": 3, "age": 4}


def test_counts_add_up(root: Path, tmp_path: Path) -> None:
    """Every object is kept, changed or dropped once."""
    for format_name, report in around(root, tmp_path).items():
        fates = Counter({"kept": report.kept["objects"]})
        fates.update({"dropped": sum(count for (kind, _), count in report.dropped.items() if kind == "objects")})
        assert fates == {"kept": 5, "dropped": 0}, format_name
        rows = report.rows()
        assert {row["fate"] for row in rows} <= {"kept", "changed", "dropped"}
        assert all(row["why"] for row in rows if row["fate"] != "kept")


def test_nothing_is_overwritten_and_unknown_formats_are_named(root: Path, tmp_path: Path) -> None:
    convert(root, tmp_path / "out", "coco")
    with pytest.raises(DataError, match="this is not an empty folder"):
        convert(root, tmp_path / "out", "coco")
    with pytest.raises(ConfigError, match=r"format 'cocoo' cannot be written\. Did you mean 'coco'"):
        convert(root, tmp_path / "other", "cocoo")
    with pytest.raises(DataError, match="format 'folder' cannot hold the ground truth of task 'detection'"):
        convert(root, tmp_path / "other", "folder")


@pytest.mark.data("voc100_multiformat")
def test_real_photographs_around_four_formats(data_root: Path, tmp_path: Path) -> None:
    """100 photographs, 273 boxes; YOLO drops the marks of 38 difficult ones with all other attributes."""
    source = data_root / "voc100_multiformat" / "gts" / "pascalvoc_format"
    reports = around(source, tmp_path, "all", images="../../images", image_files="link")
    before = table_of(source, "all", images="../../images")
    after = table_of(tmp_path / "voc", "all")
    assert after.info.class_names == before.info.class_names
    assert len(before.info.class_names) == 20
    assert same_objects(before, after) <= 1e-3
    for format_name, report in reports.items():
        assert (report.kept["images"], report.kept["objects"]) == (100, 273), format_name
    assert reports["coco"].lossless
    assert reports["coco"].kept["attribute pose"] == 273
    assert {kind for (kind, _), count in reports["yolo"].dropped.items() if count == 273} == {
        "attribute pose",
        "attribute truncated",
        "attribute difficult",
    }
    assert before.table.extras["difficult"].sum() == 38
    assert not reports["labelme"].dropped
    assert not reports["voc"].dropped
    image = Path(after.path(0))
    assert image.read_bytes() == (data_root / "voc100_multiformat" / "images" / image.name).read_bytes()


@pytest.mark.data("voc100_multiformat")
def test_real_marks_of_difficult_objects_survive_coco(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "voc100_multiformat" / "gts" / "pascalvoc_format"
    convert(source, tmp_path / "coco", "coco", splits="all", images="../../images", image_files="link")
    convert(tmp_path / "coco", tmp_path / "voc", "voc", splits="all", image_files="none")
    before = table_of(source, "all", images="../../images")
    after = table_of(tmp_path / "voc", "all", images="../coco/all")
    assert same_objects(before, after) == 0.0
    assert before.table.extras["difficult"].sum() == after.table.extras["difficult"].sum() > 0
    assert before.table.attributes is not None
    assert after.table.attributes is not None
    rows = range(len(before.table.labels))
    assert [before.table.attributes.get(row) for row in rows] == [after.table.attributes.get(row) for row in rows]


@pytest.mark.data("tiny_coco")
def test_real_outlines_through_labelme(data_root: Path, tmp_path: Path) -> None:
    """Polygons are carried exactly, masks of crowds too; what labelme does with them is in its report."""
    first = convert(data_root / "tiny_coco", tmp_path / "labelme", "labelme", splits="val2017", image_files="link")
    convert(tmp_path / "labelme", tmp_path / "coco", "coco", image_files="link")
    before = open_dataset(data_root / "tiny_coco", "val2017", masks=True)
    after = open_raw(tmp_path / "coco", "val2017", masks=True)
    assert isinstance(before, TableDataset)
    assert isinstance(after, TableDataset)
    assert first.kept["objects"] == len(before.table.labels) == len(after.table.labels)
    stems = {Path(after.path(index)).stem: index for index in range(len(after))}
    worst = 1.0
    for index in range(len(before)):
        other = after.target(stems[Path(before.path(index)).stem])
        target = before.target(index)
        names = [
            [data.info.class_names[label] for label in each["labels"]]
            for data, each in ((before, target), (after, other))
        ]
        assert names[0] == names[1]
        for mask, again in zip(target["masks"], other["masks"], strict=True):
            union = (mask | again).sum()
            worst = min(worst, (mask & again).sum() / union if union else 1.0)
    assert worst == 1.0


def test_a_union_of_splits_is_not_written_twice(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path / "voc", {"a": [("cat", 1, 1, 20, 20)], "b": [("cat", 2, 2, 30, 30)]})
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for file in main.glob("*.txt"):
        file.unlink()
    for split, names in (("train", "a\n"), ("val", "b\n"), ("trainval", "a\nb\n")):
        (main / f"{split}.txt").write_text(names)
    report = convert(root, tmp_path / "coco", "coco")
    assert report.kept["images"] == 2
    assert report.dropped["splits", "they only join others"] == 1
    assert sorted(file.name for file in (tmp_path / "coco" / "annotations").iterdir()) == [
        "instances_train.json",
        "instances_val.json",
    ]
    asked = convert(root, tmp_path / "again", "coco", splits="trainval")
    assert asked.kept["images"] == 2


@pytest.mark.parametrize("verb", ["convert", "repair"])
@pytest.mark.parametrize("case", ["a file", "below a file", "long name", "not empty", "read only"])
def test_what_cannot_be_written_is_named_with_the_remedy(
    verb: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(cv2.imencode(".png", np.eye(8, dtype=np.uint8))[1].tobytes())
    (tmp_path / "file").write_text("")
    out, message = {
        "a file": (tmp_path / "file", "not an empty folder"),
        "below a file": (tmp_path / "file" / "out", r"Not a directory\. (A file is in the place|Choose a folder)"),
        "long name": (tmp_path / ("x" * 300), r"File name too long\. (Shorten it|Choose)"),
        "not empty": (tmp_path / "pets", "not an empty folder"),
        "read only": (tmp_path / "out", r"Read-only file system\. (Name|Choose) a folder that"),
    }[case]
    if case == "read only":
        mkdir = Path.mkdir

        def refuse(self: Path, *arguments: Any, **options: Any) -> None:
            if "out" in self.parts:  # root may write anywhere, so the system's answer is made here
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
            mkdir(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", refuse)
    run = partial(convert, to="folder") if verb == "convert" else repair_source
    with pytest.raises(SaccadeError, match=message) as caught:
        run(tmp_path / "pets", out)
    assert str(out)[:60] in str(caught.value)


def test_names_that_become_too_long_are_named(tmp_path: Path) -> None:
    for letter in "cd":
        folder = tmp_path / "pets" / (letter * 150)
        folder.mkdir(parents=True)
        (folder / f"{'x' * 120}.png").write_bytes(cv2.imencode(".png", np.eye(8, dtype=np.uint8))[1].tobytes())
    with pytest.raises(DataError, match=r"out/all/c+.*x\.png: File name too long\. Shorten it in the source\."):
        convert(tmp_path / "pets", tmp_path / "out", "csv")
