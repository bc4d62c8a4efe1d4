"""The verbs in Python; the command line calls these and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.analysis.summary import summary
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.progress import track
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.checkpoint import load_model as load
from saccade.models.registry import create_model, list_models

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from saccade.analysis.explanation import Explanation, Method
    from saccade.data.check import CheckReport
    from saccade.data.check.describe import DatasetDescription
    from saccade.data.check.repair import RepairReport
    from saccade.data.writers._common import ImagePolicy, LossReport
    from saccade.deploy.runtime import Runtime
    from saccade.deploy.verify import ParityReport
    from saccade.engine.evaluate.model_check import ModelReport
    from saccade.engine.predict.tiled import Tiling
    from saccade.metrics.base import MetricReport
    from saccade.results.base import Result
    from saccade.structures.dataset import VisionDataset
    from saccade.weights.download import Progress

__all__ = [
    "ExportResult", "check", "check_model", "convert", "create_model", "datasets", "demo", "describe", "evaluate",
    "evaluate_predictions", "explain", "export", "fetch", "list_models", "load", "predict", "recipe", "repair", "show",
    "summary", "train",
]  # fmt: skip

ModelLike = str | Path | Model


@dataclass
class ExportResult:
    """What an export gave.

    Args:
        path: The file.
        parity: How close its outputs are to the model's; None unless it was verified.
        metrics: Figures of the model and of the file, ``{"AP": (0.571, 0.571)}``; empty unless data was at hand.
    """

    path: Path
    parity: ParityReport | None
    metrics: dict[str, tuple[float, float]]

    @property
    def metric_change(self) -> dict[str, float]:
        """Figure of the file minus figure of the model, by name."""
        return {name: after - before for name, (before, after) in self.metrics.items()}


def recipe(name: str | None = None, *, model: str | None = None, data: str | None = None) -> TrainConfig:
    """A run's configuration: a recipe by name, or sensible settings for a model on data of your own.

    Args:
        name: Recipe (``saccade train --recipe`` lists them).
        model: Network, with ``data`` in place of ``name``.
        data: Catalogue name or path.
    """
    from saccade.recipes import default_recipe, get_recipe

    if name is not None:
        return get_recipe(name)
    if model is None or data is None:
        raise ConfigError("recipe() needs a name, or a model and data.")
    return default_recipe(model, data)


def train(config: TrainConfig | str, resume: bool = False) -> RunResult:
    """Train as a configuration, or a recipe's name, says.

    Args:
        config: What to do.
        resume: Go on where the run of that name stopped.
    """
    from saccade.engine.report.run_report import write_run_report

    result = fit(recipe(config) if isinstance(config, str) else config, resume=resume)
    if result.is_main:
        write_run_report(result)
    return result


def evaluate(
    model: ModelLike,
    data: str | None = None,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.2,
    augment: bool = False,
    scales: Sequence[float] = (1.0,),
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> MetricReport:
    """Score a checkpoint, a model or an exported file.

    Args:
        model: What predicts.
        data: Catalogue name or path; the training run's data if not given and ``model`` lies in a run folder.
        split: Part of the data; the run's held-out part if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read; the model's own if not given.
        batch_size: Images (or tiles) at a time.
        workers: Loader processes.
        tile: Look at each image in tiles of so many of its pixels, a side or (height, width).
        overlap: Share of a tile that its neighbour shows too.
        augment: Look at each image (or tile) in the mirror too, and merge the answers.
        scales: With ``augment``: factors on the canvas at which to look.
        flip_pairs: With ``augment``: points that a mirror exchanges; those of the data set if not given.
    """
    from saccade.engine.evaluate.evaluate import evaluate as score
    from saccade.engine.train.setup import worker_count

    runtime = _runtime(model)
    dataset = _open_data(model, data, split, format, task or runtime.task)
    if augment:
        runtime = _augmented(runtime, scales, flip_pairs or dataset.info.flip_pairs)
    return score(
        runtime,
        dataset,
        batch_size,
        worker_count(workers),
        progress=lambda batches, total: track(batches, total, "evaluate"),
        tiling=_tiling(tile, overlap),
    )


def evaluate_predictions(
    predictions: str | Path,
    data: str,
    split: str = "val",
    format: str | None = None,
    iou_type: str | None = None,
) -> MetricReport:
    """Score a file of predictions in COCO's result format, whatever made it.

    Args:
        predictions: List of ``image_id``, ``category_id``, ``score`` and ``bbox``, ``segmentation`` or ``keypoints``.
        data: Catalogue name or path; its labels are taken as they are.
        split: Part of the data.
        format: Reader; found by looking if not given.
        iou_type: ``bbox``, ``segm`` or ``keypoints``; told by the file if not given.
    """
    from saccade.data.open import open_raw
    from saccade.engine.evaluate.result_files import evaluate_predictions as score
    from saccade.errors import did_you_mean
    from saccade.metrics.coco_results import IOU_TYPES

    if iou_type is not None and iou_type not in IOU_TYPES:
        raise ConfigError(f"iou_type is '{iou_type}'.{did_you_mean(iou_type, IOU_TYPES)}")
    task = None if iou_type is None else IOU_TYPES[iou_type]
    options = {"masks": True} if iou_type == "segm" else {}
    return score(predictions, open_raw(data, split, format=format, task=task, **options), iou_type)


def predict(
    model: ModelLike,
    source: Any,
    *,
    score_threshold: float | None = None,
    batch_size: int = 1,
    device: str | None = None,
    keep_images: bool = True,
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.2,
    augment: bool = False,
    scales: Sequence[float] = (1.0,),
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> Iterator[Result]:
    """Predict images one by one, in bounded memory.

    Args:
        model: Checkpoint, model or exported file.
        source: Path, folder, glob, array, Pillow image, tensor, or a list of any of them.
        score_threshold: Leave out answers below this score, where the task has any.
        batch_size: Images (or tiles) at a time.
        device: Such as ``cuda``; the processor through the fastest runtime installed if not given.
        keep_images: Keep the pixels on each result.
        tile: Look at each image in tiles of so many of its pixels, a side or (height, width).
        overlap: Share of a tile that its neighbour shows too.
        augment: Look at each image (or tile) in the mirror too, and merge the answers.
        scales: With ``augment``: factors on the canvas at which to look.
        flip_pairs: With ``augment`` and keypoints: points that a mirror exchanges.
    """
    from saccade.engine.predict.predict import predict as run

    runtime = _runtime(model, device)
    if augment:
        runtime = _augmented(runtime, scales, flip_pairs)
    results = run(runtime, source, batch_size, keep_images=keep_images, tiling=_tiling(tile, overlap))
    for result in results:
        yield result if score_threshold is None else result.above(score_threshold)


def export(
    model: ModelLike,
    format: str = "onnx",
    path: str | Path | None = None,
    verify: bool = False,
    data: str | None = None,
    split: str | None = None,
) -> ExportResult:
    """Write a model for another runtime.

    Args:
        model: Checkpoint or model.
        format: ``onnx``, ``openvino`` or ``torch``.
        path: File to write; beside the checkpoint if not given.
        verify: Compare outputs with the model's, and the metric too where data is known.
        data: Data set for that; the training run's if not given and ``model`` lies in a run folder.
        split: Part of that data; the run's held-out part if not given.
    """
    from saccade.deploy.export import SUFFIXES, export_model
    from saccade.deploy.runtime import EagerRuntime
    from saccade.deploy.verify import canvases, verify_export

    network = model if isinstance(model, Model) else load(model)
    if format not in SUFFIXES:
        from saccade.errors import did_you_mean

        raise ConfigError(f"unknown export format '{format}'.{did_you_mean(format, SUFFIXES)}")
    if path is None:
        path = (
            Path(f"{network.builder_name}{SUFFIXES[format]}")
            if isinstance(model, Model)
            else Path(model).with_suffix(SUFFIXES[format])
        )
    written = export_model(network, Path(path), format=format)
    if not verify:
        return ExportResult(written, None, {})
    if data is None and _run_config(model) is None:
        return ExportResult(written, verify_export(network, written), {})
    dataset = _open_data(model, data, split, None, network.task)
    parity = verify_export(network, written, canvases(dataset, network.input_spec))
    before = evaluate_runtime(EagerRuntime(network), dataset)
    after = evaluate_runtime(_runtime(written), dataset)
    metrics = {name: (value, after.values[name]) for name, value in before.values.items() if name in after.values}
    return ExportResult(written, parity, metrics)


def evaluate_runtime(runtime: Runtime, dataset: VisionDataset) -> MetricReport:
    """Score an open runtime on an open data set, with a bar."""
    from saccade.engine.evaluate.evaluate import evaluate as score

    return score(runtime, dataset, 8, progress=lambda batches, total: track(batches, total, runtime.name))


def check(
    data: str, split: str | None = None, format: str | None = None, task: str | None = None, images: bool = True
) -> CheckReport:
    """Look for faults in images and labels before training.

    Args:
        data: Catalogue name or path.
        split: Part of the data; several are joined by "+". All if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read, where there are several.
        images: Also decode every image.
    """
    from saccade.data.check import check_source

    return check_source(data, split, format, task, images, progress=lambda looks, total: track(looks, total, "images"))


def repair(
    data: str, out: str | Path, split: str | None = None, format: str | None = None, task: str | None = None
) -> RepairReport:
    """Write a copy of a data set without the faults that can be mended, and a list of what was changed.

    Args:
        data: Catalogue name or path; it is not touched.
        out: Folder to write; it must be empty or not exist.
        split: Part of the data; several are joined by "+". All if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read, where there are several.
    """
    from saccade.data.check.repair import repair_source

    return repair_source(data, out, split, format, task)


def check_model(
    model: ModelLike,
    data: str,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    steps: int = 100,
) -> ModelReport:
    """Hold a network against a data set before it is trained.

    Args:
        model: Name of a network, checkpoint or model.
        data: Catalogue name or path.
        split: Part of the data; several are joined by "+". The one for training if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read; the network's own if not given.
        steps: Steps in which four images are learnt by heart; 0 leaves it out.
    """
    from saccade.engine.evaluate.model_check import check_source as run

    return run(model, data, split, format, task, steps)


def convert(
    source: str | Path,
    out: str | Path,
    to: str,
    format: str | None = None,
    splits: str | None = None,
    task: str | None = None,
    image_files: ImagePolicy = "copy",
    **options: Any,
) -> LossReport:
    """Write a data set in another format, with an account of what was kept, changed and dropped.

    Args:
        source: Catalogue name, folder or zip of images.
        out: Folder to write; it must be empty or not exist.
        to: Format to write.
        format: Reader; found by looking if not given.
        splits: Parts, joined by "+"; all if not given.
        task: Which ground truth to read, where there are several.
        image_files: Copy the images, ``link`` them, or write annotations only (``none``).
        **options: Of the reader, such as ``images="../photos"`` for images that lie elsewhere.
    """
    from saccade.data.writers.convert import convert as run

    return run(source, out, to, format, splits, task, image_files, **options)


def show(
    data: str,
    *,
    recipe: str | None = None,
    model: str | None = None,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    count: int = 16,
    epoch: int = 0,
    seed: int | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Draw what a network really sees of a data set: training images after augmentation, with their ground truth.

    Args:
        data: Catalogue name or path; it need not be the recipe's own, the classes come from it.
        recipe: Whose network and augmentation are shown.
        model: Network in place of a recipe, with the usual settings of its task. Without either, the usual settings of
            the data's task on a canvas of 320 x 320.
        split: Part of the data; several are joined by "+". The part for training if not given.
        format: Reader; found by looking if not given.
        task: Which ground truth to read, where there are several and no network decides.
        count: How many images.
        epoch: Of the run, from 0, or from the end if negative.
        seed: Of the run; the recipe's if not given.
        save: Image to write.

    Returns:
        The sheet, (H, W, 3) uint8 RGB.
    """
    from saccade.engine.report.show import draw_training_images, on_data, task_of
    from saccade.recipes import default_recipe, get_recipe
    from saccade.recipes.defaults import DEFAULTS
    from saccade.results.drawing import write_image

    if recipe is not None and model is not None:
        raise ConfigError("a recipe names its own network; give a recipe or a model, one of them.")
    if recipe is not None:
        config = get_recipe(recipe)
    elif model is not None:
        config = default_recipe(model, data)
    else:
        config = DEFAULTS.get(task or task_of(data, split, format), TrainConfig)()
    sheet = draw_training_images(on_data(config, data, split, format, seed), count, epoch, task)
    if save is not None:
        write_image(save, sheet)
    return sheet


