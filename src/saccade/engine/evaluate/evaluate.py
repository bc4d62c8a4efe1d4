"""Score a runtime on a data set: the same code in training, from the command line and after export."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from saccade.data.loading.loader import make_eval_loader
from saccade.data.loading.pipeline import EvalPipeline
from saccade.deploy.base import max_detections_of, num_classes_of
from saccade.deploy.runtime import EagerRuntime, FusedRuntime, OpenVinoRuntime, Runtime
from saccade.engine.evaluate.inspection import Observer
from saccade.engine.predict.tiled import Tiling, predict_batch_tiled
from saccade.errors import ConfigError, DataError
from saccade.metrics.base import Evaluator, MetricReport
from saccade.models.class_names import learnt_class_names
from saccade.results.base import Result
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import ImageInfo, Target
from saccade.tasks import Task, get_task

__all__ = ["PartJoiner", "evaluate", "on_rectangles"]

LossFunction = Callable[[Batch], Mapping[str, Tensor]]


def evaluate(
    runtime: Runtime,
    dataset: VisionDataset,
    batch_size: int = 1,
    workers: int = 0,
    loss: LossFunction | None = None,
    size: tuple[int, int] | None = None,
    progress: Callable[[Iterable[Batch], int], Iterable[Batch]] | None = None,
    tiling: Tiling | None = None,
    observer: Observer | None = None,
) -> MetricReport:
    """Predict every image of a data set and score the predictions in original pixels.

    With several processes each takes its share, and all return the figures of the whole set.

    Args:
        runtime: What predicts: a model in memory or an exported file.
        dataset: Images with ground truth.
        batch_size: Images at a time.
        workers: Loader processes.
        loss: Also report the mean of these terms, as ``loss`` and ``loss/<term>``.
        size: Canvas (height, width); the model's own if not given.
        progress: Wraps the batches, given their number, to show a bar.
        tiling: Predict each image tile by tile, ``batch_size`` tiles at a time; not together with ``loss``.
        observer: Sees every image; of several processes, those of its own.

    Raises:
        ConfigError: If the model's task or classes are not the data set's, or a loss is asked for with tiles.
        DataError: If the data set has no images.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5", num_classes=10))
        >>> report = evaluate(runtime, DigitScenes("classification", "val", count=8), batch_size=4)
        >>> report.primary, 0.0 <= report.score <= 1.0
        ('top1', True)
    """
    names = _fitting_names(runtime, dataset)
    if tiling is not None and loss is not None:
        raise ConfigError("a loss is one of whole canvases. Evaluate without loss, or without tiles.")
    if not len(dataset):
        raise DataError(f"data set '{dataset.info.name}' has no images to evaluate on. Check its path and split.")
    task = get_task(runtime.task)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    spec = runtime.input_spec if size is None else runtime.input_spec.with_size(size)
    groups = getattr(dataset, "image_of", None)
    if tiling is None:
        loader = make_eval_loader(EvalPipeline(dataset, spec), batch_size, workers, rank, world_size, groups)
    else:
        as_they_are = replace(spec, resize="none", pad_multiple=1)
        loader = make_eval_loader(EvalPipeline(dataset, as_they_are), 1, workers, rank, world_size)
    evaluator = task.evaluator(replace(dataset.info, class_names=names), runtime.decoded_keys)
    most = max_detections_of(runtime)
    if most is not None and getattr(evaluator, "max_detections", most) < most:
        evaluator.max_detections = most  # type: ignore[attr-defined]  # of detectors; a raised limit counts here too
    if observer is not None:
        observer.begin(evaluator, task, replace(dataset.info, class_names=names))
    joined = PartJoiner(task)
    totals: dict[str, float] = {}
    seen = crowded = 0
    batches: Iterable[Batch] = loader if progress is None else progress(loader, len(loader))
    for batch in batches:
        if tiling is None:
            results = task.results(runtime(batch.images, **batch.inputs), batch.infos, names)
        else:
            results = predict_batch_tiled(runtime, batch, tiling, batch_size, size)
        results, targets = joined.add(results, batch.infos, batch.originals)
        evaluator.update(results, targets)
        if observer is not None:
            observer.add(results, targets)
        if most is not None and tiling is None:
            crowded += sum(len(target.get("labels", ())) > most for target in targets)
        if loss is not None:
            with torch.no_grad():
                for name, value in loss(batch).items():
                    totals[name] = totals.get(name, 0.0) + value.item() * len(batch.infos)
        seen += len(batch.infos)
    joined.check_complete()
    if world_size > 1:
        totals, (seen, crowded) = _gather(evaluator, totals, (seen, crowded))
    report = evaluator.compute()
    if names != tuple(runtime.class_names):
        report.notes.append("the model has no class names; its classes are taken as those of the data set, in order.")
    if crowded:
        report.notes.append(
            f"{crowded:,} image{'s have' if crowded != 1 else ' has'} more objects than the {most} detections that the "
            "model outputs for an image. Raise the limit by max_detections (--max-detections)."
        )
    if loss is not None:
        report.values.update({f"loss/{name}": total / seen for name, total in totals.items()})
        report.values["loss"] = sum(totals.values()) / seen
    return report


def on_rectangles(runtime: Runtime) -> Runtime:
    """The same runtime, for which an image is letterboxed to the smallest canvas that holds it.

    The canvas follows from the image alone, so what is predicted for it still does not depend on others of its batch.

    Args:
        runtime: Of a network that is letterboxed and takes canvases of several sizes.

    Raises:
        ConfigError: If its rule is another one, or it takes one canvas only.

    Example:
        >>> runtime = on_rectangles(EagerRuntime(saccade.create_model("yolov5n", num_classes=2)))
        >>> from saccade.data.transforms.resize import resize_image
        >>> resize_image(np.zeros((427, 640, 3), np.uint8), runtime.input_spec)[0].shape
        (448, 640, 3)
    """
    spec = runtime.input_spec
    if (
        spec.resize != "letterbox"
        or spec.fixed
        or not isinstance(runtime, (EagerRuntime, FusedRuntime, OpenVinoRuntime))
    ):
        what = (
            "an exported file has one canvas"
            if spec.resize == "letterbox"
            else f"its images are resized by '{spec.resize}'"
        )
        raise ConfigError(f"rectangular canvases are for letterboxed networks: {what}. Leave rectangular out.")
    changed = copy.copy(runtime)
    changed.input_spec = replace(spec, resize="rectangle")
    return changed


class PartJoiner:
    """Joins the results of the canvases that show one image (tiles, object crops), once all are there.

    Args:
        task: Joins them.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._waiting: dict[int, dict[int, Result]] = {}

    def add(
        self, results: Sequence[Result], infos: Sequence[ImageInfo], originals: Sequence[Target]
    ) -> tuple[list[Result], list[Target]]:
        """Add results with the ground truth of their images; returns those of the images that are complete now."""
        ready: list[Result] = []
        targets: list[Target] = []
        for result, info, target in zip(results, infos, originals, strict=True):
            if info.parts == 1:
                ready.append(result)
                targets.append(target)
                continue
            parts = self._waiting.setdefault(info.image_id, {})
            parts[info.part] = result
            if len(parts) == info.parts:
                del self._waiting[info.image_id]
                ready.append(self.task.join_parts([parts[part] for part in sorted(parts)]))
                targets.append(target)
        return ready, targets

    def check_complete(self) -> None:
        """Raise an error if a part of an image was never predicted.

        Raises:
            DataError: If there is such an image.
        """
        if self._waiting:
            image, parts = next(iter(self._waiting.items()))
            raise DataError(
                f"image {image}: {len(parts)} of its canvases were predicted and not all. The data set must give all "
                "parts of an image (ImageInfo.part, parts)."
            )


