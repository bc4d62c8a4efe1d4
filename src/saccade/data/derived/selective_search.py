"""Selective search (Uijlings et al., "Selective Search for Object Recognition", IJCV 2013): boxes without learning.

An image is cut into small regions (Felzenszwalb and Huttenlocher 2004) in several colour spaces and at several scales;
neighbours that are alike in colour, texture, size and fit are joined, two at a time, until one region is left. The box
of every region on the way is a proposal.

The grouping is OpenCV's (``cv2.ximgproc.segmentation``), with its colour spaces, scales and similarities of the fast
and the quality mode; only the hue of the latter is the paper's, which OpenCV overwrites with blue by mistake. Its order
is not taken: it multiplies the depth in the hierarchy with C's ``rand()``, so that it
differs from call to call, and it begins with the smallest regions. Here, as in section 4 of the paper, position ``i``
from the whole image downwards is multiplied by a random number and the products are sorted; the position is that by
falling area, and the random numbers have a fixed seed, so that an image has the same proposals everywhere.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.depth import to_uint8
from saccade.errors import ConfigError, DataError

__all__ = ["Proposals", "SelectiveSearch", "falling_scores", "selective_search"]

_SIGMA = 0.8  # of the smoothing before the image is cut into regions
_SMALLEST = 100  # pixels of a region at the start
_THRESHOLDS = {"fast": (150, 300, 450), "quality": (150, 300, 450, 600, 750)}  # k of Felzenszwalb and Huttenlocher


class Proposals(NamedTuple):
    """Proposals of an image, best first.

    Args:
        boxes_xyxy: (P, 4) float32, pixels of the image, x1 < x2, y1 < y2.
        scores: (P,) float32, falling.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class SelectiveSearch:
    """Settings of selective search.

    Args:
        mode: ``fast`` has 2 colour spaces, 3 scales and 2 similarities; ``quality`` 5, 5 and 4, and takes three to four
            times as long.
        count: Proposals of an image at most.
        max_side: Images whose longer side has more pixels are searched at this size, and the boxes scaled back.

    Raises:
        ConfigError: If a setting is out of range.

    Example:
        >>> SelectiveSearch("quality", count=500)
        SelectiveSearch(mode='quality', count=500, max_side=640)
    """

    mode: Literal["fast", "quality"] = "fast"
    count: int = 2000
    max_side: int = 640

    def __post_init__(self) -> None:
        if self.mode not in _THRESHOLDS:
            raise ConfigError(f"selective search: mode is '{self.mode}'. Choose from: fast, quality.")
        for name, value in (("count", self.count), ("max_side", self.max_side)):
            if value < 1:
                raise ConfigError(f"selective search: {name} must be at least 1; got {value}.")


def selective_search(image: NDArray[Any], settings: SelectiveSearch | None = None, threads: int = 1) -> Proposals:
    """Propose boxes that may hold an object.

    The same image has the same proposals in the same order, whatever ``threads`` is. An image without regions, such as
    a uniform one, has one proposal, the whole image.

    Args:
        image: (H, W) or (H, W, C), RGB or grey, 8 or 16 bits; of more than three channels the first three are taken.
        settings: Mode, number and limit of size; fast mode if not given.
        threads: Threads that search at a time.

    Returns:
        Boxes in whole pixels (``x2 = x + width``), none twice, and scores that fall evenly from 1 (selective search
        has an order and no scores).

    Raises:
        DataError: If the image has no pixels.

    Example:
        >>> image = np.full((120, 160, 3), 200, np.uint8)
        >>> image[30:90, 40:100] = (180, 30, 40)
        >>> found = selective_search(image)
        >>> [40.0, 30.0, 100.0, 90.0] in found.boxes_xyxy.tolist()
        True
        >>> selective_search(image * 0).boxes_xyxy
        array([[  0.,   0., 160., 120.]], dtype=float32)
    """
    settings = settings or SelectiveSearch()
    if image.ndim not in (2, 3) or not image.size:
        raise DataError(f"selective search: an image of shape {image.shape} has no pixels. Give (H, W) or (H, W, C).")
    height, width = image.shape[:2]
    bgr = _to_bgr(image)
    gain = settings.max_side / max(height, width)
    if gain < 1:
        reduced = (max(round(width * gain), 1), max(round(height * gain), 1))
        bgr = cv2.resize(bgr, reduced, interpolation=cv2.INTER_AREA)
    boxes = _search(bgr, settings.mode, threads).astype(np.float64)
    if gain < 1:
        back = np.array([width / bgr.shape[1], height / bgr.shape[0]] * 2)
        boxes[:, :2] = np.floor(boxes[:, :2] * back[:2])
        boxes[:, 2:] = np.ceil(boxes[:, 2:] * back[2:]).clip(max=(width, height))
    boxes = np.unique(boxes, axis=0)
    if not len(boxes):
        boxes = np.array([[0, 0, width, height]])
    kept = boxes[_order(boxes)][: settings.count].astype(np.float32)
    return Proposals(kept, falling_scores(len(kept)))


