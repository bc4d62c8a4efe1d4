"""Base of networks for semantic segmentation: loss with ignored pixels, probabilities at canvas size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.losses.dice import dice_loss
from saccade.losses.pixels import pixel_binary_cross_entropy, pixel_cross_entropy
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.structures.batch import pad_targets

__all__ = ["Segmenter", "labels_of_size"]


class Segmenter(Model):
    """Base of networks whose ``forward`` gives ``{"logits": (B, C, H, W)}`` at the size of the images.

    With one class it separates foreground (label 1) from background by a sigmoid, and ``class_names`` holds the
    foreground's name alone; otherwise it separates classes by a softmax, where background is a class like any other
    (class 0 by its name). Label 255 is ignored.

    A network with auxiliary heads or side outputs gives them in :meth:`supervised`, and their weights in
    ``output_weights``; ``forward`` never computes what a prediction does not need.

    Args:
        num_classes: C.

    Attributes:
        cross_entropy_weight: Weight of cross entropy; 0 leaves it out.
        dice_weight: Weight of the Dice term beside cross entropy; 1 for one class, 0 for several.
        focal_gamma: Exponent that turns cross entropy into focal loss; 0: cross entropy.
        class_weights: Weight of each class in cross entropy; empty: all 1. Several classes only.
        output_weights: Weight of each output of :meth:`supervised`; 1 where there is none.
    """

    task = "segmentation"
    target_names = ("label_map",)
    decoded_keys = ("probabilities",)
    cross_entropy_weight: float = 1.0
    focal_gamma: float = 0.0
    class_weights: Sequence[float] = ()
    output_weights: Mapping[str, float] = {}

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dice_weight = 1.0 if num_classes == 1 else 0.0

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        """Logits that are compared with the ground truth, by name: ``logits``, and what only training needs.

        A map of another size than the images is compared with the labels of :func:`labels_of_size`.
        """
        return self(images)

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``cross_entropy``, and ``dice`` where it has a weight, for ``label_map`` (B, H, W).

        Terms of further outputs have the output's name behind theirs (``cross_entropy_auxiliary``). With ``weight_map``
        (B, H, W) among the targets every pixel's cross entropy has its weight.
        """
        padded = pad_targets(targets)
        labels, weight_map = padded["label_map"].long(), padded.get("weight_map")
        terms: dict[str, Tensor] = {}
        for output, logits in self.supervised(images).items():
            suffix = "" if output == "logits" else f"_{output}"
            weight = self.output_weights.get(output, 1.0)
            for name, value in self.criterion(logits.float(), labels, weight_map).items():
                terms[name + suffix] = weight * value
        return terms

    def criterion(self, logits: Tensor, labels: Tensor, weight_map: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted loss terms of one output.

        Args:
            logits: (B, C, h, w) float32.
            labels: (B, H, W) int64.
            weight_map: (B, H, W).

        Raises:
            ConfigError: If ``class_weights`` are not one number a class.
        """
        labels = labels_of_size(labels, logits.shape[-2:])
        if weight_map is not None:
            weight_map = labels_of_size(weight_map, logits.shape[-2:])
        terms: dict[str, Tensor] = {}
        if self.cross_entropy_weight:
            if self.num_classes == 1:
                value = pixel_binary_cross_entropy(logits, labels, weight_map=weight_map, gamma=self.focal_gamma)
            else:
                weights = self._checked_class_weights()
                value = pixel_cross_entropy(
                    logits, labels, weight_map=weight_map, class_weights=weights, gamma=self.focal_gamma
                )
            terms["cross_entropy"] = self.cross_entropy_weight * value
        if self.dice_weight:
            terms["dice"] = self.dice_weight * dice_loss(self._probabilities(logits), labels)
        return terms

    def decode(self, outputs: Outputs) -> Decoded:
        """``probabilities`` (B, C, H, W)."""
        return {"probabilities": self._probabilities(outputs["logits"].float())}

    def _checked_class_weights(self) -> Sequence[float]:
        if self.class_weights and len(self.class_weights) != self.num_classes:
            raise ConfigError(
                f"class_weights has {len(self.class_weights)} numbers; the network has {self.num_classes} classes. "
                "Give one weight a class."
            )
        return self.class_weights

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.num_classes == 1 else logits.softmax(dim=1)


def labels_of_size(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels of the pixels that the locations of a coarser map stand for, corner on corner.

    A map of 41 x 41 locations over 321 x 321 pixels takes every eighth pixel, the first and the last among them
    (DeepLabV1, section 3.1: the labels are subsampled to the resolution of the map).

    Args:
        labels: (B, H, W).
        size: (h, w) of the map; the labels themselves come back if it is theirs.

    Returns:
        (B, h, w).

    Example:
        >>> labels_of_size(torch.arange(9).expand(1, 1, 9), (1, 3))
        tensor([[[0, 4, 8]]])
    """
    height, width = labels.shape[-2:]
    if (height, width) == tuple(size):
        return labels
    rows, columns = (
        torch.linspace(0, full - 1, wanted, device=labels.device).round().long()
        for full, wanted in zip((height, width), size, strict=True)
    )
    return labels[:, rows[:, None], columns]
