"""AlexNet and VGG: the paper's normalisation and initialisation, and both as fully convolutional networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saccade.blocks.fully_convolutional import linear_as_convolution
from saccade.blocks.local_response_norm import LocalResponseNorm
from saccade.models.registry import create_model


def _slow_response_norm(x: Tensor) -> Tensor:
    """Krizhevsky et al. 2012, section 3.3, channel by channel: k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    out = torch.empty_like(x)
    channels = x.shape[1]
    for i in range(channels):
        neighbours = x[:, max(0, i - 2) : min(channels, i + 3)]
        out[:, i] = x[:, i] / (2.0 + 1e-4 * neighbours.square().sum(1)) ** 0.75
    return out


def test_response_norm_is_the_papers() -> None:
    x = 50 * torch.randn(2, 9, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(LocalResponseNorm()(x), _slow_response_norm(x))
    # Torch's own function divides alpha by the window, which is another network.
    assert not torch.allclose(torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), _slow_response_norm(x))


def test_alexnet_2012_has_the_papers_initialisation() -> None:
    torch.manual_seed(0)
    model = create_model("alexnet_2012")
    convolutions = [module for module in model.trunk if isinstance(module, torch.nn.Conv2d)]
    assert [module.groups for module in convolutions] == [1, 2, 1, 2, 2]
    assert [module.bias.unique().tolist() for module in convolutions] == [[0.0], [1.0], [0.0], [1.0], [1.0]]
    fully_connected = [module for module in model.classifier if isinstance(module, torch.nn.Linear)]
    assert [module.bias.unique().tolist() for module in fully_connected] == [[1.0], [1.0], [0.0]]
    for module in (*convolutions, *fully_connected):
        assert module.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.input_spec.std == (1.0, 1.0, 1.0)  # raw values, centred


@pytest.mark.parametrize(("name", "shape"), [("alexnet", (6, 6)), ("alexnet_2012", (6, 6)), ("vgg11", (7, 7))])
def test_trunk_has_the_papers_locations(name: str, shape: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = create_model(name)
        height, width = model.input_spec.size
        assert model.trunk(torch.empty(1, 3, height, width)).shape[2:] == shape


@pytest.mark.parametrize(("name", "window", "stride"), [("vgg11", 224, 32), ("alexnet_2012", 227, 32)])
def test_fully_convolutional_form_is_the_dense_net_at_every_location(name: str, window: int, stride: int) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, fc_channels=16).eval()
    dense = model.to_fully_convolutional()
    assert not dense.training
    images = 40 * torch.randn(1, 3, window + stride, window + 2 * stride)
    with torch.no_grad():
        single = model(images[..., :window, :window])["logits"]
        torch.testing.assert_close(dense(images[..., :window, :window])[..., 0, 0], single, rtol=1e-4, atol=1e-5)
        found, feature_map = dense(images), model.trunk(images)
        assert found.shape == (1, 7, 2, 3)
        side = 7 if name == "vgg11" else 6
        for row in range(2):
            for column in range(3):
                square = feature_map[..., row : row + side, column : column + side]
                expected = model.classifier(square.flatten(1))
                torch.testing.assert_close(found[..., row, column], expected, rtol=1e-4, atol=1e-4)


def test_linear_as_convolution_slides_over_windows() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(5 * 3 * 3, 4)
    x = torch.randn(2, 5, 4, 6)
    found = linear_as_convolution(linear, 3)(x)
    assert found.shape == (2, 4, 2, 4)
    for row in range(2):
        for column in range(4):
            expected = linear(x[:, :, row : row + 3, column : column + 3].flatten(1))
            torch.testing.assert_close(found[:, :, row, column], expected)


@pytest.mark.parametrize("name", ["alexnet", "alexnet_2012"])
def test_alexnets_maps_lie_where_the_pixels_are(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, fc_channels=8).eval()
    images = torch.zeros(1, 3, 192, 256)
    with torch.no_grad():
        flat = model.features(images)
        images[:, :, 96:104, 160:168] = 5.0
        for value, reference, stride in zip(model.features(images), flat, model.feature_strides, strict=True):
            assert value.shape[2:] == (192 // stride, 256 // stride)
            change = (value - reference).abs().sum(1)[0]
            rows = (change.sum(1) * (torch.arange(len(change)) + 0.5)).sum() / change.sum() * stride
            columns = (change.sum(0) * (torch.arange(change.shape[1]) + 0.5)).sum() / change.sum() * stride
            assert abs(rows - 100) < 0.6 * stride
            assert abs(columns - 164) < 0.6 * stride


def test_dropout_is_one_number_of_the_model() -> None:
    model = create_model("vgg11", fc_channels=8)
    assert model.dropout_rate == 0.5
    model.dropout_rate = 0.1
    assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)] == [0.1, 0.1]
