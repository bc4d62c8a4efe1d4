"""What becomes of the objects of a data set on a network's canvas, by size: lost, owned by an anchor or point, or not.

Remedies are tried out, not guessed: larger canvases, and anchors of other sizes, over the objects that need them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.data.transforms.move import clip_objects
from saccade.models.base import Model
from saccade.models.detection.base import Detector
from saccade.models.registry import get_builder
from saccade.ops.iou import pairwise_iou
from saccade.structures.sample import Sample, Target

__all__ = ["ObjectFit", "assignable", "best_iou"]

# COCO's bounds of small and medium objects: root of the area, pixels of the original.
_SIZES = (("small (below 32 pixels)", 32.0), ("medium (32 to 96)", 96.0), ("large (96 and more)", np.inf))
_CANVASES = (1.5, 2.0)  # times the network's own
_ANCHORS = (0.71, 0.5, 0.35, 0.25, 1.41, 2.0, 2.83, 4.0)  # times their sides, steps of half an octave
_TRIED = 30  # images over which remedies are tried
_LISTED = 10
_BADLY = 0.5  # share of objects that no anchor fits, above which the anchors are at fault
_ANCHOR_OPTIONS = ("anchor_size", "scales")  # of builders
_CHUNK = 64  # boxes that are compared with all anchors at a time


@dataclass(frozen=True)
class _Crowd:
    """Objects of one image on its canvas, and which of them are no anchor's, or badly fitted."""

    canvas: NDArray[Any]  # (N, 4), not clipped
    size: tuple[int, int]
    unowned: NDArray[np.bool_]
    below: NDArray[np.bool_]


