"""The official layout is recognised, and by nothing else."""

from __future__ import annotations

import torch

from saccade.models.detection.yolox import yolox_darknet53, yolox_nano
from saccade.weights.layouts import torchvision_resnet, yolox

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
        nano, darknet = yolox_nano(), yolox_darknet53()
    for model, names in ((nano, OFFICIAL), (darknet, OFFICIAL_DARKNET)):
        state = model.state_dict()
        assert names <= set(state)
        assert yolox.matches(set(state))
        assert yolox.convert(state, model) is state


def test_a_file_without_head_is_recognised_and_others_are_not() -> None:
    assert yolox.matches({name for name in OFFICIAL if not name.startswith("head")})
    assert not yolox.matches({"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"})
    assert not torchvision_resnet.matches(OFFICIAL)
