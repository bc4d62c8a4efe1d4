"""Normalisation of pixels, part of every runtime and of every exported file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.structures.input_spec import InputSpec

__all__ = ["Normalize"]


class Normalize(nn.Module):
    """Normalisation of pixels: ``(pixels - mean) / std``, in the network's channel order.

    It runs on the device, after the copy, so that batches travel as bytes; exported models carry it inside. Mean and
    std are not part of the state: they belong to the input spec.

    Args:
        spec: Gives mean, std (in units of 0..255, in the *network's* channel order) and the order itself.

    Example:
        >>> Normalize(InputSpec(size=(8, 8)))(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)).max()
        tensor(1.)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.is_identity = not any(spec.mean) and set(spec.std) == {1.0}
        self.reverses = spec.channel_order == "bgr" and spec.channels == 3
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            images: RGB or grey, shape (B, C, H, W), integer or float, values 0..255.

        Returns:
            Same shape and memory format; float32, or the dtype of ``images`` if that is a float.
        """
        pixels = images.flip(1) if self.reverses else images
        if self.is_identity:
            return pixels if images.is_floating_point() else pixels.float()
        # Half-precision pixels are normalised in float32: bfloat16 cannot hold a mean such as 123.675.
        normalized = (pixels.float() - self.mean) / self.std
        return normalized.to(images.dtype) if images.is_floating_point() else normalized
