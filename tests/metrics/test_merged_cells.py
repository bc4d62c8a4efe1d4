from __future__ import annotations

import numpy as np
import pytest

from saccade.metrics.merged_cells import CellCounts, count_cells
from saccade.ops.border_weights import label_cells


def squares(gaps):
    """Four squares of 4 x 4 in a row, with a line of one pixel between two of them where ``gaps`` is true."""
    label_map = np.zeros((6, 21), np.uint8)
    label_map[1:5, 1:20] = 1
    for number, gap in enumerate(gaps, start=1):
        if gap:
            label_map[:, 5 * number] = 0
    return label_map


TRUE = squares([True, True, True])


@pytest.mark.parametrize(
    ("gaps", "predicted", "merged"),
    [([1, 1, 1], 4, 0), ([0, 1, 1], 3, 1), ([0, 1, 0], 2, 2), ([0, 0, 0], 1, 1)],
)
def test_a_missing_line_merges_what_it_lay_between(gaps, predicted, merged):
    assert count_cells(squares(gaps), TRUE) == CellCounts(4, predicted, merged)


def test_a_leak_of_less_than_half_a_cell_merges_nothing():
    leaking = squares([False, True, True])
    leaking[:, 8:10] = 0  # half of the second cell is left
    assert count_cells(leaking, TRUE).merged == 0
    leaking[1, 8] = 1
    assert count_cells(leaking, TRUE).merged == 1
    assert count_cells(leaking, TRUE, share=0.6).merged == 0


def test_the_plain_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        predicted, true = (rng.random((2, 12, 14)) < 0.6).astype(np.uint8)
        true[0] = 255
        found, cells = label_cells(predicted), label_cells(true)
        merged = 0
        for one in range(1, found.max() + 1):
            true_cells = [cells == other for other in range(1, cells.max() + 1)]
            merged += sum(((found == one) & other).sum() > 0.5 * other.sum() for other in true_cells) > 1
        assert count_cells(predicted, true) == CellCounts(cells.max(), found.max(), merged)


def test_nothing_to_count_and_sizes_that_differ():
    empty = np.zeros((3, 4), np.uint8)
    assert count_cells(empty, empty) == CellCounts(0, 0, 0)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(4, 3\)"):
        count_cells(empty, empty.T)
