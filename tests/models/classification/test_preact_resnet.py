"""The five unit orders against figure 4 of the paper, written out; CIFAR forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.classification.preact_resnet import Order, ResidualUnit, UnitShape
from saccade.models.registry import create_model
from saccade.weights import load_weights

Layer = Callable[[Tensor], Tensor]

# Figure 4 read from top to bottom: W is a convolution, B a BatchNorm, R a ReLU, + the sum.
FIGURE_4 = {
    "original": "WBRWB+R",
    "bn_after_addition": "WBRW+BR",
    "relu_before_addition": "WBRWBR+",
    "relu_only_preactivation": "RWBRWB+",
    "full_preactivation": "BRWBRW+",
}


def _by_the_figure(unit: ResidualUnit, x: Tensor, order: str) -> Tensor:
    convolutions, norms = iter(unit.convs), iter(unit.norms)
    y = x
    for letter in FIGURE_4[order]:
        if letter == "W":
            y = next(convolutions)(y)
        elif letter == "B":
            y = next(norms)(y)
        elif letter == "R":
            y = F.relu(y)
        else:
            y = x + y
    assert next(convolutions, None) is None
    assert next(norms, None) is None
    return y


@pytest.mark.parametrize("order", get_args(Order))
def test_unit_is_the_figures(order: Order, scramble: Callable[[torch.nn.Module], None]) -> None:
    torch.manual_seed(0)
    unit = ResidualUnit(UnitShape(8, 8, 8), order).eval()
    scramble(unit)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(unit(x), _by_the_figure(unit, x, order))


@pytest.mark.parametrize("order", ["relu_only_preactivation", "full_preactivation"])
@pytest.mark.parametrize("shape", [UnitShape(8, 8, 8, first=True), UnitShape(8, 16, 16, 2)], ids=["first", "widening"])
def test_first_and_widening_units_share_their_preactivation(order: Order, shape: UnitShape) -> None:
    """The shortcut comes after the ReLU: no negative part of x reaches the output."""
    torch.manual_seed(0)
    unit = ResidualUnit(shape, order).eval()
    x = torch.randn(2, 8, 6, 6)
    if order == "full_preactivation":
        torch.nn.init.ones_(unit.norms[0].weight)
    changed = torch.where(x < 0, 3 * x, x)
    torch.testing.assert_close(unit(changed), unit(x))
    plain = ResidualUnit(UnitShape(8, 8, 8), order).eval()
    assert not torch.allclose(plain(changed), plain(x))


@pytest.mark.parametrize("order", get_args(Order))
def test_every_order_makes_a_network_that_ends_activated(order: Order) -> None:
    torch.manual_seed(0)
    model = create_model("preact_resnet110_cifar", num_classes=3, order=order)
    last = model.train().features(torch.randn(2, 3, 32, 32))[-1]
    assert last.shape == (2, 64, 8, 8)
    if order != "relu_before_addition":  # whose branches are positive, but not its projections
        assert last.min() >= 0
    assert torch.isfinite(last).all()


def test_unknown_order_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'full_preactivation'"):
        create_model("preact_resnet18", order="full_pre_activation")


def test_padded_shortcut_takes_every_second_pixel_and_adds_zeros() -> None:
    model = create_model("resnet20_cifar", shortcut="padding")
    assert sum(parameter.numel() for parameter in model.parameters()) == 269722
    shortcut = model.layer2[0].downsample
    x = torch.randn(2, 16, 8, 8)
    found = shortcut(x)
    assert found.shape == (2, 32, 4, 4)
    torch.testing.assert_close(found[:, 8:24], x[:, :, ::2, ::2])
    assert not found[:, :8].any()
    assert not found[:, 24:].any()
    with pytest.raises(ConfigError, match="'projection' or 'padding'"):
        create_model("resnet20_cifar", shortcut="nothing")


def test_the_public_replications_file_loads(tmp_path: Path) -> None:
    theirs = create_model("resnet20_cifar", shortcut="padding").state_dict()
    file = tmp_path / "resnet20.th.pth"
    torch.save(
        {"state_dict": {f"module.{name}": tensor + 1 for name, tensor in theirs.items()}, "best_prec1": 91.7}, file
    )
    model = create_model("resnet20_cifar", shortcut="padding")
    report = load_weights(model, file)
    assert report.recognised == "ResNet for CIFAR"
    assert report.missing == report.unexpected == ()
    torch.testing.assert_close(model.linear.bias, theirs["linear.bias"] + 1)
