"""A few-shot episode: what the engine, its sampler and its loading add to the forward and backward pass of Conv-4.

The episodes are those of the recipe ``protonet_omniglot``: 60 classes, one image to learn from and five questions each,
from drawings of 105 x 105 pixels in memory. The bare pass has their images at 28 x 28, normalised beforehand, and
neither optimiser nor loss beyond the cross entropy.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import tempfile
import time

import numpy as np
import torch

from benchmarks.common import Figure, use_threads
from benchmarks.training_step import SETTLING, Terminal, seconds_a_step
from saccade.data.derived.in_memory import MemoryDataset
from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import DataConfig, EpisodeConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.models.base import Model
from saccade.models.registry import create_model
from saccade.structures.dataset import DatasetInfo

CLASSES, DRAWINGS, SIDE = 80, 20, 105
EPISODE = EpisodeConfig(ways=60, shots=1, queries=5, episodes=60)


def drawings() -> MemoryDataset:
    """Black strokes of noise on white, each class alike."""
    generator = np.random.default_rng(0)
    kinds = generator.random((CLASSES, SIDE, SIDE)) < 0.1
    images = [np.where(kinds[label], 0, 255).astype(np.uint8) for label in range(CLASSES) for _ in range(DRAWINGS)]
    names = tuple(f"character {label}" for label in range(CLASSES))
    return MemoryDataset(
        DatasetInfo("drawings", "classification", names), images, np.repeat(range(CLASSES), DRAWINGS).tolist()
    )


def bare_seconds(start: Model, steps: int) -> float:
    """Mean seconds of forward, cross entropy and backward alone."""
    model = copy.deepcopy(start).to(memory_format=torch.channels_last).train()
    images = torch.randn(EPISODE.ways * (EPISODE.shots + EPISODE.queries), 1, *start.input_spec.size)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = {"labels": torch.arange(EPISODE.ways).repeat_interleave(EPISODE.shots + EPISODE.queries)}
    began = 0.0
    for number in range(steps):
        if number == SETTLING:
            began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            terms = model.loss(images, targets)
        torch.stack([value.float() for value in terms.values()]).sum().backward()
        for parameter in model.parameters():
            parameter.grad = None
    return (time.perf_counter() - began) / (steps - SETTLING)


def run(rounds: int = 4) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    torch.manual_seed(0)
    start, data = create_model("protonet_conv4"), drawings()
    config = TrainConfig(
        model="protonet_conv4",
        data=DataConfig(val=None, sampler="episodes", episode=EPISODE),
        optimizer=OptimizerConfig(name="adam", lr=1e-3),
        epochs=1,
    )
    bare, engine = [], []
    for _ in range(rounds):
        bare.append(bare_seconds(start, EPISODE.episodes))
        model = copy.deepcopy(start)
        with tempfile.TemporaryDirectory() as config.out, contextlib.redirect_stderr(Terminal()):
            train = lambda: fit(config, model=model, data=Datasets(data))  # noqa: E731, B023 (called in this turn)
            engine.append(seconds_a_step(model, train, EPISODE.episodes))
    seconds, alone = statistics.median(engine), statistics.median(bare)
    note = f"60 ways, 1 shot, 5 queries: {1000 * seconds:.0f} ms against {1000 * alone:.0f} ms"
    return [Figure("episode of Conv-4 over forward and backward", seconds / alone, "x", 1.25, note=note)]
