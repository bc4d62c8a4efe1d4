from __future__ import annotations

import pytest
import torch
from tests.models.segmentation.torchvision_segmenters import (
    assert_equal_losses,
    assert_equal_outputs,
    ours_of,
    their_segmenter,
)

from saccade.errors import ConfigError
from saccade.models.registry import create_model


def test_equal_weights_give_torchvisions_outputs_and_losses():
    theirs = their_segmenter("fcn_resnet50", 5)
    model = ours_of(theirs, "fcn_resnet50", 5)
    assert_equal_outputs(theirs, model)
    assert model.output_weights == {"auxiliary": 0.4}
    model.output_weights = {"auxiliary": 0.5}  # as in torchvision's reference training
    assert_equal_losses(theirs, model, 0.5)


def test_a_prediction_never_runs_the_auxiliary_head():
    model = create_model("fcn", num_classes=2, backbone="mobilenet_v3_small")
    calls = []
    model.auxiliary_head.register_forward_hook(lambda *_: calls.append(1))
    images = torch.zeros(2, 3, 64, 64)
    model.eval()(images)
    model.train()(images)
    assert not calls
    terms = model.loss(images, {"label_map": torch.zeros(2, 64, 64, dtype=torch.long)})
    assert calls == [1]
    assert list(terms) == ["cross_entropy", "cross_entropy_auxiliary"]


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [("mobilenet_v2", 8), ("resnet18", 16), ("vgg11", 32), ("efficientnet_b0", 32), ("swin_t", 32), ("lenet5", 4)],
)
def test_any_backbone_keeps_or_trades_its_strides(backbone, stride):
    wanted = stride if stride in (8, 16) else 8
    with torch.device("meta"):
        model = create_model("fcn", num_classes=3, backbone=backbone, output_stride=wanted)
        shape = model.eval()(torch.empty(1, model.input_spec.channels, 65, 97))["logits"].shape
    assert model.feature_strides[-1] == stride
    assert shape == (1, 3, 65, 97)
    parts = (*model.stage_names, *model.head_names, *model.auxiliary_heads)
    names = [name for name, _ in model.named_parameters()]
    assert all(sum(name.startswith(f"{part}.") or name == part for part in parts) == 1 for name in names)


def test_a_backbone_of_one_feature_map_has_both_heads_on_it():
    with torch.device("meta"):
        model = create_model("fcn", num_classes=3, backbone="vit_ti_16")
    assert model.auxiliary_map == 0
    assert model.auxiliary_head[0].in_channels == model.head[0].in_channels == 192


def test_wrong_backbones_and_strides_are_named():
    with pytest.raises(ConfigError, match="a backbone is a classifier"):
        create_model("fcn", backbone="unet")
    with pytest.raises(ConfigError, match="no output_stride 4; choose 8, 16 or 32"):
        create_model("fcn_resnet50", output_stride=4)
