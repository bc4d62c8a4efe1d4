"""Grouping: line integrals against loops, the assignment against all permutations, people that touch, bad settings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from saccade.errors import ConfigError
from saccade.ops.group_parts import GroupSettings, Peaks, find_peaks, group_parts, score_pairs
from saccade.ops.part_fields import draw_fields, draw_heatmaps

LIMBS = [(0, 1), (1, 2)]


def test_peaks_lie_between_cells_and_the_highest_come_first() -> None:
    points = torch.tensor([[[[20.3, 33.9]], [[70.0, 9.5]]]])
    heatmaps = draw_heatmaps(points, torch.ones(1, 2, 1, dtype=torch.bool), (6, 11), 8, 7.0)[0].numpy()
    peaks = find_peaks(heatmaps, 0.1)
    order = np.argsort(peaks.points[:, 0])
    np.testing.assert_allclose((peaks.points[order] + 0.5) * 8, points[0, :, 0].numpy(), atol=0.01)
    assert (np.diff(peaks.scores) <= 0).all()
    assert len(find_peaks(heatmaps, 0.1, max_peaks=1).scores) == 1
    assert peaks.starts.tolist() == [0, 2]


def test_a_peak_at_the_border_and_a_flat_map() -> None:
    heatmaps = np.zeros((1, 4, 5), np.float32)
    assert len(find_peaks(heatmaps, 0.1).scores) == 0
    heatmaps[0, 0, 4] = 0.7
    assert find_peaks(heatmaps, 0.1).points.tolist() == [[4.0, 0.0]]


@pytest.mark.parametrize("support", [0.0, 0.5, 0.8, 1.0])
def test_line_integrals_equal_those_of_a_loop(support: float) -> None:
    rng = np.random.default_rng(0)
    fields = rng.normal(0.3, 0.6, (4, 12, 14)).astype(np.float32)
    starts = np.array([0, 5, 9, 15])
    points = rng.uniform(0, [13, 11], (15, 2))
    settings = GroupSettings(min_support=support)
    found = score_pairs(fields, Peaks(points, np.ones(15), starts), LIMBS, settings)
    expected = {}
    for limb, (first, second) in enumerate(LIMBS):
        for a in range(starts[first], starts[first + 1]):
            for b in range(starts[second], starts[second + 1]):
                unit = (points[b] - points[a]) / np.linalg.norm(points[b] - points[a])
                along = []
                for t in np.linspace(0, 1, settings.samples):
                    x, y = np.floor(points[a] + t * (points[b] - points[a]) + 0.5).astype(int)
                    along.append(fields[2 * limb, y, x] * unit[0] + fields[2 * limb + 1, y, x] * unit[1])
                supported = np.mean(np.array(along) > settings.field_threshold)
                if supported >= support - 1e-9 and np.mean(along) > 0:
                    expected[limb, a, b] = np.mean(along)
    keys = list(zip(found.limb.tolist(), found.first.tolist(), found.second.tolist(), strict=True))
    assert sorted(keys) == sorted(expected)
    np.testing.assert_allclose(found.scores, [expected[key] for key in keys], atol=1e-5)
    assert keys


def test_each_limb_is_the_best_assignment_of_all() -> None:
    rng = np.random.default_rng(1)
    heatmaps = np.zeros((2, 9, 9), np.float32)
    heatmaps[0, [1, 4, 7], 1] = heatmaps[1, [1, 4, 7], 7] = 0.9
    fields = np.stack((rng.uniform(0.2, 1, (9, 9)), rng.normal(0, 0.3, (9, 9)))).astype(np.float32)
    settings = GroupSettings(min_points=2, min_support=0.0)
    pairs = score_pairs(fields, find_peaks(heatmaps, 0.1), [(0, 1)], settings)
    gain = np.zeros((3, 3))
    gain[pairs.first, pairs.second - 3] = pairs.scores
    best = max(sum(gain[i, j] for i, j in enumerate(order)) for order in permutations(range(3)))
    people = group_parts(heatmaps, fields, [(0, 1)], settings)
    rows = {1.0: 0, 4.0: 1, 7.0: 2}
    chosen = [(rows[round(float(one[0, 1]))], rows[round(float(one[1, 1]))]) for one in people.points]
    assert sum(gain[pair] for pair in chosen) == pytest.approx(best)


def crossed() -> tuple[np.ndarray, np.ndarray]:
    """Two people whose limbs cross, and one without its middle point."""
    points = torch.tensor(
        [[[[12.0, 12], [60, 60], [60, 90]], [[60.0, 12], [12, 60], [12, 90]], [[90.0, 20], [0, 0], [90, 80]]]]
    )
    known = torch.tensor([[[True, True, True], [True, True, True], [True, False, True]]])
    size = (13, 13)
    heatmaps = draw_heatmaps(points, known, size, 8, 7.0)[0].numpy()
    return heatmaps, draw_fields(points, known, LIMBS, size, 8, 6.0)[0].numpy()


def test_people_who_cross_are_told_apart() -> None:
    people = group_parts(*crossed(), LIMBS)
    pixels = (people.points[np.argsort(people.points[:, 0, 0])] + 0.5) * 8
    np.testing.assert_allclose(pixels, [[[12, 12], [60, 60], [60, 90]], [[60, 12], [12, 60], [12, 90]]], atol=0.05)
    np.testing.assert_allclose(people.scores, people.point_scores.mean(axis=1))
    assert (np.diff(people.scores) <= 0).all()


def test_points_without_a_limb_are_people_only_if_asked_for() -> None:
    maps = crossed()
    assert [len(group_parts(*maps, LIMBS, GroupSettings(min_points=count)).scores) for count in (1, 2, 3)] == [4, 2, 2]
    assert len(group_parts(*maps, LIMBS, GroupSettings(min_points=1, min_score=0.4)).scores) == 2
    lonely = group_parts(*maps, LIMBS, GroupSettings(min_points=1))
    assert not lonely.points[lonely.point_scores == 0].any()


def test_no_person_at_all() -> None:
    people = group_parts(np.zeros((3, 5, 5), np.float32), np.zeros((4, 5, 5), np.float32), LIMBS)
    assert people.points.shape == (0, 3, 2)
    assert people.scores.shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples is 0; it must be a whole number"),
        ({"samples": 2.5}, "samples is 2.5; it must be a whole number"),
        ({"peak_threshold": 2}, "peak_threshold is 2; it must be a number from 0 to 1"),
        ({"min_support": "most"}, "min_support is 'most'; it must be a number"),
    ],
)
def test_settings_out_of_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GroupSettings(**options)
