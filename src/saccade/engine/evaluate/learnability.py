"""Checks before training whether a network can learn a data set.

Three questions that need no training: does the ground truth itself get the best score, how much of it survives the
network's resize rule, and which objects can be assigned a positive (an anchor, a grid cell, an anchor point). Every
obstacle is reported in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.engine.evaluate.object_fit import ObjectFit
from saccade.engine.train.auto_anchor import try_anchors
from saccade.errors import ConfigError, DataError
from saccade.metrics.base import MetricReport
from saccade.models.base import Model
from saccade.models.class_names import learnt_class_names
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.models.detection.base import Detector
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks import get_task

__all__ = ["LearnabilityReport", "check_learnability"]

_SCORED = 100  # detections of a class and image that average precision counts
_LISTED = 10
_STRETCHED = 2.0  # by how much the resize rule may change the aspect before that is reported
_HIGH_THRESHOLD = 0.05  # scores below which detections may be dropped without harm to average precision


@dataclass
class LearnabilityReport:
    """Result of :func:`check_learnability`: scores of the ground truth itself, and the obstacles to learning it.

    Args:
        model: Name of the network.
        data: Name of the data set and its split.
        images: Number of images that were scanned.
        metric: Name of the figure that decides.
        perfect: Its best value.
        ground_truth: What the ground truth itself scores; NaN if there is nothing to score.
        resized: What the ground truth scores once it went through the resize rule and back.
        spoilers: Images on which the ground truth does not get the best score, and why.
        sizes: One row an object size: objects, how many the resize rule loses, how many are smaller than the finest
            stride, how many can be assigned a positive, and the recall that is possible; of detectors with anchors also
            how well the best one fits.
        unowned: The first objects that no anchor or point can be positive for, by file and box.
        notes: What is worth knowing and no obstacle: how well anchors could fit.
        reasons: Why the score would be 0, or lower than it could be.
    """

    model: str
    data: str
    images: int = 0
    metric: str = ""
    perfect: float = 1.0
    ground_truth: float = float("nan")
    resized: float = float("nan")
    spoilers: list[str] = field(default_factory=list)
    sizes: list[dict[str, Any]] = field(default_factory=list)
    unowned: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the ground truth gets the best score and no obstacle was found."""
        return self.missed < 1e-6 and not self.reasons

    @property
    def missed(self) -> float:
        """By how much the ground truth misses the best score; distances without bias may come below 0, and miss none.

        NaN if there is nothing to score.
        """
        return max(self.perfect - self.ground_truth if self.perfect else self.ground_truth, 0.0)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values for JSON; undefined figures are None."""
        plain = {name: None if value != value else value for name, value in asdict(self).items()}  # NaN is no JSON
        return {**plain, "ok": self.ok}

    def to_text(self) -> str:
        """The report as lines of text; those of obstacles begin with ``!``."""
        lines = [
            f"{self.model} on {self.data}, {self.images} images",
            f"  the ground truth itself scores {self.metric} {self.ground_truth:.4f}; the best is {self.perfect:g}",
            f"  after the resize rule and back: {self.metric} {self.resized:.4f}",
            *(f"    {line}" for line in self.spoilers),
        ]
        lines += ["  " + ", ".join(f"{name}: {_show(value)}" for name, value in row.items()) for row in self.sizes]
        lines += [f"    {line}" for line in self.unowned]
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  ! {reason}" for reason in self.reasons]
        return "\n".join(lines)


def check_learnability(model: Model, dataset: VisionDataset, image_count: int = 200) -> LearnabilityReport:
    """Check whether a network can learn a data set, without training it.

    Args:
        model: The network; only its settings matter, not its weights.
        dataset: Images with ground truth, faults included.
        image_count: How many images, evenly spaced, are scanned.

    Raises:
        ConfigError: If the network solves another task than the data set is read for.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> model = saccade.create_model("yolox_nano", num_classes=10)
        >>> report = check_learnability(model, DigitScenes("detection", "train", count=4))
        >>> report.ok, report.metric, report.ground_truth
        (True, 'AP', 1.0)
        >>> report.sizes[0]["objects"], report.sizes[0]["best possible recall"]
        (3, 1.0)
    """
    info = dataset.info
    if get_task(model.task).ground_truth_task != info.task:
        raise ConfigError(
            f"{model.builder_name} solves {model.task}, but data set '{info.name}' is read for {info.task}. "
            f"Pass task='{model.task}', or choose another model."
        )
    report = LearnabilityReport(model.builder_name or type(model).__name__, f"{info.name} ({info.split})")
    report.reasons += _class_reasons(model, info.class_names)
    pipeline = EvalPipeline(dataset, model.input_spec)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(image_count, len(dataset))).astype(int)).tolist()
    scores = _Scores(model.task, dataset)
    objects = ObjectFit(model)
    stretch = 1.0
    for index in indices:
        try:
            sample = pipeline[SampleKey(0, index)]
        except DataError as error:
            report.reasons.append(f"an image cannot be read: {error}")
            continue
        report.images += 1
        scores.add(sample, report.reasons)
        objects.add(sample)
        gains = np.diag(sample.info.geometry.matrix)[:2]
        stretch = max(stretch, float(gains.max() / gains.min()))
    ground_truth, resized = scores.direct.compute(), scores.back.compute()
    report.metric, report.perfect = ground_truth.primary, 1.0 if ground_truth.higher_is_better else 0.0
    report.ground_truth, report.resized = (
        ground_truth.values[ground_truth.primary],
        resized.values[ground_truth.primary],
    )
    if report.missed >= 1e-6:
        report.spoilers = [line for line, _ in zip(scores.spoilers(pipeline, indices), range(_LISTED), strict=False)]
    report.sizes, report.unowned = objects.rows(), objects.unowned
    if isinstance(model, AnchorYOLO):
        fitted = try_anchors(model, dataset, image_count=image_count)
        report.notes.append(f"{fitted}{' (train --auto-anchor)' if fitted.replaced else ''}")
    report.reasons += objects.reasons() + _score_reasons(report, objects, model)
    if stretch >= _STRETCHED:
        report.reasons.append(
            f"the resize rule '{model.input_spec.resize}' changes the aspect of an image by a factor of "
            f"{stretch:.1f}: objects look unlike those of other images. Use letterbox."
        )
    return report


class _Scores:
    """The ground truth scored against itself: as it is, and by way of the network's canvas."""

    def __init__(self, task: str, dataset: VisionDataset) -> None:
        self.task = get_task(task)
        self.info = dataset.info
        self.direct, self.back = self.task.evaluator(self.info), self.task.evaluator(self.info)

    def add(self, sample: Sample, reasons: list[str]) -> None:
        """Take one image; what the evaluator refuses becomes a reason."""
        original = _original(sample)
        try:
            self.direct.update([self._as_it_is(sample, original)], [original])
            self.back.update([self.task.from_target(sample.target, sample.info, self.info.class_names)], [original])
        except (DataError, IndexError, ValueError) as error:
            reasons.append(f"{sample.info.path}: its ground truth cannot be scored: {error}")

    def spoilers(self, pipeline: EvalPipeline, indices: list[int]) -> Iterator[str]:
        """Images whose ground truth does not get the best score alone."""
        for index in indices:
            sample = pipeline[SampleKey(0, index)]
            original = _original(sample)
            alone = self.task.evaluator(self.info)
            alone.update([self._as_it_is(sample, original)], [original])
            report: MetricReport = alone.compute()
            value = report.values[report.primary]
            if np.isfinite(value) and abs(value - (1.0 if report.higher_is_better else 0.0)) >= 1e-6:
                yield f"{sample.info.path}: {report.primary} {value:.4f}{_why(original)}"

    def _as_it_is(self, sample: Sample, original: Target) -> Any:
        size = sample.info.geometry.original_size
        info = ImageInfo(sample.info.image_id, sample.info.path, Geometry.identity(size))
        return self.task.from_target(original, info, self.info.class_names)


