"""Exponential moving average of weights and buffers, which is evaluated and kept."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from saccade.engine.train.config import EmaConfig

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a model (Polyak and Juditsky 1992; warm-up as in YOLOX).

    Args:
        model: Its weights at the start are the average's; its tensors are remembered, so it must stay on its device.
        config: Decay and warm-up.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> average = WeightAverage(model, EmaConfig(decay=0.75, warmup_steps=1e-3))
        >>> _ = nn.init.ones_(model.weight)
        >>> average.update()
        >>> average.module.weight
        Parameter containing:
        tensor([[0.2500]])
    """

    def __init__(self, model: nn.Module, config: EmaConfig) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.config = config
        self.updates = 0
        # Listed once: walking the modules would cost ten times the arithmetic of a step.
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._values = [value for _, value in pairs if value.is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model by one step; integer buffers are copied."""
        self.updates += 1
        decay = self.config.decay * (1.0 - math.exp(-self.updates / self.config.warmup_steps))
        torch._foreach_lerp_(self._averages, self._values, 1.0 - decay)
        for average, value in self._counters:
            average.copy_(value)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
