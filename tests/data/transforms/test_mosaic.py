"""Mosaic: every visible object has its box, and the fast implementation equals the plain one."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.transforms.affine import RandomAffine
from saccade.data.transforms.mosaic import Mosaic
from saccade.data.transforms.move import resize_pixels, warp_pixels
from saccade.errors import ConfigError, DataError
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

SIZE = (96, 128)


def _tile(number: int, size: tuple[int, int] = SIZE, channels: int = 1, masks: bool = False) -> Sample:
    """A grid of solid rectangles whose grey value is unique among four tiles: 10 + 60 * number + position."""
    image = np.full((*size, channels), 5, np.uint8)
    label_map = np.zeros(size, np.uint8)
    boxes, values = [], []
    for row in range(3):
        for column in range(4):
            value = 10 + 60 * number + 4 * row + column
            y1, x1 = 3 + row * size[0] // 3, 3 + column * size[1] // 4
            y2, x2 = y1 + size[0] // 3 - 8, x1 + size[1] // 4 - 8
            image[y1:y2, x1:x2] = label_map[y1:y2, x1:x2] = value
            boxes.append([x1, y1, x2, y2])
            values.append(value)
    target = {
        "boxes": np.array(boxes, np.float32),
        "labels": np.array(values),
        "label_map": label_map,
        "keypoints": np.array([[[(x1 + x2) / 2, (y1 + y2) / 2, 2]] for x1, y1, x2, y2 in boxes], np.float32),
    }
    if masks:
        target["masks"] = np.stack([label_map == value for value in values]).astype(np.uint8)
    return Sample(image, target, ImageInfo(number, f"tile{number}", Geometry.identity(size)))


def _mosaic(seed: int, affine: RandomAffine, **options: object) -> tuple[Sample, list[int]]:
    seen: list[int] = []

    def read(position: int, size: tuple[int, int]) -> Sample:
        seen.append(position)
        return _tile(position, **options)  # type: ignore[arg-type]

    return Mosaic(affine)(read, SIZE, np.random.default_rng(seed)), seen


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_visible_objects_have_boxes(seed: int) -> None:
    """Without a warp every rectangle's pixels can be counted in the image."""
    sample, _ = _mosaic(seed, RandomAffine())
    grey = sample.image[..., 0]
    boxes = dict(zip(sample.target["labels"].tolist(), sample.target["boxes"], strict=True))
    for tile in range(4):
        whole = _tile(tile)
        for value, box in zip(whole.target["labels"].tolist(), whole.target["boxes"], strict=True):
            found = (grey == value).astype(np.uint8)
            share = found.sum() / ((box[2] - box[0]) * (box[3] - box[1]))
            sides = np.diff(boxes_of_masks(found[None])[0].reshape(2, 2), axis=0)
            if share > 0.1 and sides.min() >= 2:
                np.testing.assert_allclose(boxes[value], boxes_of_masks(found[None])[0][0], atol=0.01)
            else:
                assert value not in boxes
    np.testing.assert_array_equal(sample.target["label_map"][grey >= 10], grey[grey >= 10])


