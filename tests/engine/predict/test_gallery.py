"""Nearest images of a gallery: the network's own distance, classes from folders, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli import main
from saccade.deploy.runtime import FusedRuntime
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.results.embedding import Embedding, Neighbour


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch predicts: nothing is converted for each of many calls."""
    monkeypatch.setattr("saccade.deploy.runtime.best_cpu_runtime", lambda model, cached: FusedRuntime(model))


@pytest.fixture(scope="module")
def model() -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some weights give every image the vector 0
        return create_model("protonet_conv4", in_channels=3, width=16).eval()


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Two classes of two images, one image of no class, and one that is broken."""
    rng = np.random.default_rng(0)
    for name in ("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png", "e.png"):
        file = tmp_path / "gallery" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (28, 28, 3), np.uint8)).save(file)
    (tmp_path / "gallery" / "dog" / "broken.png").write_bytes(b"no image")
    return tmp_path / "gallery"


def test_neighbours_are_those_of_the_plain_distance(model: Model, gallery: Path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (28, 28, 3), np.uint8)
    (result,) = saccade.predict(model, image, gallery=gallery, neighbours=3)
    assert isinstance(result, Embedding)
    files = [file for file in sorted(gallery.rglob("*.png")) if file.name != "broken.png"]
    plain = {str(one.path): float(((one.vector - result.vector) ** 2).sum()) for one in saccade.predict(model, files)}
    assert len(set(plain.values())) == len(plain), "no two are equally far"
    expected = sorted(plain.items(), key=lambda pair: pair[1])[:3]
    assert [neighbour.path for neighbour in result.neighbours] == [path for path, _ in expected]
    assert np.allclose([one.distance for one in result.neighbours], [far for _, far in expected], rtol=1e-4)
    for neighbour in result.neighbours:
        parent = Path(neighbour.path).parent
        assert neighbour.name == ("" if parent == gallery else parent.name)


def test_an_image_of_the_gallery_is_not_its_own_neighbour(model: Model, gallery: Path) -> None:
    for result in saccade.predict(model, gallery / "cat", gallery=gallery, neighbours=9):
        assert isinstance(result, Embedding)
        assert len(result.neighbours) == 4
        assert result.path not in [neighbour.path for neighbour in result.neighbours]


def test_koch_weights_decide_the_order() -> None:
    from saccade.tasks.embedding import TASK

    about = {"image_id": 0, "image_size": (4, 4), "class_names": ()}
    weights = np.array([10.0, 0.5], np.float32)
    far, near = (
        Embedding(path=name, vector=np.array(v, np.float32), l1_weights=weights, **about)
        for name, v in (("far", [1, 0]), ("near", [0, 5]))
    )
    asked = Embedding(path="asked", vector=np.zeros(2, np.float32), l1_weights=weights, **about)
    found = TASK.search_gallery([(far, "x"), (near, "y")], 2)(asked)
    assert isinstance(found, Embedding)
    assert found.neighbours == (Neighbour("near", "y", 2.5), Neighbour("far", "x", 10.0))


def test_the_shell_prints_draws_and_tabulates_neighbours(
    model: Model, gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(save_model(model, tmp_path / "run" / "best.safetensors"))
    words = ["predict", "--model", run, "--source", str(gallery / "cat"), "--gallery", str(gallery)]
    words += ["--neighbours", "2"]
    table, drawings = tmp_path / "table.csv", tmp_path / "out"
    assert main([*words, "--save", str(drawings), "--table", str(table)]) == 0
    out, err = capsys.readouterr()
    assert "a.png: nearest " in out
    assert err.count("broken.png") == 1
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    height, width, _ = np.asarray(Image.open(drawings / "a.png")).shape
    assert width > 2.5 * height  # three images side by side
    assert main([*words, "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert [one["path"] for one in first["neighbours"]] == [row["neighbour"] for row in rows[:2]]


def test_what_cannot_be_compared_is_refused(model: Model, gallery: Path, tmp_path: Path) -> None:
    image = np.zeros((28, 28, 3), np.uint8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"classification compares no images with others\. Leave the gallery out"):
        saccade.predict(create_model("lenet5"), image, gallery=gallery)
    with pytest.raises(DataError, match=r"no folder"):
        saccade.predict(model, image, gallery=gallery / "e.png")
    with pytest.raises(DataError, match=r"holds no images"):
        list(saccade.predict(model, image, gallery=tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"Name its folder: gallery=DIR"):
        saccade.predict(model, image, neighbours=3)
    with pytest.raises(ConfigError, match=r"neighbours is 0"):
        saccade.predict(model, image, gallery=gallery, neighbours=0)
