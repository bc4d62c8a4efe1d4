"""Records of evaluated images: scores, classes, areas and overlaps in a few arrays, and a table of all of them.

faster-coco-eval, like pycocotools, needs a Python dictionary for every box and every object. Here an image becomes a
record in ``update``, whatever overlaps mean (boxes, masks, keypoints), and all records become one table of flat arrays
in ``compute``. Records are what processes send each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.structures.sample import Target

__all__ = ["LEAST_OVERLAP", "DetectedObjects", "ImageRecord", "RecordTable", "make_record", "rank_in_group"]

Array = NDArray[Any]

LEAST_OVERLAP = 0.1  # pairs that overlap less are not kept: below it a detection is background (Bolya et al. 2020)


@dataclass(frozen=True)
class DetectedObjects:
    """Detections of one image as arrays, whatever their shape (boxes, masks, keypoints).

    Args:
        scores: (N,), finite.
        labels: (N,), 0..C-1.
        area: (N,), pixels.

    Example:
        >>> detected = DetectedObjects(scores=np.array([0.9, 0.8]), labels=np.array([1, 0]), area=np.array([400, 90]))
        >>> detected.scores[detected.labels == 1]
        array([0.9])
    """

    scores: Array
    labels: Array
    area: Array


class ImageRecord(NamedTuple):
    """Record of one image: N detections, M objects, and the P pairs of them that overlap by 0.1 or more.

    Attributes:
        scores: (N,) float64.
        labels: (N,) int32.
        area: Areas of the detections, pixels, (N,) float64.
        ground_truth_labels: (M,) int32.
        ground_truth_area: (M,) float64; decides small, medium and large (COCO: of the mask, not of the box).
        crowd: (M,) bool; any number of detections may lie in one.
        ignore: (M,) bool; neither found nor missed (crowds among them).
        difficult: (M,) bool, PASCAL VOC's mark, which COCO's metrics do not use; None if the ground truth has no such
            marks.
        found: Detection of each pair, (P,) int32, ascending.
        ground_truth: Object of each pair, (P,) int32.
        overlap: IoU or object keypoint similarity of each pair, whatever the classes; with a crowd, the share of the
            detection that lies in it; (P,) float64.

    Example:
        >>> detected = DetectedObjects(np.array([0.9, 0.8]), np.array([1, 0]), np.array([400, 90]))
        >>> overlap = np.array([[0.7, 0.0], [0.05, 0.2]])
        >>> record = make_record("1.jpg", 2, detected, {"labels": np.array([1, 1])}, np.array([420, 80]), overlap)
        >>> record.found, record.ground_truth, record.overlap
        (array([0, 1], dtype=int32), array([0, 1], dtype=int32), array([0.7, 0.2]))
    """

    scores: Array
    labels: Array
    area: Array
    ground_truth_labels: Array
    ground_truth_area: Array
    crowd: Array
    ignore: Array
    difficult: Array | None
    found: Array
    ground_truth: Array
    overlap: Array

    @property
    def marks(self) -> Array:
        """PASCAL VOC's mark of each object, false if the ground truth has no such marks."""
        return np.zeros(len(self.ground_truth_labels), bool) if self.difficult is None else self.difficult


def make_record(
    path: str,
    num_classes: int,
    detected: DetectedObjects,
    target: Target,
    ground_truth_area: Array,
    overlap: Array,
    ignore: Array | None = None,
) -> ImageRecord:
    """Make the record of one image.

    Args:
        path: File of the image, for messages.
        num_classes: C.
        detected: N detections.
        target: Ground truth with ``labels`` (M,); ``iscrowd`` and ``difficult`` if there are any.
        ground_truth_area: (M,) pixels.
        overlap: (N, M), every detection with every object.
        ignore: (M,), objects that do not count besides crowds.

    Raises:
        DataError: If a label is not below ``num_classes``, or a score is not a number.

    Example:
        >>> detected = DetectedObjects(np.array([0.9]), np.array([1]), np.array([400]))
        >>> target = {"labels": np.array([1, 0]), "iscrowd": np.array([False, True])}
        >>> record = make_record("1.jpg", 2, detected, target, np.array([420, 9000]), np.array([[0.7, 0.0]]))
        >>> record.labels, record.ground_truth_labels, record.ignore
        (array([1], dtype=int32), array([1, 0], dtype=int32), array([False,  True]))
    """
    ground_truth_labels = np.asarray(target.get("labels", np.zeros(0))).reshape(-1).astype(np.int32)
    for whose, found in (("the ground truth holds", ground_truth_labels), ("the detections hold", detected.labels)):
        if len(found) and not 0 <= found.min() <= found.max() < num_classes:
            wrong = int(found.max()) if found.max() >= num_classes else int(found.min())
            raise DataError(
                f"{path}: {whose} label {wrong}, but there are {num_classes} classes. "
                "Check that model and data set have the same classes."
            )
    if not np.isfinite(detected.scores).all():
        raise DataError(f"{path}: a detection's score is not a finite number. Check the model's last layers.")
    crowd = np.asarray(target.get("iscrowd", np.zeros(len(ground_truth_labels)))).reshape(-1).astype(bool)
    difficult = np.asarray(target["difficult"]).reshape(-1).astype(bool) if "difficult" in target else None
    rows, columns = np.nonzero(overlap >= LEAST_OVERLAP)
    return ImageRecord(
        scores=np.asarray(detected.scores, np.float64).reshape(-1),
        labels=np.asarray(detected.labels).reshape(-1).astype(np.int32),
        area=np.asarray(detected.area, np.float64).reshape(-1),
        ground_truth_labels=ground_truth_labels,
        ground_truth_area=np.asarray(ground_truth_area, np.float64).reshape(-1),
        crowd=crowd,
        ignore=crowd if ignore is None else crowd | ignore,
        difficult=difficult,
        found=rows.astype(np.int32),
        ground_truth=columns.astype(np.int32),
        overlap=overlap[rows, columns],
    )


