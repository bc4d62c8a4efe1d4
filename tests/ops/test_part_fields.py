"""Heatmaps and part affinity fields against slow plain loops in NumPy; the mask; the mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from saccade.losses.masked_l2 import masked_l2_loss
from saccade.ops.part_fields import draw_fields, draw_heatmaps, labelled_cells, mirror_maps

SIZE, STRIDE, SIGMA, WIDTH = (7, 9), 8, 7.0, 8.0
LIMBS = [(0, 1), (1, 2), (2, 0)]


def people(seed: int = 0, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in and a little outside of a canvas of 56 x 72, some unknown, two people at the same point."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, count, 3, 2, generator=generator) * torch.tensor([90.0, 70.0]) - 8
    points[0, 1] = points[0, 0]
    known = torch.rand(2, count, 3, generator=generator) > 0.2
    return points, known


def slow_heatmaps(points: NDArray, known: NDArray) -> NDArray:
    B, N, P, _ = points.shape
    out = np.zeros((B, P, *SIZE))
    for b, n, p, row, column in np.ndindex(B, N, P, *SIZE):
        if known[b, n, p]:
            x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
            square = (x - points[b, n, p, 0]) ** 2 + (y - points[b, n, p, 1]) ** 2
            out[b, p, row, column] = max(out[b, p, row, column], np.exp(-square / (2 * SIGMA**2)))
    return out


def slow_fields(points: NDArray, known: NDArray) -> NDArray:
    B, N = points.shape[:2]
    out = np.zeros((B, 2 * len(LIMBS), *SIZE))
    for b, limb, row, column in np.ndindex(B, len(LIMBS), *SIZE):
        cell, vectors = np.array([(column + 0.5) * STRIDE, (row + 0.5) * STRIDE]), []
        for n in range(N):
            first, second = LIMBS[limb]
            length = np.linalg.norm(points[b, n, second] - points[b, n, first])
            if not (known[b, n, first] and known[b, n, second] and length > 0):
                continue
            unit = (points[b, n, second] - points[b, n, first]) / length
            offset = cell - points[b, n, first]
            along, aside = offset @ unit, abs(offset @ np.array([-unit[1], unit[0]]))
            if aside <= WIDTH and -WIDTH <= along <= length + WIDTH:
                vectors.append(unit)
        if vectors:
            out[b, 2 * limb : 2 * limb + 2, row, column] = np.mean(vectors, axis=0)
    return out


def test_heatmaps_are_the_maximum_over_people() -> None:
    points, known = people()
    found = draw_heatmaps(points.double(), known, SIZE, STRIDE, SIGMA)
    np.testing.assert_allclose(found.numpy(), slow_heatmaps(points.numpy(), known.numpy()), atol=1e-6)


def test_fields_are_the_mean_over_people() -> None:
    points, known = people()
    found = draw_fields(points.double(), known, LIMBS, SIZE, STRIDE, WIDTH)
    np.testing.assert_allclose(found.numpy(), slow_fields(points.double().numpy(), known.numpy()), atol=1e-6)
    assert (found != 0).any()


def test_points_at_one_place_and_unknown_people_leave_no_field() -> None:
    points, known = torch.full((1, 2, 3, 2), 20.0), torch.ones(1, 2, 3, dtype=torch.bool)
    known[0, 1] = False
    points[0, 1, 1] = 50.0
    assert not draw_fields(points, known, LIMBS, SIZE, STRIDE, WIDTH).any()
    assert draw_heatmaps(points, known, SIZE, STRIDE, SIGMA)[0, 1].argmax() == 2 * SIZE[1] + 2


def test_the_mask_is_that_of_crowds_and_of_people_without_points() -> None:
    boxes = torch.tensor([[[8.0, 8, 24, 24], [40, 0, 72, 56], [0, 0, 0, 0]]])
    labelled = torch.tensor([[False, True, False]])
    mask = labelled_cells(boxes, labelled, SIZE, STRIDE)
    expected = torch.ones(1, 1, *SIZE)
    expected[..., 1:3, 1:3] = 0
    assert torch.equal(mask, expected)


def test_people_with_points_are_learnt_within_the_box_of_a_crowd() -> None:
    boxes = torch.tensor([[[0.0, 0, 72, 56], [8, 8, 24, 24]]])
    labelled = torch.tensor([[False, True]])
    expected = torch.zeros(1, 1, *SIZE)
    expected[..., 1:3, 1:3] = 1
    assert torch.equal(labelled_cells(boxes, labelled, SIZE, STRIDE), expected)


def test_the_loss_is_half_the_squared_error_where_the_mask_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, targets = torch.rand(2, 3, 4, 5, generator=generator), torch.rand(2, 3, 4, 5, generator=generator)
    mask = (torch.rand(2, 1, 4, 5, generator=generator) > 0.3).float()
    total = 0.0
    for b, c, y, x in np.ndindex(2, 3, 4, 5):
        total += 0.5 * float(maps[b, c, y, x] - targets[b, c, y, x]) ** 2 * float(mask[b, 0, y, x])
    assert float(masked_l2_loss(maps, targets, mask)) == pytest.approx(total / 2, rel=1e-5)
    maps.requires_grad_()
    masked_l2_loss(maps, targets, mask).backward()
    assert maps.grad is not None
    assert not maps.grad[(mask == 0).expand_as(maps)].any()


def test_the_mirror_of_maps_is_the_map_of_the_mirror() -> None:
    points, known = people()
    limbs = [(0, 1), (0, 2), (1, 2)]  # points 1 and 2 are left and right
    mirrored = points.clone()
    mirrored[..., 0] = SIZE[1] * STRIDE - points[..., 0]
    mirrored, swapped = mirrored[:, :, [0, 2, 1]], known[:, :, [0, 2, 1]]
    heatmaps, fields = mirror_maps(
        draw_heatmaps(mirrored, swapped, SIZE, STRIDE, SIGMA),
        draw_fields(mirrored, swapped, limbs, SIZE, STRIDE, WIDTH),
        part_order=[0, 2, 1],
        limb_order=[(1, 1), (0, 1), (2, -1)],
    )
    torch.testing.assert_close(heatmaps, draw_heatmaps(points, known, SIZE, STRIDE, SIGMA))
    torch.testing.assert_close(fields, draw_fields(points, known, limbs, SIZE, STRIDE, WIDTH))
