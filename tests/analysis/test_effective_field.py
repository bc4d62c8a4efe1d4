"""Effective receptive fields: inside the theoretical ones, growing as the paper says, for every kind of network."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.analysis.effective_field import ReceptiveField, measure_receptive_field
from saccade.analysis.receptive_field import Field
from saccade.cli import main
from saccade.errors import ConfigError
from saccade.models.base import Model, Outputs
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.structures.input_spec import InputSpec


class Stack(Model):
    """Convolutions of 3 in a row, padded or not."""

    task = "segmentation"
    builder_name = "stack"

    def __init__(self, depth: int, padding: int = 1, width: int = 8, size: int = 64) -> None:
        super().__init__()
        channels = [1, *[width] * depth]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(depth)
            self.stages = nn.Sequential(
                *(nn.Conv2d(first, second, 3, padding=padding, bias=False) for first, second in pairwise(channels))
            )
        for layer in self.stages:
            nn.init.kaiming_normal_(layer.weight, generator=torch.Generator().manual_seed(depth))
        self.head = nn.Linear(width, 2)
        self.num_classes, self.stage_names, self.head_names = 2, tuple(f"stages.{n}" for n in range(depth)), ("head",)
        self.input_spec = InputSpec((size, size), channels=1, mean=(0.0,), std=(255.0,))

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(self.stages(images).mean((2, 3)))}


@pytest.mark.parametrize("padding", [0, 1])
def test_the_gradient_ends_where_the_theoretical_field_does(padding: int) -> None:
    measured = measure_receptive_field(Stack(6, padding), count=2)
    side = 64 - 12 * (1 - padding)
    assert (measured.layer, measured.map_size, measured.inputs) == ("stages.5", (side, side), 2)
    assert measured.field.side == 13
    rows, columns = np.nonzero(measured.gradient)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == measured.box_xyxy
    assert measured.gradient.sum() == pytest.approx(1, abs=1e-5)


def test_the_effective_field_is_the_fewest_pixels_with_95_percent() -> None:
    rng = np.random.default_rng(0)
    gradient = rng.random((20, 30)).astype(np.float32) ** 4
    gradient /= gradient.sum()
    measured = ReceptiveField("x", (20, 30), (10, 15), Field(11.0, 1.0, 0.5), gradient, None, 1)
    inside = measured.effective
    assert gradient[inside].sum() >= 0.95
    assert gradient[inside].min() >= gradient[~inside].max()
    assert gradient[inside].sum() - gradient[inside].min() < 0.95
    numbers = measured.numbers()
    assert numbers["effective side"] == pytest.approx(math.sqrt(inside.sum()), abs=0.05)
    assert numbers["effective share of the canvas"] == pytest.approx(inside.mean(), abs=1e-4)
    assert numbers["effective share of the field"] == pytest.approx(inside.sum() / 11**2, abs=1e-4)
    assert measured.box_xyxy == (10.0, 5.0, 21.0, 16.0)


def test_the_effective_field_grows_with_the_root_of_the_depth() -> None:
    """Luo et al. 2016, section 2: of n layers of random weights the side is as sqrt(n), its share as 1 / sqrt(n)."""
    fields = {depth: measure_receptive_field(Stack(depth, size=96), count=4) for depth in (5, 20)}
    sides = {depth: math.sqrt(field.effective_pixels) for depth, field in fields.items()}
    assert sides[20] / sides[5] == pytest.approx(2, rel=0.25)
    shares = {depth: side / fields[depth].field.side for depth, side in sides.items()}
    assert shares[20] < 0.7 * shares[5]


@pytest.mark.parametrize(
    ("name", "options", "size", "layer"),
    [
        ("resnet20_cifar", {}, (32, 32), "layer3"),
        ("vit_ti_16", {"image_size": 64}, (64, 64), "norm"),
        ("swin_t", {}, (64, 64), "norm"),
        ("yolox_nano", {}, (64, 64), "backbone.backbone.dark5"),
        ("retinanet", {"channels": 16, "backbone": "swin_t", "anchor_size": 8}, (128, 128), "backbone.norm"),
        ("unet", {}, (64, 96), "decoder.3"),
        ("unet_2015", {"base_channels": 8}, (228, 228), "decoder.3"),
        ("deeplabv3", {"backbone": "mobilenet_v3_small"}, (64, 64), "backbone.trunk.12"),
    ],
)
def test_every_kind_of_network_has_one(
    name: str, options: dict[str, object], size: tuple[int, int], layer: str
) -> None:
    model = create_model(name, num_classes=2, **options)
    model.input_spec = model.input_spec.with_size(size)
    measured = measure_receptive_field(model, count=1)
    assert measured.layer == layer
    assert measured.gradient.shape == size
    x1, y1, x2, y2 = measured.box_xyxy
    assert (
        0 < measured.effective_pixels <= max(1, min(x2, size[1]) - max(x1, 0)) * max(1, min(y2, size[0]) - max(y1, 0))
    )
    assert measured.plot().ndim == 3


def test_a_layer_normalised_over_channels_has_a_gradient() -> None:
    """The sum of its channels is constant; a mixture is not."""
    model = create_model("vit_ti_16", num_classes=2, image_size=64)
    measured = measure_receptive_field(model, "norm", count=1)
    assert measured.effective_pixels > 16 * 16
    assert measured.numbers()["theoretical side"] == "whole image"


def test_real_images_of_any_size_are_averaged() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (height, width, 1), np.uint8) for height, width in ((30, 70), (90, 41))]
    measured = measure_receptive_field(Stack(3), images=images)
    assert measured.inputs == 2
    assert measured.image is not None
    assert measured.image.shape == (64, 64, 3)
    assert measured.gradient.sum() == pytest.approx(1, abs=1e-5)


def test_what_has_no_field_is_named() -> None:
    model = Stack(2)
    with pytest.raises(ConfigError, match=r"Did you mean 'stages\.1'"):
        measure_receptive_field(model, "stages.11")
    with pytest.raises(ConfigError, match="'head' of 'stack' outputs no feature map"):
        measure_receptive_field(model, "head")
    with pytest.raises(ConfigError, match="count=0"):
        measure_receptive_field(model, count=0)
    nn.init.zeros_(model.stages[1].weight)
    with pytest.raises(ConfigError, match=r"no gradient of the middle location of 'stages.1'"):
        measure_receptive_field(model)


def test_the_verb_draws_both_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model("resnet20_cifar", num_classes=2)
    model.class_names = ("cat", "dog")
    file = save_model(model, tmp_path / "model.safetensors")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (40 + number, 50, 3), np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), pixels)
    out = tmp_path / "fields.png"
    words = ["explain", str(file), str(images), "--receptive-field", "--layer", "layer1", "--save", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "layer1" in printed
    assert "15.0" in printed  # conv1 and three blocks of two: 3 + 6 * 2
    assert f"drawn in {out}" in printed
    height, width = cv2.imread(str(out)).shape[:2]
    assert width > 1.5 * height  # two panels beside each other
    # Without an image, and by a name alone.
    assert main(["explain", "resnet20_cifar", "--receptive-field", "--save", str(out)]) == 0
    assert main(["explain", "resnet20_cifra", "--receptive-field"]) == 2
    assert "Did you mean 'resnet20_cifar'" in capsys.readouterr().err
    assert main(["explain", str(file), "--receptive-field", "--top", "2"]) == 2
    assert "Leave them out with receptive_field" in capsys.readouterr().err
    assert main(["explain", str(file)]) == 2
    assert "explain takes an image" in capsys.readouterr().err


def test_branches_that_start_at_zero_count_in_a_network_of_random_weights() -> None:
    """ResNet's last gamma of a branch is 0 at first; only 11 pixels would be seen, through stem and shortcuts."""
    measured = saccade.explain("resnet18", receptive_field=True)
    assert measured.numbers()["effective side"] > 40
