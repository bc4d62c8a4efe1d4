"""PASCAL VOC folders, whole and hostile."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.faults import faults_of

from saccade.data.readers import detect_format, voc
from saccade.errors import DataError


def test_one_based_inclusive_boxes_become_continuous(tmp_path: Path, write_voc: Any) -> None:
    """A box around all pixels of a 60x40 image is written 1, 1, 60, 40."""
    rows = [("cat", 1, 1, 60, 40), ("cat", 7, 5, 8, 30), ("cat", 9, 9, 9, 9), ("cat", 30, 20, 11, 25)]
    data = voc.read(write_voc(tmp_path, {"a": rows}), "all")
    target = data.target(0)
    assert target["boxes"].tolist() == [[0, 0, 60, 40], [6, 4, 8, 30], [9, 9, 9, 9], [30, 19, 10, 25]]
    assert target["area"].tolist() == [2400, 52, 0, 0]
    assert target["boxes"].dtype == np.float64
    assert data.table.sizes.tolist() == [[40, 60]]


def test_classes_are_the_same_for_every_split(tmp_path: Path, write_voc: Any) -> None:
    objects = {"1": [("dog", 1, 1, 5, 5)], "2": [("ant", 1, 1, 5, 5)], "10": []}
    root = write_voc(tmp_path, objects, {"train": ["1", "10"], "val": ["2"]})
    train, val = voc.read(root, "train"), voc.read(root, "val")
    assert train.info.class_names == val.info.class_names == ("ant", "dog")
    assert train.target(0)["labels"].tolist() == [1]
    assert val.target(0)["labels"].tolist() == [0]
    assert train.target(1)["boxes"].shape == (0, 4)
    assert train.read(1).image.shape == (40, 60, 3)
    assert voc.splits(root) == ("train", "val")
    assert detect_format(root) == "voc"


def test_without_lists_there_is_one_split_in_natural_order(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {str(number): [] for number in range(1, 12)})
    assert voc.splits(root) == ("all",)
    data = voc.read(root, "all")
    assert [Path(data.path(index)).stem for index in range(11)] == [str(number) for number in range(1, 12)]


def test_lists_of_single_classes_are_no_splits(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a"], "cat_train": ["a -1"], "my_part": ["a  1"]})
    assert voc.splits(root) == ("my_part", "train")
    assert len(voc.read(root, "my_part")) == 1


def test_difficult_is_kept_beside_the_target(tmp_path: Path, write_voc: Any) -> None:
    data = voc.read(write_voc(tmp_path, {"a": [("cat", 1, 1, 5, 5, 1), ("cat", 1, 1, 5, 5, 0)]}), "all")
    assert data.table.extras["difficult"].tolist() == [1, 0]
    assert data.target(0)["iscrowd"].tolist() == [False, False]


def test_images_of_other_formats_are_found_by_id(tmp_path: Path, write_voc: Any, write_image: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "JPEGImages" / "a.jpg").unlink()
    write_image(root / "JPEGImages" / "a.png")
    assert voc.read(root, "all").read(0).image.shape == (40, 60, 3)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE bomb [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""
OUTSIDE = """<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]><annotation><filename>&secret;</filename></annotation>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE], ids=["expansion", "external"])
def test_entities_are_refused(tmp_path: Path, write_voc: Any, text: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml: the XML declares"):
        voc.read(root, "all")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\secret.jpg", "a/..\\..\\b.jpg", "\\\\host\\x.jpg"]
)
def test_file_names_may_not_leave_the_folder(tmp_path: Path, write_voc: Any, name: str) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a"]})
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>{name}</filename></annotation>")
    (root / "JPEGImages" / "a.jpg").unlink()
    assert re.search(
        r"it names the image .* not a file inside the data folder", faults_of(voc.read, root, "train"), re.DOTALL
    )
    (root / "Annotations" / "a.xml").write_text("<annotation/>")
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"{name.replace(' ', '')}\n")
    with pytest.raises(DataError, match=r"train\.txt: line 1 is .* not a file inside the data folder"):
        voc.read(root, "train")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("<object><bndbox/></object>", r"object\[0\]\.name is missing"),
        ("<object><name>cat</name></object>", r"object\[0\]\.bndbox is missing"),
        (
            "<object><name>cat</name><bndbox><xmin>x</xmin></bndbox></object>",
            r"object\[0\]\.bndbox\.xmin is 'x', not a number",
        ),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", r"object\[0\]\.bndbox\.ymin is missing"),
        ("<size><width>60</width></size>", r"size\.height is missing"),
        ("<object>", "not valid XML"),
    ],
)
def test_malformed_annotations_name_file_and_field(tmp_path: Path, write_voc: Any, body: str, field: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{body}</annotation>")
    assert re.search(rf"a\.xml: .*{field}", faults_of(voc.read, root, "all"), re.DOTALL)


def test_missing_annotation_and_empty_list_are_named(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a", "b"], "val": [""]})
    assert re.search(r"b\.xml: there is no such annotation", faults_of(voc.read, root, "train"), re.DOTALL)
    with pytest.raises(DataError, match=r"val\.txt: the list is empty"):
        voc.read(root, "val")


def test_missing_image_is_named_when_it_is_read(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.jpg: the file does not exist"):
        voc.read(root, "all").read(0)


def annotation(body: str) -> str:
    return f"<annotation><size><width>60</width><height>40</height></size>{body}</annotation>"


BOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"


def test_what_objects_and_images_say_is_kept(tmp_path: Path, write_voc: Any, caplog: pytest.LogCaptureFixture) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(
        "<annotation><folder>VOC</folder><filename>a.jpg</filename>"
        "<source><database>none</database><image>flickr</image></source><owner><name>somebody</name></owner>"
        "<size><width>60</width><height>40</height><depth>3</depth></size><segmented>1</segmented>"
        "<object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>"
        f"<occluded>0</occluded><mood/>{BOX}"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
        f"<part><name>hand</name></part></object><object><name>cat</name>{BOX}</object></annotation>"
    )
    data = voc.read(root, "all")
    table = data.table
    assert table.attributes is not None
    assert table.image_attributes is not None
    assert table.attributes.get(0) == {"pose": "Left", "truncated": 1, "difficult": 1, "occluded": 0}
    assert table.attributes.get(1) == {}
    assert table.image_attributes.get(0) == {
        "folder": "VOC",
        "source": {"database": "none", "image": "flickr"},
        "owner": {"name": "somebody"},
        "segmented": 1,
        "depth": 3,
    }
    assert len(table.labels) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{root / 'Annotations'}: 2 part elements (of objects) are not read"
    ]


def test_fractions_of_a_pixel_are_kept(tmp_path: Path, write_voc: Any) -> None:
    rows = [("cat", 1.25, 2.5, 30.75, 20.125)]
    root = write_voc(tmp_path, {"a": rows})
    assert voc.read(root, "all").target(0)["boxes"].tolist() == [[0.25, 1.5, 30.75, 20.125]]
    assert voc.read(root, "all", one_based=False).target(0)["boxes"].tolist() == [[1.25, 2.5, 30.75, 20.125]]


def test_files_lying_flat(tmp_path: Path, write_image: Any) -> None:
    """XML files beside nothing else; their images are in another folder, outside of the data folder."""
    for number in range(6):
        write_image(tmp_path / "photos" / f"{number}.png")
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{number}.xml").write_text(annotation(f"<object><name>c{number}</name>{BOX}</object>"))
    root = tmp_path / "labels"
    assert detect_format(root) == "voc"
    assert voc.splits(root) == ("all",)
    data = voc.read(root, "all", images="../photos")
    assert data.info.class_names == tuple(f"c{number}" for number in range(6))
    assert len(data) == 6
    assert data.target(4)["labels"].tolist() == [4]
    assert data.read(4).image.shape == (40, 60, 3)
    assert data.annotation_path(4) == str(root / "4.xml")
    with pytest.raises(DataError, match=r"nowhere: images: there is no such folder"):
        voc.read(root, "all", images="../nowhere")


def test_folders_of_splits(tmp_path: Path, write_image: Any) -> None:
    for split, name in (("train", "cat"), ("valid", "dog")):
        write_image(tmp_path / split / f"{name}.jpg")
        (tmp_path / split / f"{name}.xml").write_text(annotation(f"<object><name>{name}</name>{BOX}</object>"))
    assert detect_format(tmp_path) == "voc"
    assert voc.splits(tmp_path) == ("train", "valid")
    data = voc.read(tmp_path, "val")
    assert data.info.class_names == ("cat", "dog")
    assert data.path(0) == str(tmp_path / "valid" / "dog.jpg")
    assert data.read(0).target["labels"].tolist() == [1]
    assert data.annotation_path(0) == str(tmp_path / "valid" / "dog.xml")


def test_errors_name_the_annotation_also_where_the_image_has_another_name(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "b.xml").write_text(
        "<annotation><filename>other.jpg</filename><size><width>60</width><height>40</height></size></annotation>"
    )
    data = voc.read(root, "all")
    assert [Path(data.path(index)).name for index in range(2)] == ["a.jpg", "other.jpg"]
    assert data.annotation_path(1) == str(root / "Annotations" / "b.xml")


def test_a_list_of_classes_gives_their_order(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("dog", 1, 1, 5, 5), ("emu", 1, 1, 5, 5)]})
    (root / "class_names.txt").write_text("_background_\nyak\ndog\n")
    data = voc.read(root, "all")
    assert data.info.class_names == ("yak", "dog")
    assert data.target(0)["labels"].tolist() == [1, -1]
    assert data.table.unknown_classes == ("emu",)
    assert voc.read(root, "all", class_names=["emu", "dog"]).target(0)["labels"].tolist() == [1, 0]


