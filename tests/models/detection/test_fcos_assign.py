"""Assignment of FCOS: against a slow version that follows the paper's sentences, and what never owns a location."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saccade.models.detection import fcos as module
from saccade.models.detection.fcos import FCOS, Locations, assign_locations, centerness_targets, fcos
from saccade.ops.anchors import grid_points
from saccade.ops.matching import NEGATIVE

STRIDES = (8, 16, 32, 64, 128)
LIMITS = (0.0, 64.0, 128.0, 256.0, 512.0, math.inf)


def locations(height: int, width: int) -> Locations:
    maps = [torch.zeros(1, 1, -(-height // stride), -(-width // stride)) for stride in STRIDES]
    cells, strides = grid_points(maps, STRIDES)
    level = torch.tensor([STRIDES.index(int(stride)) for stride in strides])
    limits = torch.tensor(LIMITS)
    return Locations(
        cells * strides[:, None] + strides[:, None] // 2, strides, torch.stack((limits[level], limits[level + 1]), 1)
    )


def slow(places: Locations, boxes: Tensor, valid: Tensor, radius: float | None) -> list[int]:
    """One image, location by location and object by object."""
    owners = []
    for (x, y), stride, (low, high) in zip(
        places.points.tolist(), places.strides.tolist(), places.ranges.tolist(), strict=True
    ):
        owner, smallest = NEGATIVE, math.inf
        for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            distances = (x - x1, y - y1, x2 - x, y2 - y)
            if not valid[index] or min(distances) <= 0 or not low < max(distances) < high:
                continue
            off_centre = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
            if radius is not None and off_centre >= radius * stride:
                continue
            if (x2 - x1) * (y2 - y1) < smallest:
                owner, smallest = index, (x2 - x1) * (y2 - y1)
        owners.append(owner)
    return owners


def draw(generator: torch.Generator, count: int, height: int, width: int) -> Tensor:
    """Boxes of whole pixels, so that areas tie: inside, across the border, outside, one over all, twice the same."""
    side = torch.tensor([width, height, width, height])
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values.flatten(1)
    boxes = (corners * side * 1.4 - side * 0.2).round()
    if count > 2:
        boxes[0] = torch.tensor([-9.0, -9.0, width + 9, height + 9])
        boxes[count - 1] = boxes[1]
        boxes[2] = boxes[2].roll(2)  # reversed
    if count > 5:
        boxes[3] += torch.tensor([2.0, 0, 2, 0]) * width  # outside
        boxes[4, 2:] = boxes[4, :2]  # a point
        boxes[5] = boxes[1] + torch.tensor([4.0, 4, 4, 4])  # the same area
    return boxes


@pytest.mark.parametrize("radius", [1.5, None])
def test_equal_to_a_slow_version(radius: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    positives = 0
    for case in range(120):
        height, width = (64, 96) if case % 3 else (160, 72)
        places, count = locations(height, width), case % 9
        boxes = torch.stack([draw(generator, count, height, width) for _ in range(3)])
        valid = torch.rand(3, count, generator=generator) < 0.9
        valid[2] = False
        owners = assign_locations(places, boxes, valid, radius)
        assert owners.dtype == torch.int64
        assert owners.tolist() == [slow(places, *pair, radius) for pair in zip(boxes, valid, strict=True)]
        positives += int((owners >= 0).sum())
    assert positives > 2000


def test_objects_in_portions_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    places = locations(128, 128)
    boxes, valid = draw(generator, 300, 128, 128)[None], torch.ones(1, 300, dtype=torch.bool)
    whole = assign_locations(places, boxes, valid)
    monkeypatch.setattr(module, "_PAIRS", 7 * len(places.points))
    assert torch.equal(assign_locations(places, boxes, valid), whole)
    assert len(whole.unique()) > 50


def test_numbers_of_rows_that_are_no_targets_do_not_matter() -> None:
    places = locations(64, 64)
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [torch.nan] * 4, [0.0, 0.0, torch.inf, torch.inf]]])
    owners = assign_locations(places, boxes, torch.tensor([[True, False, False]]))
    assert owners.unique().tolist() == [NEGATIVE, 0]


def test_ranges_send_objects_to_their_levels() -> None:
    places = locations(1024, 1024)
    centre = torch.tensor([512.0, 512.0, 512.0, 512.0])
    for half, level in ((40, 0), (100, 1), (200, 2), (400, 3), (510, 4)):
        box = centre + torch.tensor([-1.0, -1.0, 1.0, 1.0]) * half
        owners = assign_locations(places, box[None, None], torch.tensor([[True]]))[0]
        assert set(places.strides[owners >= 0].tolist()) == {STRIDES[level]}


def test_centreness_of_the_paper() -> None:
    distances = torch.tensor([[3.0, 2.0, 6.0, 8.0], [5.0, 5.0, 5.0, 5.0]])
    expected = [math.sqrt(3 / 6 * 2 / 8), 1.0]
    assert centerness_targets(distances).tolist() == pytest.approx(expected)


# --- What the network tells.


@pytest.fixture(scope="module")
def model() -> FCOS:
    return fcos(num_classes=3, channels=64).eval()


def test_objects_without_a_location(model: FCOS) -> None:
    boxes = torch.tensor(
        [
            [10.0, 10.0, 60.0, 60.0],
            [13.0, 13.0, 19.0, 19.0],  # between points at 12 and 20
            [70.0, 70.0, 110.0, 110.0],  # every location within reach belongs to the next one
            [77.0, 77.0, 103.0, 103.0],
            [30.0, 30.0, 30.0, 50.0],  # no area
            [-60.0, 0.0, -10.0, 40.0],  # outside
            [0.0, 0.0, 127.0, 127.0],
        ]
    )
    found = model.assignable(boxes, (128, 128))
    assert found.tolist() == [True, False, False, True, False, False, True]
    assert model.assignable(boxes[:0], (128, 128)).tolist() == []


def test_objects_whose_level_is_too_coarse_for_them() -> None:
    coarse = fcos(num_classes=1, channels=64, ranges=(2, 4, 6, 4000))
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0], [36.0, 36.0, 56.0, 56.0]])
    # Both belong to P6 now; its points at 32 and 96 miss the second, as those of P3 to P5 have no range for it.
    assert coarse.assignable(boxes, (128, 128)).tolist() == [True, False]
    assert fcos(num_classes=1, channels=64).assignable(boxes, (128, 128)).tolist() == [True, True]


def test_assignment_is_the_one_of_the_loss(model: FCOS, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 128, 160)
    targets = [
        {"boxes": torch.tensor([[8.0, 8.0, 100.0, 90.0], [20.0, 20.0, 50.0, 50.0]]), "labels": torch.tensor([0, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    seen: list[Tensor] = []
    original = module.fcos_loss
    monkeypatch.setattr(
        module, "fcos_loss", lambda outputs, owners, *rest: seen.append(owners) or original(outputs, owners, *rest)
    )
    with torch.no_grad():
        model.loss(images, targets)
        assignment = model.assign(images, targets)
        outputs = model(images)
    assert torch.equal(assignment.owners, seen[0])
    assert set(assignment.owners[0].tolist()) == {NEGATIVE, 0, 1}
    assert set(assignment.owners[1].tolist()) == {NEGATIVE}
    assert assignment.level_names == ("P3 /8", "P4 /16", "P5 /32", "P6 /64", "P7 /128")
    corners = assignment.regions_xyxy
    assert torch.equal((corners[:, :2] + corners[:, 2:]) / 2, outputs["points"])
    assert torch.equal(torch.tensor(STRIDES)[assignment.levels].float(), outputs["strides"])
    assert torch.equal(corners[:, 2] - corners[:, 0], outputs["strides"])
