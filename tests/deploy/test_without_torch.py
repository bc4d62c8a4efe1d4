"""Exported files predict where there is neither torch nor torchvision: a small deployment installs neither."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.deploy.small import SmallClassifier, SmallDetector
from torch import Tensor, nn

import saccade
from saccade.deploy.export import export_model
from saccade.models.base import Decoded, Model, Outputs
from saccade.models.checkpoint import save_model
from saccade.structures.input_spec import InputSpec

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
from saccade.cli import main
sys.exit(main(sys.argv[1:]))
"""


class SmallMap(Model):
    """One linear rule a pixel."""

    num_classes = 2
    class_names = ("background", "bright")
    input_spec = InputSpec(size=(32, 32), resize="stretch")

    def __init__(self, task: str = "segmentation") -> None:
        super().__init__()
        self.task = task
        self.rule = nn.Conv2d(3, 2, 1)
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.rule(images)}

    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"].softmax(1)}


class SmallPoints(SmallMap):
    """The mean of the image as the place of two points."""

    class_names = ("left", "right")

    def __init__(self) -> None:
        super().__init__("keypoints")

    def decode(self, outputs: Outputs) -> Decoded:
        means = outputs["logits"].mean((2, 3)).sigmoid()
        count = torch.ones_like(means[:, 0], dtype=torch.int64)
        points = means[:, None, :, None].expand(-1, -1, -1, 2) * 30
        return {"keypoints": points, "point_scores": means[:, None], "scores": means[:, :1], "count": count}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def without_torch(*words: str) -> list[dict[str, object]]:
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("network", "kind"),
    [(SmallClassifier, "openvino"), (SmallDetector, "onnx"), (SmallMap, "onnx"), (SmallPoints, "openvino")],
)
def test_files_predict_without_torch(network: type[Model], kind: str, photos: Path, tmp_path: Path) -> None:
    path = export_model(network(), tmp_path / "model", format=kind)
    out, table = tmp_path / "out", tmp_path / "table.csv"
    found = without_torch("predict", str(path), str(photos), "--json", "--save", str(out), "--table", str(table))
    here = [json.loads(json.dumps(result.to_json())) for result in saccade.predict(path, photos)]
    assert len(found) == len(here) == 2
    if network is SmallDetector:  # without a threshold, Python gives what the shell leaves out
        here = [json.loads(json.dumps(result.above(0.25).to_json())) for result in saccade.predict(path, photos)]
    assert found == here
    assert len(list(out.iterdir())) == 2
    assert table.read_text().count("\n") >= 2


def test_tiles_and_limits_need_no_torch_either(photos: Path, tmp_path: Path) -> None:
    model = SmallDetector()
    model.max_detections = 20
    path = export_model(model, tmp_path / "model.onnx", format="onnx")
    tiled = without_torch("predict", str(path), str(photos), "--json", "--tile", "32", "--max-detections", "3")
    here = saccade.predict(path, photos, tile=32, max_detections=3)
    assert tiled == [json.loads(json.dumps(result.above(0.25).to_json())) for result in here]


def test_what_needs_torch_says_so(photos: Path, tmp_path: Path) -> None:
    checkpoint = save_model(saccade.create_model("lenet5"), tmp_path / "model.safetensors")
    words = ["predict", str(checkpoint), str(photos)]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: torch is not installed")
