"""How much of the image a unit of each stage can see, read off the operations that run on the ``meta`` device.

Every tensor carries its field: the side of the square of pixels that can reach one of its places, and the step in
pixels from one place to the next. A window of k places at distance d adds (k - 1) d steps to the side, and a stride
multiplies the step (Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
equations 1 and 2). Where branches meet, the larger field counts. A gate that weighs whole channels
(squeeze-and-excitation) has seen the whole image but says nothing of a place; it is left out.
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
    """What one place of a map sees.

    Args:
        side: Of the square of input pixels that can reach it; infinite for the whole image.
        step: Pixels from one place to the next.
    """

    side: float
    step: float


class FieldTracer(TorchDispatchMode):
    """While it is active, follows the fields of all tensors that come from ``images``.

    Args:
        images: (B, C, H, W); a place of it is a pixel.

    Attributes:
        window: Side of the windows that attention is confined to at the moment, in places; None where every place
            attends to all. Whoever runs the network sets it.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._fields: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._fields[images] = Field(1.0, 1.0)
        self._thinned_once: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.window: int | None = None

    def of(self, tensor: Tensor) -> Field | None:
        """Field of a tensor; None if nothing of the image is in it."""
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
                self._fields[output] = self._thinned(inputs[0], output, args[2] or 0, args[4])
            elif name.startswith("_scaled_dot_product") or name in _ATTENDS:
                self._fields[output] = self._attended(self._joined(inputs))
            elif rule is not None:
                self._fields[output] = rule(self._fields[inputs[0]], inputs[0], output, args)
            else:
                self._fields[output] = self._joined(inputs)
        return result

    def _joined(self, inputs: Sequence[Tensor]) -> Field:
        """The largest field; gates (one place for the whole image) only where there is nothing else."""
        maps = [tensor for tensor in inputs if tensor.ndim != 4 or tensor.shape[2:] != (1, 1)] or inputs
        fields = [self._fields[tensor] for tensor in maps]
        return Field(max(field.side for field in fields), max(field.step for field in fields))

    def _thinned(self, source: Tensor, output: Tensor, start: int, step: int) -> Field:
        """Every n-th row, and in a second slice of that every n-th column: it is the second that counts.

        What starts further in is joined with what starts at 0 (space to depth, patch merging), which widens the field.
        """
        field: Field = self._fields[source]
        if source not in self._thinned_once:
            self._thinned_once[output] = True
            return field
        return Field(field.side + start * field.step, field.step * step)

    def _attended(self, field: Field) -> Field:
        if self.window is None:
            return Field(math.inf, field.step)
        return Field(field.side + (self.window - 1) * field.step, field.step)


def _slid(field: Field, kernel: int, stride: int, dilation: int = 1) -> Field:
    return Field(field.side + (kernel - 1) * dilation * field.step, field.step * stride)


def _convolution(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    kernel, stride, dilation, transposed = args[1].shape[-1], args[3][-1], args[5][-1], args[6]
    if transposed:
        step = field.step / stride
        return Field(field.side + (-(-kernel // stride) - 1) * field.step, step)
    return _slid(field, kernel, stride, dilation)


def _pooling(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    kernel = args[1][-1]
    stride = args[2][-1] if len(args) > 2 and args[2] else kernel
    return _slid(field, kernel, stride)


def _adaptive(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    before, after = source.shape[-1], output.shape[-1]
    if after == 1:
        return Field(math.inf, field.step * before)
    # Windows of before / after places; where that does not divide, they straddle and one more place is seen.
    kernel = before // after if before % after == 0 else before // after + 2
    return Field(field.side + (kernel - 1) * field.step, field.step * before / after)


def _mean(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    dimensions = [dimension % source.ndim for dimension in args[1] or range(source.ndim)]
    channels = 1 if source.ndim == 4 else source.ndim - 1
    return field if dimensions == [channels] else Field(math.inf, field.step)


def _resized(field: Field, source: Tensor, output: Tensor, args: Sequence[Any]) -> Field:
    factor = source.shape[-1] / output.shape[-1]
    return Field(field.side, field.step * factor)


# Attention that torch takes apart (as it does on the meta device) shows itself by its softmax.
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
