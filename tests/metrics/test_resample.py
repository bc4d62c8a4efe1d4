"""Figures of resampled images: all draws at once against the evaluator itself, which saw each image as often."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from saccade.metrics.base import Evaluator
from saccade.metrics.classification import ClassificationEvaluator
from saccade.metrics.detection import DetectionEvaluator
from saccade.metrics.joint import JointEvaluator
from saccade.metrics.resample import Resampling, draw_weights, records_of_draw, resampled_values
from saccade.metrics.saliency import SaliencyEvaluator
from saccade.metrics.segmentation import SegmentationEvaluator
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.tasks import get_task

NAMES = ("cat", "dog", "newt")
IDS = [40, 7, 12, 3, 25, 18, 9, 31]


def about(image_id: int, names: Sequence[str] = NAMES, size: tuple[int, int] = (100, 100)) -> dict[str, Any]:
    return {"path": f"{image_id}.jpg", "image_id": image_id, "image_size": size, "class_names": tuple(names)}


def detector() -> DetectionEvaluator:
    """Eight images with objects, moved copies of them as detections, false ones, a crowd, and an image without any."""
    rng = np.random.default_rng(5)
    evaluator = DetectionEvaluator(NAMES)
    for number, image_id in enumerate(IDS):
        count = 0 if number == 3 else 1 + number
        corner, side = rng.uniform(0, 60, (count, 2)), rng.uniform(10, 40, (count, 2))
        boxes = np.concatenate([corner, corner + side], axis=1)
        false = rng.uniform(0, 50, (4, 4)) + np.array([0, 0, 50, 50])
        moved = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), false])
        labels = rng.integers(0, 2, count)
        found = np.concatenate([labels, rng.integers(0, 3, 4)])
        crowd = np.arange(count) == 4
        result = Detections(**about(image_id), boxes_xyxy=moved, scores=rng.uniform(0, 1, len(moved)), labels=found)
        evaluator.update([result], [{"boxes": boxes, "labels": labels, "iscrowd": crowd}])
    return evaluator


def classifier() -> ClassificationEvaluator:
    rng = np.random.default_rng(6)
    evaluator = ClassificationEvaluator(NAMES)
    for image_id in IDS:
        probabilities = rng.dirichlet(np.ones(3))
        result = Classification(**about(image_id), probabilities=probabilities)
        evaluator.update([result], [{"labels": np.array(rng.integers(0, 2))}])
    return evaluator


def segmenter(names: tuple[str, ...] = NAMES) -> Evaluator:
    rng = np.random.default_rng(7)
    evaluator: Evaluator = SegmentationEvaluator(names)
    if len(names) == 2:
        evaluator = JointEvaluator(evaluator, SaliencyEvaluator())
    for image_id in IDS:
        truth = rng.integers(0, 2, (12, 12)).astype(np.uint8)
        truth[0] = 255
        result = SegmentationMap(
            **about(image_id, names, (12, 12)), label_map=rng.integers(0, len(names), (12, 12)).astype(np.uint8)
        )
        evaluator.update([result], [{"label_map": truth}])
    return evaluator


def pose() -> Evaluator:
    rng = np.random.default_rng(8)
    evaluator = get_task("keypoints").evaluator(DatasetInfo("people", "keypoints", ("a", "b")))
    for image_id in IDS:
        truth = rng.uniform(0, 100, (2, 2, 2))
        result = Keypoints(
            **about(image_id, ("a", "b")),
            keypoints=truth + rng.normal(0, 4, truth.shape),
            point_scores=np.ones((2, 2)),
            scores=rng.uniform(0, 1, 2),
        )
        target = {"keypoints": np.concatenate([truth, np.full((2, 2, 1), 2.0)], axis=-1), "area": np.full(2, 900.0)}
        evaluator.update([result], [target])
    return evaluator


@pytest.mark.parametrize("make", [detector, classifier, segmenter, lambda: segmenter(("background", "cell")), pose])
def test_every_draw_has_the_figures_of_the_data_set_that_was_drawn(make: Any) -> None:
    evaluator = make()
    weights = draw_weights(len(IDS), 25, seed=3)
    weights[0] = 1  # all images as they are
    assert isinstance(evaluator, Resampling)
    values = resampled_values(evaluator, IDS, weights)
    assert evaluator.compute().primary in values
    worker = copy.deepcopy(evaluator)
    for draw, weight in enumerate(weights):
        worker.merge([records_of_draw(evaluator.state(), IDS, weight)])
        expected = worker.compute().values
        for name, figures in values.items():
            assert figures[draw] == pytest.approx(expected[name], abs=1e-12, nan_ok=True), (name, draw)
    assert np.ptp(values[evaluator.compute().primary]) > 0


def test_an_evaluator_without_a_way_of_its_own_is_computed_from_its_records() -> None:
    evaluator = SaliencyEvaluator()
    maps = np.linspace(0, 1, len(IDS))
    for image_id, value in zip(IDS, maps, strict=True):
        result = SegmentationMap(
            **about(image_id, ("cell",), (4, 4)),
            label_map=np.zeros((4, 4), np.uint8),
            probabilities=np.full((4, 4), value, np.float32),
        )
        evaluator.update([result], [{"label_map": np.eye(4, dtype=np.uint8)}])
    before = evaluator.compute().values
    only_first = np.zeros((1, len(IDS)), np.int64)
    only_first[0, 0] = len(IDS)
    assert resampled_values(evaluator, IDS, only_first)["MAE"][0] == pytest.approx(0.25)
    assert evaluator.compute().values == before


def test_draws_are_as_large_as_the_data_set_and_repeat_with_their_seed() -> None:
    weights = draw_weights(50, 400)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == draw_weights(50, 400)).all()
    assert (weights != draw_weights(50, 400, seed=1)).any()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.25)  # no image is favoured
