"""Sampler of pairs of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from saccade.data.loading.sampler import SampleKey
from saccade.errors import ConfigError

__all__ = ["PairSampler"]


class PairSampler:
    """Sampler of pairs of the same and of different classes (Koch et al. 2015, section 3.4).

    Images 2i and 2i + 1 of a batch are a pair.

    Args:
        labels: Class of every image, shape (M,).
        batch_size: Pairs a batch.
        pairs: Pairs an epoch and process.
        same: Share of the pairs that are of one class.
        seed: Of the run.
        rank: This process; processes draw different pairs.

    Raises:
        ConfigError: If there is no pair of one class, or none of two.

    Example:
        >>> labels = [0, 0, 1, 1]
        >>> (batch,) = PairSampler(labels, batch_size=4, pairs=4, same=0.5)
        >>> [labels[a.index] == labels[b.index] for a, b in zip(batch[::2], batch[1::2])]
        [True, True, False, False]
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[np.int64],
        batch_size: int,
        pairs: int,
        same: float = 0.5,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        if batch_size < 1 or pairs < 1 or not 0 <= same <= 1:
            raise ConfigError(f"{pairs} pairs in batches of {batch_size}, {same} of them of one class, make no epoch.")
        self._labels = np.asarray(labels, np.int64)
        members = [np.flatnonzero(self._labels == label) for label in np.unique(self._labels)]
        self._several = [images for images in members if len(images) > 1]
        self._members = members
        if (same > 0 and not self._several) or (same < 1 and len(members) < 2):
            raise ConfigError("pairs need a class with two images, and two classes. Check the labels of the data set.")
        self.batch_size, self.pairs, self.same = batch_size, pairs, same
        self.seed, self.rank = seed, rank
        self.set_epoch(0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-self.pairs // self.batch_size)

    def set_epoch(self, epoch: int, start_batch: int = 0, phase: int = 0, size: tuple[int, int] | None = None) -> None:
        """Choose the epoch, its first batch, the augmentation that holds and the canvas."""
        self._epoch, self._start, self._phase, self._size = epoch, start_batch, phase, size

    def __len__(self) -> int:
        """Batches left in this epoch."""
        return max(self.batches_per_epoch - self._start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch in range(self._start, self.batches_per_epoch):
            rng = np.random.default_rng([self.seed, self._epoch, batch, self.rank, 2])
            count = min(self.batch_size, self.pairs - batch * self.batch_size)
            equal = round(count * self.same)
            indices: list[int] = []
            for number in range(count):
                if number < equal:
                    images = self._several[rng.integers(len(self._several))]
                    indices += rng.choice(images, 2, replace=False).tolist()
                else:
                    first, second = rng.choice(len(self._members), 2, replace=False)
                    indices += [int(rng.choice(self._members[row])) for row in (first, second)]
            # The position in the batch is part of the key: one image twice in a batch is augmented twice.
            yield [
                SampleKey(self._epoch, index, self._size, self._phase, batch * 2 * self.batch_size + position)
                for position, index in enumerate(indices)
            ]

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        return list(islice((key for batch in self for key in batch), count))
