"""Matching by overlap against a slow, obvious version in exact fractions, against torchvision's, and its memory."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection import _utils as theirs
from torchvision.ops import box_iou

from saccade.ops import matching
from saccade.ops.matching import IGNORED, NEGATIVE, Forced, match_by_iou

Box = tuple[int, int, int, int]

FORCED: tuple[Forced, ...] = ("none", "ties", "best")
BANDS: tuple[tuple[float, float | None], ...] = ((0.5, None), (0.5, 0.4), (0.7, 0.3))


def exact_iou(first: Box, second: Box) -> Fraction:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second))
    return Fraction(shared, areas - shared) if areas > shared else Fraction(0)


def slow_owners(
    overlaps: list[list[Fraction]], valid: list[bool], anchors: int, band: tuple[float, float | None], forced: Forced
) -> list[int]:
    """One image, one anchor after the other; ``overlaps`` is a row an object."""
    positive = Fraction(str(band[0]))
    negative = positive if band[1] is None else Fraction(str(band[1]))
    objects = [number for number, is_object in enumerate(valid) if is_object]
    owners = []
    for anchor in range(anchors):
        best, owner = Fraction(0), NEGATIVE
        for number in objects:
            if overlaps[number][anchor] > best:
                best, owner = overlaps[number][anchor], number
        ties = any(0 < overlaps[number][anchor] == max(overlaps[number]) for number in objects)
        if best < negative and not (forced == "ties" and ties):
            owner = NEGATIVE
        elif best < positive and not (forced == "ties" and ties):
            owner = IGNORED
        owners.append(owner)
    if forced == "best":
        for number in objects:
            if max(overlaps[number]) > 0:
                owners[overlaps[number].index(max(overlaps[number]))] = number
    return owners


def random_case(seed: int) -> tuple[list[list[Box]], list[list[bool]], list[Box]]:
    """Small whole numbers, so that overlaps tie; empty, far-off and repeated boxes, padding, images without objects."""
    rng = np.random.default_rng(seed)

    def boxes(count: int, smallest: int) -> list[Box]:
        corners, sides = rng.integers(0, 4, (count, 2)), rng.integers(smallest, 6, (count, 2))
        return [tuple(map(int, (*corner, *(corner + side)))) for corner, side in zip(corners, sides, strict=True)]  # type: ignore[misc]

    images, objects = int(rng.integers(1, 4)), int(rng.integers(0, 6))
    batch = [boxes(objects, 0) for _ in range(images)]
    for image in batch:
        for number in range(objects):
            if rng.random() < 0.1:
                x1, y1, x2, y2 = image[number]
                image[number] = (x1 + 100, y1, x2 + 100, y2)  # outside of every anchor
            if rng.random() < 0.15:
                image[number] = image[0]
    valid = [[bool(rng.random() < 0.8) for _ in range(objects)] for _ in range(images)]
    if rng.random() < 0.2:
        valid[0] = [False] * objects
    return batch, valid, boxes(int(rng.integers(1, 9)), 1)


def as_tensors(batch: list[list[Box]], valid: list[list[bool]], anchors: list[Box]) -> tuple[Tensor, Tensor, Tensor]:
    boxes = torch.tensor(batch, dtype=torch.float32).reshape(len(batch), -1, 4)
    mask = torch.tensor(valid, dtype=torch.bool).reshape(len(batch), -1)
    return boxes, mask, torch.tensor(anchors, dtype=torch.float32)


def test_a_thousand_random_batches_match_as_the_slow_version_does() -> None:
    seen = dict.fromkeys((NEGATIVE, IGNORED, 0), 0)
    for seed in range(1000):
        batch, valid, anchors = case = random_case(seed)
        overlaps = [[[exact_iou(box, anchor) for anchor in anchors] for box in image] for image in batch]
        tensors = as_tensors(*case)
        for band, forced in product(BANDS, FORCED):
            found = match_by_iou(*tensors, *band, forced)
            expected = [
                slow_owners(rows, sound, len(anchors), band, forced)
                for rows, sound in zip(overlaps, valid, strict=True)
            ]
            assert found.owners.tolist() == expected, (seed, band, forced)
            for image in expected:
                for owner in image:
                    seen[min(owner, 0)] += 1
        largest = [
            [max((row[a] for row, own in zip(rows, sound, strict=True) if own), default=0) for a in range(len(anchors))]
            for rows, sound in zip(overlaps, valid, strict=True)
        ]
        torch.testing.assert_close(found.iou, torch.tensor(largest, dtype=torch.float64).float())
    assert min(seen.values()) > 1000  # the cases are of every kind


def test_objects_in_chunks_match_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(200):
        tensors = as_tensors(*random_case(seed))
        for band, forced in product(BANDS, FORCED):
            found = []
            for pairs in (2**23, 5, 40):
                monkeypatch.setattr(matching, "_PAIRS", pairs)
                found.append(match_by_iou(*tensors, *band, forced))
            assert all(torch.equal(found[0].owners, one.owners) for one in found[1:]), (seed, band, forced)
            assert all(torch.equal(found[0].iou, one.iou) for one in found[1:])


ANCHORS = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]])


def match_one(boxes: list[list[float]], valid: list[bool] | None = None, **options: Any) -> list[int]:
    mask = torch.tensor([valid or [True] * len(boxes)], dtype=torch.bool)
    return match_by_iou(torch.tensor(boxes).reshape(1, -1, 4), mask, ANCHORS, 0.5, **options).owners[0].tolist()


@pytest.mark.parametrize("forced", FORCED)
def test_images_without_objects_and_networks_without_anchors(forced: Forced) -> None:
    assert match_one([], forced=forced) == [NEGATIVE] * 4
    assert match_one([[0.0, 0, 8, 8]], [False], forced=forced) == [NEGATIVE] * 4
    none = match_by_iou(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.zeros(0, 4), 0.5, forced=forced)
    assert none.owners.shape == none.iou.shape == (2, 0)


@pytest.mark.parametrize("forced", FORCED)
def test_a_box_outside_every_anchor_gets_none(forced: Forced) -> None:
    assert match_one([[90.0, 90, 99, 99], [0, 0, 8, 8]], forced=forced) == [1, NEGATIVE, NEGATIVE, NEGATIVE]


def test_one_box_for_all_anchors() -> None:
    whole = [[0.0, 0, 16, 16]]  # overlaps each by a quarter
    assert match_one(whole) == [NEGATIVE] * 4
    assert match_one(whole, negative=0.25) == [IGNORED] * 4
    assert match_one(whole, forced="ties") == [0, 0, 0, 0]
    assert match_one(whole, forced="best") == [0, NEGATIVE, NEGATIVE, NEGATIVE]


def test_two_objects_of_one_best_anchor() -> None:
    twice = [[0.0, 0, 8, 8], [0, 0, 8, 8]]
    assert match_one(twice) == [0, NEGATIVE, NEGATIVE, NEGATIVE]
    assert match_one(twice, forced="ties")[0] == 0
    assert match_one(twice, forced="best")[0] == 1


def test_padding_owns_nothing_even_where_it_overlaps() -> None:
    rows = [[0.0, 0, 8, 8], [8, 8, 16, 16]]
    for forced in FORCED:
        assert match_one(rows, [False, True], forced=forced) == [NEGATIVE, NEGATIVE, NEGATIVE, 1]


def photograph(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Objects and anchors of one image; every object overlaps some anchor."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 200
    boxes = torch.cat((corners, corners + 4 + torch.rand(count, 2, generator=generator) * 60), dim=1)
    grid = torch.cartesian_prod(torch.arange(0, 264, 8.0), torch.arange(0, 264, 8.0))
    return boxes, torch.cat([torch.cat((grid - side / 2, grid + side / 2), dim=1) for side in (12.0, 24.0, 48.0)])


@pytest.mark.parametrize("count", [1, 60])
def test_equal_to_torchvisions_matchers(count: int) -> None:
    for seed in range(10):
        boxes, anchors = photograph(seed, count)
        overlaps = box_iou(boxes, anchors)
        valid = torch.ones(1, count, dtype=torch.bool)
        for band, forced in product(BANDS, ("none", "ties")):
            matcher = theirs.Matcher(band[0], band[1] or band[0], allow_low_quality_matches=forced == "ties")
            assert torch.equal(
                match_by_iou(boxes[None], valid, anchors, *band, forced).owners[0],  # type: ignore[arg-type]
                matcher(overlaps),
            )
        own = match_by_iou(boxes[None], valid, anchors, 0.5, forced="best").owners[0]
        assert torch.equal(own, theirs.SSDMatcher(0.5)(overlaps))


class LargestTensor(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("forced", FORCED)
def test_ten_thousand_boxes_and_twenty_thousand_anchors_take_megabytes(forced: Forced) -> None:
    boxes = torch.zeros(1, 10_000, 4, device="meta")
    valid, anchors = torch.zeros(1, 10_000, dtype=torch.bool, device="meta"), torch.zeros(20_000, 4, device="meta")
    with LargestTensor() as largest:
        match_by_iou(boxes, valid, anchors, 0.5, 0.4, forced)
    assert 2**22 < largest.elements <= 2**23  # of 200 million pairs