def _original(sample: Sample) -> Target:
    assert sample.original is not None, "the evaluation pipeline keeps the ground truth in original pixels"
    return sample.original


def _why(target: Target) -> str:
    """What may keep a target from the best score."""
    boxes = target.get("boxes")
    if boxes is None:
        return ""
    parts = []
    flat = int((~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)).sum())
    if flat:
        parts.append(f"{flat} boxes have no area, nothing overlaps them")
    if len(boxes) > _SCORED:
        parts.append(f"it has {len(boxes)} objects, of which at most {_SCORED} a class are counted")
    return f" ({'; '.join(parts)})" if parts else ""


def _class_reasons(model: Model, names: tuple[str, ...]) -> list[str]:
    """What is wrong between the classes of a network and those of a data set."""
    known, reasons = model.class_names, []
    try:
        names = learnt_class_names(model.num_classes, names)
    except ConfigError as error:
        reasons = [str(error)]
    if known and known != names:
        missing = [name for name in names if name not in known]
        detail = f"it does not know {', '.join(missing[:_LISTED])}" if missing else "they stand in another order"
        return [
            f"the network's classes are not the data's: {detail}. Train a new head (--weights), or rename the classes."
        ]
    return reasons


def _score_reasons(report: LearnabilityReport, objects: ObjectFit, model: Model) -> list[str]:
    """Why the score would be 0, undefined or low."""
    reasons = []
    if objects.has_boxes and objects.count == 0:
        what = (
            f"all {objects.crowds} objects are crowds or difficult ones, which are neither found nor missed"
            if objects.crowds
            else ("there is no object with an area in these images")
        )
        reasons.append(f"{what}: there is nothing to find, and the score is undefined. Check the labels.")
    elif objects.lost:
        share = 100 * objects.lost / objects.count
        height, width = model.input_spec.size
        reasons.append(
            f"the resize rule '{model.input_spec.resize}' to {width}x{height} loses {objects.lost} of {objects.count} "
            f"objects ({share:.1f} %): less than two pixels, or a tenth, is left of them. "
            "Use a larger canvas, or cut the images into tiles."
        )
    if report.missed >= 1e-6:
        reasons.append(
            f"not even the ground truth gets the best score ({report.metric} {report.ground_truth:.4f}). "
            "Correct the images listed ('saccade check DATA' names their faults)."
        )
    threshold = model.nms.score_threshold if isinstance(model, Detector) else 0.0
    if threshold > _HIGH_THRESHOLD:
        reasons.append(
            f"predictions below nms.score_threshold={threshold:g} are dropped before they are scored, which costs "
            "average precision. Set it to 0.01 or less for evaluation."
        )
    return reasons


def _show(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
