"""The catalogue finds what is on the machine and names the source of the rest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from saccade.data.catalogue import catalogue
from saccade.data.catalogue.catalogue import CATALOGUE, is_present, locate
from saccade.data.open import open_dataset
from saccade.data.readers import option_types
from saccade.errors import DataError


@pytest.fixture(autouse=True)
def own_places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("data"):
        return  # these read the real files
    monkeypatch.setenv("SACCADE_DATA", str(tmp_path / "shared"))
    monkeypatch.setattr(catalogue, "cache_folder", lambda: tmp_path / "cache")


def test_shared_folder_comes_before_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache" / "bccd").mkdir(parents=True)
    assert locate("bccd") == tmp_path / "cache" / "bccd"
    (tmp_path / "shared" / "bccd").mkdir(parents=True)
    assert locate("bccd") == tmp_path / "shared" / "bccd"


def test_absence_names_the_source(tmp_path: Path) -> None:
    assert not is_present("bccd")
    with pytest.raises(DataError) as caught:
        locate("bccd")
    for part in (
        str(tmp_path / "shared" / "bccd"),
        str(tmp_path / "cache" / "bccd"),
        "BCCD_Dataset",
        "MIT",
        "SACCADE_DATA",
    ):
        assert part in str(caught.value)


def test_unknown_and_generated_names() -> None:
    with pytest.raises(DataError, match="Did you mean 'mnist'"):
        locate("minst")
    assert is_present("digit_scenes")
    with pytest.raises(DataError, match="made on the fly"):
        locate("digit_scenes")


def test_entries_match_their_readers() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.task in {"classification", "detection", "segmentation", "keypoints", "translation"}
        assert entry.description
        assert entry.licence
        if entry.reader != "generated":
            assert set(entry.options) <= option_types(entry.reader).keys()


def test_face_points_are_mirrored_once_and_both_ways() -> None:
    entry = CATALOGUE["facial_keypoints_68"]
    pairs, names = entry.options["flip_pairs"], entry.options["class_names"]
    mentioned = [point for pair in pairs for point in pair]
    assert len(names) == len(set(names)) == 68
    assert len(mentioned) == len(set(mentioned))
    # On the middle line of a face: chin, bridge of the nose, tip, and the middles of the four edges of the lips.
    assert sorted(set(range(68)) - set(mentioned)) == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    for left, right in pairs:
        assert names[left].split("_")[-2] == names[right].split("_")[-2]


def test_downloads_are_proven_by_a_hash() -> None:
    named = [file for entry in CATALOGUE.values() for file in entry.files]
    assert len(named) >= 7
    for file in named:
        assert file.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size > 0
    assert CATALOGUE["mnist"].size == 11_594_722
    assert CATALOGUE["bccd"].size is None


def test_absence_offers_the_download() -> None:
    with pytest.raises(DataError, match=r"Run 'saccade datasets omniglot --download', or get it from .*SACCADE_DATA"):
        locate("omniglot")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    assert catalogue.cache_folder() == tmp_path / "data"


@pytest.mark.data("mnist")
def test_hashes_of_mnist_are_those_of_the_files(data_root: Path) -> None:
    # The wrapper of the fourth file was made anew when it was put there; its content is MNIST's.
    for file in CATALOGUE["mnist"].files:
        if not file.file_name.startswith("train-images"):
            content = (data_root / "mnist" / file.file_name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256
            assert len(content) == file.size


@pytest.mark.data("orl_faces")
def test_faces_open_by_name(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    data = open_dataset("orl_faces", "train+test")
    assert len(data) == 400
    assert data.read(0).image.shape == (112, 92, 1)
