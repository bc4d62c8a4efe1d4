"""FCN files under Caffe's names: equal outputs of plain calls on BGR pixels; and VGG-16 as body of FCN and DeepLab."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tests.weights.layouts.test_vgg_regions import VGG16, flattened
from torch import Tensor

from saccade.models.classification.vgg import DEPTHS, VGG
from saccade.models.registry import create_model
from saccade.weights.layouts import fcn_caffe
from saccade.weights.load import load_weights

WIDTH, FC, CLASSES = 4, 8, 3
MEAN_BGR = (104.00699, 116.66877, 122.67892)


def published(skips: int) -> dict[str, Tensor]:
    """Random tensors under the names of wkentaro/pytorch-fcn."""
    generator = torch.Generator().manual_seed(0)

    def layer(name: str, outputs: int, inputs: int, kernel: int, bias: bool = True) -> None:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * scale
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    state: dict[str, Tensor] = {}
    before = 3
    for stage, (depth, factor) in enumerate(zip((2, 2, 3, 3, 3), (1, 2, 4, 8, 8), strict=True), start=1):
        for number in range(1, depth + 1):
            layer(f"conv{stage}_{number}", WIDTH * factor, before, 3)
            before = WIDTH * factor
    layer("fc6", FC, before, 7)
    layer("fc7", FC, FC, 1)
    layer("score_fr", CLASSES, FC, 1)
    if skips == 0:
        layer("upscore", CLASSES, CLASSES, 64, bias=False)
    if skips > 0:
        layer("score_pool4", CLASSES, 8 * WIDTH, 1)
        layer("upscore2", CLASSES, CLASSES, 4, bias=False)
    if skips == 1:
        layer("upscore16", CLASSES, CLASSES, 32, bias=False)
    if skips == 2:
        layer("score_pool3", CLASSES, 4 * WIDTH, 1)
        layer("upscore_pool4", CLASSES, CLASSES, 4, bias=False)
        layer("upscore8", CLASSES, CLASSES, 16, bias=False)
    return state


def plain_fcn(state: dict[str, Tensor], x: Tensor, skips: int) -> Tensor:
    """Network of Caffe's definition, layer after layer; ``x``: BGR pixels less their mean."""

    def conv(name: str, x: Tensor, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    height, width = x.shape[2:]
    pools = {}
    for stage, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, depth + 1):
            x = F.relu(conv(f"conv{stage}_{number}", x, 100 if (stage, number) == (1, 1) else 1))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pools[stage] = x
    x = conv("score_fr", F.relu(conv("fc7", F.relu(conv("fc6", x)))))
    if skips == 0:
        x = F.conv_transpose2d(x, state["upscore.weight"], stride=32)
        return x[:, :, 19 : 19 + height, 19 : 19 + width]
    x = F.conv_transpose2d(x, state["upscore2.weight"], stride=2)
    x = x + conv("score_pool4", pools[4])[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    if skips == 1:
        x = F.conv_transpose2d(x, state["upscore16.weight"], stride=16)
        return x[:, :, 27 : 27 + height, 27 : 27 + width]
    x = F.conv_transpose2d(x, state["upscore_pool4.weight"], stride=2)
    x = x + conv("score_pool3", pools[3])[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    x = F.conv_transpose2d(x, state["upscore8.weight"], stride=8)
    return x[:, :, 31 : 31 + height, 31 : 31 + width]


@pytest.mark.parametrize(("skips", "name"), [(0, "fcn32s_vgg16"), (1, "fcn16s_vgg16"), (2, "fcn8s_vgg16")])
def test_a_published_file_loads_and_gives_equal_outputs(skips: int, name: str, tmp_path: Path) -> None:
    state = published(skips)
    save_file(state, tmp_path / "fcn.safetensors")
    model = create_model(name, num_classes=CLASSES, fc_channels=FC, base_channels=WIDTH).eval()
    report = load_weights(model, tmp_path / "fcn.safetensors")
    assert report.recognised == "FCN (Caffe)"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())

    rgb = torch.randint(0, 256, (1, 3, 37, 53)).float()
    spec = model.input_spec
    images = (rgb - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    with torch.no_grad():
        expected = plain_fcn(state, rgb.flip(1) - torch.tensor(MEAN_BGR).view(3, 1, 1), skips)
        assert (model(images)["logits"] - expected).abs().max() < 1e-4 * expected.abs().max()


def test_other_files_of_these_names_are_not_taken_for_it() -> None:
    assert fcn_caffe.matches(set(published(2)))
    openpose = {name for name in published(2) if name.startswith("conv")} | {"Mconv7_stage6_L2.weight"}
    assert not fcn_caffe.matches(openpose)
    state = {"conv1_1.weight": torch.zeros(64, 4, 3, 3), "fc6.weight": torch.zeros(2)}  # pixels of four channels
    converted = fcn_caffe.convert(state, create_model("fcn8s_vgg16", fc_channels=8, base_channels=4))
    assert converted["backbone.trunk.0.0.weight"].shape == (64, 4, 3, 3)  # left to the comparison of shapes


def test_vgg16_is_the_body_of_fcn_and_of_deeplab(tmp_path: Path) -> None:
    widths = (4, 8, 16, 32, 32)
    classifier = VGG(DEPTHS[16], num_classes=5, fc_channels=16, widths=widths)
    state = flattened(classifier.state_dict(), VGG16)
    save_file(state, tmp_path / "vgg16.safetensors")
    x = torch.randn(1, 32, 7, 7)
    fc6, fc7 = classifier.classifier[0], classifier.classifier[3]

    fcn = create_model("fcn8s_vgg16", num_classes=3, fc_channels=16, base_channels=4)
    load_weights(fcn, tmp_path / "vgg16.safetensors")
    assert torch.equal(fcn.backbone.trunk[4][4].weight, state["features.28.weight"])
    torch.testing.assert_close(fcn.fc6(x).flatten(1), fc6(x.flatten(1)))
    torch.testing.assert_close(fcn.fc7(fcn.fc6(x)).flatten(1), fc7(fc6(x.flatten(1))))

    deeplab = create_model("deeplabv1_largefov", num_classes=3, fc_channels=4, base_channels=4)
    load_weights(deeplab, tmp_path / "vgg16.safetensors")  # every fourth filter, every third pixel
    assert torch.equal(deeplab.backbone.trunk[4][4].weight, state["features.28.weight"])
    assert torch.equal(deeplab.fc6.weight, fc6.weight.view(16, 32, 7, 7)[::4][:, :, [0, 3, 6]][..., [0, 3, 6]])
    assert torch.equal(deeplab.fc6.bias, fc6.bias[::4])
    assert torch.equal(deeplab.fc7.weight[..., 0, 0], fc7.weight[::4, ::4])
