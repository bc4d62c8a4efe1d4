"""Receptive fields of the stages of a network, computed from the operations that run on the ``meta`` device.

Every tensor carries its field: the side of the square of input pixels that one of its locations depends on, the stride
in pixels between neighbouring locations, and the centre of the first. A kernel of size k and dilation d adds (k - 1) d
strides to the side, the stride of an operation multiplies that of the field, and the centre moves by half the kernel
less the padding (Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
equations 1 to 4). Where branches meet, the larger field counts. A gate
that weights whole channels (squeeze-and-excitation) depends on the whole image but is the same at every location; it is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Field", "FieldTracer"]


class Field(NamedTuple):
    """Receptive field of a feature map: side of the square of pixels that a location depends on, stride, first centre.

    Args:
        side: Of the square of input pixels; infinite for the whole image.
        stride: Pixels between neighbouring locations.
        start: Centre of the first location's field, in pixels from the left; that of the first pixel is 0.5. Maps that
            are upsampled have fields beside their centres by up to half a stride of the map below.

    Example:
        >>> Field(side=11.0, stride=4.0, start=3.5).centre(10)
        43.5
    """

    side: float
    stride: float
    start: float

    def centre(self, location: float) -> float:
        """Centre of the field of a location, in pixels from the left."""
        return self.start + location * self.stride


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
        Field(side=11.0, stride=4.0, start=5.5)
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._fields[images] = Field(1.0, 1.0, 0.5)
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
            elif name == "slice":
                self._fields[output] = _cropped(self._fields[inputs[0]], inputs[0], args)
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
        largest = max(fields, key=lambda field: field.side)
        return largest._replace(stride=max(field.stride for field in fields))

    def _sliced(self, source: Tensor, output: Tensor, start: int, step: int) -> Field:
        """Field of every n-th row, or in a second slice of every n-th column: only the second slice changes it.

        A slice with an offset is joined with one from 0 (space to depth, patch merging), which widens the field.
        """
        field: Field = self._fields[source]
        if source not in self._sliced_once:
            self._sliced_once[output] = True
            return field
        wider = start * field.stride
        return Field(field.side + wider, field.stride * step, field.start + wider / 2)

    def _attended(self, field: Field) -> Field:
        if self.window is None:
            return field._replace(side=math.inf)
        return field._replace(side=field.side + (self.window - 1) * field.stride)


def _strided(field: Field, kernel: int, stride: int, padding: int, dilation: int = 1) -> Field:
    reach = (kernel - 1) * dilation
    return Field(
        field.side + reach * field.stride, field.stride * stride, field.start + (reach / 2 - padding) * field.stride
    )


def _convolution(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    kernel, stride, padding, dilation, transposed = args[1].shape[-1], args[3][-1], args[4][-1], args[5][-1], args[6]
    if not transposed:
        return _strided(field, kernel, stride, padding, dilation)
    # An output sees every (stride / common)-th tap; those taps are (dilation / common) locations of the input apart.
    common = math.gcd(stride, dilation)
    reach = (-(-kernel * common // stride) - 1) * (dilation // common)
    shift = (padding - dilation * (kernel - 1) / 2) / stride
    return Field(field.side + reach * field.stride, field.stride / stride, field.start + shift * field.stride)


def _max_pooling(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    return _pooling(field, args, dilation=args[4][-1] if len(args) > 4 else 1)


def _average_pooling(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    return _pooling(field, args, dilation=1)


def _pooling(field: Field, args: Sequence[Any], dilation: int) -> Field:
    kernel = args[1][-1]
    stride = args[2][-1] if len(args) > 2 and args[2] else kernel
    padding = args[3][-1] if len(args) > 3 else 0
    return _strided(field, kernel, stride, padding, dilation)


def _adaptive(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    before, after = source.shape[-1], output.shape[-1]
    start = field.start + (before / after - 1) / 2 * field.stride
    if after == 1:
        return Field(math.inf, field.stride * before, start)
    # Windows of before / after locations; where that does not divide, they straddle and cover one location more.
    kernel = before // after if before % after == 0 else before // after + 2
    return Field(field.side + (kernel - 1) * field.stride, field.stride * before / after, start)


def _mean(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    dimensions = [dimension % source.ndim for dimension in args[1] or range(source.ndim)]
    channels = 1 if source.ndim == 4 else source.ndim - 1
    return field if dimensions == [channels] else field._replace(side=math.inf)


def _resized(field: Field, source: Tensor, output: Tensor, args: Sequence[Any], neighbours: int = 0) -> Field:
    before, after = source.shape[-1], output.shape[-1]
    if before == after:
        return field
    if neighbours and args[2]:  # corners on corners
        factor, start = (before - 1) / max(1, after - 1), field.start
    else:
        factor = before / after
        start = field.start + (factor - 1) / 2 * field.stride
    return Field(field.side + neighbours * field.stride, field.stride * factor, start)


def _padded(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    return field._replace(start=field.start - args[1][0] * field.stride)


def _gathered(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    """Field of a map continued by its mirror image, half in front and half behind; which columns, no shape tells."""
    if source.ndim != 4 or args[1] % 4 != 3:
        return field
    return field._replace(start=field.start - (output.shape[3] - source.shape[3]) / 2 * field.stride)


def _cropped(field: Field, source: Tensor, args: Sequence[Any]) -> Field:
    """Field of a map without its first columns; slices of other dimensions leave it as it is."""
    dimension, first = (args[1] if len(args) > 1 else 0), (args[2] if len(args) > 2 else 0) or 0
    if source.ndim != 4 or dimension % 4 != 3 or not first:
        return field
    first = first + source.shape[3] if first < 0 else first
    return field._replace(start=field.start + first * field.stride)


# Attention that torch decomposes (as it does on the meta device) is recognised by its softmax.
_ATTENDS = ("_softmax", "_safe_softmax")

_RULES: dict[str, Callable[[Field, Tensor, Tensor, Sequence[Any]], Field]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pooling,
    "avg_pool2d": _average_pooling,
    "_adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "mean": _mean,
    "upsample_nearest2d": _resized,
    "upsample_bilinear2d": partial(_resized, neighbours=1),
    "upsample_bicubic2d": partial(_resized, neighbours=3),
    "constant_pad_nd": _padded,
    "index_select": _gathered,
    "reflection_pad2d": _padded,
    "replication_pad2d": _padded,
}
