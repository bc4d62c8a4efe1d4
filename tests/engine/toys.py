"""Runtimes that compute their answer from the pixels, so that the right answer is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.models.base import Decoded
from saccade.structures.input_spec import InputSpec

COLOURS = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)  # of the classes


def as_they_are(**options: object) -> InputSpec:
    return InputSpec((64, 64), resize="none", pad_value=0, **options)


def paint(
    size: tuple[int, int], boxes: NDArray[np.int64] | list[list[int]], labels: NDArray[np.int64] | list[int]
) -> NDArray[np.uint8]:
    """A dark image with coloured rectangles."""
    image = np.zeros((*size, 3), np.uint8)
    for (x1, y1, x2, y2), label in zip(np.asarray(boxes).tolist(), np.asarray(labels).tolist(), strict=True):
        image[y1:y2, x1:x2] = COLOURS[label]
    return image


def scatter(size: tuple[int, int], largest: int, number: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes (N, 4) inside the image with room between them, and their labels."""
    rng = np.random.default_rng(seed)
    taken = np.zeros(size, np.bool_)
    boxes = []
    for _ in range(number):
        height, width = (int(side) for side in rng.integers(3, largest + 1, 2))
        y, x = int(rng.integers(0, size[0] - height + 1)), int(rng.integers(0, size[1] - width + 1))
        window = taken[max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2]
        if not window.any():
            window[:] = True
            boxes.append([x, y, x + width, y + height])
    return np.array(boxes), rng.integers(0, 2, len(boxes))


class Rectangles:
    """Detector: the box of every connected region of a class's colour. Large regions score more."""

    task = "detection"
    input_names = ()
    decoded_keys = ("boxes", "scores", "labels", "count")
    class_names = ("red", "green")
    name = "rectangles"

    def __init__(self, spec: InputSpec | None = None) -> None:
        self.input_spec = spec or as_they_are()
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor) -> Decoded:
        self.batches.append(tuple(images.shape))
        found = [self._find(image) for image in images.permute(0, 2, 3, 1).numpy()]
        room = max(len(rows) for rows in found)
        table = torch.zeros(len(found), room, 6)
        for index, rows in enumerate(found):
            table[index, : len(rows)] = torch.from_numpy(rows)
        return {
            "boxes": table[..., :4].contiguous(),
            "scores": table[..., 4].contiguous(),
            "labels": table[..., 5].long(),
            "count": torch.tensor([len(rows) for rows in found]),
        }

    def _find(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = [np.zeros((0, 6), np.float32)]
        for label, colour in enumerate(COLOURS):
            mask = (image == colour).all(axis=2).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
            for x, y, width, height, area in stats[1:].tolist():
                score = 1 - 1 / (2 + area)
                rows.append(np.array([[x, y, x + width, y + height, score, label]], np.float32))
        table = np.concatenate(rows)
        return table[np.argsort(-table[:, 4], kind="stable")]


class Smooth:
    """Segmenter: probabilities follow the mean brightness of each channel in the 5 x 5 pixels around."""

    task = "segmentation"
    input_names = ()
    decoded_keys = ("probabilities",)
    name = "smooth"

    def __init__(self, classes: int = 3, spec: InputSpec | None = None) -> None:
        self.class_names = tuple(f"class{index}" for index in range(classes))
        self.input_spec = spec or as_they_are()

    def __call__(self, images: Tensor) -> Decoded:
        # Sums of whole numbers, so that no order of adding matters.
        sums = torch.nn.functional.avg_pool2d(images.double(), 5, 1, 2, divisor_override=1)
        if len(self.class_names) == 1:
            return {"probabilities": (sums[:, :1] / (25 * 255)).float()}
        return {"probabilities": (sums[:, : len(self.class_names)] / (3 * 25 * 255)).float()}


class Corners:
    """Keypoints: the left and the right end of each white bar, its upper edge."""

    task = "keypoints"
    input_names = ()
    decoded_keys = ("keypoints", "point_scores", "scores", "count")
    class_names = ("left", "right")
    name = "corners"

    def __init__(self, spec: InputSpec | None = None) -> None:
        self.input_spec = spec or as_they_are()

    def __call__(self, images: Tensor) -> Decoded:
        found = []
        for image in images.permute(0, 2, 3, 1).numpy():
            mask = (image[..., 0] > 127).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
            found.append([[[x, y], [x + width, y]] for x, y, width, _, _ in stats[1:].tolist()])
        room = max(len(rows) for rows in found)
        points = torch.zeros(len(found), room, 2, 2)
        for index, rows in enumerate(found):
            if rows:
                points[index, : len(rows)] = torch.tensor(rows, dtype=torch.float32)
        return {
            "keypoints": points,
            "point_scores": torch.ones(points.shape[:3]),
            "scores": torch.ones(points.shape[:2]),
            "count": torch.tensor([len(rows) for rows in found]),
        }


class Brightness:
    """Classifier: dark or bright, by the mean of all pixels."""

    task = "classification"
    input_names = ()
    decoded_keys = ("probabilities",)
    class_names = ("dark", "bright")
    name = "brightness"

    def __init__(self, spec: InputSpec | None = None) -> None:
        self.input_spec = spec or as_they_are()

    def __call__(self, images: Tensor) -> Decoded:
        bright = (images.double().mean(dim=(1, 2, 3)) / 255).float()
        return {"probabilities": torch.stack((1 - bright, bright), dim=1)}
