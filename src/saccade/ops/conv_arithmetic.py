"""Arithmetic of convolutions: output sizes, transposed convolutions as plain ones, gridding of dilated ones.

Sizes hold along one side; height and width are counted apart. All follow the formulas of torch's documentation, and the
tests hold them against its layers.

*A doubt of many lecture notes* is the output size of a transposed convolution. Written with stride s, padding p, kernel
k, dilation d and output padding o, it is

    H_out = (H - 1) s - 2 p + d (k - 1) + o + 1.

It is the formula of the convolution solved for its input, ``H_in = (H_out - 1) s - 2 p + d (k - 1) + 1``, and so the
smallest input that the convolution maps to H. Up to s - 1 pixels more give the same H, because the division of the
convolution rounds down; o says how many of them to restore. Formulas without d hold for d = 1 only, where ``d (k - 1) +
1`` is k; formulas that add o nowhere hold for o = 0; and p *shrinks* the output, as it names the padding of the
convolution that is transposed, not of this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from saccade.errors import ConfigError

__all__ = [
    "DilationCheck",
    "conv_output_size",
    "hdc_check",
    "insert_zeros",
    "pool_output_size",
    "transposed_as_convolution",
    "transposed_output_size",
]


def conv_output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Output size of a convolution: ``floor((H + 2 p - d (k - 1) - 1) / s) + 1``.

    Args:
        size: H, of the input.
        kernel: k.
        stride: s.
        padding: p, at each end.
        dilation: d, distance between neighbouring taps.

    Returns:
        Locations of the output; 0 where the kernel does not fit into the padded input, which torch refuses.

    Raises:
        ConfigError: If a setting is out of its range.

    Example:
        >>> conv_output_size(224, 7, stride=2, padding=3), conv_output_size(41, 3, padding=12, dilation=12)
        (112, 41)
    """
    _require(kernel=kernel, stride=stride, dilation=dilation)
    _require(0, size=size, padding=padding)
    return max(0, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)


