"""Overlaps of every detection with every object: IoU of boxes and of masks.

With a crowd, the union is the detection alone (COCO: "crowd regions"), so the overlap is the share that lies in it.
Masks are only held as run lengths; faster-coco-eval's C++ makes and compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.ops.boxes_numpy import box_intersection

__all__ = ["RunLengths", "box_overlaps", "encode_masks", "mask_areas", "mask_overlaps", "to_xywh"]

Array = NDArray[Any]
RunLengths = dict[str, Any]  # COCO's compressed code: {"size": [height, width], "counts": bytes}


def to_xywh(boxes_xyxy: Array) -> NDArray[np.float64]:
    """Boxes (N, 4) by corner and sides."""
    wide = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)


def box_overlaps(found_xywh: Array, ground_truth_xywh: Array, crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of N boxes with M, operation by operation as COCO's ``bbIou``.

    Args:
        found_xywh: (N, 4) float64, pixels.
        ground_truth_xywh: (M, 4) float64, pixels.
        crowd: (M,) bool.

    Returns:
        (N, M) float64.
    """
    shared = box_intersection(_to_xyxy(found_xywh)[:, None], _to_xyxy(ground_truth_xywh))
    area = (found_xywh[:, 2] * found_xywh[:, 3])[:, None]
    union = np.where(crowd[None], area, area + (ground_truth_xywh[:, 2] * ground_truth_xywh[:, 3])[None] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def encode_masks(masks: Array) -> list[RunLengths]:
    """Run lengths of masks (N, H, W)."""
    from faster_coco_eval.core import mask as codec

    if not len(masks):
        return []
    # The codec runs down the columns of one mask after the other.
    encoded: list[RunLengths] = codec.encode(np.asfortranarray(np.asarray(masks, np.uint8).transpose(1, 2, 0)))
    return encoded


def mask_areas(masks: Sequence[RunLengths]) -> NDArray[np.float64]:
    """Pixels of each mask, (N,)."""
    from faster_coco_eval.core import mask as codec

    return np.asarray(codec.area(list(masks)), np.float64) if masks else np.zeros(0)


def mask_overlaps(
    found: Sequence[RunLengths], ground_truth: Sequence[RunLengths], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU of N masks with M of the same size, (N, M) float64."""
    from faster_coco_eval.core import mask as codec

    if not found or not ground_truth:
        return np.zeros((len(found), len(ground_truth)))
    overlaps: NDArray[np.float64] = codec.iou(list(found), list(ground_truth), crowd.astype(int).tolist())
    return overlaps


def _to_xyxy(boxes_xywh: Array) -> Array:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, 2:] + boxes_xywh[:, :2]], axis=1)
