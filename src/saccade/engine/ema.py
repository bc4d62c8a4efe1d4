"""Exponential moving average of weights and buffers: what is evaluated and kept."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from saccade.engine.config import EmaConfig

__all__ = ["WeightAverage"]


class WeightAverage:
    """A shadow of the model that moves slowly (Polyak and Juditsky 1992; warm-up as in YOLOX).

    Args:
        model: Its weights at the start are the average's.
        config: Decay and warm-up.
    """

    def __init__(self, model: nn.Module, config: EmaConfig) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.config = config
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move a step towards ``model``; integer buffers are copied."""
        self.updates += 1
        decay = self.config.decay * (1.0 - math.exp(-self.updates / self.config.warmup_steps))
        averages, values = _floating(self.module), _floating(model)
        torch._foreach_lerp_(averages, values, 1.0 - decay)
        for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
            if not average.is_floating_point():
                average.copy_(value)


def _floating(model: nn.Module) -> list[Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
