"""Images of two domains, paired and unpaired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, paired, unpaired
from saccade.errors import DataError


def write(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def write_halves(path: Path, left: int, right: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = [np.full((*size, 3), value, np.uint8) for value in (left, right)]
    assert cv2.imwrite(str(path), np.concatenate(halves, axis=1))


def values(sample: Any) -> tuple[int, int]:
    return int(sample.image[0, 0, 0]), int(sample.target["target_image"][0, 0, 0])


def test_halves_of_one_image(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("val", 3)):
        write_halves(tmp_path / split / f"{number}.png", number, 100 + number)
    assert detect_format(tmp_path) == "paired"
    assert paired.splits(tmp_path) == ("train", "val")
    data = open_dataset(tmp_path, "train")
    assert (data.info.task, data.info.class_names) == ("translation", ())
    sample = data.read(1)
    assert sample.image.shape == sample.target["target_image"].shape == (8, 8, 3)
    assert sample.target["target_image"].dtype == np.uint8
    assert values(sample) == (2, 102)
    assert sample.target["paired"]
    assert np.array_equal(data.target(1)["target_image"], sample.target["target_image"])
    assert values(open_dataset(tmp_path, "val", side="right").read(0)) == (103, 3)
    with pytest.raises(DataError, match=r"'up'"):
        open_dataset(tmp_path, side="up")


def test_halves_of_an_odd_width_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train" / "1.png", 1, (4, 7))
    with pytest.raises(DataError, match=r"train/1\.png: the image is 7 pixels wide, which has no halves"):
        paired.read(tmp_path, "train").read(0)


@pytest.mark.parametrize(
    ("first", "second", "splits"),
    [
        ("A/train", "B/train", ("train",)),
        ("train/A", "train/B", ("train",)),
        ("A", "B", ("all",)),
    ],
)
def test_two_folders(tmp_path: Path, first: str, second: str, splits: tuple[str, ...]) -> None:
    for number in (1, 2, 10):
        write(tmp_path / first / f"{number}.jpg", number)
        write(tmp_path / second / f"{number}.png", 100 + number)
    assert detect_format(tmp_path) == "paired"
    assert paired.splits(tmp_path) == splits
    data = paired.read(tmp_path, splits[0])
    assert [values(data.read(index)) for index in range(3)] == [(1, 101), (2, 102), (10, 110)]
    turned = paired.read(tmp_path, splits[0], side="right")
    assert [values(turned.read(index)) for index in range(3)] == [(101, 1), (102, 2), (110, 10)]
    write(tmp_path / second / "2.png", 5, (4, 4))
    with pytest.raises(DataError, match=r"2\.png: the image is 4x4, its partner .*2\.jpg 6x8\. Save both"):
        data.read(1)
    (tmp_path / second / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 images have no partner of the same name .*: 2\.jpg\. Add"):
        paired.read(tmp_path, splits[0])


def test_classes_called_a_and_b_are_no_pairs(tmp_path: Path) -> None:
    for name in ("train/A/1.png", "train/B/2.png"):
        write(tmp_path / name, 1)
    assert detect_format(tmp_path) == "folder"
    write(tmp_path / "train/B/1.png", 1)
    (tmp_path / "train/B/2.png").unlink()
    write(tmp_path / "train/C/1.png", 1)
    assert detect_format(tmp_path) == "folder"


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "trainA" / f"{number}.png", number, (8, 6))
    for number in range(7):
        write(tmp_path / "trainB" / f"{number}.png", 100 + number, (4, 4))
    write(tmp_path / "testA" / "0.png", 50)
    write(tmp_path / "testB" / "0.png", 150)
    return tmp_path


def test_unpaired_domains_meet_in_a_fixed_order(domains: Path) -> None:
    assert detect_format(domains) == "unpaired"
    assert unpaired.splits(domains) == ("train", "test")
    data = unpaired.read(domains, "train")
    assert len(data) == 7
    found = [values(data.read(index)) for index in range(7)]
    assert [a for a, _ in found] == [0, 1, 2, 0, 1, 2, 0]
    assert sorted(b for _, b in found) == list(range(100, 107))
    assert [b for _, b in found] != list(range(100, 107))
    again = unpaired.read(domains, "train")
    assert [values(again.read(index)) for index in range(7)] == found
    sample = data.read(0)
    assert sample.target["target_image"].shape == (4, 4, 3)
    assert not sample.target["paired"]
    assert data.annotation_path(0).endswith(f"trainB/{found[0][1] - 100}.png")


def test_the_other_domain_can_be_the_input(domains: Path) -> None:
    data = unpaired.read(domains, "train", side="right")
    found = [values(data.read(index)) for index in range(7)]
    assert sorted(b for b, _ in found) == list(range(100, 107))
    assert [a for _, a in found] == [0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(DataError, match="side is 'A'"):
        unpaired.read(domains, "train", side="A")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no folders of images 'trainA'"):
        unpaired.read(domains / "trainA", "train")
    with pytest.raises(DataError, match="no split 'val'; it has: train, test"):
        unpaired.read(domains, "val")


@pytest.mark.data("facades")
def test_facades_are_pairs_of_photograph_and_drawing(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    assert detect_format(data_root / "facades") == "paired"
    assert [len(open_dataset("facades", split)) for split in ("train", "val", "test")] == [50, 10, 10]
    data = open_dataset("facades", "train")
    for index in range(len(data)):
        sample = data.read(index)
        assert sample.image.shape == sample.target["target_image"].shape == (256, 256, 3)
    whole = cv2.imread(data.path(0))[..., ::-1]
    sample = data.read(0)
    assert np.abs(np.concatenate([sample.image, sample.target["target_image"]], axis=1) - whole.astype(int)).max() <= 2


@pytest.mark.data("summer2winter")
def test_summer_and_winter(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    assert detect_format(data_root / "summer2winter") == "unpaired"
    data = open_dataset("summer2winter", "train")
    assert len(data) == 100
    partners = {data.annotation_path(index) for index in range(100)}  # type: ignore[attr-defined]
    assert len(partners) == 100
    assert all("/trainB/" in path for path in partners)
    assert len(open_dataset("summer2winter", "test")) == 6
