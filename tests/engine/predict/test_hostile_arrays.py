"""Array files and TIFF directories that are read window by window: mapped, decoded whole or named."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.engine.predict.large_images import open_images
from saccade.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def _saved() -> bytes:
    stream = io.BytesIO()
    np.save(stream, PIXELS)
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", _saved())
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        _zip(),
        b"\x80\x04N.",
        _saved()[:40],
        _saved()[:-9],
        _saved().replace(b"(12, 16, 3)", b"(-2, 16, 3)"),
        _saved().replace(b"(12, 16, 3)", b"(99**99,3) "),
        _saved().replace(b"'|u1'", b"'|O' "),
    ],
)
def test_what_is_no_array_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: this is no array file .*Write it with numpy\.save"):
        next(iter(open_images(path, 3)))


def test_mutated_directories_of_tiff_are_read_or_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PIXELS).save(path)
    data, generator = path.read_bytes(), random.Random(0)
    start = struct.unpack_from("<I", data, 4)[0]
    outcomes = {"read": 0, "named": 0}
    for _ in range(200):
        mutant = bytearray(data)
        for _ in range(generator.choice([1, 2, 4])):
            place = start + generator.randrange(150)
            mutant[place] = generator.choice([0, 1, 2, 4, 5, 8, 127, 255, generator.randrange(256)])
        path.write_bytes(mutant)
        try:
            image = next(iter(open_images(path, 3)))
            assert image.pixels.ndim == 3
            outcomes["read"] += 1
        except DataError:
            outcomes["named"] += 1
    assert min(outcomes.values()) > 0
    assert capfd.readouterr().err == ""
