from __future__ import annotations

import pytest
import torch
from tests.models.segmentation.torchvision_segmenters import (
    assert_equal_losses,
    assert_equal_outputs,
    ours_of,
    their_segmenter,
)
from torch import nn

from saccade.errors import ConfigError
from saccade.models.classification.base import build_backbone
from saccade.models.registry import create_model


def test_equal_weights_give_torchvisions_outputs_and_losses():
    theirs = their_segmenter("lraspp_mobilenet_v3_large", 5)
    model = ours_of(theirs, "lraspp_mobilenet_v3_large", 5)
    assert_equal_outputs(theirs, model)
    assert_equal_losses(theirs, model, 0.0)


@pytest.mark.parametrize(
    ("backbone", "stride", "low"),
    [("mobilenet_v3_small", 16, 2), ("resnet18", 8, 2), ("vgg11", 16, 2), ("lenet5", 16, 0), ("convnext_tiny", 16, 1)],
)
def test_details_come_from_the_first_map_of_stride_8(backbone, stride, low):
    with torch.device("meta"):
        model = create_model("lraspp", num_classes=3, backbone=backbone, output_stride=stride)
        shape = model.eval()(torch.empty(1, model.input_spec.channels, 65, 97))["logits"].shape
    assert (model.low_map, shape) == (low, (1, 3, 65, 97))
    assert model.low_head.in_channels == model.feature_channels[low]


def test_one_feature_map_is_not_enough():
    with pytest.raises(ConfigError, match="reads two feature maps, and this backbone has one"):
        create_model("lraspp", backbone="vit_ti_16")


def test_strided_units_of_mobilenet_v3_and_their_dilation_at_stride_8():
    with torch.device("meta"):
        large, small = (build_backbone(f"mobilenet_v3_{size}", output_stride=8) for size in ("large", "small"))
        dilations = [
            convolution.dilation[0]
            for unit in large.trunk[1:-1]
            for convolution in unit.modules()
            if isinstance(convolution, nn.Conv2d) and convolution.kernel_size[0] > 1
        ]
        for model in (large, small):
            model.read_strided_units()
            maps = model.eval().features(torch.empty(1, 3, 64, 64))
            found = [(value.shape[1], 64 // value.shape[2]) for value in maps]
            assert found == list(zip(model.feature_channels, model.feature_strides, strict=True))
    assert dilations == [1] * 6 + [2] * 6 + [4] * 3
    assert (large.feature_ends, small.feature_ends) == ((0, 2, 4, 7, 16), (0, 1, 2, 4, 12))
    assert large.feature_channels == (16, 24, 40, 80, 960)
