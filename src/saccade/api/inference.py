"""Trained models at work in Python: ``predict``, ``evaluate`` and ``explain``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from saccade.api._finish import OWN_FINISH, FinishLike
from saccade.api._insight import Insight
from saccade.api._open import (
    OWN_NMS,
    ModelLike,
    NmsLike,
    augmented,
    input_settings,
    open_data,
    open_model,
    open_network,
    opened_boxes,
    tiling,
    with_input_data,
)
from saccade.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from saccade.analysis.assignment import AssignedObjects
    from saccade.analysis.effective_field import ReceptiveField
    from saccade.analysis.explanation import Explanation, Method
    from saccade.deploy.runtime import Runtime
    from saccade.engine.predict.predict import Predictions
    from saccade.metrics.base import MetricReport
    from saccade.models.base import Model
    from saccade.structures.dataset import VisionDataset

__all__ = ["evaluate", "explain", "predict"]

logger = logging.getLogger("saccade")
_NEIGHBOURS = 5  # where none are asked for


def evaluate(
    model: ModelLike | None = None,
    data: str | Path | VisionDataset | None = None,
    split: str | None = None,
    *,
    weights: str | None = None,
    format: str | None = None,
    task: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    predictions: str | Path | None = None,
    iou_type: str | None = None,
    rectangular: bool = False,
    max_detections: int | None = None,
    nms: NmsLike = OWN_NMS,
    prune: int | None = None,
    finish: FinishLike = OWN_FINISH,
    proposals: str | Path | None = None,
    boxes: ModelLike | None = None,
    ways: int | None = None,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 1000,
    features: ModelLike | None = None,
    per_image: str | Path | None = None,
    errors: str | Path | None = None,
    choose_thresholds: bool = False,
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.2,
    tta: bool = False,
    tta_scales: Sequence[float] = (1.0,),
    flip_pairs: Sequence[tuple[int, int]] = (),
    trust: bool = False,
) -> MetricReport:
    """Score a model, an exported file, or a file of predictions on a data set, with the metrics of its task.

    Unless a split is named it is that of the run where the data are the run's, otherwise ``test``, else ``val``, which
    may be images that training holds out; for predictions ``val``, or the only split.

    Args:
        model: Model to score: checkpoint, folder of a run, exported file, or name of a network with weights.
        data: Data set: name in the catalogue, or path; that of the training run if not given, for a checkpoint in its
            run folder.
        split: Split; several are joined by "+".
        weights: Published weights by name, or a file of any known layout, for a network given by name.
        format: Reader; found automatically if not given.
        task: Which ground truth to read, where the data has several; the model's own if not given.
        batch_size: Images (or tiles) at a time.
        workers: Processes that load images; one less than the cores (at most 8) if not given.
        predictions: File to score instead of a model: predictions in COCO's result format, whatever made them.
        iou_type: What of these predictions is scored: bbox, segm or keypoints; found in the file if not given.
        rectangular: Of letterboxed networks: the smallest canvas that holds an image, instead of the square one.
        max_detections: Detections that a detector outputs for an image, and that count in an image and class; 100 if
            not given, as in COCO.
        nms: Of detectors: other settings of suppression than the model's own, such as kind and iou.
        prune: Of networks with outputs at several depths (unetpp): predict with the one at this depth alone, and
            without what only deeper ones need.
        finish: What runs after the network, such as kind dense_crf for segmenters.
        proposals: Of networks that take proposals: selective_search, selective_search_quality, or a JSON file in COCO's
            form; that of the training run if not given, else selective_search.
        boxes: Of networks that find the keypoints of one object: a detector, or a JSON file of boxes in COCO's result
            format, that says where the objects are; the boxes of the data if not given.
        ways: Of networks that learn from episodes: score episodes of so many classes, as the network itself classifies
            their queries, instead of embeddings.
        shots: With ways: examples a class.
        queries: With ways: images a class that are asked about.
        episodes: With ways: how many.
        features: Of image translation: score by KID over the features of this classifier: a checkpoint, a folder of a
            run, or published weights, such as resnet18/imagenet.
        per_image: CSV file to write: the figures of each image, worst first.
        errors: Folder in which to write errors.html: what was missed, false, mislocated or misclassified, worst first,
            with drawings.
        choose_thresholds: Of detectors: choose the score of each class at which its F1 is greatest, and write these
            thresholds into the file of the model, whose predictions leave out what scores less.
        tile: Predict in tiles of so many pixels of the image, a side or (height, width).
        overlap: With tiles: share of a tile that its neighbour shows too.
        tta: Test-time augmentation: predict the mirror image of each canvas as well, and merge the predictions.
        tta_scales: With test-time augmentation: factors on the canvas at which to predict, such as 0.83 1 1.2.
        flip_pairs: With test-time augmentation of keypoints: numbers of the points that a mirror exchanges, left and
            right.
        trust: Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from
            outside the package, whose module is imported.

    Returns:
        All figures by name (``values``), the one that chooses checkpoints (``primary``), and those of each class.

    Raises:
        SaccadeError: If there is nothing to score, a file or name is unknown, or model and data do not go together.

    Example:
        >>> report = saccade.evaluate(saccade.create_model("lenet5"), "digit_scenes", "test", workers=0)
        >>> report.primary, 0 <= report.values["top1"] <= 1
        ('top1', True)
    """
    insight = Insight(per_image, errors, choose_thresholds)
    if predictions is not None or ways is not None or features is not None:
        insight.refuse("predictions" if predictions is not None else "ways" if ways is not None else "features")
    if predictions is not None:
        if proposals is not None:
            raise ConfigError("predictions in a file need no proposals. Leave proposals out.")
        if data is None or model is not None:
            raise ConfigError(
                "predictions are scored on data, without a model. Name the data (--data PATH), leave out the model."
            )
        given = {"nms": nms != OWN_NMS, "prune": prune is not None, "finish": finish != OWN_FINISH}
        for name in (name for name, is_given in given.items() if is_given):
            raise ConfigError(f"predictions in a file are scored as they are. Leave {name} out.")
        if not isinstance(data, str | Path):
            raise ConfigError("predictions in a file are scored on data that are opened by name. Name them: data=PATH.")
        return _score_file(predictions, data, split, format, iou_type, max_detections)
    if model is None:
        raise ConfigError("there is nothing to score. Name a model (--model PATH), or a file of --predictions.")
    from saccade.engine.evaluate.evaluate import evaluate as score
    from saccade.engine.evaluate.evaluate import on_rectangles
    from saccade.engine.predict.further_inputs import with_inputs
    from saccade.engine.train.progress import track
    from saccade.engine.train.setup import worker_count
    from saccade.tasks import get_task

    if ways is not None:
        from saccade.engine.evaluate.episodes import evaluate_episodes

        network = open_network(model, weights, trust)
        images = open_data(model, data, split, format, get_task(network.task).ground_truth_task, network.decoded_keys)
        bar = partial(track, label="episodes")
        return evaluate_episodes(network, images, ways, shots, queries, episodes, progress=bar)
    runtime = open_model(
        model, weights, trust=trust, max_detections=max_detections, nms=nms, prune=prune, finish=finish
    )
    if features is not None:
        from saccade.engine.evaluate.kid import evaluate_kid

        images = open_data(model, data, split, format, get_task(runtime.task).ground_truth_task, runtime.decoded_keys)
        bar = partial(track, label="KID")
        return evaluate_kid(runtime, images, _classifier(features, trust), batch_size, worker_count(workers), bar)
    asked = task or get_task(runtime.task).ground_truth_task
    split = insight.split(model, data, split)
    dataset = open_data(model, data, split, format, asked, runtime.decoded_keys)
    if boxes is not None or runtime.input_spec.object_crops:
        dataset = _crops(runtime, dataset, boxes, tile, trust)
    runtime = on_rectangles(runtime) if rectangular else runtime
    if tta:
        runtime = augmented(runtime, tta_scales, flip_pairs or dataset.info.flip_pairs)
    if tile is None:
        dataset = with_input_data(model, runtime, dataset, proposals, workers)
    else:  # each tile has its own
        runtime = with_inputs(runtime, input_settings(model, proposals))
    report = score(
        runtime,
        dataset,
        batch_size,
        worker_count(workers),
        progress=lambda batches, total: track(batches, total, "evaluate"),
        tiling=tiling(tile, overlap),
        observer=insight.begin(runtime),
    )
    insight.finish(model, report, dataset, trust)
    return report


def _crops(
    runtime: Runtime, dataset: VisionDataset, boxes: ModelLike | None, tile: int | tuple[int, int] | None, trust: bool
) -> VisionDataset:
    """Crops of the objects in place of the images, for a network that learnt from such."""
    from saccade.engine.predict.top_down import crops_of_boxes
    from saccade.engine.train.progress import track

    found = opened_boxes(runtime, boxes, tile is not None, trust)
    return crops_of_boxes(dataset, runtime.input_spec, found, partial(track, label="boxes"))


def _classifier(features: ModelLike, trust: bool) -> Model:
    """The classifier that gives features: as it is, from a file, or published as ``builder/weights``."""
    if isinstance(features, str) and "/" in features and not Path(features).exists():
        from saccade.weights import PUBLISHED

        if features in PUBLISHED:
            name, weights = features.split("/")
            return open_network(name, weights, trust)
    return open_network(features, None, trust)


def _score_file(
    predictions: str | Path,
    data: str | Path,
    split: str | None,
    format: str | None,
    iou_type: str | None,
    max_detections: int | None,
) -> MetricReport:
    """Figures of a file of predictions; the labels of the data are taken as they are."""
    from saccade.data.check.run import source_splits
    from saccade.data.open import open_raw
    from saccade.engine.evaluate.result_files import evaluate_predictions, find_iou_type
    from saccade.metrics.coco_results import IOU_TYPES

    if iou_type is not None and iou_type not in IOU_TYPES:
        raise ConfigError(f"iou_type is '{iou_type}'.{did_you_mean(iou_type, IOU_TYPES)}")
    iou_type = iou_type or find_iou_type(predictions)
    task = None if iou_type is None else IOU_TYPES[iou_type]
    options: dict[str, Any] = {"masks": True} if iou_type == "segm" else {}
    splits = source_splits(data, split, format, task=task)
    split = split or (splits[0] if len(splits) == 1 else "val")
    dataset = open_raw(data, split, format=format, task=task, **options)
    return evaluate_predictions(predictions, dataset, iou_type, max_detections)


def predict(
    model: ModelLike,
    source: Any,
    *,
    weights: str | None = None,
    score_threshold: float | None = None,
    batch_size: int = 1,
    device: str | None = None,
    max_detections: int | None = None,
    nms: NmsLike = OWN_NMS,
    prune: int | None = None,
    finish: FinishLike = OWN_FINISH,
    proposals: str | Path | None = None,
    boxes: ModelLike | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    recursive: bool = False,
    every: int = 1,
    gallery: str | Path | None = None,
    neighbours: int = 5,
    keep_images: bool = True,
    cache: bool = True,
    tile: int | tuple[int, int] | None = None,
    overlap: float = 0.2,
    tta: bool = False,
    tta_scales: Sequence[float] = (1.0,),
    flip_pairs: Sequence[tuple[int, int]] = (),
    trust: bool = False,
) -> Predictions:
    """Results of a model for images, one by one, in bounded memory and in pixels of the originals.

    Args:
        model: Model: checkpoint, folder of a run, exported file, or name of a network with weights.
        source: Images: file, folder, pattern, zip, video file, number of a camera, or address (http, https, rtsp).
        weights: Published weights by name, or a file of any known layout, for a network given by name.
        score_threshold: Leave out predictions that score less, where the task has scores.
        batch_size: Images (or tiles) at a time.
        device: Such as cuda; a GPU if there is one, else the CPU through the fastest runtime installed, if not given.
        max_detections: Detections that a detector outputs for an image; its own number, usually 100, if not given.
        nms: Of detectors: other settings of suppression than the model's own, such as kind and iou.
        prune: Of networks with outputs at several depths (unetpp): predict with the one at this depth alone, and
            without what only deeper ones need.
        finish: What runs after the network, such as kind dense_crf for segmenters.
        proposals: Of networks that take proposals: selective_search, selective_search_quality, or a JSON file in COCO's
            form; the method of the training run if not given, else selective_search.
        boxes: Of networks that find the keypoints of one object: a detector, or a JSON file of boxes in COCO's result
            format, that says where the objects are; each image is taken for one object if not given.
        on_error: What an image that cannot be read does: end the prediction (raise), or be named and left out (skip).
        recursive: Search the folders below a folder too.
        every: Of videos, cameras and streams: predict each n-th frame.
        gallery: Of networks that compare images: folder of images, among which the nearest to each image are looked
            for.
        neighbours: With a gallery: how many nearest images.
        keep_images: Keep the pixels on each result.
        cache: Keep the converted graph of a checkpoint in the cache folder, so that the next prediction with it begins
            in a fraction of the time.
        tile: Predict in tiles of so many pixels of the image, a side or (height, width).
        overlap: With tiles: share of a tile that its neighbour shows too.
        tta: Test-time augmentation: predict the mirror image of each canvas as well, and merge the predictions.
        tta_scales: With test-time augmentation: factors on the canvas at which to predict, such as 0.83 1 1.2.
        flip_pairs: With test-time augmentation of keypoints: numbers of the points that a mirror exchanges, left and
            right.
        trust: Open a model file that can run code of its maker: a .pt2 program, or the checkpoint of a network from
            outside the package, whose module is imported.

    Returns:
        An iterator over the results, which are made as they are asked for; what they hold is in :mod:`saccade.results`.
        Its ``skipped`` are the images left out so far, with the reason.

    Raises:
        SaccadeError: If the model cannot be opened; or an image, which is found out as results are asked for.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> images = [np.zeros((28, 28), np.uint8), np.full((40, 30, 3), 200, np.uint8)]
        >>> [(result.path, result.image_size) for result in saccade.predict(model, images)]
        [('array-0', (28, 28)), ('array-1', (40, 30))]
    """
    from saccade.engine.predict.further_inputs import with_inputs
    from saccade.engine.predict.predict import predict as run
    from saccade.engine.predict.sources import SourceOptions

    if gallery is None and neighbours != _NEIGHBOURS:
        raise ConfigError("neighbours are looked for in a gallery. Name its folder: gallery=DIR (--gallery DIR).")
    runtime = open_model(model, weights, device, trust, max_detections, nms, prune, finish, cache)
    if tta:
        runtime = augmented(runtime, tta_scales, flip_pairs)
    runtime = with_inputs(runtime, input_settings(model, proposals, files=False))
    options = SourceOptions(recursive, every)
    if boxes is not None:
        from saccade.engine.predict.predict import Predictions
        from saccade.engine.predict.sources import Skips
        from saccade.engine.predict.top_down import predict_top_down

        skips = Skips(on_error)
        found = opened_boxes(runtime, boxes, tile is not None, trust)
        assert found is not None
        poses = predict_top_down(runtime, source, found, max(batch_size, 8), keep_images, skips, options)
        least = score_threshold
        return Predictions(poses if least is None else (one.above(least) for one in poses), skips.images)
    if runtime.input_spec.object_crops:
        logger.warning(
            "%s finds the keypoints of one object and takes each image for one. Where there are several, say by boxes "
            "(--boxes DETECTOR or FILE.json) where they are.",
            runtime.name,
        )
    how: dict[str, Any] = {"batch_size": batch_size, "tiling": tiling(tile, overlap)}
    results = run(
        runtime,
        source,
        keep_images=keep_images,
        on_error=on_error,
        score_threshold=score_threshold,
        options=options,
        **how,
    )
    if gallery is None:
        return results
    from saccade.engine.predict.gallery import compare_with_gallery

    return compare_with_gallery(runtime, results, gallery, neighbours, **how)


@overload
def explain(
    model: ModelLike,
    image: Any = ...,
    *,
    weights: str | None = ...,
    method: Method = ...,
    layer: str | None = ...,
    classes: Sequence[str] = ...,
    top: int = ...,
    assign: Literal[False] = ...,
    data: None = ...,
    format: None = ...,
    target: None = ...,
    receptive_field: Literal[False] = ...,
    save: str | Path | None = ...,
    trust: bool = ...,
) -> Explanation: ...


@overload
def explain(
    model: ModelLike,
    image: Any = ...,
    *,
    weights: str | None = ...,
    method: Method = ...,
    layer: str | None = ...,
    classes: Sequence[str] = ...,
    top: int = ...,
    assign: Literal[True],
    data: str | Path | None = ...,
    format: str | None = ...,
    target: Mapping[str, Any] | None = ...,
    receptive_field: Literal[False] = ...,
    save: str | Path | None = ...,
    trust: bool = ...,
) -> AssignedObjects: ...


@overload
def explain(
    model: ModelLike,
    image: Any = ...,
    *,
    weights: str | None = ...,
    method: Method = ...,
    layer: str | None = ...,
    classes: Sequence[str] = ...,
    top: int = ...,
    assign: Literal[False] = ...,
    data: None = ...,
    format: None = ...,
    target: None = ...,
    receptive_field: Literal[True],
    save: str | Path | None = ...,
    trust: bool = ...,
) -> ReceptiveField: ...


def explain(
    model: ModelLike,
    image: Any = None,
    *,
    weights: str | None = None,
    method: Method = "cam",
    layer: str | None = None,
    classes: Sequence[str] = (),
    top: int = 3,
    assign: bool = False,
    data: str | Path | None = None,
    format: str | None = None,
    target: Mapping[str, Any] | None = None,
    receptive_field: bool = False,
    save: str | Path | None = None,
    trust: bool = False,
) -> Explanation | AssignedObjects | ReceptiveField:
    """Explain a classifier's prediction for an image, what a detector learns from it, or what a layer sees.

    Of a classifier: Grad-CAM, attention roll-out, or the feature maps of a layer. Of a detector, with ``assign``: which
    anchors or points of each level it assigns to which object. Of any network, with ``receptive_field``: which pixels a
    location can depend on, and on which it does.

    Args:
        model: Model: checkpoint, folder of a run, or name of a network with weights.
        image: The image; with receptive_field images (file, folder or pattern), or none.
        weights: Published weights by name, or a file of any known layout, for a network given by name.
        method: Grad-CAM (cam), attention followed back to the image (rollout: ViT, Swin), or the strongest feature maps
            of a layer (features).
        layer: Layer of the network (cam, features, receptive_field); the last stage that gives a feature map if not
            given.
        classes: Classes to explain in place of the most probable (cam).
        top: How many classes (cam) or feature maps (features).
        assign: Of a detector: draw the positive, ignored and negative anchors or points of every level, coloured by
            object.
        data: With assign: data set that has the ground truth of the image, name in the catalogue, or path; that of the
            training run if not given, for a checkpoint in its run folder.
        format: With assign: reader; found automatically if not given.
        target: With assign: boxes and labels in pixels of the image, in place of data.
        receptive_field: Draw the theoretical and the effective receptive field of the middle location of a layer, side
            by side.
        save: Image file to write.
        trust: Open the checkpoint of a network from outside the package, whose module is imported, that is, run.

    Returns:
        The predicted classes and the heat or feature maps; with ``assign`` positives by level and object; with
        ``receptive_field`` both fields. ``plot()`` draws them.

    Raises:
        SaccadeError: If the model is no classifier (a detector with ``assign``), there is not exactly one image, its
            ground truth is not known, or a name is unknown.

    Example:
        >>> explanation = saccade.explain(saccade.create_model("lenet5"), np.zeros((56, 40), np.uint8), top=2)
        >>> explanation.heat.shape
        (2, 56, 40)
        >>> model, target = saccade.create_model("yolox_nano"), {"boxes": [[8, 8, 40, 40]], "labels": [1]}
        >>> assigned = saccade.explain(model, np.zeros((64, 64, 3), np.uint8), assign=True, target=target)
        >>> [row["positive"] for row in assigned.objects()] == [sum(row["positive"] for row in assigned.levels())]
        True
        >>> fields = saccade.explain("lenet5", receptive_field=True, layer="c3")
        >>> fields.field.side, fields.gradient.shape
        (14.0, (32, 32))
    """
    if receptive_field:
        explains = assign or method != "cam" or classes or top != 3
        if explains or data is not None or format is not None or target is not None:
            raise ConfigError(
                "assign, data, format, target, method, classes and top explain a prediction. Leave them out with "
                "receptive_field."
            )
        from saccade.api._field import explain_receptive_field

        fields = explain_receptive_field(model, image, weights, layer, trust)
        if save is not None:
            fields.save(save)
        return fields
    if image is None:
        raise ConfigError("explain takes an image; only receptive_field (--receptive-field) goes without. Name one.")
    if assign:
        if method != "cam" or layer is not None or classes or top != 3:
            raise ConfigError("method, layer, classes and top explain a class. Leave them out with assign.")
        from saccade.api._assign import explain_assignment

        assigned = explain_assignment(model, image, weights, data, format, target, trust)
        if save is not None:
            assigned.save(save)
        return assigned
    if data is not None or format is not None or target is not None:
        raise ConfigError(
            "data, format and target belong to the assignment of a detector. Pass assign=True (--assign)."
        )
    from saccade.analysis.explanation import explain_image
    from saccade.engine.predict.sources import iter_source

    network = open_network(model, weights, trust)
    images = list(islice(iter_source(image, network.input_spec.channels), 2))
    if len(images) != 1:
        raise ConfigError(f"explain takes one image at a time; '{image}' holds several.")
    ((path, pixels),) = images
    explanation = explain_image(network, pixels, path, method, layer, classes, top)
    if save is not None:
        explanation.save(save)
    return explanation
