"""Four pyramids behind one interface: shapes, what each level is made from, learning parameters, graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from saccade.errors import ConfigError
from saccade.models.classification.base import build_backbone
from saccade.models.detection.pyramids import PYRAMIDS, build_pyramid
from saccade.models.detection.retinanet import retinanet

LEVELS = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]  # of a canvas of 128 x 160


@pytest.mark.parametrize("design", PYRAMIDS)
def test_every_design_goes_under_the_same_heads(design: Any) -> None:
    torch.manual_seed(0)
    model = retinanet(num_classes=2, channels=16, anchor_size=8, pyramid=design)
    images = torch.randn(2, 3, 128, 160)
    maps = model.eval().features(images)
    assert [tuple(one.shape[1:]) for one in maps] == [
        (16, *side) for side in (LEVELS[2:3] if design == "single" else LEVELS)
    ]
    assert model.feature_strides == ((32,) if design == "single" else (8, 16, 32, 64, 128))
    # The same subnets, and one anchor of every size and shape at each location, in one map or in five.
    anchors = 45 if design == "single" else 9
    assert model.head.classification_head.conv[0].weight.shape == (16, 16, 3, 3)
    assert model.head.classification_head.cls_logits.out_channels == 2 * anchors
    sides = {tuple((box[2:] - box[:2]).tolist()) for box in model(images)["anchors"]}
    assert len(sides) == 45
    # Every parameter learns, from objects of all sizes.
    corners = torch.tensor([8.0, 16.0, 32.0, 64.0, 120.0])
    boxes = torch.stack((torch.zeros(5), torch.zeros(5), corners, corners), dim=1)
    terms = model.train().loss(images, [{"boxes": boxes, "labels": torch.zeros(5, dtype=torch.int64)}] * 2)
    sum(terms.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("design", [design for design in PYRAMIDS if design != "fpn"])  # it is in the contract suite
def test_every_design_compiles_as_one_graph(design: Any) -> None:
    model = retinanet(num_classes=2, channels=8, pyramid=design).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")(images)
        for name, value in model(images).items():
            torch.testing.assert_close(compiled[name], value)


def test_image_pyramid_is_the_last_map_of_each_scale() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18").eval()
    pyramid = build_pyramid("image", backbone, 8)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        levels = pyramid(images, backbone)
        for level, side in zip(levels, (256, 128, 64, 32, 16), strict=True):
            scaled = images if side == 64 else F.interpolate(images, (side, side), mode="bilinear", antialias=side < 64)
            expected = pyramid.lateral(backbone.features(scaled)[-1])
            assert level.shape == expected.shape
            if side >= 64:  # smaller ones are means over areas
                torch.testing.assert_close(level, expected)


def test_only_the_feature_pyramid_tells_fine_levels_what_coarse_maps_know() -> None:
    backbone = build_backbone("resnet18").eval()
    images = torch.randn(1, 3, 128, 128)
    for design, told in (("fpn", True), ("hierarchy", False)):
        pyramid = build_pyramid(design, backbone, 8)  # type: ignore[arg-type]
        with torch.no_grad():
            before = pyramid(images, backbone)
            weight = backbone.layer4[1].bn2.weight
            weight.fill_(3.0)
            after = pyramid(images, backbone)
            weight.zero_()
        assert torch.equal(before[0], after[0]) is not told
        assert not torch.equal(before[2], after[2])


def test_what_cannot_be_is_named() -> None:
    backbone = build_backbone("resnet18")
    with pytest.raises(ConfigError, match="pyramid is 'fpm'; it must be one of fpn, single, hierarchy, image"):
        build_pyramid("fpm", backbone)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match="'vit_ti_16' has feature maps of stride 16, and a pyramid needs 8, 16 and 32"
    ):
        retinanet(backbone="vit_ti_16")


@pytest.mark.parametrize("backbone", ["convnext_tiny", "vgg11", "darknet19"])
def test_any_classifier_is_a_backbone(backbone: str) -> None:
    with torch.device("meta"):
        model = retinanet(num_classes=2, backbone=backbone, channels=8)
        maps = model.features(torch.empty(1, 3, 128, 160))
    assert [tuple(one.shape[2:]) for one in maps] == LEVELS
