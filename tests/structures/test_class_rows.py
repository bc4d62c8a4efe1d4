"""Rows of classes in the tensors of heads, against slices written by hand."""

from __future__ import annotations

import pytest
import torch

from saccade.structures.class_rows import ClassRows, linear_rows


@pytest.mark.parametrize(
    ("layout", "length", "classes"),
    [
        (ClassRows(), 10, 10),
        (ClassRows(groups=3, fixed=5), 255, 80),
        (ClassRows(groups=3, fixed=5), 254, None),
        (ClassRows(groups=9), 819, 91),
        (ClassRows(fixed=1), 91, 90),
        (ClassRows(fixed=4, per_class=4), 84, 20),
        (ClassRows(fixed=4, per_class=4), 3, None),
    ],
    ids=str,
)
def test_number_of_classes_of_a_length(layout: ClassRows, length: int, classes: int | None) -> None:
    assert layout.num_classes(torch.empty(length, 2)) == classes
    if classes is not None:
        assert layout.length(classes) == length


def test_a_layout_of_two_axes_needs_both_of_one_length() -> None:
    layout = ClassRows(axes=(0, 1))
    assert layout.num_classes(torch.empty(3, 3)) == 3
    assert layout.num_classes(torch.empty(3, 4)) is None
    assert layout.num_classes(torch.empty(3)) is None


def test_rows_of_anchors() -> None:
    # Two anchors with box and objectness: rows 0-4 fixed, 5-7 classes, 8-12 fixed, 13-15 classes.
    assert ClassRows(groups=2, fixed=5).rows([2, 0], num_classes=3).tolist() == [[7, 5], [15, 13]]
    assert ClassRows(fixed=4, per_class=4).rows([1], num_classes=2).tolist() == [[8, 9, 10, 11]]


def test_anchors_keep_their_boxes_and_change_their_classes() -> None:
    layout = ClassRows(groups=3, fixed=5)
    source = torch.arange(3 * (5 + 4) * 2.0).view(-1, 2)  # 4 classes
    target = torch.full((3 * (5 + 2), 2), -1.0)  # 2 classes, of which the second is the source's last
    layout.copy(target, source, pairs=[(1, 3)], classes=(2, 4))
    for anchor in range(3):
        theirs, ours = source[anchor * 9 : anchor * 9 + 9], target[anchor * 7 : anchor * 7 + 7]
        assert torch.equal(ours[:5], theirs[:5])
        assert torch.equal(ours[5], torch.tensor([-1.0, -1.0]))
        assert torch.equal(ours[6], theirs[8])


def test_without_pairs_only_fixed_rows_are_copied() -> None:
    target = torch.zeros(3)
    ClassRows(fixed=1).copy(target, torch.tensor([5.0, 6.0]), pairs=[], classes=(2, 1))
    assert target.tolist() == [5.0, 0.0, 0.0]


@pytest.mark.parametrize("axes", [(1,), (0, 1), (0, 2), (1, 2)])
def test_any_dimensions_are_copied_in_place(axes: tuple[int, ...]) -> None:
    layout = ClassRows(axes=axes)
    generator = torch.Generator().manual_seed(0)
    source = torch.rand([3 if axis in axes else 5 for axis in range(3)], generator=generator)
    target = torch.zeros([2 if axis in axes else 5 for axis in range(3)], dtype=torch.float64)
    layout.copy(target, source, pairs=[(0, 2), (1, 1)], classes=(2, 3))
    expected = source
    for axis in axes:
        expected = expected.index_select(axis, torch.tensor([2, 1]))
    assert torch.equal(target, expected.double())


def test_shapes_that_differ_elsewhere_do_not_match() -> None:
    layout = ClassRows()
    assert layout.matches(torch.empty(3, 7), torch.empty(5, 7))
    assert not layout.matches(torch.empty(3, 7), torch.empty(5, 8))
    assert not layout.matches(torch.empty(3, 7), torch.empty(3))
    assert not ClassRows(groups=2).matches(torch.empty(3, 7), torch.empty(4, 7))


def test_a_tensor_for_other_classes() -> None:
    tensor = ClassRows(groups=3, fixed=5).resized(torch.ones(24, 7, dtype=torch.float64), 2)
    assert tensor.shape == (21, 7)
    assert tensor.dtype == torch.float64


def test_rows_behind_all_groups_are_copied_as_they_are() -> None:
    layout = ClassRows(groups=2, after=3)
    source = torch.arange(1.0, 8.0)  # two classes of two groups, then three rows
    assert layout.length(3) == 9
    assert layout.num_classes(source) == 2
    assert ClassRows(groups=2, after=4).num_classes(source) is None
    target = torch.zeros(9)
    layout.copy(target, source, pairs=[(0, 1), (2, 0)], classes=(3, 2))
    assert target.tolist() == [2.0, 0.0, 1.0, 4.0, 0.0, 3.0, 5.0, 6.0, 7.0]


def test_names_of_linear_layers() -> None:
    assert linear_rows("fc", "aux", bias=False) == {"fc.weight": ClassRows(), "aux.weight": ClassRows()}
