"""Mean field by filters against mean field by sums over all pairs of pixels, and its edge cases."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.ops.dense_crf import CrfSettings, dense_crf, learn_compatibility

SIZE = (24, 32)
CAMVID = Path(os.environ.get("SACCADE_DATA", "")) / "camvid" / "val"


def exact_crf(logits: Tensor, images: Tensor, settings: CrfSettings, compatibility: Tensor | None = None) -> Tensor:
    """Algorithm 1 of the paper with matrices of all pairs, in float64."""
    classes, height, width = logits.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack((x, y), dim=-1).reshape(-1, 2).double()
    apart = (position[:, None] - position).square().sum(-1)
    penalty = 1 - torch.eye(classes) if compatibility is None else compatibility
    found = []
    for one, image in zip(logits.double(), images.double(), strict=True):
        colour = image.expand(3, -1, -1).flatten(1).T
        differ = (colour[:, None] - colour).square().sum(-1)
        smoothness = torch.exp(-apart / (2 * settings.pos_xy_std**2))
        appearance = torch.exp(-apart / (2 * settings.bi_xy_std**2) - differ / (2 * settings.bi_rgb_std**2))
        kernel = torch.zeros_like(apart)
        for weight, matrix in ((settings.pos_weight, smoothness), (settings.bi_weight, appearance)):
            degree = matrix.sum(1)
            kernel = kernel + weight * matrix / (degree[:, None] * degree).sqrt()
        unary = -one.flatten(1).T
        marginals = (-unary).softmax(1)
        for _ in range(settings.iterations):
            marginals = (-unary - kernel @ marginals @ penalty.double().T).softmax(1)
        found.append(marginals.T.reshape(classes, height, width))
    return torch.stack(found)


def network_like(count: int, classes: int, seed: int = 0) -> Tensor:
    """Logits of a network: regions, with some pixels wrong."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 3 * torch.randn(count, classes, 6, 8, generator=generator)
    return F.interpolate(coarse, size=SIZE, mode="bilinear") + torch.randn(count, classes, *SIZE, generator=generator)


def random_images(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 3, *SIZE), generator=torch.Generator().manual_seed(seed))


def street_images() -> Tensor:
    """Crops of streets at full resolution, and whole streets made small."""
    made = []
    for number, file in enumerate(sorted(CAMVID.glob("*.png"))[::3]):
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        top, left = 100 + 40 * number, 60 + 90 * number
        made += [image[top : top + 24, left : left + 32], cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA)]
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in made])


def agreement(ours: Tensor, exact: Tensor) -> tuple[float, float]:
    """Mean difference of marginals, and share of equal labels."""
    return float((ours - exact).abs().mean()), float((ours.argmax(1) == exact.argmax(1)).double().mean())


@pytest.mark.parametrize("classes", [2, 5, 21])
@pytest.mark.parametrize("settings", [CrfSettings(iterations=5), CrfSettings()], ids=["5", "10"])
def test_random_images_as_the_exact_computation(settings: CrfSettings, classes: int) -> None:
    images, logits = random_images(4), network_like(4, classes)
    difference, equal = agreement(dense_crf(logits, images, settings), exact_crf(logits, images, settings))
    assert difference < 0.01
    assert equal >= 0.99


@pytest.mark.data("camvid")
@pytest.mark.parametrize("classes", [2, 5, 21])
@pytest.mark.parametrize("settings", [CrfSettings(iterations=5), CrfSettings()], ids=["5", "10"])
def test_real_images_as_the_exact_computation(settings: CrfSettings, classes: int) -> None:
    images = street_images()
    logits = network_like(len(images), classes, seed=1)
    ours, exact = dense_crf(logits, images, settings), exact_crf(logits, images, settings)
    difference, equal = agreement(ours, exact)
    assert difference < 0.01
    assert equal >= 0.99
    assert (exact.argmax(1) != logits.argmax(1)).double().mean() > 0.05  # there was something to compute


@pytest.mark.data("camvid")
def test_other_kernels_as_the_exact_computation() -> None:
    images = street_images()
    logits = network_like(len(images), 5, seed=2)
    for settings, bound in (
        (CrfSettings(pos_weight=0.0), 0.01),
        (CrfSettings(bi_weight=0.0), 1e-3),
        (CrfSettings(pos_xy_std=0.7, bi_xy_std=10.0, bi_rgb_std=30.0), 0.01),
        (CrfSettings(bi_weight=10.0, bi_xy_std=61.0, bi_rgb_std=11.0), 0.02),  # of the CRF's paper, figure 4
    ):
        difference, equal = agreement(dense_crf(logits, images, settings), exact_crf(logits, images, settings))
        assert difference < bound
        assert equal >= (0.99 if bound <= 0.01 else 0.95)  # strong weights leave some pixels on the edge
    none = CrfSettings(pos_weight=0.0, bi_weight=0.0)
    assert torch.allclose(dense_crf(logits, images, none), logits.softmax(1))


