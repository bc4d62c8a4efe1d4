"""Networks that a file is about to fill: random weights would be drawn for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]

_INITIALISERS = {
    *("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
    *("orthogonal_", "sparse_"),
}
_DRAWS = (Tensor.uniform_, Tensor.normal_)


class Unfilled(TorchFunctionMode):
    """While it lasts, tensors that would be filled with random numbers are hardly filled.

    Only for networks whose every tensor is loaded afterwards. It also keeps torch's compiler from being imported, with
    which torch computes the shapes of random numbers on the meta device.

    An initialiser of torch leaves a tensor as it lies in memory. A tensor's own ``normal_`` and ``uniform_`` give all
    of its values one random number: whoever draws until all are within some bounds, as a truncated normal does, comes
    to an end. Numbers are drawn from a generator of its own.

    Example:
        >>> before = torch.get_rng_state()
        >>> with Unfilled():
        ...     layer = torch.nn.Linear(3, 4)
        ...     drawn = torch.nn.init.trunc_normal_(torch.empty(2, 3), mean=1.0, a=0.5, b=1.5)
        >>> layer.weight.shape, torch.equal(before, torch.get_rng_state())
        (torch.Size([4, 3]), True)
        >>> 0.5 <= float(drawn.min()) == float(drawn.max()) <= 1.5
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(0)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call what torch was asked for, unless it fills a tensor with random numbers."""
        options = dict(kwargs or {})
        if func in _DRAWS:
            tensor, *bounds = args
            if tensor.is_meta:
                return tensor
            options["generator"] = self._generator
            return tensor.fill_(func(torch.empty(()), *bounds, **options).item())
        if getattr(func, "__module__", "") == "torch.nn.init" and func.__name__ in _INITIALISERS:
            return args[0] if args else options["tensor"]
        return func(*args, **options)
