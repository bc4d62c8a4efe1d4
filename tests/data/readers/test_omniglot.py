"""Omniglot out of its zips."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.open import open_dataset
from saccade.data.readers import detect_format, omniglot
from saccade.data.readers.omniglot import read_one_shot_runs
from saccade.errors import DataError


def drawing(number: int, size: int = 5) -> bytes:
    stream = io.BytesIO()
    pixels = np.ones((size, size), bool)
    pixels.flat[number % pixels.size] = False
    Image.fromarray(pixels).convert("1").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    parts = {"images_background": ("Greek", "Latin"), "images_evaluation": ("Angelic",)}
    for part, alphabets in parts.items():
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as target:
            for alphabet in alphabets:
                for character in (1, 2):
                    for drawer in (1, 2, 3):
                        name = f"{part}/{alphabet}/character{character:02}/{character:04}_{drawer:02}.png"
                        target.writestr(name, drawing(10 * character + drawer))
    return tmp_path


def test_a_class_is_a_character_of_an_alphabet(root: Path) -> None:
    assert detect_format(root) == "omniglot"
    assert omniglot.splits(root) == ("train", "test")
    data = omniglot.read(root, "train")
    assert data.info.class_names == tuple(
        f"{name}/character0{number}" for name in ("Greek", "Latin") for number in (1, 2)
    )
    assert np.bincount(data.table.labels).tolist() == [3, 3, 3, 3]
    sample = data.read(4)
    assert sample.image.shape == (5, 5, 1)
    assert np.flatnonzero(sample.image == 0).tolist() == [22]
    assert set(np.unique(sample.image)) == {0, 255}
    assert sample.target["labels"] == 1
    assert data.path(4).endswith("images_background.zip/Greek/character02/0002_02.png")
    assert omniglot.read(root, "test").info.class_names == ("Angelic/character01", "Angelic/character02")
    assert omniglot.read(root, "train", alphabets=("Latin",)).info.class_names[0] == "Latin/character01"
    with pytest.raises(DataError, match=r"there is no alphabet 'Lattin'\. It has: Greek, Latin"):
        omniglot.read(root, "train", alphabets=("Lattin",))
    with pytest.raises(DataError, match="no split 'val'; it has: train, test"):
        omniglot.read(root, "val")


def test_an_unpacked_part_is_read_too(root: Path) -> None:
    with zipfile.ZipFile(root / "images_background.zip") as source:
        source.extractall(root)
    packed = omniglot.read(root, "train")
    expected = packed.read(5).image
    (root / "images_background.zip").unlink()
    plain = omniglot.read(root, "train")
    assert plain.info.class_names == packed.info.class_names
    assert np.array_equal(plain.read(5).image, expected)


def write_runs(path: Path, labels: str | None = None, training: int = 3) -> None:
    with zipfile.ZipFile(path, "w") as target:
        for run in (1, 2):
            for number in range(training):
                target.writestr(f"run0{run}/training/class{number + 1:02}.png", drawing(number))
                target.writestr(f"run0{run}/test/item{number + 1:02}.png", drawing(10 + number))
            lines = "".join(
                f"run0{run}/test/item{number + 1:02}.png run0{run}/training/class{(number + run) % 3 + 1:02}.png\n"
                for number in range(3)
            )
            target.writestr(f"run0{run}/class_labels.txt", lines if labels is None else labels)


def test_one_shot_runs_come_with_their_answers(tmp_path: Path) -> None:
    write_runs(tmp_path / "all_runs.zip")
    runs = read_one_shot_runs(tmp_path)
    assert [run.name for run in runs] == ["run01", "run02"]
    assert runs[0].training.shape == runs[0].test.shape == (3, 5, 5, 1)
    assert runs[0].labels.tolist() == [1, 2, 0]
    assert runs[1].labels.tolist() == [2, 0, 1]
    assert np.flatnonzero(runs[0].test[2] == 0).tolist() == [12]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("run01/test/item01.png\n", "line 1 is not"),
        ("run01/test/item01.png run01/training/class09.png\n", "line 1 is not"),
        ("run01/test/item01.png run01/training/class01.png\n", "images or labels are missing"),
    ],
)
def test_broken_class_lists_are_named(tmp_path: Path, labels: str, message: str) -> None:
    write_runs(tmp_path / "all_runs.zip", labels)
    with pytest.raises(DataError, match=rf"all_runs\.zip/run01/class_labels\.txt: {message}"):
        read_one_shot_runs(tmp_path)
    with pytest.raises(DataError, match=r"there is no all_runs\.zip"):
        read_one_shot_runs(tmp_path / "nowhere")


@pytest.mark.data("omniglot")
def test_the_published_numbers(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    for split, characters, alphabets in (("train", 964, 30), ("test", 659, 20)):
        data = open_dataset("omniglot", split)
        names = data.info.class_names
        labels = data.table.labels  # type: ignore[attr-defined]
        assert len(names) == characters
        assert len({name.split("/")[0] for name in names}) == alphabets
        assert np.bincount(labels).tolist() == [20] * characters
        assert data.read(len(data) - 1).image.shape == (105, 105, 1)


@pytest.mark.data("omniglot")
def test_the_official_runs(data_root: Path) -> None:
    runs = read_one_shot_runs(data_root / "omniglot")
    assert [run.name for run in runs] == [f"run{number:02}" for number in range(1, 21)]
    for run in runs:
        assert run.training.shape == run.test.shape == (20, 105, 105, 1)
        assert sorted(run.labels.tolist()) == list(range(20))
    # Written in run01/class_labels.txt: item01 is class08, item02 is class09, item03 is class02.
    assert runs[0].labels[:3].tolist() == [7, 8, 1]
