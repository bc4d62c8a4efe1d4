"""Layers of Darknet, one module a kind of section; each takes the output before it and those that it names.

Where Darknet and common practice part, Darknet decides: padding of pooling, the order of ``reorg``, the grouping of
``route``, shortcuts between maps of unequal size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.blocks.darknet_pool import darknet_max_pool
from saccade.models.darknet.activations import make_activation

__all__ = [
    "AveragePool",
    "Connected",
    "Convolution",
    "Crop",
    "Keep",
    "Local",
    "MaxPool",
    "Multiply",
    "Reorg",
    "Route",
    "Shortcut",
    "Upsample",
]

Normalization = Literal["none", "relu", "softmax"]
Weighting = Literal["none", "per_feature", "per_channel"]


class Keep(nn.Module):
    """Output before it as it is: sections that predict, or that matter in Darknet's training only."""

    def forward(self, x: Tensor) -> Tensor:
        """Same tensor."""
        return x


class Convolution(nn.Module):
    """``[convolutional]``: convolution, BatchNorm or bias, activation.

    Args:
        conv: The convolution, with a bias if there is no BatchNorm.
        normalized: Whether BatchNorm follows.
        activation: Name of the activation.
    """

    def __init__(self, conv: nn.Conv2d, normalized: bool, activation: str) -> None:
        super().__init__()
        self.conv = conv
        if normalized:
            self.bn = nn.BatchNorm2d(conv.out_channels)
        self.normalized = normalized
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, filters, ...)."""
        x = self.conv(x)
        out: Tensor = self.act(self.bn(x) if self.normalized else x)
        return out


class Connected(nn.Module):
    """``[connected]``: all inputs to all outputs, BatchNorm or bias, activation.

    Args:
        inputs: Numbers of an image.
        outputs: Outputs.
        normalized: Whether BatchNorm follows.
        activation: Name of the activation.
    """

    def __init__(self, inputs: int, outputs: int, normalized: bool, activation: str) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs, bias=not normalized)
        if normalized:
            self.bn = nn.BatchNorm1d(outputs)
        self.normalized = normalized
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to (B, outputs, 1, 1)."""
        x = self.fc(x.flatten(1))
        x = self.act(self.bn(x) if self.normalized else x)
        return x[:, :, None, None]


class Local(nn.Module):
    """``[local]``: a convolution with other kernels at every location.

    Args:
        channels: Channels in.
        filters: Channels out.
        size: Side of the kernels.
        stride: Step.
        pad: Zeros around the map.
        shape: Height and width of the output.
        activation: Name of the activation.
    """

    def __init__(
        self, channels: int, filters: int, size: int, stride: int, pad: int, shape: tuple[int, int], activation: str
    ) -> None:
        super().__init__()
        self.size, self.stride, self.pad, self.shape = size, stride, pad, shape
        inputs = channels * size * size
        scale = (2 / inputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(shape[0] * shape[1], filters, inputs).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.zeros(filters, *shape))
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, filters, ...)."""
        patches = F.unfold(x, self.size, padding=self.pad, stride=self.stride)  # (B, C k k, locations)
        x = torch.einsum("lfi,bil->bfl", self.weight, patches).unflatten(2, self.shape)
        out: Tensor = self.act(x + self.bias)
        return out


class MaxPool(nn.Module):
    """``[maxpool]``, with a padding that is half in front, rounded down, and the rest behind.

    Args:
        size: Side of the window.
        stride: Steps down and to the right.
        padding: Pixels added in both directions, in all; size - 1 in Darknet if not given.
    """

    def __init__(self, size: int, stride: tuple[int, int], padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, (H + padding - size) // stride + 1, ...)."""
        if self.padding == self.size - 1 and self.stride[0] == self.stride[1]:
            return darknet_max_pool(x, self.size, self.stride[0])
        before = self.padding // 2
        after = self.padding - before
        # The border's own pixel is in every window that reaches beyond it, so its copies change no maximum.
        x = F.pad(x, (before, after, before, after), mode="replicate")
        return F.max_pool2d(x, self.size, self.stride)


class AveragePool(nn.Module):
    """``[avgpool]``: mean over space."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 1, 1)."""
        return x.mean((2, 3), keepdim=True)


