"""Batches: who is in them (the sampler), how they are stacked, and the worker processes that make them.

The sampler sends the whole key of a sample to the worker, ``(epoch, index, size, stage)``; workers hold no state. So
they live through all epochs, a run resumes at the exact batch, and any number of workers, none included, makes the same
bits.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from saccade.data.sample import Batch, Sample
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.ops.matching import pad_targets

__all__ = ["BatchLoader", "EpochSampler", "Pipeline", "SampleKey", "collate", "make_eval_loader", "make_train_loader"]


class SampleKey(NamedTuple):
    """All that decides a sample, besides data set and configuration.

    Args:
        epoch: Counted from 0.
        index: Picture.
        size: Canvas (height, width); the network's own if None.
        stage: Which augmentation holds.
        repeat: How often the picture was in this epoch before.
    """

    epoch: int
    index: int  # type: ignore[assignment]  # a tuple has a method of that name, which nobody needs of a key
    size: tuple[int, int] | None = None
    stage: int = 0
    repeat: int = 0


class Pipeline(Protocol):
    """``EvalPipeline`` or ``TrainPipeline``."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> Sample: ...


class EpochSampler:
    """The keys of each batch of an epoch, for one of several processes.

    Process r takes every ``world_size``-th position of the epoch's order, from r on, so that batch b of all processes
    together is the same set of pictures for any number of processes with the same total batch. The order is repeated
    from its start until all processes have equally many.

    Args:
        length: Pictures in the data set.
        batch_size: Pictures a batch and process.
        seed: Of the run.
        shuffle: A new order every epoch; else the data set's own.
        drop_last: Leave out the last batch if it is not full.
        rank: This process.
        world_size: Number of processes.
        multiscale: By stage, canvas sides to draw from and the number of steps between two draws.
        repeats: Times that a picture of an epoch is in it, one after the other, each time augmented anew; an epoch is
            as long as ever and so has a share of the pictures only (Berman et al. 2019, MultiGrain, section 3.2).

    Raises:
        ConfigError: If there would be no batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        multiscale: Mapping[int, tuple[Sequence[int], int]] | None = None,
        repeats: int = 1,
    ) -> None:
        if repeats < 1:
            raise ConfigError(f"data.repeats must be at least 1, got {repeats}.")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
        if drop_last and length < batch_size * world_size:
            raise ConfigError(
                f"{length} pictures do not fill one batch of {batch_size} in {world_size} processes. Lower batch_size."
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.multiscale = dict(multiscale or {})
        self.repeats = repeats
        self.set_epoch(0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch."""
        if self.drop_last:
            return self.length // (self.batch_size * self.world_size)
        return -(-self._share // self.batch_size)

    @property
    def _share(self) -> int:
        return -(-self.length // self.world_size)

    def set_epoch(self, epoch: int, start_batch: int = 0, stage: int = 0, size: tuple[int, int] | None = None) -> None:
        """What the next iteration gives.

        Args:
            epoch: Counted from 0.
            start_batch: First batch, to go on in the middle of an epoch.
            stage: Which augmentation holds.
            size: Canvas (height, width); the network's own if None. The stage's ``multiscale`` goes before it.
        """
        self.epoch = epoch
        self.start_batch = start_batch
        self.stage = stage
        self.size = size

    def __len__(self) -> int:
        """Batches left in this epoch."""
        return max(self.batches_per_epoch - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return self._batches(self.epoch, self.start_batch, self.stage, self.size)

    def first_keys(self, count: int) -> list[SampleKey]:
        """The first keys that the next iteration gives."""
        return list(islice((key for batch in self for key in batch), count))

    def _batches(self, epoch: int, start: int, stage: int, size: tuple[int, int] | None) -> Iterator[list[SampleKey]]:
        # [seed, epoch, length] is the stream of no sample: indices end before length. Trailing zeros would be dropped
        # by SeedSequence.
        rng = np.random.default_rng([self.seed, epoch, self.length])
        order = rng.permutation(self.length) if self.shuffle else np.arange(self.length)
        positions = np.arange(self.rank, self._share * self.world_size, self.world_size) % max(self.length, 1)
        for batch in range(start, self.batches_per_epoch):
            canvas = self._canvas(epoch * self.batches_per_epoch + batch, stage, size)
            chosen = positions[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [
                SampleKey(epoch, int(order[place // self.repeats]), canvas, stage, int(place % self.repeats))
                for place in chosen
            ]

    def _canvas(self, step: int, stage: int, size: tuple[int, int] | None) -> tuple[int, int] | None:
        sides, every = self.multiscale.get(stage, ((), 1))
        if not sides:
            return size
        side = int(np.random.default_rng([self.seed, step // every, self.length + 1]).choice(sides))
        return side, side


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size.

    Args:
        samples: At least one.

    Returns:
        The batch; its images are (B, C, H, W) in shape and channels-last in memory, which is how pictures are decoded.

    Raises:
        DataError: If the pictures differ in shape.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"pictures of different shapes {sorted(shapes)} in one batch, for example {samples[0].info.path}. "
            "Use a model whose resize rule is not 'none', set augment.crop, or take batch_size 1."
        )
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    originals = [sample.original for sample in samples if sample.original is not None]
    return Batch(
        images, pad_targets([sample.target for sample in samples]), [sample.info for sample in samples], originals
    )


class BatchLoader:
    """Batches of one epoch after another, made by worker processes.

    Args:
        pipeline: Makes samples.
        sampler: Says which.
        workers: Processes; 0 makes the batches in this one.
    """

    def __init__(self, pipeline: Pipeline, sampler: EpochSampler, workers: int = 0) -> None:
        self.sampler = sampler
        # A generator of its own leaves the global one, and so the run's randomness, alone.
        self._loader: DataLoader[Batch | _Failure] = DataLoader(
            _Batches(pipeline),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches left in the sampler's epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Batches of the epoch that the sampler is set to.

        Raises:
            DataError: If a picture could not be read, or a worker died.
        """
        batches = self._start()
        while True:
            try:
                batch = next(batches, None)
            except (RuntimeError, ConnectionError, EOFError) as error:
                # A worker that dies while it hands over a batch is seen as a broken connection.
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise DataError(
                    f"a loader worker died ({error}). Memory may be short: lower workers or batch_size, "
                    "or give the container more shared memory (docker --shm-size)."
                ) from error
            if batch is None:
                return
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch

    def _start(self) -> Iterator[Batch | _Failure]:
        if not hasattr(signal, "SIGCHLD"):
            return iter(self._loader)
        before = signal.getsignal(signal.SIGCHLD)
        batches = iter(self._loader)
        # Torch's handler raises wherever the main process happens to be when a worker dies, in the middle of a step
        # too. Without it, asking for the next batch tells, within seconds.
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
        return batches


def make_train_loader(pipeline: Pipeline, sampler: EpochSampler, workers: int = 0) -> BatchLoader:
    """Batches for training; ``sampler.set_epoch`` before every epoch.

    Args:
        pipeline: A ``TrainPipeline``.
        sampler: Over its length.
        workers: Processes.
    """
    return BatchLoader(pipeline, sampler, workers)


def make_eval_loader(
    pipeline: Pipeline, batch_size: int, workers: int = 0, rank: int = 0, world_size: int = 1
) -> BatchLoader:
    """Every picture, in order.

    With several processes each takes its share; a few pictures are seen twice to make the shares equal.

    Args:
        pipeline: An ``EvalPipeline``.
        batch_size: Pictures at a time.
        workers: Processes.
        rank: This process.
        world_size: Number of processes that evaluate together.
    """
    sampler = EpochSampler(len(pipeline), batch_size, shuffle=False, rank=rank, world_size=world_size)
    return BatchLoader(pipeline, sampler, workers)


class _Failure:
    """An error on its way to the main process; torch would wrap it in a traceback and lose its type."""

    def __init__(self, error: SaccadeError) -> None:
        self.error = error


class _Batches(Dataset["Batch | _Failure"]):
    """Whole batches by their keys, so that stacking happens in the worker."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getitems__(self, keys: list[SampleKey]) -> Batch | _Failure:
        try:
            return collate([self.pipeline[key] for key in keys])
        except SaccadeError as error:
            return _Failure(error)


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    import cv2

    # Workers share the cores among them; 0 also keeps OpenCV from a thread pool that was forked without its threads.
    cv2.setNumThreads(0)
    # Ctrl-C reaches every process of the terminal; the main one saves and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The collector writes into the objects inherited from the main process, and so copies their pages: 145 MB a worker
    # once a training run's packages are loaded, 30 MB without (benchmarks/worker_memory.py).
    gc.freeze()
