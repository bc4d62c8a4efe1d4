from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from saccade.errors import ConfigError, DataError
from saccade.metrics.classification import ClassificationEvaluator
from saccade.results.classification import Classification

NAMES = tuple("abcdefg")


def classification(image_id: int, probabilities: np.ndarray, names: tuple[str, ...] = NAMES) -> Classification:
    about = {"path": f"{image_id}.png", "image_id": image_id, "image_size": (8, 8), "class_names": names}
    return Classification(**about, probabilities=probabilities)


def random_evaluator(count: int = 300) -> tuple[ClassificationEvaluator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ground_truth = rng.integers(0, 6, count)  # class g never occurs
    logits = rng.normal(size=(count, 7)) + 1.5 * np.eye(7)[ground_truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    evaluator = ClassificationEvaluator(NAMES)
    for start in range(0, count, 64):
        batch = range(start, min(count, start + 64))
        results = [classification(i, probabilities[i]) for i in batch]
        evaluator.update(results, [{"labels": np.array(ground_truth[i])} for i in batch])
    return evaluator, probabilities, ground_truth


def test_figures_equal_those_of_scikit_learn() -> None:
    evaluator, probabilities, ground_truth = random_evaluator()
    report = evaluator.compute()
    labels = np.arange(7)
    predicted = probabilities.argmax(axis=1)
    assert report.primary == "top1"
    assert report.values["top1"] == pytest.approx(top_k_accuracy_score(ground_truth, probabilities, k=1, labels=labels))
    assert report.values["top5"] == pytest.approx(top_k_accuracy_score(ground_truth, probabilities, k=5, labels=labels))
    assert report.values["nll"] == pytest.approx(log_loss(ground_truth, probabilities, labels=labels))
    assert report.confusion["labels"] == list(NAMES)
    assert report.confusion["matrix"] == confusion_matrix(ground_truth, predicted, labels=labels).tolist()
    precision, recall, f1, support = precision_recall_fscore_support(
        ground_truth, predicted, labels=labels, zero_division=np.nan
    )
    for label, row in enumerate(report.per_class):
        assert row["class"] == NAMES[label]
        assert row["images"] == support[label]
        assert row["precision"] == pytest.approx(precision[label], nan_ok=True)
        assert row["recall"] == pytest.approx(recall[label], nan_ok=True)
        assert row["accuracy"] == pytest.approx(recall[label], nan_ok=True)
        assert row["F1"] == pytest.approx(f1[label], nan_ok=True)
    assert report.values["mean_class_accuracy"] == pytest.approx(np.nanmean(recall[:6]))
    with pytest.warns(UserWarning, match="classes not in y_true"):
        assert report.values["mean_class_accuracy"] == pytest.approx(balanced_accuracy_score(ground_truth, predicted))
    for kind in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            ground_truth, predicted, labels=labels, average=kind, zero_division=np.nan
        )
        assert report.values[f"{kind}_precision"] == pytest.approx(expected[0])
        assert report.values[f"{kind}_F1"] == pytest.approx(expected[2])
    assert report.values["brier"] == pytest.approx(((probabilities - np.eye(7)[ground_truth]) ** 2).sum(axis=1).mean())


def test_top5_needs_five_classes() -> None:
    evaluator = ClassificationEvaluator(("a", "b"))
    evaluator.update([classification(0, np.array([0.3, 0.7]), ("a", "b"))], [{"labels": np.array(1)}])
    assert list(evaluator.compute().values) == [
        "top1",
        "mean_class_accuracy",
        "macro_precision",
        "macro_F1",
        "weighted_precision",
        "weighted_F1",
        "nll",
        "brier",
        "ece",
        "adaptive_ece",
    ]


def test_any_k_can_be_asked_for() -> None:
    _, probabilities, ground_truth = random_evaluator(50)
    evaluator = ClassificationEvaluator(NAMES, top_k=(3, 1, 9))
    evaluator.update(
        [classification(i, probabilities[i]) for i in range(50)],
        [{"labels": np.array(label)} for label in ground_truth],
    )
    values = evaluator.compute().values
    assert [name for name in values if name.startswith("top")] == ["top1", "top3"]  # there are no nine classes
    assert values["top3"] == pytest.approx(top_k_accuracy_score(ground_truth, probabilities, k=3, labels=np.arange(7)))
    for wrong in ((5,), (0, 1)):
        with pytest.raises(ConfigError, match="top_k"):
            ClassificationEvaluator(NAMES, top_k=wrong)


def test_a_class_that_is_never_guessed_has_no_precision_and_is_left_out_of_its_mean() -> None:
    evaluator = ClassificationEvaluator(("a", "b", "c"))
    rows = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    for image, label in enumerate([0, 2, 1]):
        evaluator.update([classification(image, rows[image], ("a", "b", "c"))], [{"labels": np.array(label)}])
    report = evaluator.compute()
    assert math.isnan(report.per_class[2]["precision"])
    assert report.per_class[2]["F1"] == 0.0
    assert report.values["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert report.values["macro_F1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_nan_is_never_right_and_equal_probabilities_are_not_all_right() -> None:
    evaluator = ClassificationEvaluator(("a", "b"))
    evaluator.update([classification(0, np.array([np.nan, np.nan]), ("a", "b"))], [{"labels": np.array(0)}])
    assert evaluator.compute().values["top1"] == 0.0
    evaluator = ClassificationEvaluator(("a", "b"))
    for image, label in enumerate([0, 1]):
        evaluator.update([classification(image, np.array([0.5, 0.5]), ("a", "b"))], [{"labels": np.array(label)}])
    assert evaluator.compute().values["top1"] == 0.5


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    whole, _, _ = random_evaluator()
    state = whole.state()
    parts = [{i: state[i] for i in state if i % 3 == rest or i == 5} for rest in range(3)]
    for order in ((0, 1, 2), (2, 1, 0)):
        merged = ClassificationEvaluator(NAMES)
        merged.merge([parts[i] for i in order])
        assert merged.compute().values == whole.compute().values
        assert merged.compute().confusion == whole.compute().confusion


def test_nothing_seen_is_undefined() -> None:
    assert all(math.isnan(value) for value in ClassificationEvaluator(NAMES).compute().values.values())


def test_a_label_the_model_does_not_have_is_named() -> None:
    with pytest.raises(DataError, match=r"3\.png: ground truth is label 9.*7 classes"):
        ClassificationEvaluator(NAMES).update([classification(3, np.ones(7) / 7)], [{"labels": np.array(9)}])
