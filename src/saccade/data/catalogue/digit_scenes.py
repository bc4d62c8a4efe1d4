"""Generated scenes of handwritten digits over photographs, for every task and without any file of one's own.

scikit-learn ships 1,797 scans of handwritten digits (8x8, Alpaydin and Kaynak 1998) and two photographs. A scene is a
random crop of a photograph with digits pasted at random positions, sizes, colours and small angles. The ink of two
digits never overlaps, so that masks, boxes (tight around the ink) and label maps are exact.

A scene depends on (seed, split, index) alone. Scans are divided between the splits, so that held-out scenes show
handwriting that training never saw.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image
from saccade.errors import DataError, did_you_mean
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["DigitScenes"]

_DIGITS = tuple(str(digit) for digit in range(10))
_CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")
# Shares of the scans of each digit; the crowded scenes are others of the training scans.
_SHARES = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0), "crowded": (0.0, 0.6)}
_COUNTS = {"train": 2000, "val": 200, "test": 200, "crowded": 1500}
_CROWD = (8, 16)  # digits that a crowded scene is to hold, as far as there is space

# An enlarged scan: FRAME pixels a side for its 8x8 cells, within a margin of one cell in which strokes fade out.
_CELL = 8
_FRAME = 8 * _CELL
_MARGIN = _CELL
_MIN_HEIGHT = 12.0  # pixels below which a scan is not legible
_MIN_SIDE = 20  # of a scene, in which a turned scan of that height still fits
_MIN_CONTRAST = 80.0  # between ink and the photograph under it, in grey levels
_ATTEMPTS = 12  # positions tried for a digit before it is left out


@dataclass(frozen=True)
class _Style:
    """Layout of the scenes of a task; heights are shares of the scene's shorter side."""

    class_names: tuple[str, ...]
    heights: tuple[float, float]
    max_digits: int
    degrees: float
    flip_pairs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Digit:
    """A digit in a scene: (h, w) opacity 0..1 at ``top``, ``left``, and the corners of its turned frame, (4, 2)."""

    label: int
    alpha: NDArray[np.float32]
    top: int
    left: int
    corners_xy: NDArray[np.float32]

    @property
    def ink(self) -> NDArray[np.bool_]:
        """Where the digit hides more than half of the photograph."""
        return self.alpha > 0.5

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the scene that the digit covers."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Tight around the ink, continuous coordinates."""
        x1, y1, x2, y2 = box_of_mask(self.ink)
        return self.left + x1, self.top + y1, self.left + x2, self.top + y2


