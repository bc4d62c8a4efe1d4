"""``saccade datasets NAME``: inspect and download."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from saccade.cli import main
from saccade.data.catalogue.catalogue import CATALOGUE, RemoteFile


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SACCADE_DATA", raising=False)


def image(value: int) -> bytes:
    done, data = cv2.imencode(".png", np.full((8, 8, 3), value, np.uint8))
    assert done
    return data.tobytes()


@pytest.fixture
def pets(own_places: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A data set of the catalogue on a loopback server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for number, name in enumerate(("train/cat/1", "train/dog/1", "train/dog/2", "test/cat/1")):
            target.writestr(f"pets/{name}.png", image(number))
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "pets.zip").write_bytes(stream.getvalue())

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        url = f"http://127.0.0.1:{http.server_port}/pets.zip"
        remote = RemoteFile(url, hashlib.sha256(stream.getvalue()).hexdigest(), len(stream.getvalue()))
        entry = replace(CATALOGUE["intel_scenes"], name="pets", files=(remote,))
        monkeypatch.setitem(CATALOGUE, "pets", entry)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield "pets"
        http.shutdown()
        thread.join()


def test_absent_present_and_counted(pets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", pets]) == 0
    out = capsys.readouterr().out
    assert "not on this machine: saccade datasets pets --download" in out
    assert "kaggle" in out
    assert main(["datasets", pets, "--download"]) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "cache" / "data" / "pets"
    assert f"pets is at {folder}" in " ".join(err.split())
    assert str(folder) in out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["train", "3", "3"] in rows
    assert ["test", "1", "1"] in rows
    assert ["cat", "1", "1"] in rows
    assert ["dog", "2", "0"] in rows
    assert main(["datasets", pets, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"][0] == {"split": "train", "images": 3, "objects": 3, "class_counts": {"cat": 1, "dog": 2}}


def test_into_a_folder_of_ones_own(pets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", pets, "--download", "--folder", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "pets" / "train" / "cat" / "1.png").is_file()
    assert not (tmp_path / "cache").exists()
    assert main(["datasets", str(tmp_path / "mine" / "pets")]) == 0
    assert "folder" in capsys.readouterr().out


def test_what_is_not_there_is_one_line(own_places: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "minst"]) == 3
    assert "Did you mean 'mnist'" in capsys.readouterr().err
    assert main(["datasets", "bccd", "--download"]) == 3
    assert "no address with a known hash" in capsys.readouterr().err
    assert main(["datasets", "--download"]) == 2
    assert "a download needs the name" in capsys.readouterr().err
    assert main(["datasets", "bccd"]) == 0
    assert "get it from https://github.com/Shenggan/BCCD_Dataset" in capsys.readouterr().out


@pytest.mark.data("bccd")
def test_bccd_is_inspected(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    assert main(["datasets", "bccd"]) == 0
    out = capsys.readouterr().out
    for word in ("MIT", "Platelets", "RBC", "WBC", str(data_root / "bccd"), "205"):
        assert word in out
