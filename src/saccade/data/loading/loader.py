"""Batches: which images they hold (the sampler), how they are stacked, and the worker processes that make them.

The sampler sends the whole key of a sample to the worker, ``(epoch, index, size, phase)``; workers hold no state. So
they live through all epochs, a run resumes at the exact batch, and any number of workers, none included, makes the same
bits.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from saccade.data.loading.sampler import EvalSampler, KeySampler, SampleKey
from saccade.errors import DataError, SaccadeError
from saccade.structures.batch import Batch
from saccade.structures.plugins import load_plugins, named_plugins
from saccade.structures.sample import Sample

__all__ = ["BatchLoader", "Pipeline", "make_eval_loader", "make_train_loader"]

_PR_SET_PDEATHSIG = 1  # prctl(2)


class Pipeline(Protocol):
    """Protocol of ``EvalPipeline`` and ``TrainPipeline``: the sample of a key, and samples collated to batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> Sample: ...

    def collate(self, samples: Sequence[Sample]) -> list[Batch]:
        """Stack the samples of one list of keys to batches: one, or one for each canvas."""
        ...


class BatchLoader:
    """Loader of batches, one epoch after another, made by worker processes.

    Args:
        pipeline: Makes samples.
        sampler: Gives the keys of each batch.
        workers: Processes; 0 makes the batches in this one.
    """

    def __init__(self, pipeline: Pipeline, sampler: KeySampler, workers: int = 0) -> None:
        self.sampler = sampler
        # A generator of its own leaves the global one, and so the run's randomness, alone.
        self._loader: DataLoader[list[Batch] | _Failure] = DataLoader(
            _Batches(pipeline),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches left in the sampler's epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Batches of the epoch that the sampler is set to.

        Raises:
            DataError: If an image could not be read, or a worker died.
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
            yield from batch

    def _start(self) -> Iterator[list[Batch] | _Failure]:
        # The kernel takes the end of the thread that started a worker for the end of its parent.
        tied = threading.current_thread() is threading.main_thread()
        self._loader.worker_init_fn = functools.partial(_start_worker, tied=tied, plugins=named_plugins())
        if not hasattr(signal, "SIGCHLD"):
            return iter(self._loader)
        before = signal.getsignal(signal.SIGCHLD)
        with _holding_back_sigterm():
            batches = iter(self._loader)
        # Torch's handler raises wherever the main process happens to be when a worker dies, in the middle of a step
        # too. Without it, asking for the next batch raises within seconds.
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
        return batches


def make_train_loader(pipeline: Pipeline, sampler: KeySampler, workers: int = 0) -> BatchLoader:
    """Build the loader of a training; call ``sampler.set_epoch`` before every epoch.

    Args:
        pipeline: A ``TrainPipeline``.
        sampler: Sampler over the length of the pipeline.
        workers: Processes.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.data.loading.pipeline import TrainPipeline
        >>> from saccade.data.loading.sampler import EpochSampler
        >>> from saccade.data.transforms.config import AugmentConfig
        >>> from saccade.structures.input_spec import InputSpec
        >>> data = DigitScenes("detection", "train", count=6)
        >>> pipeline = TrainPipeline(data, InputSpec((64, 64)), [AugmentConfig(flip=0.5)])
        >>> [batch.images.shape[0] for batch in make_train_loader(pipeline, EpochSampler(len(data), batch_size=4))]
        [4, 2]
    """
    return BatchLoader(pipeline, sampler, workers)


def make_eval_loader(
    pipeline: Pipeline,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    groups: NDArray[np.int64] | None = None,
) -> BatchLoader:
    """Build the loader of an evaluation: every image once, in order.

    With several processes each takes its share; a few images are seen twice to make the shares equal.

    Args:
        pipeline: An ``EvalPipeline``.
        batch_size: Images at a time.
        workers: Processes.
        rank: This process.
        world_size: Number of processes that evaluate together.
        groups: Image that each canvas shows, where several show one; they go to one process, one after another.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.data.loading.pipeline import EvalPipeline
        >>> from saccade.structures.input_spec import InputSpec
        >>> pipeline = EvalPipeline(DigitScenes("detection", "val", count=6), InputSpec((64, 64)))
        >>> [[info.image_id for info in batch.infos] for batch in make_eval_loader(pipeline, batch_size=4)]
        [[0, 1, 2, 3], [4, 5]]
    """
    sampler = EvalSampler(len(pipeline), batch_size, rank, world_size, groups)
    return BatchLoader(pipeline, sampler, workers)


class _Failure:
    """An error on its way to the main process; torch would wrap it in a traceback and lose its type."""

    def __init__(self, error: SaccadeError) -> None:
        self.error = error


class _Batches(Dataset["list[Batch] | _Failure"]):
    """Whole batches by their keys, so that stacking happens in the worker."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getitems__(self, keys: list[SampleKey]) -> list[Batch] | _Failure:
        try:
            return self.pipeline.collate([self.pipeline[key] for key in keys])
        except SaccadeError as error:
            return _Failure(error)


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int, tied: bool, plugins: Sequence[str] = ()) -> None:
    """Prepare a worker process.

    Args:
        worker: Its number.
        tied: Whether it was started by the main thread of its parent, and so can be made to end with it.
        plugins: Those of its parent; one that was not forked has none of what they registered.
    """
    # Ctrl-C reaches every process of the terminal, and SIGTERM every process of a cluster's job; the main one saves and
    # ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _heed_parent_alone()
    if tied:
        _die_with_parent()
    load_plugins(plugins)
    import cv2

    # Workers share the cores among them; 0 also keeps OpenCV from a thread pool that was forked without its threads.
    cv2.setNumThreads(0)
    # The collector writes into the objects inherited from the main process, and so copies their pages: 145 MB a worker
    # once a training run's packages are loaded, 30 MB without (benchmarks/worker_memory.py).
    gc.freeze()


@contextlib.contextmanager
def _holding_back_sigterm() -> Iterator[None]:
    """Block SIGTERM, so that a worker forked meanwhile, and every thread that starts in it, has it blocked from birth.

    A thread started before the worker blocks it itself, as libraries start them when they are forked or imported, would
    take the signal and end the process.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heed_parent_alone() -> None:
    """Let SIGTERM end this worker only where its parent sent it."""
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a worker that was not forked was born without it

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _die_with_parent() -> None:
    """Let the kernel end this worker when its parent ends, however that happens; other systems leave it to torch.

    Torch's workers look for their parent every five seconds, and not while they make a batch.
    """
    parent = multiprocessing.parent_process()
    if not sys.platform.startswith("linux") or parent is None or os.getppid() != parent.pid:
        return  # the parent of a worker of a fork server is the server, which ends by itself
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent.pid:  # it ended in between
        os._exit(1)
