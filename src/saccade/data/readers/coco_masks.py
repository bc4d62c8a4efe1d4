"""Outlines of COCO objects to masks: polygons and run-length codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_outline"]


def decode_outline(outline: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Mask of one object.

    Args:
        outline: List of polygons (x, y, x, y, ...), or ``{"size": [H, W], "counts": runs}``, runs plain or compressed.
        height: Of the picture, pixels.
        width: Of the picture, pixels.

    Returns:
        (H, W) uint8 of 0 and 1.

    Raises:
        TypeError, KeyError, ValueError: If the outline is malformed. It is checked here, because the decoder of
            polygons underneath trusts its input.
    """
    if not outline:
        return np.zeros((height, width), np.uint8)
    if isinstance(outline, list):
        limit = 10 * max(height, width)
        for polygon in outline:
            if (
                len(polygon) < 6
                or len(polygon) % 2
                or not all(math.isfinite(value) and abs(value) <= limit for value in polygon)
            ):
                raise ValueError("a polygon needs three or more finite points near the picture")
        from faster_coco_eval.core import mask as codec

        return codec.decode(codec.merge(codec.frPyObjects(outline, height, width)))
    if list(outline["size"]) != [height, width]:
        raise ValueError(f"size is {outline['size']}, the picture is {[height, width]}")
    counts = outline["counts"] if isinstance(outline["counts"], list) else _decompress(outline["counts"])
    if min(counts, default=-1) < 0 or sum(counts) != height * width:
        raise ValueError(f"runs sum to {sum(counts)}, not to {height * width}")
    # Runs alternate between 0 and 1, down the columns.
    flat = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    return flat.reshape(width, height).T


def _decompress(text: str) -> list[int]:
    """Runs of COCO's compressed code.

    A character holds five bits, counted from '0', and in its sixth bit whether more follow; from the fourth run on a
    number is the difference to the run two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode():
        code = character - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("the run-length code has a strange character")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
