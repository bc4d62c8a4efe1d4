"""Detection: boxes with classes; masks and keypoints of the same objects where a network gives them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from saccade.data.derived.tiles import TileGrid
from saccade.data.writers.drafts import Draft, outline_of, points_of
from saccade.ops.paste_masks import paste_masks, paste_packed
from saccade.results.base import Result
from saccade.results.detections import Detections
from saccade.results.findings import ImageFindings
from saccade.structures.dataset import DatasetInfo
from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import ImageInfo, Target
from saccade.tasks._tiles import concatenate_detections, join_detections
from saccade.tasks.base import MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.detection import DetectionEvaluator
    from saccade.ops.views import View

__all__ = ["TASK", "DetectionTask"]

_LARGE = 2**26  # pixels of all masks of an image above which they are kept packed


class DetectionTask(Task):
    """Detection task: boxes, scores and labels to :class:`~saccade.results.detections.Detections`.

    ``masks`` (B, K, M, M) are probabilities on a grid over each box, ``keypoints`` (B, K, P, 2) pixels of the canvas.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((40, 60)))
        >>> decoded = {"boxes": np.array([[[5.0, 5, 25, 30], [0, 0, 0, 0]]]), "scores": np.array([[0.9, 0.0]])}
        >>> decoded |= {"labels": np.array([[1, 0]]), "count": np.array([1])}
        >>> TASK.results(decoded, [info], ("cat", "dog"))[0].describe()
        '1 dog'
    """

    name = "detection"
    decoded: ClassVar[Mapping[str, str]] = {
        "boxes": "BK4",
        "scores": "BK",
        "labels": "BK",
        "count": "B",
        "masks?": "BKMM",
        "keypoints?": "BKP2",
        "point_scores?": "BKP",
    }
    target_kinds = ("boxes", "labels")
    on_demand = ("masks", "keypoints")
    fitness = (
        ("0.1 mask_AP50 + 0.9 mask_AP", {"mask_AP50": 0.1, "mask_AP": 0.9}),
        ("0.1 keypoint_AP50 + 0.9 keypoint_AP", {"keypoint_AP50": 0.1, "keypoint_AP": 0.9}),
        ("0.1 AP50 + 0.9 AP", {"AP50": 0.1, "AP": 0.9}),
    )
    fault_kinds: ClassVar[Mapping[str, str]] = {
        "false": "Detections where no object is, by falling score. Orange: the detection; blue: ground truth. Some may "
        "be objects that nobody labelled.",
        "missed": "Objects that nothing was found for, largest first. Blue: the object; orange: detections nearby.",
        "mislocated": "Detections that overlap an object of their class by an IoU of 0.1 to 0.5, by falling score.",
        "wrong class": "Detections that overlap an object of another class by an IoU of 0.5 or more, by falling score.",
        "duplicate": "Further detections of an object that was found with a higher score, by falling score.",
    }
    searched = ("augment.translate=0:0.2", "augment.mosaic=0:1", "augment.mixup=0:0.5")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn boxes into one ``Detections`` an image, clipped to the original; those in the padding are dropped."""
        arrays = {key: as_array(value) for key, value in decoded.items()}
        results: list[Result] = []
        for index, info in enumerate(infos):
            number = int(arrays["count"][index])
            whole = info.geometry.invert_boxes(arrays["boxes"][index, :number], clip=False)
            boxes = info.geometry.invert_boxes(arrays["boxes"][index, :number])
            keep = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
            more: dict[str, Any] = {}
            if "masks" in arrays:
                grids = arrays["masks"][index, :number][keep]
                height, width = info.geometry.original_size
                paste = paste_packed if len(grids) * height * width > _LARGE else paste_masks
                more["masks"] = paste(grids, whole[keep], (height, width))
            if "keypoints" in arrays:
                more["keypoints"] = info.geometry.invert_points(arrays["keypoints"][index, :number][keep])
                more["point_scores"] = arrays["point_scores"][index, :number][keep]
            results.append(
                _result(
                    info,
                    class_names,
                    boxes_xyxy=boxes[keep],
                    scores=arrays["scores"][index, :number][keep].astype(np.float32),
                    labels=arrays["labels"][index, :number][keep],
                    **more,
                )
            )
        return results

    def with_points(self, results: Sequence[Result], points: PointLayout) -> list[Result]:
        """The same results with names and skeleton of the keypoints, where they have some."""
        return [
            replace(one, point_names=points.names, skeleton=points.skeleton)
            if isinstance(one, Detections) and one.keypoints is not None
            else one
            for one in results
        ]

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: its boxes, masks and keypoints with score 1."""
        boxes = np.asarray(target["boxes"]).reshape(-1, 4)
        geometry = info.geometry
        masks, points = target.get("masks"), target.get("keypoints")
        if not (geometry.size == geometry.original_size and np.array_equal(geometry.matrix, np.eye(3))):
            boxes = geometry.invert_boxes(boxes)  # float32; boxes nobody moved keep their precision
        if masks is not None:
            height, width = geometry.original_size
            restored = [np.asarray(geometry.invert_map(np.asarray(mask, np.uint8)), bool) for mask in masks]
            masks = np.stack(restored) if restored else np.zeros((0, height, width), bool)
        more: dict[str, Any] = {}
        if points is not None and np.asarray(points).ndim == 3:
            more["keypoints"] = geometry.invert_points(points[..., :2])
            more["point_scores"] = (points[..., 2] > 0).astype(np.float32)
        ones = np.ones(len(boxes), np.float32)
        return _result(info, class_names, boxes_xyxy=boxes, scores=ones, labels=target["labels"], masks=masks, **more)

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> DetectionEvaluator:
        """Build the evaluator of COCO's average precision; that of masks, or keypoints, decides where there are any."""
        from saccade.metrics.detection import DetectionEvaluator

        primary = "mask_AP" if "masks" in decoded_keys else "keypoint_AP" if "keypoints" in decoded_keys else "AP"
        return DetectionEvaluator(data.class_names, primary, point_names=data.point_names)

    def drafts(self, result: Result) -> list[Draft]:
        """Boxes, polygons where the network gives masks, and keypoints where it gives some."""
        assert isinstance(result, Detections), "the task made it"
        masks, points, seen = result.masks, result.keypoints, result.point_scores
        return [
            Draft(
                name,
                float(score),
                tuple(box),
                None if masks is None else outline_of(masks[index]),
                () if points is None or seen is None else points_of(points[index], seen[index]),
            )
            for index, (name, score, box) in enumerate(
                zip(result.names, result.scores, result.boxes_xyxy.tolist(), strict=True)
            )
        ]

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Find what was found and missed; each false, mislocated and missed object is a fault."""
        from saccade.tasks._findings import object_findings

        assert isinstance(result, Detections)
        return object_findings(result, target, data.class_names)

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: boxes are fused or suppressed, masks and keypoints are those of the best box of each object."""
        from saccade.tasks._views import merge_boxes  # with torch

        return merge_boxes(decoded, views, options)

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join tiles: the boxes of all; pieces of an object that a border cut are united."""
        return join_detections((one for one in results if isinstance(one, Detections)), grid, options)

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the canvases of an image: all objects of all of them."""
        return concatenate_detections([one for one in results if isinstance(one, Detections)])


def _result(info: ImageInfo, class_names: Sequence[str], **arrays: Any) -> Detections:
    return Detections(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=tuple(class_names),
        image=info.image,
        **arrays,
    )


TASK = DetectionTask()
