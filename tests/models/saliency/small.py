"""A network for saliency of a few thousand weights, with a side output."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.registry import register_model
from saccade.models.saliency.base import SaliencyNetwork
from saccade.structures.input_spec import InputSpec


class SmallSaliency(SaliencyNetwork):
    """Two stages, a side output of the coarse one, their sum."""

    stage_names = ("fine", "coarse")
    head_names = ("fine_output", "coarse_output")
    feature_strides = (1, 4)

    def __init__(self, num_classes: int = 1, width: int = 8) -> None:
        super().__init__(num_classes)
        self.input_spec = InputSpec((32, 32), resize="stretch", mean=(127.5,) * 3, std=(64.0,) * 3)
        self.feature_channels = (width, width)
        self.fine = nn.Sequential(nn.Conv2d(3, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(width, width, 4, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.fine_output, self.coarse_output = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 1, 1)

    def features(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        return [fine, self.coarse(F.pad(fine, (0, -images.shape[-1] % 4, 0, -images.shape[-2] % 4)))]

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        fine, coarse = self.features(images)
        side = F.interpolate(self.coarse_output(coarse), images.shape[-2:], mode="bilinear")
        return {"logits": self.fine_output(fine) + side, "side": side}

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.supervised(images)["logits"]}


@register_model("saliency", "a network of the tests")
def small_saliency(num_classes: int = 1, width: int = 8, weights: str | None = None) -> SmallSaliency:
    """What a checkpoint of a :class:`SmallSaliency` builds."""
    return SmallSaliency(num_classes, width)
