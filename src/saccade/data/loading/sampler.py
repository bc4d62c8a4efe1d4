"""Samplers draw the images of each batch, and send the whole key of each sample to the worker.

Every sampler is a :class:`KeySampler`: :class:`EpochSampler` shuffles, :class:`EvalSampler` keeps the order,
:class:`~saccade.data.loading.episodes.EpisodeSampler` draws few-shot episodes and
:class:`~saccade.data.loading.pairs.PairSampler` pairs of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError

__all__ = ["EpochSampler", "EvalSampler", "KeySampler", "SampleKey"]


class SampleKey(NamedTuple):
    """Key of a sample: all that decides it besides data set and configuration.

    Args:
        epoch: Counted from 0.
        index: Image.
        size: Canvas (height, width); the network's own if None.
        phase: Number of the phase, whose augmentation is in force.
        repeat: How often the image was in this epoch before.

    Example:
        >>> SampleKey(epoch=2, index=5, phase=1)
        SampleKey(epoch=2, index=5, size=None, phase=1, repeat=0)
    """

    epoch: int
    index: int  # type: ignore[assignment]  # a tuple has a method of that name, which nobody needs of a key
    size: tuple[int, int] | None = None
    phase: int = 0
    repeat: int = 0


class KeySampler(Protocol):
    """Protocol of samplers: the keys of each batch of an epoch.

    They follow from seed and epoch alone, so that runs resume.
    """

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch."""
        ...

    def set_epoch(self, epoch: int, start_batch: int = 0, phase: int = 0, size: tuple[int, int] | None = None) -> None:
        """Choose what the next iteration gives: an epoch from one of its batches on, with a phase's augmentation."""
        ...

    def __len__(self) -> int:
        """Batches left in this epoch."""
        ...

    def __iter__(self) -> Iterator[list[SampleKey]]: ...

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        ...


class EpochSampler:
    """Sampler that shuffles the images of each epoch, for one of several processes.

    Process r takes every ``world_size``-th position of the epoch's order, from r on, so that batch b of all processes
    together is the same set of images for any number of processes with the same total batch. The order is repeated
    from its start until all processes have equally many. A last batch of one image joins the batch before it, since
    BatchNorm has no statistics of one value a channel.

    Args:
        length: Images in the data set.
        batch_size: Images a batch and process.
        seed: Of the run.
        rank: This process.
        world_size: Number of processes.
        multiscale: By phase, what canvases are drawn from, (height, width) or the side of square ones, and the number
            of steps between two draws.
        repeats: Times that an image of an epoch is in it, one after the other, each time augmented anew; an epoch is
            as long as ever and so has a share of the images only (Berman et al. 2019, MultiGrain, section 3.2).
        weights: Share of the draws of each image, (length,): an epoch then draws with replacement; None shuffles.

    Raises:
        ConfigError: If there would be no batch.

    Example:
        >>> sampler = EpochSampler(5, batch_size=2)
        >>> sampler.set_epoch(3)
        >>> [len(batch) for batch in sampler], sorted(key.index for batch in sampler for key in batch)
        ([2, 3], [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        multiscale: Mapping[int, tuple[Sequence[int | tuple[int, int]], int]] | None = None,
        repeats: int = 1,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        if repeats < 1:
            raise ConfigError(f"data.repeats must be at least 1, got {repeats}.")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.multiscale = dict(multiscale or {})
        self.repeats = repeats
        self._chances = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
        self.set_epoch(0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch."""
        whole, rest = divmod(self._share, self.batch_size)
        return whole + (rest > (1 if whole else 0))

    @property
    def _share(self) -> int:
        return -(-self.length // self.world_size)

    def set_epoch(self, epoch: int, start_batch: int = 0, phase: int = 0, size: tuple[int, int] | None = None) -> None:
        """Choose what the next iteration gives.

        Args:
            epoch: Counted from 0.
            start_batch: First batch, to go on in the middle of an epoch.
            phase: Number of the phase, whose augmentation is in force.
            size: Canvas (height, width); the network's own if None. The phase's ``multiscale`` goes before it.
        """
        self.epoch = epoch
        self.start_batch = start_batch
        self.phase = phase
        self.size = size

    def __len__(self) -> int:
        """Batches left in this epoch."""
        return max(self.batches_per_epoch - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return self._batches(self.epoch, self.start_batch, self.phase, self.size)

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        return list(islice((key for batch in self for key in batch), count))

    def _batches(self, epoch: int, start: int, phase: int, size: tuple[int, int] | None) -> Iterator[list[SampleKey]]:
        # [seed, epoch, length] is the stream of no sample: indices end before length. Trailing zeros would be dropped
        # by SeedSequence.
        rng = np.random.default_rng([self.seed, epoch, self.length])
        drawn = self._chances is not None
        order = rng.choice(self.length, self.length, p=self._chances) if drawn else rng.permutation(self.length)
        positions = np.arange(self.rank, self._share * self.world_size, self.world_size) % max(self.length, 1)
        for batch in range(start, self.batches_per_epoch):
            canvas = self._canvas(epoch * self.batches_per_epoch + batch, phase, size)
            last = batch + 1 == self.batches_per_epoch
            chosen = positions[batch * self.batch_size : None if last else (batch + 1) * self.batch_size]
            yield [
                SampleKey(epoch, int(order[position // self.repeats]), canvas, phase, int(position % self.repeats))
                for position in chosen
            ]

    def _canvas(self, step: int, phase: int, size: tuple[int, int] | None) -> tuple[int, int] | None:
        sides, every = self.multiscale.get(phase, ((), 1))
        if not sides:
            return size
        side = sides[int(np.random.default_rng([self.seed, step // every, self.length + 1]).choice(len(sides)))]
        return (side, side) if isinstance(side, int) else side


class EvalSampler:
    """Sampler of every canvas in the data set's order; of several processes each has its share.

    Args:
        length: Canvases in the data set.
        batch_size: Canvases a batch and process.
        rank: This process.
        world_size: Number of processes. Some canvases are seen twice to make the shares equal.
        groups: Image that each canvas shows, shape (length,); canvases of one image stay together.

    Example:
        >>> [[key.index for key in batch] for batch in EvalSampler(5, 2)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        self.batch_size = batch_size
        if groups is None or world_size == 1:
            share = -(-length // world_size)
            self._order = np.arange(rank, share * world_size, world_size) % max(length, 1)
        else:
            members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
            shares = [np.concatenate(members[one::world_size] or members[:1]) for one in range(world_size)]
            self._order = np.resize(shares[rank], max(map(len, shares)))
        self.set_epoch(0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of this process."""
        return -(-len(self._order) // self.batch_size)

    def set_epoch(self, epoch: int, start_batch: int = 0, phase: int = 0, size: tuple[int, int] | None = None) -> None:
        """Go on from one of the batches; the order is that of every epoch."""
        self._epoch, self._start, self._phase, self._size = epoch, start_batch, phase, size

    def __len__(self) -> int:
        """Batches left."""
        return max(self.batches_per_epoch - self._start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for start in range(self._start * self.batch_size, len(self._order), self.batch_size):
            chosen = self._order[start : start + self.batch_size]
            yield [SampleKey(self._epoch, int(index), self._size, self._phase) for index in chosen]

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        return list(islice((key for batch in self for key in batch), count))
