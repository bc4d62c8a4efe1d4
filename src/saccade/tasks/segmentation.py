"""Segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.writers.drafts import Draft, outline_of
from saccade.results.base import Result
from saccade.results.findings import ImageFindings
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import ConstantBaseline, MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.base import Evaluator
    from saccade.ops.views import View

__all__ = ["TASK", "SegmentationTask"]


class SegmentationTask(Task):
    """Segmentation task: ``probabilities`` (B, C, H, W) of the canvas to ``SegmentationMap``.

    Probabilities are warped to the original size before the class is chosen, so that borders are as fine as the
    original's pixels. With C = 1 the map is 1 where the probability is at least 0.5; the names may be ``("background",
    name)`` or ``(name,)``.

    Attributes:
        result_type: What the results are.

    Example:
        >>> info = ImageInfo(0, "a.png", Geometry.identity((2, 2)))
        >>> decoded = {"probabilities": np.array([[[[0.9, 0.1], [0.2, 0.3]]]])}
        >>> TASK.results(decoded, [info], ("road",))[0].class_share()
        {'background': 0.75, 'road': 0.25}
    """

    name = "segmentation"
    decoded: ClassVar[Mapping[str, str]] = {"probabilities": "BCHW"}
    target_kinds = ("label_map",)
    fitness = (("mIoU", {"mIoU": 1.0}),)
    fault_kinds: ClassVar[Mapping[str, str]] = {
        "lowest IoU": "Images by rising IoU. Wrong pixels are tinted by what was taken for what.",
    }
    searched = ("augment.translate=0:0.2", "augment.degrees=0:20")
    pixel_key = "probabilities"
    result_type: ClassVar[type[SegmentationMap]] = SegmentationMap

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn probabilities into one ``SegmentationMap`` an image, of the original's size."""
        from saccade.metrics.segmentation import has_one_foreground

        probabilities = as_array(decoded["probabilities"])
        results: list[Result] = []
        for image, info in zip(probabilities, infos, strict=True):
            if len(image) == 1:
                foreground: NDArray[Any] = info.geometry.invert_map(image[0], linear=True)
                results.append(self._result((foreground >= 0.5).astype(np.uint8), info, class_names, foreground))
            else:
                foreground_class = has_one_foreground(class_names)
                scores = info.geometry.invert_map(image[1], linear=True) if foreground_class else None
                results.append(self._result(_most_probable(image, info.geometry), info, class_names, scores))
        return results

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: its label map, 255 where it is not scored."""
        return self._result(info.geometry.invert_map(np.asarray(target["label_map"])), info, class_names)

    def drafts(self, result: Result) -> list[Draft]:
        """One object for each region of each class but background, its outline as polygons."""
        assert isinstance(result, SegmentationMap), "the task made it"
        found = []
        for label in result.labels():
            name = result.name_of(label)
            if name.lower() == "background":
                continue
            count, regions, extents, _ = cv2.connectedComponentsWithStats((result.label_map == label).astype(np.uint8))
            for region in range(1, count):
                left, top, width, height, _ = extents[region].tolist()
                inside = regions == region
                score = None if result.probabilities is None else float(result.probabilities[inside].mean())
                box = (float(left), float(top), float(left + width), float(top + height))
                found.append(Draft(name, score, box, outline_of(inside)))
        return found

    def draft_info(self, class_names: Sequence[str], points: PointLayout) -> tuple[DatasetInfo, tuple[str, ...]]:
        """Describe a data set of polygons, which are painted over background."""
        names = tuple(name for name in class_names if name.lower() != "background")
        return DatasetInfo("labels", self.ground_truth_task, ("background", *names), "all"), names

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> Evaluator:
        """Build the evaluator; mean IoU decides. One class against ``background`` gets the figures of saliency too."""
        from saccade.metrics.joint import JointEvaluator
        from saccade.metrics.saliency import SaliencyEvaluator
        from saccade.metrics.segmentation import SegmentationEvaluator, has_one_foreground

        overlap = SegmentationEvaluator(data.class_names)
        return JointEvaluator(overlap, SaliencyEvaluator()) if has_one_foreground(data.class_names) else overlap

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Find the IoU of each class of an image; its wrong pixels are a fault."""
        from saccade.tasks._findings import pixel_findings

        assert isinstance(result, SegmentationMap)
        return pixel_findings(result, target, data.class_names)

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """Learn the constant baseline: the most frequent class everywhere."""
        counts = sum(np.bincount(sample.target["label_map"].ravel(), minlength=256)[:255] for sample in samples)
        label = int(np.argmax(counts))

        def predict(info: ImageInfo) -> Result:
            return self._result(np.full(info.geometry.original_size, label, np.uint8), info, data.class_names)

        return predict

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: the mean of their probabilities, resized back to the canvas."""
        from saccade.ops.views import mean_of_views  # with torch

        return {"probabilities": mean_of_views([one["probabilities"] for one in decoded], views)}

    def has_pixel_scores(self, example: Result) -> bool:
        """Foreground probabilities of networks with one class, or one class against background."""
        return isinstance(example, SegmentationMap) and example.probabilities is not None

    def from_pixels(self, example: Result, labels: NDArray[Any], scores: NDArray[Any] | None) -> Result:
        """Build the result of a whole image from merged tiles; with probabilities where the network has one class."""
        assert isinstance(example, SegmentationMap)
        return replace(example, label_map=labels, probabilities=scores)

    def _result(
        self,
        label_map: NDArray[Any],
        info: ImageInfo,
        class_names: Sequence[str],
        probabilities: NDArray[Any] | None = None,
    ) -> SegmentationMap:
        return self.result_type(
            path=info.path,
            image_id=info.image_id,
            image_size=info.geometry.original_size,
            class_names=self._names(class_names),
            image=info.image,
            label_map=label_map,
            probabilities=probabilities,
        )

    def _names(self, class_names: Sequence[str]) -> tuple[str, ...]:
        return ("background", *class_names) if len(class_names) == 1 else tuple(class_names)


def _most_probable(probabilities: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Warp (C, H, W) and take the best class of each pixel; one class at a time, as the stack could fill gigabytes."""
    dtype = np.uint8 if len(probabilities) <= 255 else np.int16
    best: NDArray[Any] = geometry.invert_map(probabilities[0], linear=True)
    best = best.copy()
    labels = np.zeros(best.shape, dtype)
    for label in range(1, len(probabilities)):
        values = geometry.invert_map(probabilities[label], linear=True)
        higher = values > best
        labels[higher] = label
        best[higher] = values[higher]
    return labels


TASK = SegmentationTask()
