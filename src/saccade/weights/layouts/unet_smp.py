"""U-Net files of segmentation-models-pytorch over a ResNet: ``encoder.*``, ``decoder.blocks.N.conv1.0``."""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "segmentation-models-pytorch U-Net"

# Position inside our block of two: convolution 0, BN 1, ReLU 2, convolution 3, BN 4, ReLU 5.
_BLOCK = re.compile(r"^decoder\.blocks\.(\d+)\.conv([12])\.([01])\.")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a U-Net of segmentation-models-pytorch without attention.

    Example:
        >>> matches({"encoder.conv1.weight", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"})
        True
    """
    return {"encoder.conv1.weight", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``unet_resnet34`` and ``unet_backbone``."""
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    if name.startswith("encoder."):
        return "backbone." + name.removeprefix("encoder.")
    if name.startswith("segmentation_head.0."):
        return "head." + name.removeprefix("segmentation_head.0.")
    return _BLOCK.sub(lambda m: f"decoder.{m[1]}.convolutions.{3 * (int(m[2]) - 1) + int(m[3])}.", name)
