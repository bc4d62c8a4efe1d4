"""Batches: the same bits for any number of workers, the exact batch on resuming, errors that keep their name."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.loading.collate import collate
from saccade.data.loading.loader import make_eval_loader, make_train_loader
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.sampler import EpochSampler, SampleKey
from saccade.data.transforms.config import AugmentConfig
from saccade.errors import ConfigError, DataError
from saccade.structures.batch import Batch
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample

SPEC = InputSpec((48, 48), resize="letterbox")
CONFIG = AugmentConfig(mosaic=0.5, mixup=0.5, flip=0.5, degrees=10, scale=(0.5, 1.5), hsv=(0.1, 0.5, 0.5), contrast=0.2)


class Noise:
    info = DatasetInfo("noise", "detection", ("a", "b"))
    broken: int | None = None
    deadly: int | None = None

    def __len__(self) -> int:
        return 11

    def path(self, index: int) -> str:
        return f"folder/{index}.png"

    def target(self, index: int) -> dict[str, Any]:
        return {
            "boxes": np.array([[5, 5, 40, 30]] * (index % 3), np.float32).reshape(-1, 4),
            "labels": np.zeros(index % 3, np.int64),
        }

    def read(self, index: int) -> Sample:
        if index == self.broken:
            raise DataError(f"{self.path(index)}: the image is truncated. Copy it again.")
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        image = np.random.default_rng(index).integers(0, 256, (50, 60 + index, 3)).astype(np.uint8)
        return Sample(image, self.target(index), ImageInfo(index, self.path(index), Geometry.identity(image.shape[:2])))


def _bits(batches: list[Batch]) -> list[tuple[Any, ...]]:
    found = []
    for batch in batches:
        tensors = (batch.images, *batch.targets.values())
        pixels = [(value.shape, value.contiguous().numpy().tobytes()) for value in tensors]
        found.append((*pixels, *(info.image_id for info in batch.infos)))
    return found


def _epochs(workers: int, epochs: int = 2, start_batch: int = 0) -> list[tuple[Any, ...]]:
    sampler = EpochSampler(11, 3, seed=5, multiscale={0: ((32, 48, 64), 2)})
    loader = make_train_loader(TrainPipeline(Noise(), SPEC, [CONFIG], seed=5), sampler, workers)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch, start_batch=start_batch)
        assert len(loader) == 4 - start_batch
        found += _bits(list(loader))
    return found


def test_any_number_of_workers_makes_the_same_bits() -> None:
    # Wake OpenCV's thread pool before the fork: its threads do not exist in the workers.
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
    alone = _epochs(0)
    assert len(alone) == 8
    assert alone == _epochs(1)
    assert alone == _epochs(2)


def test_a_resumed_epoch_goes_on_at_the_exact_batch() -> None:
    assert _epochs(0, epochs=1)[3:] == _epochs(0, epochs=1, start_batch=3)


def test_an_epoch_left_early_does_not_leak_into_the_next() -> None:
    sampler = EpochSampler(11, 3, seed=5)
    loader = make_train_loader(TrainPipeline(Noise(), SPEC, [CONFIG], seed=5), sampler, 1)
    next(iter(loader))
    sampler.set_epoch(1)
    again = _bits(list(loader))
    sampler.set_epoch(1)
    assert again == _bits(list(make_train_loader(TrainPipeline(Noise(), SPEC, [CONFIG], seed=5), sampler)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_without_a_traceback(workers: int) -> None:
    dataset = Noise()
    dataset.broken = 4
    with pytest.raises(DataError) as caught:
        list(make_eval_loader(EvalPipeline(dataset, SPEC), 2, workers))
    assert str(caught.value) == "folder/4.png: the image is truncated. Copy it again."


def test_a_killed_worker_says_what_to_do() -> None:
    dataset = Noise()
    dataset.deadly = 4
    with pytest.raises(DataError, match="lower workers"):
        list(make_eval_loader(EvalPipeline(dataset, SPEC), 2, 1))


class Slow(Noise):
    """Says which process reads, and then takes very long, as a large image does."""

    def __init__(self, found: int) -> None:
        self.found = found

    def read(self, index: int) -> Sample:
        os.write(self.found, f"{os.getpid()}\n".encode())
        while True:
            time.sleep(60)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel of Linux ends the worker")
def test_workers_end_with_their_parent_and_not_with_its_group() -> None:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parent = os.fork()
    if parent == 0:
        # Libraries start threads when they are forked; one that does not block the signal would end the worker.
        os.register_at_fork(after_in_child=threading.Thread(target=time.sleep, args=(60,), daemon=True).start)
        try:
            list(make_eval_loader(EvalPipeline(Slow(writing), SPEC), 2, 1))
        finally:
            os._exit(1)
    with os.fdopen(reading, "rb") as file:
        worker = int(file.readline())
    os.close(writing)
    os.kill(worker, signal.SIGTERM)  # as a cluster sends it to all processes of a job
    time.sleep(0.2)
    assert _lives(worker), f"and its parent {'lives' if _lives(parent) else 'died too'}"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    for _ in range(500):
        if not _lives(worker):
            break
        time.sleep(0.01)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_evaluation_sees_every_image_once_in_order() -> None:
    batches = list(make_eval_loader(EvalPipeline(Noise(), SPEC), 4))
    assert [info.image_id for batch in batches for info in batch.infos] == list(range(11))
    assert all(len(batch.originals) == len(batch.infos) for batch in batches)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(make_eval_loader(EvalPipeline(Noise(), SPEC), 4))
    assert torch.equal(before, torch.get_rng_state())


def test_images_are_channels_last_bytes() -> None:
    batch = collate([EvalPipeline(Noise(), SPEC)[SampleKey(0, index)] for index in range(3)])
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 48, 48), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_images_of_different_size_name_the_way_out() -> None:
    pipeline = EvalPipeline(Noise(), InputSpec((48, 48), resize="none"))
    with pytest.raises(DataError, match="batch_size 1"):
        collate([pipeline[SampleKey(0, 0)], pipeline[SampleKey(0, 1)]])


# ---- sampler
# -------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_an_epoch_evenly(length: int, batch_size: int, world: int, epoch: int) -> None:
    samplers = [EpochSampler(length, batch_size, 1, rank=rank, world_size=world) for rank in range(world)]
    shares = []
    for sampler in samplers:
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == sampler.batches_per_epoch
        assert all(len(batch) == batch_size for batch in batches[:-1])
        # A last batch of one image joins the one before.
        assert 1 < len(batches[-1]) <= batch_size + 1 or 1 in (batch_size, len(sampler))
        shares.append([key.index for batch in batches for key in batch])
    assert len({len(share) for share in shares}) == 1
    seen = Counter(index for share in shares for index in share)
    assert set(seen) == set(range(length))
    assert sum(seen.values()) - length < world
    # The order of a single process is that of all processes taken in turn.
    alone = EpochSampler(length, batch_size, 1)
    alone.set_epoch(epoch)
    order = [key.index for batch in alone for key in batch]
    assert [index for turn in zip(*shares, strict=True) for index in turn][:length] == order


@given(st.integers(0, 6), st.integers(0, 3))
def test_a_start_batch_skips_exactly_that_many(start: int, epoch: int) -> None:
    sampler = EpochSampler(20, 3, 2, multiscale={0: ((32, 64, 96), 2)})
    sampler.set_epoch(epoch)
    whole = list(sampler)
    sampler.set_epoch(epoch, start_batch=start)
    assert list(sampler) == whole[start:]
    assert len(sampler) == len(whole) - start


@pytest.mark.parametrize(("length", "sizes"), [(17, [8, 9]), (16, [8, 8]), (18, [8, 8, 2]), (9, [9]), (1, [1])])
def test_a_last_batch_of_one_joins_the_one_before(length: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in EpochSampler(length, 8)] == sizes


def test_every_epoch_has_an_order_of_its_own() -> None:
    sampler = EpochSampler(50, 50, 0)
    orders = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        orders.append(tuple(key.index for key in next(iter(sampler))))
    assert len(set(orders)) == 5


def test_sizes_change_every_few_steps_and_are_one_a_batch() -> None:
    sampler = EpochSampler(40, 2, 0, multiscale={1: (tuple(range(320, 640, 32)), 10)})
    steps = []
    for epoch in range(3):
        sampler.set_epoch(epoch, phase=1)
        for batch in sampler:
            assert len({key.size for key in batch}) == 1
            steps.append(batch[0].size)
    for start in range(0, 60, 10):
        assert len(set(steps[start : start + 10])) == 1
    assert len(set(steps)) > 2
    sampler.set_epoch(0, phase=0, size=(224, 224))
    assert {key.size for batch in sampler for key in batch} == {(224, 224)}


def test_first_keys_are_those_of_the_first_batches() -> None:
    sampler = EpochSampler(11, 3, 0)
    assert sampler.first_keys(5) == [key for batch in sampler for key in batch][:5]


@pytest.mark.parametrize("world_size", [1, 2])
def test_repeated_images_are_neighbours_and_augmented_anew(world_size: int) -> None:
    samplers = [EpochSampler(9, 4, seed=3, repeats=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [list(sampler) for sampler in samplers]
    keys = [
        key
        for group in zip(*([key for batch in mine for key in batch] for mine in batches), strict=True)
        for key in group
    ]
    first_nine = keys[:9]
    assert [key.repeat for key in first_nine] == [0, 1, 2] * 3
    assert Counter(key.index for key in first_nine).most_common()[0][1] == 3
    assert len({key.index for key in first_nine}) == 3  # an epoch is as long as ever, of a third of the images
    assert sum(len(batch) for batch in batches[0]) * world_size in (9, 10)
    assert {key.index for key in EpochSampler(9, 4, seed=3, repeats=3).first_keys(9)} == {
        key.index for key in first_nine
    }


def test_a_repeat_has_other_pixels_and_a_first_time_the_ones_it_always_had() -> None:
    pipeline = TrainPipeline(Noise(), SPEC, [CONFIG], seed=0)
    first, again, third = (pipeline[SampleKey(0, 1, repeat=repeat)].image for repeat in range(3))
    assert not np.array_equal(first, again)
    assert not np.array_equal(again, third)
    assert np.array_equal(first, pipeline[SampleKey(0, 1)].image)
    assert np.array_equal(again, pipeline[SampleKey(0, 1, repeat=1)].image)


def test_repeats_must_be_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        EpochSampler(9, 4, repeats=0)
