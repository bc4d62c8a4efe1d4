"""Images named by another machine: found by the last parts of the name, once said, never guessed, never outside."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.data.faults import codes_of

from saccade.data.check.run import check_source
from saccade.data.notices import say_once
from saccade.data.open import open_raw
from saccade.data.readers import coco, csv, cvat, labelme, openimages, via, voc, yolo
from saccade.data.readers._common import list_files, list_images, split_of_file, subfolders, unread_files
from saccade.data.readers._find_images import ImageFinder, match_pattern, usual_folders

SIZE = (40, 60)


def finder(root: Path, split: str = "train") -> ImageFinder:
    return ImageFinder(root, root / "boxes.json", usual_folders(split), split)


WRITTEN = [
    "images/my pic.jpg",
    "my pic.jpg",
    "./images/my pic.jpg",
    "images\\my pic.jpg",
    "images/my%20pic.jpg",
    "../../media/upload/4/my pic.jpg",
    "/content/drive/images/my pic.jpg",
    "D:\\photos\\my pic.jpg",
    "D:my pic.jpg",
    "\\\\server\\share\\my pic.jpg",
    "https://example.org/data/my%20pic.jpg?size=full#top",
    "file:///home/me/my%20pic.jpg",
    '"images/my pic.jpg"',
    "IMAGES/MY PIC.JPG",
    "my pic.png",
    "/other/my pic.heic",
]


@pytest.mark.parametrize("name", WRITTEN)
def test_one_image_by_many_names(name: str, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/my pic.jpg", SIZE)
    assert finder(tmp_path).find([name]) == ["images/my pic.jpg"]


def test_the_longest_row_of_last_parts_decides(tmp_path: Path, write_image: Any) -> None:
    for folder in ("a/day", "b/day", "b/night"):
        write_image(tmp_path / folder / "0.jpg", SIZE)
    names = ["/x/a/day/0.jpg", "/x/b/day/0.jpg", "C:\\b\\night\\0.jpg"]
    assert finder(tmp_path).find(names) == ["a/day/0.jpg", "b/day/0.jpg", "b/night/0.jpg"]
    assert finder(tmp_path).find(["/x/c/day/0.jpg"]) == [None]  # two fit equally well
    assert finder(tmp_path).find(["0.jpg"]) == ["train/0.jpg"]  # the name by which it is reported as missing


def test_two_names_never_share_an_image(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/0.jpg", SIZE)
    assert finder(tmp_path).find(["/a/0.jpg", "/b/0.jpg"]) == [None, None]
    assert finder(tmp_path).find(["images/0.jpg", "/b/0.jpg"]) == ["images/0.jpg", None]
    assert finder(tmp_path).find(["/a/0.jpg", "/a/0.jpg"]) == ["images/0.jpg"] * 2


@pytest.mark.parametrize("other", ["val/5.jpg", "images/valid/5.jpg", "test2017/5.jpg", "masks/5.png", "gt/5.png"])
def test_images_of_other_splits_and_label_maps_are_not_taken(other: str, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "train/4.jpg", SIZE)
    write_image(tmp_path / other, SIZE)
    assert finder(tmp_path).find(["4.jpg", "5.jpg"]) == ["train/4.jpg", "train/5.jpg"]
    assert finder(tmp_path).find(["/x/5.jpg"]) == [None]


def test_the_folder_is_that_of_most_images(tmp_path: Path, write_image: Any) -> None:
    """The first image is missing, or lies in another folder by chance."""
    for number in range(1, 5):
        write_image(tmp_path / f"images/{number}.jpg", SIZE)
    names = [f"{number}.jpg" for number in range(5)]
    assert finder(tmp_path).find(names) == [f"images/{name}" for name in names]
    write_image(tmp_path / "train/1.jpg", SIZE)  # a stray copy
    assert finder(tmp_path).find(names)[1] == "images/1.jpg"


def test_nothing_outside_is_found(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "secret.jpg", SIZE)
    root = tmp_path / "data"
    write_image(root / "a.jpg", SIZE)
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "x/../../secret.jpg", "a\0.jpg", "", "\ud800.jpg"]
    found = finder(root).find(names)
    assert all(name is None or not (root / name).exists() for name in found)


def test_what_was_found_otherwise_is_said_once(
    tmp_path: Path, write_image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        write_image(tmp_path / f"images/{number}.jpg", SIZE)
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "saccade"):
        for _ in range(2):
            finder(tmp_path).find(["images/0.jpg", "/x/1.jpg", "C:\\2\x1b.jpg", "C:\\2.jpg"])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert r"1 of 4 images are not there, such as 'C:\2\x1b.jpg'; looked below" in messages[1]
    assert (
        "2 of 4 images were found by the last parts of their names, such as 'images/1.jpg' for '/x/1.jpg'"
        in messages[0]
    )


def test_patterns() -> None:
    names = ["images/train/a.jpg", "images/train/b1.png", "images/val/c.jpg"]
    assert match_pattern(names, "images/train/*.jpg") == names[:1]
    assert match_pattern(names, "/x/data/images/train/*") == names[:2]
    assert match_pattern(names, "images/*/?.jpg") == [names[0], names[2]]
    assert match_pattern(names, "images/**/*.png") == [names[1]]
    assert match_pattern(names, "b[0-3].png") == []
    assert match_pattern(names, "images/*/b[0-3].png") == [names[1]]
    assert match_pattern(names, "**/*.jpg") == [names[0], names[2]]
    assert match_pattern(names, "images/t*") == names[:2]
    assert match_pattern(["a" * 200] * 3, "*a" * 100 + "b") == []  # not tried: it would take for ever
    assert match_pattern(names, "images/[z-a].jpg") == []


# ------------------------------------------------------------------------------------------ every reader with boxes

BOX = {"x1": 10, "y1": 5, "x2": 30, "y2": 35}


def as_coco(root: Path, names: list[str]) -> Any:
    (root / "result.json").write_text(
        json.dumps(
            {
                "images": [{"id": n, "file_name": name, "height": 40, "width": 60} for n, name in enumerate(names)],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [{"image_id": n, "category_id": 1, "bbox": [10, 5, 20, 30]} for n in range(len(names))],
            }
        )
    )
    return coco.read(root, "all")


def as_csv(root: Path, names: list[str]) -> Any:
    rows = "".join(f'"{name}",10,5,30,35,cat\n' for name in names)
    (root / "boxes.csv").write_text("file,x1,y1,x2,y2,label\n" + rows)
    return csv.read(root, "all")


def as_cvat(root: Path, names: list[str]) -> Any:
    box = '<box label="cat" xtl="10" ytl="5" xbr="30" ybr="35"/>'
    rows = "".join(
        f'<image id="{n}" name="{name}" width="60" height="40">{box}</image>' for n, name in enumerate(names)
    )
    (root / "annotations.xml").write_text(f"<annotations>{rows}</annotations>")
    return cvat.read(root, "all")


def as_voc(root: Path, names: list[str]) -> Any:
    (root / "Annotations").mkdir(exist_ok=True)
    box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax></bndbox>"
    for n, name in enumerate(names):
        (root / f"Annotations/id_{n}.xml").write_text(
            f"<annotation><filename>{name}</filename><object><name>cat</name>{box}</object></annotation>"
        )
    return voc.read(root, "all")


def as_labelme(root: Path, names: list[str]) -> Any:
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [30, 35]]}
    for n, name in enumerate(names):
        (root / f"id_{n}.json").write_text(json.dumps({"shapes": [shape], "imagePath": name}))
    return labelme.read(root, "all")


def as_via(root: Path, names: list[str]) -> Any:
    shape = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 30}
    regions = [{"shape_attributes": shape, "region_attributes": {"label": "cat"}}]
    (root / "via.json").write_text(json.dumps({f"{n}9": {"filename": n, "regions": regions} for n in names}))
    return via.read(root, "all")


def as_openimages(root: Path, names: list[str]) -> Any:
    rows = "".join(f"{name},cat,{10 / 60!r},0.5,0.125,0.875\n" for name in names)
    (root / "boxes.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + rows)
    return openimages.read(root, "all")


def as_yolo(root: Path, names: list[str]) -> Any:
    (root / "train.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    for image in list_images(root, recursive=True):
        label = root / image.replace("images/", "labels/").replace(".jpg", ".txt")
        label.parent.mkdir(exist_ok=True, parents=True)
        label.write_text(f"0 {20 / 60!r} 0.5 {20 / 60!r} 0.75\n")
    return yolo.read(root, "train")


FORMATS = [as_coco, as_csv, as_cvat, as_voc, as_labelme, as_via, as_openimages, as_yolo]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__[3:])
def test_every_format_finds_images_of_another_machine(write: Any, tmp_path: Path, write_image: Any) -> None:
    for name in ("my pic 0", "my pic 1"):
        write_image(tmp_path / f"images/a/{name}.jpg", SIZE)
    data = write(tmp_path, ["../../upload/my%20pic%200.jpg", "D:\\upload\\my pic 1.jpg"])
    assert [data.table.path(index) for index in range(2)] == [f"images/a/my pic {n}.jpg" for n in range(2)]
    assert data.target(1)["boxes"].round(9).tolist() == [[10, 5, 30, 35]]
    assert data.info.class_names == ("cat",)
    assert data.table.faults == ()
    assert data.read(0).image.shape == (40, 60, 3)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__[3:])
def test_a_name_that_leads_nowhere_is_a_fault_and_the_rest_is_read(
    write: Any, tmp_path: Path, write_image: Any
) -> None:
    for name in ("good", "fine"):
        write_image(tmp_path / f"images/{name}.jpg", SIZE)
    data = write(tmp_path, ["images/good.jpg", "../../etc/passwd.jpg", "images/fine.jpg"])
    assert [data.table.path(index) for index in range(len(data))] == ["images/good.jpg", "images/fine.jpg"]
    assert codes_of(data) == ["image.missing" if write is as_yolo else "labels.image"]
    assert "passwd.jpg', which is not a file inside the data folder" in str(data.table.faults[0])
    assert data.target(1)["boxes"].round(9).tolist() == [[10, 5, 30, 35]]


# -------------------------------------------------------------------------------------------- hidden and unread files

HIDDEN = ["._a.jpg", ".hidden/b.jpg", "__MACOSX/c.jpg", "x/@eaDir/d.jpg", ".ipynb_checkpoints/e.jpg", "x/Thumbs.db"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path, write_image: Any) -> None:
    for name in (*HIDDEN, "x/y.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path, recursive=True) == ["x/y.jpg", "z.jpg"]
    assert list_images(tmp_path) == ["z.jpg"]
    assert list_files(tmp_path, [".db", ".jpg"]) == ["x/y.jpg", "z.jpg"]
    assert subfolders(tmp_path) == ["x"]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__[3:])
def test_every_format_passes_over_hidden_files(write: Any, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images/0.jpg", SIZE)
    write(tmp_path, ["images/0.jpg"])
    for file in [*tmp_path.rglob("*")]:
        if file.is_file():
            for folder in (file.parent, file.parent / "__MACOSX", tmp_path / "__MACOSX"):
                folder.mkdir(exist_ok=True)
                (folder / f"._{file.name}").write_bytes(b"\0\5\x16\7 not what the name says")
    data = write(tmp_path, ["/x/0.jpg"])
    assert [data.table.path(index) for index in range(len(data))] == ["images/0.jpg"]
    assert data.table.faults == ()


def test_files_that_are_not_read_are_counted(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "cat/0.jpg", SIZE)
    content = (tmp_path / "cat/0.jpg").read_bytes()
    for name in ("1.heic", "2.HEIC", "notes.txt", "labels.json", "Makefile", "README"):
        (tmp_path / "cat" / name).write_bytes(b"text")
    for name in ("3", "4.jpg_original", "5.jfif"):
        (tmp_path / "cat" / name).write_bytes(content)
    (tmp_path / "cat/6.jpg").symlink_to(tmp_path / "nowhere.jpg")
    counts = {".heic": 2, ".jpg_original": 1, "broken link": 1, "no suffix": 1}
    assert dict(unread_files(tmp_path)) == counts
    assert list_images(tmp_path / "cat") == ["0.jpg", "5.jfif"]


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("train_labels", "train"),
        ("test_annotations", "test"),
        ("labels_val", "val"),
        ("valid", "valid"),
        ("dev", "dev"),
        ("default", "all"),
        ("labels", "all"),
        ("train2017", "train2017"),
        ("street", "street"),
        ("train_extra", "train_extra"),
    ],
)
def test_splits_by_the_names_of_files(stem: str, split: str) -> None:
    assert split_of_file(stem) == split


def test_files_that_are_not_read_are_said_once_and_checked(
    tmp_path: Path, write_image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"):
        write_image(tmp_path / name, SIZE)
    for name in ("cat/2.heic", "dog/2.HEIC"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING, "saccade"):
        for _ in range(2):
            open_raw(tmp_path, "all")
    assert [text for text in caplog.messages if "not read" in text] == [
        f"{tmp_path}: files that look like images are not read: 2 .heic"
    ]
    assert [issue.code for issue in check_source(tmp_path).issues if "heic" in issue.problem] == ["files.unread"]
