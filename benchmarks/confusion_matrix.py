"""Confusion matrix of a pair of label maps of 2048 x 1024 pixels: time beside torchmetrics, and what boundaries add."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks.common import Figure, alternate, use_threads
from saccade.metrics.boundary import class_boundary_f
from saccade.metrics.segmentation import confusion_matrix

SIZE = (1024, 2048)
CLASSES = 19
NAMES = tuple(f"class {label}" for label in range(CLASSES))


def run() -> list[Figure]:
    """Times of both on 8-bit maps, theirs with and without its checks, and of the boundaries of all classes."""
    use_threads()
    ground_truth, predicted = _pair()
    ours = confusion_matrix(ground_truth, predicted, NAMES, "pair")
    pair = torch.from_numpy(predicted)[None], torch.from_numpy(ground_truth)[None]
    checked, unchecked = (
        MulticlassConfusionMatrix(CLASSES, ignore_index=255, validate_args=checks) for checks in (True, False)
    )
    checked.update(*pair)
    equal = bool((checked.compute().numpy() == ours).all())
    seconds = alternate(
        {
            "ours": lambda: confusion_matrix(ground_truth, predicted, NAMES, "pair"),
            "checked": lambda: checked.update(*pair),
            "unchecked": lambda: unchecked.update(*pair),
            "boundaries": lambda: class_boundary_f(predicted, ground_truth),
        }
    )
    note = f"a pair of {SIZE[1]} x {SIZE[0]} pixels, {CLASSES} classes; ours {1000 * seconds['ours']:.1f} ms"
    ratio = "confusion matrix, torchmetrics' time over ours"
    return [
        Figure(ratio, seconds["checked"] / seconds["ours"], "x", 3.0, at_least=True, note=note),
        Figure(f"{ratio}, without its checks", seconds["unchecked"] / seconds["ours"], "x", 3.0, True, note),
        Figure("confusion matrix equal to torchmetrics'", 100.0 * equal, "%", 100.0, at_least=True, note=note),
        Figure("F-measure of the boundaries of all classes", seconds["boundaries"], "s", note=note),
    ]


def _pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Smooth regions of 19 classes, a prediction that differs along their borders, a strip that is not scored."""
    rng = np.random.default_rng(0)

    def field(height: int, width: int) -> NDArray[np.float32]:
        noise = rng.random((height, width)).astype(np.float32)
        return np.asarray(cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC))

    scores = np.stack([field(12, 24) for _ in range(CLASSES)])
    ground_truth = scores.argmax(axis=0).astype(np.uint8)
    scores += 0.25 * np.stack([field(64, 128) for _ in range(CLASSES)])
    ground_truth[-100:] = 255
    return ground_truth, scores.argmax(axis=0).astype(np.uint8)
