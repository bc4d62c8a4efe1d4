"""Depthwise convolution with a fast backward pass on x86 CPUs.

torch hands convolutions there to oneDNN, which has fast kernels for every forward pass of a depthwise convolution but
not for every backward pass: the weights' gradient of a filter wider than three columns or higher than the feature map,
and in bfloat16 the input's gradient of a strided one, go to kernels for whole convolutions, with which forward and
backward pass together take two to eight times as long (docs/benchmarks.md). Here the fast kernels compute the same
gradients: a wide filter is split into groups of three columns, a low feature map is padded beforehand, and bfloat16 is
computed in float32 where it has no fast kernel. A dilated filter is the undilated one on each of the maps that lie
interleaved in the feature map, for which there are fast kernels: in bfloat16 four to seven times as fast.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DepthwiseConv2d", "depthwise_conv2d"]

_X86 = platform.machine().lower() in ("x86_64", "amd64", "x64")
_COLUMNS = 3  # as many as oneDNN's fast kernel of the weights' gradient takes


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise ``nn.Conv2d``, one filter a channel: same arguments, weights and outputs.

    Example:
        >>> DepthwiseConv2d(8, 8, 5, padding=2, groups=8)(torch.zeros(1, 8, 32, 32)).shape
        torch.Size([1, 8, 32, 32])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / stride, W / stride)."""
        # Exported and compiled graphs hold the plain convolution.
        here = self.training and _X86 and x.device.type == "cpu" and not torch.compiler.is_compiling()
        known = x.ndim == 4 and self.groups == self.out_channels and self.padding_mode == "zeros"
        if not (here and known) or isinstance(self.padding, str):
            return super().forward(x)
        autocast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        if max(self.dilation) > 1:
            slow = _can_interleave(self.stride, self.dilation) and _is_faster_interleaved(x, self.padding, dtype)
        else:
            slow = (
                self.kernel_size[1] > _COLUMNS
                or x.shape[-2] < self.kernel_size[0]
                or (max(self.stride) > 1 and dtype == torch.bfloat16)
            )
        if not slow:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        return depthwise_conv2d(x.to(dtype), self.weight.to(dtype), bias, self.stride, self.padding, self.dilation)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    """Depthwise ``F.conv2d`` whose backward pass uses kernels that are fast on x86 CPUs.

    Args:
        x: (B, C, H, W).
        weight: (C, 1, h, w), of the same type.
        bias: (C,) or None.
        stride: Vertical and horizontal, as padding and dilation are.
        padding: Zeros at every edge.
        dilation: Distance between neighbouring weights of the kernel, in cells.

    Returns:
        (B, C, H', W').

    Example:
        >>> depthwise_conv2d(torch.zeros(1, 8, 32, 32), torch.zeros(8, 1, 5, 5), None, (2, 2), (2, 2), (1, 1)).shape
        torch.Size([1, 8, 16, 16])
    """
    if _can_interleave(stride, dilation):
        return _on_interleaved_maps(x, weight, bias, padding, dilation[0])
    if max(dilation) > 1:
        return F.conv2d(x, weight, bias, stride, padding, dilation, len(weight))
    out: Tensor = _Depthwise.apply(x, weight, bias, _Geometry(stride, padding))
    return out


def _can_interleave(stride: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    return dilation[0] == dilation[1] > 1 and max(stride) == 1


def _is_faster_interleaved(x: Tensor, padding: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether a dilated filter is; in float32 AVX-512 has a fair kernel, and much padding costs more than it."""
    if dtype == torch.bfloat16 or torch.backends.cpu.get_cpu_capability() == "AVX2":
        return True
    height, width = x.shape[-2:]
    return (height + 2 * padding[0]) * (width + 2 * padding[1]) <= 2 * height * width


def _on_interleaved_maps(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], dilation: int
) -> Tensor:
    """A dilated filter never joins cells of two of the ``dilation ** 2`` maps that take every n-th row and column."""
    down, across = padding
    sizes = x.shape[2] + 2 * down, x.shape[3] + 2 * across
    more = [-size % dilation for size in sizes]  # all maps are as large
    x = F.pad(x, (across, across + more[1], down, down + more[0])).permute(0, 2, 3, 1)  # channels last
    maps = x.unflatten(2, (-1, dilation)).unflatten(1, (-1, dilation)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    out = depthwise_conv2d(maps.permute(0, 3, 1, 2), weight, bias, (1, 1), (0, 0), (1, 1)).permute(0, 2, 3, 1)
    joined = out.unflatten(0, (-1, dilation, dilation)).permute(0, 3, 1, 4, 2, 5).flatten(3, 4).flatten(1, 2)
    height, width = (size - dilation * (side - 1) for size, side in zip(sizes, weight.shape[2:], strict=True))
    return joined[:, :height, :width].contiguous().permute(0, 3, 1, 2)


class _Geometry(NamedTuple):
    stride: tuple[int, ...]
    padding: tuple[int, ...]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, geometry.stride, geometry.padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        return (
            _input_gradient(grad, x, weight, ctx.geometry) if of_x else None,
            _weight_gradient(grad, x, weight, ctx.geometry) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
        )


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    like = x
    if max(geometry.stride) > 1 and x.dtype == torch.bfloat16:
        like = torch.empty_like(x, dtype=torch.float32)  # only its shape and layout matter
        grad, weight = grad.float(), weight.float()
    return _gradients(grad, like, weight, geometry, (True, False))[0].to(x.dtype)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
    height, width = weight.shape[2:]
    if width <= _COLUMNS and x.shape[2] >= height:
        return _gradients(grad, x, weight, geometry, (False, True))[1]
    # Zeros are added above and below too, as the feature map has to be as high as the filter.
    (down, across), (_, stride) = geometry.padding, geometry.stride
    x = F.pad(x, (across, across, down, down))
    parts = []
    for first in range(0, width, _COLUMNS):
        part = weight[..., first : first + _COLUMNS]
        covered = (grad.shape[3] - 1) * stride + part.shape[3]  # columns that it touches
        columns = x[..., first : first + covered].contiguous(memory_format=torch.channels_last)
        parts.append(_gradients(grad, columns, part, geometry._replace(padding=(0, 0)), (False, True))[1])
    return torch.cat(parts, dim=3)


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of the input and of the weights, each where wanted."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *geometry, (1, 1), False, (0, 0), len(weight), (*wanted, False)
    )
    return found[:2]
