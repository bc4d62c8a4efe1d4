"""Mixup, CutMix and copy-paste: pixels and ground truth are mixed alike."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.transforms.mix import CopyPaste, MixUp, blend_classes, cut_classes
from saccade.errors import ConfigError
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

SIZE = (96, 128)


def _tile(number: int) -> Sample:
    """Twelve solid rectangles of grey values 10 + 60 * number + position, with boxes."""
    image = np.full((*SIZE, 1), 5, np.uint8)
    boxes, values = [], []
    for row in range(3):
        for column in range(4):
            y1, x1 = 3 + row * SIZE[0] // 3, 3 + column * SIZE[1] // 4
            y2, x2 = y1 + SIZE[0] // 3 - 8, x1 + SIZE[1] // 4 - 8
            values.append(10 + 60 * number + 4 * row + column)
            image[y1:y2, x1:x2] = values[-1]
            boxes.append([x1, y1, x2, y2])
    target = {
        "boxes": np.array(boxes, np.float32),
        "labels": np.array(values),
        "keypoints": np.array([[[(x1 + x2) / 2, (y1 + y2) / 2, 2]] for x1, y1, x2, y2 in boxes], np.float32),
    }
    return Sample(image, target, ImageInfo(number, f"tile{number}", Geometry.identity(SIZE)))


def _class(label: int, grey: int, size: tuple[int, int] = (40, 50)) -> Sample:
    image = np.full((*size, 1), grey, np.uint8)
    return Sample(image, {"labels": np.int64(label)}, ImageInfo(0, "x", Geometry.identity(size)))


def test_mixup_is_half_of_each_with_the_objects_of_both() -> None:
    first, second = _tile(0), _tile(1)
    mixed = MixUp(fill=0)(first, second, np.random.default_rng(3))
    assert mixed.size == SIZE
    assert mixed.target["labels"][:12].tolist() == first.target["labels"].tolist()
    added = mixed.target["labels"][12:]
    assert len(added) > 0
    assert (added >= 70).all()
    remainder = mixed.image[..., 0].astype(int) * 2 - first.image[..., 0]
    for value, (x1, y1, x2, y2) in zip(added, mixed.target["boxes"][12:], strict=True):
        inside = remainder[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2]
        if inside.size:
            assert np.abs(inside - value).max() <= 2


def test_class_mixup_blends_pixels_and_labels_alike() -> None:
    mixed = blend_classes(_class(0, 0), _class(2, 200), 1.0, 3, np.random.default_rng(0))
    labels = mixed.target["labels"]
    assert labels.dtype == np.float32
    assert labels.sum() == pytest.approx(1)
    assert mixed.image[0, 0, 0] == pytest.approx(200 * labels[2], abs=1)
    alone = blend_classes(_class(1, 7), None, 1.0, 3, np.random.default_rng(0))
    assert alone.target["labels"].tolist() == [0, 1, 0]
    same = blend_classes(_class(1, 7), _class(1, 7), 1.0, 3, np.random.default_rng(0))
    assert same.target["labels"].tolist() == pytest.approx([0, 1, 0])


def test_cutmix_mixes_labels_by_the_area_that_is_covered() -> None:
    shares = []
    for seed in range(200):
        mixed = cut_classes(_class(0, 0), _class(2, 200), 1.0, 3, np.random.default_rng(seed))
        covered = mixed.image[..., 0] == 200
        labels = mixed.target["labels"]
        assert labels.dtype == np.float32
        np.testing.assert_allclose(labels, [1 - covered.mean(), 0, covered.mean()], atol=1e-6)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        assert covered.sum() == len(rows) * len(columns)  # one rectangle
        shares.append(covered.mean())
    # Of the rectangles' even share of 0 to 1, the part that sticks out is lost.
    assert 0.25 < np.mean(shares) < 0.5
    same = cut_classes(_class(1, 7), _class(1, 9), 1.0, 3, np.random.default_rng(0))
    assert same.target["labels"].tolist() == pytest.approx([0, 1, 0])


def _objects(squares: list[tuple[int, int, int, int]], grey: int, crowd: tuple[int, ...] = ()) -> Sample:
    """Solid rectangles x1, y1, x2, y2 of grey values ``grey``, ``grey + 1``, ... with everything an object can have."""
    image = np.full((*SIZE, 3), grey - 1, np.uint8)
    label_map = np.full(SIZE, grey - 1, np.uint8)
    masks = np.zeros((len(squares), *SIZE), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(squares):
        image[y1:y2, x1:x2] = label_map[y1:y2, x1:x2] = grey + number
        masks[number, y1:y2, x1:x2] = 1
    boxes, area = boxes_of_masks(masks)
    target = {
        "boxes": boxes,
        "labels": np.arange(len(squares)) + grey,
        "area": area,
        "iscrowd": np.isin(np.arange(len(squares)), crowd),
        "masks": masks,
        "label_map": label_map,
        "keypoints": np.array(
            [[[x1 + 2.5, y1 + 2.5, 2], [x2 - 2.5, y2 - 2.5, 2]] for x1, y1, x2, y2 in squares], np.float32
        ).reshape(-1, 2, 3),
    }
    return Sample(image, target, ImageInfo(grey, f"image{grey}", Geometry.identity(SIZE)))


UNDER = [(5, 5, 45, 45), (60, 10, 100, 50), (20, 60, 40, 80), (100, 60, 120, 90)]
OVER = [(30, 20, 70, 55), (18, 58, 42, 82), (2, 2, 8, 8)]


@pytest.mark.parametrize("seed", range(20))
def test_pasted_objects_hide_what_lies_under_them(seed: int) -> None:
    below, above = _objects(UNDER, 100), _objects(OVER, 200)
    joined = CopyPaste()(below, above, np.random.default_rng(seed))
    target = joined.target
    pasted = [label for label in target["labels"].tolist() if label >= 200]
    for label in range(200, 203):
        assert (joined.image == label).any() == (label in pasted)
    assert not (joined.image == 199).any()  # nothing of the other image's background
    np.testing.assert_array_equal(joined.image[..., 0], target["label_map"])
    for row, label in enumerate(target["labels"].tolist()):
        shown = (joined.image[..., 0] == label).astype(np.uint8)
        np.testing.assert_array_equal(target["masks"][row], shown)
        (box,), (area,) = boxes_of_masks(shown[None])
        np.testing.assert_array_equal(target["boxes"][row], box)
        assert target["area"][row] == area
        for x, y, visibility in target["keypoints"][row]:
            assert visibility == (2 if shown[int(y), int(x)] else 1)
    assert (102 in target["labels"]) == (201 not in pasted)  # wholly covered by it
    assert {100, 101, 103} <= set(target["labels"].tolist())
    assert {len(target[key]) for key in ("boxes", "labels", "area", "iscrowd", "masks", "keypoints")} == {
        len(target["labels"])
    }
    np.testing.assert_array_equal(below.target["masks"], _objects(UNDER, 100).target["masks"])


def test_each_object_is_pasted_half_of_the_time_and_crowds_never() -> None:
    above = _objects(OVER, 200, crowd=(0,))
    counts = np.zeros(3)
    for seed in range(400):
        labels = CopyPaste()(_objects(UNDER, 100), above, np.random.default_rng(seed)).target["labels"]
        counts += [label in labels for label in (200, 201, 202)]
    assert counts[0] == 0
    assert (np.abs(counts[1:] / 400 - 0.5) < 0.1).all()


def test_nothing_to_paste_and_nothing_to_paste_onto() -> None:
    below, above, empty = _objects(UNDER, 100), _objects(OVER, 200), _objects([], 150)
    assert CopyPaste()(below, empty, np.random.default_rng(0)) is below
    joined = CopyPaste()(empty, above, np.random.default_rng(1))
    assert len(joined.target["labels"]) == len(joined.target["masks"]) > 0


def test_copy_paste_needs_masks() -> None:
    without = _tile(0)
    with pytest.raises(ConfigError, match="copy_paste"):
        CopyPaste()(without, _tile(1), np.random.default_rng(0))
