"""MNIST's files, plain and packed, whole and broken."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from saccade.data.derived.combine import subset
from saccade.data.readers import detect_format, idx
from saccade.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 3, 1], np.uint8)


def encode(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(root: Path, images: bytes | None = None, labels: bytes | None = None, prefix: str = "train") -> None:
    (root / f"{prefix}-images-idx3-ubyte").write_bytes(encode(IMAGES) if images is None else images)
    (root / f"{prefix}-labels-idx1-ubyte").write_bytes(encode(LABELS) if labels is None else labels)


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    for name, values in (("images-idx3", IMAGES[:2]), ("labels-idx1", LABELS[:2])):
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(encode(values)))
    assert detect_format(tmp_path) == "idx"
    assert idx.splits(tmp_path) == ("train", "test")
    data = idx.read(tmp_path, "train")
    assert len(data) == 5
    assert len(idx.read(tmp_path, "test")) == 2
    assert data.info.class_names == tuple("0123456789")
    for index in range(5):
        sample = data.read(index)
        assert np.array_equal(sample.image[..., 0], IMAGES[index])
        assert sample.target["labels"] == LABELS[index]
    assert data.path(3).endswith("train-images-idx3-ubyte[3]")


def test_a_subset_shows_its_own_images(tmp_path: Path) -> None:
    write(tmp_path)
    part = subset(idx.read(tmp_path, "train"), [4, 2])
    assert np.array_equal(part.read(0).image[..., 0], IMAGES[4])
    assert part.target(1)["labels"] == 9


def test_images_are_copies(tmp_path: Path) -> None:
    write(tmp_path)
    data = idx.read(tmp_path, "train")
    data.read(0).image[...] = 0
    assert np.array_equal(data.read(0).image[..., 0], IMAGES[0])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (encode(IMAGES)[:-1], "119 of 120 values are there"),
        (encode(IMAGES)[:6], "truncated or damaged"),
        (b"", "truncated or damaged"),
        (encode(LABELS), "not an idx file of 3 dimensions"),
        (b"\x00\x00\x0d\x03" + encode(IMAGES)[4:], "not an idx file"),
        (struct.pack(">HBB3I", 0, 8, 3, 1 << 31, 1 << 31, 4), "promises"),
        (encode(IMAGES[:4]), "5 labels for 4 images"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, images: bytes, message: str) -> None:
    write(tmp_path, images)
    with pytest.raises(DataError, match=f"ubyte: .*{message}"):
        idx.read(tmp_path, "train")


def test_damaged_gzip_and_missing_labels_are_named(tmp_path: Path) -> None:
    packed = gzip.compress(encode(IMAGES))
    for data in (packed[:-10], b"no gzip at all", packed[:20] + b"\xff" * 20 + packed[40:]):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(data)
        with pytest.raises(DataError, match=r"idx3-ubyte\.gz: .*Fetch it again"):
            idx.read(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"labels-idx1-ubyte\.gz: the file does not exist"):
        idx.read(tmp_path, "train")


@pytest.mark.data("mnist")
def test_mnist_has_its_published_label_counts(data_root: Path) -> None:
    data = idx.read(data_root / "mnist", "test")
    assert np.bincount(data.table.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
