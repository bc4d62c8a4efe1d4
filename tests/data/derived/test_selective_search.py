"""Selective search: the boxes of OpenCV's own modes, in one order, for images of every kind."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import saccade.data.derived.selective_search as module
from saccade.data.derived.selective_search import Proposals, SelectiveSearch, selective_search
from saccade.errors import ConfigError, DataError


def scene(height: int = 90, width: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    """Rectangles of random colours on a noisy ground."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
    for _ in range(6):
        x, y = rng.integers(0, width - 20), rng.integers(0, height - 20)
        image[y : y + rng.integers(10, 40), x : x + rng.integers(10, 40)] = rng.integers(0, 255, 3)
    return image


def whole(found: Proposals) -> list[list[float]]:
    return found.boxes_xyxy.tolist()


@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_the_boxes_are_those_of_opencvs_own_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene()
    if mode == "quality":  # OpenCV's own writes blue over the hue before it searches
        spaces = module._color_spaces(np.ascontiguousarray(image[:, :, ::-1]), mode)
        assert (spaces[3] == cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[:, :, 0]).all()
        spaces[3] = np.ascontiguousarray(image[:, :, 2])
        monkeypatch.setattr(module, "_color_spaces", lambda bgr, mode: spaces)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))
    (search.switchToSelectiveSearchFast if mode == "fast" else search.switchToSelectiveSearchQuality)()
    xywh = search.process()
    expected = np.unique(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1), axis=0)
    found = selective_search(image, SelectiveSearch(mode, count=100_000))  # type: ignore[arg-type]
    assert len(expected) > 20
    np.testing.assert_array_equal(np.unique(found.boxes_xyxy, axis=0), expected)
    assert len(found.boxes_xyxy) == len(expected)  # none twice


def test_order_and_number_are_the_same_in_every_call_and_with_threads() -> None:
    image = scene()
    first, again, threaded = selective_search(image), selective_search(image), selective_search(image, threads=4)
    assert first.boxes_xyxy.dtype == first.scores.dtype == np.float32
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    np.testing.assert_array_equal(first.boxes_xyxy, threaded.boxes_xyxy)
    few = selective_search(image, SelectiveSearch(count=10))
    np.testing.assert_array_equal(few.boxes_xyxy, first.boxes_xyxy[:10])
    assert (np.diff(first.scores) < 0).all()
    assert first.scores[0] == 1
    assert first.scores[-1] > 0


def test_large_regions_come_earlier_but_not_in_the_order_of_their_area() -> None:
    boxes = selective_search(scene()).boxes_xyxy
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    half = len(area) // 2
    assert area[:half].mean() > area[half:].mean()
    assert (np.diff(area) > 0).any()


def test_boxes_lie_inside_and_have_an_area() -> None:
    boxes = selective_search(scene(61, 83)).boxes_xyxy
    assert (boxes >= 0).all()
    assert (boxes[:, [0, 2]] <= 83).all()
    assert (boxes[:, [1, 3]] <= 61).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_large_image_is_searched_small_and_its_boxes_are_scaled_back() -> None:
    image = cv2.resize(scene(), (480, 360), interpolation=cv2.INTER_NEAREST)
    found = selective_search(image, SelectiveSearch(max_side=120))
    small = selective_search(scene(), SelectiveSearch(max_side=120))
    assert found.boxes_xyxy.max() == 480
    assert {tuple(box) for box in whole(found)} == {tuple(4 * value for value in box) for box in whole(small)}
    odd = selective_search(scene(67, 101), SelectiveSearch(max_side=50)).boxes_xyxy
    assert (odd[:, 2] <= 101).all()
    assert (odd[:, 3] <= 67).all()
    assert (odd == odd.round()).all()


def test_grey_and_16_bit_images_are_searched_as_their_8_bit_colours() -> None:
    grey = scene()[:, :, 0]
    expected = whole(selective_search(np.repeat(grey[:, :, None], 3, axis=2)))
    for image in (grey, grey[:, :, None], grey.astype(np.uint16) * 257, np.dstack([grey] * 5)):
        assert whole(selective_search(image)) == expected


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (7, 1), (40, 60, 3)])
def test_an_image_without_regions_has_itself_as_the_one_proposal(shape: tuple[int, ...]) -> None:
    found = selective_search(np.full(shape, 77, np.uint8))
    assert whole(found) == [[0, 0, shape[1], shape[0]]]
    assert found.scores.tolist() == [1]


def test_images_without_pixels_and_settings_out_of_range_are_named() -> None:
    with pytest.raises(DataError, match=r"shape \(0, 5, 3\) has no pixels"):
        selective_search(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"mode is 'slow'\. Choose from: fast, quality"):
        SelectiveSearch("slow")  # type: ignore[arg-type]
    options: dict[str, Any]
    for options in ({"count": 0}, {"max_side": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))} must be at least 1; got 0"):
            SelectiveSearch(**options)
