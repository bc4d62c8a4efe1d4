"""Data sets in memory as those of a run: accepted, divided where there is no validation, cut as those of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from saccade.data.derived.checked import accept_dataset
from saccade.data.derived.combine import ConcatDataset, subset
from saccade.data.derived.splits import SEED, divide, hold_out
from saccade.data.notices import say_once
from saccade.data.open import apply_policies
from saccade.data.tables.content import require_content
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.setup import Datasets, prepare_datasets
from saccade.engine.train.sources import IN_MEMORY
from saccade.errors import ConfigError
from saccade.models.registry import get_builder, target_names_of
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

__all__ = ["GivenDatasets", "give_datasets"]


class GivenDatasets:
    """Data sets in memory, as the ``data`` of :func:`saccade.engine.train.fit.fit`.

    Where there is no validation data set and ``data.val`` is not None, images of the training data set are held out by
    the rule for sources without a validation split (:func:`saccade.data.derived.splits.hold_out`); ``data.folds``
    divides training and validation images together. Everything else of ``data`` works as with a source.

    Args:
        train: Training images.
        val: Scored after every epoch.
        test: Scored once.

    Raises:
        ConfigError: If there is no training data set, or one of them is no data set.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> given = GivenDatasets(DigitScenes("classification", "train", count=50))
        >>> given(TrainConfig(model="lenet5")).describe()
        'digit_scenes: train 40, val 10, 10 classes'
    """

    def __init__(self, train: Any, val: Any = None, test: Any = None) -> None:
        if train is None:
            given = " and ".join(name for name, one in (("val", val), ("test", test)) if one is not None)
            raise ConfigError(f"{given} without train: there is nothing to learn from. Give train=DATASET too.")
        self.train = accept_dataset(train, "train")
        self.val = None if val is None else accept_dataset(val, "val")
        self.test = None if test is None else accept_dataset(test, "test")
        self._held: Any = None

    @property
    def name(self) -> str:
        """Name of the training data set, after which the run is named."""
        return self.train.info.name

    def __call__(self, config: TrainConfig) -> Datasets:
        """Data sets of a step of a run.

        Raises:
            SaccadeError: If the network cannot learn from them, or they hold nothing.
        """
        _check_task(config, {"train": self.train, "val": self.val, "test": self.test})
        policies = config.data.bad_labels, config.data.bad_images
        train = apply_policies(self.train, *policies)
        val, test = (None if one is None else apply_policies(one, *policies) for one in (self.val, self.test))
        if config.data.folds:
            train, val = self._fold(config, [train] if val is None else [train, val])
        elif val is None and config.data.val is not None:
            train, val = self._divided(train)
        require_content([part for part in (train, val, test) if part is not None])
        return prepare_datasets(config, Datasets(train, val, test))

    def _divided(self, train: VisionDataset) -> tuple[VisionDataset, VisionDataset]:
        """The images that train, and those that are held out for validation, the same in every step."""
        if self._held is None or len(self._held) != len(train):
            self._held = hold_out(train)
            say_once(
                f"{self.name}: train was given without val, so {int(self._held.sum())} of its {len(train)} images are "
                f"held out, as of a source without a validation split (seed {SEED}; classes alike, copies and series "
                "of images together). Give val, or set data.val to None to train on all."
            )
        rest, held = np.flatnonzero(~self._held).tolist(), np.flatnonzero(self._held).tolist()
        return subset(train, rest, "train"), subset(train, held, "val")

    def _fold(self, config: TrainConfig, parts: Sequence[VisionDataset]) -> tuple[VisionDataset, VisionDataset]:
        """All folds but one of the images, and that one."""
        folds, fold = config.data.folds, config.data.fold
        if not (folds >= 2 and 0 <= fold < folds):
            raise ConfigError(f"folds is {folds}, fold {fold}. Ask for 2 folds or more, and for one of 0 to folds - 1.")
        pool = parts[0] if len(parts) == 1 else ConcatDataset(parts)
        chosen = divide(pool, folds) == fold
        count = int(chosen.sum())
        say_once(f"{self.name}: fold {fold} of {folds} (seed {SEED}): {count} of {len(pool)} images validate")
        rest, held = np.flatnonzero(~chosen).tolist(), np.flatnonzero(chosen).tolist()
        return subset(pool, rest, "train"), subset(pool, held, "val")


def give_datasets(config: TrainConfig, given: GivenDatasets) -> TrainConfig:
    """The configuration of a run that is given its data sets: it says so in place of a source.

    Args:
        config: It stays as it is.
        given: The data sets.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> config = give_datasets(TrainConfig(model="lenet5"), GivenDatasets(DigitScenes("classification")))
        >>> config.data.source, config.data.val
        ('data sets in memory', 'val')
    """
    val = "val" if given.val is not None else config.data.val
    test = None if given.test is None else "test"
    data = replace(config.data, source=IN_MEMORY, sources=(), format=None, train="train", val=val, test=test)
    return replace(config, data=data)


def _check_task(config: TrainConfig, parts: dict[str, VisionDataset | None]) -> None:
    """Refuse data sets of another task than the network's, and ground truth that lacks what it learns from."""
    task = get_task(get_builder(config.model).task).ground_truth_task
    wanted = target_names_of(config.model, config.model_args)
    for name, part in parts.items():
        if part is None:
            continue
        if part.info.task != task:
            raise ConfigError(
                f"{name} is a data set of {part.info.task}, and {config.model} learns {task}. Give its info that task "
                "and ground truth for it, or train another network."
            )
        if not len(part):
            raise ConfigError(f"{name} has no images.")
        missing = [kind for kind in wanted if kind not in part.target(0)]
        if missing:
            raise ConfigError(
                f"{name}: {config.model} learns from {', '.join(wanted)}, and the ground truth of {part.path(0)} has "
                f"no {' and no '.join(missing)}. Add it to target() of the data set."
            )
