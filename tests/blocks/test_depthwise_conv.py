from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from saccade.blocks import depthwise_conv
from saccade.blocks.depthwise_conv import DepthwiseConv2d, depthwise_conv2d

# kernel, stride, padding, dilation, side
GEOMETRIES = [
    (3, 2, 1, 1, 9), (5, 1, 2, 1, 8), (5, 2, 2, 1, 9), (7, 1, 3, 1, 8), (7, 2, 3, 1, 11), (5, 1, 4, 2, 10),
    (4, 1, 0, 1, 7), (5, 3, 1, 1, 12), (3, 1, 1, 1, 2), (7, 1, 3, 1, 4), (5, 2, 2, 1, 1), (5, 2, 4, 2, 11),
    (3, 1, 2, 2, 9), (5, 1, 0, 3, 17), (3, 1, 12, 12, 7), (3, 1, 1, 4, 10),
]  # fmt: skip


def _learns(layer: nn.Module, x: Tensor, direction: Tensor) -> list[Tensor]:
    """Output, and the gradients of the input and of every parameter."""
    x = x.clone().requires_grad_()
    out = layer(x)
    gradients = torch.autograd.grad((out * direction).sum(), [x, *layer.parameters()])
    return [out, *gradients]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "side"), GEOMETRIES)
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_the_plain_convolution(
    kernel: int, stride: int, padding: int, dilation: int, side: int, bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, dilation, groups=6, bias=bias).double()
    own = DepthwiseConv2d(6, 6, kernel, stride, padding, dilation, groups=6, bias=bias).double()
    own.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, side, side + 2, dtype=torch.float64)
    direction = torch.randn_like(plain(x))
    for found, expected in zip(_learns(own, x, direction), _learns(plain, x, direction), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kernel", "padding", "dilation", "side"), [(3, 2, 2, 9), (5, 0, 3, 17), (3, 12, 12, 7)])
def test_a_dilated_filter_on_interleaved_maps(kernel: int, padding: int, dilation: int, side: int) -> None:
    """Whether or not this processor takes that way."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, side, side + 3).double(), torch.randn(4, 1, kernel, kernel).double()
    found = depthwise_conv2d(x, weight, None, (1, 1), (padding, padding), (dilation, dilation))
    expected = nn.functional.conv2d(x, weight, None, 1, padding, dilation, 4)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 1, 2), (5, 1, 4)]
)
def test_gradients_under_autocast(kernel: int, stride: int, dilation: int) -> None:
    """As close to float32's as bfloat16's own."""
    torch.manual_seed(0)
    padding = kernel // 2 * dilation
    plain = nn.Conv2d(16, 16, kernel, stride, padding, dilation, groups=16)
    own = DepthwiseConv2d(16, 16, kernel, stride, padding, dilation, groups=16)
    own.load_state_dict(plain.state_dict())
    x = torch.randn(4, 16, 12, 12).contiguous(memory_format=torch.channels_last)
    direction = torch.randn_like(plain(x))
    exact = _learns(plain, x, direction)
    with torch.autocast("cpu", torch.bfloat16):
        found, rounded = _learns(own, x, direction), _learns(plain, x, direction)
    for mine, theirs, right in zip(found, rounded, exact, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine - right).norm() <= 1.5 * (theirs - right).norm() + 1e-3 * right.norm()


def test_gradients_of_gradients() -> None:
    """Gradient penalties need them."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return depthwise_conv2d(x, weight, bias, (2, 1), (2, 1), (1, 1))

    assert torch.autograd.gradcheck(convolve, (x, weight, bias))
    assert torch.autograd.gradgradcheck(convolve, (x, weight, bias))


def test_own_backward_pass_is_taken_only_where_the_plain_one_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    original = depthwise_conv.depthwise_conv2d

    def counting(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        taken.append(weight.shape[3])
        return original(x, weight, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(depthwise_conv, "depthwise_conv2d", counting)
    monkeypatch.setattr(depthwise_conv, "_X86", True)
    x = torch.randn(1, 4, 8, 8)
    wide, strided = DepthwiseConv2d(4, 4, 5, padding=2, groups=4), DepthwiseConv2d(4, 4, 3, 2, 1, groups=4)
    wide(x), strided(x)
    assert taken == [5]
    strided(x[:, :, :2])
    assert taken.pop() == 3
    with torch.autocast("cpu", torch.bfloat16):
        strided(x)
        DepthwiseConv2d(4, 4, 3, padding=9, dilation=9, groups=4)(x)
    assert taken == [5, 3, 3, 3]  # the filter itself once more, on the interleaved maps
    del taken[2:]
    DepthwiseConv2d(4, 4, 5, 2, 4, dilation=2, groups=4)(x)  # no fast kernel
    copy.deepcopy(wide).eval()(x)
    monkeypatch.setattr(depthwise_conv, "_X86", False)
    wide(x)
    assert taken == [5, 3]


def test_weights_are_named_as_those_of_the_plain_layer() -> None:
    layer, plain = DepthwiseConv2d(4, 4, 5, groups=4), nn.Conv2d(4, 4, 5, groups=4)
    file = io.BytesIO()
    torch.save(plain.state_dict(), file)
    file.seek(0)
    layer.load_state_dict(torch.load(file))
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize(
    "options", [{"padding": "same", "groups": 4}, {"padding": 2, "groups": 4, "padding_mode": "reflect"}, {"groups": 2}]
)
def test_other_arguments_are_the_plain_layers(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer, plain = DepthwiseConv2d(4, 4, 5, **options), nn.Conv2d(4, 4, 5, **options)  # type: ignore[arg-type]
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(layer(x[0]), plain(x[0]))
