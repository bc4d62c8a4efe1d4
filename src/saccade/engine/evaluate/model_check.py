"""The whole check of a network on a data set: learnability without training, and overfitting of four images.

A network that cannot overfit four images has a fault that no amount of data will cure.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from saccade.data.check.run import source_splits
from saccade.data.derived.combine import ConcatDataset, subset
from saccade.data.open import open_raw
from saccade.data.tables.faults import apply_policy
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.move import has_objects
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.evaluate.learnability import LearnabilityReport, check_learnability
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError, DataError, NonFiniteLossError, did_you_mean
from saccade.models.base import Model
from saccade.models.checkpoint import load_model
from saccade.models.class_names import learnt_class_names
from saccade.models.registry import create_model, get_builder, list_models
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

__all__ = ["ModelReport", "Overfit", "check_model", "check_source", "overfit_few"]

_EPOCHS = 3  # of equally many steps; the losses of the first and the last are compared
_MOMENTUM = 0.1  # of running statistics, which have few steps to settle
_FELL = 0.9  # share of the first loss that the last one must be below


@dataclass(frozen=True)
class Overfit:
    """Result of overfitting a few images: loss and score before and after.

    Args:
        images: Files of the images.
        steps: Steps of training.
        metric: Name of the figure.
        before: Its value before the first step; NaN if it is undefined.
        after: Its value after the last.
        higher_is_better: Direction of the figure.
        first_loss: Mean loss of the first third of the steps.
        last_loss: Of the last third; NaN if the loss stopped being a number.
    """

    images: list[str]
    steps: int
    metric: str
    before: float
    after: float
    higher_is_better: bool
    first_loss: float
    last_loss: float

    @property
    def ok(self) -> bool:
        """Whether the loss fell and the score did not."""
        worse = self.after < self.before if self.higher_is_better else self.after > self.before
        return self.last_loss < _FELL * self.first_loss and not worse

    def to_text(self) -> str:
        """The result on one line, a second one if the images were not learnt."""
        line = (
            f"  {len(self.images)} images, {self.steps} steps: loss {self.first_loss:.4f} -> {self.last_loss:.4f}, "
            f"{self.metric} {self.before:.4f} -> {self.after:.4f}"
        )
        if self.ok:
            return line
        if math.isnan(self.last_loss):
            return f"{line}\n  ! the loss stopped being a number. Lower the learning rate, or check the labels."
        return f"{line}\n  ! they are not learnt. Check the labels of these images, or take more steps (--steps)."


@dataclass(frozen=True)
class ModelReport:
    """Result of :func:`check_model`: learnability without training, and overfitting of four images.

    Args:
        fit: What is known without training.
        overfit: How four images were overfitted; None if that was not asked for or cannot be.
    """

    fit: LearnabilityReport
    overfit: Overfit | None

    @property
    def ok(self) -> bool:
        """Whether no obstacle was found."""
        return self.fit.ok and (self.overfit is None or self.overfit.ok)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for JSON; undefined figures are None."""
        overfit = None
        if self.overfit is not None:
            values = asdict(self.overfit)
            plain = {name: None if value != value else value for name, value in values.items()}  # NaN is no JSON
            overfit = {**plain, "ok": self.overfit.ok}
        return {"ok": self.ok, "fit": self.fit.to_json(), "overfit": overfit}

    def to_text(self) -> str:
        """The report as lines of text; those of obstacles begin with ``!``."""
        lines = [self.fit.to_text(), *([] if self.overfit is None else [self.overfit.to_text()])]
        return "\n".join([*lines, "no obstacle was found" if self.ok else "see the lines that begin with '!'"])


def check_model(model: Model, dataset: VisionDataset, steps: int = 100, image_count: int = 200) -> ModelReport:
    """Check a network on a data set: learnability without training, then overfitting of four images.

    Random numbers are seeded: the same network and data give the same report.

    Args:
        model: The network; it is left as it is.
        dataset: As :func:`saccade.data.open.open_raw` gives it, faults included.
        steps: Steps of training; 0 leaves it out.
        image_count: How many images, evenly spaced, are scanned.

    Raises:
        ConfigError: If the network solves another task than the data set is read for.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> model = saccade.create_model("lenet5", num_classes=10)
        >>> report = check_model(model, DigitScenes("classification", "train", count=4, size=(32, 32)), steps=0)
        >>> report.ok, report.fit.ground_truth, report.overfit
        (True, 1.0, None)
    """
    with _seeded():
        found = check_learnability(model, dataset, image_count)
        # Labels that the head has no output for cannot be learnt; that is among the reasons already.
        few = _pick(_sound(dataset)) if steps and _fits(model, dataset) and not model.loss_groups else None
        return ModelReport(found, None if few is None else overfit_few(model, few, steps))


def _fits(model: Model, dataset: VisionDataset) -> bool:
    """Whether the network has the number of classes of the data."""
    try:
        learnt_class_names(model.num_classes, dataset.info.class_names)
    except ConfigError:
        return False
    return True


