from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from saccade.errors import DataError
from saccade.metrics.few_shot import FewShotEvaluator


def episodes(count: int = 200) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    ground_truths = [np.repeat(np.arange(5), 15) for _ in range(count)]
    return [
        (np.where(rng.random(75) < 0.7, ground_truth, rng.integers(0, 5, 75)), ground_truth)
        for ground_truth in ground_truths
    ]


def test_mean_and_interval_as_papers_print_them() -> None:
    evaluator = FewShotEvaluator()
    for number, (predicted, ground_truth) in enumerate(episodes()):
        evaluator.update(number, predicted, ground_truth)
    accuracies = [np.mean(predicted == ground_truth) for predicted, ground_truth in episodes()]
    report = evaluator.compute()
    assert report.primary == "accuracy"
    assert report.score == pytest.approx(np.mean(accuracies))
    assert report.values["interval_95"] == pytest.approx(1.96 * np.std(accuracies) / np.sqrt(200))
    assert report.values["episodes"] == 200


def test_the_interval_holds_the_true_accuracy_in_95_of_100_runs() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        evaluator = FewShotEvaluator()
        for number in range(100):
            ground_truth = np.zeros(20, int)
            evaluator.update(number, (rng.random(20) > 0.6).astype(int), ground_truth)
        values = evaluator.compute().values
        held += abs(values["accuracy"] - 0.6) <= values["interval_95"]
    assert 0.92 < held / 400 < 0.98


def test_episodes_of_different_length_count_alike() -> None:
    evaluator = FewShotEvaluator()
    evaluator.update(0, np.array([1]), np.array([1]))
    evaluator.update(1, np.array([0, 0, 0]), np.array([1, 1, 1]))
    assert evaluator.compute().values["accuracy"] == 0.5


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    given = episodes(9)
    whole = FewShotEvaluator()
    states = []
    for part in ([0, 3, 6], [1, 4, 7, 0], [2, 5, 8, 1]):
        evaluator = FewShotEvaluator()
        for number in part:
            evaluator.update(number, *given[number])
            whole.update(number, *given[number])
        states.append(pickle.loads(pickle.dumps(evaluator.state())))
    for order in ((0, 1, 2), (2, 1, 0)):
        merged = FewShotEvaluator()
        merged.merge([states[i] for i in order])
        assert merged.compute() == whole.compute()


def test_none_and_one_episode_have_no_interval() -> None:
    evaluator = FewShotEvaluator()
    assert math.isnan(evaluator.compute().values["accuracy"])
    evaluator.update(0, np.array([1]), np.array([1]))
    values = evaluator.compute().values
    assert (values["accuracy"], values["episodes"]) == (1.0, 1.0)
    assert math.isnan(values["interval_95"])


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="episode 7: there are 2 predictions for 3 queries"):
        FewShotEvaluator().update(7, np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="episode 8: there are 0 predictions for 0 queries"):
        FewShotEvaluator().update(8, np.zeros(0), np.zeros(0))