def explain(
    model: ModelLike,
    image: Any,
    *,
    weights: str | None = None,
    method: Method = "cam",
    layer: str | None = None,
    classes: Sequence[str] = (),
    top: int = 3,
    save: str | Path | None = None,
) -> Explanation:
    """Explain what a classifier says of an image: where it looks, what it attends to, what a stage has found.

    Args:
        model: Checkpoint or model, or the name of a network with ``weights``.
        image: One image: path, array, Pillow image or tensor.
        weights: Published weights or a file of any known layout, for a network given by name.
        method: ``cam`` (Grad-CAM), ``rollout`` (attention) or ``features``.
        layer: Part of the network (``cam``, ``features``); chosen if not given.
        classes: Classes to explain in place of the ``top`` most probable (``cam``).
        top: How many classes (``cam``) or maps (``features``).
        save: Image to write.
    """
    from saccade.analysis.explanation import explain_image
    from saccade.engine.predict.sources import iter_source

    network = _network(model, weights)
    images = list(islice(iter_source(image, network.input_spec.channels), 2))
    if len(images) != 1:
        raise ConfigError(f"explain takes one image at a time; '{image}' holds several.")
    ((path, pixels),) = images
    explanation = explain_image(network, pixels, path, method, layer, classes, top)
    if save is not None:
        explanation.save(save)
    return explanation


