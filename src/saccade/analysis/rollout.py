"""Attention roll-out: share of each image region in the output of a transformer.

Paper: Samira Abnar, Willem Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv 2005.00928,
section 3.

A layer mixes tokens by its attention, averaged over heads, and keeps each by its shortcut, half and half. The shares of
the output are carried from the last layer back to the first: row vector times matrix, layer by layer, which is the
paper's product of matrices from the left, without building the matrices. Where windows confine attention (Swin), shares
move inside windows, and a merged patch passes a quarter of its share to each of the four it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.analysis.activations import require_classifier
from saccade.errors import ConfigError
from saccade.models.base import Model

__all__ = ["attention_rollout"]


@runtime_checkable
class Attends(Protocol):
    """Module with softmax attention whose weights can be computed."""

    def attention(self, x: Tensor) -> Tensor:
        """Softmaxed weights (B or B * windows, heads, N, N) for an input of ``forward``; rows sum to one."""
        ...


@runtime_checkable
class AttendsInWindows(Attends, Protocol):
    """Module whose attention is confined to windows of a feature map."""

    def to_windows(self, x: Tensor) -> Tensor:
        """Split a feature map (B, H, W, C) into tokens of its windows (B * windows, N, C)."""
        ...

    def from_windows(self, windows: Tensor, size: tuple[int, int]) -> Tensor:
        """Inverse of :meth:`to_windows`, for a feature map of ``size``."""
        ...


@torch.no_grad()
def attention_rollout(model: Model, images: Tensor) -> Tensor:
    """Attention roll-out: share of each location in a transformer's output (Abnar and Zuidema 2020, section 3).

    Args:
        model: A transformer (ViT, Swin); it is put into eval mode.
        images: Normalised images, (B, C, H, W).

    Returns:
        Shares, shape (B, H, W), float32, 0..1, the largest of each image 1.

    Raises:
        ConfigError: If the network has no attention to follow.

    Example:
        >>> model = saccade.create_model("vit_ti_16", image_size=64)
        >>> attention_rollout(model, torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 64, 64])
    """
    classifier = require_classifier(model, "attention roll-out").eval()
    calls: list[tuple[Any, Tensor]] = []  # each attention and its input, in the order in which they ran
    attentions = [module for module in model.modules() if isinstance(module, Attends)]

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append((module, inputs[0]))

    hooks = [module.register_forward_pre_hook(keep) for module in attentions if isinstance(module, nn.Module)]
    try:
        classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    # Where sequences are no whole images (MobileViT), attention is one part of a convolutional network among others.
    if not calls or len(calls[0][1]) != len(images):
        raise ConfigError(
            f"'{model.builder_name}' has no attention to follow from the output to the image; use method 'cam', or a "
            "ViT or Swin."
        )
    size = (images.shape[2], images.shape[3])
    follow: Callable[..., Tensor] = _through_windows if isinstance(calls[0][0], AttendsInWindows) else _through_tokens
    shares = follow(model, calls, size)
    heat = F.interpolate(shares[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _through_tokens(model: Model, calls: list[tuple[Any, Tensor]], size: tuple[int, int]) -> Tensor:
    """Shares of the patches, (B, h, w); the output is the first (class) token."""
    first = calls[0][1]
    shares = first.new_zeros(first.shape[0], 1, first.shape[1])
    shares[..., 0] = 1.0
    for module, x in reversed(calls):
        shares = _mixed(shares, module.attention(x))
    tokens = shares.transpose(1, 2)  # (B, N, 1), arranged as the network arranges its tokens
    arranged: Tensor = require_classifier(model, "attention roll-out").to_map(tokens, size)
    return arranged[:, 0]


def _through_windows(model: Model, calls: list[tuple[Any, Tensor]], size: tuple[int, int]) -> Tensor:
    """Shares of the locations of the first feature map, (B, h, w); the output is the mean over the last one."""
    last = calls[-1][1]
    shares = last.new_full((*last.shape[:3], 1), 1.0 / (last.shape[1] * last.shape[2]))
    for module, x in reversed(calls):
        height, width = x.shape[1:3]
        if shares.shape[1:3] != (height, width):  # patch merging lies between: four locations became one
            shares = shares.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width] / 4
        rows = module.to_windows(shares).transpose(1, 2)  # (B * windows, 1, N)
        shares = module.from_windows(_mixed(rows, module.attention(x)).transpose(1, 2), (height, width))
    return shares[..., 0]


def _mixed(shares: Tensor, attention: Tensor) -> Tensor:
    """Shares one layer back: r (B, 1, N) times (A + I) / 2, the paper's shortcut rule, with A the mean over heads."""
    return 0.5 * shares + 0.5 * shares @ attention.float().mean(1)
