"""What every segmenter inherits: terms of several outputs, maps of another size, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saccade.errors import ConfigError
from saccade.models.segmentation.base import Segmenter, labels_of_size


class TwoOutputs(Segmenter):
    output_weights: ClassVar[Mapping[str, float]] = {"auxiliary": 0.4}

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.head = nn.Conv2d(3, num_classes, 1)

    def forward(self, images):
        return {"logits": self.head(images)}

    def supervised(self, images):
        return {**self(images), "auxiliary": self.head(images[..., ::8, ::8])}


def test_every_output_has_its_terms_and_its_weight():
    torch.manual_seed(0)
    model, images = TwoOutputs(3), torch.randn(2, 3, 17, 25)
    labels = torch.randint(0, 3, (2, 17, 25))
    terms = model.loss(images, {"label_map": labels.to(torch.uint8)})
    assert list(terms) == ["cross_entropy", "cross_entropy_auxiliary"]
    coarse = F.cross_entropy(model.head(images[..., ::8, ::8]), labels[:, ::8, ::8])
    torch.testing.assert_close(terms["cross_entropy_auxiliary"], 0.4 * coarse)


def test_terms_are_those_with_a_weight():
    model, images = TwoOutputs(3), torch.randn(1, 3, 8, 8)
    labels = torch.randint(0, 3, (1, 8, 8))
    model.cross_entropy_weight, model.dice_weight, model.output_weights = 0.0, 2.0, {"auxiliary": 1.0}
    assert list(model.loss(images, {"label_map": labels})) == ["dice", "dice_auxiliary"]
    model.cross_entropy_weight, model.class_weights = 1.0, (1.0, 2.0)
    with pytest.raises(ConfigError, match="has 2 numbers; the network has 3 classes"):
        model.loss(images, {"label_map": labels})


def test_weight_map_reaches_every_output():
    torch.manual_seed(0)
    model, images = TwoOutputs(3), torch.randn(1, 3, 17, 17)
    labels, weights = torch.randint(0, 3, (1, 17, 17)), torch.zeros(1, 17, 17)
    weights[0, 0, 0] = 1.0
    terms = model.loss(images, {"label_map": labels, "weight_map": weights})
    corner = F.cross_entropy(model.head(images)[:, :, 0, 0], labels[:, 0, 0])
    torch.testing.assert_close(terms["cross_entropy"], corner / 17**2)
    torch.testing.assert_close(terms["cross_entropy_auxiliary"], 0.4 * corner / 9)


def test_labels_of_a_coarser_map_are_those_of_its_locations():
    labels = torch.arange(321 * 321).view(1, 321, 321)
    assert torch.equal(labels_of_size(labels, (41, 41)), labels[:, ::8, ::8])
    assert labels_of_size(labels, (321, 321)) is labels
