"""Class folders written and read again."""

from __future__ import annotations

import gzip
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.open import open_dataset, open_raw
from saccade.data.writers import folder
from saccade.data.writers._common import LossReport
from saccade.data.writers.convert import convert
from saccade.errors import DataError


def contents(data: Any) -> list[tuple[str, bytes]]:
    """Class and pixels of every image."""
    return sorted(
        (data.info.class_names[int(data.target(index)["labels"])], data.read(index).image.tobytes())
        for index in range(len(data))
    )


@pytest.fixture
def source(tmp_path: Path, write_image: Any) -> Path:
    root = tmp_path / "source"
    for size, name in enumerate(("train/dog/1.jpg", "train/dog/x/1.jpg", "train/cat/1.png", "val/cat/2.png"), 8):
        write_image(root / name, (size, size))
    return root


@pytest.mark.parametrize("images", ["copy", "link"])
def test_there_and_back(tmp_path: Path, source: Path, images: Any) -> None:
    report = convert(source, tmp_path / "out", "folder", image_files=images)
    assert report.lossless
    assert report.kept == {"images": 4, "objects": 4, "classes": 2}
    for split in ("train", "val"):
        ours, theirs = open_dataset(tmp_path / "out", split), open_dataset(source, split)
        assert ours.info.class_names == theirs.info.class_names == ("cat", "dog")
        assert contents(ours) == contents(theirs)
    linked = (tmp_path / "out/val/cat/2.png").stat().st_ino == (source / "val/cat/2.png").stat().st_ino
    assert linked == (images == "link")
    assert sorted(path.name for path in (tmp_path / "out/train/dog").iterdir()) == ["1_1.jpg", "2_1.jpg"]


def test_order_and_empty_classes_survive(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "out", "folder", class_names=["emu", "dog", "cat"])
    with pytest.warns(UserWarning, match=r"1 classes have no image: emu"):
        data = open_dataset(tmp_path / "out", "train")
    assert data.info.class_names == ("emu", "dog", "cat")
    assert [name for name, _ in contents(data)] == ["cat", "dog", "dog"]


def test_unknown_classes_are_counted(tmp_path: Path, source: Path) -> None:
    report = convert(source, tmp_path / "out", "folder", splits="train", class_names=["dog"])
    assert report.dropped == {("images", "their class is not in the class list"): 1}
    assert report.kept["images"] == 2


def test_nested_class_names_become_nested_folders(tmp_path: Path, write_image: Any) -> None:
    for name in ("fish/cod/1.jpg", "fish/trout/1.jpg"):
        write_image(tmp_path / "source" / "train" / name)
    convert(tmp_path / "source", tmp_path / "out", "folder", nested=True)
    data = open_dataset(tmp_path / "out", "train")
    assert data.info.class_names == ("fish/cod", "fish/trout")
    assert contents(data) == contents(open_dataset(tmp_path / "source", "train", nested=True))


def test_images_of_an_array_become_png(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    labels = np.array([3, 0, 3, 3, 1, 0], np.uint8)
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        (tmp_path / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    report = convert(tmp_path, tmp_path / "out", "folder")
    assert report.changed == {("images", "saved as PNG, as they were no files"): 6}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # digits that do not occur
        data = open_dataset(tmp_path / "out", "train", channels=1)
    assert contents(data) == contents(open_dataset(tmp_path, "train"))


def test_images_of_a_zip_are_taken_out_as_they_are(tmp_path: Path, source: Path) -> None:
    from saccade.data.readers.folder import read

    with zipfile.ZipFile(tmp_path / "p.zip", "w") as target:
        for file in source.rglob("*.*"):
            target.write(file, file.relative_to(source))
    data = read(tmp_path / "p.zip", "train")
    folder.write(data, tmp_path / "out", "train", "copy", report := LossReport("folder", "folder"))
    assert report.lossless
    assert contents(open_dataset(tmp_path / "out", "train")) == contents(open_dataset(source, "train"))
    assert (tmp_path / "out/train/cat/1.png").read_bytes() == (source / "train/cat/1.png").read_bytes()


def test_what_cannot_be_written_is_named(tmp_path: Path, source: Path, write_image: Any) -> None:
    report = LossReport("folder", "folder")
    data: Any = open_raw(source, "train")
    folder.write(data, tmp_path / "out", "train", "none", report)
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == ["cat", "dog"]
    assert not list((tmp_path / "out/train/cat").iterdir())
    other: Any = open_raw(source, "val", class_names=["cat", "emu"])
    with pytest.raises(DataError, match=r"saccade\.yaml: this split has other classes than those before"):
        folder.write(other, tmp_path / "out", "val", "copy", report)
    hostile: Any = open_raw(source, "val", class_names=["cat", "../dog"])
    with pytest.raises(DataError, match=r"a class name is '\.\./dog'"):
        folder.write(hostile, tmp_path / "new", "val", "copy", report)
    (source / "val/cat/2.png").unlink()
    write_image(source / "val/cat/3.png")
    gone: Any = open_raw(source, "val")
    (source / "val/cat/3.png").unlink()
    with pytest.raises(DataError, match=r"val/cat/3\.png: the image does not exist"):
        folder.write(gone, tmp_path / "third", "val", "copy", report)
