"""Sampler of a run, from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.loading.balance import balanced_weights
from saccade.data.loading.episodes import EpisodeSampler
from saccade.data.loading.pairs import PairSampler
from saccade.data.loading.sampler import EpochSampler, KeySampler
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.phases import EpochSettings
from saccade.engine.train.progress import track
from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec

__all__ = ["batches_an_update", "build_sampler"]


def build_sampler(
    config: TrainConfig,
    dataset: VisionDataset,
    phases: Sequence[EpochSettings],
    fabric: Any,
    spec: InputSpec,
    divided: bool = True,
) -> KeySampler:
    """Build the sampler of a run, which draws the images of each batch, for one process.

    Args:
        config: Batch size, seed and kind of sampler.
        dataset: Training images.
        phases: Of the step; their ``multiscale`` decides canvases.
        fabric: Gives the rank of this process and the number of processes.
        spec: Of the network, whose canvas multi-scale training varies.
        divided: Whether processes divide the images among them. Where they do not meet for each batch, as in a step
            that is solved, each has to see all.

    Raises:
        ConfigError: If the split is empty, or the sampler or the balance does not go with the data.
    """
    data = config.data
    if len(dataset) == 0:
        raise ConfigError(f"data.train: split '{data.train}' of {dataset.info.name} holds no images.")
    rank = fabric.global_rank if divided else 0
    if data.sampler == "shuffle":
        weights = None
        if data.balance != "none":
            show = partial(track, total=len(dataset), label="classes of the images")
            weights = balanced_weights(dataset, data.balance, show)
        return EpochSampler(
            len(dataset),
            data.batch_size,
            config.seed,
            rank=rank,
            world_size=fabric.world_size if divided else 1,
            multiscale={phase.index: phase.multiscale(spec) for phase in phases},
            repeats=data.repeats,
            weights=weights,
        )
    if data.balance != "none":
        raise ConfigError(
            f"data.balance is '{data.balance}', but data.sampler '{data.sampler}' draws classes equally often by "
            "itself. Leave one of them out."
        )
    labels = _labels(dataset, data.sampler)
    if data.sampler == "episodes":
        e = data.episode
        return EpisodeSampler(labels, e.ways, e.shots, e.queries, e.episodes, config.seed, rank)
    return PairSampler(labels, data.batch_size, data.pair.pairs, data.pair.same, config.seed, rank)


def batches_an_update(config: TrainConfig, processes: int = 1) -> int:
    """How many batches make an update: ``accumulate``, or as many as come nearest to ``nominal_batch`` images.

    Args:
        config: Size of a batch, and either.
        processes: That train together.

    Raises:
        ConfigError: If both are given, or ``nominal_batch`` is below 1.

    Example:
        >>> from saccade.engine.train.config import DataConfig
        >>> batches_an_update(TrainConfig(nominal_batch=64, data=DataConfig(batch_size=12)))
        5
    """
    if config.nominal_batch is None:
        return config.accumulate
    if config.accumulate != 1:
        raise ConfigError(
            f"accumulate is {config.accumulate} and nominal_batch {config.nominal_batch}; each gives the batches of an "
            "update. Set one of them."
        )
    if config.nominal_batch < 1:
        raise ConfigError(f"nominal_batch is {config.nominal_batch}; it is a number of images, at least 1.")
    return max(round(config.nominal_batch / (config.data.batch_size * processes)), 1)


def _labels(dataset: VisionDataset, sampler: str) -> NDArray[np.int64]:
    """Class of every image."""
    labels = [dataset.target(index).get("labels") for index in range(len(dataset))]
    if any(label is None or np.ndim(label) for label in labels):
        raise ConfigError(
            f"data.sampler '{sampler}' needs images with one class each; '{dataset.info.name}' is read for "
            f"{dataset.info.task}."
        )
    return np.array(labels, np.int64)
