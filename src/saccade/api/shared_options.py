"""Options that several verbs share, see :mod:`saccade.api.options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import tyro

__all__ = ["FinishOptions", "InferenceOptions", "NmsOptions", "PythonOnly", "TrustOptions"]

T = TypeVar("T")

# A field that the shell neither shows nor sets.
PythonOnly = tyro.conf.Suppress[tyro.conf.Fixed[T]]


@dataclass(kw_only=True)
class TrustOptions:
    """The word that lets a file run code, of the verbs that open a model."""

    trust: bool = False
    """Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from outside the
    package, whose module is imported. Other files need no trust."""


@dataclass(kw_only=True)
class InferenceOptions:
    """Tiles and test-time augmentation, of the verbs that predict; off unless asked for."""

    tile: int | tuple[int, int] | None = None
    """Predict in tiles of so many pixels of the image, a side or (height, width). For objects that are small in large
    images."""
    overlap: float = 0.2
    """With tiles: share of a tile that its neighbour shows too."""
    tta: bool = False
    """Test-time augmentation: predict the mirror image of each canvas as well, and merge the predictions."""
    tta_scales: tuple[float, ...] = (1.0,)
    """With test-time augmentation: factors on the canvas at which to predict, such as 0.83 1 1.2."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """With test-time augmentation of keypoints: numbers of the points that a mirror exchanges, left and right.
    Evaluation takes those of the data set if not given."""


@dataclass(frozen=True, kw_only=True)
class NmsOptions:
    """Suppression of duplicate boxes, of the verbs that predict; what is not given is the model's own."""

    kind: str | None = None
    """How: nms (greedy), soft, soft_gaussian (Soft-NMS), diou (greedy, by DIoU), wbf (weighted boxes fusion), none."""
    iou: float | None = None
    """Overlap above which the lower score of the same class suffers, 0..1."""
    class_agnostic: bool | None = None
    """Suppress across classes too: one object is of one class."""
    sigma: float | None = None
    """Width of soft_gaussian."""


@dataclass(frozen=True, kw_only=True)
class FinishOptions:
    """What runs after the network, of the verbs that predict; what is not given is the model's own, or the default."""

    kind: str | None = None
    """Of segmenters: dense_crf, by which label maps follow the colour edges of the image; none switches off what the
    model has. Python also takes any registered function by its name."""
    iterations: int | None = None
    """Rounds of mean field; 10."""
    pos_weight: float | None = None
    """Weight of the smoothness kernel; 3."""
    pos_xy_std: float | None = None
    """Its standard deviation in pixels of the canvas; 3."""
    bi_weight: float | None = None
    """Weight of the appearance kernel; 4."""
    bi_xy_std: float | None = None
    """Its standard deviation in pixels of the canvas; 49."""
    bi_rgb_std: float | None = None
    """Its standard deviation in colour, in units of 0..255; 5."""
    peak_threshold: float | None = None
    """Of networks that group points into people: smallest height of a peak of a heatmap; 0.1."""
    min_points: int | None = None
    """Of these: fewest points of a person; 3."""
    min_score: float | None = None
    """Of these: smallest score of a person, the mean over all parts with 0 for those not found; 0."""
