"""Sizes against torch's layers, transposed convolutions against plain ones, gridding against a slow search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saccade.errors import ConfigError
from saccade.ops.conv_arithmetic import (
    conv_output_size,
    hdc_check,
    pool_output_size,
    transposed_as_convolution,
    transposed_output_size,
)

SIZES, KERNELS, STRIDES, PADDINGS = st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(0, 8)
DILATIONS = st.integers(1, 4)


@settings(max_examples=200, deadline=None)
@given(SIZES, KERNELS, STRIDES, PADDINGS, DILATIONS)
def test_sizes_of_convolutions_are_those_of_torch(size: int, kernel: int, stride: int, pad: int, dilation: int) -> None:
    counted = conv_output_size(size, kernel, stride, pad, dilation)
    x, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel)
    if counted == 0:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            F.conv2d(x, weight, None, stride, pad, dilation)
    else:
        assert F.conv2d(x, weight, None, stride, pad, dilation).shape[2:] == (counted, counted)


@settings(max_examples=300, deadline=None)
@given(SIZES, KERNELS, st.none() | STRIDES, st.integers(0, 3), DILATIONS, st.booleans())
def test_sizes_of_pooling_are_those_of_torch(
    size: int, kernel: int, stride: int | None, pad: int, dilation: int, ceil_mode: bool
) -> None:
    assume(pad <= kernel // 2)
    counted = pool_output_size(size, kernel, stride, pad, dilation, ceil_mode)
    x = torch.zeros(1, 1, size, size)
    if counted == 0:
        with pytest.raises(RuntimeError, match="Output size is too small"):
            F.max_pool2d(x, kernel, stride, pad, dilation, ceil_mode)
    else:
        assert F.max_pool2d(x, kernel, stride, pad, dilation, ceil_mode).shape[2:] == (counted, counted)


def test_a_window_that_would_begin_in_the_far_padding_is_left_out() -> None:
    """Rounding up gives 3 windows, at 0, 4 and 8; the third begins where the input (7) and padding (1) have ended."""
    assert pool_output_size(7, kernel=2, stride=4, padding=1, ceil_mode=True) == 2
    assert math.ceil((7 + 2 - 2) / 4) + 1 == 3


@settings(max_examples=200, deadline=None)
@given(SIZES, KERNELS, STRIDES, PADDINGS, st.integers(0, 4), DILATIONS)
def test_sizes_of_transposed_convolutions_are_those_of_torch(
    size: int, kernel: int, stride: int, pad: int, output_pad: int, dilation: int
) -> None:
    x, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel)
    arguments = (None, stride, pad, output_pad, 1, dilation)
    if output_pad >= max(stride, dilation):
        with pytest.raises(ConfigError, match="output_padding"):
            transposed_output_size(size, kernel, stride, pad, output_pad, dilation)
        with pytest.raises(RuntimeError, match="output padding must be smaller"):
            F.conv_transpose2d(x, weight, *arguments)
        return
    counted = transposed_output_size(size, kernel, stride, pad, output_pad, dilation)
    try:
        shape = tuple(F.conv_transpose2d(x, weight, *arguments).shape[2:])
    except RuntimeError:
        assert counted == 0  # cropped away, and more
    else:
        assert shape == (counted, counted)


@settings(max_examples=100, deadline=None)
@given(SIZES, KERNELS, STRIDES, st.integers(0, 3), DILATIONS)
def test_a_transposed_convolution_restores_the_size_that_was_convolved(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    """With the output padding that the division lost; without it, the smallest size of that output."""
    small = conv_output_size(size, kernel, stride, pad, dilation)
    assume(small > 0)
    lost = (size + 2 * pad - dilation * (kernel - 1) - 1) % stride
    assert transposed_output_size(small, kernel, stride, pad, lost, dilation) == size
    smallest = transposed_output_size(small, kernel, stride, pad, 0, dilation)
    assert smallest == max(0, size - lost)
    assert smallest == 0 or conv_output_size(smallest, kernel, stride, pad, dilation) == small


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    STRIDES,
    st.integers(0, 6),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_a_transposed_convolution_is_a_plain_one(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    pad: int,
    output_pad: int,
    groups: int,
    dilation: int,
) -> None:
    assume(output_pad < max(stride, dilation))
    sides = [
        transposed_output_size(side, taps, stride, pad, output_pad, dilation)
        for side, taps in zip(size, kernel, strict=True)
    ]
    assume(min(sides) > 0)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 2 * groups, *size).double(), torch.randn(2 * groups, 3, *kernel).double()
    bias = torch.randn(3 * groups).double()
    arguments = (bias, stride, pad, output_pad, groups, dilation)
    plain = transposed_as_convolution(x, weight, *arguments)
    assert list(plain.shape[2:]) == sides
    torch.testing.assert_close(plain, F.conv_transpose2d(x, weight, *arguments), rtol=0, atol=1e-6)


def test_one_transposed_layer_in_float32_is_equal_to_a_millionth() -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)
    x = torch.rand(1, 4, 9, 7)
    plain = transposed_as_convolution(x, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(plain, layer(x), rtol=0, atol=1e-6)


def _searched(kernel: int, rates: tuple[int, ...]) -> set[int]:
    """Offsets along a side that sums of taps reach, found by trying all of them."""
    return {sum(taps) for taps in itertools.product(*[[rate * tap for tap in range(kernel)] for rate in rates])}


LISTS = [
    rates
    for layers, most in ((1, 10), (2, 10), (3, 10), (4, 7))
    for rates in itertools.combinations_with_replacement(range(1, most + 1), layers)
]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_covered_pixels_are_those_that_a_search_finds(kernel: int) -> None:
    for rates in LISTS[::3]:
        check = hdc_check(kernel, rates)
        reached = np.zeros(len(check.counts), bool)
        reached[list(_searched(kernel, rates))] = True
        assert np.array_equal(check.covered, np.outer(reached, reached))
        assert check.counts.sum() == kernel ** (2 * len(rates))


def test_the_picture_is_the_gradient_of_dilated_layers() -> None:
    check = hdc_check(3, [1, 2, 3])
    x = torch.zeros(1, 1, 13, 13, dtype=torch.float64, requires_grad=True)
    out, ones = x, torch.ones(1, 1, 3, 3, dtype=torch.float64)
    for rate in (1, 2, 3):
        out = F.conv2d(out, ones, dilation=rate)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert np.array_equal(gradient[0, 0].numpy(), check.counts)


@pytest.mark.parametrize(
    ("rates", "distances", "grids"),
    [
        ((1, 2, 3), (1, 2, 3), False),
        ((1, 2, 5), (1, 2, 5), False),
        ((2, 2, 2), (2, 2, 2), True),
        ((1, 2, 9), (3, 5, 9), True),
    ],
)
def test_the_examples_of_the_paper(rates: tuple[int, ...], distances: tuple[int, ...], grids: bool) -> None:
    check = hdc_check(3, rates)
    assert check.max_distances == distances
    assert check.grids is grids


def test_rule_and_pixels_agree_for_rising_rates_from_one() -> None:
    """Kernels of 3. M_1 = 1 says the same as "begins with 1, and M_2 <= K"."""
    verdicts = set()
    for rates in LISTS:
        check = hdc_check(3, rates)
        if len(rates) > 1:
            assert check.grids is not (rates[0] == 1 and check.meets_rule), rates
        assert check.grids is (check.max_distances[0] > 1), rates
        verdicts.add((check.grids, check.meets_rule))
    assert verdicts == {(False, True), (True, True), (True, False)}


def test_where_rule_and_pixels_differ() -> None:
    assert hdc_check(3, [2, 2, 2]).meets_rule  # the rule does not look at the first rate
    assert hdc_check(3, [2, 2, 2]).grids
    assert hdc_check(2, [1, 1, 4]).meets_rule  # kernels of 2 reach half as far as the rule has it
    assert hdc_check(2, [1, 1, 4]).grids
    assert not hdc_check(5, [1, 1, 8]).meets_rule  # kernels of 5 reach further
    assert not hdc_check(5, [1, 1, 8]).grids
    assert not hdc_check(3, [1, 4, 2]).meets_rule  # the rule is for rising rates
    assert not hdc_check(3, [1, 4, 2]).grids


def test_a_common_factor_of_all_rates_matters_and_one_of_some_does_not() -> None:
    for rates in LISTS:
        check = hdc_check(3, rates)
        factor = check.common_factor
        if factor > 1:
            places = np.flatnonzero(check.covered[0])
            assert check.grids
            assert not (places % factor).any(), "all that is reached are multiples of the factor"
            assert check.covered.sum() <= (places[-1] // factor + 1) ** 2
        elif 1 not in rates:
            # Without a rate of 1 nothing reaches the pixel beside the corner.
            assert check.grids
            assert not check.covered[0, 1]
    assert hdc_check(3, [1, 2, 4]).common_factor == 1  # 2 and 4 have one, 1, 2 and 4 have none
    assert not hdc_check(3, [1, 2, 4]).grids
    assert hdc_check(3, [2, 4, 8]).grids


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hdc_check(3, []), "rates is empty"),
        (lambda: hdc_check(3, [1, 0]), r"rates\[1\]=0; give 1 or more"),
        (lambda: hdc_check(0, [1]), "kernel=0"),
        (lambda: conv_output_size(8, 3, stride=0), "stride=0"),
        (lambda: pool_output_size(8, 3, padding=-1, ceil_mode=True), "padding=-1; give 0 or more"),
        (lambda: transposed_output_size(8, 3, stride=2, output_padding=2), "Give up to 1"),
    ],
)
def test_what_cannot_be_counted_is_named(call: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()  # type: ignore[operator]
