"""Heads of checkpoints: the classes that their rows belong to, and heads kept from before.

A head that a network had before it learnt new classes on a frozen body still predicts what it always did, so it is kept
beside the new one, in the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from saccade.structures.class_rows import ClassRows

__all__ = [
    "EarlierHead",
    "count_classes",
    "drop_unnamed_rows",
    "head_tensors",
    "heads_metadata",
    "heads_state",
    "names_of_rows",
    "pair_classes",
    "split_heads",
]

_PREFIX = "earlier_heads."


@dataclass(frozen=True, eq=False)
class EarlierHead:
    """Head that a network had before its present one, for other classes.

    Args:
        num_classes: Its classes.
        class_names: Their names; empty where the file did not give them.
        tensors: The head's tensors under their names in the network.
    """

    num_classes: int
    class_names: tuple[str, ...]
    tensors: Mapping[str, Tensor]


def heads_state(heads: Sequence[EarlierHead]) -> dict[str, Tensor]:
    """Tensors of earlier heads, under names that no network has."""
    return {
        f"{_PREFIX}{index}.{name}": value for index, head in enumerate(heads) for name, value in head.tensors.items()
    }


def heads_metadata(heads: Sequence[EarlierHead]) -> list[dict[str, Any]]:
    """Classes of earlier heads, as JSON."""
    return [{"num_classes": head.num_classes, "class_names": list(head.class_names)} for head in heads]


def split_heads(
    state: Mapping[str, Tensor], metadata: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Tensor], tuple[EarlierHead, ...]]:
    """The network's own tensors, and the earlier heads: inverse of :func:`heads_state` and :func:`heads_metadata`."""
    own = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    heads = []
    for index, entry in enumerate(metadata):
        prefix = f"{_PREFIX}{index}."
        tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        heads.append(EarlierHead(int(entry["num_classes"]), tuple(entry["class_names"]), tensors))
    return own, tuple(heads)


def head_tensors(state: Mapping[str, Tensor], heads: Iterable[str]) -> dict[str, Tensor]:
    """Tensors of the parts that ``heads`` names.

    Example:
        >>> list(head_tensors({"fc.bias": torch.zeros(2), "fc2.bias": torch.zeros(3)}, ["fc"]))
        ['fc.bias']
    """
    heads = tuple(heads)
    inside = tuple(f"{head}." for head in heads)
    return {name: tensor for name, tensor in state.items() if name in heads or name.startswith(inside)}


def count_classes(state: Mapping[str, Tensor], class_rows: Mapping[str, ClassRows]) -> int | None:
    """Classes that the head tensors in ``state`` have; None without such tensors, or where they disagree.

    Example:
        >>> count_classes({"out.weight": torch.zeros(255, 64)}, {"out.weight": ClassRows(groups=3, fixed=5)})
        80
    """
    counts = {rows.num_classes(state[name]) for name, rows in class_rows.items() if name in state}
    return counts.pop() if len(counts) == 1 else None


def names_of_rows(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Names of the ``count`` classes of a file, if its list fits them; else nothing.

    A list of one name more, which begins with an empty one, counts the background that the head has as a fixed row.

    Example:
        >>> names_of_rows(("", "person", "", "car"), count=3)
        ('person', '', 'car')
        >>> names_of_rows(("person", "car"), count=80)
        ()
    """
    if len(names) == count:
        return tuple(names)
    return tuple(names[1:]) if len(names) == count + 1 and not names[0] else ()


def drop_unnamed_rows(
    state: Mapping[str, Tensor], class_rows: Mapping[str, ClassRows], names: Sequence[str]
) -> dict[str, Tensor]:
    """Head tensors without the rows of classes that have an empty name (ids that a data set never used).

    Args:
        state: Tensors by name; those in ``class_rows`` have as many classes as ``names``.
        class_rows: Their layouts.
        names: Name of each class.

    Example:
        >>> rows = {"fc.bias": ClassRows()}
        >>> drop_unnamed_rows({"fc.bias": torch.tensor([5.0, 6.0, 7.0])}, rows, ["cat", "", "dog"])["fc.bias"]
        tensor([5., 7.])
    """
    real = [index for index, name in enumerate(names) if name]
    cut = dict(state)
    for name, rows in class_rows.items():
        if name in state:
            cut[name] = rows.resized(state[name], len(real))
            rows.copy(cut[name], state[name], list(enumerate(real)), (len(real), len(names)))
    return cut


def pair_classes(own: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Classes of the same name: (index in ``own``, index in ``theirs``); the n-th of equal names with the n-th.

    Example:
        >>> pair_classes(["dog", "cow", "cat"], ["cat", "dog"])
        [(0, 1), (2, 0)]
    """
    left: dict[str, list[int]] = {}
    for index, name in enumerate(theirs):
        left.setdefault(name, []).append(index)
    return [(index, left[name].pop(0)) for index, name in enumerate(own) if left.get(name)]
