from __future__ import annotations

import pytest
import torch
from torch import nn

from saccade.errors import ConfigError
from saccade.models.classification.base import build_backbone
from saccade.models.registry import create_model


def test_loss_takes_numbers_and_mixtures_of_classes():
    torch.manual_seed(0)
    model = create_model("lenet5").eval()
    images = torch.randn(3, 1, 32, 32)
    logits = model(images)["logits"]
    expected = -logits.log_softmax(1)[torch.arange(3), torch.tensor([4, 0, 9])].mean()

    as_list = model.loss(images, [{"labels": torch.tensor(label)} for label in (4, 0, 9)])
    as_batch = model.loss(images, {"labels": torch.tensor([4, 0, 9])})
    one_hot = model.loss(images, {"labels": torch.eye(10)[[4, 0, 9]]})
    for terms in (as_list, as_batch, one_hot):
        assert list(terms) == ["classification"]
        torch.testing.assert_close(terms["classification"], expected)


def test_label_smoothing_spreads_mass_over_all_classes():
    torch.manual_seed(0)
    model = create_model("lenet5").eval()
    images, labels = torch.randn(2, 1, 32, 32), torch.tensor([1, 2])
    model.label_smoothing = 0.1
    smoothed = torch.eye(10)[labels] * 0.9 + 0.1 / 10
    expected = -(smoothed * model(images)["logits"].log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(model.loss(images, {"labels": labels})["classification"], expected)


def test_decode_gives_probabilities_even_for_huge_bfloat16_logits():
    probabilities = create_model("lenet5").decode({"logits": torch.tensor([[1e4, -1e4, 0.0]]).bfloat16()})[
        "probabilities"
    ]
    torch.testing.assert_close(probabilities, torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("name", ["resnet18", "lenet5", "lenet5_1998"])
def test_every_parameter_of_a_backbone_moves_its_maps(name):
    backbone = build_backbone(name)
    images = torch.randn(2, backbone.input_spec.channels, 64, 64)
    sum(value.square().sum() for value in backbone.features(images)).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_a_backbone_option_is_passed_only_where_it_is_known():
    assert build_backbone("resnet18", output_stride=8).feature_strides == (2, 4, 8, 8, 8)
    assert build_backbone("lenet5", output_stride=8).feature_strides == (2, 4)


def test_backbones_are_classifiers_with_maps():
    with pytest.raises(ConfigError, match="segmentation"):
        build_backbone("unet")
    with pytest.raises(ConfigError, match="resnet18"):
        build_backbone("resnet81")


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v1", "lenet5", "lenet5_1998"])
def test_stages_and_head_hold_every_parameter(name):
    model = create_model(name)
    names = (*model.stage_names, *model.head_names)
    covered = {id(p) for part in names for p in model.get_submodule(part).parameters()}
    assert {id(p) for p in model.parameters()} == covered
    assert all(isinstance(model.get_submodule(part), nn.Module) for part in names)
