from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from saccade.losses.pixels import pixel_binary_cross_entropy, pixel_cross_entropy


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    known = [
        -logits[b, :, y, x].log_softmax(0)[labels[b, y, x]]
        for b in range(2) for y in range(4) for x in range(5) if labels[b, y, x] != 255
    ]  # fmt: skip
    torch.testing.assert_close(pixel_cross_entropy(logits, labels), torch.stack(known).mean())


def test_binary_cross_entropy_is_the_mean_over_labelled_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 1, 4, 5), torch.randint(0, 2, (2, 4, 5))
    labels[1, :, 0] = 255
    known = labels != 255
    expected = F.binary_cross_entropy(logits[:, 0][known].sigmoid(), labels[known].float())
    torch.testing.assert_close(pixel_binary_cross_entropy(logits, labels), expected)


@pytest.mark.parametrize(("loss", "channels"), [(pixel_cross_entropy, 3), (pixel_binary_cross_entropy, 1)])
def test_without_labelled_pixels_loss_and_gradient_are_zero(loss, channels):
    logits = torch.randn(1, channels, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


def test_class_weights_are_torchs_weighted_mean():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    weights = (0.5, 2.0, 3.0)
    expected = F.cross_entropy(logits, labels, weight=torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, class_weights=weights), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gamma_weighs_each_pixel_by_what_is_missing(gamma):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    known = labels != 255
    right = logits.softmax(1).movedim(1, -1)[known].gather(1, labels[known][:, None])[:, 0]
    torch.testing.assert_close(
        pixel_cross_entropy(logits, labels, gamma=gamma), (-right.log() * (1 - right) ** gamma).mean()
    )
    one, foreground = logits[:, :1], labels.where(~known, labels.clamp(max=1))
    probability = one[:, 0].sigmoid()
    right = torch.where(foreground == 1, probability, 1 - probability)[known]
    torch.testing.assert_close(
        pixel_binary_cross_entropy(one, foreground, gamma=gamma), (-right.log() * (1 - right) ** gamma).mean()
    )


@pytest.mark.parametrize(("loss", "channels"), [(pixel_cross_entropy, 3), (pixel_binary_cross_entropy, 1)])
def test_weight_map_multiplies_each_pixel(loss, channels):
    torch.manual_seed(0)
    logits, labels = torch.randn(1, channels, 4, 4), torch.randint(0, 2, (1, 4, 4))
    weights = torch.rand(1, 4, 4)
    each = [
        weights[0, y, x] * loss(logits[:, :, y : y + 1, x : x + 1], labels[:, y : y + 1, x : x + 1])
        for y in range(4)
        for x in range(4)
    ]
    torch.testing.assert_close(loss(logits, labels, weight_map=weights), torch.stack(each).mean())
