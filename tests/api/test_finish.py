"""What runs after the network, by the verbs: it reaches predict, evaluate and every exported file, and travels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.api.options import FinishOptions
from saccade.cli import main
from saccade.deploy.file_runtime import OnnxRuntime
from saccade.engine.train.config import Phase, TrainConfig
from saccade.engine.train.phases import resolve_phases
from saccade.errors import ConfigError
from saccade.models.base import Model, Outputs
from saccade.models.checkpoint import load_model, read_metadata, save_model
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.structures.input_spec import InputSpec

NAMES = ("sky", "road", "tree")
CRF = {"kind": "dense_crf", "iterations": 2, "bi_rgb_std": 20.0}
# Bands of colour with noise, of another aspect than the canvas.
IMAGE = np.clip(
    np.repeat(np.array([40, 120, 200], np.uint8), 16)[:, None, None]
    + np.random.default_rng(0).normal(0, 45, (48, 64, 3)),
    0,
    255,
).astype(np.uint8)


class PixelClassifier(Segmenter):
    """The class of a pixel by its own brightness: noisy where the image is."""

    input_spec = InputSpec((64, 64), resize="letterbox", mean=(127.0,) * 3, std=(64.0,) * 3)
    head_names = ("head",)

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.head = nn.Conv2d(3, num_classes, 1)
        with torch.no_grad():  # logits of the distance from 40, 120 and 200
            centres = torch.linspace(-1.35, 1.14, num_classes)
            self.head.weight.copy_((2 * centres[:, None] / 3).expand(-1, 3)[..., None, None])
            self.head.bias.copy_(-(centres**2))

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(images)}


@register_model("segmentation", "")
def pixel_classifier(num_classes: int = 3) -> PixelClassifier:
    return PixelClassifier(num_classes)


@pytest.fixture(scope="module")
def model() -> Model:
    model = saccade.create_model(f"{__name__}:pixel_classifier").eval()
    model.class_names = NAMES
    return model


def label_map(model: Model | Path, **options: object) -> np.ndarray:
    (result,) = saccade.predict(model, IMAGE, **options)  # type: ignore[arg-type]
    return result.label_map  # type: ignore[attr-defined,no-any-return]


def changes(labels: np.ndarray) -> int:
    """Neighbours of unequal labels."""
    return int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())


def test_predict_follows_it_and_the_network_stays(model: Model) -> None:
    plain = label_map(model)
    usual = label_map(model, finish="dense_crf")
    assert changes(usual) < changes(plain)
    assert np.array_equal(usual, label_map(model, finish=FinishOptions(kind="dense_crf")))
    assert model.finish == ""
    assert np.array_equal(label_map(model, finish={"kind": "none"}), plain)
    idle = {"kind": "dense_crf", "pos_weight": 0.0, "bi_weight": 0.0}
    assert np.array_equal(label_map(model, finish=idle), plain)


def test_checkpoints_hold_it(model: Model, tmp_path: Path) -> None:
    network = load_model(save_model(model, tmp_path / "plain.safetensors"))
    network.finish, network.finish_options = "dense_crf", {"iterations": 2, "bi_rgb_std": 20.0}
    path = save_model(network, tmp_path / "crf.safetensors")
    assert read_metadata(path)["finish_options"] == {"iterations": 2, "bi_rgb_std": 20.0}
    refined = label_map(model, finish=CRF)
    assert np.array_equal(label_map(path), refined)
    assert np.array_equal(label_map(path, finish="none"), label_map(model))
    # Options without a kind change those that it has.
    weaker = label_map(path, finish={"bi_weight": 0.0, "pos_weight": 0.0})
    assert np.array_equal(weaker, label_map(model))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_exported_files_hold_it_and_obey(model: Model, tmp_path: Path, format: str) -> None:
    result = saccade.export(model, format, tmp_path / "m", finish=CRF, verify=True)  # type: ignore[arg-type]
    assert result.parity is not None
    assert result.parity.passed, str(result.parity)
    refined, plain = label_map(model, finish=CRF), label_map(model)
    assert (label_map(result.path) == refined).mean() > 0.99
    assert (refined != plain).mean() > 0.02
    assert (label_map(result.path, finish="none") == plain).mean() > 0.99  # it lies outside of the graph
    again = {**CRF, "iterations": 5}
    assert (label_map(result.path, finish=again) == label_map(model, finish=again)).mean() > 0.99


def test_evaluate_follows_it(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for part in ("val", "valannot"):
        (folder / part).mkdir(parents=True)
    bands = np.repeat(np.arange(3, dtype=np.uint8), 16)[:, None].repeat(64, axis=1)
    for number in range(2):
        cv2.imwrite(str(folder / "val" / f"{number}.png"), IMAGE[..., ::-1])
        cv2.imwrite(str(folder / "valannot" / f"{number}.png"), bands)
    (folder / "class_names.txt").write_text("\n".join(NAMES))
    plain, refined, idle = (
        saccade.evaluate(model, folder, "val", workers=0, finish=finish).values["mIoU"]
        for finish in (FinishOptions(), CRF, {"kind": "dense_crf", "pos_weight": 0.0, "bi_weight": 0.0})
    )
    assert idle == pytest.approx(plain)
    assert refined != pytest.approx(plain, abs=1e-4)


def test_the_shell_reaches_it(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = save_model(model, tmp_path / "m.safetensors")
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE[..., ::-1])
    words = ["--finish.kind", "dense_crf", "--finish.iterations", "2", "--finish.bi-rgb-std", "20"]
    said = []
    for more in ([], words):
        assert main(["predict", "--model", str(checkpoint), "--source", str(tmp_path / "a.png"), "--json", *more]) == 0
        said.append(json.loads(capsys.readouterr().out.splitlines()[0]))
    assert said[0] != said[1]
    assert main(["export", "--model", str(checkpoint), "--path", str(tmp_path / "m.onnx"), *words]) == 0
    metadata = OnnxRuntime(tmp_path / "m.onnx").metadata
    assert (metadata["finish"], metadata["finish_options"]) == ("dense_crf", {"iterations": 2, "bi_rgb_std": 20.0})


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        ("dense_cfr", "'dense_cfr', which is not registered here. Did you mean 'dense_crf'"),
        ({"iterations": 3}, r"finish\.iterations has no effect: nothing runs after .*pixel_classifier"),
        ({"kind": "none", "iterations": 3}, r"finish\.iterations has no effect"),
        ({"kind": "dense_crf", "rounds": 3}, "no option 'rounds'"),
        ({"kind": "dense_crf", "iterations": 0}, "iterations is 0; it must be a whole number"),
    ],
)
def test_mistakes_are_named_before_anything_runs(model: Model, finish: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        saccade.predict(model, IMAGE, finish=finish)  # type: ignore[arg-type]


def test_where_it_does_not_belong_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for networks that label pixels; this one solves classification"):
        saccade.predict(saccade.create_model("lenet5"), IMAGE, finish="dense_crf")
    with pytest.raises(ConfigError, match="Leave finish out"):
        saccade.evaluate(data="digit_scenes", predictions=tmp_path / "p.json", finish="dense_crf")


def test_a_phase_of_training_sets_it(model: Model) -> None:
    phases = (Phase(from_epoch=3, model={"finish": "dense_crf", "finish_options": {"iterations": 2}}),)
    settings = resolve_phases(TrainConfig(phases=phases), model)
    assert [one.model["finish"] for one in settings] == ["", "dense_crf"]
    assert settings[1].model["finish_options"] == {"iterations": 2}
