"""Metrics of embeddings against slow, obvious versions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from saccade.metrics.embedding import EmbeddingEvaluator, pair_distances, verification
from saccade.results.embedding import Embedding, distances


def _fed(vectors, labels, episodes=200, l1_weights=None):
    evaluator = EmbeddingEvaluator(episodes)
    for number, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        result = Embedding(
            path="a", image_id=number, image_size=(4, 4), class_names=(), vector=vector, l1_weights=l1_weights
        )
        evaluator.update([result], [{"labels": np.array(label)}])
    return evaluator.compute()


@pytest.mark.parametrize("weighted", [False, True])
def test_distances_are_those_of_a_loop(weighted):
    rng = np.random.default_rng(0)
    first, second, weights = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=3)
    found = distances(first, second, weights if weighted else None)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            gap = one - other
            expected = (np.abs(gap) * weights).sum() if weighted else (gap**2).sum()
            assert found[i, j] == pytest.approx(expected)


def test_verification_is_scikit_learns_area():
    rng = np.random.default_rng(0)
    same, different = rng.integers(0, 12, 80) / 4, rng.integers(3, 20, 300) / 4  # with ties
    truth = np.r_[np.ones(80), np.zeros(300)]
    found = verification(same, different)
    assert found.auc == pytest.approx(roc_auc_score(truth, -np.r_[same, different]))
    assert 0 < found.equal_error_rate < 0.5
    assert found.curve()["x"][-1] == found.curve()["y"]["same pairs accepted"][-1] == 1.0


def test_large_sets_are_sampled_and_small_ones_are_not():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(1200, 2)), np.arange(1200) // 3
    same, different = pair_distances(vectors, labels)
    assert len(same) == 1200  # all of them
    assert len(different) == 200_000
    expected = [((vectors[i] - vectors[j]) ** 2).sum() for i in range(1200) for j in range(i) if labels[i] == labels[j]]
    assert sorted(same) == pytest.approx(sorted(expected))


def test_random_vectors_score_chance_and_separated_ones_everything():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(25), 20)
    chance = _fed(rng.normal(size=(500, 8)), labels)
    assert chance.values["accuracy"] == chance.values["accuracy_5way_1shot"] == pytest.approx(0.2, abs=0.03)
    assert chance.values["accuracy_20way_5shot"] == pytest.approx(0.05, abs=0.02)
    assert chance.values["AUC"] == pytest.approx(0.5, abs=0.03)
    sure = _fed(np.eye(25)[labels] + 0.01 * rng.normal(size=(500, 25)), labels)
    assert {sure.values[key] for key in ("accuracy", "recall@1", "AUC")} == {1.0}


def test_weights_below_zero_are_obeyed():
    # The second number differs within a class and is equal between classes: only a negative weight tells them apart.
    vectors, labels = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 1, 1])
    report = _fed(vectors, labels, l1_weights=np.array([1.0, -0.5]))
    assert report.values["AUC"] == 1.0
    assert _fed(vectors, labels).values["AUC"] < 1.0


def test_large_vectors_are_compared_in_parts_of_bounded_memory():
    """200,000 pairs of 2,048 numbers are 3 GB at once."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.random((900, 2048)), np.arange(900) // 2
    tracemalloc.start()
    same, different = pair_distances(vectors, labels, np.ones(2048))
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest < 250e6
    assert len(different) == 200_000
    expected = [np.abs(vectors[row] - vectors[row + 1]).sum() for row in range(0, 900, 2)]
    assert sorted(same) == pytest.approx(sorted(expected))


def test_nearest_images_by_an_l1_distance_are_those_of_a_sample():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(110), 10)
    vectors = labels[:, None] + 0.01 * rng.random((1100, 1))
    report = _fed(vectors, labels, episodes=1, l1_weights=np.ones(1))
    assert report.values["recall@1"] == 1.0
    assert report.notes == ["recall@1 is that of 1,000 of 1,100 images."]
    assert _fed(vectors, labels, episodes=1).notes == []


def test_few_classes_leave_settings_out_and_the_area_decides():
    report = _fed(np.eye(3)[np.arange(6) % 3], np.arange(6) % 3)
    assert report.primary == "AUC"
    assert not [name for name in report.values if name.startswith("accuracy")]


def test_a_single_image_is_no_crash():
    values = _fed(np.ones((1, 4)), [0]).values
    assert np.isnan([values["AUC"], values["recall@1"]]).all()
