from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.deploy.small import shake
from torch import Tensor, nn

from saccade.deploy.fuse import fuse_batch_norm
from saccade.models.base import Decoded, Model, Outputs
from saccade.models.registry import create_model

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Wired(Model):
    """Two convolutions and two norms, wired by the test."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1, bias=False, groups=2)
        self.bn2 = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 6, 2, 2)
        self.up_grouped = nn.ConvTranspose2d(4, 4, 2, 2, groups=2)
        self.bn3 = nn.BatchNorm2d(6)
        self.no_statistics = nn.BatchNorm2d(4, track_running_stats=False)
        self.alias = self.bn
        self.wiring = wiring
        shake(self)

    def decode(self, outputs: Outputs) -> Decoded:
        return dict(outputs)

    def forward(self, images: Tensor) -> Outputs:
        result = self.wiring(self, images)
        return {str(index): value for index, value in enumerate(result if isinstance(result, tuple) else (result,))}


def _twice(m: Wired, x: Tensor) -> Tensor:
    y = m.bn(m.conv(x))
    return m.bn2(m.conv2(m.bn2(m.conv2(y))))


WIRINGS: dict[str, tuple[Callable[[Wired, Tensor], Tensor | tuple[Tensor, ...]], int]] = {
    "chain": (lambda m, x: m.bn2(m.conv2(m.bn(m.conv(x)).relu_())), 2),
    "order of modules is not order of data": (lambda m, x: m.bn(m.conv2(m.bn2(m.conv(x)))), 2),
    "second name of a module": (lambda m, x: m.alias(m.conv(x)), 1),
    "transposed": (lambda m, x: m.bn3(m.up(m.conv(x))), 1),
    "transposed with groups": (lambda m, x: m.bn(m.up_grouped(m.conv(x))), 0),
    "also used elsewhere": (lambda m, x: (y := m.conv(x)) + m.bn(y), 0),
    "also an output": (lambda m, x: (y := m.conv(x), m.bn(y)), 0),
    "also viewed": (lambda m, x: m.bn(y := m.conv(x)) + y.flatten(1).mean(1).view(-1, 1, 1, 1), 0),
    "two norms of one convolution": (lambda m, x: m.bn(y := m.conv(x)) + m.bn2(y), 0),
    "one norm of two convolutions": (lambda m, x: m.bn(m.conv(x)) + m.bn(m.conv2(m.conv(x))), 0),
    "shared pair": (_twice, 1),
    "something between": (lambda m, x: m.bn(m.conv(x).relu()), 0),
    "something in place between": (lambda m, x: m.bn(m.conv(x).relu_()), 0),
    "norm first": (lambda m, x: m.conv2(m.bn(m.conv(x) * 1)), 0),
    "statistics of the batch": (lambda m, x: m.no_statistics(m.conv(x)), 0),
}


@pytest.mark.parametrize("name", WIRINGS)
def test_folds_exactly_where_that_changes_nothing(name: str) -> None:
    wiring, folded = WIRINGS[name]
    model = Wired(wiring).eval()
    fused = fuse_batch_norm(model, IMAGES)
    with torch.no_grad():
        expected, found = model(IMAGES), fused(IMAGES)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-5, atol=1e-5)
    assert sum(isinstance(module, nn.Identity) for module in fused.modules()) == folded


def test_the_original_stays_as_it_is() -> None:
    model = Wired(WIRINGS["chain"][0]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse_batch_norm(model, IMAGES)
    assert model.training
    assert isinstance(model.bn, nn.BatchNorm2d)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.conv._forward_hooks


@pytest.mark.parametrize("name", ["resnet18", "yolox_nano", "unet_resnet34"])
def test_real_networks_have_no_norm_left_and_equal_outputs(name: str) -> None:
    model = create_model(name).eval()
    shake(model)
    images = torch.rand(1, 3, 64, 64) * 255
    fused = fuse_batch_norm(model, images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        expected, found = model(images), fused(images)
    for key, tensor in expected.items():
        assert (found[key] - tensor).abs().max() <= 1e-4 * tensor.abs().max().clamp(min=1e-6)
