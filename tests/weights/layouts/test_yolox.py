"""The official layout is recognised, and by nothing else."""

from __future__ import annotations

import torch

from saccade.models.detection.yolox import yolox_nano
from saccade.models.registry import create_model
from saccade.weights.layouts import torchvision_resnet, yolox, yolox_darknet53

# Names as they stand in the published files.
OFFICIAL = {
    "backbone.backbone.stem.conv.conv.weight",
    "backbone.backbone.dark2.0.dconv.conv.weight",
    "backbone.backbone.dark2.1.m.0.conv2.pconv.bn.running_var",
    "backbone.backbone.dark5.1.conv2.conv.weight",
    "backbone.lateral_conv0.conv.weight",
    "backbone.C3_p4.conv3.bn.weight",
    "backbone.reduce_conv1.bn.bias",
    "backbone.C3_p3.m.0.conv1.conv.weight",
    "backbone.bu_conv2.dconv.conv.weight",
    "backbone.C3_n3.conv1.conv.weight",
    "backbone.bu_conv1.pconv.conv.weight",
    "backbone.C3_n4.conv2.conv.weight",
    "head.cls_convs.0.0.dconv.conv.weight",
    "head.reg_convs.2.1.pconv.bn.num_batches_tracked",
    "head.cls_preds.1.bias",
    "head.reg_preds.0.weight",
    "head.obj_preds.2.weight",
    "head.stems.0.conv.weight",
}
OFFICIAL_DARKNET = {
    "backbone.backbone.stem.0.conv.weight",
    "backbone.backbone.stem.2.layer1.conv.weight",
    "backbone.backbone.dark3.8.layer2.bn.weight",
    "backbone.backbone.dark5.5.conv.weight",
    "backbone.backbone.dark5.7.conv2.conv.weight",
    "backbone.backbone.dark5.9.bn.running_mean",
    "backbone.out1_cbl.conv.weight",
    "backbone.out1.4.conv.weight",
    "backbone.out2_cbl.bn.weight",
    "backbone.out2.0.conv.weight",
    "head.cls_convs.0.0.conv.weight",
}


def test_official_names_are_ours() -> None:
    with torch.device("meta"):
        nano = yolox_nano()
    state = nano.state_dict()
    assert set(state) >= OFFICIAL
    assert yolox.matches(set(state))
    assert yolox.convert(state, nano) is state


def test_names_over_darknet53_are_those_of_the_one_darknet53() -> None:
    with torch.device("meta"):
        model = create_model("yolox_darknet53")
        plain = create_model("darknet53")
    converted = yolox_darknet53.convert({name: torch.zeros(1) for name in OFFICIAL_DARKNET}, model)
    assert len(converted) == len(OFFICIAL_DARKNET)
    assert set(converted) <= set(model.state_dict())
    backbone = {name for name in plain.state_dict() if not name.startswith("head.")}
    assert {f"backbone.backbone.{name}" for name in backbone} <= set(model.state_dict())
    assert yolox_darknet53.matches(OFFICIAL_DARKNET | {"backbone.backbone.dark5.0.conv.weight"})
    assert not yolox_darknet53.matches(OFFICIAL)
    assert not yolox.matches(OFFICIAL_DARKNET)


def test_a_file_without_head_is_recognised_and_others_are_not() -> None:
    assert yolox.matches({name for name in OFFICIAL if not name.startswith("head")})
    assert not yolox.matches({"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"})
    assert not torchvision_resnet.matches(OFFICIAL)
