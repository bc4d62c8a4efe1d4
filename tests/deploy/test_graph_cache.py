"""Converted graphs are found again, made anew when anything changed, bounded, and never a reason to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saccade
from saccade.deploy import graph_cache
from saccade.deploy.graph_cache import GraphCache
from saccade.deploy.openvino_runtime import OpenVinoRuntime
from saccade.deploy.runtime import open_runtime
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.ops.nms import NmsSettings

# Square, as a canvas is: an untrained network is as sure of boxes in a padding as of any other.
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
# Predicts in a process of its own, and says what it had to import for that.
SCRIPT = """
import sys, numpy as np, saccade
image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
(result,) = saccade.predict(sys.argv[1], [image])
np.save(sys.argv[2], result.boxes_xyxy)
print(*[name for name in ("torch._dynamo", "torchvision", "sympy") if name in sys.modules])
"""


def _detector() -> Model:
    torch.manual_seed(0)
    model = saccade.create_model("yolox_nano", num_classes=2).eval()
    vars(model)["nms"] = NmsSettings(score_threshold=0.0)  # an untrained network is sure of nothing
    return model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_model(saccade.create_model("lenet5", num_classes=3), tmp_path / "model.safetensors")


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often a graph is converted."""
    from saccade.deploy import openvino_runtime

    counted: list[int] = []
    convert = openvino_runtime.convert_program

    def counting(*given: Any) -> Any:
        counted.append(1)
        return convert(*given)

    monkeypatch.setattr(openvino_runtime, "convert_program", counting)
    return counted


def _probabilities(model: Model) -> np.ndarray:
    images = torch.from_numpy(IMAGE[None, :32, :32]).permute(0, 3, 1, 2)[:, :1]
    return OpenVinoRuntime(model, cached=True)(images)["probabilities"].numpy()


def test_a_checkpoint_seen_before_needs_neither_conversion_nor_compiler(tmp_path: Path, folder: Path) -> None:
    path = save_model(_detector(), tmp_path / "detector.safetensors")
    (first,) = saccade.predict(path, [IMAGE])
    assert len(list(folder.iterdir())) == 1
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "boxes.npy")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SACCADE_CACHE": str(folder.parent)},
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    boxes = np.load(tmp_path / "boxes.npy")
    assert len(boxes) > 0
    np.testing.assert_array_equal(boxes, first.boxes_xyxy)


def test_what_it_is_made_of_tells_graphs_apart(checkpoint: Path, folder: Path, conversions: list[int]) -> None:
    model = load_model(checkpoint)
    first = _probabilities(model)
    np.testing.assert_array_equal(_probabilities(load_model(checkpoint)), first)
    assert len(conversions) == 1  # the second was read
    changed = load_model(checkpoint)
    with torch.no_grad():
        next(changed.parameters())[0].add_(0.5)
    assert not np.allclose(_probabilities(changed), first)
    assert (len(conversions), len(list(folder.iterdir()))) == (2, 2)


def test_a_damaged_graph_is_made_again(checkpoint: Path, folder: Path, conversions: list[int]) -> None:
    first = _probabilities(load_model(checkpoint))
    (place,) = folder.iterdir()
    (place / "graph.xml").write_bytes(b"<net")
    np.testing.assert_array_equal(_probabilities(load_model(checkpoint)), first)
    np.testing.assert_array_equal(_probabilities(load_model(checkpoint)), first)
    assert len(conversions) == 2


def test_a_folder_that_cannot_be_written_only_costs_time(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "file"))
    assert _probabilities(load_model(checkpoint)).shape == (1, 3)


@pytest.mark.parametrize("how", ["cache=False", "a network in memory"])
def test_nothing_is_kept_unasked(checkpoint: Path, folder: Path, how: str) -> None:
    if how == "cache=False":
        list(saccade.predict(checkpoint, [IMAGE], cache=False))
    else:
        list(saccade.predict(load_model(checkpoint), [IMAGE]))
    assert not folder.exists()


def test_a_network_of_the_caller_is_not_changed_by_its_runtime(checkpoint: Path, folder: Path) -> None:
    model = load_model(checkpoint)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    open_runtime(model, cache=True)(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "forward" not in vars(model)


def test_those_used_longest_ago_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "_MAX_BYTES", 250)
    graphs = GraphCache(saccade.create_model("lenet5"), "1", tmp_path)

    def write(path: Path) -> None:
        path.write_bytes(bytes(100))

    for number, side in enumerate((1, 2)):
        graphs.write((side, side), write)
        for place in tmp_path.iterdir():
            if place.stat().st_mtime > 1000:
                os.utime(place, (number, number))
    assert graphs.read((1, 1), Path.read_bytes) is not None  # used just now
    graphs.write((3, 3), write)
    found = [graphs.read((side, side), Path.read_bytes) is not None for side in (1, 2, 3)]
    assert found == [True, False, True]


def test_a_graph_larger_than_all_room_is_kept_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "_MAX_BYTES", 10)
    graphs = GraphCache(saccade.create_model("lenet5"), "1", tmp_path)
    for side in (1, 2):
        graphs.write((side, side), lambda path: path.write_bytes(bytes(100)))
    assert graphs.read((1, 1), Path.read_bytes) is None
    assert graphs.read((2, 2), Path.read_bytes) is not None
