"""Shared by the tests of networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def macs() -> Callable[[nn.Module, tuple[int, ...]], int]:
    """Counts multiply-adds of (transposed) convolutions and linear layers for an input (C, H, W), on meta."""

    def count(model: nn.Module, size: tuple[int, ...]) -> int:
        total = 0

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal total
            if isinstance(module, nn.ConvTranspose2d):  # every input pixel is multiplied with the whole kernel
                total += inputs[0][0].numel() * module.out_channels // module.groups * math.prod(module.kernel_size)
            elif isinstance(module, nn.Conv2d):
                total += output[0].numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
            elif isinstance(module, nn.Linear):
                total += output[0].numel() * module.in_features

        for module in model.modules():
            module.register_forward_hook(add)
        with torch.no_grad():
            model.eval().to("meta")(torch.empty(1, *size, device="meta"))
        return total

    return count


@pytest.fixture
def scramble() -> Callable[[nn.Module], None]:
    """Gives every parameter and BatchNorm statistic a random value, so that no branch is silent and no scale is one."""

    def change(model: nn.Module) -> None:
        generator = torch.Generator().manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in ((module.weight.data, 0.5, 1.0), (module.running_var, 0.5, 1.5)):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
                for tensor in (module.bias.data, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)

    return change
