"""Attention roll-out: which pixels the answer of a transformer was made of.

Paper: Samira Abnar, Willem Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv 2005.00928,
section 3.

A layer mixes tokens by its attention, averaged over heads, and keeps each by its shortcut, half and half. The shares of
the answer are carried from the last layer back to the first: row vector times matrix, layer by layer, which is the
paper's product of matrices read from the left, without ever building one. Where windows confine attention (Swin),
shares move inside windows, and a merged patch hands a quarter of its share to each of the four it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.analysis.activations import classifier_of
from saccade.errors import ConfigError
from saccade.models.base import Model

__all__ = ["attention_rollout"]


@runtime_checkable
class Attends(Protocol):
    """A module whose attention can be looked at."""

    def attention(self, x: Tensor) -> Tensor:
        """Softmaxed weights (B or B * windows, heads, N, N) for an input of ``forward``; rows sum to one."""
        ...


@runtime_checkable
class AttendsInWindows(Attends, Protocol):
    """One that attends inside windows of a map."""

    def to_windows(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to tokens of its windows (B * windows, N, C)."""
        ...

    def from_windows(self, windows: Tensor, size: tuple[int, int]) -> Tensor:
        """The inverse, for a map of ``size``."""
        ...


@torch.no_grad()
def attention_rollout(model: Model, images: Tensor) -> Tensor:
    """Shares of the answer by place.

    Args:
        model: A transformer (ViT, Swin); it is put into eval mode.
        images: Normalised images, (B, C, H, W).

    Returns:
        (B, H, W) float32, 0..1, the largest share of each image 1.

    Raises:
        ConfigError: If the network has no attention to follow.
    """
    classifier = classifier_of(model, "attention roll-out").eval()
    steps: list[tuple[Any, Tensor]] = []  # each attention and its input, in the order in which they ran
    attentions = [module for module in model.modules() if isinstance(module, Attends)]

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        steps.append((module, inputs[0]))

    hooks = [module.register_forward_pre_hook(keep) for module in attentions if isinstance(module, nn.Module)]
    try:
        classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    # Where sequences are no whole images (MobileViT), attention is one part of a convolutional network among others.
    if not steps or len(steps[0][1]) != len(images):
        raise ConfigError(
            f"'{model.builder_name}' has no attention to follow from the answer to the image; use method 'cam', or a "
            "ViT or Swin."
        )
    size = (images.shape[2], images.shape[3])
    follow: Callable[..., Tensor] = _through_windows if isinstance(steps[0][0], AttendsInWindows) else _through_tokens
    shares = follow(model, steps, size)
    heat = F.interpolate(shares[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _through_tokens(model: Model, steps: list[tuple[Any, Tensor]], size: tuple[int, int]) -> Tensor:
    """Shares of the patches, as a map (B, h, w); the answer is read off the first token."""
    first = steps[0][1]
    shares = first.new_zeros(first.shape[0], 1, first.shape[1])
    shares[..., 0] = 1.0
    for module, x in reversed(steps):
        shares = _mixed(shares, module.attention(x))
    tokens = shares.transpose(1, 2)  # (B, N, 1), arranged as the network arranges its tokens
    arranged: Tensor = classifier_of(model, "attention roll-out").to_map(tokens, size)
    return arranged[:, 0]


def _through_windows(model: Model, steps: list[tuple[Any, Tensor]], size: tuple[int, int]) -> Tensor:
    """Shares of the first map's places (B, h, w); the answer is the mean over the last map."""
    last = steps[-1][1]
    shares = last.new_full((*last.shape[:3], 1), 1.0 / (last.shape[1] * last.shape[2]))
    for module, x in reversed(steps):
        height, width = x.shape[1:3]
        if shares.shape[1:3] != (height, width):  # a merged patch lies between: four places had become one
            shares = shares.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width] / 4
        rows = module.to_windows(shares).transpose(1, 2)  # (B * windows, 1, N)
        shares = module.from_windows(_mixed(rows, module.attention(x)).transpose(1, 2), (height, width))
    return shares[..., 0]


def _mixed(shares: Tensor, attention: Tensor) -> Tensor:
    """One layer back: r (B, 1, N) times (A + I) / 2, the paper's rule for shortcuts, with A the mean over heads."""
    return 0.5 * shares + 0.5 * shares @ attention.float().mean(1)