def falling_scores(count: int) -> NDArray[np.float32]:
    """Scores of proposals that have an order alone: from 1 in equal steps.

    Example:
        >>> falling_scores(4)
        array([1.  , 0.75, 0.5 , 0.25], dtype=float32)
    """
    return (1 - np.arange(count) / max(count, 1)).astype(np.float32)


def _to_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = image if image.ndim == 3 else image[:, :, None]
    pixels = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, [0, 0, 0]]
    return np.ascontiguousarray(to_uint8(pixels, "selective search")[:, :, ::-1])


def _order(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Section 4 of the paper: sorted by a random number times the position from large to small."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    falling = np.lexsort((*boxes.T[::-1], -area))
    rank = np.random.default_rng(0).random(len(boxes)) * np.arange(1, len(boxes) + 1)
    return falling[np.argsort(rank, kind="stable")]


def _search(bgr: NDArray[np.uint8], mode: str, threads: int) -> NDArray[np.int32]:
    """Boxes of all groupings, (P, 4) xyxy; each colour space and scale is a search of its own."""
    searches = list(product(_color_spaces(bgr, mode), _THRESHOLDS[mode]))

    def run(space_and_threshold: tuple[NDArray[np.uint8], int]) -> NDArray[np.int32]:
        return _group(*space_and_threshold, mode)

    if threads > 1:
        with ThreadPoolExecutor(min(threads, len(searches))) as pool:
            found = list(pool.map(run, searches))
    else:
        found = [run(search) for search in searches]
    xywh = np.concatenate(found)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _color_spaces(bgr: NDArray[np.uint8], mode: str) -> list[NDArray[np.uint8]]:
    hsv, lab = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV), cv2.cvtColor(bgr, cv2.COLOR_BGR2Lab)
    spaces: list[Any] = [hsv, lab]
    if mode == "quality":
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        spaces += [grey, np.ascontiguousarray(hsv[:, :, 0]), np.dstack([bgr[:, :, 2], bgr[:, :, 1], grey])]
    return spaces


def _group(pixels: NDArray[np.uint8], threshold: int, mode: str) -> NDArray[np.int32]:
    """Boxes of one colour space and scale by every similarity of the mode, (P, 4) xywh."""
    segmentation = cv2.ximgproc.segmentation
    search = segmentation.createSelectiveSearchSegmentation()
    search.addImage(pixels)
    search.addGraphSegmentation(segmentation.createGraphSegmentation(_SIGMA, float(threshold), _SMALLEST))
    color = segmentation.createSelectiveSearchSegmentationStrategyColor()
    fill = segmentation.createSelectiveSearchSegmentationStrategyFill()
    texture = segmentation.createSelectiveSearchSegmentationStrategyTexture()
    size = segmentation.createSelectiveSearchSegmentationStrategySize()
    search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategyMultiple(color, fill, texture, size))
    search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategyMultiple(fill, texture, size))
    if mode == "quality":
        search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategyFill())
        search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategySize())
    return np.asarray(search.process(), np.int32).reshape(-1, 4)
