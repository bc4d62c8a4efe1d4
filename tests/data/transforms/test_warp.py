"""Perspective and elastic deformation: the ground truth goes where its pixels go, found again by their colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from saccade.data.transforms.warp import Elastic, Perspective
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

SIZE = (200, 260)
CENTRES = [(40 + 45 * column, 40 + 40 * row) for row in range(4) for column in range(5)]


def _markers(masks: bool) -> Sample:
    """Twenty squares, each of its own grey value, with box, centre and mask; the middle 4 x 4 pixels are 6 more."""
    image = np.zeros((*SIZE, 1), np.uint8)
    boxes, points, stack = [], [], []
    for number, (x, y) in enumerate(CENTRES):
        mask = np.zeros(SIZE, np.uint8)
        mask[y - 9 : y + 9, x - 9 : x + 9] = 1
        image[mask > 0] = 12 * (number + 1)
        image[y - 2 : y + 2, x - 2 : x + 2] += 6
        boxes.append([x - 9, y - 9, x + 9, y + 9])
        points.append([[x, y, 2]])
        stack.append(mask)
    target: Target = {
        "boxes": np.array(boxes, np.float64),
        "labels": np.arange(len(CENTRES)),
        "area": np.full(len(CENTRES), 324.0),
        "keypoints": np.array(points, np.float32),
        "label_map": image[..., 0].copy(),
    }
    if masks:
        target["masks"] = np.stack(stack)
    return Sample(image, target, ImageInfo(0, "x", Geometry.identity(SIZE)))


TRANSFORMS = {"perspective": Perspective(0.6), "elastic": Elastic(6.0), "finer elastic": Elastic(4.0, grid=5)}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_points_boxes_and_areas_follow_their_pixels(name: str, masks: bool, seed: int) -> None:
    bent = TRANSFORMS[name](_markers(masks), np.random.default_rng(seed))
    target = bent.target
    assert len(target["labels"]) >= 10
    assert {len(target[key]) for key in target if key != "label_map"} == {len(target["labels"])}
    for row, label in enumerate(target["labels"]):
        core = target["label_map"] == 12 * (label + 1) + 6
        shown = (core | (target["label_map"] == 12 * (label + 1))).astype(np.uint8)
        (tight,), (area,) = boxes_of_masks(shown[None])
        if (tight[:2] < 1).any() or (tight[2:] > np.array(SIZE[::-1]) - 1).any():
            continue  # cut at the edge
        np.testing.assert_allclose(target["boxes"][row], tight, atol=1.6)
        assert target["area"][row] == pytest.approx(area, rel=0.05, abs=16)  # half a pixel around it
        rows, columns = np.nonzero(core)
        np.testing.assert_allclose(target["keypoints"][row, 0, :2], [columns.mean() + 0.5, rows.mean() + 0.5], atol=0.6)
        if masks:
            np.testing.assert_array_equal(target["masks"][row], shown)
        inner = cv2.erode(shown, np.ones((3, 3), np.uint8)) > 0
        assert (np.abs(bent.image[inner].astype(int) - 12 * (label + 1) - 3) <= 3).all()


@pytest.mark.parametrize("seed", range(4))
def test_elastic_shows_at_every_pixel_the_source_given_by_the_field(seed: int) -> None:
    """Points in steps of a pixel, moved one by one, against the definition: shown at q is what was at q + shift(q)."""
    sigma = 5.0
    shift = cv2.resize(
        np.random.default_rng(seed).normal(0.0, sigma, (3, 3, 2)).astype(np.float32),
        SIZE[::-1],
        interpolation=cv2.INTER_CUBIC,
    )
    shown_at = np.stack(np.meshgrid(np.arange(5, 250, 7), np.arange(5, 190, 7)), axis=-1).reshape(-1, 2)
    sources = shown_at + 0.5 + shift[shown_at[:, 1], shown_at[:, 0]]
    inside = ((sources > 1) & (sources < np.array(SIZE[::-1]) - 1)).all(axis=1)
    keypoints = np.concatenate([sources, np.full((len(sources), 1), 2)], axis=1).astype(np.float32)[inside]
    sample = Sample(
        np.zeros((*SIZE, 3), np.uint8), {"keypoints": keypoints[:, None]}, ImageInfo(0, "x", Geometry.identity(SIZE))
    )
    moved = Elastic(sigma)(sample, np.random.default_rng(seed)).target["keypoints"][:, 0]
    assert (moved[:, 2] == 2).all()
    np.testing.assert_allclose(moved[:, :2], shown_at[inside] + 0.5, atol=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_a_field_that_folds_never_invents_a_point(seed: int) -> None:
    """Far stronger than the image can bear: what is still called visible lies on pixels of its own colour."""
    bent = Elastic(60.0, grid=5)(_markers(masks=False), np.random.default_rng(seed))
    assert np.isfinite(bent.target["boxes"]).all()
    assert np.isfinite(bent.target["keypoints"]).all()
    for label, (point,) in zip(bent.target["labels"], bent.target["keypoints"], strict=True):
        if point[2]:
            x, y = int(point[0]), int(point[1])
            near = bent.target["label_map"][max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            assert (near // 12 == label + 1).any()


def test_label_maps_alone_are_continued_by_reflection_and_objects_are_not() -> None:
    alone = _markers(masks=False)
    alone.target = {"label_map": alone.target["label_map"]}
    alone.image[:] = alone.image + 1
    alone.target["label_map"][:] = 7
    bent = Elastic(12.0)(alone, np.random.default_rng(0))
    assert (bent.target["label_map"] == 7).all()
    with_objects = _markers(masks=True)
    with_objects.target["label_map"][:] = 7
    bent = Elastic(12.0, fill=99)(with_objects, np.random.default_rng(0))
    empty = bent.target["label_map"] == 255
    assert empty.any()
    inner = cv2.erode(empty.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    assert (bent.image[inner] == 99).all()


def test_the_record_stays_that_of_the_canvas() -> None:
    sample = _markers(masks=False)
    for transform in (Perspective(0.4), Elastic(5.0)):
        bent = transform(sample, np.random.default_rng(0))
        np.testing.assert_array_equal(bent.info.geometry.matrix, np.eye(3))
        assert bent.info.geometry.size == bent.size == SIZE


def test_perspective_is_the_projection_of_its_matrix() -> None:
    """Slow and plain, pixel by pixel: what is shown is what lies under the pixel's centre."""
    transform = Perspective(0.5, fill=255)
    sample = Sample(
        np.random.default_rng(1).integers(0, 250, (40, 60, 1)).astype(np.uint8),
        {},
        ImageInfo(0, "x", Geometry.identity((40, 60))),
    )
    sample.target = {"label_map": sample.image[..., 0]}
    inverse = np.linalg.inv(transform.draw(np.random.default_rng(3), (40, 60)))
    bent = transform(sample, np.random.default_rng(3)).target["label_map"]
    unsure = 0
    for row in range(40):
        for column in range(60):
            x, y, w = inverse @ (column + 0.5, row + 0.5, 1)
            x, y = x / w, y / w
            if min(x % 1, 1 - x % 1, y % 1, 1 - y % 1) < 0.03:
                unsure += 1
                continue
            inside = 0 <= x < 60 and 0 <= y < 40
            assert bent[row, column] == (sample.image[int(y), int(x), 0] if inside else 255)
    assert unsure < 500
