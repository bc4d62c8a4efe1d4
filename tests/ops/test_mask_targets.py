"""Targets of masks are those of RoIAlign on masks as large as the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from saccade.ops.mask_targets import mask_targets
from saccade.structures.batch import pad_targets

SIZE = (90, 130)


def noise(boxes: Tensor, seed: int) -> Tensor:
    """Masks that are noise inside of their boxes."""
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = torch.rand(y2 - y1, x2 - x1, generator=generator) > 0.3
    return masks


def test_equal_to_roi_align_of_whole_masks() -> None:
    boxes = [
        torch.tensor([[0.0, 0, 40, 30], [60, 40, 130, 90], [20, 5, 120, 88], [7, 9, 8, 10]]),  # two at the border
        torch.tensor([[30.0, 30, 100, 50]]),
    ]
    targets = [
        {"boxes": one, "labels": torch.zeros(len(one), dtype=torch.int64), "masks": noise(one, seed)}
        for seed, one in enumerate(boxes)
    ]
    padded = pad_targets(targets)
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(2, (150,), generator=generator)
    row = torch.where(image == 0, torch.randint(4, (150,), generator=generator), 0)
    around = padded["boxes"][image, row] + 8 * torch.randn(150, 4, generator=generator)
    limit = torch.tensor([SIZE[1], SIZE[0]] * 2)
    regions = torch.minimum(around.clamp(min=0), limit)
    regions = torch.cat((regions[:, :2], torch.maximum(regions[:, 2:], regions[:, :2] + 0.01)), dim=1)
    regions[0] = torch.tensor([0.0, 0, SIZE[1], SIZE[0]])  # the image
    regions[1] = torch.tensor([-60.0, -50, 400, 300])  # larger than it
    regions[2] = torch.tensor([5.0, 5, 5, 5])  # without area
    found = mask_targets(
        padded["masks"], padded["mask_origins"], (image, row), regions, torch.tensor([SIZE, SIZE]), size=28
    )
    expected = torch.empty_like(found)
    for number, target in enumerate(targets):
        own = image == number
        expected[own] = project_masks_on_boxes(target["masks"], regions[own], row[own], 28)
    assert expected.std() > 0.2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_no_regions() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    crops, origins, canvas = torch.ones(1, 8, 4, 4), torch.zeros(1, 8, 2).long(), torch.tensor([[8, 8]])
    assert mask_targets(crops, origins, (nothing, nothing), torch.zeros(0, 4), canvas).shape == (0, 28, 28)
