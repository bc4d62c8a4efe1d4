"""Networks that can be cut to a part of their depth after training."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from saccade.models.base import Model

__all__ = ["Prunable"]


@runtime_checkable
class Prunable(Protocol):
    """Network that was trained at several depths at once, so that it can be pruned to each of them.

    Attributes:
        prune_levels: Depths to which it can be pruned; the last is its own.

    Example:
        >>> isinstance(saccade.create_model("unetpp", base_channels=4), Prunable)
        True
    """

    prune_levels: tuple[int, ...]

    def pruned(self, level: int) -> Model:
        """A network of that depth with the weights that it has in common with this one, and no others."""
        ...
