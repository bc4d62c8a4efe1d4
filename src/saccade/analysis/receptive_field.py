"""Receptive fields of the stages of a network, computed from the operations that run on the ``meta`` device.

Every tensor carries its field: the side of the square of input pixels that one of its locations depends on, and the
stride in pixels between neighbouring locations. A kernel of size k and dilation d adds (k - 1) d strides to the side,
and the stride of an operation multiplies that of the field (Araujo, Norris, Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019, equations 1 and 2). Where branches meet, the larger field counts. A gate
that weights whole channels (squeeze-and-excitation) depends on the whole image but is the same at every location; it is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Field", "FieldTracer"]


class Field(NamedTuple):
    """Receptive field of a feature map: side of the square of pixels that a location depends on, and stride.

    Args:
        side: Of the square of input pixels; infinite for the whole image.
        stride: Pixels between neighbouring locations.

    Example:
        >>> Field(side=11.0, stride=4.0).stride
        4.0
    """

    side: float
    stride: float


class FieldTracer(TorchDispatchMode):
    """Context that follows the receptive fields of all tensors computed from ``images``.

    Args:
        images: (B, C, H, W); a location of it is a pixel.

    Attributes:
        window: Side in tokens of the windows that attention is confined to at the moment; None for global attention.
            The caller that runs the network sets it.

    Example:
        >>> layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, stride=2), torch.nn.MaxPool2d(3, stride=2)).to("meta")
        >>> images = torch.empty(1, 3, 64, 64, device="meta")
        >>> with torch.no_grad(), FieldTracer(images) as tracer:
        ...     tracer.of(layers(images))
        Field(side=11.0, stride=4.0)
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._fields[images] = Field(1.0, 1.0)
        self._sliced_once: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.window: int | None = None

    def of(self, tensor: Tensor) -> Field | None:
        """Receptive field of a tensor; None if it does not depend on the images."""
        field: Field | None = self._fields.get(tensor)
        return field

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf in self._fields]
        if not inputs:
            return result
        name = func.__name__.partition(".")[0]
        rule = _RULES.get(name)
        for output in (leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            if name == "slice" and len(args) > 4 and args[4] > 1:
                self._fields[output] = self._sliced(inputs[0], output, args[2] or 0, args[4])
            elif name.startswith("_scaled_dot_product") or name in _ATTENDS:
                self._fields[output] = self._attended(self._joined(inputs))
            elif rule is not None:
                self._fields[output] = rule(self._fields[inputs[0]], inputs[0], output, args)
            else:
                self._fields[output] = self._joined(inputs)
        return result

    def _joined(self, inputs: Sequence[Tensor]) -> Field:
        """Largest field of the inputs; gates (one location for the whole image) count only where they are alone."""
        maps = [tensor for tensor in inputs if tensor.ndim != 4 or tensor.shape[2:] != (1, 1)] or inputs
        fields = [self._fields[tensor] for tensor in maps]
        return Field(max(field.side for field in fields), max(field.stride for field in fields))

    def _sliced(self, source: Tensor, output: Tensor, start: int, step: int) -> Field:
        """Field of every n-th row, or in a second slice of every n-th column: only the second slice changes it.

        A slice with an offset is joined with one from 0 (space to depth, patch merging), which widens the field.
        """
        field: Field = self._fields[source]
        if source not in self._sliced_once:
            self._sliced_once[output] = True
            return field
        return Field(field.side + start * field.stride, field.stride * step)

    def _attended(self, field: Field) -> Field:
        if self.window is None:
            return Field(math.inf, field.stride)
        return Field(field.side + (self.window - 1) * field.stride, field.stride)


def _strided(field: Field, kernel: int, stride: int, dilation: int = 1) -> Field:
    return Field(field.side + (kernel - 1) * dilation * field.stride, field.stride * stride)


def _convolution(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    kernel, stride, dilation, transposed = args[1].shape[-1], args[3][-1], args[5][-1], args[6]
    if transposed:
        return Field(field.side + (-(-kernel // stride) - 1) * field.stride, field.stride / stride)
    return _strided(field, kernel, stride, dilation)


def _pooling(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    kernel = args[1][-1]
    stride = args[2][-1] if len(args) > 2 and args[2] else kernel
    return _strided(field, kernel, stride)


def _adaptive(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    before, after = source.shape[-1], output.shape[-1]
    if after == 1:
        return Field(math.inf, field.stride * before)
    # Windows of before / after locations; where that does not divide, they straddle and cover one location more.
    kernel = before // after if before % after == 0 else before // after + 2
    return Field(field.side + (kernel - 1) * field.stride, field.stride * before / after)


def _mean(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    dimensions = [dimension % source.ndim for dimension in args[1] or range(source.ndim)]
    channels = 1 if source.ndim == 4 else source.ndim - 1
    return field if dimensions == [channels] else Field(math.inf, field.stride)


def _resized(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    factor = source.shape[-1] / output.shape[-1]
    return Field(field.side, field.stride * factor)


# Attention that torch decomposes (as it does on the meta device) is recognised by its softmax.
_ATTENDS = ("_softmax", "_safe_softmax")

_RULES: dict[str, Callable[[Field, Tensor, Tensor, Sequence[Any]], Field]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pooling,
    "avg_pool2d": _pooling,
    "_adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "mean": _mean,
    "upsample_nearest2d": _resized,
    "upsample_bilinear2d": _resized,
    "upsample_bicubic2d": _resized,
}
