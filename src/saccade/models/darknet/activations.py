"""Activations of Darknet, by the names that its configurations have for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "make_activation"]


class _Pointwise(nn.Module):
    """A function that torch has no module for."""

    def __init__(self, function: Callable[[Tensor], Tensor], name: str) -> None:
        super().__init__()
        self.function, self.name = function, name

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.function(x)

    def extra_repr(self) -> str:
        """Name in Darknet."""
        return self.name


def _loggy(x: Tensor) -> Tensor:
    return 2 * x.sigmoid() - 1


def _ramp(x: Tensor) -> Tensor:
    return x.clamp(min=0) + 0.1 * x


def _plse(x: Tensor) -> Tensor:
    """Piecewise linear sigmoid: slope 1/8 between -4 and 4, 1/100 outside."""
    inside = x.clamp(-4, 4)
    return 0.125 * inside + 0.5 + 0.01 * (x - inside)


def _stair(x: Tensor) -> Tensor:
    """Flat over intervals that begin with an even number, slope 1 over the others."""
    floor = x.floor()
    even = torch.remainder(floor, 2) == 0
    return (floor / 2).floor() + torch.where(even, torch.zeros_like(x), x - floor)


def _lhtan(x: Tensor) -> Tensor:
    """Identity between 0 and 1, slope 1/1000 outside."""
    inside = x.clamp(0, 1)
    return inside + 0.001 * (x - inside)


def _hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, torch.zeros_like(x)))


def _of(function: Callable[[Tensor], Tensor], name: str) -> Callable[[], nn.Module]:
    return partial(_Pointwise, function, name)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": partial(nn.LeakyReLU, 0.1),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "logistic": nn.Sigmoid,
    "loggy": _of(_loggy, "loggy"),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": partial(nn.GELU, approximate="tanh"),
    "ramp": _of(_ramp, "ramp"),
    "plse": _of(_plse, "plse"),
    "stair": _of(_stair, "stair"),
    "hardtan": nn.Hardtanh,
    "lhtan": _of(_lhtan, "lhtan"),
    "mish": nn.Mish,
    "swish": nn.SiLU,
    "hard_mish": _of(_hard_mish, "hard_mish"),
    "relie": partial(nn.LeakyReLU, 0.01),
}
"""What makes each activation."""


def make_activation(name: str) -> nn.Module:
    """Activation by its name in Darknet.

    Example:
        >>> make_activation("leaky")(torch.tensor([-1.0, 1.0])).tolist()
        [-0.10000000149011612, 1.0]
    """
    return ACTIVATIONS[name]()
