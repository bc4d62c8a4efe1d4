"""Images reduced to what figures need: scores, classes, areas and overlaps in a few arrays.

faster-coco-eval, like pycocotools, wants a Python dictionary for every box and every object. Here an image becomes a
record as it comes in, whatever overlaps mean (boxes, masks, keypoints), and all records become one table of flat
arrays. Records are what processes send each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError
from saccade.structures.sample import Target

__all__ = ["LEAST_OVERLAP", "ImageRecord", "RecordTable", "make_record", "place_in_group"]

Array = NDArray[Any]

LEAST_OVERLAP = 0.1  # pairs that overlap less are not kept: below it a detection is background (Bolya et al. 2020)


class ImageRecord(NamedTuple):
    """What is kept of one image: N detections, M objects, and the P pairs of them that overlap by 0.1 or more.

    Attributes:
        scores: (N,) float64.
        labels: (N,) int32.
        area: Of the detections, pixels, (N,) float64.
        ground_truth_labels: (M,) int32.
        ground_truth_area: (M,) float64; decides small, medium and large (COCO: of the mask, not of the box).
        crowd: (M,) bool; any number of detections may lie in one.
        ignore: (M,) bool; neither found nor missed (crowds among them).
        difficult: (M,) bool, PASCAL VOC's mark, which COCO's figures do not heed; None if the ground truth has no such
            marks.
        found: Detection of each pair, (P,) int32, ascending.
        ground_truth: Object of each pair, (P,) int32.
        overlap: IoU or object keypoint similarity of each pair, whatever the classes; with a crowd, the share of the
            detection that lies in it; (P,) float64.
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
        """``difficult``, false where it is not known."""
        return np.zeros(len(self.ground_truth_labels), bool) if self.difficult is None else self.difficult


def make_record(
    path: str,
    num_classes: int,
    scores: Array,
    labels: Array,
    area: Array,
    target: Target,
    ground_truth_area: Array,
    overlap: Array,
    ignore: Array | None = None,
) -> ImageRecord:
    """Reduce one image.

    Args:
        path: Of the image, for messages.
        num_classes: C.
        scores: Of the N detections.
        labels: Their classes.
        area: Their areas in pixels.
        target: Ground truth with ``labels`` (M,); ``iscrowd`` and ``difficult`` if there are any.
        ground_truth_area: (M,) pixels.
        overlap: (N, M), every detection with every object.
        ignore: (M,), objects that do not count besides crowds.

    Raises:
        DataError: If a label is not below ``num_classes``, or a score is not a number.
    """
    ground_truth_labels = np.asarray(target.get("labels", np.zeros(0))).reshape(-1).astype(np.int32)
    for whose, found in (("the ground truth holds", ground_truth_labels), ("the detections hold", labels)):
        if len(found) and not 0 <= found.min() <= found.max() < num_classes:
            wrong = int(found.max()) if found.max() >= num_classes else int(found.min())
            raise DataError(
                f"{path}: {whose} label {wrong}, but there are {num_classes} classes. "
                "Check that model and data set have the same classes."
            )
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: a detection's score is not a finite number. Check the model's last layers.")
    crowd = np.asarray(target.get("iscrowd", np.zeros(len(ground_truth_labels)))).reshape(-1).astype(bool)
    difficult = np.asarray(target["difficult"]).reshape(-1).astype(bool) if "difficult" in target else None
    rows, columns = np.nonzero(overlap >= LEAST_OVERLAP)
    return ImageRecord(
        scores=np.asarray(scores, np.float64).reshape(-1),
        labels=np.asarray(labels).reshape(-1).astype(np.int32),
        area=np.asarray(area, np.float64).reshape(-1),
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
    """All images in flat arrays, by rising image id: N detections, M objects, P pairs of rows of both.

    Args:
        num_classes: C.
        image: Position of each detection's image, (N,).
        label: (N,).
        score: (N,).
        area: (N,), pixels.
        rank: Place of each detection among those of its image and class by falling score, from 0, (N,).
        ground_truth_label: (M,).
        ground_truth_area: (M,), pixels.
        crowd: (M,) bool.
        ignore: (M,) bool.
        difficult: (M,) bool.
        found: Detection of each pair, (P,).
        ground_truth: Object of each pair, (P,).
        overlap: Of each pair, (P,).
    """

    num_classes: int
    image: NDArray[np.int64]
    label: NDArray[np.int32]
    score: NDArray[np.float64]
    area: NDArray[np.float64]
    rank: NDArray[np.int64]
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
        """The table of some records, given by image id."""
        records = [images[number] for number in sorted(images)]
        found_counts = np.array([len(record.scores) for record in records], np.int64)
        ground_truth_counts = np.array([len(record.ground_truth_labels) for record in records], np.int64)
        pair_counts = [len(record.overlap) for record in records]
        image = np.repeat(np.arange(len(records)), found_counts)
        label = _joined(records, "labels", np.int32)
        score = _joined(records, "scores", np.float64)
        order = np.lexsort((-score, label, image))
        rank = np.empty(len(score), np.int64)
        rank[order] = place_in_group(image[order] * max(num_classes, 1) + label[order])
        return cls(
            num_classes=num_classes,
            image=image,
            label=label,
            score=score,
            area=_joined(records, "area", np.float64),
            rank=rank,
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
        """Detections where ``keep`` (N,), class after class, by falling score in each, and the C + 1 bounds."""
        rows = np.flatnonzero(keep)
        # Among equal scores the order is that of the images, as in COCOeval.
        rows = rows[np.lexsort((self.rank[rows], self.image[rows], -self.score[rows], self.label[rows]))]
        return rows, np.searchsorted(self.label[rows], np.arange(self.num_classes + 1))

    def best(self, keep: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Greatest overlap of each detection among the pairs where ``keep`` (P,) is true, and with which object.

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
        """Objects of each class that count, (C,)."""
        return np.bincount(self.ground_truth_label[~ignored], minlength=self.num_classes)


def place_in_group(groups: Array) -> NDArray[np.int64]:
    """Place of each element among its equals, which are neighbours."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def _joined(records: Sequence[ImageRecord], name: str, kind: Any) -> Array:
    parts = [getattr(record, name) for record in records]
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)
