from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from tests.models.segmentation.torchvision_segmenters import (
    assert_equal_losses,
    assert_equal_outputs,
    ours_of,
    their_segmenter,
)
from torch import nn

from saccade.engine.train.phases import resolve_phases
from saccade.engine.train.steps import resolve_steps
from saccade.errors import ConfigError
from saccade.models.checkpoint import load_model, save_model
from saccade.models.registry import create_model
from saccade.models.segmentation.deeplabv3 import ASPP, ImagePooling
from saccade.recipes import get_recipe


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_equal_weights_give_torchvisions_outputs_and_losses(name):
    theirs = their_segmenter(name, 5)
    model = ours_of(theirs, name, 5)
    assert_equal_outputs(theirs, model)
    assert_equal_losses(theirs, model, 0.4)


def test_multi_grid_of_ones_is_the_network_of_segmentation_models_pytorch(scramble):
    """All its blocks of a dilated stage have the rate of the stage, as the paper's multi-grid (1, 1, 1) says."""
    reference = smp.DeepLabV3("resnet18", encoder_weights=None, encoder_output_stride=16, classes=5)
    scramble(reference)
    model = create_model(
        "deeplabv3", num_classes=5, backbone="resnet18", multi_grid=(1, 1), rates=(12, 24, 36), output_stride=16
    )
    names = {
        "encoder.": "backbone.",
        "decoder.aspp.": "aspp.",
        "decoder.conv.": "head.0.",
        "decoder.bn.": "head.1.",
        "segmentation_head.0.": "head.3.",
    }
    state = {}
    for name, tensor in reference.state_dict().items():
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        state[names[prefix] + name.removeprefix(prefix)] = tensor
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("auxiliary_head.") for name in missing)
    reference.eval(), model.eval()
    for size in ((64, 96), (96, 64)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            features = reference.encoder(images)
            expected = reference.segmentation_head[0](reference.decoder(features))  # upsampled corner on corner there
            found = model.scores(model.features(images))
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("stride", "rate", "pyramid"), [(32, 1, (3, 6, 9)), (16, 2, (6, 12, 18)), (8, 4, (12, 24, 36))]
)
def test_rates_follow_the_output_stride(stride, rate, pyramid):
    with torch.device("meta"):
        model = create_model("deeplabv3", output_stride=stride)
    found = [block.conv2.dilation[0] for block in model.backbone.layer4]
    assert found == [rate, 2 * rate, 4 * rate]  # section 3.2.1: at stride 16, 2 (1, 2, 4) = (2, 4, 8)
    assert tuple(branch[0].dilation[0] for branch in model.aspp.convs[1:4]) == pyramid
    assert model.output_stride == stride


def test_parts_of_the_pyramid_can_be_left_out():
    with torch.device("meta"):
        full, no_context, no_rates = (
            create_model("deeplabv3", backbone="resnet18", **options).aspp
            for options in ({}, {"image_pooling": False}, {"rates": ()})
        )
    assert (len(full.convs), len(no_context.convs), len(no_rates.convs)) == (5, 4, 2)
    assert not any(isinstance(branch, ImagePooling) for branch in no_context.convs)
    assert isinstance(no_rates.convs[1], ImagePooling)
    assert no_rates(torch.empty(1, 512, 5, 7, device="meta")).shape == (1, 256, 5, 7)


def test_a_wide_rate_sees_the_centre_alone():
    """Figure 4: the other eight weights of a 3x3 lie in the padding once the rate reaches the size of the map."""
    torch.manual_seed(0)
    pyramid = ASPP(4, rates=(9,), image_pooling=False, channels=3).eval()
    convolution = pyramid.convs[1][0]
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(convolution(x), F.conv2d(x, convolution.weight[:, :, 1:2, 1:2]))


def test_image_pooling_of_one_image_takes_the_running_statistics():
    torch.manual_seed(0)
    pooling = ImagePooling(3, 4)
    pooling[2].running_mean.normal_()
    pooling[2].running_var.uniform_(0.5, 2.0)
    x = torch.randn(1, 3, 5, 7, requires_grad=True)
    trained = pooling.train()(x)
    assert not pooling[2].num_batches_tracked
    torch.testing.assert_close(trained, pooling.eval()(x))
    two = pooling.train()(torch.randn(2, 3, 5, 7))
    assert pooling[2].num_batches_tracked == 1
    assert (two == two[:, :, :1, :1]).all()
    trained.sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_a_network_of_stride_16_predicts_at_stride_8(tmp_path):
    """Section 4.2: weights do not depend on the output stride, and the checkpoint remembers which it was."""
    torch.manual_seed(0)
    coarse = create_model("deeplabv3", num_classes=3, backbone="resnet18", output_stride=16).eval()
    fine = create_model("deeplabv3", num_classes=3, backbone="resnet18", output_stride=8).eval()
    fine.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        before, expected = coarse(images)["logits"], fine(images)["logits"]
        coarse.output_stride = 8
        found = coarse(images)["logits"]
        again = load_model(save_model(coarse, tmp_path / "model.safetensors"))(images)["logits"]
        assert not torch.allclose(before, expected)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(again, expected)
        coarse.output_stride = 16
        torch.testing.assert_close(coarse(images)["logits"], before)


def test_wrong_settings_are_named():
    with torch.device("meta"):
        with pytest.raises(ConfigError, match=r"multi_grid needs .* 'mobilenet_v2' has none. Pass multi_grid=\(\)"):
            create_model("deeplabv3", backbone="mobilenet_v2", multi_grid=(1, 2, 4))
        with pytest.raises(ConfigError, match=r"multi_grid has 2 numbers; .* has 3 blocks"):
            create_model("deeplabv3_resnet50", multi_grid=(1, 2))
        with pytest.raises(ConfigError, match="rates is"):
            create_model("deeplabv3_resnet50", rates=(0, 12))
        assert create_model("deeplabv3", backbone="mobilenet_v2").output_stride == 16
        fixed = create_model("deeplabv3", backbone="vgg11")
        with pytest.raises(ConfigError, match="output_stride 8: the backbone of this network has stride 32"):
            fixed.output_stride = 8


def test_recipe_has_the_papers_two_steps():
    config = get_recipe("deeplabv3_voc")
    first, second = resolve_steps(config)
    assert (first.config.optimizer.lr, second.config.optimizer.lr) == (0.007, 0.001)
    assert (first.config.freeze.batch_norm, second.config.freeze.batch_norm) == ("train", "frozen_all")
    assert (first.config.schedule.name, first.config.schedule.power) == ("poly", 0.9)
    # 30,000 steps of 16 images each: 10,582 images of trainaug, 2,913 of trainval.
    for step, images in ((first, 10_582), (second, 2_913)):
        assert step.config.epochs * (images // 16) == pytest.approx(30_000, rel=0.02)
    with torch.device("meta"):
        model = create_model(config.model, **config.model_args)
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {3e-4}
    (phase,) = resolve_phases(second.config, model)[1:]
    assert (model.output_stride, phase.model) == (16, {"output_stride": 8})
