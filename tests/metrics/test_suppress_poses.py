"""Suppression of poses by OKS against the similarity of the evaluation, pair by pair."""

from __future__ import annotations

import numpy as np

from saccade.metrics.oks import object_similarity, suppress_poses


def test_equals_a_plain_greedy_suppression_by_the_similarity_of_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    sigmas = rng.uniform(0.03, 0.1, 5)
    base = rng.uniform(0, 200, (4, 5, 2))
    poses = np.concatenate([base, base + rng.normal(0, 4, base.shape), base + rng.normal(0, 1, base.shape)])
    scores = rng.random(12)
    sides = rng.uniform(60, 120, (12, 2))
    boxes = np.concatenate([np.zeros((12, 2)), sides], axis=1)
    kept: list[int] = []
    for one in np.argsort(-scores):
        alike = False
        for other in kept:
            labelled = np.concatenate([poses[other], np.full((5, 1), 2.0)], axis=1)[None]
            area = np.array([(sides[one].prod() + sides[other].prod()) / 2])
            alike |= bool(object_similarity(poses[one][None], labelled, boxes[:1], area, sigmas)[0, 0] > 0.9)
        if not alike:
            kept.append(int(one))
    assert 4 <= len(kept) < 12
    assert suppress_poses(poses, scores, boxes, sigmas).tolist() == kept


def test_nothing_is_suppressed_among_none() -> None:
    assert not len(suppress_poses(np.zeros((0, 3, 2)), np.zeros(0), np.zeros((0, 4)), np.full(3, 0.05)))
