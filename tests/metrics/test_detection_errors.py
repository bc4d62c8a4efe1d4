from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.metrics.references import pycocotools_evaluation, random_set
from tests.metrics.test_coco import evaluator_of

from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.detection_errors import ERRORS, error_breakdown
from saccade.results.detections import Detections

CLASSES = ("cat", "dog")
FAR = [500.0, 500, 510, 510]


def evaluator(
    ground_truth: Any, ground_truth_labels: Any, found: Any, scores: Any, labels: Any, crowd: Any = None
) -> CocoEvaluator:
    """One image; object ``i`` of ten pixels lies at 20 ``i``."""
    target = {"boxes": np.array(ground_truth, float).reshape(-1, 4), "labels": np.array(ground_truth_labels, int)}
    if crowd is not None:
        target["iscrowd"] = np.array(crowd, bool)
    about = {"path": "1.jpg", "image_id": 1, "image_size": (480, 640), "class_names": CLASSES}
    boxes = np.array(found, float).reshape(-1, 4)
    result = Detections(**about, boxes_xyxy=boxes, scores=np.array(scores, float), labels=np.array(labels, int))
    whole = CocoEvaluator(CLASSES)
    whole.update([result], [target])
    return whole


def breakdown(*args: Any, **options: Any) -> tuple[dict[str, int], dict[str, float]]:
    rows = error_breakdown(evaluator(*args, **options).table())
    assert tuple(row["error"] for row in rows) == ERRORS
    return {row["error"]: row["count"] for row in rows}, {row["error"]: row["AP50_gained"] for row in rows}


def box(number: float, shift: float = 0.0) -> list[float]:
    return [20 * number, shift, 20 * number + 10, 10 + shift]


def only(name: str, count: int = 1) -> dict[str, int]:
    return {error: count if error == name else 0 for error in ERRORS}


# IoU of a box of ten pixels with itself shifted by 5: 1/3. By 2: 2/3. By 9: 1/19.
CASES = {
    "localisation": ([box(0), box(1)], [0, 0], [box(0), box(1, 5)], [0.9, 0.8], [0, 0]),
    "classification": ([box(0), box(1)], [0, 0], [box(0), box(1, 2)], [0.9, 0.8], [0, 1]),
    "duplicate": ([box(0), box(1)], [0, 0], [box(0), box(0, 2), box(1)], [0.9, 0.8, 0.7], [0, 0, 0]),
    "background": ([box(0), box(1)], [0, 0], [box(0), FAR, box(1)], [0.9, 0.8, 0.7], [0, 0, 0]),
    "both": (
        [box(0), box(1), box(2)],
        [0, 0, 1],
        [box(0), box(1, 5), box(1), box(2)],
        [0.9, 0.8, 0.7, 0.6],
        [0, 1, 0, 1],
    ),
    "missed": ([box(0), box(1)], [0, 0], [box(0)], [0.9], [0]),
}


@pytest.mark.parametrize("name", CASES)
def test_one_error_is_named_and_its_correction_makes_the_detector_perfect(name: str) -> None:
    counts, gained = breakdown(*CASES[name])
    assert counts == only(name)
    base = evaluator(*CASES[name]).compute().values["AP50"]
    assert 0 < base < 1
    for error, gain in gained.items():
        assert gain == pytest.approx(1 - base if error == name else 0, abs=1e-12), error


def test_known_costs() -> None:
    """Recall 1/2 at precision 1 reaches 51 of the 101 points."""
    assert breakdown(*CASES["missed"])[1]["missed"] == pytest.approx(50 / 101)
    assert breakdown(*CASES["localisation"])[1]["localisation"] == pytest.approx(50 / 101)
    # With the wrong one between: 51 points at 1, 50 at 2/3.
    assert breakdown(*CASES["background"])[1]["background"] == pytest.approx(50 / 101 / 3)
    assert breakdown(*CASES["duplicate"])[1]["duplicate"] == pytest.approx(50 / 101 / 3)


def test_an_object_found_already_is_not_found_again() -> None:
    """Two loose boxes about one object that a third one found: their correction is their end."""
    counts, gained = breakdown([box(0)], [0], [box(0, 5), box(0, -5), box(0)], [0.9, 0.8, 0.7], [0, 0, 0])
    assert counts == only("localisation", 2)
    assert gained["localisation"] == pytest.approx(1 - 1 / 3)


def test_of_several_corrections_about_an_object_the_highest_scoring_finds_it() -> None:
    counts, gained = breakdown([box(0)], [0], [box(0, 5), box(0, -5)], [0.9, 0.8], [0, 0])
    assert counts == only("localisation", 2)
    assert gained["localisation"] == pytest.approx(1.0)


def test_a_class_that_was_wholly_missed_leaves_the_mean_when_that_is_corrected() -> None:
    counts, gained = breakdown([box(0), box(1)], [0, 1], [box(0)], [0.9], [0])
    assert counts == only("missed")
    assert gained["missed"] == pytest.approx(0.5)


def test_the_right_class_is_asked_before_the_wrong_one() -> None:
    """0.33 of a cat and all of a dog: the cat is badly placed, although it would be a perfect dog."""
    counts, _ = breakdown([box(0), box(0, 5)], [0, 1], [box(0, 5)], [0.9], [0])
    assert counts == {**only("localisation"), "missed": 1}


def test_less_than_a_tenth_is_background_and_crowds_do_not_count() -> None:
    counts, _ = breakdown([box(0)], [0], [box(0), box(0, 9)], [0.9, 0.8], [0, 0])
    assert counts == only("background")
    counts, gained = breakdown(
        [box(0), [100, 100, 300, 300]], [0, 0], [box(0), [110, 110, 120, 120]], [0.9, 0.8], [0, 0], [False, True]
    )
    assert counts == dict.fromkeys(ERRORS, 0)
    assert set(gained.values()) == {0.0}


def test_without_objects_nothing_can_be_gained() -> None:
    counts, gained = breakdown([], [], [FAR], [0.9], [0])
    assert counts == only("background")
    assert all(math.isnan(gain) for gain in gained.values())
    counts, _ = breakdown([], [], [], [], [])
    assert sum(counts.values()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_on_a_random_set_every_wrong_detection_has_one_kind(seed: int) -> None:
    dataset, found = random_set(seed)
    whole = evaluator_of(dataset, found)
    report = whole.compute()
    rows = {row["error"]: row for row in report.breakdown}
    assert all(row["AP50_gained"] >= -1e-12 for row in rows.values())
    evaluation = pycocotools_evaluation(dataset, found)
    of_all_sizes = [e for e in evaluation.evalImgs if e is not None and e["aRng"] == [0, 1e10]]
    wrong = sum(int((np.asarray(e["dtMatches"])[0] == 0).sum()) for e in of_all_sizes)
    assert wrong == sum(rows[name]["count"] for name in ERRORS if name != "missed")
