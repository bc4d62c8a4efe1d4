"""YOLO's rows in all their layouts, whole and hostile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from tests.data.faults import faults_of

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, yolo
from saccade.errors import DataError

SIZE = (40, 60)
CORNERS = ("xmin", "ymin", "xmax", "ymax")
YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def write_rows(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    """Two splits with a description; images are 40 x 60; the second of ``train`` has no file of rows."""
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write_image(tmp_path / "images" / name, SIZE)
    write_rows(tmp_path / "labels" / "train" / "a.txt", "1 0.5 0.5 0.5 0.25", "0 0.1 0.2 0.1 0.1")
    write_rows(tmp_path / "labels" / "val" / "c.txt", "")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def paths(data: Any) -> list[str]:
    return [Path(data.path(index)).name for index in range(len(data))]


def test_shares_become_pixels_of_the_image(root: Path) -> None:
    data = yolo.read(root, "train")
    assert detect_format(root) == "yolo"
    assert yolo.splits(root) == ("train", "val")
    assert data.info.class_names == ("cat", "dog")
    target = data.target(0)
    assert target["labels"].tolist() == [1, 0]
    assert np.allclose(target["boxes"], [[15, 15, 45, 25], [3, 6, 9, 10]], atol=1e-9)
    assert np.allclose(target["area"], [300, 24], atol=1e-9)
    assert data.table.sizes.tolist() == [[40, 60], [40, 60]]
    assert data.read(0).image.shape == (40, 60, 3)
    assert data.annotation_path(0) == str(root / "labels/train/a.txt")


def test_images_without_rows_are_data(root: Path) -> None:
    train, val = yolo.read(root, "train"), yolo.read(root, "val")
    assert paths(train) == ["a.png", "b.png"]
    assert train.target(1)["boxes"].shape == (0, 4)
    assert val.target(0)["boxes"].shape == (0, 4)
    assert val.annotation_path(0) == str(root / "labels/val/c.txt")


def test_sizes_are_those_of_the_upright_image(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: stored 60 wide and 40 high, seen 40 wide and 60 high
    Image.new("RGB", (60, 40)).save(root / "images/val/c.jpg", exif=exif)
    (root / "images/val/c.png").unlink()
    write_rows(root / "labels/val/c.txt", "0 0.5 0.5 1 1")
    data = yolo.read(root, "val")
    assert data.read(0).image.shape == (60, 40, 3)
    assert data.target(0)["boxes"].tolist() == [[0, 0, 40, 60]]
    assert data.table.sizes.tolist() == [[60, 40]]


def test_polygons_have_box_area_and_mask(root: Path) -> None:
    write_rows(root / "labels/train/a.txt", "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75", "0 0.5 0.5 0.1 0.1")
    data = yolo.read(root, "train", masks=True)
    target = data.target(0)
    assert target["boxes"][0].tolist() == [15, 10, 45, 30]
    assert target["area"][0] == 600
    assert target["masks"][0].sum() == 600
    assert target["masks"][0, 10:30, 15:45].all()
    assert target["masks"][1].sum() == 24  # of a box, its rectangle
    assert data.table.outlines is not None
    assert data.table.outlines.has_rings().tolist() == [True, True]
    outlines = yolo.read(root, "train").table.outlines
    assert outlines is not None
    assert outlines.has_rings().tolist() == [True, False]  # a box stays a box where no masks are asked for


def test_label_map_paints_small_over_large(root: Path) -> None:
    write_rows(root / "labels/train/a.txt", "1 .25 .25 .75 .25 .75 .75 .25 .75", "0 0 0 1 0 1 1 0 1")
    data = yolo.read(root, "train", task="segmentation")
    assert data.info.class_names == ("background", "cat", "dog")
    label_map = data.target(0)["label_map"]
    assert (label_map == 2).sum() == 600
    assert (label_map == 1).sum() == 1800
    assert not data.target(1)["label_map"].any()


@pytest.mark.parametrize("values", [2, 3])
def test_keypoints(root: Path, values: int) -> None:
    more = f"kpt_shape: [3, {values}]\nflip_idx: [0, 2, 1]\nkpt_names: {{0: [nose, left, right]}}\n"
    (root / "data.yaml").write_text(YAML + more)
    points = "0.5 0.25 0.1 0.1 0 0" if values == 2 else "0.5 0.25 1 0.1 0.1 2 0 0 0"
    write_rows(root / "labels/train/a.txt", f"0 0.5 0.5 0.5 0.5 {points}", "1 0.5 0.5 1 1")
    data = yolo.read(root, "train")
    assert data.info.task == "keypoints"
    assert data.info.class_names == ("nose", "left", "right")
    assert data.info.flip_pairs == ((1, 2),)
    first = 2 if values == 2 else 1
    expected = np.array([[[30, 10, first], [6, 4, 2], [0, 0, 0]], np.zeros((3, 3))], np.float32)
    assert np.allclose(data.target(0)["keypoints"], expected, atol=1e-5)
    boxes = yolo.read(root, "train", task="detection").target(0)
    assert boxes["boxes"].tolist() == [[15, 10, 45, 30], [0, 0, 60, 40]]
    assert boxes["labels"].tolist() == [0, 1]


def test_unknown_ids_are_kept_as_unknown(root: Path) -> None:
    write_rows(root / "labels/train/a.txt", "2 0.5 0.5 0.1 0.1", "1.0 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1")
    data = yolo.read(root, "train")
    assert data.target(0)["labels"].tolist() == [-1, 1, -2]
    assert data.table.unknown_classes == ("class_id 2", "class_id -1")
    with pytest.raises(DataError, match=r"2 faulty labels:\n  .*a\.txt: object 0 \(class_id 2\)"):
        open_dataset(root, "train")


def test_faulty_boxes_are_kept_for_the_checker(root: Path) -> None:
    write_rows(root / "labels/train/a.txt", "0 nan 0.5 0.1 0.1", "0 0.5 0.5 -0.1 0.1", "0 30 20 10 10")
    boxes = yolo.read(root, "train").target(0)["boxes"]
    assert np.isnan(boxes[0, 0])
    assert boxes[1, 2] < boxes[1, 0]
    assert boxes[2, 2] > 60
    write_rows(root / "labels/train/a.txt", "0 inf 0.5 1e308 1e308", "0 inf 0 1e300 -1e300 nan 1")
    assert not np.isfinite(yolo.read(root, "train").target(0)["boxes"]).all(axis=1).any()


BAD_ROWS = {
    "cat 0.5 0.5 0.1 0.1": "'cat' is not a number",
    "0.5 0.5 0.5 0.1 0.1": r"the class is 0\.5, not a whole number",
    "nan 0.5 0.5 0.1 0.1": "the class is nan",
    "1e999 0.5 0.5 0.1 0.1": "the class is inf",
    "0 0.5 0.5 0.1": "there are 3 numbers behind the class, a box has 4",
    "0 0.5 0.5 0.1 0.1 0.9": "confidence of a prediction",
    "0 0.5 0.5 0.1 0.1 0.9 0.8 0.7": "there are 7 numbers",
    "0": "there are 0 numbers",
    "\x00\x01 0.5": r"'\\x00\\x01' is not a number",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_malformed_rows_name_file_and_line(root: Path, row: str) -> None:
    write_rows(root / "labels/train/a.txt", "0 0.5 0.5 0.1 0.1", "", row)
    assert re.search(rf"a\.txt: line 3: .*{BAD_ROWS[row]}", faults_of(yolo.read, root, "train"))


def test_rows_that_are_no_text_are_named(root: Path) -> None:
    (root / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00\x01 0.5")
    assert re.search(r"a\.txt: line 1: ", faults_of(yolo.read, root, "train"))


def test_rows_must_fit_the_shape_of_the_keypoints(root: Path) -> None:
    (root / "data.yaml").write_text(YAML + "kpt_shape: [2, 3]\n")
    write_rows(root / "labels/train/a.txt", "0 0.5 0.5 0.1 0.1 0.5 0.5 2")
    assert re.search(
        r"a\.txt: line 1: there are 7 numbers behind the class, but kpt_shape asks for 10",
        faults_of(yolo.read, root, "train"),
    )


def test_a_broken_image_with_objects_is_named(root: Path) -> None:
    (root / "images/train/b.png").write_bytes(b"no image")
    assert len(yolo.read(root, "train")) == 2  # it has no rows that would need its size
    (root / "images/train/a.png").write_bytes(b"no image")
    assert re.search(r"a\.png: this is not an image", faults_of(yolo.read, root, "train"))


LAYOUTS = {
    "names as a table": "train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n",
    "lists of folders": "train: [images/train]\nval:\n  - images/val\nnames: [cat, dog]\nnc: 2\n",
    "own path": "path: .\ntrain: ./images/train\nval: images/val/\nnames: [cat, dog]\n",
    "the tool's folder": "path: ../datasets/moved\ntrain: images/train\nval: images/val\ntest:\nnames: [cat, dog]\n",
    "path of another machine": "path: /content/moved\ntrain: images/train\nval: images\\val\nnames: [cat, dog]\n",
    "roboflow": "train: ../images/train\nval: ../images/val\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n",
    "lists of images": "train: train.txt\nval: lists/val.txt\nnames: [cat, dog]\n",
    "not needed": "path: ''\ntrain: images/train\nval: images/val\ndownload: http://x.org/x.zip\nnames: [cat, dog]\n",
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_descriptions(root: Path, case: str) -> None:
    (root / "data.yaml").write_text(LAYOUTS[case])
    write_rows(
        root / "train.txt", "./images/train/a.png", "", "/home/me/set/images/train/b.png"[len("/home/me/set/") :]
    )
    write_rows(root / "lists/val.txt", "../images/val/c.png")
    assert yolo.splits(root) == ("train", "val")
    assert paths(yolo.read(root, "train")) == ["a.png", "b.png"]
    assert yolo.read(root, "train").target(0)["labels"].tolist() == [1, 0]
    assert paths(yolo.read(root, "val")) == ["c.png"]


def test_lists_of_another_machine(root: Path) -> None:
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    write_rows(root / "train.txt", "/home/me/set/images/train/a.png", "/home/me/set/images/train/b.png")
    data = yolo.read(root, "train")
    assert paths(data) == ["a.png", "b.png"]
    assert len(data.target(0)["boxes"]) == 2
    write_rows(root / "train.txt", "C:\\set\\images\\train\\a.png")
    assert paths(yolo.read(root, "train")) == ["a.png"]


def test_a_description_in_a_folder_of_its_own_name(root: Path) -> None:
    (root / "data.yaml").write_text(f"path: ../{root.name}\ntrain: images/train\nnames: [cat, dog]\n")
    assert len(yolo.read(root, "train")) == 2


def test_names_are_text_and_ids_may_have_gaps(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nnames:\n  7: no\n  1: 2\n")
    data = yolo.read(root, "train")
    assert data.info.class_names == ("2", "no")
    assert data.target(0)["labels"].tolist() == [0, -1]
    write_rows(root / "labels/train/a.txt", "7 0.5 0.5 0.1 0.1")
    assert yolo.read(root, "train").target(0)["labels"].tolist() == [1]


def test_class_names_may_be_given(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nnc: 3\n")
    assert yolo.read(root, "train").info.class_names == ("class_0", "class_1", "class_2")
    assert yolo.read(root, "train", class_names=["x", "y"]).info.class_names == ("x", "y")


HOSTILE = ["../../elsewhere", "/etc", "images/../../elsewhere", "..\\..\\elsewhere", "C:\\elsewhere", "~/elsewhere"]


@pytest.mark.parametrize("entry", HOSTILE)
def test_descriptions_may_not_leave_the_folder(root: Path, write_image: Any, entry: str) -> None:
    write_image(root.parent / "elsewhere" / "secret.png")
    write_image(root.parent.parent / "elsewhere" / "secret.png")
    (root / "data.yaml").write_text(f"train: {entry}\nval: images/val\nnames: [cat]\n")
    assert yolo.splits(root) == ("val", "train")
    with pytest.raises(DataError, match=r"data\.yaml: train is .* not a folder or list inside the data folder"):
        yolo.read(root, "train")
    (root / "data.yaml").write_text(f"path: {entry}\ntrain: '.'\nnames: [cat]\n")
    assert "secret.png" not in paths(yolo.read(root, "train"))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "images/train/../../../secret.png", "missing.png"])
def test_lists_may_not_leave_the_folder(root: Path, write_image: Any, name: str) -> None:
    write_image(root.parent / "secret.png")
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    write_rows(root / "train.txt", "images/train/a.png", name)
    assert re.search(
        r"train\.txt: line 2: it is .*, which is not a file inside the data folder", faults_of(yolo.read, root, "train")
    )


BAD_YAML = {
    "names: [cat, cat]": "two classes or points are called 'cat'",
    "names: {0: cat, 1: cat}": "two classes or points are called 'cat'",
    "names: {a: cat}": "names: 'a' is not a whole number",
    "names: 3": "names is not a list of names",
    "names: [[a], b]": "names is not a list of names",
    "nc: many": "nc: 'many' is not a whole number",
    "nc: 3\nnames: [cat, dog]": "nc is 3, but there are 2 names",
    "names: [cat, dog]\nkpt_shape: [2, 4]": "kpt_shape is",
    "names: [cat, dog]\nkpt_shape: 3": "kpt_shape is",
    "names: [cat, dog]\nkpt_shape: [2, 3]\nflip_idx: [1, 2]": "flip_idx does not exchange",
    "names: [cat, dog]\nkpt_shape: [2, 3]\nkpt_names: [a]": "kpt_names has 1 names",
    "names: [cat": "this is not valid YAML",
    "names: &a [*a, *a]": "this is not valid YAML",
    "names: [&a [x, y], &b [*a, *a], [*b, *b]]": "names is not a list of names",
}


@pytest.mark.parametrize("text", BAD_YAML)
def test_malformed_descriptions_are_named(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(f"train: images/train\n{text}\n")
    with pytest.raises(DataError, match=rf"data\.yaml: .*{BAD_YAML[text]}"):
        yolo.read(root, "train")


def test_missing_splits_are_named(root: Path) -> None:
    with pytest.raises(DataError, match="there is no split 'test'; it has: train, val"):
        yolo.read(root, "test")
    for file in (root / "images/val").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="split 'val' has no images"):
        yolo.read(root, "val")


def darknet(root: Path, prefix: str = "data/") -> None:
    write_rows(root / "obj_train_data/a.txt", "1 0.5 0.5 0.5 0.5")
    write_rows(root / "train.txt", f"{prefix}obj_train_data/a.png", f"{prefix}obj_train_data/b.png")
    write_rows(root / "obj.names", "cat", "dog")
    write_rows(root / "obj.data", "classes = 2", "train = data/train.txt", "names = data/obj.names", "backup = backup/")


@pytest.mark.parametrize("prefix", ["data/", "", "/home/me/darknet/data/"])
def test_darknet(tmp_path: Path, write_image: Any, prefix: str) -> None:
    darknet(tmp_path, prefix)
    for name in ("a", "b"):
        write_image(tmp_path / f"obj_train_data/{name}.png", SIZE)
    assert detect_format(tmp_path) == "yolo"
    assert yolo.splits(tmp_path) == ("train",)
    data = yolo.read(tmp_path, "train")
    assert data.info.class_names == ("cat", "dog")
    assert data.target(0)["boxes"].tolist() == [[15, 10, 45, 30]]
    assert data.annotation_path(0) == str(tmp_path / "obj_train_data/a.txt")
    assert data.target(1)["boxes"].shape == (0, 4)
    (tmp_path / "obj.data").unlink()
    assert yolo.read(tmp_path, "train").info.class_names == ("cat", "dog")


def test_darknet_with_images_elsewhere(tmp_path: Path, write_image: Any) -> None:
    darknet(tmp_path / "rows")
    for name in ("a", "b"):
        write_image(tmp_path / f"images/{name}.png", SIZE)
    data = yolo.read(tmp_path / "rows", "train", images="../images")
    assert data.target(0)["boxes"].tolist() == [[15, 10, 45, 30]]
    assert data.read(1).image.shape == (40, 60, 3)
    assert data.annotation_path(0) == str(tmp_path / "rows/obj_train_data/a.txt")
    with pytest.raises(DataError, match=r"train\.txt: line 1: it is 'data/obj_train_data/a\.png', which is not a file"):
        yolo.read(tmp_path / "rows", "train")


def test_darknet_names_that_are_missing(tmp_path: Path) -> None:
    write_rows(tmp_path / "obj.data", "train = train.txt", "names = ../../names.txt")
    with pytest.raises(DataError, match=r"obj\.data: names is '\.\./\.\./names\.txt', which is not a file inside"):
        yolo.read(tmp_path, "train")


def test_bare_folders(tmp_path: Path, write_image: Any) -> None:
    for number in range(1, 11):
        write_image(tmp_path / f"images/{number}.png", SIZE)
        write_rows(tmp_path / f"labels/{number}.txt", "1 0.5 0.5 0.5 0.5")
    write_rows(tmp_path / "classes.txt", "cat", "dog", "")
    assert detect_format(tmp_path) == "yolo"
    assert yolo.splits(tmp_path) == ("all",)
    assert paths(yolo.read(tmp_path, "all")) == [f"{number}.png" for number in range(1, 11)]
    assert yolo.read(tmp_path, "all").info.class_names == ("cat", "dog")
    (tmp_path / "classes.txt").rename(tmp_path / "labels/classes.txt")
    assert yolo.read(tmp_path, "all").info.class_names == ("cat", "dog")
    (tmp_path / "labels/classes.txt").unlink()
    assert yolo.read(tmp_path, "all").info.class_names == ("class_0", "class_1")


def test_bare_folders_by_split(root: Path, write_image: Any) -> None:
    (root / "data.yaml").unlink()
    assert yolo.splits(root) == ("train", "val")
    assert yolo.read(root, "val").info.class_names == ("class_0", "class_1")
    for split in ("train", "val"):
        (root / split).mkdir()
        (root / "images" / split).rename(root / split / "images")
        (root / "labels" / split).rename(root / split / "labels")
    assert detect_format(root) == "yolo"
    assert yolo.splits(root) == ("train", "val")
    assert yolo.read(root, "train").target(0)["labels"].tolist() == [1, 0]


def test_rows_beside_images(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "a.png", SIZE)
    write_rows(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5")
    write_rows(tmp_path / "classes.txt", "cat")
    assert detect_format(tmp_path) == "yolo"
    assert yolo.read(tmp_path, "all").target(0)["boxes"].tolist() == [[15, 10, 45, 30]]


def test_bare_rows_with_images_elsewhere(tmp_path: Path, write_image: Any) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"images/{name}.png", SIZE)
    write_rows(tmp_path / "rows/labels/a.txt", "0 0.5 0.5 0.5 0.5")
    write_rows(tmp_path / "rows/classes.txt", "cat")
    data = yolo.read(tmp_path / "rows", "all", images=str(tmp_path / "images"))
    assert paths(data) == ["a.png"]
    assert data.target(0)["boxes"].tolist() == [[15, 10, 45, 30]]


def test_other_folders_are_not_taken_for_yolo(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/a.png")
    write_image(tmp_path / "labels/a.png", channels=1)
    assert not yolo.matches(tmp_path)
    write_rows(tmp_path / "train.txt", "a.png")
    write_rows(tmp_path / "saccade.yaml", "names: x", "train: y")
    assert not yolo.matches(tmp_path)
    with pytest.raises(DataError, match=r"there is no data\.yaml, no obj\.data, and no images/ beside labels/"):
        yolo.read(tmp_path, "train")


@pytest.mark.data("voc100_multiformat")
def test_voc100_equals_its_voc_files(data_root: Path) -> None:
    """The same ground truth in two formats; the rows have six digits and take VOC's numbers as they are."""
    root = data_root / "voc100_multiformat"
    data = yolo.read(root / "gts/yolo_format", "train", images="../../images")
    assert len(data) == 100
    assert len(data.table.labels) == 273
    for index in range(len(data)):
        tree = ElementTree.parse(root / "gts/pascalvoc_format" / f"{Path(data.path(index)).stem}.xml")
        expected = sorted(
            (str(item.findtext("name")), *(float(str(item.findtext(f"bndbox/{key}"))) for key in CORNERS))
            for item in tree.findall("object")
        )
        target = data.target(index)
        names = [data.info.class_names[label] for label in target["labels"]]
        found = sorted((name, *np.round(box, 1).tolist()) for name, box in zip(names, target["boxes"], strict=True))
        assert [row[0] for row in found] == [row[0] for row in expected]
        assert np.allclose([row[1:] for row in found], [row[1:] for row in expected], atol=0.11)
