"""IoU of every detection with every object, of boxes and of masks.

With a crowd, the union is the detection alone (COCO: "crowd regions"), so the overlap is the share that lies in it.
Masks are only held as run lengths, which faster-coco-eval's C++ encodes and compares.
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
    """Convert boxes from corners to top left corner and size, float64.

    Args:
        boxes_xyxy: (N, 4).

    Returns:
        (N, 4).

    Example:
        >>> to_xywh(np.array([[2, 3, 8, 5]]))
        array([[2., 3., 6., 2.]])
    """
    wide = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)


def box_overlaps(found_xywh: Array, ground_truth_xywh: Array, crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the IoU of N boxes with M, operation by operation as COCO's ``bbIou``.

    Args:
        found_xywh: (N, 4) float64, pixels.
        ground_truth_xywh: (M, 4) float64, pixels.
        crowd: (M,) bool.

    Returns:
        (N, M) float64.

    Example:
        >>> objects = np.array([[0, 0, 20, 10], [5, 0, 95, 90.0]])
        >>> box_overlaps(np.array([[10, 0, 10, 10.0]]), objects, crowd=np.array([False, True]))
        array([[0.5, 1. ]])
    """
    shared = box_intersection(_to_xyxy(found_xywh)[:, None], _to_xyxy(ground_truth_xywh))
    area = (found_xywh[:, 2] * found_xywh[:, 3])[:, None]
    union = np.where(crowd[None], area, area + (ground_truth_xywh[:, 2] * ground_truth_xywh[:, 3])[None] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def encode_masks(masks: Array) -> list[RunLengths]:
    """Encode masks (N, H, W) as run lengths.

    Example:
        >>> encode_masks(np.ones((1, 2, 3), bool))
        [{'size': [2, 3], 'counts': b'06'}]
    """
    from faster_coco_eval.core import mask as codec

    if not len(masks):
        return []
    # The codec runs down the columns of one mask after the other.
    encoded: list[RunLengths] = codec.encode(np.asfortranarray(np.asarray(masks, np.uint8).transpose(1, 2, 0)))
    return encoded


def mask_areas(masks: Sequence[RunLengths]) -> NDArray[np.float64]:
    """Count the pixels of each mask, (N,).

    Example:
        >>> mask_areas(encode_masks(np.eye(5)[None]))
        array([5.])
    """
    from faster_coco_eval.core import mask as codec

    return np.asarray(codec.area(list(masks)), np.float64) if masks else np.zeros(0)


def mask_overlaps(
    found: Sequence[RunLengths], ground_truth: Sequence[RunLengths], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compute the IoU of N masks with M of the same size.

    Args:
        found: N masks.
        ground_truth: M masks.
        crowd: (M,) bool.

    Returns:
        (N, M) float64.

    Example:
        >>> upper, all_of_it = encode_masks(np.array([[[1, 1], [0, 0]], [[1, 1], [1, 1]]]))
        >>> mask_overlaps([upper], [all_of_it], crowd=np.array([False]))
        array([[0.5]])
    """
    from faster_coco_eval.core import mask as codec

    if not found or not ground_truth:
        return np.zeros((len(found), len(ground_truth)))
    overlaps: NDArray[np.float64] = codec.iou(list(found), list(ground_truth), crowd.astype(int).tolist())
    return overlaps


def _to_xyxy(boxes_xywh: Array) -> Array:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, 2:] + boxes_xywh[:, :2]], axis=1)