def check_source(
    model: str | Path | Model,
    source: str,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    steps: int = 100,
    image_count: int = 200,
    trust: bool = False,
) -> ModelReport:
    """Check a network on a data set, both by name: builds or loads the one, opens the other, runs :func:`check_model`.

    Args:
        model: Name of a network, checkpoint, folder of a run, or the network itself.
        source: Name in the catalogue, or a folder.
        split: Part of it; the one for training if not given.
        format: Reader; found automatically if not given.
        task: Which ground truth to read; the network's own if not given.
        steps: Steps of training; 0 leaves it out.
        image_count: How many images, evenly spaced, are scanned.
        trust: Import the module of a network from outside the package that a checkpoint names.

    Raises:
        SaccadeError: If there is no such network, checkpoint or data set, or the two belong to different tasks.

    Example:
        >>> report = check_source("lenet5", "digit_scenes", steps=0, image_count=4)
        >>> report.ok, report.fit.images
        (True, 4)
    """
    if split is None:
        names = source_splits(source, None, format)
        split = next((name for name in names if name.lower().startswith("train")), names[0])
    if isinstance(model, str) and (":" in model or model in list_models()):
        dataset = open_raw(
            source, split, format=format, task=task or get_task(get_builder(model).task).ground_truth_task
        )
        with _seeded():
            network = create_model(model, num_classes=len(dataset.info.class_names))
    else:
        network = model if isinstance(model, Model) else _load(model, trust)
        dataset = open_raw(source, split, format=format, task=task or get_task(network.task).ground_truth_task)
    return check_model(network, dataset, steps, image_count)


def _load(model: str | Path, trust: bool) -> Model:
    if not Path(model).exists():
        raise ConfigError(f"'{model}' is neither a network nor a checkpoint.{did_you_mean(str(model), list_models())}")
    return load_model(model, trust=trust)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Random numbers that are the same in every check; the caller's go on as if none had been drawn."""
    before = np.random.get_state(), random.getstate()  # noqa: NPY002 - third-party code may draw from it
    try:
        with torch.random.fork_rng():
            seed_step(0, step=0)
            yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


def overfit_few(model: Model, few: VisionDataset, steps: int = 100, lr: float = 3e-3) -> Overfit:
    """Train a copy of a network on a few images and score it on the same.

    Args:
        model: The network; it is left as it is.
        few: The images.
        steps: Steps of one batch of all of them.
        lr: Learning rate.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> few = DigitScenes("classification", "train", count=4, size=(32, 32))
        >>> result = overfit_few(saccade.create_model("lenet5"), few, steps=12)
        >>> result.steps, result.last_loss < result.first_loss
        (12, True)
    """
    student = copy.deepcopy(model)
    student.class_names = learnt_class_names(student.num_classes, few.info.class_names)
    for module in student.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = _MOMENTUM
    # Images that keep their own size do not fit into one batch.
    batch = 1 if model.input_spec.resize == "none" else len(few)
    before = evaluate(EagerRuntime(copy.deepcopy(student)), few, batch)
    each = max(1, steps // _EPOCHS)
    # An epoch is as many batches as there are steps in it, so that one epoch is one line of progress.
    repeated = subset(few, list(range(len(few))) * each)
    paths = [few.path(index) for index in range(len(few))]
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            name="few",
            model=student.builder_name,
            data=DataConfig(source=few.info.name, batch_size=batch, val_batch_size=batch, workers=0),
            optimizer=OptimizerConfig(name="adamw", lr=lr),
            schedule=ScheduleConfig(name="cosine"),  # small steps at the end, in which running statistics settle
            clip_norm=10.0,
            precision="32",
            epochs=_EPOCHS,
            evaluate_every=_EPOCHS,
            out=str(Path(folder)),
        )
        value = before.values[before.primary]
        start = (paths, _EPOCHS * each, before.primary, value)
        try:
            # The messages of a run, its folder above all, would only confuse here.
            with contextlib.redirect_stderr(io.StringIO()):
                result = fit(config, model=student, data=Datasets(repeated, few))
        except NonFiniteLossError:
            return Overfit(*start, math.nan, before.higher_is_better, math.nan, math.nan)
    losses = [row["train/loss"] for row in result.history]
    after = result.metrics[before.primary]
    return Overfit(*start, after, before.higher_is_better, losses[0], losses[-1])


def _sound(dataset: VisionDataset) -> VisionDataset:
    """The data set without its faulty labels."""
    if isinstance(dataset, ConcatDataset):
        return ConcatDataset([_sound(part) for part in dataset.parts])
    return apply_policy(dataset, "drop") if isinstance(dataset, TableDataset) else dataset


def _pick(dataset: VisionDataset, count: int = 4, image_count: int = 60) -> VisionDataset | None:
    """Images that can be read and have something to learn, evenly spaced; None if there are none."""
    spread = np.unique(np.linspace(0, len(dataset) - 1, min(image_count, len(dataset))).astype(int)).tolist()
    chosen = [index for index in spread if _teaches(dataset, index)]
    few = np.unique(np.linspace(0, len(chosen) - 1, min(count, len(chosen))).astype(int)).tolist() if chosen else []
    return subset(dataset, [chosen[position] for position in few]) if few else None


def _teaches(dataset: VisionDataset, index: int) -> bool:
    try:
        target = dataset.read(index).target
    except DataError:
        return False
    return not has_objects(target) or len(target["labels"]) > 0