def _gather(
    evaluator: Evaluator, totals: dict[str, float], counts: tuple[int, int]
) -> tuple[dict[str, float], tuple[int, int]]:
    gathered: list[tuple[object, dict[str, float], tuple[int, int]]]
    gathered = [None] * dist.get_world_size()  # type: ignore[list-item]
    dist.all_gather_object(gathered, (evaluator.state(), totals, counts))
    evaluator.merge([state for state, _, _ in gathered])
    merged: dict[str, float] = {}
    for _, part, _ in gathered:
        for name, value in part.items():
            merged[name] = merged.get(name, 0.0) + value
    return merged, (sum(one[0] for _, _, one in gathered), sum(one[1] for _, _, one in gathered))


def _fitting_names(runtime: Runtime, dataset: VisionDataset) -> tuple[str, ...]:
    """Class names of a model that fits a data set; those of the data set where it has none, but as many classes.

    Raises:
        ConfigError: If task, classes or their number differ.
    """
    info = dataset.info
    if get_task(runtime.task).ground_truth_task != info.task:
        raise ConfigError(
            f"{runtime.name} solves {runtime.task}, but data set '{info.name}' is read for {info.task}. "
            f"Pass task='{runtime.task}'."
        )
    names = tuple(runtime.class_names)
    # A network with one class against background names the foreground alone.
    foreground = len(names) == 1 and len(info.class_names) == 2 and info.class_names[0].lower() == "background"
    if names and names != (info.class_names[1:] if foreground else info.class_names):
        missing = [name for name in info.class_names if name not in names]
        raise ConfigError(
            f"{runtime.name} knows the classes {list(names)[:8]}, "
            f"data set '{info.name}' has {list(info.class_names)[:8]}"
            + (f"; unknown to the model: {missing[:8]}" if missing else " in another order")
            + ". Evaluate on data with the model's classes, or train a new head with --weights."
        )
    number = num_classes_of(runtime)
    if names or not number:
        return names
    try:
        return learnt_class_names(number, info.class_names)
    except ConfigError as error:
        raise ConfigError(
            f"{runtime.name} has {number} classes without names, data set '{info.name}' has {len(info.class_names)} "
            f"({', '.join(info.class_names[:8])}{', ...' if len(info.class_names) > 8 else ''}). Evaluate on data with "
            "the model's classes, or train a new head with --weights."
        ) from error