def palette_map(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)


def test_label_maps_are_indices_of_the_palette(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("dog", 1, 1, 5, 5)], "b": [("person", 1, 1, 5, 5)], "c": []})
    values = np.zeros((40, 60), np.uint8)
    values[5:20, 10:30], values[4, 10:30] = 12, 255
    palette_map(root / "SegmentationClass" / "b.png", values)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("b\n")
    data = voc.read(root, "train", task="segmentation")
    assert data.info.class_names == ("background", *voc.VOC_CLASSES)
    assert data.info.class_names[12] == "dog"
    sample = data.read(0)
    assert np.array_equal(sample.target["label_map"], values)
    assert data.path(0) == str(root / "JPEGImages" / "b.jpg")

    (root / "Annotations" / "b.xml").write_text(annotation(f"<object><name>zebu</name>{BOX}</object>"))
    with pytest.raises(
        DataError, match=r"classes have no names, and 'zebu' is none of VOC's\. Write them into class_na"
    ):
        voc.read(root, "train", task="segmentation")
    (root / "class_names.txt").write_text("_background_\nzebu\n")
    with pytest.raises(DataError, match=r"b\.png: pixel value 12 is none of 0-1"):
        voc.read(root, "train", task="segmentation").target(0)


def test_folder_of_label_maps_alone(tmp_path: Path, write_image: Any) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg")
        palette_map(tmp_path / "SegmentationClass" / f"{name}.png", np.full((40, 60), 1))
    (tmp_path / "class_names.txt").write_text("background\nroad\n")
    assert detect_format(tmp_path) == "voc"
    data = voc.read(tmp_path, "all")
    assert data.info.task == "segmentation"
    assert data.info.class_names == ("background", "road")
    assert (data.target(1)["label_map"] == 1).all()


