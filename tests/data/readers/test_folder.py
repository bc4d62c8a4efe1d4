"""One folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    (tmp_path / "train" / "dog" / "notes.txt").write_text("no picture")
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
    assert labels(folder.read(tmp_path, "val")) == [("5.jpg", "cat"), ("5.jpg", "dog")]
    train, everything = folder.read(tmp_path, "train"), folder.read(tmp_path, "all")
    assert (len(train), len(everything)) == (12, 14)
    assert set(labels(train)) | set(labels(folder.read(tmp_path, "val"))) == set(labels(everything))


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
