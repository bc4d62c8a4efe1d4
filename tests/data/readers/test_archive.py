"""Zips are read in place, like folders, and their directories are not trusted."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.derived.combine import subset
from saccade.data.readers import archive, folder
from saccade.data.readers.archive import FolderTree, ZipDataset, ZipTree, open_tree
from saccade.errors import DataError
from saccade.structures.reading import is_archive

FILES = ("train/cat/1.png", "train/cat/10.png", "train/cat/2.png", "train/dog/a/1.png", "val/dog/ü 1.png")


def image(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_zip(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The same files in a folder ``images`` and in ``images.zip``."""
    files = {name: image(number) for number, name in enumerate(FILES)}
    files |= {"notes.txt": b"notes", "train.txt": b"1", "train/cat/.hidden.png": b"", "empty/": b""}
    for name, content in files.items():
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.mkdir() if name.endswith("/") else file.write_bytes(content)
    files["__MACOSX/train/cat/._1.png"] = b"x"
    return write_zip(tmp_path / "images.zip", files, compression=zipfile.ZIP_DEFLATED)


def test_zip_and_folder_answer_alike(images: Path) -> None:
    packed, plain = open_tree(images), open_tree(images.with_suffix(""))
    assert isinstance(packed, ZipTree)
    assert isinstance(plain, FolderTree)
    for below in ("", "train", "train/cat", "train/dog", "val", "nowhere", "trai"):
        assert packed.folders(below) == plain.folders(below)
        assert packed.images(below) == plain.images(below)
        assert packed.has_images(below) == plain.has_images(below)
    assert packed.folders() == ["empty", "train", "val"]
    assert packed.images("train/cat") == ["1.png", "2.png", "10.png"]
    assert packed.texts() == plain.texts() == ["notes.txt", "train.txt"]
    for name in (*FILES, "notes.txt"):
        assert packed.contains(name)
        assert packed.read(name) == plain.read(name)
    assert not packed.contains("train/cat/3.png")
    with pytest.raises(DataError, match=r"images\.zip/train/cat/3\.png: the zip holds no such file"):
        packed.read("train/cat/3.png")
    with pytest.raises(DataError, match=r"images/train/cat/3\.png: there is no such file"):
        plain.read("train/cat/3.png")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_of_a_zip_are_those_of_the_folder(tmp_path: Path, images: Path, compression: int) -> None:
    write_zip(tmp_path / "again.zip", {name: image(n) for n, name in enumerate(FILES)}, compression=compression)
    data = folder.read(tmp_path / "again.zip", "train")
    assert isinstance(data, ZipDataset)
    assert data.info.name == "again"
    plain = folder.read(tmp_path / "images", "train")
    assert data.info.class_names == plain.info.class_names == ("cat", "dog")
    assert data.path(0) == f"{tmp_path}/again.zip/train/cat/1.png"
    for index in range(len(plain)):
        ours, theirs = data.read(index), plain.read(index)
        assert np.array_equal(ours.image, theirs.image)
        assert ours.target["labels"] == theirs.target["labels"]
    assert np.array_equal(subset(data, [2]).read(0).image, plain.read(2).image)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path / "p.zip", {"cat/1.png": b"no image", "dog/1.png": image(0)})
    with pytest.raises(DataError, match=r"p\.zip/cat/1\.png: this is not an image"):
        folder.read(tmp_path / "p.zip", "all").read(0)


def test_a_folder_around_everything_is_passed_over(tmp_path: Path) -> None:
    def folders(*names: str) -> list[str]:
        path = write_zip(tmp_path / "p.zip", dict.fromkeys(names, b""))
        return ZipTree(path).folders()

    assert folders("pets/cat/1.png", "pets/dog/1.png") == ["cat", "dog"]
    assert folders("pets/", "pets/cat/", "pets/cat/1.png") == ["cat"]
    assert folders("pets/cat/1.png", "readme.txt") == ["pets"]
    assert folders("cat/1.png", "dog/1.png") == ["cat", "dog"]
    assert folders("cat/1.png", "cat/2.png") == ["cat"]
    assert folders("train/cat/1.png", "train/dog/1.png") == ["train"]
    assert ZipTree(write_zip(tmp_path / "q.zip", {"a/b/1.png": b""}), keep_top=True).folders() == ["a"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "a\\..\\..\\evil.png"]
)
def test_names_that_leave_the_zip_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "p.zip", {"cat/1.png": image(0), name: image(1)})
    with pytest.raises(DataError, match="which is not a file inside the data folder"):
        ZipTree(path)


def test_what_is_no_zip_is_named(tmp_path: Path, images: Path) -> None:
    whole = images.read_bytes()
    for content in (b"", b"no zip", whole[:-30], whole[: len(whole) // 2]):
        (tmp_path / "p.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"p\.zip: the zip cannot be read"):
            ZipTree(tmp_path / "p.zip")
    assert not is_archive(tmp_path)
    assert is_archive(tmp_path / "p.zip")


def test_damaged_members_are_named(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "p.zip", {"cat/1.png": bytes(range(256)) * 9}, compression=compression)
        data = bytearray(path.read_bytes())
        data[60:70] = b"\xff" * 10
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"cat/1\.png: (the zip is damaged here|it cannot be read)"):
            ZipTree(path).read("cat/1.png")


def test_a_member_never_grows_beyond_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\0" * 5_000_000
    path = write_zip(tmp_path / "bomb.zip", {"cat/1.png": content}, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    # The central directory now declares ten bytes.
    lying = data.replace(struct.pack("<I", len(content)) + struct.pack("<H", 9), struct.pack("<IH", 10, 9))
    assert lying != data
    path.write_bytes(lying)
    with pytest.raises(DataError, match="damaged here"):
        ZipTree(path).read("cat/1.png")
    path.write_bytes(data)
    assert ZipTree(path).read("cat/1.png") == content
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 4_999_999)
    with pytest.raises(DataError, match=r"5,000,000 bytes exceed the limit of 4,999,999\. Remove it"):
        ZipTree(path).read("cat/1.png")


def test_encryption_and_rare_methods_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "p.zip", {"cat/1.png": image(0)}, compression=zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match=r"is packed by method 14, which is not supported\. Unpack the zip"):
        ZipTree(path).read("cat/1.png")
    path = write_zip(tmp_path / "p.zip", {"cat/1.png": image(0)})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    data[central + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        ZipTree(path).read("cat/1.png")


def test_a_link_in_a_zip_is_only_text(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("cat/1.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as target:
        target.writestr(link, "/etc/passwd")
    assert ZipTree(tmp_path / "p.zip").read("cat/1.png") == b"/etc/passwd"


def _brightness(data: ZipDataset, index: int, results: Any) -> None:
    results.put((index, int(data.read(index).image[0, 0, 0])))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_workers_read_at_once(images: Path) -> None:
    data = folder.read(images, "train")
    assert isinstance(data, ZipDataset)
    expected = {index: int(data.read(index).image[0, 0, 0]) for index in range(len(data))}
    context = multiprocessing.get_context("fork")
    results: Any = context.SimpleQueue()
    processes = [context.Process(target=_brightness, args=(data, index, results)) for index in expected]
    for process in processes:
        process.start()
    assert dict(results.get() for _ in processes) == expected
    for process in processes:
        process.join()


def test_a_spawned_worker_receives_no_open_file(images: Path) -> None:
    data = folder.read(images, "train")
    sent = pickle.dumps(data)  # what a spawned process gets
    again = pickle.loads(sent)
    assert np.array_equal(again.read(3).image, data.read(3).image)
    assert len(sent) < 10_000
