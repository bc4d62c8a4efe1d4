"""Drawings of a run: training images after augmentation, and the best and the worst predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import KeySampler
from saccade.deploy.runtime import Runtime
from saccade.engine.predict.prepare import predict_batch, prepare
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.results.drawing import draw_caption, montage, write_image
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import Sample
from saccade.tasks import get_task

__all__ = ["draw_sample", "hits_and_misses", "save_batch_image"]

NO_POINTS = PointLayout()


def save_batch_image(path: Path, pipeline: TrainPipeline, sampler: KeySampler, model: Model, count: int = 8) -> None:
    """Draw the first training images after augmentation, with their ground truth."""
    keys = sampler.first_keys(count)
    drawn = [draw_sample(pipeline[key], model.task, model.class_names, model.point_layout) for key in keys]
    write_image(path, montage(drawn, columns=4))


def draw_sample(sample: Sample, task: str, class_names: Sequence[str], points: PointLayout = NO_POINTS) -> NDArray[Any]:
    """Draw one sample as the network sees it, with its ground truth."""
    info = replace(sample.info, geometry=Geometry.identity(sample.size), image=sample.image)
    shown = get_task(task).from_target(sample.target, info, class_names)
    return get_task(task).with_points([shown], points)[0].plot()


def hits_and_misses(
    runtime: Runtime, dataset: VisionDataset, image_count: int = 48, show: int = 6
) -> dict[str, list[NDArray[Any]]]:
    """Draw the images on which a runtime does best and worst, ground truth left and prediction right.

    Each image is scored alone by the task's own metric; images whose score is undefined (no object) are left out. Below
    each stand its file and its score. Where the score is a share, a hit has at least 0.5 (of objects: of those found
    with an IoU of at least 0.5), a miss less.

    Args:
        runtime: What predicts.
        dataset: Images with ground truth.
        image_count: How many images, evenly spaced, are scored.
        show: How many of each kind are drawn.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5", num_classes=10))
        >>> drawn = hits_and_misses(runtime, DigitScenes("classification", "val", count=8, size=(32, 32)), show=2)
        >>> list(drawn), len(drawn["misses"])
        (['hits', 'misses'], 2)
    """
    task = get_task(runtime.task)
    scored: list[tuple[float, bool | None, NDArray[Any]]] = []
    for index in np.linspace(0, len(dataset) - 1, min(image_count, len(dataset))).astype(int):
        sample = dataset.read(int(index))
        (result,) = predict_batch(runtime, [prepare(sample.image, runtime.input_spec, inputs=sample.inputs)])
        evaluator = task.evaluator(dataset.info, runtime.decoded_keys)
        result.image_id = sample.info.image_id
        evaluator.update([result], [sample.target])
        report = evaluator.compute()
        if np.isfinite(report.score):
            ground_truth = draw_sample(sample, runtime.task, dataset.info.class_names, dataset.info.points)
            line = f"{Path(dataset.path(int(index))).name}: {report.primary} {report.values[report.primary]:.3g}"
            drawn = draw_caption(montage([ground_truth, result.plot()], columns=2), [line])
            scored.append((report.score, _is_hit(report), drawn))
    scored.sort(key=lambda one: one[0])
    half = min(show, -(-len(scored) // 2))
    hits = [drawn for _, is_hit, drawn in reversed(scored[len(scored) // 2 :]) if is_hit is not False]
    misses = [drawn for _, is_hit, drawn in scored[: -(-len(scored) // 2)] if not is_hit]
    return {"hits": hits[:half], "misses": misses[:half]}


def _is_hit(report: MetricReport) -> bool | None:
    """Whether a score is that of a hit; None where it is no share, but an error in pixels, say."""
    share = report.values.get(f"{report.primary}50", report.values[report.primary])  # AP50 of AP
    return share >= 0.5 if report.higher_is_better and 0 <= share <= 1 else None
