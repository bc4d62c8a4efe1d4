"""DeepLabV2 files of kazuto1011: equal outputs of plain calls on BGR pixels, for one and several image sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import WeightsError
from saccade.models.registry import create_model
from saccade.weights.load import load_weights

DEPTHS, CLASSES = (1, 2, 1, 2), 3
MEAN_BGR = (104.00699, 116.66877, 122.67892)


def published(shortcut: str = "shortcut") -> dict[str, Tensor]:
    """Random tensors under the published names, of a shallow network."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv_norm(name: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = (1 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.conv.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * scale
        for part in ("weight", "running_var"):
            state[f"{name}.bn.{part}"] = torch.rand(outputs, generator=generator) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{name}.bn.{part}"] = torch.randn(outputs, generator=generator) * 0.1

    conv_norm("layer1.conv1", 64, 3, 7)
    before = 64
    for layer, (depth, width) in enumerate(zip(DEPTHS, (64, 128, 256, 512), strict=True), start=2):
        for block in range(1, depth + 1):
            name = f"layer{layer}.block{block}"
            conv_norm(f"{name}.reduce", width, before, 1)
            conv_norm(f"{name}.conv3x3", width, width, 3)
            conv_norm(f"{name}.increase", 4 * width, width, 1)
            if block == 1:
                conv_norm(f"{name}.{shortcut}", 4 * width, before, 1)
            before = 4 * width
    for branch in range(4):
        state[f"aspp.c{branch}.weight"] = torch.randn(CLASSES, 2048, 3, 3, generator=generator) * 0.01
        state[f"aspp.c{branch}.bias"] = torch.randn(CLASSES, generator=generator)
    return state


def plain_deeplab(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Scores at an eighth of BGR pixels less their mean."""

    def conv_norm(name: str, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
        x = F.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding, dilation)
        mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{name}.bn.weight"], state[f"{name}.bn.bias"], eps=1e-5)

    x = F.max_pool2d(F.relu(conv_norm("layer1.conv1", x, 2, 3)), 3, 2, 1, ceil_mode=True)
    for layer, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 1, 2), (5, 1, 4)):
        for block in range(1, DEPTHS[layer - 2] + 1):
            name, step = f"layer{layer}.block{block}", stride if block == 1 else 1
            y = F.relu(conv_norm(f"{name}.reduce", x, step))
            y = F.relu(conv_norm(f"{name}.conv3x3", y, 1, dilation, dilation))
            y = conv_norm(f"{name}.increase", y)
            x = F.relu(y + (conv_norm(f"{name}.shortcut", x, step) if block == 1 else x))
    scores = [
        F.conv2d(x, state[f"aspp.c{branch}.weight"], state[f"aspp.c{branch}.bias"], padding=rate, dilation=rate)
        for branch, rate in enumerate((6, 12, 18, 24))
    ]
    return torch.stack(scores).sum(0)


@pytest.mark.parametrize("prefix", ["", "base.", "scale."])
def test_a_published_file_loads_and_gives_equal_outputs(prefix: str, tmp_path: Path) -> None:
    state = published()
    theirs = {prefix + name: value for name, value in state.items()}
    if prefix == "scale.":  # as older files have it
        theirs = {
            name.replace("shortcut", "proj").replace("aspp.c", "aspp.stages.c"): one for name, one in theirs.items()
        }
    torch.save(theirs, tmp_path / "deeplabv2.pth")
    model = create_model("deeplabv2_resnet101", num_classes=CLASSES, depths=DEPTHS).eval()
    report = load_weights(model, tmp_path / "deeplabv2.pth")
    assert report.recognised == "DeepLabV2 (kazuto1011)"
    assert (report.missing, report.unexpected, report.head) == ((), (), ())
    if prefix:
        return
    rgb = torch.randint(0, 256, (1, 3, 33, 65)).float()
    spec = model.input_spec
    images = (rgb - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    with torch.no_grad():
        expected = plain_deeplab(state, rgb.flip(1) - torch.tensor(MEAN_BGR).view(3, 1, 1))
        assert expected.shape == (1, 3, 5, 9)
        assert (model.supervised(images)["logits"] - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_file_of_another_depth_is_refused(tmp_path: Path) -> None:
    torch.save(published(), tmp_path / "deeplabv2.pth")
    model = create_model("deeplabv2_resnet101", num_classes=CLASSES, depths=(1, 1, 1, 1))
    with pytest.raises(WeightsError, match="is not of deeplabv2_resnet101: it has layers that"):
        load_weights(model, tmp_path / "deeplabv2.pth")
