from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch

from saccade.losses.dice import dice_loss


def _slow(probabilities, labels, smooth):
    losses = []
    for channel in range(probabilities.shape[1]):
        wanted = 1 if probabilities.shape[1] == 1 else channel
        common = total = 0.0
        for p, g in zip(probabilities[:, channel].flatten().tolist(), labels.flatten().tolist(), strict=True):
            if g != 255:
                common += p * (g == wanted)
                total += p + (g == wanted)
        losses.append(1 - (2 * common + smooth) / (total + smooth))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_equals_the_sum_written_out(classes, smooth):
    torch.manual_seed(0)
    probabilities = torch.rand(2, classes, 6, 5)
    labels = torch.randint(0, max(classes, 2), (2, 6, 5))
    labels[0, 0] = 255
    assert dice_loss(probabilities, labels, smooth=smooth).item() == pytest.approx(
        _slow(probabilities, labels, smooth), abs=1e-5
    )


@pytest.mark.parametrize(("mode", "classes"), [("binary", 1), ("multiclass", 4)])
def test_equals_segmentation_models_pytorch(mode, classes):
    torch.manual_seed(1)
    logits, labels = torch.randn(3, classes, 8, 8), torch.randint(0, max(classes, 2), (3, 8, 8))
    probabilities = logits.sigmoid() if classes == 1 else logits.softmax(1)
    # Theirs is (common + s) / (total / 2 + s), so its s is half of ours.
    reference = smp.losses.DiceLoss(mode, smooth=0.5)(logits, labels.unsqueeze(1) if classes == 1 else labels)
    torch.testing.assert_close(dice_loss(probabilities, labels, smooth=1.0), reference)


def test_ends_of_the_range():
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[:, :20] = 1
    right = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    assert dice_loss(right, labels) == 0
    assert dice_loss(1 - right, labels) > 0.99
    assert (
        dice_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)) == 0
    )  # nothing there, nothing found
    assert dice_loss(torch.rand(1, 3, 4, 4), torch.full((1, 4, 4), 255)) == 0