@pytest.mark.parametrize("seed", range(12))
def test_the_fast_implementation_equals_the_plain_one(seed: int) -> None:
    """The plain implementation: paste all four into the whole double canvas, then warp all of it."""
    affine = RandomAffine(degrees=15, translate=0.1, scale=(0.4, 1.9), shear=5, fill=114)
    fast, seen = _mosaic(seed, affine, size=(48, 64), channels=3)

    rng = np.random.default_rng(seed)
    height, width = SIZE
    x, y = int(rng.uniform(0.5, 1.5) * width), int(rng.uniform(0.5, 1.5) * height)
    matrix = affine.draw(rng, (2 * height, 2 * width), SIZE)
    canvas = np.full((2 * height, 2 * width, 3), 114, np.uint8)
    labels = np.full((2 * height, 2 * width), 255, np.uint8)
    for position in range(4):
        tile = _tile(position, size=(48, 64), channels=3)
        image, names = resize_pixels(tile.image, SIZE), resize_pixels(tile.target["label_map"], SIZE, linear=False)
        left, top = x - (0 if position % 2 else width), y - (0 if position // 2 else height)
        for row in range(max(top, 0), min(top + height, 2 * height)):
            x1, x2 = max(left, 0), min(left + width, 2 * width)
            canvas[row, x1:x2] = image[row - top, x1 - left : x2 - left]
            labels[row, x1:x2] = names[row - top, x1 - left : x2 - left]
    plain = warp_pixels(canvas, matrix, SIZE, 114, linear=True)
    assert np.abs(fast.image.astype(int) - plain).max() <= 1
    assert (fast.target["label_map"] != warp_pixels(labels, matrix, SIZE, 255, linear=False)).mean() < 0.002
    shown = {int(value) // 60 for value in np.unique(fast.target["label_map"]) if 10 <= value < 250}
    assert shown <= set(seen)


def test_images_without_a_share_are_not_read() -> None:
    counts = [len(_mosaic(seed, RandomAffine(scale=(1.9, 1.9)))[1]) for seed in range(40)]
    assert set(counts) == {1, 2, 4}


@pytest.mark.parametrize("seed", range(6))
def test_turned_masks_carry_their_boxes_and_points(seed: int) -> None:
    sample, _ = _mosaic(seed, RandomAffine(degrees=30, scale=(0.7, 1.2)), masks=True)
    target = sample.target
    assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"]) == len(target["keypoints"]) > 5
    tight, _ = boxes_of_masks(target["masks"])
    np.testing.assert_allclose(target["boxes"], tight, atol=0.01)
    for value, mask, (point,) in zip(target["labels"], target["masks"], target["keypoints"], strict=True):
        # Masks are warped from their image, labels over the canvas: they may differ by a pixel along the outline.
        assert ((target["label_map"] == value) != (mask > 0)).sum() <= 0.12 * mask.sum() + 6
        if point[2]:
            assert mask[int(point[1]), int(point[0])]


def test_images_without_objects() -> None:
    def read(position: int, size: tuple[int, int]) -> Sample:
        tile = _tile(position)
        empty = {key: value[:0] for key, value in tile.target.items() if key != "label_map"}
        return Sample(tile.image, empty, tile.info)

    sample = Mosaic(RandomAffine(degrees=10))(read, SIZE, np.random.default_rng(0))
    assert sample.target["boxes"].shape == (0, 4)
    assert sample.size == SIZE


def test_images_of_unequal_depth_are_named() -> None:
    def read(position: int, size: tuple[int, int]) -> Sample:
        tile = _tile(position)
        return Sample(tile.image.astype(np.uint16) if position else tile.image, tile.target, tile.info)

    with pytest.raises(DataError, match=r"tile1.*uint16"):
        Mosaic(RandomAffine())(read, SIZE, np.random.default_rng(0))


# ---- nine
# ----------------------------------------------------------------------------------------------------------------------


def _small_tile(number: int) -> Sample:
    """Twelve rectangles whose grey value is unique among nine tiles: 10 + 27 * number + position."""
    tile = _tile(0)
    shift = np.where(tile.image > 5, 27 * number, 0).astype(np.uint8)
    target = {key: value.copy() for key, value in tile.target.items()}
    target["labels"] = target["labels"] + 27 * number
    target["label_map"] = np.where(target["label_map"] > 0, target["label_map"] + 27 * number, 0).astype(np.uint8)
    return Sample(tile.image + shift, target, ImageInfo(number, f"tile{number}", Geometry.identity(SIZE)))


def _nine(seed: int, affine: RandomAffine) -> tuple[Sample, list[int]]:
    seen: list[int] = []

    def read(number: int, size: tuple[int, int]) -> Sample:
        seen.append(number)
        return _small_tile(number)

    return Mosaic(affine, 9)(read, SIZE, np.random.default_rng(seed)), seen


@pytest.mark.parametrize("seed", range(12))
def test_parts_of_all_nine_are_shown_around_the_first(seed: int) -> None:
    sample, seen = _nine(seed, RandomAffine())
    assert seen == list(range(9))
    assert sample.info.image_id == 0
    tiles = (sample.target["labels"] - 10) // 27
    assert (tiles == 0).sum() == 12  # the middle one is whole
    assert len(set(tiles.tolist())) >= 5
    middle = sample.target["boxes"][tiles == 0]
    assert (np.abs((middle[:, :2].min(axis=0) + middle[:, 2:].max(axis=0)) / 2 / SIZE[::-1] - 0.5) < 0.2).all()


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_visible_objects_of_nine_have_boxes(seed: int) -> None:
    """Zoomed by 3/2 every image is shown pixel by pixel, and its rectangles can be counted."""
    sample, _ = _nine(seed, RandomAffine(scale=(1.5, 1.5)))
    grey = sample.image[..., 0]
    boxes = dict(zip(sample.target["labels"].tolist(), sample.target["boxes"], strict=True))
    for number in range(9):
        whole = _small_tile(number)
        for value, box in zip(whole.target["labels"].tolist(), whole.target["boxes"], strict=True):
            found = (grey == value).astype(np.uint8)
            tight = boxes_of_masks(found[None])[0][0]
            share = found.sum() / ((box[2] - box[0]) * (box[3] - box[1]))
            if share > 0.1 and (tight[2:] - tight[:2]).min() >= 2:
                np.testing.assert_allclose(boxes[value], tight, atol=0.05)
            else:
                assert value not in boxes
    np.testing.assert_array_equal(sample.target["label_map"][grey >= 10], grey[grey >= 10])


@pytest.mark.parametrize("seed", range(6))
def test_warped_points_of_nine_lie_on_their_rectangles(seed: int) -> None:
    sample, _ = _nine(seed, RandomAffine(degrees=20, translate=0.1, scale=(0.8, 1.6), shear=5))
    checked = 0
    for value, (point,) in zip(sample.target["labels"], sample.target["keypoints"], strict=True):
        if point[2]:
            assert sample.target["label_map"][int(point[1]), int(point[0])] == value
            checked += 1
    assert checked > 5


def test_other_numbers_of_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="mosaic_tiles"):
        Mosaic(RandomAffine(), 6)
