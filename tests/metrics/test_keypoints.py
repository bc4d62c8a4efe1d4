from __future__ import annotations

import math

import numpy as np
import pytest

from saccade.errors import DataError
from saccade.metrics.keypoints import KeypointEvaluator, normaliser
from saccade.results.keypoints import Keypoints


def keypoints(image_id: int, points: np.ndarray) -> Keypoints:
    about = {"path": f"{image_id}.png", "image_id": image_id, "image_size": (200, 200), "class_names": ()}
    return Keypoints(**about, keypoints=points, point_scores=np.ones(points.shape[:2], np.float32))


def with_visibility(points: np.ndarray, visibility: float = 2) -> np.ndarray:
    return np.concatenate([points, np.full((*points.shape[:2], 1), visibility)], axis=-1).astype(np.float32)


SQUARE = np.array([[[10.0, 10], [110, 10], [10, 110], [110, 110]]])


def test_errors_are_shares_of_the_box() -> None:
    evaluator = KeypointEvaluator(("a", "b", "c", "d"))
    guess = SQUARE + np.array([[[3.0, 4], [0, 0], [0, 8], [20, 0]]])  # 5, 0, 8 and 20 pixels of 100
    evaluator.update([keypoints(0, guess)], [{"keypoints": with_visibility(SQUARE)}])
    report = evaluator.compute()
    assert report.values["NME"] == pytest.approx(0.0825)
    assert report.values["PCK@0.05"] == 0.5
    assert report.values["PCK@0.1"] == 0.75
    assert report.values["failure_rate@0.1"] == 0.0
    assert (report.primary, report.higher_is_better, report.score) == ("NME", False, -report.values["NME"])
    assert [row["NME"] for row in report.per_class] == pytest.approx([0.05, 0, 0.08, 0.2])
    curve = report.curves["cumulative_error"]
    assert curve["y"]["objects"][0] == 0
    assert curve["y"]["objects"][-1] == 1


def test_normaliser_is_the_ground_truths_box_or_the_tight_one_or_the_eyes() -> None:
    points = with_visibility(np.array([[[0.0, 0], [30, 0], [30, 40], [500, 500]]]))[0]
    points[3, 2] = 0  # not labelled
    assert normaliser(points) == pytest.approx(math.sqrt(30 * 40))
    assert normaliser(points, np.array([0.0, 0, 100, 25])) == pytest.approx(50)
    assert normaliser(points, eyes=(0, 2)) == pytest.approx(50)
    assert math.isnan(normaliser(points, eyes=(0, 3)))
    assert math.isnan(normaliser(np.zeros((4, 3))))
    flat = with_visibility(np.array([[[0.0, 0], [30, 0]]]))[0]
    assert math.isnan(normaliser(flat))


def test_unlabelled_points_do_not_count() -> None:
    ground_truth = with_visibility(SQUARE)
    ground_truth[0, 3] = 0
    guess = SQUARE.copy()
    guess[0, 3] = 999
    evaluator = KeypointEvaluator()
    evaluator.update([keypoints(0, guess)], [{"keypoints": ground_truth}])
    report = evaluator.compute()
    assert report.values["NME"] == 0
    assert report.per_class[3]["points"] == 0
    assert math.isnan(report.per_class[3]["NME"])


def test_a_missing_object_is_a_failure_and_pairs_are_the_cheapest() -> None:
    ground_truth = np.concatenate([SQUARE, SQUARE + 200])
    evaluator = KeypointEvaluator()
    evaluator.update([keypoints(0, ground_truth[::-1] + 1)], [{"keypoints": with_visibility(ground_truth)}])
    assert evaluator.compute().values["NME"] == pytest.approx(math.sqrt(2) / 100)
    evaluator.update([keypoints(1, ground_truth[1:])], [{"keypoints": with_visibility(ground_truth)}])
    evaluator.update([keypoints(2, np.full((1, 4, 2), np.nan))], [{"keypoints": with_visibility(SQUARE)}])
    values = evaluator.compute().values
    assert values["failure_rate@0.1"] == pytest.approx(2 / 5)
    assert values["NME"] == pytest.approx((2 * math.sqrt(2) / 100 + 1 + 0 + 1) / 5)


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    rng = np.random.default_rng(0)
    whole = KeypointEvaluator()
    for image in range(9):
        whole.update(
            [keypoints(image, SQUARE + rng.normal(0, 6, SQUARE.shape))], [{"keypoints": with_visibility(SQUARE)}]
        )
    state = whole.state()
    parts = [{i: state[i] for i in part} for part in ([0, 1, 2], [3, 4, 5, 0], [6, 7, 8])]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = KeypointEvaluator()
        merged.merge([parts[i] for i in order])
        assert merged.compute() == whole.compute()


def test_nothing_seen_and_no_objects_are_undefined() -> None:
    evaluator = KeypointEvaluator(("a",))
    assert all(math.isnan(value) for value in evaluator.compute().values.values())
    evaluator.update([keypoints(0, np.zeros((0, 1, 2)))], [{"keypoints": np.zeros((0, 1, 3))}])
    assert math.isnan(evaluator.compute().values["NME"])


def test_other_numbers_of_points_are_named() -> None:
    with pytest.raises(DataError, match=r"5\.png: the prediction has 4 points, the ground truth 2"):
        KeypointEvaluator().update([keypoints(5, SQUARE)], [{"keypoints": np.zeros((1, 2, 3))}])


def test_an_object_without_labelled_points_takes_no_prediction_from_one_that_has_some() -> None:
    seen = np.array([[10.0, 10, 2], [50, 10, 2], [30, 60, 2]])
    target = {"keypoints": np.stack([np.zeros((3, 3)), seen, np.zeros((3, 3))]).astype(np.float32)}
    about = {"path": "a.jpg", "image_id": 0, "image_size": (100, 100), "class_names": ("a", "b", "c")}
    result = Keypoints(**about, keypoints=seen[None, :, :2] + [1.0, 0], point_scores=np.ones((1, 3)))
    evaluator = KeypointEvaluator(("a", "b", "c"))
    evaluator.update([result], [target])
    assert evaluator.compute().values["NME"] == pytest.approx(1 / np.sqrt(40 * 50))


def test_objects_without_a_size_are_counted_in_a_note() -> None:
    line = np.array([[[50.0, 10], [50, 110], [50, 30], [50, 60]]])
    evaluator = KeypointEvaluator()
    for image_id, truth in enumerate((SQUARE, line, line)):
        evaluator.update([keypoints(image_id, truth)], [{"keypoints": with_visibility(truth)}])
    evaluator.update([keypoints(3, SQUARE)], [{"keypoints": with_visibility(SQUARE, visibility=0)}])
    report = evaluator.compute()
    assert report.values["NME"] == 0
    (note,) = report.notes
    assert "2 of the objects" in note
    assert "one horizontal or vertical line" in note
    eyes = KeypointEvaluator(eyes=(0, 1))
    same = np.array([[[50.0, 10], [50, 10], [50, 30], [90, 60]]])
    eyes.update([keypoints(0, same)], [{"keypoints": with_visibility(same)}])
    assert "the points 0 and 1" in eyes.compute().notes[0]
    evaluator = KeypointEvaluator()
    evaluator.update([keypoints(0, SQUARE)], [{"keypoints": with_visibility(SQUARE)}])
    assert evaluator.compute().notes == []
