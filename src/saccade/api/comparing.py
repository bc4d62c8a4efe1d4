"""Two models on the same images in Python: ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saccade.api._open import ModelLike, open_data, open_model, with_input_data
from saccade.errors import ConfigError
from saccade.models.base import Model

if TYPE_CHECKING:
    from saccade.deploy.runtime import Runtime
    from saccade.engine.evaluate.compare import Comparison
    from saccade.structures.dataset import VisionDataset

__all__ = ["compare"]


def compare(
    model: ModelLike,
    other: ModelLike,
    data: str | Path | None = None,
    split: str | None = None,
    *,
    format: str | None = None,
    task: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    html: str | Path | None = None,
    drawn: int = 12,
    trust: bool = False,
) -> Comparison:
    """Tell whether one model is better than another: both are scored on the same images, with an interval.

    The difference of each figure has a 95 % interval by a paired bootstrap: images are drawn with replacement, the same
    for both, and the figures of the data set are computed anew from what was found in each image.

    Args:
        model: First model: checkpoint, folder of a run, or exported file.
        other: Second model.
        data: Data set: name in the catalogue, or path; that of the first model's training run if not given.
        split: Split; several are joined by "+".
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several; the model's own if not given.
        batch_size: Images at a time.
        workers: Processes that load images; one less than the cores (at most 8) if not given.
        draws: Resampled data sets behind the intervals.
        seed: Seed of these draws.
        html: Page to write: the differences, and drawings of images on which the models differ most.
        drawn: Images that are drawn on the page.
        trust: Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from
            outside the package, whose module is imported.

    Returns:
        Differences with their intervals, the verdict, and a row an image, those on which the models differ most first.

    Raises:
        SaccadeError: If a file or name is unknown, or models and data do not go together.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> comparison = saccade.compare(model, model, "digit_scenes", "test", workers=0, draws=100)
        >>> comparison.figures[0].figure, comparison.figures[0].difference, comparison.better is None
        ('top1', 0.0, True)
    """
    from functools import partial

    from saccade.deploy.base import score_thresholds_of
    from saccade.engine.evaluate.compare import compare_inspections
    from saccade.engine.evaluate.evaluate import evaluate as score
    from saccade.engine.evaluate.inspection import Inspection
    from saccade.engine.predict.predict import SHOWN_SCORE
    from saccade.engine.train.progress import track
    from saccade.engine.train.setup import worker_count
    from saccade.tasks import get_task

    models = (model, other)
    names = _names(models)
    runtimes = [open_model(one, None, trust=trust) for one in models]
    tasks = [get_task(runtime.task).ground_truth_task for runtime in runtimes]
    if tasks[0] != tasks[1]:
        raise ConfigError(f"{names[0]} solves {tasks[0]}, {names[1]} {tasks[1]}. Compare models of one task.")
    keys = [key for key in runtimes[0].decoded_keys if key in runtimes[1].decoded_keys]
    dataset = open_data(model, data, split, format, task or tasks[0], keys)
    inspections, reports = [], []
    for name, one, runtime in zip(names, models, runtimes, strict=True):
        inspection = Inspection(score_thresholds_of(runtime) or SHOWN_SCORE, faults=False)
        own = with_input_data(one, runtime, dataset, None, workers)
        bar = partial(track, label=name)
        reports.append(score(runtime, own, batch_size, worker_count(workers), progress=bar, observer=inspection))
        inspections.append(inspection)
    comparison = compare_inspections(names, (inspections[0], inspections[1]), (reports[0], reports[1]), draws, seed)
    if html is not None:
        comparison.page = _write_page(html, comparison, models, runtimes, dataset, drawn)
    return comparison


def _names(models: tuple[ModelLike, ModelLike]) -> tuple[str, str]:
    """Names that tell the models apart: as short as may be."""
    first, second = (
        (one.builder_name or type(one).__name__) if isinstance(one, Model) else Path(one).name or str(one)
        for one in models
    )
    if first == second and not any(isinstance(one, Model) for one in models):
        first, second = map(str, models)
    if first == second:
        first, second = f"{first} (first)", f"{second} (second)"
    return first, second


def _write_page(
    html: str | Path,
    comparison: Comparison,
    models: tuple[ModelLike, ModelLike],
    runtimes: list[Runtime],
    dataset: VisionDataset,
    drawn: int,
) -> Path:
    """Predict the images on which the models differ most once more, and draw them."""
    from saccade.data.derived.base import image_ids_of
    from saccade.data.derived.combine import subset
    from saccade.deploy.base import score_thresholds_of
    from saccade.engine.evaluate.evaluate import evaluate as score
    from saccade.engine.predict.predict import SHOWN_SCORE
    from saccade.engine.report.compare_page import ResultKeeper, write_compare_page

    shown = {row["image_id"] for row in comparison.per_image[:drawn] if row["difference"]}
    rows = [index for index, image in enumerate(image_ids_of(dataset).tolist()) if image in shown]
    keepers = []
    for one, runtime in zip(models, runtimes, strict=True):
        keeper = ResultKeeper(score_thresholds_of(runtime) or SHOWN_SCORE)
        if rows:
            few = with_input_data(one, runtime, subset(dataset, rows), None, 0)
            score(runtime, few, observer=keeper)
        keepers.append(keeper)
    return write_compare_page(html, comparison, (keepers[0], keepers[1]), dataset)