class ObjectFit:
    """Account of the objects of a data set on the canvas, by their size in the original.

    Args:
        model: The network.

    Attributes:
        crowds: Objects that are neither found nor missed: crowds, and those marked difficult.
        unowned: The first objects that no anchor or point can be positive for: file and box.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.data.loading.pipeline import EvalPipeline, SampleKey
        >>> model = saccade.create_model("yolox_nano", num_classes=10)
        >>> fit = ObjectFit(model)
        >>> fit.add(EvalPipeline(DigitScenes("detection", "val"), model.input_spec)[SampleKey(0, 0)])
        >>> fit.count == sum(row["objects"] for row in fit.rows()), fit.reasons()
        (True, [])
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.stride = min(model.feature_strides, default=0)
        self.crowds = 0
        self.unowned: list[str] = []
        self._sides: list[NDArray[np.float64]] = []
        self._kept: list[NDArray[np.bool_]] = []
        self._below_stride: list[NDArray[np.bool_]] = []
        self._positive: list[NDArray[np.bool_]] = []
        self._overlaps: list[NDArray[np.float32]] = []
        self._copies = 0
        self._to_try: list[_Crowd] = []
        self._assigns_boxes = True

    def add(self, sample: Sample) -> None:
        """Take the boxes of one image, of the evaluation pipeline."""
        original = sample.original
        assert original is not None, "the evaluation pipeline keeps the ground truth in original pixels"
        if "boxes" not in original:
            return
        no_target = np.zeros(len(original["boxes"]), np.bool_)
        for key in ("iscrowd", "difficult"):
            if key in original:
                no_target |= original[key].astype(bool)
        self.crowds += int(no_target.sum())
        boxes = original["boxes"][~no_target]
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes = boxes[sound]
        canvas = sample.info.geometry.map_boxes(boxes)
        clipped, rows = _visible(canvas, sample.size)
        kept = np.zeros(len(boxes), np.bool_)
        kept[rows] = True
        positive, overlaps = kept.copy(), np.full(len(boxes), np.nan, np.float32)
        found = assignable(self.model, clipped, sample.size)
        anchors = self.model.anchors(sample.size) if isinstance(self.model, Detector) else None
        if found is None:
            self._assigns_boxes = False
        else:
            positive[rows] = found.numpy()
        if anchors is not None:
            overlaps[rows] = best_iou(clipped, anchors).numpy()
        self._sides.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))
        self._kept.append(kept)
        self._below_stride.append((canvas[:, 2:] - canvas[:, :2]).min(axis=1, initial=np.inf) < self.stride)
        self._positive.append(positive)
        self._overlaps.append(overlaps)
        self._keep_for_remedies(sample, boxes, canvas, kept & ~positive, overlaps < (self._threshold or 0.0))

    def _keep_for_remedies(
        self,
        sample: Sample,
        boxes: NDArray[Any],
        canvas: NDArray[Any],
        unowned: NDArray[np.bool_],
        below: NDArray[np.bool_],
    ) -> None:
        for row in np.flatnonzero(unowned).tolist():
            same = (boxes == boxes[row]).all(axis=1)
            self._copies += bool(same.sum() > 1)
            if len(self.unowned) < _LISTED:
                corners = ", ".join(f"{value:g}" for value in np.round(boxes[row], 1).tolist())
                self.unowned.append(f"{sample.info.path}: box {corners} can have no positive")
        if (unowned.any() or below.any()) and len(self._to_try) < _TRIED:
            self._to_try.append(_Crowd(canvas, sample.size, unowned, below))

    @property
    def _threshold(self) -> float | None:
        return self.model.positive_iou if isinstance(self.model, Detector) else None

    @property
    def count(self) -> int:
        """Objects that could be found."""
        return sum(len(sides) for sides in self._sides)

    @property
    def lost(self) -> int:
        """Objects that the resize rule leaves too little of."""
        return sum(int((~kept).sum()) for kept in self._kept)

    @property
    def has_boxes(self) -> bool:
        """Whether the ground truth has boxes at all."""
        return bool(self._sides)

    def rows(self) -> list[dict[str, Any]]:
        """One row a size that occurs."""
        if not self._sides:
            return []
        kept, below = np.concatenate(self._kept), np.concatenate(self._below_stride)
        positive, overlaps = np.concatenate(self._positive), np.concatenate(self._overlaps)
        rows = []
        for name, chosen in self._by_size():
            row: dict[str, Any] = {
                "size": name,
                "objects": int(chosen.sum()),
                "lost by the resize rule": int((~kept & chosen).sum()),
            }
            if self.stride:
                row[f"below the stride of {self.stride}"] = int((below & chosen).sum())
            if self._assigns_boxes:
                row["assignable"] = int((positive & chosen).sum())
                row["best possible recall"] = float(positive[chosen].mean())
            measured = overlaps[chosen & ~np.isnan(overlaps)]
            if self._threshold is not None and len(measured):
                row["median IoU of the best anchor"] = float(np.median(measured))
                row[f"best anchor below {self._threshold:g}"] = float((measured < self._threshold).mean())
            rows.append(row)
        return rows

    def _by_size(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Names of the sizes that occur, and their objects."""
        sides, low, chosen = np.concatenate(self._sides), 0.0, []
        for name, high in _SIZES:
            here = (sides >= low) & (sides < high)
            low = high
            if here.any():
                chosen.append((name, here))
        return chosen

    def reasons(self) -> list[str]:
        """Objects that nothing can be positive for, and anchors that fit badly, each with what would help."""
        reasons = []
        unowned = np.concatenate([np.zeros(0, np.bool_), *self._kept]) & ~np.concatenate(
            [np.zeros(0, np.bool_), *self._positive]
        )
        if self._assigns_boxes and unowned.any():
            by_size = [
                f"{name.split()[0]} {int((unowned & here).sum())}"
                for name, here in self._by_size()
                if unowned[here].any()
            ]
            total = int(unowned.sum())
            reasons.append(
                f"{total} of {self.count} objects ({100 * total / self.count:.1f} %; {', '.join(by_size)}) can have no "
                f"positive: they are never learnt. {self._remedy_for_unowned()}"
            )
        overlaps = np.concatenate([np.zeros(0, np.float32), *self._overlaps])
        overlaps = overlaps[~np.isnan(overlaps)]
        if self._threshold is not None and len(overlaps) and (overlaps < self._threshold).mean() > _BADLY:
            reasons.append(
                f"the anchors do not fit the objects: for {100 * (overlaps < self._threshold).mean():.0f} % the best "
                f"anchor overlaps by less than {self._threshold:g} (median {np.median(overlaps):.2f}). "
                f"{self._remedy_for_anchors()}"
            )
        return reasons

    def _remedy_for_unowned(self) -> str:
        tried = sum(int(crowd.unowned.sum()) for crowd in self._to_try)
        parts = []
        canvases = {} if self.model.input_spec.fixed else {factor: self._gained(factor) for factor in _CANVASES}
        factor, gained = _best(canvases)
        if gained:
            denser = "" if self._threshold is not None else ", as does a stride smaller by that factor"
            parts.append(
                f"A canvas {factor:g} times as large{self._canvas_option(factor)} helps {gained} of {tried}{denser}"
            )
        factor, fitted = _best({factor: self._fitted("unowned", anchors=factor) for factor in _ANCHORS})
        if fitted:
            parts.append(f"anchors {factor:g} times as large{self._anchor_option(factor)} help {fitted} of {tried}")
        if self._copies:
            parts.append(
                f"{self._copies} are exact copies of another object: leave them out (saccade check names them)"
            )
        if not gained and not fitted:
            rest = "no canvas up to twice as large" + ("" if self._threshold is None else " and no size of anchors")
            parts.append(
                f"{rest} helps any of {tried}. Cut the images into tiles, or take a network with a finer stride"
            )
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def _remedy_for_anchors(self) -> str:
        tried = sum(int(crowd.below.sum()) for crowd in self._to_try)
        parts = []
        factor, fitted = _best({factor: self._fitted("below", anchors=factor) for factor in _ANCHORS})
        if fitted:
            parts.append(f"anchors {factor:g} times as large{self._anchor_option(factor)} fit {fitted} of {tried}")
        if not self.model.input_spec.fixed:
            factor, fitted = _best({factor: self._fitted("below", canvas=factor) for factor in _CANVASES})
            if fitted:
                parts.append(
                    f"with a canvas {factor:g} times as large{self._canvas_option(factor)} {fitted} of {tried} fit"
                )
        text = "; ".join(parts) or (
            f"no other size of the same shapes fits any of {tried} tried: their aspect ratios are not those of the "
            "anchors. Take a detector without anchors"
        )
        return f"{text[0].upper()}{text[1:]}."

    def _gained(self, factor: float) -> int:
        """Objects without a positive that would have one on a canvas ``factor`` times as large."""
        gained = 0
        for crowd in self._to_try:
            size = self._enlarged(crowd.size, factor)
            clipped, rows = _visible(crowd.canvas * factor, size)
            found = assignable(self.model, clipped, size)
            if found is not None:
                gained += int(crowd.unowned[rows[found.numpy()]].sum())
        return gained

    def _fitted(self, which: str, anchors: float = 1.0, canvas: float = 1.0) -> int:
        """Objects (``unowned`` or ``below``) that other anchors, or those of another canvas, would be positive for."""
        fitted = 0
        for crowd in self._to_try:
            size = self._enlarged(crowd.size, canvas)
            own = self.model.anchors(size) if isinstance(self.model, Detector) else None
            if own is None or self._threshold is None:
                return 0
            centres, half = (own[:, :2] + own[:, 2:]) / 2, (own[:, 2:] - own[:, :2]) / 2 * anchors
            clipped, rows = _visible(crowd.canvas * canvas, size)
            chosen = torch.from_numpy(getattr(crowd, which)[rows])
            overlaps = best_iou(clipped[chosen], torch.cat((centres - half, centres + half), dim=1))
            fitted += int((overlaps >= self._threshold).sum())
        return fitted

    def _enlarged(self, size: tuple[int, int], factor: float) -> tuple[int, int]:
        multiple = self.model.input_spec.pad_multiple
        height, width = (math.ceil(side * factor / multiple) * multiple for side in size)
        return height, width

    def _canvas_option(self, factor: float) -> str:
        height, width = self._enlarged(self.model.input_spec.size, factor)
        return f" (--data.size {height} {width})"

    def _anchor_option(self, factor: float) -> str:
        """The option of the builder that scales its anchors, where it has one."""
        name = self.model.builder_name
        known = get_builder(name).parameters if name else {}
        for option in _ANCHOR_OPTIONS:
            if option in known:
                value = self.model.builder_args.get(option, known[option].default)
                values = [value] if isinstance(value, int | float) else value
                whole = isinstance(value, int)
                scaled = " ".join(str(round(one * factor) if whole else round(one * factor, 3)) for one in values)
                return f" (--model-args.{option} {scaled})"
        return ""


