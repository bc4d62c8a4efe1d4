"""Where a network's weights lie inside a larger one that has it as a backbone."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["backbone_prefix"]


def backbone_prefix(names: Iterable[str], stem: str) -> str | None:
    """What stands before the names of a network inside a model.

    Args:
        names: Of the model's tensors.
        stem: Name of a tensor that the network is known by.

    Returns:
        The prefix, empty for the network itself; None where it is not in there, or twice.
    """
    prefixes = {name.removesuffix(stem) for name in names if name.endswith(stem)}
    return prefixes.pop() if len(prefixes) == 1 else None
