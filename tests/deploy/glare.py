"""A classifier that int8 breaks: one channel is far beyond the others in some of its layers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

_FACTOR = 1e4
_BORDER = 120 / 255  # between dark and light


class Glare(Classifier):
    """Dark or light, by the mean of the green channel.

    Args:
        crossed: Convolutions that read that channel, in one scale with the seven others.
        layers: Convolutions in all.
    """

    input_spec = InputSpec((32, 32))
    stage_names = ("trunk",)
    head_names = ("head",)
    class_rows = linear_rows("head")

    num_classes = 2
    class_names = ("dark", "light")

    def __init__(self, crossed: int = 1, layers: int = 5) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(nn.Conv2d(3 if number == 0 else 8, 8, 1) for number in range(layers)))
        self.head = nn.Linear(8, 2)
        with torch.no_grad():
            for layer in self.trunk:
                nn.init.dirac_(layer.weight)
                nn.init.zeros_(layer.bias)
            self.trunk[0].weight[2, 2] = _FACTOR
            self.trunk[crossed].weight[2, 2] = 1 / _FACTOR
            self.head.weight.zero_()
            self.head.weight[1, 1] = 1000.0
            border = self.features(torch.full((1, 3, 1, 1), _BORDER))[-1][0, 1, 0, 0]
            self.head.bias.copy_(torch.stack((torch.zeros(()), -1000.0 * border)))
        self.eval()

    def features(self, images: Tensor) -> list[Tensor]:
        # Not piecewise linear, so that no layer can be scaled against the next.
        for layer in self.trunk:
            images = F.silu(layer(images))
        return [images]

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(self.features(images)[-1].mean((2, 3)))}


def write_shades(root: Path) -> Path:
    """A folder of classes whose images are a little darker or lighter than the border."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 10)):
        for name, grey in (("dark", 110), ("light", 130)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(grey - 40, grey + 40, (32, 32, 3), np.uint8)
                cv2.imwrite(str(root / split / name / f"{number}.png"), pixels)
    return root
