"""Heads that a network had before it learnt new classes on a frozen body.

Such a head still gives the answers it always gave, so it is kept beside the new one, in the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["EarlierHead", "heads_metadata", "heads_state", "split_heads"]

_PREFIX = "earlier_heads."


@dataclass(frozen=True, eq=False)
class EarlierHead:
    """One of them.

    Args:
        num_classes: Its classes.
        class_names: Their names; empty where the file did not say.
        tensors: The head's tensors under their names in the network.
    """

    num_classes: int
    class_names: tuple[str, ...]
    tensors: Mapping[str, Tensor]


def heads_state(heads: Sequence[EarlierHead]) -> dict[str, Tensor]:
    """Their tensors, under names that no network has."""
    return {
        f"{_PREFIX}{index}.{name}": value for index, head in enumerate(heads) for name, value in head.tensors.items()
    }


def heads_metadata(heads: Sequence[EarlierHead]) -> list[dict[str, Any]]:
    """What else there is to know of them, as JSON."""
    return [{"num_classes": head.num_classes, "class_names": list(head.class_names)} for head in heads]


def split_heads(
    state: Mapping[str, Tensor], metadata: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Tensor], tuple[EarlierHead, ...]]:
    """The inverse: the network's own tensors, and the heads."""
    own = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    heads = []
    for index, entry in enumerate(metadata):
        prefix = f"{_PREFIX}{index}."
        tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        heads.append(EarlierHead(int(entry["num_classes"]), tuple(entry["class_names"]), tensors))
    return own, tuple(heads)
