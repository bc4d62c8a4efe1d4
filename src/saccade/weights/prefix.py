"""Prefix of a network's tensor names inside a larger model that has it as a backbone."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["backbone_prefix"]


def backbone_prefix(names: Iterable[str], stem: str) -> str | None:
    """Prefix of a network's tensor names inside a model.

    Args:
        names: Names of the model's tensors.
        stem: Name of a tensor by which the network is recognised.

    Returns:
        The prefix, empty for the network itself; None where it occurs not at all, or twice.

    Example:
        >>> backbone_prefix(["backbone.conv1.weight", "head.weight"], "conv1.weight")
        'backbone.'
    """
    prefixes = {name.removesuffix(stem) for name in names if name.endswith(stem)}
    return prefixes.pop() if len(prefixes) == 1 else None
