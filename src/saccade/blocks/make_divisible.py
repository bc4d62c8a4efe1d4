"""Rounding of channel counts to multiples of eight, which hardware computes fastest."""

from __future__ import annotations

__all__ = ["make_divisible"]


def make_divisible(value: float, divisor: int = 8, at_least: float = 0.9) -> int:
    """Round a number of channels to the nearest multiple of ``divisor``, but not below nine tenths of it.

    The rule by which the MobileNets and EfficientNets scale their widths (Sandler et al. 2018 and Tan and Le 2019, in
    the authors' code): rounding down by more than a tenth would remove too much of a narrow layer.

    Args:
        value: Number of channels before rounding.
        divisor: The result is a multiple of it and at least as large.
        at_least: Share of ``value`` that the result must reach; 0 in EfficientNetV2.

    Returns:
        Number of channels.

    Example:
        >>> make_divisible(32 * 0.35), make_divisible(24 * 1.4), make_divisible(11)
        (16, 32, 16)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < at_least * value else rounded