def describe(source: str | Path) -> DatasetDescription:
    """What a data set holds: format, licence, place, and images, objects and classes of each split.

    Args:
        source: Catalogue name or path.
    """
    from saccade.data.check.describe import describe_dataset

    return describe_dataset(source)


def fetch(name: str, folder: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download a data set of the catalogue: resumed after a cut, verified, unpacked, never half there.

    Args:
        name: In the catalogue.
        folder: Where data sets lie; the cache if not given.
        progress: Told bytes done and bytes in all.
    """
    from saccade.data.catalogue.fetch import fetch as run
    from saccade.weights.download import download

    return run(name, None if folder is None else Path(folder), progress, download=download)


def datasets() -> list[dict[str, Any]]:
    """The catalogue: name, task, licence, and whether the files are on this machine."""
    from saccade.data.catalogue.catalogue import CATALOGUE, is_present

    return [
        {
            "name": entry.name,
            "task": entry.task,
            "licence": entry.licence,
            "present": is_present(entry.name),
            "description": entry.description,
        }
        for entry in CATALOGUE.values()
    ]


def demo(minutes: float = 4.0, out: str | Path = "runs/demo") -> Path:
    """Train, score, draw and export a small detector on generated scenes; returns the HTML report.

    Args:
        minutes: Training stops after this long.
        out: Folder to write; an earlier demo there is replaced.
    """
    from saccade.engine.report.demo import run_demo
    from saccade.recipes import get_recipe

    return run_demo(get_recipe("demo"), minutes, Path(out))


def _network(model: ModelLike, weights: str | None) -> Model:
    """A network to look into: as it is, from a checkpoint, or by name with weights."""
    if isinstance(model, Model):
        return model
    if Path(model).is_file():
        if weights is not None:
            raise ConfigError(f"'{model}' is a checkpoint and has its weights; leave weights out.")
        return load(model)
    if weights is None:
        from saccade.models.registry import get_builder

        get_builder(str(model))  # an unknown name offers the nearest
        raise ConfigError(
            f"'{model}' alone has random weights, which explain nothing. Give --weights FILE, or --weights NAME of "
            "published ones (saccade models lists them)."
        )
    return create_model(str(model), weights=weights)


def _runtime(model: ModelLike, device: str | None = None) -> Runtime:
    from saccade.deploy.runtime import open_runtime

    return open_runtime(model, device)


def _augmented(runtime: Runtime, scales: Sequence[float], flip_pairs: Sequence[tuple[int, int]]) -> Runtime:
    from saccade.engine.predict.test_time_augmentation import AugmentedRuntime

    return AugmentedRuntime(runtime, scales=scales, flip_pairs=flip_pairs)


def _tiling(tile: int | tuple[int, int] | None, overlap: float) -> Tiling | None:
    from saccade.engine.predict.tiled import Tiling

    if tile is None:
        return None
    return Tiling((tile, tile) if isinstance(tile, int) else tile, overlap)


def _run_config(model: ModelLike) -> TrainConfig | None:
    """Configuration of the run that a checkpoint lies in."""
    from saccade.engine.train.configfile import load_config

    if isinstance(model, Model):
        return None
    path = Path(model).parent / "config.yaml"
    return load_config(path) if path.exists() else None


def _open_data(model: ModelLike, data: str | None, split: str | None, format: str | None, task: str) -> VisionDataset:
    from saccade.data.open import open_dataset

    config = _run_config(model)
    if data is None:
        if config is None:
            raise ConfigError(
                "no data was named, and the model does not lie in a run folder that names it. "
                "Pass data=PATH (--data PATH)."
            )
        data, format = config.data.source, config.data.format  # noqa: A001
        split = split or config.data.test or config.data.val or config.data.train
    return open_dataset(data, split or "test", format=format, task=task, bad_labels="drop")
