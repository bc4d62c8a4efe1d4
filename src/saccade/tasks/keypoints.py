"""Keypoints: named points of each object; boxes of the objects where a network gives them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from saccade.data.derived.tiles import TileGrid
from saccade.data.writers.drafts import Draft, points_of
from saccade.results.base import Result
from saccade.results.findings import ImageFindings
from saccade.results.keypoints import Keypoints
from saccade.structures.dataset import DatasetInfo
from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import ImageInfo, ObjectBox, Sample, Target
from saccade.tasks._tiles import concatenate_keypoints, join_keypoints
from saccade.tasks.base import ConstantBaseline, MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.joint import JointEvaluator
    from saccade.ops.views import View

__all__ = ["TASK", "KeypointTask"]


class KeypointTask(Task):
    """Keypoint task: points and objects, each with a score, to :class:`~saccade.results.keypoints.Keypoints`.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((40, 60)))
        >>> decoded = {"keypoints": np.zeros((1, 1, 2, 2)), "point_scores": np.ones((1, 1, 2))}
        >>> decoded |= {"scores": np.ones((1, 1)), "count": np.array([1])}
        >>> TASK.results(decoded, [info], ("left", "right"))[0].describe()
        '1 object of 2 points'
    """

    name = "keypoints"
    decoded: ClassVar[Mapping[str, str]] = {
        "keypoints": "BNC2",
        "point_scores": "BNC",
        "scores": "BN",
        "count": "B",
        "boxes?": "BN4",
        "heatmaps?": "BCPQ",
        "smoothed_heatmaps?": "BCPQ",
    }
    target_kinds = ("keypoints",)
    fitness = (("AP", {"AP": 1.0}), ("NME", {"NME": -1.0}))
    fault_kinds: ClassVar[Mapping[str, str]] = {
        "largest error": "Images by falling error of their points. Blue: ground truth; orange: predicted.",
    }
    searched = ("augment.translate=0:0.2", "augment.degrees=0:40")
    mirrored_points = True

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn points into one ``Keypoints`` an image; points may lie outside the image."""
        arrays = {key: as_array(value) for key, value in decoded.items() if not key.endswith("heatmaps")}
        results: list[Result] = []
        for index, info in enumerate(infos):
            number = int(arrays["count"][index])
            rows = {key: value[index, :number] for key, value in arrays.items() if key != "count"}
            boxes = {"boxes_xyxy": info.geometry.invert_boxes(rows["boxes"])} if "boxes" in rows else {}
            found = _result(
                info,
                class_names,
                keypoints=info.geometry.invert_points(rows["keypoints"]),
                point_scores=rows["point_scores"],
                scores=rows["scores"],
                **boxes,
            )
            results.append(found if info.crop is None else _of_crop(found, info.crop))
        return results

    def with_points(self, results: Sequence[Result], points: PointLayout) -> list[Result]:
        """The same results with the skeleton; the names of the points are their class names already."""
        return [replace(one, skeleton=points.skeleton) if isinstance(one, Keypoints) else one for one in results]

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: its points, with score 1 where a point is labelled, else 0."""
        points = np.asarray(target["keypoints"], np.float32)
        visible = (points[..., 2] > 0).astype(np.float32)
        restored = info.geometry.invert_points(points[..., :2])
        boxes = {"boxes_xyxy": info.geometry.invert_boxes(target["boxes"])} if "boxes" in target else {}
        return _result(info, class_names, keypoints=restored, point_scores=visible, **boxes)

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> JointEvaluator:
        """Build the evaluator; the normalised mean error decides, for COCO's persons the AP by keypoint similarity."""
        from saccade.metrics.joint import JointEvaluator
        from saccade.metrics.keypoints import KeypointEvaluator
        from saccade.metrics.oks import COCO_SIGMAS, OksEvaluator

        errors, similarity = KeypointEvaluator(data.class_names), OksEvaluator(data.class_names)
        if set(data.class_names) == set(COCO_SIGMAS):
            return JointEvaluator(similarity, errors)
        return JointEvaluator(errors, similarity)

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Find the error of the points in sizes of their object; an image with any is a fault."""
        from saccade.metrics.keypoints import KeypointEvaluator
        from saccade.tasks._findings import point_findings

        assert isinstance(result, Keypoints)
        return point_findings(result, target, data.class_names, KeypointEvaluator(data.class_names))

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """Learn the constant baseline: the mean shape of an object, as shares of the sides of its image or crop."""
        shapes, weights = [], []
        for sample in samples:
            keypoints = sample.target["keypoints"]
            shapes.append(keypoints[..., :2] / np.array(sample.size[::-1], np.float32))
            weights.append(keypoints[..., 2:] > 0)
        shape, weight = np.concatenate(shapes), np.concatenate(weights)
        mean = (shape * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)

        def predict(info: ImageInfo) -> Result:
            points = info.geometry.invert_points(mean * np.array(info.geometry.size[::-1], np.float32))[None]
            scores = np.ones(points.shape[:2], np.float32)
            found = _result(info, data.class_names, keypoints=points, point_scores=scores)
            return found if info.crop is None else _of_crop(found, info.crop)

        return predict

    def drafts(self, result: Result) -> list[Draft]:
        """Points of each object, hidden where they score below 0.3, and its box, or the one around them."""
        assert isinstance(result, Keypoints), "the task made it"
        boxes = result.boxes_xyxy
        if boxes is None:
            boxes = np.concatenate([result.keypoints.min(axis=1), result.keypoints.max(axis=1)], axis=1)
        rows = zip(result.scores, boxes.tolist(), result.keypoints, result.point_scores, strict=True)
        return [
            Draft("object", float(score), tuple(box), keypoints=points_of(points, point_scores))
            for score, box, points, point_scores in rows
        ]

    def draft_info(self, class_names: Sequence[str], points: PointLayout) -> tuple[DatasetInfo, tuple[str, ...]]:
        """Describe a data set of points; all objects are of one class."""
        names = ("object",)
        info = DatasetInfo(
            "labels",
            self.name,
            tuple(class_names),
            "all",
            flip_pairs=points.flip_pairs,
            object_names=names,
            skeleton=points.skeleton,
        )
        return info, names

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: heatmaps are averaged where the network gives them, else points, object by object.

        Left and right are exchanged in the mirror.
        """
        from saccade.tasks._views import merge_heatmaps, merge_points  # with torch

        if "heatmaps" in decoded[0] or "smoothed_heatmaps" in decoded[0]:
            return merge_heatmaps(decoded, views, options)
        return merge_points(decoded, views, options)

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join tiles: the objects of all; of several that overlap, the one with the highest score."""
        return join_keypoints((one for one in results if isinstance(one, Keypoints)), grid, options)

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the crops of an image (top-down): all objects, without those found in two boxes (suppression by OKS)."""
        from saccade.metrics.oks import sigmas_of, suppress_poses

        whole = concatenate_keypoints([one for one in results if isinstance(one, Keypoints)])
        if whole.boxes_xyxy is None:
            return whole
        return whole[suppress_poses(whole.keypoints, whole.scores, whole.boxes_xyxy, sigmas_of(whole.class_names))]


def _of_crop(found: Keypoints, crop: ObjectBox) -> Keypoints:
    """The object of a crop with its box; its score is that of the box times that of its points."""
    boxes = np.tile(np.asarray(crop.box_xyxy, np.float32), (len(found), 1))
    whole = replace(found, boxes_xyxy=boxes, scores=np.asarray(found.scores) * crop.score)
    return whole if crop.score > 0 else whole[:0]


def _result(info: ImageInfo, class_names: Sequence[str], **arrays: Any) -> Keypoints:
    return Keypoints(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        **arrays,
    )


TASK = KeypointTask()
