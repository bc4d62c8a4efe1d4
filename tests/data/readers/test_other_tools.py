"""Files as other tools write them: layouts, lists and fields that are read, and what is half broken read to the end."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.faults import codes_of, faults_of

from saccade.data.check.run import check_source
from saccade.data.notices import say_once
from saccade.data.open import open_dataset
from saccade.data.readers import coco, csv, cvat, detect_format, labelme, voc, yolo
from saccade.errors import DataError

SIZE = (40, 60)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def names(data: Any) -> list[str]:
    return [Path(data.path(index)).name for index in range(len(data))]


# ----------------------------------------------------------------------------------------------------------- COCO

IMAGE = {"id": 1, "file_name": "0.png", "width": 60, "height": 40}
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 30], "area": 600, "iscrowd": 0}
RING = [10, 5, 30, 5, 30, 35, 10, 35]


def coco_file(image: dict[str, Any] | None = None, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """A file of one image and one object, with some fields changed; a value of ``...`` removes the field."""
    entries = ({**IMAGE, **(image or {})}, {**OBJECT, **(found or {})})
    kept = [{key: value for key, value in entry.items() if value is not ...} for entry in entries]
    return {"images": kept[:1], "annotations": kept[1:], "categories": [{"id": 1, "name": "cat"}]}


UNDERSTOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ids as text": ({"id": "1"}, {"image_id": 1, "category_id": "1"}),
    "ids as whole floats": ({"id": 1.0}, {"image_id": "1", "category_id": 1.0}),
    "ids that are names": ({"id": "im one"}, {"image_id": "im one"}),
    "no area": ({}, {"area": ...}),
    "null": (
        {"width": None, "height": None},
        {"area": None, "iscrowd": None, "segmentation": None, "keypoints": None, "attributes": None},
    ),
    "no number": ({}, {"area": float("nan")}),
    "size as text": ({"width": "60", "height": 40.0}, {}),
    "box as text": ({}, {"bbox": ["10", "5.0", 20, 30.0]}),
    "no box": ({}, {"bbox": ..., "segmentation": [RING]}),
    "empty box": ({}, {"bbox": [], "segmentation": [RING]}),
    "null box beside a mask": (
        {},
        {"bbox": None, "segmentation": {"size": [40, 60], "counts": [405, *[30, 10] * 19, 30, 1205]}},
    ),
    "flat polygon": ({}, {"segmentation": RING}),
    "polygon of pairs": ({}, {"bbox": None, "segmentation": [[10, 5], [30, 5], [30, 35], [10, 35]]}),
    "polygons of pairs": ({}, {"bbox": None, "segmentation": [[[10, 5], [30, 5], [30, 35], [10, 35]]]}),
    "empty polygon": ({}, {"segmentation": [[]]}),
    "crowd as text": ({}, {"iscrowd": "0"}),
    "more fields": ({"license": 3, "date_captured": ""}, {"score": 0.5, "extra": {"a": 1}}),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_fields_of_other_tools(case: str, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/0.png", SIZE)
    values = coco_file(*UNDERSTOOD[case])
    write(tmp_path / "result.json", values)
    assert detect_format(tmp_path) == "coco"
    data = coco.read(tmp_path, "all")
    assert data.target(0)["boxes"].tolist() == [[10, 5, 30, 35]]
    assert data.target(0)["area"].tolist() == [600]
    assert data.target(0)["iscrowd"].tolist() == [False]
    assert data.info.class_names == ("cat",)
    assert data.table.faults == ()
    masks = coco.read(tmp_path, "all", masks=True).target(0)["masks"]
    assert masks.sum() in (0, 600)


@pytest.mark.parametrize(
    "keys", [("version", "images", "annotations", "categories"), ("annotations", "categories", "images"), ("x", "info")]
)
def test_coco_is_known_by_what_it_holds(keys: tuple[str, ...], tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/0.png", SIZE)
    values = {**coco_file(), "version": "1", "x": [1, {"images": []}]}
    write(tmp_path / "any name.json", {key: values[key] for key in dict.fromkeys([*keys, *values]) if key in values})
    assert detect_format(tmp_path) == "coco"
    assert len(coco.read(tmp_path, "all")) == 1


def test_other_json_beside_rows_is_no_coco(tmp_path: Path, write_image: Any) -> None:
    """The export of Label Studio for YOLO."""
    write_image(tmp_path / "images/a.jpg", SIZE)
    write(tmp_path / "labels/a.txt", "0 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "notes.json", {"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}})
    write(tmp_path / "result.json", [{"image_id": 1, "bbox": [1, 1, 2, 2]}])
    write(tmp_path / "broken.json", "{")
    assert detect_format(tmp_path) == "yolo"
    with pytest.raises(
        DataError, match=r"no annotations/instances_\*\.json .*\(found: broken\.json, notes\.json, result"
    ):
        coco.read(tmp_path, "all")


@pytest.mark.parametrize("used", [(1, 1), (0, 0)])
def test_a_category_that_nothing_uses_may_have_the_name_of_another(used: tuple[int, int], tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "fish", "supercategory": "none"},
        {"id": 1, "name": "fish"},
        {"id": 2, "name": "eel"},
    ]
    values = {**coco_file(found={"category_id": used[0]}), "categories": categories}
    write(tmp_path / "train/_annotations.coco.json", values)
    data = coco.read(tmp_path, "train")
    assert data.info.class_names == ("fish", "eel")
    assert data.info.category_ids == (used[1], 2)
    assert data.target(0)["labels"].tolist() == [0]
    values["annotations"].append({**OBJECT, "id": 2, "category_id": 1 - used[0]})
    write(tmp_path / "train/_annotations.coco.json", values)
    with pytest.raises(DataError, match=r"both called 'fish'\. Rename one"):
        coco.read(tmp_path, "train")


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(mark: str, tmp_path: Path, write_image: Any) -> None:
    for name in ("0.png", "lm/0.png", "voc/0.png", "csv/0.png"):
        write_image(tmp_path / name, SIZE)
    (tmp_path / "instances.json").write_text(json.dumps(coco_file()), encoding=mark)
    assert len(coco.read(tmp_path, "all").target(0)["boxes"]) == 1
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [30, 35]]}
    (tmp_path / "lm/0.json").write_text(json.dumps({"shapes": [shape], "imagePath": "0.png"}), encoding=mark)
    assert detect_format(tmp_path / "lm") == "labelme"
    assert labelme.read(tmp_path / "lm", "all").target(0)["boxes"].tolist() == [[10, 5, 30, 35]]
    body = "<annotation><object><name>cat</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax>"
    (tmp_path / "voc/0.xml").write_text(f"{body}</bndbox></object></annotation>", encoding=mark)
    assert detect_format(tmp_path / "voc") == "voc"
    assert voc.read(tmp_path / "voc", "all").target(0)["boxes"].tolist() == [[10, 5, 30, 35]]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["annotations/instances_default.json"], ("all",)),
        (["annotations/instances_Train.json", "annotations/instances_Validation.json"], ("Train", "Validation")),
        (["annotations/train.json", "annotations/dev.json"], ("dev", "train")),
        (["train_labels.json", "val_labels.json"], ("train", "val")),
        (["train/annotations.json", "valid/annotations.json"], ("train", "valid")),
        (["labels.json"], ("all",)),
        (["annotations/street.json"], ("all",)),
        (["export/result.json"], ("all",)),
    ],
)
def test_splits_of_coco(files: list[str], found: tuple[str, ...], tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "data/0.png", SIZE)
    for file in files:
        write(tmp_path / file, coco_file())
    assert coco.splits(tmp_path) == found
    assert detect_format(tmp_path) == "coco"
    data = coco.read(tmp_path, "val" if "Validation" in found or "dev" in found else found[0])
    assert data.read(0).target["boxes"].tolist() == [[10, 5, 30, 35]]


# ------------------------------------------------------------------------------------------------------------ YOLO

BOX_ROW, POLYGON_ROW = "0 0.25 0.25 0.5 0.5", "1 0.5 0.5 1 0.5 1 1 0.5 1"


def yolo_set(
    root: Path, write_image: Any, image: str = "images/train/{}.png", rows: str = "labels/train/{}.txt"
) -> Path:
    for name in "ab":
        write_image(root / image.format(name), SIZE)
        write(root / rows.format(name), f"{BOX_ROW}\n{POLYGON_ROW}\n")
    return root


def test_boxes_beside_polygons_are_painted(tmp_path: Path, write_image: Any, caplog: pytest.LogCaptureFixture) -> None:
    root = yolo_set(tmp_path, write_image)
    write(root / "data.yaml", "train: images/train\nnames: [cat, dog]\n")
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "saccade"):
        label_map = yolo.read(root, "train", task="segmentation").target(0)["label_map"]
        masks = yolo.read(root, "train", masks=True).target(0)["masks"]
    assert np.bincount(label_map.reshape(-1)).tolist() == [1200, 600, 600]
    assert masks.sum(axis=(1, 2)).tolist() == [600, 600]
    said = [text for text in caplog.messages if "without an outline" in text]
    assert said == [f"{root}: 2 of the 4 objects of 'train' are boxes without an outline; their masks are rectangles"]


def test_boxes_of_coco_without_a_segmentation_are_painted_too(
    tmp_path: Path, write_image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "images" / "a.png", (60, 80))
    square = [[5, 5, 35, 5, 35, 35, 5, 35]]
    objects = [
        {"id": 1 + row, "image_id": 1, "category_id": 1, "bbox": [5, 5, 30, 30], "segmentation": outline}
        for row, outline in enumerate((square, [], None))
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}]
    truth = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
    write(tmp_path / "annotations" / "instances_train.json", json.dumps(truth))
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "saccade"):
        masks = open_dataset(tmp_path, masks=True).target(0)["masks"]
    assert masks.sum(axis=(1, 2)).tolist() == [900, 900, 900]
    (said,) = (text for text in caplog.messages if "without an outline" in text)
    assert said.endswith("2 of the 3 objects of 'train' are boxes without an outline; their masks are rectangles")


@pytest.mark.parametrize("folder", ["images", "images/train", "train/images", "train", "pics"])
def test_rows_beside_images(folder: str, tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image, f"{folder}/{{}}.png", f"{folder}/{{}}.txt")
    if folder != "pics":
        assert detect_format(root) == "yolo"
        assert len(yolo.read(root, yolo.splits(root)[0]).table.labels) == 4
    write(root / "data.yaml", f"train: {folder}\nnames: [cat, dog]\n")
    assert len(yolo.read(root, "train").table.labels) == 4
    write(root / folder.replace("images", "labels") / "b.txt", f"{BOX_ROW}\n")  # in labels/ where it is in both
    assert len(yolo.read(root, "train").table.labels) == 3


def test_images_without_rows_are_counted(tmp_path: Path, write_image: Any, caplog: pytest.LogCaptureFixture) -> None:
    root = yolo_set(tmp_path, write_image)
    write_image(root / "images/train/c.png", SIZE)
    write(root / "labels/train/d.txt", BOX_ROW)
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "saccade"):
        assert len(yolo.read(root, "train")) == 3
    assert "1 of the 3 images of 'train' have no file of rows, such as labels/train/c.txt" in caplog.text
    assert "1 files of rows of 'train' belong to no image, such as labels/train/d.txt; they are not read" in caplog.text


def test_images_whose_size_rows_need_follow_the_policy_for_images(tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image)
    write(root / "data.yaml", "train: images/train\nnames: [cat, dog]\n")
    write(root / "images/train/b.png", "no image")
    with pytest.raises(DataError, match=r"1 faulty label:\n  .*b\.png: .*not an image"):
        open_dataset(root, "train")
    kept = open_dataset(root, "train", bad_images="drop")
    assert names(kept) == ["a.png"]
    assert kept.repairs == {"dropped unreadable images": 1}


DESCRIBED = {
    "another machine": ("images/{0}", "train: /content/drive/fire/images/train\nval: /content/drive/fire/images/val\n"),
    "split first": ("{0}/images", "train: D:\\fire\\train\\images\nval: D:\\fire\\val\\images\n"),
    "other order": ("images/{0}", "train: /x/train/images\nval: /x/val/images\n"),
    "path": ("images/{0}", "path: /datasets/fire\ntrain: images/train\nval: images/val\n"),
    "up": ("{0}/images", "train: ../train/images\nval: ../val/images\n"),
    "patterns": ("images/{0}", "train: images/train/*.png\nval: /x/images/val/*\n"),
    "lists of patterns": ("images/{0}", "train: train.txt\nval: [images/val]\n"),
    "other names": ("{0}/images", "train: train/images\nvalid: val/images\n"),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_descriptions_of_another_machine(case: str, tmp_path: Path, write_image: Any) -> None:
    folder, text = DESCRIBED[case]
    for split in ("train", "val"):
        images = folder.format(split)
        yolo_set(tmp_path, write_image, f"{images}/{{}}.png", f"{images.replace('images', 'labels')}/{{}}.txt")
    write(tmp_path / "data.yaml", f"{text}test: ../test/images\nnames: [cat, dog]\n")
    write(tmp_path / "train.txt", '"/home/me/images/train/*.png"\n')
    for split in ("train", "val"):
        data = yolo.read(tmp_path, split)
        assert [Path(data.path(index)).relative_to(tmp_path).parent.as_posix() for index in range(2)] == [
            folder.format(split)
        ] * 2
        assert len(data.table.labels) == 4
    assert set(yolo.splits(tmp_path)) == {"train", "valid" if case == "other names" else "val"}


def test_names_that_end_alike_are_not_taken_for_the_same_folder(tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image, "images/{}.png", "labels/{}.txt")
    write(root / "data.yaml", "train: /x/train/images\nval: /x/valid/images\nnames: [cat, dog]\n")
    for split in ("train", "val"):
        assert split in yolo.splits(root)
        with pytest.raises(DataError, match=rf"data\.yaml: {split} is '/x/.*/images', which is not a folder"):
            yolo.read(root, split)
    write(root / "data.yaml", "train: /x/images\nnames: [cat, dog]\n")
    assert len(yolo.read(root, "train")) == 2


def test_lists_with_blanks_and_quotes(tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image, "images/my pic {}.png", "labels/my pic {}.txt")
    write(root / "train.txt", '"images/my pic a.png"\nimages/my pic b.png\n')
    write(root / "data.yaml", "train: train.txt\nnames: [cat, dog]\n")
    assert names(yolo.read(root, "train")) == ["my pic a.png", "my pic b.png"]


# ------------------------------------------------------------------------------------------------------------- VOC

XML = (
    "<annotation><filename>{0}</filename><object><name>{1}</name>"
    "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax></bndbox></object></annotation>"
)


def voc_set(root: Path, write_image: Any, ids: list[str], xml: str = "Annotations", images: str = "JPEGImages") -> Path:
    for identifier in ids:
        write_image(root / images / f"{identifier}.jpg", SIZE)
        write(root / xml / f"{identifier}.xml", XML.format(f"C:\\photos\\{identifier}.JPG", "cat"))
    return root


LISTS = {
    "blanks": (["my photo 0", "my photo 1"], "my photo 0\nmy photo 1\n", ["my photo 0", "my photo 1"]),
    "twins": (["img", "img 1", "img 0"], "img\nimg 1\nimg 0\n", ["img", "img 1", "img 0"]),
    "quotes": (["my photo 0", "b"], "\"my photo 0\"\n'b'\n", ["my photo 0", "b"]),
    "classes": (["a", "b", "c"], "a  1\nb -1\nc  0\n", ["a", "b", "c"]),
    "classes with blanks": (["my a", "b"], "my a  1\nb\t-1\n", ["my a", "b"]),
    "suffixes": (["a", "b"], "a.jpg\nb.xml\n", ["a", "b"]),
    "paths": (["a", "b"], "/home/me/JPEGImages/a.jpg\nJPEGImages\\b.jpg\n", ["a", "b"]),
    "a dot": (["a.v1", "b.v2"], "a.v1\nb.v2.jpg\n", ["a.v1", "b.v2"]),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_voc(case: str, tmp_path: Path, write_image: Any) -> None:
    ids, text, found = LISTS[case]
    root = voc_set(tmp_path, write_image, ids)
    write(root / "ImageSets/Main/train.txt", text)
    data = voc.read(root, "train")
    assert names(data) == [f"{identifier}.jpg" for identifier in found]
    assert [Path(data.annotation_path(index)).stem for index in range(len(data))] == found
    assert data.table.faults == ()


@pytest.mark.parametrize(
    ("xml", "images"),
    [
        ("annots", "images"),
        ("labels", "images"),
        ("xml", "images"),
        ("annotations/xmls", "images"),
        ("Annotations", "photos of mine"),
        ("Annotations", ""),
        ("", "images"),
        ("VOCdevkit/VOC2012/Annotations", "VOCdevkit/VOC2012/JPEGImages"),
        ("VOC2007/Annotations", "VOC2007/JPEGImages"),
        ("train/annotations", "train/images"),
    ],
)
def test_folders_of_voc(xml: str, images: str, tmp_path: Path, write_image: Any) -> None:
    root = voc_set(tmp_path, write_image, ["a", "b"], xml, images)
    assert detect_format(root) == "voc"
    data = voc.read(root, voc.splits(root)[0])
    assert names(data) == ["a.jpg", "b.jpg"]
    assert data.read(1).target["boxes"].tolist() == [[10, 5, 30, 35]]


def test_annotations_in_folders_of_splits(tmp_path: Path, write_image: Any) -> None:
    for split in ("train", "val"):
        voc_set(tmp_path, write_image, ["a", "b"], f"annotations/{split}", f"images/{split}")
    assert voc.splits(tmp_path) == ("train", "val")
    data = voc.read(tmp_path, "val")
    assert [data.table.path(index) for index in range(2)] == ["images/val/a.jpg", "images/val/b.jpg"]
    assert data.annotation_path(1) == str(tmp_path / "annotations/val/b.xml")


def test_suffixes_in_upper_case(tmp_path: Path, write_image: Any) -> None:
    root = voc_set(tmp_path, write_image, ["a"])
    for file in (root / "JPEGImages/a.jpg", root / "Annotations/a.xml"):
        file.rename(file.with_suffix(file.suffix.upper()))
    data = voc.read(root, "all")
    assert (names(data), Path(data.annotation_path(0)).name) == (["a.JPG"], "a.XML")


def test_several_sets_of_voc_in_a_folder_are_named(tmp_path: Path, write_image: Any) -> None:
    for year in ("VOC2007", "VOC2012"):
        voc_set(tmp_path / "VOCdevkit" / year, write_image, ["a"])
    assert detect_format(tmp_path) == "voc"
    with pytest.raises(DataError, match=r"several data sets in it: VOCdevkit/VOC2007, VOCdevkit/VOC2012\. Open one"):
        voc.splits(tmp_path)


def test_the_id_goes_before_a_stale_file_name(tmp_path: Path, write_image: Any) -> None:
    root = voc_set(tmp_path, write_image, ["a", "b"])
    write(root / "Annotations/a.xml", XML.format("b.jpg", "dog"))
    assert names(voc.read(root, "all")) == ["a.jpg", "b.jpg"]


# -------------------------------------------------------------------------------------------- read on after a fault


def test_three_faults_in_two_files_are_three_faults(tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image)
    write(root / "data.yaml", "train: images/train\nnames: [cat, dog]\n")
    write(root / "labels/train/a.txt", f"0 0.5 0.5 x 0.5\n{BOX_ROW}\n0.5 0.5 0.5 0.1 0.1\n")
    write(root / "labels/train/b.txt", f"{BOX_ROW}\n0 0.5\n")
    data = yolo.read(root, "train")
    assert codes_of(data) == ["labels.number", "labels.class", "labels.columns"]
    assert [Path(fault.where.partition(": ")[0]).name for fault in data.table.faults] == ["a.txt", "a.txt", "b.txt"]
    assert [fault.where.partition(": ")[2] for fault in data.table.faults] == ["line 1", "line 3", "line 2"]
    assert data.table.faults[0].message == "'x' is not a number. Correct it, or remove the line."
    assert data.table.labels.tolist() == [0, 0]
    with pytest.raises(
        DataError, match=r"3 faulty labels:\n  .*a\.txt: line 1: .*\n.*a\.txt: line 3: .*\n.*b\.txt: line 2: "
    ):
        open_dataset(root, "train")
    kept = open_dataset(root, "train", bad_labels="drop")
    assert len(kept) == 2
    assert kept.repairs == {"left out labels.number": 1, "left out labels.class": 1, "left out labels.columns": 1}


def test_a_broken_annotation_leaves_its_image_out(tmp_path: Path, write_image: Any) -> None:
    """An image whose annotation cannot be read is not one without objects."""
    root = voc_set(tmp_path, write_image, ["a", "b", "c"])
    write(root / "Annotations/b.xml", "<annotation><object>")
    write(root / "ImageSets/Main/train.txt", "a\nb\nc\nd\n")
    data = voc.read(root, "train")
    assert names(data) == ["a.jpg", "c.jpg"]
    assert codes_of(data) == ["labels.unreadable", "labels.missing"]
    assert [Path(data.annotation_path(index)).name for index in range(2)] == ["a.xml", "c.xml"]
    write(tmp_path / "lm/0.json", {"shapes": []})
    write(tmp_path / "lm/1.json", {"shapes": 3})
    assert codes_of(labelme.read(tmp_path / "lm", "all")) == ["json.field"]


def test_one_bad_object_leaves_the_others(tmp_path: Path, write_image: Any) -> None:
    for folder in ("coco", "csv", "cvat", "voc", "lm"):
        write_image(tmp_path / folder / "0.png", SIZE)
    values = coco_file()
    values["annotations"] += [{**OBJECT, "bbox": "x"}, {**OBJECT, "image_id": 7}, {**OBJECT, "bbox": [1, 2, 3, 4]}]
    write(tmp_path / "coco/a.json", values)
    data = coco.read(tmp_path / "coco", "all")
    assert (codes_of(data), len(data.table.labels)) == (["json.field", "labels.image"], 2)
    write(
        tmp_path / "csv/a.csv",
        "file,x1,y1,x2,y2,label\n0.png,1,1,9,9,cat\n0.png,1,1,9,x,cat\n0.png,1\n0.png,1,1,9,9,\n",
    )
    data = csv.read(tmp_path / "csv", "all")
    assert (codes_of(data), len(data.table.labels)) == (["labels.number", "labels.columns", "labels.class"], 1)
    boxes = "".join(f'<box label="cat" xtl="{x}" ytl="5" xbr="30" ybr="35"/>' for x in ("1", "x", "2"))
    write(tmp_path / "cvat/a.xml", f'<annotations><image name="0.png">{boxes}</image></annotations>')
    data = cvat.read(tmp_path / "cvat", "all")
    assert (codes_of(data), len(data.table.labels)) == (["labels.number"], 2)
    good = XML.format("0.png", "cat")
    found = re.search("<object>.*</object>", good)
    assert found is not None
    write(tmp_path / "voc/0.xml", good.replace("<object>", found[0].replace("6</ymin>", "x</ymin>") + "<object>"))
    data = voc.read(tmp_path / "voc", "all")
    assert (codes_of(data), len(data.table.labels)) == (["labels.number"], 1)
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [30, 35]]}
    write(tmp_path / "lm/0.json", {"shapes": [shape, {**shape, "points": 3}, shape], "imagePath": "0.png"})
    data = labelme.read(tmp_path / "lm", "all")
    assert (codes_of(data), len(data.table.labels)) == (["json.field"], 2)


@pytest.mark.parametrize("reader", [coco, csv, cvat, labelme, voc, yolo], ids=lambda reader: reader.__name__[21:])
def test_a_folder_without_annotations_says_what_was_looked_for(reader: Any, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/0.png", SIZE)
    said = faults_of(reader.read, tmp_path, "train")
    assert str(tmp_path) in said
    assert re.search(r"there (is|are) no", said)


def test_a_million_classes_are_refused(tmp_path: Path, write_image: Any) -> None:
    root = yolo_set(tmp_path, write_image)
    write(root / "data.yaml", "train: images/train\nnc: 999999\n")
    with pytest.raises(DataError, match=r"data\.yaml: nc: there are 999,999 classes, more than the 100,000"):
        yolo.read(root, "train")
    (root / "data.yaml").unlink()
    write(root / "labels/train/a.txt", "987654321 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=r"a\.txt: the highest class id: there are 987,654,322 classes"):
        yolo.read(root, "train")
    write(root / "classes.txt", "\n".join(map(str, range(100_001))))
    with pytest.raises(DataError, match=r"classes\.txt: class names: there are 100,001 classes"):
        yolo.read(root, "train")
    write(tmp_path / "csv/a.csv", "file,label\n" + "".join(f"{number}.png,{number}\n" for number in range(100_001)))
    with pytest.raises(DataError, match=r"a\.csv: the column of classes: there are 100,001 classes"):
        csv.read(tmp_path / "csv", "all")


def test_annotations_that_are_no_regular_files_are_not_opened(tmp_path: Path, write_image: Any) -> None:
    for folder, file in (("coco", "annotations/instances_train.json"), ("voc", "Annotations/a.xml"), ("csv", "a.csv")):
        write_image(tmp_path / folder / "a.png", SIZE)
        (tmp_path / folder / file).parent.mkdir(exist_ok=True)
        (tmp_path / folder / file).symlink_to("/dev/zero")
    assert "there is no" in faults_of(coco.read, tmp_path / "coco", "train")
    assert "there are no XML files" in faults_of(voc.read, tmp_path / "voc", "all")
    assert "there is no table" in faults_of(csv.read, tmp_path / "csv", "all")


def test_check_names_every_fault_by_its_code(tmp_path: Path, write_image: Any) -> None:
    for split in ("train", "val"):
        yolo_set(tmp_path, write_image, f"images/{split}/{{}}.png", f"labels/{split}/{{}}.txt")
    write(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog]\n")
    write(tmp_path / "labels/train/a.txt", f"0 0.5 0.5 x 0.5\n{BOX_ROW}\n0 0.5\n")
    write(tmp_path / "labels/val/b.txt", "half 0.5 0.5 0.1 0.1\n")
    report = check_source(tmp_path)
    found = [(issue.code, Path(issue.file).name, issue.field) for issue in report.issues if "labels." in issue.code]
    assert sorted(found) == [
        ("labels.columns", "a.txt", "line 3"),
        ("labels.number", "a.txt", "line 1"),
        ("labels.number", "b.txt", "line 1"),
    ]
    assert not report.ok


def test_check_names_a_split_that_is_not_there(tmp_path: Path, write_image: Any) -> None:
    yolo_set(tmp_path, write_image)
    write(tmp_path / "data.yaml", "train: images/train\nval: /content/fire/valid/images\nnames: [cat, dog]\n")
    report = check_source(tmp_path)
    assert not report.ok
    assert any("val is '/content/fire/valid/images'" in str(issue) for issue in report.issues)


def test_other_formats_beside_labelme_are_passed_over(tmp_path: Path, write_image: Any) -> None:
    """As where labelme's own script wrote COCO's file."""
    write_image(tmp_path / "train/0.png", SIZE)
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [30, 35]]}
    write(tmp_path / "train/0.json", {"shapes": [shape], "imagePath": "0.png"})
    write(tmp_path / "train/coco/annotations.json", coco_file())
    data = labelme.read(tmp_path, "train")
    assert names(data) == ["0.png"]
    assert data.table.faults == ()
