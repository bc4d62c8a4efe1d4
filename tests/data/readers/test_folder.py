"""One folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, folder
from saccade.errors import DataError


def labels(data: Any) -> list[tuple[str, str]]:
    return [
        (Path(data.path(index)).name, data.info.class_names[int(data.target(index)["labels"])])
        for index in range(len(data))
    ]


def test_split_folders_share_one_class_list(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/dog/2.jpg", "train/dog/10.jpg", "train/ant/x/1.png", "val/emu/1.jpg", "train/.hidden/1.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "train" / "dog" / "notes.txt").write_text("no image")
    assert detect_format(tmp_path) == "folder"
    assert folder.splits(tmp_path) == ("train", "val")
    train = folder.read(tmp_path, "train")
    assert train.info.class_names == ("ant", "dog", "emu")
    assert labels(train) == [("1.png", "ant"), ("2.jpg", "dog"), ("10.jpg", "dog")]
    assert labels(folder.read(tmp_path, "val")) == [("1.jpg", "emu")]
    assert train.target(0)["labels"].shape == ()
    assert train.read(0).image.shape == (40, 60, 3)
    with pytest.raises(DataError, match="no split 'test'; it has: train, val"):
        folder.read(tmp_path, "test")


def test_flat_folder_is_divided_within_each_class(tmp_path: Path, write_image: Any) -> None:
    for name in ("cat", "dog"):
        for number in range(1, 8):
            write_image(tmp_path / name / f"{number}.jpg", (8, 8))
    assert detect_format(tmp_path) == "folder"
    assert folder.splits(tmp_path) == ("all",)
    train, val, everything = (open_dataset(tmp_path, split) for split in ("train", "val", "all"))
    assert (len(train), len(val), len(everything)) == (12, 2, 14)
    assert sorted(name for _, name in labels(val)) == ["cat", "dog"]
    assert sorted(labels(train) + labels(val)) == sorted(labels(everything))


def test_class_order_can_be_given(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/a/1.jpg", "train/b/1.jpg"):
        write_image(tmp_path / name)
    data = folder.read(tmp_path, "train", class_names=["b", "a"])
    assert [int(data.target(index)["labels"]) for index in range(2)] == [0, 1]
    assert labels(data) == [("1.jpg", "b"), ("1.jpg", "a")]


@pytest.mark.data("intel_scenes")
def test_order_of_classes_and_files_equals_torchvision(data_root: Path) -> None:
    from torchvision.datasets import ImageFolder

    theirs = ImageFolder(str(data_root / "intel_scenes" / "train"))
    ours = folder.read(data_root / "intel_scenes", "train")
    assert list(ours.info.class_names) == theirs.classes
    assert {(ours.path(i), int(ours.target(i)["labels"])) for i in range(len(ours))} == set(theirs.samples)


def test_what_lies_deeper_belongs_to_its_class_or_is_one(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/fish/trout/1.jpg", "train/fish/cod/1.jpg", "train/bird/1.jpg", "val/fish/cod/2.jpg"):
        write_image(tmp_path / name)
    assert folder.read(tmp_path, "train").info.class_names == ("bird", "fish")
    data = folder.read(tmp_path, "train", nested=True)
    assert data.info.class_names == ("bird", "fish/cod", "fish/trout")
    assert labels(data) == [("1.jpg", "bird"), ("1.jpg", "fish/cod"), ("1.jpg", "fish/trout")]
    assert labels(folder.read(tmp_path, "val", nested=True)) == [("2.jpg", "fish/cod")]


def test_empty_classes_are_kept_and_said(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "train" / "dog" / "1.jpg")
    (tmp_path / "train" / "cat").mkdir()
    with pytest.warns(UserWarning, match=r"1 classes have no image: cat\. They keep their labels"):
        data = folder.read(tmp_path, "train")
    assert data.info.class_names == ("cat", "dog")
    assert labels(data) == [("1.jpg", "dog")]


def test_classes_that_differ_in_case_are_refused_unless_named(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/Cat/1.jpg", "val/cat/1.jpg"):
        write_image(tmp_path / name)
    with pytest.raises(DataError, match=r"'Cat' and 'cat' differ only in upper and lower case. Rename one"):
        folder.read(tmp_path, "train")
    assert labels(folder.read(tmp_path, "val", class_names=["Cat", "cat"])) == [("1.jpg", "cat")]


def test_folders_beyond_the_named_classes_are_unknown(tmp_path: Path, write_image: Any) -> None:
    for name in ("train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "saccade.yaml").write_text("format: folder\nclass_names: [b, c]\n")
    with pytest.raises(DataError, match="unknown class"):
        open_dataset(tmp_path)
    data = open_dataset(tmp_path, bad_labels="drop")
    assert labels(data) == [("1.jpg", "b"), ("1.jpg", "c")]


LISTS = {
    "class folders": ("cat/1.jpg\ndog/2.jpg\n", "dog/1.jpg\n", ["cat", "dog"], [("1.jpg", "cat"), ("2.jpg", "dog")]),
    "words": ("cat/1.jpg wild\ndog/2.jpg,tame one\n", "dog/1.jpg\tx\n", ["tame one", "wild", "x"],
              [("1.jpg", "wild"), ("2.jpg", "tame one")]),
    "numbers of folders": ("cat/1.jpg 1\n\ndog/2.jpg 0\n", "dog/1.jpg 0\n", ["cat", "dog"],
                           [("1.jpg", "dog"), ("2.jpg", "cat")]),
    "numbers beyond folders": ("cat/1.jpg 1\ndog/2.jpg 0\n", "dog/1.jpg 3\n", ["0", "1", "2", "3"],
                               [("1.jpg", "1"), ("2.jpg", "0")]),
    "names with spaces": ("dog/my dog.jpg\n", "cat/1.jpg\n", ["cat", "dog"], [("my dog.jpg", "dog")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("below", ["", "images/"])
def test_lists_name_the_splits(tmp_path: Path, write_image: Any, kind: str, below: str) -> None:
    train, val, classes, expected = LISTS[kind]
    for name in ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "dog/my dog.jpg"):
        write_image(tmp_path / below / name, (8, 8))
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "val.txt").write_text(val)
    assert folder.matches(tmp_path)
    assert folder.splits(tmp_path) == ("train", "val")
    data = folder.read(tmp_path, "train")
    assert list(data.info.class_names) == classes
    assert labels(data) == expected
    assert data.read(0).size == (8, 8)
    assert folder.read(tmp_path, "val").info.class_names == data.info.class_names


def test_lists_of_a_flat_folder_with_a_list_of_classes(tmp_path: Path, write_image: Any) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / "images" / name, (8, 8))
    (tmp_path / "train.txt").write_text("a.jpg 1\nb.jpg 0\n")
    (tmp_path / "classes.txt").write_text("\ufeffzebra\nant\n", encoding="utf-8")
    assert labels(folder.read(tmp_path, "train")) == [("a.jpg", "ant"), ("b.jpg", "zebra")]
    assert labels(folder.read(tmp_path, "train", class_names=["x", "y"])) == [("a.jpg", "y"), ("b.jpg", "x")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat/1.jpg 7", "line 2 has class 7, but there are 2 classes"),
        ("cat/1.jpg bat", r"line 2 \(cat/1.jpg\) has class 'bat', which is none of the 2. Did you mean 'cat'"),
        ("1.jpg", r"line 2 \(1.jpg\) has no class, which is none of the 2. Write it behind the name"),
        ("../cat/1.jpg", r"line 2 is '\.\./cat/1\.jpg', which is not a file inside"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, write_image: Any, line: str, message: str) -> None:
    for name in ("cat/1.jpg", "dog/1.jpg"):
        write_image(tmp_path / name, (8, 8))
    (tmp_path / "train.txt").write_text(f"cat/1.jpg\n{line}\n")
    with pytest.raises(DataError, match=rf"train\.txt: {message}"):
        folder.read(tmp_path, "train", class_names=["cat", "dog"])
    (tmp_path / "train.txt").write_bytes(b"cat/1.jpg\xff\n")
    with pytest.raises(DataError, match=r"train\.txt: the list is not UTF-8"):
        folder.read(tmp_path, "train")


def test_channels_are_an_option(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "train" / "cat" / "1.png", channels=4)
    assert folder.read(tmp_path, "train", channels=4).read(0).image.shape == (40, 60, 4)
    assert folder.read(tmp_path, "train", channels=1).read(0).image.shape == (40, 60, 1)


@pytest.mark.data("orl_faces")
def test_faces_are_one_class_a_person(data_root: Path) -> None:
    data = folder.read(data_root / "orl_faces", "train", channels=1)
    assert len(data) == 370
    assert data.read(0).image.shape == (112, 92, 1)
    test = folder.read(data_root / "orl_faces", "test")
    assert {name for _, name in labels(test)} == {"s5", "s6", "s7"}
    assert len(data.info.class_names) == 40
