"""Sampler of few-shot episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from saccade.data.loading.sampler import SampleKey
from saccade.errors import ConfigError

__all__ = ["EpisodeSampler"]


class EpisodeSampler:
    """Sampler of N-way K-shot episodes (Vinyals et al. 2016, section 2.2).

    Every batch has N classes, K + Q images of each. It is ordered class by class, the K support images before the Q
    queries.

    Args:
        labels: Class of every image, shape (M,).
        ways: N, classes an episode.
        shots: K, support images a class.
        queries: Q, query images a class.
        episodes: Batches an epoch and process.
        seed: Of the run.
        rank: This process; processes draw different episodes.

    Raises:
        ConfigError: If too few classes have K + Q images.

    Example:
        >>> sampler = EpisodeSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], ways=2, shots=1, queries=2, episodes=4)
        >>> [len(batch) for batch in sampler]
        [6, 6, 6, 6]
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[np.int64],
        ways: int,
        shots: int,
        queries: int,
        episodes: int,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        if min(ways, shots, queries, episodes) < 1:
            raise ConfigError(
                f"an episode has {ways} ways, {shots} shots and {queries} queries; each must be at least 1."
            )
        known = np.asarray(labels, np.int64)
        members = [np.flatnonzero(known == label) for label in np.unique(known)]
        self._members = [images for images in members if len(images) >= shots + queries]
        if len(self._members) < ways:
            raise ConfigError(
                f"{len(self._members)} of {len(members)} classes have {shots + queries} images, and {ways} are needed. "
                "Lower ways, shots or queries."
            )
        self.ways, self.shots, self.queries, self.episodes = ways, shots, queries, episodes
        self.seed, self.rank = seed, rank
        self.set_epoch(0)

    @property
    def batches_per_epoch(self) -> int:
        """Episodes of an epoch."""
        return self.episodes

    def set_epoch(self, epoch: int, start_batch: int = 0, phase: int = 0, size: tuple[int, int] | None = None) -> None:
        """Choose the epoch, its first episode, the augmentation that holds and the canvas."""
        self._epoch, self._start, self._phase, self._size = epoch, start_batch, phase, size

    def __len__(self) -> int:
        """Episodes left in this epoch."""
        return max(self.episodes - self._start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for episode in range(self._start, self.episodes):
            rng = np.random.default_rng([self.seed, self._epoch, episode, self.rank, 1])
            keys = []
            for row in rng.choice(len(self._members), self.ways, replace=False):
                images = self._members[row]
                keys += images[rng.permutation(len(images))[: self.shots + self.queries]].tolist()
            yield [SampleKey(self._epoch, index, self._size, self._phase, episode) for index in keys]

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        return list(islice((key for batch in self for key in batch), count))
