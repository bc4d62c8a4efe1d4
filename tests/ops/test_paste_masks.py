"""Masks pasted into images: torchvision's pixels, in whole images and packed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from saccade.ops.paste_masks import paste_masks, paste_packed


def test_pixels_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    grids = F.interpolate(
        torch.randn(20, 1, 7, 7, generator=generator) * 4, scale_factor=4.0, mode="bilinear"
    ).sigmoid()
    low = torch.rand(20, 2, generator=generator) * torch.tensor([700.0, 500.0]) - 50
    boxes = torch.cat((low, low + 30 + torch.rand(20, 2, generator=generator) * 250), dim=1)
    size = (600, 800)
    expected = (paste_masks_in_image(grids, boxes, size)[:, 0] >= 0.5).numpy()
    found = paste_masks(grids[:, 0].numpy(), boxes.numpy(), size)
    assert found.shape == (20, *size)
    assert (found == expected).mean() >= 0.999
    # Their boxes are rounded to whole pixels, ours are not: most differences lie at the borders of the masks.
    assert (found & expected).sum() / (found | expected).sum() > 0.95
    packed = paste_packed(grids[:, 0].numpy(), boxes.numpy(), size)
    assert np.array_equal(np.asarray(packed), found)
    assert np.array_equal(packed[[3, 5]].astype(bool), found[[3, 5]])


def test_boxes_outside_of_the_image_have_empty_masks() -> None:
    boxes = np.array([[-40.0, 5, -10, 20], [90, 90, 120, 130], [10, 10, 10, 30], [-10, -10, 20, 20]])
    masks = paste_masks(np.ones((4, 28, 28)), boxes, (60, 80))
    assert masks.sum(axis=(1, 2)).tolist() == [0, 0, 0, 400]
    packed = paste_packed(np.ones((4, 28, 28)), boxes, (60, 80))
    assert np.array_equal(np.asarray(packed), masks)
    assert paste_packed(np.zeros((0, 28, 28)), np.zeros((0, 4)), (60, 80)).shape == (0, 60, 80)


def test_masks_move_with_their_boxes_by_parts_of_a_pixel() -> None:
    generator = np.random.default_rng(0)
    grid = (generator.random((1, 28, 28)) > 0.4).astype(np.float32)
    here = paste_masks(grid, np.array([[10.5, 10.5, 66.5, 66.5]]), (80, 80))
    there = paste_masks(grid, np.array([[13.5, 12.5, 69.5, 68.5]]), (80, 80))
    assert np.array_equal(here[0, 10:67, 10:67], there[0, 12:69, 13:70])