def test_gradients_are_those_of_the_exact_computation() -> None:
    settings = CrfSettings(iterations=3, bi_rgb_std=20.0)
    smooth = F.interpolate(255 * torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(3)), SIZE)
    upstream = torch.randn(2, 4, *SIZE, generator=torch.Generator().manual_seed(4))
    matrix = torch.rand(4, 4, generator=torch.Generator().manual_seed(5))
    gradients = {}
    for name, function in (("ours", dense_crf), ("exact", exact_crf)):
        logits, compatibility = network_like(2, 4).requires_grad_(), matrix.clone().requires_grad_()
        marginals = function(logits, smooth, settings, compatibility)
        gradients[name] = torch.autograd.grad((marginals * upstream).sum(), (logits, compatibility))
    for ours, exact in zip(gradients["ours"], gradients["exact"], strict=True):
        assert F.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.995
        assert (ours - exact).norm() < 0.1 * exact.norm()


def test_compatibility_of_labels() -> None:
    images, logits = random_images(2, seed=6), network_like(2, 3, seed=6)
    settings = CrfSettings(iterations=5)
    potts = 1 - torch.eye(3)
    assert torch.allclose(dense_crf(logits, images, settings, potts), dense_crf(logits, images, settings), atol=1e-4)
    uneven = torch.tensor([[0.0, 1.0, 0.2], [1.0, 0.0, 2.0], [0.4, 1.5, 0.0]])
    difference, equal = agreement(
        dense_crf(logits, images, settings, uneven), exact_crf(logits, images, settings, uneven)
    )
    assert difference < 0.01
    assert equal >= 0.99


def test_compatibility_is_learnt() -> None:
    """Classes 0 and 1 alternate pixel by pixel, so that neighbours of unequal labels are right."""
    settings = CrfSettings(iterations=3, bi_weight=0.0, pos_xy_std=0.6)
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    labels = ((x + y) % 2)[None]
    labels[:, :, -1] = 255
    torch.manual_seed(0)
    logits = F.one_hot(labels.clamp(max=1), 2).permute(0, 3, 1, 2) + 0.8 * torch.randn(1, 2, 12, 12)
    images = torch.zeros(1, 3, 12, 12)
    learnt = learn_compatibility(logits, images, labels, settings, steps=25)
    assert torch.equal(learnt, learnt.T)
    assert learnt[0, 1] < 0.5
    kept = labels != 255
    before, after = (
        (dense_crf(logits, images, settings, matrix).argmax(1) == labels)[kept].float().mean()
        for matrix in (None, learnt)
    )
    assert after > before + 0.1


def test_labels_follow_the_edge_of_the_image() -> None:
    images = torch.full((1, 3, 32, 32), 60.0)
    images[..., 16:] = 180.0
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 0, :, :20], logits[:, 1, :, 20:] = 2.0, 2.0  # the network's edge is four pixels off
    labels = dense_crf(logits, images, CrfSettings(pos_weight=0.5, bi_weight=10.0)).argmax(1)
    assert (labels[0, :, :16] == 0).all()
    assert (labels[0, :, 16:] == 1).all()


def test_a_batch_gives_what_its_images_give_alone() -> None:
    images, logits = random_images(3), network_like(3, 4)
    together = dense_crf(logits, images)
    for number in range(3):
        assert torch.equal(
            together[number : number + 1], dense_crf(logits[number : number + 1], images[number : number + 1])
        )


def test_a_grey_image_gives_what_its_copy_in_colour_gives() -> None:
    grey, logits = random_images(1)[:, :1], network_like(1, 3)
    in_colour, as_it_is = (dense_crf(logits, images) for images in (grey.expand(-1, 3, -1, -1), grey))
    # The lattices have three and five dimensions: as near to each other as to the exact computation.
    assert (in_colour - as_it_is).abs().mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (5, 6)])
@pytest.mark.parametrize("classes", [1, 2])
def test_small_and_constant_images(shape: tuple[int, int], classes: int) -> None:
    logits = torch.randn(1, classes, *shape, generator=torch.Generator().manual_seed(7))
    marginals = dense_crf(logits, torch.full((1, 3, *shape), 99, dtype=torch.uint8))
    assert marginals.shape == logits.shape
    assert torch.allclose(marginals.sum(1), torch.ones(1, *shape))
    if classes == 1:
        assert (marginals == 1).all()
    difference, equal = agreement(marginals, exact_crf(logits, torch.full((1, 3, *shape), 99), CrfSettings()))
    assert difference < 0.02
    assert equal == 1.0
    assert dense_crf(logits[:0], torch.zeros(0, 3, *shape)).shape == (0, classes, *shape)


def test_hard_logits_stay_finite() -> None:
    logits = torch.full((1, 3, 8, 8), -1e4)
    logits[:, 0] = 1e4
    logits.requires_grad_()
    marginals = dense_crf(logits, random_images(1)[..., :8, :8])
    marginals.square().sum().backward()
    assert torch.isfinite(marginals).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iterations": 0}, "iterations is 0; it must be a whole number of 1 to 1000"),
        ({"bi_weight": -1.0}, "bi_weight is -1.0; it must be 0 or more"),
        ({"pos_xy_std": 0.0}, "pos_xy_std is 0.0; it must be above 0"),
        ({"bi_rgb_std": math.nan}, "bi_rgb_std is nan"),
        ({"bi_rgb_std": "5"}, "bi_rgb_std is '5'"),
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CrfSettings(**values)


def test_shapes_that_do_not_go_together_are_named() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    with pytest.raises(ConfigError, match="number, height and width must be equal"):
        dense_crf(logits, torch.zeros(1, 3, 4, 5))
    with pytest.raises(ConfigError, match=r"2 classes need \(2, 2\)"):
        dense_crf(logits, torch.zeros(1, 3, 4, 4), compatibility=torch.zeros(3, 3))
