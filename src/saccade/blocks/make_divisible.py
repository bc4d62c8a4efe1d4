"""Channel counts that hardware likes: multiples of eight."""

from __future__ import annotations

__all__ = ["make_divisible"]


def make_divisible(value: float, divisor: int = 8, at_least: float = 0.9) -> int:
    """The multiple of ``divisor`` nearest to ``value``, but never below nine tenths of it.

    The rule with which the MobileNets and EfficientNets scale their widths (Sandler et al. 2018 and Tan and Le 2019,
    in the authors' code): rounding down by more than a tenth would take away too much of a narrow layer.

    Args:
        value: Wanted number of channels.
        divisor: What the result is a multiple of; also its smallest value.
        at_least: Share of ``value`` that the result has to have; EfficientNetV2 asks for none.

    Example:
        >>> make_divisible(32 * 0.35), make_divisible(24 * 1.4), make_divisible(11)
        (16, 32, 16)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < at_least * value else rounded
