"""Nothing is read without end, and byte-order marks are no content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from saccade.errors import DataError
from saccade.structures.reading import is_hidden, read_bytes, read_text, require_regular


def test_devices_pipes_and_folders_are_named_and_never_opened(tmp_path: Path) -> None:
    link = tmp_path / "zero.json"
    link.symlink_to("/dev/zero")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, kind in ((link, "a device"), (pipe, "a pipe"), (tmp_path, "a folder")):
        for read in (read_bytes, read_text, require_regular):
            with pytest.raises(DataError, match=f"{path.name}: this is {kind}"):
                read(path)


def test_a_file_past_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as out:
        out.truncate(10**10)  # a hole: it takes no space
    with pytest.raises(DataError, match=r"large\.json: it has 10 GB, more than the 2.15 GB"):
        read_text(file)


@pytest.mark.parametrize("name", ["missing.json", "a" * 5000, "null\0byte"])
def test_names_without_a_file_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_bytes(tmp_path / name)


def test_text_with_and_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(file) == "{}"
    file.write_bytes(b"\xff\xfea\x00")
    with pytest.raises(DataError, match=r"a\.txt: byte 0 is no UTF-8"):
        read_text(file)


def test_what_systems_leave_is_hidden() -> None:
    assert all(is_hidden(name) for name in (".git", "._a.xml", "__MACOSX", "@eaDir", "Thumbs.db", ".DS_Store"))
    assert not any(is_hidden(name) for name in ("train", "_a", "a.b"))
