"""Other settings of suppression, by the verbs: what is given replaces the model's own, and mistakes are named."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.testing.networks import TinyDetector

import saccade
from saccade.api._open import with_suppression
from saccade.api.options import NmsOptions
from saccade.cli import main
from saccade.errors import ConfigError, ExportError, WeightsError
from saccade.models.checkpoint import load_model, read_metadata, save_model
from saccade.ops.nms import NmsSettings
from saccade.weights.metadata import read_text_metadata


@pytest.fixture(scope="module")
def model() -> TinyDetector:
    """A detector that finds much in anything."""
    torch.manual_seed(0)
    model = saccade.create_model("tests.testing.networks:tiny_detector", num_classes=3).eval()
    assert isinstance(model, TinyDetector)
    model.nms = replace(model.nms, score_threshold=0.0, max_detections=60)
    with torch.no_grad():
        model.head.bias[2:4] = 1.2  # large boxes, which overlap
    return model


IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def test_what_is_given_replaces_the_models_own(model: TinyDetector) -> None:
    own = model.nms
    for nms in (NmsOptions(kind="soft", iou=0.3), {"kind": "soft", "iou": 0.3}):
        assert with_suppression(model, nms).nms == replace(own, kind="soft", iou=0.3)
    both = with_suppression(model, {"class_agnostic": True}, max_detections=2000).nms
    assert both == replace(own, class_agnostic=True, max_detections=2000, pre_nms=2000)
    assert with_suppression(model) is model
    assert model.nms == own
    assert with_suppression(model, {"kind": "none"}).head is model.head  # weights are shared


def test_predict_follows_it(model: TinyDetector) -> None:
    every, usual, strict, one_class = (
        len(next(saccade.predict(model, IMAGE, nms=nms)).scores)
        for nms in ({"kind": "none"}, {}, {"iou": 0.1}, {"iou": 0.05, "class_agnostic": True})
    )
    assert every == 60 > usual > strict > one_class


@pytest.mark.parametrize(
    ("nms", "message"),
    [
        ({"kind": "sofft"}, "nms.kind is 'sofft'. Did you mean 'soft'"),
        ({"knid": "soft"}, "nms has no setting 'knid'. Did you mean 'kind'"),
        ({"max_detections": 3}, r"nms has no setting 'max_detections'\. It is an option of its own"),
        ({"kind": "none", "iou": 0.5}, r"nms\.iou has no effect: nms\.kind is 'none'\. Leave it out"),
        ({"kind": "soft_gaussian", "iou": 0.5}, r"nms\.iou has no effect"),
        ({"sigma": 0.4}, r"nms\.sigma has no effect: nms\.kind is 'nms', as .*tiny_detector has it"),
        ({"iou": 1.5}, r"nms\.iou is 1\.5; it must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named(model: TinyDetector, nms: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        saccade.predict(model, IMAGE, nms=nms)


def test_where_there_is_nothing_to_set_it_is_refused(model: TinyDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nms is for detectors; lenet5 has no such suppression"):
        saccade.predict(saccade.create_model("lenet5"), IMAGE, nms={"iou": 0.5})
    file = saccade.export(model, "torch", tmp_path / "exported.pt2").path
    with pytest.raises(ConfigError, match="was exported with its own suppression, which cannot be changed"):
        saccade.predict(file, IMAGE, nms={"iou": 0.5}, trust=True)
    with pytest.raises(ConfigError, match=r"scored as they are\. Leave nms out"):
        saccade.evaluate(data="digit_scenes", predictions=tmp_path / "a.json", nms={"iou": 0.5})


def test_a_file_follows_the_settings_it_was_exported_with(
    model: TinyDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saccade.deploy.precision.has_bf16", lambda: False)  # networks in memory predict in float32
    model = copy.deepcopy(model)  # the runtime of the other, prepared by an earlier test, may have bf16
    nms = {"kind": "soft", "iou": 0.3}
    for options in ({}, {"suppression": nms}, {"max_detections": 7}):
        file = saccade.export(model, "torch", tmp_path / "exported.pt2", **options).path
        found = next(saccade.predict(file, IMAGE, trust=True))
        own = {"nms" if name == "suppression" else name: value for name, value in options.items()}
        expected = next(saccade.predict(model, IMAGE, **own))
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)
    with pytest.raises(ConfigError, match="a file without decoding has no suppression and no limit"):
        saccade.export(model, "torch", tmp_path / "raw.pt2", nms=False, max_detections=7)


def test_a_file_gives_fewer_detections_and_never_more(model: TinyDetector, tmp_path: Path) -> None:
    file = saccade.export(model, "torch", tmp_path / "exported.pt2").path
    every = next(saccade.predict(file, IMAGE, trust=True))
    few = next(saccade.predict(file, IMAGE, max_detections=5, trust=True))
    assert len(every.scores) > 5
    for one, other in ((few.boxes_xyxy, every.boxes_xyxy), (few.scores, every.scores), (few.labels, every.labels)):
        np.testing.assert_array_equal(one, other[:5])
    with pytest.raises(ExportError, match=r"max_detections is 61; .* was exported to output 60 detections"):
        saccade.predict(file, IMAGE, max_detections=61, trust=True)
    file = saccade.export(saccade.create_model("lenet5"), "torch", tmp_path / "lenet.pt2").path
    with pytest.raises(ExportError, match="max_detections is for detectors; lenet"):
        saccade.predict(file, IMAGE, max_detections=5, trust=True)


def test_a_checkpoint_keeps_its_settings(model: TinyDetector, tmp_path: Path) -> None:
    settings = NmsSettings(0.4, 0.2, 500, 50, "soft_gaussian", True, 0.3)
    path = save_model(with_suppression(model), tmp_path / "usual.safetensors")
    assert load_model(path).nms == model.nms
    other = with_suppression(model)
    own, other.nms = other.nms, settings
    try:
        path = save_model(other, tmp_path / "other.safetensors")
    finally:
        other.nms = own
    assert load_model(path).nms == settings
    assert read_metadata(path)["nms"]["kind"] == "soft_gaussian"


@pytest.mark.parametrize(
    ("nms", "message"),
    [
        ({"iou": 7.0}, r"field nms\.iou: expected `float` <= 1"),
        ({"kind": "rm -rf"}, r"field nms\.kind: invalid enum value"),
        ({"pre_nms": 10**12}, r"field nms\.pre_nms"),
        ({"thresh": 0.5}, "unknown field `thresh`"),
    ],
)
def test_settings_of_a_damaged_file_are_refused(nms: dict[str, object], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_text_metadata(json.dumps({"nms": nms}), "a.safetensors", WeightsError)


def test_the_shell_sets_it(model: TinyDetector, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    checkpoint = save_model(model, tmp_path / "model.safetensors")
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    given = ["predict", "--model", str(checkpoint), "--source", str(tmp_path / "a.png"), "--json"]
    counts = []
    for words in (["--nms.kind", "none"], [], ["--nms.iou", "0.05", "--nms.class-agnostic", "True"]):
        assert main([*given, *words]) == 0
        counts.append(len(json.loads(capsys.readouterr().out)["objects"]))
    assert counts[0] > counts[1] > counts[2]
    assert main([*given, "--nms.kind", "gausian"]) != 0
    assert "nms.kind is 'gausian'" in capsys.readouterr().err
    assert main([*given, "--nms.knid", "soft"]) != 0
    assert "Did you mean 'nms.kind'" in capsys.readouterr().err
