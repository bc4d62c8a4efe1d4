"""The unpadded U-Net: exact sizes, the mirror around images, tiles that give what the whole image gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.tiled import Tiling, predict_tiled
from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.models.segmentation.unet_2015 import MARGIN, mirror

REFERENCE = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]["unet_2015"]


def lively(**options):
    """A small network in which no unit is dead: with few channels a random one outputs a constant."""
    torch.manual_seed(0)
    model = create_model("unet_2015", **{"base_channels": 2, **options}).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.02, 0.4 / module.weight[0].numel() ** 0.5)
            nn.init.constant_(module.bias, 0.5)
    return model


@pytest.fixture(scope="module")
def small():
    model = lively().double()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 36, 36, dtype=torch.float64))["logits"].std() > 1e-3
    return model


def test_parameters_and_macs_are_those_of_572_pixels(macs):
    with torch.device("meta"):
        model = create_model("unet_2015")
        assert model.continued(torch.zeros(1, 1, 388, 388)).shape == (1, *REFERENCE["input"])
    assert sum(one.numel() for one in model.parameters()) == REFERENCE["params"] == 31_030_658
    assert macs(model, (1, 388, 388)) == REFERENCE["macs"] == 150_428_424_448


def test_sizes_are_those_of_figure_1():
    with torch.device("meta"):
        model = create_model("unet_2015")
        shapes, names = {}, {part: name for name, part in model.named_modules()}
        for part in names:
            part.register_forward_hook(lambda part, _, output: shapes.update({names[part]: tuple(output.shape)}))
        assert model.valid(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    encoder = [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    decoder = [(512, 52), (256, 100), (128, 196), (64, 388)]
    up = [(512, 56), (256, 104), (128, 200), (64, 392)]
    for prefix, suffix, expected in (("encoder", "", encoder), ("decoder", "", decoder), ("decoder", ".up", up)):
        assert [shapes[f"{prefix}.{level}{suffix}"] for level in range(len(expected))] == [
            (1, channels, side, side) for channels, side in expected
        ]


@pytest.mark.parametrize(("height", "width"), [(188, 204), (252, 188)])
def test_every_valid_side_loses_184(small, height, width):
    images = torch.randn(1, 1, height, width, dtype=torch.float64)
    assert small.valid(images).shape == (1, 2, height - 184, width - 184)


@pytest.mark.parametrize("side", [187, 190, 572 - 16 + 1, 172])
def test_other_sides_are_refused_with_the_remedy(small, side):
    with pytest.raises(ConfigError, match=r"16 k \+ 12\), not 188x.*Call the network itself"):
        small.valid(torch.zeros(1, 1, 188, side, dtype=torch.float64))


def test_a_skip_is_cropped_around_its_middle(small):
    block = small.decoder[0]
    x, skip = (torch.randn(1, channels, side, side, dtype=torch.float64) for channels, side in ((32, 5), (16, 18)))
    joined = torch.cat((skip[..., 4:14, 4:14], block.up(x)), dim=1)
    torch.testing.assert_close(block(x, skip), block.convolutions(joined))


@pytest.mark.parametrize(("height", "width"), [(100, 100), (97, 120), (1, 2)])
def test_the_mirror_is_numpys(height, width):
    image = torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width)
    expected = np.pad(image[0, 0].numpy(), ((MARGIN, 100), (MARGIN, 95)), mode="reflect")
    found = mirror(image, MARGIN, (height + MARGIN + 100, width + MARGIN + 95))
    np.testing.assert_array_equal(found[0, 0], expected)


def test_forward_is_the_valid_network_on_the_mirrored_image(small):
    images = torch.randn(1, 1, 100, 116, dtype=torch.float64)  # sides 16 k + 4 need the mirror alone
    continued = F.pad(images, (MARGIN,) * 4, mode="reflect") if min(images.shape[-2:]) > MARGIN else None
    torch.testing.assert_close(small(images)["logits"], small.valid(continued), rtol=0, atol=1e-12)


def test_a_labelled_pixel_sees_at_most_95_pixels_to_each_side():
    model = lively().double()
    model.pool = nn.AvgPool2d(2)  # all pixels of a window have a gradient
    images = torch.rand(1, 1, 188, 188, dtype=torch.float64, requires_grad=True)
    for position in range(4):  # of pixel 92 + position; the coarsest stride decides what it sees on which side
        images.grad = None
        model.valid(images)[..., position, position].sum().backward()
        seen = images.grad[0, 0].abs().sum(0).nonzero()
        assert (int(seen.min()), int(seen.max())) == (0, 187)


def test_dropout_is_at_the_end_of_the_encoder():
    torch.manual_seed(0)
    model = create_model("unet_2015", base_channels=2).train()
    images = torch.randn(1, 1, 36, 36)
    first, second = model.features(images), model.features(images)
    assert [bool(torch.equal(a, b)) for a, b in zip(first, second, strict=True)] == [True, True, True, False, False]
    assert model.dropout.p == 0.5


def test_initial_weights_keep_the_size_of_the_signal():
    torch.manual_seed(0)
    model = create_model("unet_2015", base_channels=16)
    assert model.encoder[3][2].weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert not model.encoder[3][2].bias.any()


@pytest.mark.parametrize(("height", "width", "tile"), [(100, 75, 36), (132, 37, 68), (3, 40, 20)])
def test_tiles_give_exactly_what_the_whole_image_gives(small, height, width, tile):
    images = torch.randn(2, 1, height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(small.in_tiles(images, tile), small(images)["logits"], rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match=r"tile is 32; .*16 k \+ 4"):
        small.in_tiles(images, 32)


def test_the_engines_tiles_give_inside_their_margin_what_the_whole_image_gives():
    """Tiles of the image and its mirror, each pixel from the tile in whose middle it lies: nothing differs.

    Where tiles begin at multiples of the coarsest stride and share twice what an output pixel sees around itself.
    """
    model = lively()
    model.class_names = ("background", "cell")
    runtime = EagerRuntime(model)
    tile, shared = 320, 224  # half of it, 112, is more than the 95 that a pixel sees; tiles begin at multiples of 16
    image = np.random.default_rng(0).integers(0, 256, (288 + 96, 192), np.uint8)
    (whole,) = predict_tiled(runtime, image, Tiling(image.shape, 0.0), size=image.shape)
    tiling = Tiling((tile, tile), shared / tile, blend="core", mirror=True)
    (tiled,) = predict_tiled(runtime, image, tiling, size=(tile, tile))
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-6)
    assert np.abs(np.diff(whole.probabilities)).max() > 1e-3  # there is something to differ


@pytest.mark.parametrize("size", [(4, 4), (33, 70)])
def test_images_of_any_size_and_channels(size):
    model = create_model("unet_2015", num_classes=3, in_channels=3, base_channels=2).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, *size))["logits"].shape == (1, 3, *size)