def pool_output_size(
    size: int, kernel: int, stride: int | None = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> int:
    """Output size of a pooling layer, which may round up.

    With ``ceil_mode`` the last window may reach beyond the padded input, but torch leaves it out if it *begins* behind
    the input and the padding before it: ``(out - 1) s < H + p``. Caffe pools in this way, and so do networks whose
    weights come from it.

    Args:
        size: H, of the input.
        kernel: k.
        stride: s; the kernel's side if not given.
        padding: p, at each end.
        dilation: d, distance between neighbouring taps.
        ceil_mode: Whether the division rounds up.

    Returns:
        Windows; 0 where none fits.

    Raises:
        ConfigError: If a setting is out of its range.

    Example:
        >>> pool_output_size(112, kernel=3, stride=2), pool_output_size(112, kernel=3, stride=2, ceil_mode=True)
        (55, 56)
    """
    stride = kernel if stride is None else stride
    if not ceil_mode:
        return conv_output_size(size, kernel, stride, padding, dilation)
    _require(kernel=kernel, stride=stride, dilation=dilation)
    _require(0, size=size, padding=padding)
    windows = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    if (windows - 1) * stride >= size + padding:
        windows -= 1
    return max(0, windows)


def transposed_output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output size of a transposed convolution: ``(H - 1) s - 2 p + d (k - 1) + o + 1``.

    Args:
        size: H, of the input.
        kernel: k.
        stride: s, by which the map grows.
        padding: p, by which the output is cropped at each end.
        output_padding: o, pixels added at the far end; less than the stride or the dilation.
        dilation: d, distance between neighbouring taps.

    Returns:
        Locations of the output; 0 where the padding crops all of it.

    Raises:
        ConfigError: If a setting is out of its range.

    Example:
        >>> transposed_output_size(16, kernel=4, stride=2, padding=1), transposed_output_size(10, kernel=64, stride=32)
        (32, 352)
    """
    _require(size=size, kernel=kernel, stride=stride, dilation=dilation)
    _require(0, padding=padding, output_padding=output_padding)
    if output_padding >= max(stride, dilation):
        raise ConfigError(
            f"output_padding={output_padding} is not less than the stride ({stride}) or the dilation ({dilation}). "
            f"Give up to {max(stride, dilation) - 1}."
        )
    return max(0, (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1)


def insert_zeros(x: Tensor, stride: int) -> Tensor:
    """Put ``stride - 1`` zeros between neighbouring locations of a map, none at its ends.

    Args:
        x: (B, C, H, W).
        stride: Distance of the values in the result.

    Returns:
        (B, C, (H - 1) stride + 1, (W - 1) stride + 1).

    Example:
        >>> insert_zeros(torch.tensor([[[[1, 2], [3, 4]]]]), 2)[0, 0].tolist()
        [[1, 0, 2], [0, 0, 0], [3, 0, 4]]
    """
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, (height - 1) * stride + 1, (width - 1) * stride + 1)
    spread[:, :, ::stride, ::stride] = x
    return spread


def transposed_as_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> Tensor:
    """The plain convolution that equals a transposed one, with the arguments of ``F.conv_transpose2d``.

    Zeros between the locations of the input (``stride - 1`` of them), a border of ``d (k - 1) - p`` zeros (the output
    padding more at the far end), and a convolution of stride 1 with the kernel flipped in both directions and its
    channels swapped (Dumoulin and Visin 2016, arXiv 1603.07285, section 4). It is there to be understood: most of its
    products are with zeros.

    Args:
        x: (B, in, H, W).
        weight: (in, out / groups, k, k), as transposed convolutions hold it.
        bias: (out,).
        stride: s.
        padding: p.
        output_padding: o.
        groups: Groups of channels that do not see each other.
        dilation: d.

    Returns:
        (B, out, H', W'), sides as :func:`transposed_output_size` has them.

    Example:
        >>> x, weight = torch.randn(1, 3, 5, 5), torch.randn(3, 2, 4, 4)
        >>> transposed = F.conv_transpose2d(x, weight, stride=2, padding=1)
        >>> torch.allclose(transposed_as_convolution(x, weight, stride=2, padding=1), transposed, atol=1e-5)
        True
    """
    borders = [dilation * (side - 1) - padding for side in (weight.shape[3], weight.shape[2])]
    # A border below 0 crops.
    pads = [pad for border in borders for pad in (border, border + output_padding)]
    spread = F.pad(insert_zeros(x, stride), pads)
    flipped = weight.flip(2, 3).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return F.conv2d(spread, flipped, bias, dilation=dilation, groups=groups)


@dataclass(frozen=True, eq=False)
class DilationCheck:
    """What a row of dilated convolutions sees: of which pixels each output is made, and the rule of its paper.

    Args:
        kernel: K, side of every kernel.
        rates: r_1 ... r_n, first layer first.
        max_distances: M_1 ... M_n, largest distance between two taps with nothing between, in the order of the rates.
        counts: (S, S) float64, on how many ways each pixel of the receptive field reaches the output; 0: never.

    Example:
        >>> check = hdc_check(3, [1, 2, 3])
        >>> check.counts.shape, check.max_distances, check.grids
        ((13, 13), (1, 2, 3), False)
    """

    kernel: int
    rates: tuple[int, ...]
    max_distances: tuple[int, ...]
    counts: NDArray[np.float64]

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(S, S), pixels of the receptive field that the output depends on."""
        return self.counts > 0

    @property
    def covered_share(self) -> float:
        """Share of the receptive field that the output depends on, 0..1."""
        return float(self.covered.mean())

    @property
    def grids(self) -> bool:
        """Whether pixels inside the receptive field are never seen, decided by the pixels themselves."""
        return not bool(self.covered.all())

    @property
    def meets_rule(self) -> bool:
        """Whether M_2 <= K, the goal of the paper (of a single layer M_1 <= K); it presumes r_1 = 1."""
        return self.max_distances[min(1, len(self.rates) - 1)] <= self.kernel

    @property
    def common_factor(self) -> int:
        """Greatest common divisor of the rates; above 1 only its multiples can be reached."""
        return math.gcd(*self.rates)


def hdc_check(kernel: int, rates: Sequence[int]) -> DilationCheck:
    """Check a row of dilated convolutions for gridding (Wang et al. 2018, arXiv 1702.08502, section 3.2, equation 2).

    ``M_n = r_n`` and ``M_i = max(M_{i+1} - 2 r_i, M_{i+1} - 2 (M_{i+1} - r_i), r_i)``, with the goal ``M_2 <= K``. The
    rule says nothing about r_1, which the paper sets to 1; without a rate of 1 no row covers its field, because the
    pixel next to the corner needs one. For rising rates that begin with 1, kernels of 3 and up to four layers (rates to
    10, of four layers to 7) the rule and the pixels agree in every case, which tests repeat. Rules apart, the picture
    does not depend on the order.

    Args:
        kernel: K, side of every kernel.
        rates: r_1 ... r_n, first layer first.

    Raises:
        ConfigError: If there is no rate, or a number is below 1.

    Example:
        >>> [hdc_check(3, rates).grids for rates in ([1, 2, 3], [1, 2, 5], [2, 2, 2], [1, 2, 9])]
        [False, False, True, True]
        >>> check = hdc_check(3, [1, 2, 9])
        >>> check.max_distances, check.meets_rule
        ((3, 5, 9), False)
    """
    if not rates:
        raise ConfigError("rates is empty. Name the dilation of at least one layer, such as rates=[1, 2, 3].")
    _require(kernel=kernel, **{f"rates[{place}]": rate for place, rate in enumerate(rates)})
    distances = [rates[-1]]
    for rate in reversed(rates[:-1]):
        distances.append(max(distances[-1] - 2 * rate, distances[-1] - 2 * (distances[-1] - rate), rate))
    row = np.ones(1)
    for rate in rates:
        taps = np.zeros(rate * (kernel - 1) + 1)
        taps[::rate] = 1
        row = np.convolve(row, taps)
    # Both directions are alike and apart, so that a pixel is reached on (ways of its row) x (ways of its column).
    return DilationCheck(kernel, tuple(rates), tuple(reversed(distances)), np.outer(row, row))


def _require(least: int = 1, **settings: int) -> None:
    for name, value in settings.items():
        if isinstance(value, int) and value < least:
            raise ConfigError(f"{name}={value}; give {least} or more.")