class DigitScenes:
    """Data set of generated scenes of handwritten digits, for four tasks.

    - ``detection``: 1 to 8 digits, classes ``0`` to ``9``.
    - ``segmentation``: the same scenes; label 0 is ``background``, label d + 1 the digit d.
    - ``classification``: one digit that fills most of the image.
    - ``keypoints``: one digit; the four corners of its turned frame.

    The split ``crowded`` has scenes for a short training: 11 digits on average instead of four, so that each image,
    which costs as much, shows more than twice as many objects. Tasks of one digit have no such split.

    Args:
        task: One of the four.
        split: ``train``, ``val``, ``test`` or ``crowded``.
        count: Scenes; if not given 2,000 to train, 1,500 crowded ones, 200 in the other splits.
        size: (height, width) of a scene in pixels. Digits are 28 to 96 pixels high at 256, in proportion elsewhere.
        seed: Another seed gives other scenes of the same scans.
        masks: Whether detection has a mask for each object as well.

    Raises:
        DataError: If task or split are unknown, or the size is too small for a digit.

    Example:
        >>> sample = DigitScenes("detection", "train").read(1)
        >>> sample.image.shape, sample.target["boxes"].shape, sample.target["labels"]
        ((256, 256, 3), (5, 4), array([9, 8, 2, 6, 3]))
    """

    _STYLES: ClassVar[dict[str, _Style]] = {
        "detection": _Style(_DIGITS, (28 / 256, 96 / 256), 8, 15.0),
        "segmentation": _Style(("background", *_DIGITS), (28 / 256, 96 / 256), 8, 15.0),
        "classification": _Style(_DIGITS, (0.5, 0.8), 1, 15.0),
        "keypoints": _Style(_CORNERS, (0.3, 0.6), 1, 30.0, ((0, 1), (3, 2))),
    }

    generated = True  # scene by scene, so that none is a copy of another

    def __init__(
        self,
        task: str = "detection",
        split: str = "train",
        count: int | None = None,
        size: tuple[int, int] = (256, 256),
        seed: int = 0,
        masks: bool = False,
    ) -> None:
        if task not in self._STYLES:
            raise DataError(f"digit_scenes has no task '{task}'.{did_you_mean(task, self._STYLES)}")
        splits = [name for name in _SHARES if name != "crowded" or self._STYLES[task].max_digits > 1]
        if split not in splits:
            raise DataError(f"digit_scenes has no split '{split}' for {task}; it has: {', '.join(splits)}.")
        if min(size) < _MIN_SIDE:
            raise DataError(
                f"digit_scenes cannot draw at {size}: both sides need {_MIN_SIDE} pixels. Give a larger size."
            )
        self._style = self._STYLES[task]
        self.info = DatasetInfo("digit_scenes", task, self._style.class_names, split, flip_pairs=self._style.flip_pairs)
        self.count = _COUNTS[split] if count is None else count
        self.size = size
        self.seed = seed
        self.masks = masks

    def __len__(self) -> int:
        return self.count

    def path(self, index: int) -> str:
        """A name, since there is no file."""
        return f"digit_scenes/{self.info.split}/{index:05d}"

    def target(self, index: int) -> Target:
        """The ground truth of scene ``index``."""
        return self.read(index).target

    def read(self, index: int) -> Sample:
        """Generate scene ``index``."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, list(_SHARES).index(self.info.split), index])
        image = _background(rng, self.size)
        digits: list[_Digit] = []
        occupied = np.zeros(self.size, np.bool_)
        fewest, most = _CROWD if self.info.split == "crowded" else (1, self._style.max_digits)
        for _ in range(int(rng.integers(fewest, most + 1))):
            digit = self._place_digit(rng, occupied)
            if digit is not None:
                _paint(rng, image, digit)
                occupied[digit.window] |= digit.ink
                digits.append(digit)
        info = ImageInfo(index, self.path(index), Geometry.identity(self.size))
        return Sample(image, self._target(digits), info)

    def _place_digit(self, rng: np.random.Generator, occupied: NDArray[np.bool_]) -> _Digit | None:
        """Place a random digit where its ink overlaps no other; None if no position is found, never for the first."""
        scans, labels = _scans(self.info.split)
        which = int(rng.integers(len(scans)))
        shorter = min(self.size)
        lowest, highest = (max(share * shorter, _MIN_HEIGHT) for share in self._style.heights)
        height = float(np.exp(rng.uniform(np.log(lowest), np.log(highest))))
        alpha, corners = _turn(scans[which], height, rng.uniform(-self._style.degrees, self._style.degrees))
        rows, columns = (side - length for side, length in zip(self.size, alpha.shape, strict=True))
        for _ in range(_ATTEMPTS):
            top, left = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
            moved = corners + np.array([left, top], np.float32)
            digit = _Digit(int(labels[which]), alpha, top, left, moved)
            if not (occupied[digit.window] & digit.ink).any():
                return digit
        return None

    def _target(self, digits: Sequence[_Digit]) -> Target:
        labels = np.array([digit.label for digit in digits], np.int64)
        if self.info.task == "classification":
            return {"labels": labels[0].copy()}
        if self.info.task == "segmentation":
            label_map = np.zeros(self.size, np.uint8)
            for digit in digits:
                label_map[digit.window][digit.ink] = digit.label + 1
            return {"label_map": label_map}
        target: Target = {
            "labels": labels,
            "boxes": np.array([digit.box_xyxy for digit in digits], np.float32),
            "area": np.array([digit.ink.sum() for digit in digits], np.float32),
            "iscrowd": np.zeros(len(digits), np.bool_),
        }
        if self.info.task == "keypoints":
            visible = np.full((1, len(_CORNERS), 1), 2, np.float32)
            target["keypoints"] = np.concatenate([digits[0].corners_xy[None], visible], axis=2)
            target["labels"] = np.zeros(1, np.int64)  # the object is one digit, whichever
        if self.masks:
            target["masks"] = np.zeros((len(digits), *self.size), np.uint8)
            for mask, digit in zip(target["masks"], digits, strict=True):
                mask[digit.window] = digit.ink
        return target


@lru_cache(maxsize=3)
def _scans(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Enlarged scans of a split, (N, S, S) uint8 opacity with S = FRAME + 2 MARGIN, and their digits, (N,) int64."""
    import cv2

    images, digits = _digits()
    first, last = _SHARES[split]
    rng = np.random.default_rng(0)  # which scans belong to which split is the same for every seed
    chosen: list[int] = []
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(digits == digit))
        chosen.extend(rows[int(first * len(rows)) : int(last * len(rows))].tolist())
    padded = np.pad(images[chosen] / 16.0, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    side = _FRAME + 2 * _MARGIN
    large = np.stack([cv2.resize(scan, (side, side), interpolation=cv2.INTER_CUBIC) for scan in padded])
    # Cells hold the share of ink: steepened, the strokes get edges again instead of being grey clouds.
    return (np.clip((large - 0.3) / 0.35, 0, 1) * 255).astype(np.uint8), digits[chosen]


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Content of ``sklearn.datasets.load_digits``: images (1797, 8, 8) in 0..16 and digits (1797,)."""
    with gzip.open(_package_folder() / "data" / "digits.csv.gz", "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _package_folder() -> Path:
    """Folder of scikit-learn's data files; importing the package for them would take long, in every worker again."""
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders or not (Path(folders[0]) / "datasets" / "data" / "digits.csv.gz").is_file():
        raise DataError("scikit-learn with its digits is not installed. Install it: pip install scikit-learn.")
    return Path(folders[0]) / "datasets"


@lru_cache(maxsize=1)
def _photographs() -> list[NDArray[np.uint8]]:
    """The two photographs of scikit-learn, (427, 640, 3) RGB."""
    return [read_image(_package_folder() / "images" / name) for name in ("china.jpg", "flower.jpg")]


def _background(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A crop of a photograph in the proportions of the scene, mirrored half of the time; the caller's own."""
    import cv2

    photographs = _photographs()
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    largest = min(height / size[0], width / size[1])
    zoom = rng.uniform(0.3, 1.0) * largest
    rows, columns = max(int(size[0] * zoom), 1), max(int(size[1] * zoom), 1)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    crop = photograph[top : top + rows, left : left + columns]
    scene: NDArray[np.uint8] = cv2.resize(crop, size[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.flip(scene, 1) if rng.random() < 0.5 else scene


def _turn(scan: NDArray[np.uint8], height: float, degrees: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A scan whose frame becomes ``height`` pixels high and is turned, in the smallest window that holds the frame.

    Returns:
        Opacity (h, w) float32 in 0..1, and the frame's corners (4, 2) xy in that window, clockwise from its top left.
    """
    import cv2

    angle = np.deg2rad(degrees)
    scale = height / _FRAME
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame = _FRAME * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + _MARGIN
    corners = frame @ linear.T
    offset = -corners.min(axis=0)
    corners = corners + offset
    width, rows = (int(np.ceil(side)) for side in corners.max(axis=0))
    # OpenCV counts pixel centres from 0, corners here are continuous.
    matrix = np.column_stack([linear, linear @ [0.5, 0.5] + offset - 0.5])
    turned: NDArray[np.uint8] = cv2.warpAffine(scan, matrix, (width, rows), flags=cv2.INTER_LINEAR)
    return turned.astype(np.float32) / np.float32(255), corners.astype(np.float32)


def _paint(rng: np.random.Generator, image: NDArray[np.uint8], digit: _Digit) -> None:
    """Blend a digit into a scene, in place, in a random colour that stands out from what is under it."""
    import cv2

    under = image[digit.window]
    level = cv2.mean(cv2.cvtColor(under, cv2.COLOR_RGB2GRAY), digit.ink.view(np.uint8))[0]
    for _ in range(_ATTEMPTS):
        color = rng.integers(0, 256, 3).astype(np.float32)
        luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]  # ITU-R BT.601
        if abs(luma - level) >= _MIN_CONTRAST:
            break
    else:
        color = np.full(3, 0 if level > 127 else 255, np.float32)
    blended = under + (color - under) * digit.alpha[..., None]
    image[digit.window] = (blended + np.float32(0.5)).astype(np.uint8)
