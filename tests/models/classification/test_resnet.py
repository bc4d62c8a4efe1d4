from __future__ import annotations

import cv2
import pytest
import timm
import torch
import torchvision
from torch import nn

from saccade.errors import ConfigError
from saccade.models.registry import create_model

# builder: parameters, multiply-adds at 224 x 224 (reference-counts.json)
COUNTS = {
    "resnet18": (11689512, 1814073344),
    "resnet34": (21797672, 3663761408),
    "resnet50": (25557032, 4089184256),
    "resnet101": (44549160, 7801405440),
    "resnet152": (60192808, 11513626624),
    "resnet50_v1": (25557032, 3857973248),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_macs_and_key_names(name, macs):
    with torch.device("meta"):
        model = create_model(name)
        reference = getattr(torchvision.models, name.removesuffix("_v1"))()
    assert (sum(p.numel() for p in model.parameters()), macs(model, (3, 224, 224))) == COUNTS[name]
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert shapes == {key: value.shape for key, value in reference.state_dict().items()}


def _assert_equal_outputs(model: nn.Module, reference: nn.Module, scramble, sizes=((64, 64), (75, 101))) -> None:
    scramble(reference)
    model.load_state_dict(reference.state_dict())
    model.eval()
    reference.eval()
    for size in sizes:
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = reference(images)
            difference = (model(images)["logits"] - expected).abs().max()
        assert difference <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_equal_weights_give_torchvisions_outputs(name, scramble):
    _assert_equal_outputs(create_model(name), getattr(torchvision.models, name)(), scramble)


@pytest.mark.parametrize(("stride", "replaced"), [(16, (False, False, True)), (8, (False, True, True))])
def test_dilated_bottlenecks_are_torchvisions(stride, replaced, scramble):
    reference = torchvision.models.resnet50(replace_stride_with_dilation=replaced)
    _assert_equal_outputs(create_model("resnet50", output_stride=stride), reference, scramble, sizes=((64, 64),))


def test_dilated_basic_blocks_are_timms(scramble):
    reference = timm.create_model("resnet18", output_stride=8)
    _assert_equal_outputs(create_model("resnet18", output_stride=8), reference, scramble, sizes=((64, 64),))


def test_v1_has_the_stride_in_the_first_convolution(scramble):
    reference = torchvision.models.resnet50()
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    _assert_equal_outputs(create_model("resnet50_v1"), reference, scramble)


@pytest.mark.parametrize(("name", "stride"), [("resnet18", 32), ("resnet18", 8), ("resnet50", 16)])
def test_features_have_the_channels_and_strides_that_are_told(name, stride):
    model = create_model(name, output_stride=stride).eval()
    with torch.no_grad():
        maps = model.features(torch.randn(1, 3, 64, 96))
    assert model.feature_strides == tuple(min(value, stride) for value in (2, 4, 8, 16, 32))
    assert [value.shape[1] for value in maps] == list(model.feature_channels)
    assert [tuple(value.shape[2:]) for value in maps] == [(64 // s, 96 // s) for s in model.feature_strides]


def test_wrong_output_stride():
    with pytest.raises(ConfigError, match="8, 16 or 32"):
        create_model("resnet18", output_stride=4)


def test_blocks_begin_as_the_identity():
    torch.manual_seed(0)
    model = create_model("resnet50")
    x = torch.randn(2, 256, 8, 8).relu()
    torch.testing.assert_close(model.layer1[1](x), x)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.data("intel_scenes")
def test_learns_a_few_real_scenes(data_root):
    folders = sorted(path for path in (data_root / "intel_scenes").glob("*train*/*") if path.is_dir())
    assert len(folders) == 6
    torch.manual_seed(0)
    model = create_model("resnet18", num_classes=6)
    spec = model.input_spec
    scenes = [
        cv2.resize(cv2.imread(str(next(iter(sorted(folder.glob("*.jpg")))))), (64, 64))[..., ::-1] for folder in folders
    ]
    images = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1).float() for image in scenes])
    images = (images - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    targets = {"labels": torch.arange(6)}
    optimiser = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    for _ in range(15):
        loss = model.loss(images, targets)["classification"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert (model.decode(model(images))["probabilities"].argmax(1) == targets["labels"]).all()
    assert torch.isfinite(model.eval().loss(images, targets)["classification"])
