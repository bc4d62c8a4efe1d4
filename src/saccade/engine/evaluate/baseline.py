"""Score of a constant baseline, a prediction that ignores the image: the figure that a trained model must beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saccade.engine.evaluate.evaluate import PartJoiner
from saccade.metrics.base import MetricReport
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

__all__ = ["evaluate_constant_baseline"]


def evaluate_constant_baseline(
    train: VisionDataset, held_out: VisionDataset, image_count: int = 500, task: str = ""
) -> MetricReport | None:
    """Score the constant baseline of a task: the best prediction that ignores the image.

    Args:
        train: What the baseline is learnt from.
        held_out: What it is scored on.
        image_count: How many training images, evenly spaced, are read.
        task: Of the network; that for which the data is read if not given.

    Returns:
        Its figures, or None where the task has no constant baseline.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> train, held_out = (DigitScenes("classification", split, 20, size=(32, 32)) for split in ("train", "val"))
        >>> evaluate_constant_baseline(train, held_out).values["top1"]
        0.1
    """
    solved = get_task(task or train.info.task)
    indices = np.unique(np.linspace(0, len(train) - 1, min(image_count, len(train))).astype(int))
    baseline = solved.constant_baseline((train.read(int(index)) for index in indices), train.info)
    if baseline is None:
        return None
    evaluator, joined = solved.evaluator(held_out.info), PartJoiner(solved)
    for index in range(len(held_out)):
        sample = held_out.read(index)
        result = baseline(replace(sample.info, image=sample.image))
        original = sample.target if sample.original is None else sample.original
        evaluator.update(*joined.add([result], [sample.info], [original]))
    return evaluator.compute()
