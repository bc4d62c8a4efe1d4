"""``saccade export``: canvas, precision, decoding, and the figures that a file keeps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

import saccade
from saccade.cli import main
from saccade.deploy.export import SUFFIXES, export_model, keep_metrics
from saccade.deploy.fuse import fuse_batch_norm
from saccade.deploy.runtime import EagerRuntime, open_runtime
from saccade.errors import ConfigError, ExportError, SaccadeError
from saccade.models.checkpoint import save_model


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten images of the network's canvas, in two classes."""
    root = tmp_path_factory.mktemp("shades")
    rng = np.random.default_rng(0)
    for name, grey in (("dark", 60), ("light", 180)):
        (root / name).mkdir()
        for number in range(5):
            cv2.imwrite(str(root / name / f"{number}.png"), rng.integers(grey - 40, grey + 40, (32, 32), np.uint8))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = saccade.create_model("lenet5", num_classes=2)
    model.class_names = ("dark", "light")
    return save_model(model, tmp_path_factory.mktemp("run") / "best.safetensors")


def _stored(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.suffix in (path.suffix, ".bin"))


@pytest.mark.parametrize(
    ("kind", "precision"), [("onnx", "16"), ("onnx", "bf16"), ("openvino", "bf16"), ("torch", "16")]
)
def test_rounded_weights_take_half_the_space(kind: str, precision: str, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / f"small{SUFFIXES[kind]}"
    words = ["export", "--model", str(checkpoint), "--format", kind, "--path", str(path), "--precision", precision]
    assert main([*words, "--verify"]) == 0
    assert open_runtime(path, trust=True).metadata["precision"] == precision
    (tmp_path / "whole").mkdir()
    whole = saccade.export(checkpoint, kind, tmp_path / "whole" / path.name).path
    parameters = sum(weight.numel() for weight in saccade.load(checkpoint).parameters())
    assert 1.5 * parameters < _stored(whole) - _stored(path) <= 2 * parameters
    assert open_runtime(whole, trust=True).metadata["precision"] == "32"


def test_rounding_is_that_of_the_weights(tmp_path: Path) -> None:
    """The file computes what the network computes with its weights rounded, and the network stays as it is."""
    torch.manual_seed(0)
    model = saccade.create_model("resnet20_cifar").eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    path = export_model(model, tmp_path / "m.onnx", precision="bf16")
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    rounded = fuse_batch_norm(model, torch.zeros(1, 3, 32, 32))
    for weight in rounded.parameters():
        if weight.ndim > 1:
            weight.data = weight.data.bfloat16().float()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, expected = open_runtime(path, trust=True)(images), EagerRuntime(rounded)(images)
    torch.testing.assert_close(found["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-6)


def test_a_weight_beyond_float16_is_named(checkpoint: Path, tmp_path: Path) -> None:
    model = saccade.load(checkpoint)
    name, weight = next((name, weight) for name, weight in model.named_parameters() if weight.ndim > 1)
    weight.data.view(-1)[0] = 1e6
    with pytest.raises(ExportError, match=rf"weight '{name}' holds 1e\+06, beyond float16.*bf16 or 32"):
        export_model(model, tmp_path / "m.onnx", precision="16")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError, match="Did you mean 'bf16'"):
        export_model(model, tmp_path / "m.onnx", precision="bf6")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_file_keeps_its_figures(
    kind: str, checkpoint: Path, shades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"m{SUFFIXES[kind]}"
    words = ["export", "--model", str(checkpoint), "--format", kind, "--path", str(path), "--verify"]
    assert main([*words, "--data", str(shades), "--split", "all"]) == 0
    assert "top1" in capsys.readouterr().out
    kept = open_runtime(path, trust=True).metadata["metrics"]
    report = saccade.evaluate(path, shades, "all", workers=0, trust=True)
    assert kept["top1"] == report.values["top1"]
    assert kept["nll"] == pytest.approx(report.values["nll"])
    keep_metrics(path, {"top1": 0.5, "undefined": float("nan")}, trust=True)
    assert open_runtime(path, trust=True).metadata["metrics"] == {"top1": 0.5}
    assert saccade.evaluate(path, shades, "all", workers=0, trust=True).values == pytest.approx(
        report.values, nan_ok=True
    )


def test_canvas_and_raw_outputs(checkpoint: Path, tmp_path: Path) -> None:
    path = saccade.export(saccade.create_model("resnet20_cifar"), path=tmp_path / "r.onnx", size=(64, 48)).path
    assert open_runtime(path, trust=True).input_spec.size == (64, 48)
    raw = tmp_path / "raw.onnx"
    assert main(["export", "--model", str(checkpoint), "--path", str(raw), "--no-nms"]) == 0
    assert [output.name for output in onnx.load(raw).graph.output] == ["logits"]


def test_raw_outputs_are_not_verified(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--model", str(checkpoint), "--path", str(tmp_path / "m.onnx"), "--no-nms", "--verify"]
    assert main(words) == 2
    assert "raw outputs, which verify cannot compare" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_network_by_name_needs_weights(checkpoint: Path, shades: Path, tmp_path: Path) -> None:
    """The same for every verb that runs a network."""
    verbs = (
        lambda **options: saccade.export("lenet5", "torch", tmp_path / "m.pt2", **options),
        lambda **options: saccade.evaluate("lenet5", shades, "all", workers=0, **options),
        lambda **options: next(saccade.predict("lenet5", shades / "dark" / "0.png", **options)),
        lambda **options: saccade.explain("lenet5", shades / "dark" / "0.png", **options),
    )
    for verb in verbs:
        with pytest.raises(ConfigError, match="'lenet5' alone has random weights"):
            verb()
        with pytest.raises(SaccadeError, match="neither a file nor published weights"):
            verb(weights="nowhere")


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("checkpoint", "imagenet", "has its weights; leave weights out"),
        ("lenet", None, "Did you mean 'lenet5'"),
        ("nowhere.onnx", None, "no model 'nowhere.onnx'"),
    ],
)
def test_what_is_no_model(model: str, weights: str | None, message: str, checkpoint: Path) -> None:
    with pytest.raises(SaccadeError, match=message):
        saccade.evaluate(str(checkpoint) if model == "checkpoint" else model, "digit_scenes", weights=weights)
