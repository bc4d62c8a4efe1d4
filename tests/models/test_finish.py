"""The dense CRF after a network: what it changes on a canvas, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.finish import check_finish, run_finish
from saccade.ops.dense_crf import CrfSettings, dense_crf

OPTIONS = {"iterations": 3, "bi_rgb_std": 20.0}


def canvas(seed: int = 0) -> Tensor:
    """An image of 20 x 30 in the middle of a canvas of 32 x 30, padded with grey."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.full((1, 3, 32, 30), 114, dtype=torch.uint8)
    image[:, :, 6:26] = torch.randint(0, 256, (1, 3, 20, 30), generator=generator, dtype=torch.uint8)
    return image


def probabilities(classes: int, seed: int = 1) -> Tensor:
    logits = 2 * torch.randn(1, classes, 32, 30, generator=torch.Generator().manual_seed(seed))
    return logits.sigmoid() if classes == 1 else logits.softmax(1)


def test_padding_has_no_part_in_it() -> None:
    images, before = canvas(), probabilities(4)
    after = run_finish("dense_crf", {"probabilities": before}, images, OPTIONS)["probabilities"]
    assert torch.equal(after[:, :, :6], before[:, :, :6])
    assert torch.equal(after[:, :, 26:], before[:, :, 26:])
    inside = dense_crf(before[:, :, 6:26].log(), images[:, :, 6:26], CrfSettings(iterations=3, bi_rgb_std=20.0))
    assert torch.allclose(after[:, :, 6:26], inside, atol=1e-5)
    assert (inside.argmax(1) != before[:, :, 6:26].argmax(1)).any()
    sideways = run_finish("dense_crf", {"probabilities": before.mT}, images.mT, OPTIONS)["probabilities"]
    assert torch.equal(sideways[..., :6], before.mT[..., :6])
    assert not torch.equal(sideways[..., 6:26], before.mT[..., 6:26])


def test_one_class_stands_against_background() -> None:
    images, before = canvas(), probabilities(1)
    after = run_finish("dense_crf", {"probabilities": before}, images, OPTIONS)["probabilities"]
    two = torch.cat((before, 1 - before), dim=1)
    expected = run_finish("dense_crf", {"probabilities": two}, images, OPTIONS)["probabilities"]
    assert after.shape == before.shape
    assert torch.allclose(after, expected[:, :1])


def test_zero_probabilities_and_images_of_one_colour_stay_finite() -> None:
    hard = torch.zeros(2, 3, 8, 8)
    hard[:, 0, :, :6], hard[:, 2, :, 6:] = 1.0, 1.0
    hard[:, :, 3, 2] = torch.tensor([0.0, 0.0, 1.0])  # one wrong pixel, and the network is sure of it
    images = torch.full((2, 3, 8, 8), 114, dtype=torch.uint8)
    after = run_finish("dense_crf", {"probabilities": hard}, images, {"bi_weight": 40.0})["probabilities"]
    assert torch.isfinite(after).all()
    assert torch.allclose(after.sum(1), torch.ones(2, 8, 8))
    assert (after.argmax(1)[:, 3, 2] == 0).all()  # a grey image is no padding: all of it takes part
    single = run_finish("dense_crf", {"probabilities": torch.zeros(1, 1, 1, 1)}, images[:1, :, :1, :1])
    assert 0 <= float(single["probabilities"]) < 0.01


def test_other_tensors_stay_and_nothing_is_changed_in_place() -> None:
    before = probabilities(2)
    kept = before.clone()
    decoded = {"probabilities": before, "scores": torch.ones(1)}
    after = run_finish("dense_crf", decoded, canvas(), OPTIONS)
    assert after["scores"] is decoded["scores"]
    assert torch.equal(before, kept)


def test_compatibility_is_an_option() -> None:
    images, before = canvas(), probabilities(2)
    usual, potts, none = (
        run_finish("dense_crf", {"probabilities": before}, images, {**OPTIONS, "compatibility": matrix})[
            "probabilities"
        ]
        for matrix in (None, [[0, 1], [1, 0]], [[0, 0], [0, 0]])
    )
    assert torch.allclose(potts, usual, atol=1e-5)
    assert torch.allclose(none, before, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iteration": 5}, "no option 'iteration'. Did you mean 'iterations'"),
        ({"iterations": "many"}, "iterations is 'many'; it must be a whole number"),
        ({"bi_xy_std": 0}, "bi_xy_std is 0; it must be above 0"),
        ({"compatibility": [[0, 1], [1]]}, "compatibility is no list of equally long lists of numbers"),
        ({"compatibility": [[0]]}, r"2 classes need \(2, 2\)"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_finish("dense_crf", {"probabilities": probabilities(2)}, canvas(), options)


def test_networks_that_label_no_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs probabilities of every pixel.*gives probabilities \(1, 10\)"):
        run_finish("dense_crf", {"probabilities": torch.ones(1, 10)}, canvas())
    with pytest.raises(ConfigError, match="for networks that label pixels; this one solves detection"):
        check_finish("dense_crf", {}, "detection")
    check_finish("dense_crf", {}, "saliency")
