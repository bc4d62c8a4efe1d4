"""Recall of proposals, against a slow version that follows the definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from saccade.metrics.proposals import COUNTS, THRESHOLDS, ProposalRecall, best_overlaps, plot_recall

Image = tuple[np.ndarray[Any, Any], dict[str, Any]]


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    corners = np.sort(rng.uniform(0, 100, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4)


def images(seed: int, count: int = 6) -> list[Image]:
    rng = np.random.default_rng(seed)
    made: list[Image] = []
    for _ in range(count):
        objects = random_boxes(rng, int(rng.integers(0, 5)))
        near = np.repeat(objects, 12, axis=0) + rng.normal(0, 4, (12 * len(objects), 4))
        proposals = np.concatenate([random_boxes(rng, int(rng.integers(0, 40))), near])
        proposals = np.concatenate(
            [np.minimum(proposals[:, :2], proposals[:, 2:]), np.maximum(*np.split(proposals, 2, 1))], 1
        )
        rng.shuffle(proposals)
        target = {
            "boxes": objects,
            "labels": rng.integers(0, 2, len(objects)),
            "iscrowd": rng.random(len(objects)) < 0.2,
            "difficult": rng.random(len(objects)) < 0.2,
        }
        made.append((proposals, target))
    return made


def slow_iou(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(
        shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
    )


def slow_recall(data: list[Image], number: int, threshold: float) -> float:
    found = objects = 0
    for proposals, target in data:
        for row, box in enumerate(target["boxes"]):
            if target["iscrowd"][row] or target["difficult"][row]:
                continue
            objects += 1
            found += any(slow_iou(box, proposal) >= threshold for proposal in proposals[:number])
    return found / objects


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_figures_equal_the_slow_version(seed: int) -> None:
    data = images(seed)
    recall = ProposalRecall(("ape", "bee"))
    for proposals, target in data:
        best = recall.update(proposals, target)
        assert best.tolist() == pytest.approx(
            [max((slow_iou(box, one) for one in proposals), default=0.0) for box in target["boxes"]]
        )
    report = recall.compute()
    expected = np.array([[slow_recall(data, number, threshold) for number in COUNTS] for threshold in THRESHOLDS])
    assert 0 < expected[5, 5] < 1  # the case says something
    curve = report.curves["recall_by_number"]
    np.testing.assert_allclose(curve["y"]["IoU 0.5"], expected[0])
    np.testing.assert_allclose(curve["y"]["IoU 0.7"], expected[4])
    np.testing.assert_allclose(curve["y"]["average recall"], expected.mean(axis=0))
    for number in (100, 300, 1000, 2000):
        column = COUNTS.index(number)
        np.testing.assert_allclose(report.curves["recall_by_overlap"]["y"][f"{number} proposals"], expected[:, column])
        assert report.values[f"AR@{number}"] == pytest.approx(expected[:, column].mean())
        assert report.values[f"recall50@{number}"] == pytest.approx(expected[0, column])
        assert report.values[f"recall70@{number}"] == pytest.approx(expected[4, column])
    assert report.values["proposals"] == pytest.approx(np.mean([len(proposals) for proposals, _ in data]))
    assert report.score == report.values["AR@2000"]


def test_the_best_overlap_of_each_class_is_averaged() -> None:
    recall = ProposalRecall(("ape", "bee", "cat"))
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float64)
    recall.update(np.array([[0, 0, 10, 10], [20, 0, 30, 5], [40, 0, 50, 2]]), {"boxes": boxes, "labels": [0, 2, 2]})
    report = recall.compute()
    assert report.per_class == [
        {"class": "ape", "objects": 1, "ABO": 1.0},
        {"class": "cat", "objects": 2, "ABO": pytest.approx(0.35)},
    ]
    assert report.values["MABO"] == pytest.approx(0.675)


def test_more_than_the_largest_number_of_proposals_does_not_count() -> None:
    proposals = np.concatenate([np.tile([[0, 0, 1, 1]], (2000, 1)), [[0, 0, 9, 9]]])
    assert best_overlaps(proposals, np.array([[0, 0, 9, 9]]))[0, -1] < 0.1


def test_thresholds_are_reached_in_spite_of_rounding() -> None:
    recall = ProposalRecall(("ape",))
    for share in THRESHOLDS:  # an overlap of exactly this share
        recall.update(
            np.array([[0.3, 0.1, 10.3, 0.1 + 7.7 * share]]), {"boxes": [[0.3, 0.1, 10.3, 7.8]], "labels": [0]}
        )
    np.testing.assert_allclose(
        recall.compute().curves["recall_by_overlap"]["y"]["100 proposals"], np.linspace(1, 0.1, 10)
    )


def test_no_objects_and_no_images_leave_the_figures_undefined() -> None:
    for recall in (ProposalRecall(("ape",)), ProposalRecall(("ape",))):
        report = recall.compute()
        assert math.isnan(report.values["AR@2000"])
        assert math.isnan(report.values["MABO"])
        recall.update(np.zeros((3, 4)), {"boxes": np.zeros((0, 4)), "labels": np.zeros(0)})
        assert math.isnan(recall.compute().values["recall50@100"])
        assert recall.compute().per_class == []


def test_both_curves_are_drawn() -> None:
    recall = ProposalRecall(("ape", "bee"))
    for proposals, target in images(0):
        recall.update(proposals, target)
    figure = plot_recall(recall.compute())
    number, overlap = figure.axes
    assert number.get_xscale() == "log"
    assert [line.get_label() for line in number.lines] == ["IoU 0.5", "IoU 0.7", "average recall"]
    assert [line.get_label() for line in overlap.lines] == [f"{n} proposals" for n in (100, 300, 1000, 2000)]
