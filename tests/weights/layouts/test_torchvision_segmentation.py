"""Segmenters that torchvision publishes load unedited; the files of others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from tests.models.segmentation.torchvision_segmenters import NAMES, assert_equal_outputs, their_segmenter

from saccade.errors import WeightsError
from saccade.models.registry import create_model
from saccade.models.segmentation.base import Segmenter
from saccade.weights import PUBLISHED, load_weights
from saccade.weights.download import sha256_of
from saccade.weights.layouts import torchvision_detection, torchvision_segmentation
from saccade.weights.source import WeightsSource


def _source(state: dict[str, torch.Tensor]) -> WeightsSource:
    return WeightsSource("theirs.pth", Path("theirs.pth"), state)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_its_place(name):
    options = {} if name.startswith("lraspp") else {"aux_loss": True}
    with torch.device("meta"):
        theirs = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, **options)
        model = create_model(name)
    state = torchvision_segmentation.convert(theirs.state_dict(), model)
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert _source(theirs.state_dict()).layout == torchvision_segmentation.NAME


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_published_weights_bring_names_and_preprocessing(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    theirs = their_segmenter(name, 21)
    cached = tmp_path / "weights" / PUBLISHED[f"{name}/coco_voc"].file_name
    cached.parent.mkdir()
    torch.save(theirs.state_dict(), cached)
    cached.with_name(cached.name + ".sha256").write_text(sha256_of(cached))  # as after a verified download
    model = create_model(name, weights="coco_voc").eval()
    assert isinstance(model, Segmenter)
    assert_equal_outputs(theirs, model)
    categories = torchvision.models.get_model_weights(name).COCO_WITH_VOC_LABELS_V1.meta["categories"]
    assert model.class_names == ("background", *categories[1:])
    assert (model.input_spec.resize, min(model.input_spec.size)) == ("shorter_side", 520)


def test_a_file_without_the_auxiliary_head_loads():
    theirs = their_segmenter("deeplabv3_mobilenet_v3_large", 21).state_dict()
    state = {name: tensor for name, tensor in theirs.items() if not name.startswith("aux_classifier.")}
    report = load_weights(create_model("deeplabv3_mobilenet_v3_large"), _source(state))
    assert report.missing
    assert all(name.startswith("auxiliary_head.") for name in report.missing)
    assert not report.unexpected


def test_other_classes_begin_with_all_but_the_last_layers():
    state = their_segmenter("lraspp_mobilenet_v3_large", 21).state_dict()
    model = create_model("lraspp_mobilenet_v3_large", num_classes=4)
    before = model.high_head.weight.clone()
    report = load_weights(model, _source(state))
    assert set(report.head) == {f"{head}.{part}" for head in ("low_head", "high_head") for part in ("weight", "bias")}
    assert torch.equal(model.high_head.weight, before)
    assert torch.equal(model.reduce[0].weight, state["classifier.cbr.0.weight"])


def test_a_classifier_is_the_start_of_a_backbone():
    state = torchvision.models.mobilenet_v3_large().state_dict()
    model = create_model("deeplabv3_mobilenet_v3_large", num_classes=4)
    report = load_weights(model, _source(state))
    parts = (*model.neck_names, *model.head_names, *model.auxiliary_heads)
    assert {name.split(".")[0] for name in report.missing} == set(parts)
    assert torch.equal(model.backbone.trunk[15].block[0][0].weight, state["features.15.block.0.0.weight"])


def test_files_of_other_networks_are_refused():
    theirs = their_segmenter("deeplabv3_mobilenet_v3_large", 21).state_dict()
    for name in ("fcn", "deeplabv3"):
        other = create_model(name, backbone="mobilenet_v3_small")
        with pytest.raises(WeightsError, match="does not fit"):
            load_weights(other, _source(theirs))
    names = set(torchvision.models.resnet18().state_dict())
    assert not torchvision_segmentation.matches(names)
    assert not torchvision_segmentation.matches({f"backbone.{name}" for name in names})
    assert not torchvision_detection.matches(set(theirs))
