"""VOC folders as written: read back, they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, voc
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import voc as writer
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo


def dataset(root: Path, builder: TableBuilder, names: tuple[str, ...] = ("cat", "dog")) -> TableDataset:
    return TableDataset(DatasetInfo("test", "detection", names), root, builder.build())


def save(data: TableDataset, out: Path, split: str = "train", images: Any = "none") -> LossReport:
    report = LossReport("test", "voc")
    writer.write(data, out, split, images, report)
    return report


def test_voc_comes_back(tmp_path: Path, write_voc: Any) -> None:
    rows = [("cat", 1, 1, 60, 40), ("dog", 7, 5, 8, 30, 1), ("cat", 2.5, 3.25, 9, 9.125), ("cat", 9, 9, 9, 9)]
    objects = {"a": rows, "b": [], "c": [("dog", 30, 20, 11, 2)]}
    root = write_voc(tmp_path / "in", objects, {"train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"]})
    report = convert(root, tmp_path / "out", "voc")
    assert report.lossless
    assert report.kept["objects"] == report.kept["boxes"] == 10
    assert report.kept["classes"] == 2
    assert detect_format(tmp_path / "out") == "voc"
    for split in ("train", "val", "trainval"):
        before, after = voc.read(root, split), voc.read(tmp_path / "out", split)
        assert after.info.class_names == before.info.class_names
        assert [Path(after.path(index)).name for index in range(len(after))] == [
            Path(before.path(index)).name for index in range(len(before))
        ]
        for index in range(len(before)):
            one, other = before.read(index), after.read(index)
            assert np.array_equal(one.image, other.image)
            for key in ("boxes", "labels", "area"):
                assert np.array_equal(one.target[key], other.target[key])
        assert np.array_equal(before.table.extras["difficult"], after.table.extras["difficult"])
    assert sorted(file.name for file in (tmp_path / "out" / "JPEGImages").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]


def test_files_are_like_those_of_voc(tmp_path: Path) -> None:
    builder = TableBuilder(["cat", "dog"])
    about = {"folder": "VOC2012", "source": {"database": "The <VOC>", "image": "flickr"}, "segmented": 0, "depth": 1}
    builder.add_image("a.jpg", size=(40, 60), attributes=about)
    marks = {"truncated": True, "pose": "Left", "occluded": 0, "score": 0.5, "tags": ["x"], "no name": 1, "part": 2}
    builder.add_object("cat", (0, 0, 60, 40), attributes=marks)
    builder.add_object("dog", (0.5, 4, 20.25, 30), attributes={"difficult": 1, "text": "<&>"})
    report = save(dataset(tmp_path, builder), tmp_path / "out")
    tree = ElementTree.parse(tmp_path / "out" / "Annotations" / "a.xml").getroot()
    assert [child.tag for child in tree] == ["folder", "filename", "source", "segmented", "size", "object", "object"]
    assert tree.findtext("source/database") == "The <VOC>"
    assert [tree.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["60", "40", "1"]
    first, second = tree.findall("object")
    order = ["name", "pose", "truncated", "difficult", "occluded", "score", "bndbox"]
    assert [child.tag for child in first] == order
    assert [child.text for child in first[:6]] == ["cat", "Left", "1", "0", "0", "0.5"]
    assert [child.text for child in first[6]] == ["1", "1", "60", "40"]
    assert [child.text for child in second.find("bndbox") or ()] == ["1.5", "5", "20.25", "30"]
    assert [second.findtext(key) for key in ("pose", "truncated", "difficult")] == ["Unspecified", "0", "1"]
    assert report.dropped == {
        ("attribute tags", "not writable as XML elements"): 1,
        ("attribute no name", "not writable as XML elements"): 1,
        ("attribute part", "VOC has another element of that name"): 1,
    }
    table = voc.read(tmp_path / "out", "train").table
    assert table.attributes is not None
    assert table.image_attributes is not None
    assert table.image_attributes.get(0) == about
    assert table.attributes.get(0) == {"pose": "Left", "truncated": 1, "difficult": 0, "occluded": 0, "score": 0.5}
    assert table.attributes.get(1)["text"] == "<&>"


@given(st.tuples(*[st.floats(-10, 500, width=32)] * 4))
def test_the_rule_of_the_reader_is_inverted(box: tuple[float, float, float, float]) -> None:
    """Boxes of a pixel and less become a little wider than one; all others, also inverted and empty ones, return."""
    for start, end in ((box[0], box[2]), (box[1], box[3]), (box[0], box[0])):
        again = voc._to_continuous(*writer._counted_from_one(start, end))
        if start == end or abs(end - start) > 1 + 1e-3:
            assert again == pytest.approx((start, end), abs=1e-9)
        else:
            assert min(again) == pytest.approx(min(start, end), abs=1e-9)
            assert max(again) - min(again) == pytest.approx(1.001, abs=1e-9)
            assert (again[0] < again[1]) == (start < end)


def test_boxes_of_a_pixel_stay_boxes_and_are_counted(tmp_path: Path) -> None:
    builder = TableBuilder(["cat", "dog"])
    builder.add_image("a.jpg", size=(40, 60))
    builder.add_object("cat", (5, 5, 6, 9))
    builder.add_object("cat", (5, 5, 5.25, 9))
    builder.add_object("cat", (0.1, 5, 9, 9))
    report = save(dataset(tmp_path, builder), tmp_path / "out")
    boxes = voc.read(tmp_path / "out", "train").target(0)["boxes"]
    assert np.abs(boxes[0] - [5, 5, 6, 9]).max() <= 1.001e-3
    assert boxes[1] == pytest.approx([5, 5, 6, 9], abs=1.001e-3)
    assert boxes[2] == pytest.approx([0.1, 5, 9, 9], abs=1e-12)
    assert report.changed == {
        ("boxes", "not wider than a pixel, written a little wider"): 2,
        ("boxes", "the last digit rounded, since VOC counts from 1"): 1,
    }


def test_what_voc_cannot_hold_is_counted(tmp_path: Path) -> None:
    builder = TableBuilder(["cat", "dog"], outlines=True)
    builder.add_image("a.jpg", size=(40, 60))
    ring = [1.0, 1, 9, 1, 9, 9]
    builder.add_object("cat", (1, 1, 9, 9), outline=ObjectOutline(rings=[ring, ring, ring], holes=[False, False, True]))
    builder.add_object("dog", (1, 1, 9, 9), outline=ObjectOutline(runs=[10, 5, 2385], run_size=(40, 60)), iscrowd=True)
    report = save(dataset(tmp_path, builder), tmp_path / "out")
    assert report.dropped == {
        ("polygons", "VOC has boxes only"): 2,
        ("holes", "VOC has boxes only"): 1,
        ("masks", "VOC has boxes only"): 1,
        ("crowds", "VOC has no mark for them; they are objects"): 1,
    }
    assert report.kept["objects"] == 2


def test_classes_keep_their_order_also_without_objects(tmp_path: Path) -> None:
    builder = TableBuilder(["zebu", "ant", "bee"])
    builder.add_image("a.jpg", size=(40, 60))
    builder.add_object("bee", (1, 1, 9, 9))
    builder.add_object("yak", (1, 1, 9, 9))
    data = dataset(tmp_path, builder, ("zebu", "ant", "bee"))
    save(data, tmp_path / "out")
    again = voc.read(tmp_path / "out", "train")
    assert again.info.class_names == ("zebu", "ant", "bee")
    assert again.target(0)["labels"].tolist() == [2, -1]
    assert again.table.unknown_classes == ("yak",)
    other = dataset(tmp_path, builder, ("ant", "bee", "zebu"))
    with pytest.raises(DataError, match=r"class_names\.txt: split 'train' has other classes than those before"):
        save(other, tmp_path / "out", "val")


def test_images_of_one_name_stay_apart(tmp_path: Path, write_image: Any) -> None:
    """Two stems that are equal within a split, and one in another split that is another image."""
    write_image(tmp_path / "a.png", (40, 60))
    write_image(tmp_path / "a.jpg", (30, 50))
    write_image(tmp_path / "b b.png", (20, 20))
    write_image(tmp_path / "other" / "a.png", (10, 20))
    first, second = TableBuilder(["cat"]), TableBuilder(["cat"])
    for name in ("a.png", "a.jpg", "b b.png"):
        first.add_image(name)
    for name in ("other/a.png", "a.jpg"):
        second.add_image(name)
    report = save(dataset(tmp_path, first, ("cat",)), tmp_path / "out", "train", "copy")
    assert report.changed == {
        ("images", "renamed, because another has the same stem"): 1,
        ("images", "renamed, because an id has no blanks"): 1,
    }
    report = save(dataset(tmp_path, second, ("cat",)), tmp_path / "out", "val", "copy")
    assert report.changed == {
        ("images", "renamed, because another split's has the same id"): 2,
        ("images", "renamed, because another has the same stem"): 1,
    }
    train, val = voc.read(tmp_path / "out", "train"), voc.read(tmp_path / "out", "val")
    assert [train.read(index).size for index in range(3)] == [(40, 60), (30, 50), (20, 20)]
    assert [val.read(index).size for index in range(2)] == [(10, 20), (30, 50)]


def test_label_maps_are_palette_images(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path / "in", {"a": [], "b": []}, {"train": ["a"], "val": ["b"]})
    rng = np.random.default_rng(0)
    (root / "SegmentationClass").mkdir()
    values = {name: rng.choice([0, 1, 2, 20, 255], (40, 60)).astype(np.uint8) for name in ("a", "b")}
    for name, each in values.items():
        Image.fromarray(each).save(root / "SegmentationClass" / f"{name}.png")
    report = convert(root, tmp_path / "out", "voc", task="segmentation")
    assert report.lossless
    assert report.kept["label maps"] == 2
    image = Image.open(tmp_path / "out" / "SegmentationClass" / "a.png")
    assert image.mode == "P"
    palette = np.array(image.getpalette()).reshape(-1, 3)
    # Background, aeroplane, bicycle, television and the border, as in VOC's own files.
    assert palette[[0, 1, 2, 20, 255]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 64, 128], [224, 224, 192]]
    for split, name in (("train", "a"), ("val", "b")):
        data = open_dataset(tmp_path / "out", split)
        assert data.info.task == "segmentation"
        assert data.info.class_names == ("background", *voc.VOC_CLASSES)
        assert np.array_equal(data.read(0).target["label_map"], values[name])


@pytest.mark.data("voc_seg_samples")
def test_palette_is_that_of_real_label_maps(data_root: Path) -> None:
    file = data_root / "voc_seg_samples" / "SegmentationClass" / "2007_000063.png"
    palette = np.array(Image.open(file).getpalette()).reshape(-1, 3)
    assert np.array_equal(writer._palette()[: len(palette)], palette)
