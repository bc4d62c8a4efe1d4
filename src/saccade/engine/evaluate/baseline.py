"""What an answer that never looks at the image would score: the figure that a trained model must beat."""

from __future__ import annotations

import numpy as np

from saccade.metrics.base import MetricReport
from saccade.structures.dataset import VisionDataset
from saccade.tasks import get_task

__all__ = ["evaluate_constant_baseline"]


def evaluate_constant_baseline(
    train: VisionDataset, held_out: VisionDataset, look_at: int = 500
) -> MetricReport | None:
    """Score the task's constant answer.

    Args:
        train: What the answer is learnt from.
        held_out: What it is scored on.
        look_at: How many training images, evenly spaced, are looked at.

    Returns:
        Its figures, or None where the task has no such answer.
    """
    task = get_task(train.info.task)
    indices = np.unique(np.linspace(0, len(train) - 1, min(look_at, len(train))).astype(int))
    answer = task.constant_baseline((train.read(int(index)) for index in indices), train.info)
    if answer is None:
        return None
    evaluator = task.evaluator(held_out.info)
    for index in range(len(held_out)):
        sample = held_out.read(index)
        evaluator.update([answer(sample.info)], [sample.target])
    return evaluator.compute()
