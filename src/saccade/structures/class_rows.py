"""Which rows of a tensor belong to which class, so that heads are cut and joined by class name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClassRows", "linear_rows"]


@dataclass(frozen=True)
class ClassRows:
    """Layout of the class dimension of a head's tensor: ``groups`` times (``fixed`` rows, then ``per_class`` a class).

    Behind the groups there may be ``after`` further rows.

    A linear classifier has the defaults. YOLOv3 has ``groups=3, fixed=5`` (three anchors, each with a box and an
    objectness before the classes), RetinaNet's class branch ``groups=9``, Faster R-CNN's scores ``fixed=1`` and its box
    regression ``fixed=4, per_class=4`` (the background's rows come first). YOLOv1 has classes of 49 grid cells, then
    confidences and boxes of all: ``groups=49, after=490``.

    Args:
        groups: Repetitions, anchors for example.
        fixed: Rows before those of the classes in each group, which belong to no class.
        per_class: Consecutive rows of each class.
        axes: Dimensions of the tensor that are laid out so.
        after: Rows behind all groups, which belong to no class.

    Example:
        >>> ClassRows(groups=3, fixed=5).length(80)
        255
        >>> ClassRows(groups=3, fixed=5).num_classes(torch.zeros(255, 64, 1, 1))
        80
        >>> ClassRows(groups=2, fixed=1).rows([1], num_classes=2).tolist()
        [[2], [5]]
    """

    groups: int = 1
    fixed: int = 0
    per_class: int = 1
    axes: tuple[int, ...] = (0,)
    after: int = 0

    def length(self, num_classes: int) -> int:
        """Length of each of ``axes`` for that many classes."""
        return self.groups * (self.fixed + self.per_class * num_classes) + self.after

    def num_classes(self, tensor: Tensor) -> int | None:
        """Classes that a tensor of this layout has; None if its length does not divide so."""
        lengths = {tensor.shape[axis] if axis < tensor.ndim else -1 for axis in self.axes}
        length = lengths.pop()
        rest = length - self.groups * self.fixed - self.after
        step = self.groups * self.per_class
        return None if lengths or rest < 0 or rest % step else rest // step

    def matches(self, tensor: Tensor, other: Tensor) -> bool:
        """Whether both have this layout and the same shape but for the number of classes."""
        return (
            tensor.ndim == other.ndim
            and all(tensor.shape[axis] == other.shape[axis] for axis in range(tensor.ndim) if axis not in self.axes)
            and self.num_classes(tensor) is not None
            and self.num_classes(other) is not None
        )

    def rows(self, classes: Sequence[int], num_classes: int) -> Tensor:
        """Indices along an axis of the rows of some classes, shape (groups, len(classes) * per_class), int64."""
        within = torch.tensor(
            [self.fixed + self.per_class * label + row for label in classes for row in range(self.per_class)],
            dtype=torch.int64,
        )
        return self._starts(num_classes) + within

    def resized(self, tensor: Tensor, num_classes: int) -> Tensor:
        """A tensor of zeros like ``tensor``, for another number of classes."""
        shape = [self.length(num_classes) if axis in self.axes else side for axis, side in enumerate(tensor.shape)]
        return tensor.new_zeros(shape)

    def copy(self, target: Tensor, source: Tensor, pairs: Sequence[tuple[int, int]], classes: tuple[int, int]) -> None:
        """Write the fixed rows of ``source``, and those of the paired classes, into ``target`` in place.

        Args:
            target: Tensor of this layout.
            source: Another, perhaps of another number of classes.
            pairs: (class of the target, class of the source).
            classes: Number of classes of the target and of the source.

        Example:
            >>> target = torch.zeros(3)
            >>> ClassRows().copy(target, torch.tensor([7.0, 8.0]), pairs=[(2, 0)], classes=(3, 2))
            >>> target
            tensor([0., 0., 7.])
        """
        # In front, the class dimensions stand side by side, where indices of several dimensions keep their order.
        front = tuple(range(len(self.axes)))
        into = self._grid([own for own, _ in pairs], classes[0])
        taken = self._grid([theirs for _, theirs in pairs], classes[1])
        target.movedim(self.axes, front)[into] = source.movedim(self.axes, front)[taken].to(target)

    def _starts(self, num_classes: int) -> Tensor:
        """First row of each group, (groups, 1)."""
        return torch.arange(self.groups)[:, None] * (self.fixed + self.per_class * num_classes)

    def _grid(self, labels: Sequence[int], num_classes: int) -> tuple[Tensor, ...]:
        """Indices of all fixed rows and of those of some classes, one tensor an axis, broadcast against each other."""
        fixed = self._starts(num_classes) + torch.arange(self.fixed)
        last = self.length(num_classes)
        index = torch.cat([fixed, self.rows(labels, num_classes)], dim=1).flatten()
        index = torch.cat([index, torch.arange(last - self.after, last)])
        count = len(self.axes)
        return tuple(index.view([-1 if axis == own else 1 for axis in range(count)]) for own in range(count))


def linear_rows(*layers: str, bias: bool = True) -> dict[str, ClassRows]:
    """``Model.class_rows`` of layers with one row a class: linear ones, and convolutions to one channel a class.

    Args:
        layers: Their names in the network.
        bias: Whether they have one.

    Example:
        >>> list(linear_rows("fc"))
        ['fc.weight', 'fc.bias']
    """
    parts = ("weight", "bias") if bias else ("weight",)
    return {f"{layer}.{part}": ClassRows() for layer in layers for part in parts}
