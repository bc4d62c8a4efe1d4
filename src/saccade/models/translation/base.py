"""Base of networks for image translation."""

from __future__ import annotations

import torch
from torch import Tensor

from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.normalize import Normalize
from saccade.structures.batch import pad_targets
from saccade.structures.input_spec import InputSpec

__all__ = ["TranslationNetwork"]


class TranslationNetwork(Model):
    """Base of networks whose ``forward`` gives ``{"translated": (B, 3, H, W)}``, normalised as the images are.

    They have no classes, so ``num_classes`` is 0 and builders take none.
    """

    task = "translation"
    target_names = ("target_image",)
    decoded_keys = ("image",)
    num_classes = 0

    def decode(self, outputs: Outputs) -> Decoded:
        """``image`` (B, 3, H, W), 0..255: the normalisation undone."""
        return {"image": self.pixels(outputs["translated"])}

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) as RGB of 0..255, float32."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
            for values in (self.input_spec.mean, self.input_spec.std)
        )
        values = (images.float() * std + mean).clamp(0, 255)
        return values.flip(1) if self.input_spec.channel_order == "bgr" else values

    def target_images(self, targets: Targets) -> Tensor:
        """``target_image`` (B, H, W, 3) of a batch, as ``forward`` takes images: (B, 3, H, W), normalised."""
        images = pad_targets(targets)["target_image"].permute(0, 3, 1, 2)
        return Normalize(self.input_spec).to(images.device)(images.float())

    def samples(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Input, output and the image of the other domain."""
        return {
            "input": self.pixels(images),
            "output": self.pixels(self(images)["translated"]),
            "wanted": self.pixels(self.target_images(targets)),
        }


def same_size_spec(size: tuple[int, int] = (256, 256)) -> InputSpec:
    """Input of networks whose values run from -1 to 1 and whose maps have a quarter of the side."""
    return InputSpec(size=size, pad_multiple=4, mean=(127.5,) * 3, std=(127.5,) * 3)
