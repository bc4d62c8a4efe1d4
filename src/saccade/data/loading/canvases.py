"""Canvases of multi-scale training: every multiple of the network's stride in a range around the usual one."""

from __future__ import annotations

from saccade.structures.input_spec import InputSpec

__all__ = ["scaled_canvases"]


def scaled_canvases(
    spec: InputSpec, size: tuple[int, int] | None, factors: tuple[float, float]
) -> tuple[tuple[int, int], ...]:
    """Canvases between two factors of the usual one, of its shape as far as multiples of the stride allow.

    Args:
        spec: Of the network.
        size: Canvas (height, width) that the factors are of; the network's own if None.
        factors: Smallest and largest.

    Returns:
        (height, width), rising; at least the smallest.

    Example:
        >>> spec = InputSpec((256, 320), resize="letterbox", pad_multiple=32)
        >>> scaled_canvases(spec, None, (0.8, 1.2))
        ((224, 256), (256, 288), (256, 320), (288, 352), (320, 384))
    """
    height, width = spec.size if size is None else size
    multiple, longer = spec.pad_multiple, max(height, width)
    first, last = (round(factor * longer / multiple) for factor in factors)
    found = []
    for side in range(max(first, 1), max(last, first, 1) + 1):
        gain = side * multiple / longer
        canvas = (max(round(height * gain), 1), max(round(width * gain), 1))
        found.append(spec.with_size(canvas).size)
    return tuple(dict.fromkeys(found))