def assignable(model: Model, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Mask of the objects that a network could assign a positive to, by its :meth:`Detector.assignable`.

    Args:
        model: The network.
        boxes_xyxy: Objects of one image, (N, 4), pixels of the canvas.
        size: Canvas (height, width).

    Returns:
        (N,) bool; None for a network that assigns nothing to boxes.

    Example:
        >>> boxes = torch.tensor([[10.0, 10, 60, 60], [5, 5, 6, 6]])
        >>> assignable(saccade.create_model("yolox_nano"), boxes, (64, 64))
        tensor([True, True])
        >>> assignable(saccade.create_model("lenet5"), boxes, (64, 64)) is None
        True
    """
    return model.assignable(boxes_xyxy, size) if isinstance(model, Detector) else None


def best_iou(boxes_xyxy: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """Overlap of each object with the anchor that fits it best.

    Args:
        boxes_xyxy: (N, 4), pixels.
        anchors_xyxy: (A, 4), pixels.

    Returns:
        (N,), 0..1.

    Example:
        >>> anchors = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]])
        >>> best_iou(torch.tensor([[8.0, 0, 16, 4], [40, 40, 50, 50]]), anchors)
        tensor([0.5000, 0.0000])
    """
    if not len(anchors_xyxy):
        return boxes_xyxy.new_zeros(len(boxes_xyxy))
    chunks = [pairwise_iou(chunk, anchors_xyxy).amax(dim=1) for chunk in boxes_xyxy.split(_CHUNK)]
    return torch.cat(chunks) if chunks else boxes_xyxy.new_zeros(0)


def _visible(canvas: NDArray[Any], size: tuple[int, int]) -> tuple[Tensor, NDArray[np.int64]]:
    """Boxes of which enough is on the canvas, clipped to it, and their rows."""
    numbered: Target = {"boxes": canvas, "labels": np.arange(len(canvas))}
    left = clip_objects(numbered, (0, 0, size[1], size[0]))
    return torch.from_numpy(left["boxes"]).float(), left["labels"]


def _best(gains: dict[float, int]) -> tuple[float, int]:
    """The factor with the largest gain, and of equal ones the first."""
    factor = max(gains, key=lambda factor: gains[factor], default=1.0)
    return factor, gains.get(factor, 0)
