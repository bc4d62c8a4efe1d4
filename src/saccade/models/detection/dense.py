"""What heads over feature maps share, whatever the paper: rows of predictions, their start, and sizes of the maps."""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saccade.errors import ConfigError
from saccade.models.base import Model

__all__ = ["conv_tower", "empty_maps", "log_odds", "map_rows", "start_head"]

_GROUPS = 32  # of GroupNorm


def map_rows(values: Tensor, columns: int) -> Tensor:
    """Predictions of a feature map as rows: location by location, and anchor by anchor at each.

    Args:
        values: (B, anchors x columns, H, W).
        columns: Numbers that an anchor predicts.

    Returns:
        (B, H x W x anchors, columns): a view where memory is channels_last.

    Example:
        >>> map_rows(torch.zeros(1, 9 * 4, 5, 7), columns=4).shape
        torch.Size([1, 315, 4])
    """
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, columns)


def log_odds(prior: float) -> float:
    """Bias with which a sigmoid gives a probability (Lin et al. 2017, focal loss, section 4.1, "Initialization").

    Example:
        >>> round(log_odds(0.01), 3)
        -4.595
    """
    return -math.log((1 - prior) / prior)


def start_head(head: nn.Module, std: float = 0.01) -> None:
    """Weights of all convolutions from N(0, std), biases zero (same section).

    Args:
        head: Module whose convolutions, all of them with a bias, are new.
        std: Standard deviation.

    Example:
        >>> layer = torch.nn.Conv2d(64, 64, 3)
        >>> start_head(layer)
        >>> bool(layer.weight.std() < 0.011), bool((layer.bias == 0).all())
        (True, True)
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=std)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def conv_tower(channels: int, normalized: bool, depth: int = 4) -> nn.Sequential:
    """3x3 convolution, GroupNorm where it is asked for, and ReLU, several times: equal weights for all levels.

    Args:
        channels: Of the feature maps; with GroupNorm a multiple of 32 from 64 on.
        normalized: With GroupNorm of 32 groups.
        depth: How many times.

    Raises:
        ConfigError: If the groups of GroupNorm do not divide ``channels``, or would hold one channel each.

    Example:
        >>> [type(layer).__name__ for layer in conv_tower(64, normalized=True, depth=1)]
        ['Conv2d', 'GroupNorm', 'ReLU']
    """
    # GroupNorm of one value, where a level is one cell, has no sense.
    if normalized and (channels % _GROUPS or channels == _GROUPS):
        raise ConfigError(
            f"channels is {channels}; it must be a multiple of {_GROUPS}, the groups of GroupNorm, from 64 on."
        )
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        if normalized:
            layers.append(nn.GroupNorm(_GROUPS, channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class _Features(nn.Module):
    """``features`` of a network as a forward pass."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.model.features(images))


def empty_maps(model: Model, images: Tensor, known: dict[tuple[int, int], list[tuple[int, int]]]) -> list[Tensor]:
    """Maps as large as the feature maps of images, for which nothing is computed.

    Args:
        model: Network with ``features``.
        images: (B, C, H, W); only canvas and device matter.
        known: Sizes of the maps by canvas, to which this one is added.

    Returns:
        One (1, 1, H, W) a level, on the device of the images.

    Example:
        >>> model = saccade.create_model("retinanet", channels=32)
        >>> [tuple(level.shape[2:]) for level in empty_maps(model, torch.zeros(1, 3, 96, 128), {})]
        [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    """
    size = (images.shape[-2], images.shape[-1])
    if size not in known:
        whole = _Features(model)
        tensors = chain(whole.named_parameters(), whole.named_buffers())
        state = {name: tensor.detach().to("meta") for name, tensor in tensors}
        # Two images, as BatchNorm in training needs more than one value a channel.
        canvas = torch.empty(2, model.input_spec.channels, *size, device="meta")
        with torch.no_grad():
            maps = functional_call(whole, state, (canvas,))
        known[size] = [(level.shape[-2], level.shape[-1]) for level in maps]
    return [images.new_empty(1, 1, *side) for side in known[size]]
