"""Training images as a network sees them: after augmentation, with their ground truth."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from saccade.data.catalogue.catalogue import CATALOGUE
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.open import open_dataset, resolve_source, split_names
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.report.drawings import draw_sample
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.phases import resolve_phases, settings_at
from saccade.engine.train.setup import build_model, open_datasets
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.results.drawing import draw_caption, montage
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec
from saccade.tasks import get_task

__all__ = ["draw_training_images", "on_data", "task_of", "training_split"]

# Where no network is named.
_PLAIN = InputSpec(size=(320, 320), resize="letterbox")


def task_of(data: str, split: str | None = None, format: str | None = None) -> str:
    """Find the task of a data set: the one that it is opened for by default.

    Args:
        data: Catalogue name or path.
        split: Part of it; that for training if not given.
        format: Reader; found automatically if not given.

    Example:
        >>> task_of("digit_scenes")
        'detection'
    """
    return open_dataset(data, split or training_split(data, format), format=format, bad_labels="drop").info.task


def on_data(
    config: TrainConfig, data: str, split: str | None = None, format: str | None = None, seed: int | None = None
) -> TrainConfig:
    """Point a training configuration at a data set that need not be its own.

    Faulty labels are dropped where a training would stop at them, so that the rest can be seen.

    Args:
        config: A recipe's, for example.
        data: Catalogue name or path.
        split: Part of it; the configuration's own if it is its data, else that for training.
        format: Reader; found automatically if not given.
        seed: Instead of the configuration's.

    Example:
        >>> on_data(TrainConfig(), "digit_scenes", split="val").data.train
        'val'
    """
    own = config.data.source == data and format is None
    settings = replace(
        config.data,
        source=data,
        sources=(),
        format=config.data.format if own else format,
        train=split or (config.data.train if own else training_split(data, format)),
        val=None,
        test=None,
        bad_labels="drop" if config.data.bad_labels == "error" else config.data.bad_labels,
    )
    return replace(config, data=settings, seed=config.seed if seed is None else seed)


def draw_training_images(config: TrainConfig, count: int = 16, epoch: int = 0, task: str | None = None) -> NDArray[Any]:
    """Draw the first images of an epoch, as a training by this configuration would see them.

    Args:
        config: Data, network, augmentation, phases and seed. The classes come from the data. Without a network the
            images are letterboxed to 320 x 320.
        count: How many images; fewer if there are fewer.
        epoch: Counted from 0, or from the end if negative.
        task: Which ground truth to read, where there are several and no network decides.

    Returns:
        A sheet (H, W, 3), uint8 RGB, of images with their ground truth; below each stand its file, the phase of the
        configuration, and its size.

    Raises:
        ConfigError: If there is no such epoch, or a setting does not go with the data.
        DataError: If the data is missing or broken.

    Example:
        >>> config = on_data(TrainConfig(model="lenet5"), "digit_scenes")
        >>> draw_training_images(config, count=4).shape
        (1042, 900, 3)
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1; got {count}.")
    number = epoch if epoch >= 0 else config.epochs + epoch
    if not 0 <= number < config.epochs:
        raise ConfigError(f"epoch {epoch}: the run has {config.epochs} epochs, 0 to {config.epochs - 1}.")
    dataset, model = _open(config, task)
    phases = resolve_phases(config, model)
    settings = settings_at(config, phases, number, config.epochs)
    pipeline = TrainPipeline(dataset, model.input_spec, [phase.augment for phase in phases], config.seed)
    multiscale = {phase.index: phase.multiscale(model.input_spec) for phase in phases}
    sampler = EpochSampler(len(dataset), config.data.batch_size, config.seed, multiscale=multiscale)
    sampler.set_epoch(number, phase=settings.index, size=settings.size)
    images = []
    for key in sampler.first_keys(count):
        sample = pipeline[key]
        height, width = sample.size
        title = f"{Path(sample.info.path).name}, phase {key.phase}, {width} x {height}"
        images.append(
            draw_caption(draw_sample(sample, model.task, dataset.info.class_names, dataset.info.points), [title])
        )
    return montage(images, columns=math.ceil(math.sqrt(len(images))))


def _open(config: TrainConfig, task: str | None) -> tuple[VisionDataset, Model]:
    """The training images, and the network or a stand-in without layers that holds the resize rule."""
    if config.model:
        dataset = open_datasets(config).train
        return dataset, build_model(config, dataset.info, pretrained=False)
    data = config.data
    dataset = _with_outlines(data, task)
    model = Model()
    model.task, model.input_spec = dataset.info.task, _PLAIN
    return dataset, model


def _with_outlines(data: DataConfig, task: str | None) -> VisionDataset:
    """The training images with everything that can be drawn, such as the outlines of objects, where there is some."""
    read = partial(open_dataset, data.source, data.train, format=data.format, task=task, bad_labels=data.bad_labels)
    dataset = read()
    for kind in get_task(dataset.info.task).on_demand:
        try:
            option: dict[str, Any] = {kind: True}
            more: VisionDataset = read(**option)
            more.target(0)
        except DataError:
            continue  # there are none
        if not isinstance(more, TableDataset) or more.rectangles < len(more.table.labels):
            return more  # not boxes alone
    return dataset


def training_split(data: str, format: str | None) -> str:
    """``train``, or the first part of a data set that calls its parts otherwise.

    Args:
        data: Catalogue name or path.
        format: Reader; found automatically if not given.

    Example:
        >>> training_split("digit_scenes", None)
        'train'
    """
    entry = CATALOGUE.get(data)
    names = split_names(resolve_source(data, format)) if entry is None else entry.splits
    return "train" if not names or "train" in names or names == ("all",) else names[0]