def test_masks_of_objects_follow_the_order_of_the_file(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("dog", 31, 1, 60, 40), ("cat", 1, 1, 30, 40), ("cat", 5, 5, 5, 5)]})
    values = np.full((40, 60), 255, np.uint8)
    values[:, :28], values[:, 32:] = 2, 1
    palette_map(root / "SegmentationObject" / "a.png", values)
    data = voc.read(root, "all", masks=True)
    masks = data.target(0)["masks"]
    assert masks.shape == (3, 40, 60)
    assert np.array_equal(masks[0], values == 1)
    assert np.array_equal(masks[1], values == 2)
    assert not masks[2].any()
    kept = data.with_table(data.table.select_objects(np.array([False, True, False])))
    assert np.array_equal(kept.target(0)["masks"][0], values == 2)

    palette_map(root / "SegmentationObject" / "a.png", values[:-1])
    with pytest.raises(DataError, match=r"a\.png: the map is 60x39, the size in .*a\.xml 60x40"):
        voc.read(root, "all", masks=True).target(0)


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("<width>nan</width><height>40</height>", "size is nanx40 pixels"),
        ("<width>60.5</width><height>40</height>", r"size is 60\.5x40 pixels"),
        ("<width>-60</width><height>40</height>", "size is -60x40 pixels"),
        ("<width>9999999</width><height>9999999</height>", r"size is 1e\+07x1e\+07 pixels"),
    ],
)
def test_impossible_sizes_are_named(tmp_path: Path, write_voc: Any, size: str, problem: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_text(f"<annotation><size>{size}</size></annotation>")
    assert re.search(rf"a\.xml: {problem}", faults_of(voc.read, root, "all"), re.DOTALL)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not valid XML"),
        (b"<annotation>\xff\xfe</annotation>", "not valid XML"),
        (b"<annotations/>", "the first element is 'annotations', not 'annotation'"),
        (b"", "not valid XML"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, write_voc: Any, content: bytes, problem: str) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / "a.xml").write_bytes(content)
    assert re.search(rf"a\.xml: .*{problem}", faults_of(voc.read, root, "all"), re.DOTALL)


