"""Who is in a batch: episodes, pairs, and the shares of processes that evaluate."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.loading.episodes import EpisodeSampler
from saccade.data.loading.pairs import PairSampler
from saccade.data.loading.sampler import EvalSampler, KeySampler
from saccade.errors import ConfigError

LABELS = np.repeat(np.arange(6), 5)


def indices(sampler: KeySampler) -> list[list[int]]:
    return [[key.index for key in batch] for batch in sampler]


def test_an_episode_has_n_ways_of_k_shots_and_q_queries() -> None:
    sampler = EpisodeSampler(LABELS, ways=3, shots=1, queries=2, episodes=50, seed=1)
    assert len(sampler) == 50
    for batch in indices(sampler):
        classes = LABELS[batch].reshape(3, 3)
        assert (classes == classes[:, :1]).all()  # class by class
        assert len(set(classes[:, 0])) == 3
        assert len(set(batch)) == 9  # no image is support and query at once


@pytest.mark.parametrize("kind", ["episodes", "pairs"])
def test_epochs_differ_and_a_resumed_epoch_goes_on_where_it_stopped(kind: str) -> None:
    def make(rank: int = 0) -> KeySampler:
        if kind == "episodes":
            return EpisodeSampler(LABELS, 2, 1, 1, 6, seed=3, rank=rank)
        return PairSampler(LABELS, batch_size=4, pairs=22, seed=3, rank=rank)

    sampler = make()
    first = indices(sampler)
    assert first == indices(make())
    assert first != indices(make(rank=1))
    sampler.set_epoch(0, start_batch=4)
    assert len(sampler) == 2
    assert indices(sampler) == first[4:]
    sampler.set_epoch(1)
    assert indices(sampler) != first
    assert [key.index for key in sampler.first_keys(3)] == indices(sampler)[0][:3]


def test_pairs_are_of_one_class_and_of_two_in_the_share_asked_for() -> None:
    sampler = PairSampler(LABELS, batch_size=8, pairs=40, same=0.25)
    batches = indices(sampler)
    assert [len(batch) for batch in batches] == [16] * 5
    same = [LABELS[a] == LABELS[b] for batch in batches for a, b in zip(batch[::2], batch[1::2], strict=True)]
    assert sum(same) == 10
    assert all(a != b for batch in batches for a, b in zip(batch[::2], batch[1::2], strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EpisodeSampler(LABELS, 7, 1, 1, 1), "6 of 6 classes have 2 images, and 7 are needed"),
        (lambda: EpisodeSampler(LABELS, 2, 5, 1, 1), "0 of 6 classes have 6 images"),
        (lambda: PairSampler([0, 1, 2], 2, 4), "a class with two images"),
        (lambda: PairSampler([0, 0], 2, 4), "two classes"),
    ],
)
def test_data_that_cannot_give_them_is_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_processes_share_the_images_of_an_evaluation_and_keep_canvases_together() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    shares = [[index for batch in indices(EvalSampler(7, 2, rank, 2, groups)) for index in batch] for rank in range(2)]
    assert len(shares[0]) == len(shares[1])
    assert set(shares[0]) | set(shares[1]) == set(range(7))
    for rank, share in enumerate(shares):
        own = set(groups[list(dict.fromkeys(share))])
        other = set(groups[list(dict.fromkeys(shares[1 - rank]))])
        assert not own & other