class Upsample(nn.Module):
    """``[upsample]``: every pixel repeated, and multiplied.

    Args:
        stride: Repetitions in both directions.
        scale: Factor.
    """

    def __init__(self, stride: int, scale: float) -> None:
        super().__init__()
        self.stride, self.scale = stride, scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, stride H, stride W)."""
        x = F.interpolate(x, scale_factor=float(self.stride), mode="nearest")
        return x if self.scale == 1 else x * self.scale


class Route(nn.Module):
    """``[route]``: outputs of other layers, or one of several groups of the channels of each, behind one another.

    Args:
        groups: Groups.
        group: Number of the one that is taken.
    """

    def __init__(self, groups: int, group: int) -> None:
        super().__init__()
        self.groups, self.group = groups, group

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """The output before it plays no part unless it is named."""
        parts = [one.chunk(self.groups, dim=1)[self.group] for one in sources] if self.groups > 1 else list(sources)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class Shortcut(nn.Module):
    """``[shortcut]``: the sum of the output before it and of other layers, weighted or not.

    Of maps with unequal channels, the common ones are added; of maps with unequal sides, the pixels that the larger has
    at the places of the smaller.

    Args:
        channels: Channels of the output.
        count: Layers that are added.
        weighting: One weight a layer (``per_feature``), or one for each channel of it.
        normalization: How weights become shares: ``relu`` or ``softmax``.
        activation: Name of the activation.
    """

    def __init__(
        self, channels: int, count: int, weighting: Weighting, normalization: Normalization, activation: str
    ) -> None:
        super().__init__()
        self.weighting, self.normalization = weighting, normalization
        if weighting != "none":
            self.weight = nn.Parameter(torch.ones(count + 1, channels if weighting == "per_channel" else 1))
        self.act = make_activation(activation)

    def shares(self) -> Tensor:
        """What the output before it and each other are multiplied by, (1 + layers, channels or 1)."""
        if self.normalization == "relu":  # Darknet's: never quite zero
            positive = self.weight.clamp(min=1e-3)
            return positive / (positive.sum(dim=0) + 1e-4)
        if self.normalization == "softmax":
            powers = (self.weight - self.weight.amax(dim=0)).exp()
            return powers / (powers.sum(dim=0) + 1e-4)
        return self.weight

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """(B, C, H, W) and others to (B, C, H, W)."""
        shares = self.shares()[:, None, :, None, None] if self.weighting != "none" else None
        total = x if shares is None else x * shares[0]
        for number, source in enumerate(sources, start=1):
            channels = min(x.shape[1], source.shape[1])
            added = source[:, :channels]
            if shares is not None:
                own = shares[number]
                added = added * (own if own.shape[1] == 1 else own[:, :channels])
            total = _added(total, added)
        out: Tensor = self.act(total)
        return out


def _added(x: Tensor, other: Tensor) -> Tensor:
    if x.shape == other.shape:
        return x + other
    if other.shape[2] > x.shape[2]:
        step = other.shape[2] // x.shape[2]
        other = other[:, :, ::step, ::step][:, :, : x.shape[2], : x.shape[3]]
    elif other.shape[2] < x.shape[2]:  # added to every so many-th pixel
        step = x.shape[2] // other.shape[2]
        spread = torch.zeros_like(x[:, : other.shape[1]])
        spread[:, :, : step * other.shape[2] : step, : step * other.shape[3] : step] = other
        other = spread
    missing = x.shape[1] - other.shape[1]
    return x + (F.pad(other, (0, 0, 0, 0, 0, missing)) if missing else other)


class Reorg(nn.Module):
    """``[reorg]`` and ``[reorg3d]``: pixels that lie side by side moved to channels, or back.

    ``reorg3d`` is space-to-depth, with all channels of one pixel of a block behind those of the one before. ``reorg``,
    of YOLOv2, does the same to the numbers of the map read as one of a quarter of the channels and twice the sides
    (:func:`saccade.blocks.passthrough.passthrough`).

    Args:
        stride: Side of the blocks.
        plain: Whether it is ``reorg3d``.
        reverse: From channels to pixels.
    """

    def __init__(self, stride: int, plain: bool, reverse: bool) -> None:
        super().__init__()
        self.stride, self.plain, self.reverse = stride, plain, reverse

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C s s, H / s, W / s), or (B, C / s s, H s, W s)."""
        B, C, H, W = x.shape
        s = self.stride
        if self.reverse:
            return _to_space(x, s)
        if self.plain:
            return _to_depth(x, s)
        return _to_depth(x.reshape(B, C // (s * s), H * s, W * s), s).reshape(B, C * s * s, H // s, W // s)


def _to_depth(x: Tensor, s: int) -> Tensor:
    B, C, H, W = x.shape
    blocks = x.reshape(B, C, H // s, s, W // s, s)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(B, s * s * C, H // s, W // s)


def _to_space(x: Tensor, s: int) -> Tensor:
    B, C, H, W = x.shape
    blocks = x.reshape(B, s, s, C // (s * s), H, W)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(B, C // (s * s), H * s, W * s)


class Multiply(nn.Module):
    """``[scale_channels]`` and ``[sam]``: another layer times the output before it, which may be one number a channel.

    Args:
        activation: Name of the activation.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.act = make_activation(activation)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Shape of the other layer."""
        out: Tensor = self.act(source * x)
        return out


class Crop(nn.Module):
    """``[crop]``: the middle of the image, and values of 0..1 as -1..1.

    Args:
        shape: Height and width of the output.
        rescaled: Whether values are rescaled.
    """

    def __init__(self, shape: tuple[int, int], rescaled: bool) -> None:
        super().__init__()
        self.shape, self.rescaled = shape, rescaled

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, *shape)."""
        top, left = (x.shape[2] - self.shape[0]) // 2, (x.shape[3] - self.shape[1]) // 2
        x = x[:, :, top : top + self.shape[0], left : left + self.shape[1]]
        return 2 * x - 1 if self.rescaled else x
