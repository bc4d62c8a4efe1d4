"""The whole check of a network on a data set: learnability without training, and overfitting of four images.

A network that cannot overfit four images has a fault that no amount of data will cure.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from saccade.data.check.run import source_splits
from saccade.data.derived.combine import ConcatDataset, subset
from saccade.data.derived.further_inputs import add_inputs, find_sources
from saccade.data.open import open_raw
from saccade.data.tables.faults import apply_policy
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.move import has_objects
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.evaluate.learnability import LearnabilityReport, check_learnability
from saccade.engine.train.callbacks import OnEpoch
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError, DataError, NonFiniteLossError, did_you_mean
from saccade.models.base import Model
from saccade.models.checkpoint import load_model
from saccade.models.class_names import learnt_class_names
from saccade.models.registry import create_for_classes, get_builder, has_model, list_models
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

__all__ = ["MINUTES", "ModelReport", "Overfit", "check_model", "check_source", "overfit_few"]

_PARTS = (12, 9, 6, 3)  # of equally many steps, after each of which the time is looked at
_SMALLEST = 128  # side of the canvas, below which it is not made smaller to save time
_STEP = 3.0  # a step of training takes about as long as so many predictions of its images
MINUTES = 2.0  # of training, unless told otherwise
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
        complete: Whether time was enough for all steps at the network's own canvas.
        seconds: How long it took.
        size: Canvas (height, width), where it was made smaller to save time.
    """

    images: list[str]
    steps: int
    metric: str
    before: float
    after: float
    higher_is_better: bool
    first_loss: float
    last_loss: float
    complete: bool = True
    seconds: float = 0.0
    size: tuple[int, int] | None = None

    @property
    def ok(self) -> bool:
        """Whether the loss fell and the score did not."""
        worse = self.after < self.before if self.higher_is_better else self.after > self.before
        return self.last_loss < _FELL * self.first_loss and not worse

    @property
    def decided(self) -> bool:
        """Whether it is known that the images are learnt, or that they are not: time may have been too short."""
        return self.ok or self.complete

    def to_text(self) -> str:
        """The result on one line, a second one if the images were not learnt, or it is not known."""
        canvas = "" if self.size is None else f" at {self.size[0]}x{self.size[1]}"
        line = (
            f"  {len(self.images)} images, {self.steps} steps{canvas}: "
            f"loss {self.first_loss:.4f} -> {self.last_loss:.4f}, {self.metric} {self.before:.4f} -> {self.after:.4f}"
        )
        if self.ok:
            return line
        if not self.decided:
            return (
                f"{line}\n  ? not decided in {self.seconds:.0f} s whether they are learnt. Take longer (--minutes), or "
                "leave it out (--steps 0)."
            )
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
        return self.fit.ok and (self.overfit is None or self.overfit.ok or not self.overfit.decided)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for JSON; undefined figures are None."""
        overfit = None
        if self.overfit is not None:
            values = asdict(self.overfit)
            del values["seconds"]  # the only figure that is another one each time
            plain = {name: None if value != value else value for name, value in values.items()}  # NaN is no JSON
            overfit = {**plain, "ok": self.overfit.ok, "decided": self.overfit.decided}
        return {"ok": self.ok, "fit": self.fit.to_json(), "overfit": overfit}

    def to_text(self) -> str:
        """The report as lines of text; those of obstacles begin with ``!``."""
        lines = [self.fit.to_text(), *([] if self.overfit is None else [self.overfit.to_text()])]
        return "\n".join([*lines, "no obstacle was found" if self.ok else "see the lines that begin with '!'"])


def check_model(
    model: Model,
    dataset: VisionDataset,
    steps: int = 100,
    image_count: int = 200,
    minutes: float | None = MINUTES,
    progress: Callable[[str], None] | None = None,
) -> ModelReport:
    """Check a network on a data set: learnability without training, then overfitting of four images.

    Random numbers are seeded: the same network and data give the same report, unless time decides.

    Args:
        model: The network; it is left as it is.
        dataset: As :func:`saccade.data.open.open_raw` gives it, faults included.
        steps: Steps of training; 0 leaves it out.
        image_count: How many images, evenly spaced, are scanned.
        minutes: Limit of the training, see :func:`overfit_few`; None for none.
        progress: Called with a line of text as the training goes on.

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
        return ModelReport(
            found, None if few is None else overfit_few(model, few, steps, minutes=minutes, progress=progress)
        )


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
    minutes: float | None = MINUTES,
    progress: Callable[[str], None] | None = None,
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
        minutes: Limit of the training, see :func:`overfit_few`; None for none.
        progress: Called with a line of text as the training goes on.

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
    if isinstance(model, str) and (":" in model or has_model(model)):
        solved = get_task(get_builder(model).task)
        dataset = open_raw(source, split, format=format, task=task or solved.ground_truth_task)
        with _seeded():
            network = create_for_classes(model, solved.network_classes(dataset.info.class_names))
    else:
        network = model if isinstance(model, Model) else _load(model, trust)
        dataset = open_raw(source, split, format=format, task=task or get_task(network.task).ground_truth_task)
    return check_model(network, dataset, steps, image_count, minutes, progress)


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


