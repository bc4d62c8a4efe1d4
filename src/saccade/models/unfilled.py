"""Networks that a file is about to fill: random weights would be drawn for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]

_FILL = ("uniform_", "normal_", "trunc_normal_", "orthogonal_", "sparse_")
_RANDOM = {*_FILL, *(f"{kind}_{one}" for kind in ("kaiming", "xavier") for one in _FILL)}


class Unfilled(TorchFunctionMode):
    """While it lasts, tensors that would be filled with random numbers keep whatever their memory holds.

    Only for networks whose every tensor is loaded afterwards. It also keeps torch's compiler from being imported, with
    which torch computes the shapes of random numbers on the meta device.

    Example:
        >>> before = torch.get_rng_state()
        >>> with Unfilled():
        ...     layer = torch.nn.Linear(3, 4)
        >>> layer.weight.shape, torch.equal(before, torch.get_rng_state())
        (torch.Size([4, 3]), True)
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call what torch was asked for, unless it draws numbers into a tensor."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
