from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from saccade.errors import SaccadeError
from saccade.structures.files import atomic_write, previous_path, to_json, write_text


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_left_where_a_kill_had_made_both_names_one_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_text("one")
    os.link(path, previous_path(path))  # as after a kill before the new content took its name
    atomic_write(path, lambda target: target.write_text("two") and None, keep_previous=True)
    assert _files(tmp_path) == ["last.previous.pt", "last.pt"]
    assert (path.read_text(), previous_path(path).read_text()) == ("two", "one")


def test_previous_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for text in ("one", "two", "three"):
        atomic_write(path, lambda target, text=text: target.write_text(text) and None, keep_previous=True)
    assert path.read_text() == "three"
    assert previous_path(path).read_text() == "two"
    assert _files(tmp_path) == ["last.previous.pt", "last.pt"]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(target: Path) -> None:
        target.write_text("half")
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        atomic_write(path, fail, keep_previous=True)
    assert path.read_text() == "old"
    assert _files(tmp_path) == ["a.txt"]


def test_full_disk_names_file_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(target: Path) -> None:
        target.write_text("begun")
        Path("/dev/full").write_bytes(b"x" * 100_000)  # a true ENOSPC of the kernel

    with pytest.raises(SaccadeError, match=r"a\.txt': the disk is full.*Free some space"):
        atomic_write(path, write)
    assert path.read_text() == "old"
    assert _files(tmp_path) == ["a.txt"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaccadeError, match=r"file/a\.txt.*Choose a folder"):
        atomic_write(tmp_path / "file" / "a.txt", lambda target: None)


def test_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = f"""
        import sys, time
        from pathlib import Path
        from saccade.structures.files import atomic_write
        def write(target):
            target.write_text("half")
            print("writing", flush=True)
            time.sleep(60)
        atomic_write(Path({str(path)!r}), write, keep_previous=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert path.read_text() == "old"


def test_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0" * 100)
    code = f"""
        from pathlib import Path
        from saccade.structures.files import atomic_write
        for digit in range(60):
            atomic_write(Path({str(path)!r}), lambda target: target.write_bytes(str(digit % 10).encode() * (100 +
            digit)), True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) as process:
        seen = set()
        while process.poll() is None:
            content = path.read_bytes()
            assert len(set(content)) == 1
            assert len(content) >= 100
            seen.add(len(content))
            time.sleep(0)
    assert process.returncode == 0
    assert 159 in seen | {len(path.read_bytes())}


def test_text_is_written_whole_in_utf8_without_waiting_for_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / f"{'n' * 250}.txt"
    for text in ("one\n", "zwölf\n"):
        write_text(path, text, durable=False)
    assert path.read_bytes() == "zwölf\n".encode()
    assert _files(path.parent) == [path.name]


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\udcff")
    assert path.read_text() == "old"
    assert _files(tmp_path) == ["a.txt"]


def test_json_is_strict_whatever_the_figures_are() -> None:
    value = {
        "nan": math.nan,
        "deep": [{"inf": -math.inf, "numpy": np.float32("nan")}, (1, np.array([0.5, np.nan]))],
        "path": Path("a") / "b",
        3: np.bool_(True),
    }

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(to_json(value), parse_constant=refuse)
    expected = {"nan": None, "deep": [{"inf": None, "numpy": None}, [1, [0.5, None]]], "path": "a/b", "3": True}
    assert read == expected
    with pytest.raises(TypeError, match="object"):
        to_json({"a": object()})