def overfit_few(
    model: Model,
    few: VisionDataset,
    steps: int = 100,
    lr: float = 3e-3,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Overfit:
    """Train a copy of a network on a few images and score it on the same.

    Where the steps would take longer than ``minutes``, judged by the time of a prediction, the canvas is made smaller
    if the network takes another one, then there are fewer steps; and what takes longer still is stopped. A result is
    then known only if the images are learnt all the same (:attr:`Overfit.decided`).

    Args:
        model: The network; it is left as it is.
        few: The images.
        steps: Steps of one batch of all of them.
        lr: Learning rate.
        minutes: Limit; None for none.
        progress: Called with a line of text before the first step and as training goes on.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> few = DigitScenes("classification", "train", count=4, size=(32, 32))
        >>> result = overfit_few(saccade.create_model("lenet5"), few, steps=12)
        >>> result.steps, result.last_loss < result.first_loss
        (12, True)
    """
    say = progress or (lambda line: None)
    started = time.monotonic()
    student = copy.deepcopy(model)
    if set(student.input_names) - few.read(0).inputs.keys():
        few = add_inputs(few, find_sources(student.input_names, {}, student.builder_name), workers=0)
    student.class_names = learnt_class_names(student.num_classes, few.info.class_names)
    for module in student.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = _MOMENTUM
    # Images that keep their own size do not fit into one batch.
    batch = 1 if model.input_spec.resize == "none" else len(few)
    before = evaluate(EagerRuntime(copy.deepcopy(student)), few, batch)
    limit = math.inf if minutes is None else 60 * minutes
    size, affordable = _within(student, steps, time.monotonic() - started, limit)
    if size is not None:
        student.input_spec = student.input_spec.with_size(size)
        before = evaluate(EagerRuntime(copy.deepcopy(student)), few, batch)
    parts = max(_PARTS, key=lambda parts: (parts * (affordable // parts), parts))
    each = max(1, affordable // parts)
    canvas = "" if size is None else f" at {size[0]}x{size[1]} pixels, to save time"
    bound = "" if minutes is None else f"; at most {limit:.0f} s"
    say(f"{len(few)} images are trained for {parts * each} steps{canvas}{bound}")
    # An epoch is as many batches as there are steps in it.
    repeated = subset(few, list(range(len(few))) * each)
    paths = [few.path(index) for index in range(len(few))]

    stderr = sys.stderr

    def stop_late(row: Mapping[str, float]) -> bool:
        spent, done = time.monotonic() - started, int(row["epoch"])
        with contextlib.redirect_stderr(stderr):
            say(f"step {done * each} of {parts * each}: loss {row['train/loss']:.4f}, {spent:.0f} s")
        return spent + 60 * row["minutes"] / done > limit and done < parts

    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            name="few",
            model=student.builder_name,
            data=DataConfig(source=few.info.name, batch_size=batch, val_batch_size=batch, workers=0),
            optimizer=OptimizerConfig(name="adamw", lr=lr),
            schedule=ScheduleConfig(name="cosine"),  # small steps at the end, in which running statistics settle
            clip_norm=10.0,
            precision="32",
            epochs=parts,
            evaluate_every=parts,
            out=str(Path(folder)),
        )
        start = (before.primary, before.values[before.primary])
        try:
            # The messages of a run, its folder above all, would only confuse here.
            with contextlib.redirect_stderr(io.StringIO()):
                result = fit(config, model=student, data=Datasets(repeated, few), callbacks=[OnEpoch(stop_late)])
        except NonFiniteLossError:
            return Overfit(paths, parts * each, *start, math.nan, before.higher_is_better, math.nan, math.nan)
    losses = [row["train/loss"] for row in result.history]
    third = max(1, len(losses) // 3)
    return Overfit(
        paths,
        each * len(losses),
        *start,
        result.metrics[before.primary],
        before.higher_is_better,
        sum(losses[:third]) / third,
        sum(losses[-third:]) / third,
        complete=size is None and affordable == steps and len(losses) == parts,
        seconds=time.monotonic() - started,
        size=size,
    )


def _within(model: Model, steps: int, predicted: float, limit: float) -> tuple[tuple[int, int] | None, int]:
    """Canvas, where another one than the network's own is needed, and steps that are made in the time.

    Args:
        model: The network.
        steps: Steps that are asked for.
        predicted: Seconds of predicting the images once.
        limit: Seconds.
    """
    size, needed = model.input_spec.size, _STEP * predicted * steps
    adjustable = not model.input_spec.fixed and model.input_spec.resize not in ("none", "shorter_side", "multiple")
    while needed > limit and adjustable and min(size) // 2 >= _SMALLEST:
        smaller = model.input_spec.with_size((size[0] // 2, size[1] // 2)).size
        needed *= smaller[0] * smaller[1] / (size[0] * size[1])
        size = smaller
    affordable = steps if needed <= limit else max(1, int(steps * limit / needed))
    return None if size == model.input_spec.size else size, affordable


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