def test_broken_list_is_named(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []}, {"train": ["a"]})
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt: byte 0 is no UTF-8"):
        voc.read(root, "train")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a" * 5000)
    with pytest.raises(DataError, match=r"train\.txt: line 1 is 'a{80}\.\.\.', longer than any file's name"):
        voc.read(root, "train")


def test_a_file_name_in_another_encoding_is_named(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations" / os.fsdecode(b"b\xff.xml")).write_text("<annotation/>")
    with pytest.raises(DataError, match=r"Annotations: the file name .* is not UTF-8"):
        voc.read(root, "all")


@pytest.mark.data("bccd")
def test_real_blood_cells(data_root: Path) -> None:
    """364 images, of which the four lists hold train, val, their union and test."""
    counts = {}
    for split in ("train", "val", "trainval", "test"):
        data = voc.read(data_root / "bccd", split)
        assert data.info.class_names == ("Platelets", "RBC", "WBC")
        counts[split] = len(data), len(data.table.labels)
    assert counts["train"][0] + counts["val"][0] == counts["trainval"][0]
    assert counts["trainval"][1] + counts["test"][1] == 4888
    assert data.table.attributes is not None
    assert data.table.attributes.get(0) == {"pose": "Unspecified", "truncated": 0, "difficult": 0}


@pytest.mark.data("labelme_samples")
def test_real_label_maps_of_another_tool(data_root: Path) -> None:
    root = data_root / "labelme_samples" / "semantic_segmentation" / "data_dataset_voc"
    assert detect_format(root) == "voc"
    data = voc.read(root, "all")
    shown = [np.unique(data.read(index).target["label_map"]).tolist() for index in range(len(data))]
    names = [[data.info.class_names[value] for value in values if value != 255] for values in shown]
    assert names == [
        ["background", "bottle", "person"],
        ["background", "chair", "person", "sofa"],
        ["background", "bus", "car"],
    ]