@dataclass(frozen=True)
class RecordTable:
    """Records of all images in flat arrays, by rising image id: N detections, M objects, P pairs of rows of both.

    Args:
        num_classes: C.
        image: Position of each detection's image, (N,).
        label: (N,).
        score: (N,).
        area: (N,), pixels.
        rank: Rank of each detection among those of its image and class by falling score, from 0, (N,).
        ground_truth_image: Position of each object's image, (M,).
        ground_truth_label: (M,).
        ground_truth_area: (M,), pixels.
        crowd: (M,) bool.
        ignore: (M,) bool.
        difficult: (M,) bool.
        found: Detection of each pair, (P,).
        ground_truth: Object of each pair, (P,).
        overlap: Overlap of each pair, (P,).

    Example:
        >>> detected = DetectedObjects(np.array([0.4, 0.8]), np.array([0, 0]), np.array([400, 90]))
        >>> record = make_record("1.jpg", 1, detected, {"labels": np.array([0])}, np.array([9]), np.eye(2)[:, :1])
        >>> table = RecordTable.of({1: record, 2: record}, num_classes=1)
        >>> table.image, table.rank, table.ground_truth
        (array([0, 0, 1, 1]), array([1, 0, 1, 0]), array([0, 1]))
    """

    num_classes: int
    image: NDArray[np.int64]
    label: NDArray[np.int32]
    score: NDArray[np.float64]
    area: NDArray[np.float64]
    rank: NDArray[np.int64]
    ground_truth_image: NDArray[np.int64]
    ground_truth_label: NDArray[np.int32]
    ground_truth_area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    found: NDArray[np.int64]
    ground_truth: NDArray[np.int64]
    overlap: NDArray[np.float64]

    @classmethod
    def of(cls, images: Mapping[int, ImageRecord], num_classes: int) -> RecordTable:
        """Make the table of records given by image id."""
        records = [images[number] for number in sorted(images)]
        found_counts = np.array([len(record.scores) for record in records], np.int64)
        ground_truth_counts = np.array([len(record.ground_truth_labels) for record in records], np.int64)
        pair_counts = [len(record.overlap) for record in records]
        image = np.repeat(np.arange(len(records)), found_counts)
        label = _joined(records, "labels", np.int32)
        score = _joined(records, "scores", np.float64)
        order = np.lexsort((-score, label, image))
        rank = np.empty(len(score), np.int64)
        rank[order] = rank_in_group(image[order] * max(num_classes, 1) + label[order])
        return cls(
            num_classes=num_classes,
            image=image,
            label=label,
            score=score,
            area=_joined(records, "area", np.float64),
            rank=rank,
            ground_truth_image=np.repeat(np.arange(len(records)), ground_truth_counts),
            ground_truth_label=_joined(records, "ground_truth_labels", np.int32),
            ground_truth_area=_joined(records, "ground_truth_area", np.float64),
            crowd=_joined(records, "crowd", np.bool_),
            ignore=_joined(records, "ignore", np.bool_),
            difficult=_joined(records, "marks", np.bool_),
            found=_joined(records, "found", np.int64) + np.repeat(np.cumsum(found_counts) - found_counts, pair_counts),
            ground_truth=_joined(records, "ground_truth", np.int64)
            + np.repeat(np.cumsum(ground_truth_counts) - ground_truth_counts, pair_counts),
            overlap=_joined(records, "overlap", np.float64),
        )

    def by_score(self, keep: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sort the detections where ``keep`` (N,) by class, then by falling score; also returns the C + 1 bounds."""
        rows = np.flatnonzero(keep)
        # Among equal scores the order is that of the images, as in COCOeval.
        rows = rows[np.lexsort((self.rank[rows], self.image[rows], -self.score[rows], self.label[rows]))]
        return rows, np.searchsorted(self.label[rows], np.arange(self.num_classes + 1))

    def best(self, keep: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the greatest overlap of each detection among the pairs where ``keep`` (P,) is true, and its object.

        Returns:
            (N,) overlaps, 0 for none, and (N,) objects, -1 for none, the first of equals.
        """
        overlap, partner = np.zeros(len(self.score)), np.full(len(self.score), -1, np.int64)
        pairs = np.flatnonzero(keep)
        pairs = pairs[np.lexsort((-self.ground_truth[pairs], self.overlap[pairs], self.found[pairs]))]
        overlap[self.found[pairs]] = self.overlap[pairs]  # of equal indices the last stays
        partner[self.found[pairs]] = self.ground_truth[pairs]
        return overlap, partner

    def objects(self, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the objects of each class that are not ignored, (C,)."""
        return np.bincount(self.ground_truth_label[~ignored], minlength=self.num_classes)


def rank_in_group(groups: Array) -> NDArray[np.int64]:
    """Number the elements of each group from 0; equal elements must be neighbours.

    Example:
        >>> rank_in_group(np.array([3, 3, 3, 5, 7, 7]))
        array([0, 1, 2, 0, 0, 1])
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def _joined(records: Sequence[ImageRecord], name: str, kind: Any) -> Array:
    parts = [getattr(record, name) for record in records]
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)
