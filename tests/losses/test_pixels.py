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
