"""Suppression, fusion, cut boxes and their pieces, against slow and obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import batched_nms, box_iou

from saccade.errors import ConfigError
from saccade.ops.merge import boxes_of_points, cut_off, join_pieces, suppress, weighted_boxes
from saccade.ops.packed_masks import PackedMasks
from saccade.ops.views import View, flip_order


def _random_boxes(seed: int, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 80, (number, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (number, 2))], axis=1).astype(np.float32)
    return boxes, rng.permutation(np.linspace(0.05, 0.95, number)).astype(np.float32), rng.integers(0, 3, number)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 80), st.sampled_from([0.1, 0.5, 0.9]))
def test_suppression_between_different_sources_is_ordinary_suppression_by_class(
    seed: int, number: int, threshold: float
) -> None:
    boxes, scores, labels = _random_boxes(seed, number)
    kept = suppress(boxes, scores, labels, np.arange(number), threshold)
    expected = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), threshold)
    assert kept.tolist() == expected.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50))
def test_suppression_equals_the_obvious_loop(seed: int, number: int) -> None:
    boxes, scores, labels = _random_boxes(seed, number)
    sources = np.random.default_rng(seed).integers(0, 3, number)
    overlaps = box_iou(torch.from_numpy(boxes).double(), torch.from_numpy(boxes).double()).numpy()
    kept: list[int] = []
    for index in np.argsort(-scores).tolist():
        rivals = [one for one in kept if labels[one] == labels[index] and sources[one] != sources[index]]
        if not any(overlaps[index, one] > 0.4 for one in rivals):
            kept.append(index)
    assert suppress(boxes, scores, labels, sources, 0.4).tolist() == kept


def test_many_boxes_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, labels = _random_boxes(3, 300)
    expected = suppress(boxes, scores, labels, np.arange(300), 0.3)
    monkeypatch.setattr("saccade.ops.merge._PAIRS_AT_ONCE", 50)
    np.testing.assert_array_equal(suppress(boxes, scores, labels, np.arange(300), 0.3), expected)


def _slow_fusion(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64], sources: NDArray[np.int64]
) -> list[tuple[int, float, list[float]]]:
    """Solovyev et al. 2021, section 3, step by step, for three views and a threshold of 0.55."""
    clusters: list[list[int]] = []
    fused: list[NDArray[np.float64]] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        best, most = None, 0.55
        for number, members in enumerate(clusters):
            if labels[members[0]] != labels[index] or sources[index] in sources[members]:
                continue
            pair = torch.from_numpy(np.stack([fused[number], boxes[index].astype(np.float64)]))
            overlap = float(box_iou(pair[:1], pair[1:]))
            if overlap > most:
                best, most = number, overlap
        if best is None:
            clusters.append([index])
            fused.append(boxes[index].astype(np.float64))
        else:
            clusters[best].append(index)
            weights = scores[clusters[best]].astype(np.float64)[:, None]
            fused[best] = (weights * boxes[clusters[best]]).sum(axis=0) / weights.sum()
    rows = []
    for members, box in zip(clusters, fused, strict=True):
        score = float(np.mean(scores[members], dtype=np.float64)) * min(len(members), 3) / 3
        rows.append((int(labels[members[0]]), score, box.tolist()))
    return sorted(rows, key=lambda row: -row[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_fusion_equals_the_paper_step_by_step(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores, labels = _random_boxes(seed, number)
    boxes = np.concatenate([boxes, boxes + rng.normal(0, 2, boxes.shape).astype(np.float32)])
    scores = rng.uniform(0.05, 0.95, 2 * number).astype(np.float32)  # no two means are equal
    labels, sources = np.tile(labels, 2), rng.integers(0, 3, 2 * number)
    fused = weighted_boxes(boxes, scores, labels, sources, 0.55, views=3)
    expected = _slow_fusion(boxes, scores, labels, sources)
    assert fused.boxes.dtype == fused.scores.dtype == np.float32
    np.testing.assert_allclose(fused.scores, [row[1] for row in expected], rtol=1e-5)
    assert fused.labels.tolist() == [row[0] for row in expected]
    np.testing.assert_allclose(fused.boxes, [row[2] for row in expected], atol=1e-3)
    # Members are the boxes of a cluster, and the best of them is the one with the highest score.
    for cluster in range(len(fused.scores)):
        members = np.flatnonzero(fused.members == cluster)
        assert fused.best[cluster] == members[np.argmax(scores[members])]
        assert len(set(sources[members].tolist())) == len(members)


def test_fusion_of_equal_boxes_changes_nothing() -> None:
    boxes, scores, labels = _random_boxes(5, 30)
    fused = weighted_boxes(
        np.tile(boxes, (3, 1)), np.tile(scores, 3), np.tile(labels, 3), np.repeat(range(3), 30), 0.5, 3
    )
    order = np.argsort(-scores)
    np.testing.assert_array_equal(fused.boxes, boxes[order])
    np.testing.assert_array_equal(fused.scores, scores[order])
    np.testing.assert_array_equal(fused.labels, labels[order])


def test_what_few_views_detected_scores_lower() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    fused = weighted_boxes(boxes, np.array([0.9, 0.7, 0.9]), np.zeros(3), np.array([0, 1, 0]), 0.5, views=2)
    np.testing.assert_allclose(fused.scores, [0.8, 0.45])
    assert len(weighted_boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0)).scores) == 0
    zero = weighted_boxes(boxes[:2], np.zeros(2), np.zeros(2), np.arange(2))
    np.testing.assert_array_equal(zero.boxes, boxes[:1])


def test_a_box_is_dropped_only_where_another_tile_shows_more() -> None:
    spans = np.array([[-np.inf, 60], [40, 100], [80, np.inf]])
    everywhere = np.array([[-np.inf, np.inf]])
    boxes = np.array(
        [
            [45, 0, 60, 10],  # cut by the first tile, whole in the second
            [30, 0, 60, 10],  # cut by the first, begins left of the second
            [0, 0, 20, 10],  # at the image's own end
            [45, 0, 58.5, 10],  # a pixel and a half from the border
        ]
    )
    columns = np.zeros(4, np.int64)
    cut, better = cut_off(boxes, columns, columns, everywhere, spans, 1.0)
    assert cut.tolist() == [True, True, False, False]
    assert better.tolist() == [True, False, False, False]
    cut, better = cut_off(np.array([[82, 0, 100, 10.0]]), np.array([0]), np.array([1]), everywhere, spans, 1.0)
    assert cut.all()
    assert better.all()


def test_pieces_belong_together_if_neighbours_agree_on_the_area_of_both() -> None:
    left, middle, right = [0, 0, 60, 50], [40, 0, 100, 50], [80, 0, 140, 50]
    boxes = np.array(
        [
            [10, 5, 60, 15],
            [40, 5, 100, 15],
            [80, 5, 120, 15],  # three pieces of one long thing
            [50, 30, 60, 45],  # ends at the border, too, but elsewhere
            [10, 5, 60, 15],  # another class
        ]
    )
    labels = np.array([0, 0, 0, 0, 1])
    groups = join_pieces(boxes, labels, np.array([left, middle, right, left, left]))
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 3
    assert join_pieces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4))).shape == (0,)


def test_a_single_point_has_a_box() -> None:
    boxes = boxes_of_points(np.array([[[10.0, 20.0]], [[0.0, 0.0]]]))
    assert boxes.tolist() == [[6, 16, 14, 24], [-4, -4, 4, 4]]
    assert boxes_of_points(np.array([[[0.0, 5.0], [20.0, 30.0]]])).tolist() == [[0, 5, 20, 30]]


def test_packed_masks_are_the_masks() -> None:
    rng = np.random.default_rng(0)
    tile = rng.random((5, 20, 30)) > 0.6
    tile[2] = False
    tile[3, :, :10] = False
    packed = PackedMasks.pack(tile, (100, 120), top=95, left=-10)
    expected = np.zeros((5, 100, 120), np.bool_)
    expected[:, 95:, :20] = tile[:, :5, 10:]
    assert packed.shape == expected.shape
    assert len(packed) == 5
    np.testing.assert_array_equal(np.asarray(packed), expected)
    np.testing.assert_array_equal(packed.astype(np.uint8), expected.astype(np.uint8))
    np.testing.assert_array_equal(np.stack(list(packed)), expected)
    np.testing.assert_array_equal(packed[-1], expected[-1])
    np.testing.assert_array_equal(np.asarray(packed[[3, 0]]), expected[[3, 0]])
    np.testing.assert_array_equal(np.asarray(packed[expected.any(axis=(1, 2))]), expected[expected.any(axis=(1, 2))])
    np.testing.assert_array_equal(np.asarray(packed[1:4]), expected[1:4])
    with pytest.raises(IndexError, match="mask 5 of 5"):
        packed[5]
    both = PackedMasks.concatenate([packed, packed[:0], PackedMasks.pack(tile, (100, 120))])
    whole = np.concatenate([expected, np.zeros_like(expected)])
    whole[5:, :20, :30] = tile
    np.testing.assert_array_equal(np.asarray(both), whole)
    groups = np.array([0, 1, 2, 1, 2, 0, 0, 3, 3, 1])
    united = np.stack([whole[groups == group].any(axis=0) for group in range(4)])
    np.testing.assert_array_equal(np.asarray(both.unite(groups)), united)


def test_packed_masks_of_a_huge_image_are_small() -> None:
    packed = PackedMasks.pack(np.ones((50, 64, 64), np.bool_), (20_000, 20_000), 7_000, 12_000)
    assert packed.bits.nbytes == 50 * 64 * 64 // 8
    assert packed.windows[0].tolist() == [12_000, 7_000, 12_064, 7_064]


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.booleans(), st.integers(0, 10**6))
def test_views_bring_coordinates_back(height: int, width: int, mirrored: bool, seed: int) -> None:
    view = View((24, 36), (height, width), mirrored)
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 24, (5, 2)).astype(np.float32)
    seen = points.copy()
    if mirrored:
        seen[:, 0] = 36 - seen[:, 0]
    seen *= [width / 36, height / 24]
    np.testing.assert_allclose(view.points_back(seen), points, atol=1e-4)
    boxes = np.concatenate([points, points + 3], axis=1)
    low, high = boxes[:, :2].copy(), boxes[:, 2:].copy()
    if mirrored:
        low[:, 0], high[:, 0] = 36 - boxes[:, 2], 36 - boxes[:, 0]
    seen_boxes = np.concatenate([low, high], axis=1) * np.tile([width / 36, height / 24], 2)
    np.testing.assert_allclose(view.boxes_back(seen_boxes), boxes, atol=1e-4)


def test_points_are_exchanged_in_a_mirrored_view() -> None:
    assert flip_order([(0, 2), (1, 1)], 3).tolist() == [2, 1, 0]
    with pytest.raises(ConfigError, match=r"\(0, 3\) names a point outside of 0..2"):
        flip_order([(0, 3)], 3)
