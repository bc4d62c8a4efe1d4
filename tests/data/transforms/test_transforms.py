"""Geometric transforms: image, boxes, masks, label map and keypoints must agree afterwards."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from saccade.data.transforms.affine import Flip, FlipVertical, RandomAffine, RandomCrop, Rotate90, Transform
from saccade.data.transforms.crops import Expand, IoUCrop, RandomResizedCrop
from saccade.data.transforms.move import clip_objects, resize_pixels, warp_pixels
from saccade.data.transforms.warp import Elastic, Perspective
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

SIZE = (120, 160)

AFFINE: dict[str, Callable[[], Transform]] = {
    "flip": lambda: Flip(1.0),
    "flip_vertical": lambda: FlipVertical(1.0),
    "rotate90": lambda: Rotate90(1.0),
    "zoom and shift": lambda: RandomAffine(translate=0.2, scale=(0.5, 1.7)),
    "turn and shear": lambda: RandomAffine(degrees=40, translate=0.1, scale=(0.6, 1.5), shear=10),
    "crop": lambda: RandomCrop((70, 90)),
    "crop larger than the image": lambda: RandomCrop((200, 130)),
    "resized crop": lambda: RandomResizedCrop((90, 110), area=(0.2, 0.9)),
    "crop around objects": lambda: IoUCrop(),
    "expand": lambda: Expand(1.0),
}
TRANSFORMS: dict[str, Callable[[], Transform]] = AFFINE | {
    "perspective": lambda: Perspective(0.5),
    "elastic": lambda: Elastic(4.0),
}


def _sample(seed: int, channels: int = 3, count: int = 5) -> Sample:
    """Filled ellipses: each has its own grey value in image and label map, a tight box, its centre as keypoint."""
    rng = np.random.default_rng(seed)
    image = np.zeros((*SIZE, channels), np.uint8)
    label_map = np.zeros(SIZE, np.uint8)
    masks, points = [], []
    for number in range(count):
        mask = np.zeros(SIZE, np.uint8)
        centre = int(rng.integers(20, SIZE[1] - 20)), int(rng.integers(20, SIZE[0] - 20))
        axes = int(rng.integers(6, 18)), int(rng.integers(6, 18))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        image[mask > 0] = label_map[mask > 0] = 40 * (number + 1)
        masks.append(mask)
        points.append([[centre[0] + 0.5, centre[1] + 0.5, 2.0], [0.0, 0.0, 0.0]])
    stack = np.stack(masks) if masks else np.zeros((0, *SIZE), np.uint8)
    boxes, area = boxes_of_masks(stack)
    target: Target = {
        "boxes": boxes,
        "labels": np.arange(count),
        "area": area,
        "iscrowd": np.zeros(count, bool),
        "masks": stack,
        "label_map": label_map,
        "keypoints": np.array(points, np.float32).reshape(count, 2, 3),
    }
    return Sample(image, target, ImageInfo(7, "x", Geometry.identity(SIZE)))


def _apply(name: str, sample: Sample, seed: int) -> Sample:
    return TRANSFORMS[name]()(sample, np.random.default_rng(seed))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", range(8))
def test_masks_boxes_and_image_agree(name: str, seed: int) -> None:
    before = _sample(seed)
    after = _apply(name, before, seed)
    target = after.target
    counts = {key: len(target[key]) for key in ("boxes", "labels", "area", "iscrowd", "masks", "keypoints")}
    assert len(set(counts.values())) == 1, counts
    assert target["label_map"].shape == after.size == target["masks"].shape[1:] == after.info.geometry.size
    expected, area = boxes_of_masks(target["masks"])
    np.testing.assert_allclose(target["boxes"], expected, atol=1.5)
    np.testing.assert_allclose(target["area"], area, rtol=0.05, atol=8)
    for label, mask in zip(target["labels"], target["masks"], strict=True):
        # Later ellipses cover earlier ones; those of this grey value must all lie inside its mask.
        own = target["label_map"] == 40 * (label + 1)
        assert not (own & (mask == 0)).any()
        if own.sum() > 50:
            inner = cv2.erode(own.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
            assert (after.image[inner] == 40 * (label + 1)).all()


@pytest.mark.parametrize(
    "name",
    ["flip", "flip_vertical", "rotate90", "zoom and shift", "crop", "resized crop", "crop around objects", "expand"],
)
@pytest.mark.parametrize("seed", range(5))
def test_boxes_without_masks_match_those_with_masks(name: str, seed: int) -> None:
    """Boxes moved by the matrix alone are those of the moved masks, within a pixel and a half."""
    with_masks, without = _sample(seed), _sample(seed)
    del without.target["masks"]
    left, right = _apply(name, with_masks, seed).target, _apply(name, without, seed).target
    shared = np.intersect1d(left["labels"], right["labels"])
    for label in shared:
        tight, moved = left["boxes"][left["labels"] == label][0], right["boxes"][right["labels"] == label][0]
        inside = (moved[:2] > 0.5).all() and (moved[2:] < np.array(_apply(name, without, seed).size)[::-1] - 0.5).all()
        if inside:  # at the edge, less of the mask than of its box may be left
            np.testing.assert_allclose(tight, moved, atol=1.5)


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("seed", range(5))
def test_the_record_leads_back(name: str, seed: int) -> None:
    before = _sample(seed)
    after = _apply(name, before, seed)
    for label, points in zip(after.target["labels"], after.target["keypoints"], strict=True):
        centre, unlabelled = points
        assert not unlabelled.any()
        if centre[2]:
            back = after.info.geometry.invert_points(centre[:2])
            np.testing.assert_allclose(back, before.target["keypoints"][label, 0, :2], atol=0.01)
            assert after.target["masks"][after.target["labels"] == label][0][int(centre[1]), int(centre[0])]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_generator_gives_the_same_bits(name: str) -> None:
    first, second, other = (_apply(name, _sample(5), seed) for seed in (1, 1, 2))
    assert first.image.tobytes() == second.image.tobytes()
    for key, value in first.target.items():
        np.testing.assert_array_equal(value, second.target[key])
    if not name.startswith("flip"):  # a mirror has nothing to draw
        assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_nothing_is_changed_in_place(name: str) -> None:
    sample, twin = _sample(3), _sample(3)
    for array in (sample.image, *sample.target.values()):
        array.setflags(write=False)
    _apply(name, sample, 1)
    np.testing.assert_array_equal(sample.image, twin.image)
    for key, value in sample.target.items():
        np.testing.assert_array_equal(value, twin.target[key])


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_images_of_any_channels_without_objects(name: str, channels: int) -> None:
    after = _apply(name, _sample(0, channels, count=0), 0)
    assert after.image.shape == (*after.size, channels)
    assert after.target["boxes"].shape == (0, 4)
    assert after.target["masks"].shape == (0, *after.size)
    assert after.target["keypoints"].shape == (0, 2, 3)


def test_uncovered_pixels_are_filled_and_ignored() -> None:
    sample = _sample(0)
    after = RandomAffine(scale=(0.5, 0.5), fill=77)(sample, np.random.default_rng(0))
    assert (after.image[0] == 77).all()
    assert (after.target["label_map"][0] == 255).all()
    assert not after.target["masks"][:, 0].any()
    assert (after.target["label_map"][32:88, 42:118] != 255).all()
    padded = RandomCrop((200, 300), fill=9)(sample, np.random.default_rng(0))
    assert (padded.image == 9).all(axis=2).sum() == (padded.target["label_map"] == 255).sum() == 200 * 300 - 120 * 160


@pytest.mark.parametrize("transform", [Flip(1.0, [(0, 1)]), FlipVertical(1.0, [(0, 1)])])
def test_mirrored_keypoints_change_names_in_pairs_and_return(transform: Transform) -> None:
    sample = _sample(2)
    once = transform(sample, np.random.default_rng(0))
    assert not once.target["keypoints"][:, 0].any()
    assert (once.target["keypoints"][:, 1, 2] == 2).all()
    twice = transform(once, np.random.default_rng(0))
    np.testing.assert_array_equal(twice.image, sample.image)
    for key, value in sample.target.items():
        np.testing.assert_allclose(twice.target[key], value, atol=1e-4)
    np.testing.assert_allclose(twice.info.geometry.matrix, np.eye(3), atol=1e-12)


def test_four_quarter_turns_are_none() -> None:
    class Quarter:  # a generator that always turns by one quarter
        def random(self) -> float:
            return 0.0

        def integers(self, low: int, high: int) -> int:
            return 1

    sample = turned = _sample(4)
    for _ in range(4):
        turned = Rotate90(1.0)(turned, Quarter())  # type: ignore[arg-type]
    np.testing.assert_array_equal(turned.image, sample.image)
    np.testing.assert_allclose(turned.target["keypoints"], sample.target["keypoints"], atol=1e-4)


def test_warp_is_the_definition() -> None:
    """Slow and plain: pixel (x + 0.5, y + 0.5) of the result shows what lies under it in the source."""
    rng = np.random.default_rng(0)
    source = rng.integers(0, 250, (50, 70)).astype(np.uint8)
    matrix = np.array([[1.3, -0.4, 3.0], [0.5, 0.9, -4.0], [0, 0, 1]])
    inverse = np.linalg.inv(matrix)
    warped = warp_pixels(source, matrix, (60, 80), 255, linear=False)
    unsure = 0
    for row in range(60):
        for column in range(80):
            x, y, _ = inverse @ (column + 0.5, row + 0.5, 1)
            if min(x % 1, 1 - x % 1, y % 1, 1 - y % 1) < 0.01:  # OpenCV's fixed point may round the other way
                unsure += 1
                continue
            inside = 0 <= x < 70 and 0 <= y < 50
            assert warped[row, column] == (source[int(y), int(x)] if inside else 255)
    assert unsure < 300


def test_images_are_warped_channel_by_channel() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    matrix = np.array([[1.3, -0.4, 3.0], [0.5, 0.9, -4.0], [0, 0, 1]])
    planes = [warp_pixels(np.ascontiguousarray(rgb[..., channel]), matrix, (60, 80), 114, True) for channel in range(3)]
    difference = warp_pixels(rgb, matrix, (60, 80), 114, True).astype(int) - np.stack(planes, axis=-1)
    assert np.abs(difference).max() <= 1


def test_what_is_hardly_visible_is_dropped_with_all_that_belongs_to_it() -> None:
    target = {
        "boxes": np.array(
            [[0, 0, 10, 10], [-9.5, 0, 0.5, 10], [90, 20, 130, 60], [50, 50, 51, 80], [300, 0, 310, 9]], np.float32
        ),
        "labels": np.arange(5),
        "area": np.full(5, 100, np.float32),
        "iscrowd": np.array([False, False, True, False, False]),
        "keypoints": np.full((5, 1, 3), 95, np.float32),
    }
    clipped = clip_objects(target, (0, 0, 100, 100))
    assert clipped["labels"].tolist() == [0, 2]  # 5 % visible; one pixel wide; outside
    assert clipped["iscrowd"].tolist() == [False, True]
    np.testing.assert_array_equal(clipped["boxes"][1], [90, 20, 100, 60])
    assert clipped["area"][1] == pytest.approx(25)
    assert len(clipped["keypoints"]) == 2


def test_nan_boxes_never_pass() -> None:
    target = {"boxes": np.array([[np.nan, 0, 10, 10]], np.float32), "labels": np.array([0])}
    assert len(clip_objects(target, (0, 0, 100, 100))["boxes"]) == 0


def test_people_without_boxes_stay_when_their_points_leave() -> None:
    target = {
        "keypoints": np.array([[[5, 5, 2], [500, 5, 2]], [[-5, 5, 1], [900, 5, 2]]], np.float32),
        "labels": np.array([0, 0]),
    }
    clipped = clip_objects(target, (0, 0, 100, 100))
    assert clipped["keypoints"][..., 2].tolist() == [[2, 0], [0, 0]]


def test_large_reductions_average_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((100, 1000, 1), np.uint8)
    stripes[:, ::2] = 255
    small = resize_pixels(stripes, (10, 100))
    assert np.abs(small.astype(int) - 127).max() <= 1


def test_large_reductions_of_many_channels_average_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 7)).astype(np.uint8)
    small = resize_pixels(pixels, (10, 20))
    expected = pixels.reshape(10, 4, 20, 3, 7).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 0.51


def test_several_people_keep_their_own_points() -> None:
    """Points of each object stay with it: through a mirror with named pairs, and through a crop that drops a person."""
    people = np.zeros((3, 2, 3), np.float32)
    for number in range(3):
        people[number] = [[20 + 40 * number, 50, 2], [30 + 40 * number, 50, 2]]
    boxes = np.array([[15 + 40 * number, 40, 35 + 40 * number, 60] for number in range(3)], np.float32)
    target = {"keypoints": people, "boxes": boxes, "labels": np.arange(3)}
    sample = Sample(np.zeros((*SIZE, 3), np.uint8), target, ImageInfo(0, "x", Geometry.identity(SIZE)))
    mirrored = Flip(1.0, [(0, 1)])(sample, np.random.default_rng(0)).target
    for number in range(3):
        assert mirrored["keypoints"][number, :, 0].tolist() == [160 - 30 - 40 * number, 160 - 20 - 40 * number]
        assert mirrored["boxes"][number, 0] < mirrored["keypoints"][number, :, 0].min()
    for seed in range(20):
        cut = RandomCrop((70, 60))(sample, np.random.default_rng(seed)).target
        for label, box, points in zip(cut["labels"], cut["boxes"], cut["keypoints"], strict=True):
            left = people[label, 0, 0] - points[0, 0] if points[0, 2] else people[label, 1, 0] - points[1, 0]
            if points[:, 2].any():
                assert box[2] + left == pytest.approx(min(boxes[label, 2], left + 60), abs=0.01)
