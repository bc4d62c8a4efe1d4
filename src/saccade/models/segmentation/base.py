"""Base of networks for semantic segmentation: loss with ignored pixels, probabilities at canvas size."""

from __future__ import annotations

from torch import Tensor

from saccade.losses.dice import dice_loss
from saccade.losses.pixels import pixel_binary_cross_entropy, pixel_cross_entropy
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.structures.batch import pad_targets

__all__ = ["Segmenter"]


class Segmenter(Model):
    """Base of networks whose ``forward`` gives ``{"logits": (B, C, H, W)}`` at the size of the images.

    With one class it separates foreground (label 1) from background by a sigmoid, and ``class_names`` holds the
    foreground's name alone; otherwise it separates classes by a softmax, where background is a class like any other
    (class 0 by its name). Label 255 is ignored.

    Args:
        num_classes: C.

    Attributes:
        dice_weight: Weight of the Dice term beside cross entropy; 1 for one class, 0 for several.
    """

    task = "segmentation"
    target_names = ("label_map",)
    decoded_keys = ("probabilities",)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dice_weight = 1.0 if num_classes == 1 else 0.0

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``cross_entropy``, and ``dice`` where it has a weight, for ``label_map`` (B, H, W)."""
        logits = self(images)["logits"].float()
        labels = pad_targets(targets)["label_map"].long()
        if self.num_classes == 1:
            terms = {"cross_entropy": pixel_binary_cross_entropy(logits, labels)}
        else:
            terms = {"cross_entropy": pixel_cross_entropy(logits, labels)}
        if self.dice_weight:
            terms["dice"] = self.dice_weight * dice_loss(self._probabilities(logits), labels)
        return terms

    def decode(self, outputs: Outputs) -> Decoded:
        """``probabilities`` (B, C, H, W)."""
        return {"probabilities": self._probabilities(outputs["logits"].float())}

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.num_classes == 1 else logits.softmax(dim=1)
