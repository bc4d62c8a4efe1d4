"""What R-CNN solves without gradients: a linear support vector machine and a ridge regression of boxes for each class.

Girshick et al. 2014, R-CNN (arXiv 1311.2524), section 2.3, appendices B and C. Both pass over the features of all
regions image by image and hold only what they need: positives and hard negatives, and sums of products.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.models.detection.region_cache import RegionFeatures
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.iou import aligned_iou, pairwise_iou

__all__ = ["LinearModels", "Regions", "SvmSettings", "feature_scale", "train_box_regressors", "train_svms"]

logger = logging.getLogger("saccade")

Regions = Callable[[], Iterable[RegionFeatures]]
"""Gives a new pass over the images."""

_NORM = 20.0  # mean norm of the features, which cost and penalty refer to (the authors' published code)


@dataclass(frozen=True)
class SvmSettings:
    """Settings of the support vector machines; the values that the paper does not print are those of its code.

    Args:
        cost: C, the weight of the hinge loss.
        positive_weight: Factor on C for positives, which are few.
        bias_scale: The constant input of the bias; the larger, the less the bias is regularised.
        negative_iou: Regions that overlap every object of a class by less are its negatives (appendix B: 0.3).
        retrain: A machine is trained anew when so many hard negatives have been found.
        hard: Negatives with a larger margin are hard.
        easy: Those with a smaller one are forgotten when the machine is trained anew.

    Example:
        >>> SvmSettings().negative_iou
        0.3
    """

    cost: float = 1e-3
    positive_weight: float = 2.0
    bias_scale: float = 10.0
    negative_iou: float = 0.3
    retrain: int = 2000
    hard: float = -1.0001
    easy: float = -1.2


@dataclass(frozen=True)
class LinearModels:
    """Linear functions of the features, in rows, and figures of how they were found.

    Args:
        weight: (K, D) float32; a row of zeros for a class without examples.
        bias: (K,) float32.
        figures: For the log.

    Example:
        >>> LinearModels(np.zeros((2, 4), np.float32), np.zeros(2, np.float32), {"positives": 0.0}).weight.shape
        (2, 4)
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    figures: dict[str, float]


def feature_scale(regions: Regions) -> float:
    """Factor that gives the features of all regions a mean norm of 20, which the paper's cost and penalty refer to.

    Example:
        >>> regions = RegionFeatures(np.full((2, 4), 5.0, np.float32), np.zeros((2, 4), np.float32), np.array([1]))
        >>> feature_scale(lambda: [regions])
        2.0
    """
    total, count = 0.0, 0
    for image in regions():
        total += float(np.linalg.norm(image.features.astype(np.float64), axis=1).sum())
        count += len(image.features)
    return _NORM * count / total if total > 0 else 1.0


class _Machine:
    """Support vector machine of one class, with its positives and the hard negatives found so far."""

    def __init__(self, positives: list[NDArray[np.float32]], settings: SvmSettings) -> None:
        self.positives = np.concatenate(positives)
        self.settings = settings
        self.negatives: list[NDArray[np.float32]] = []
        self.fresh = 0  # negatives since it was trained
        self.weight: NDArray[np.float32] | None = None
        self.bias = 0.0

    def see(self, candidates: NDArray[np.float32]) -> None:
        """Take the hard ones of the negatives of an image; without a machine yet, all."""
        if self.weight is not None:
            candidates = candidates[candidates @ self.weight + self.bias > self.settings.hard]
        if len(candidates):
            self.negatives.append(candidates)
            self.fresh += len(candidates)
        if self.fresh and (self.weight is None or self.fresh >= self.settings.retrain):
            self.train()

    def train(self) -> None:
        """Train on the positives and the negatives that are kept, and forget those that became easy."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        negatives = np.concatenate(self.negatives)
        labels = np.repeat([1, 0], [len(self.positives), len(negatives)])
        solver = LinearSVC(
            C=self.settings.cost,
            loss="hinge",
            class_weight={1: self.settings.positive_weight},
            intercept_scaling=self.settings.bias_scale,
            max_iter=10_000,
            random_state=0,
        )
        with warnings.catch_warnings():  # it stops a little beside the minimum, which mining moves anyway
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(np.concatenate((self.positives, negatives)), labels)
        self.weight, self.bias = solver.coef_[0].astype(np.float32), float(solver.intercept_[0])
        self.negatives = [negatives[negatives @ self.weight + self.bias >= self.settings.easy]]
        self.fresh = 0


def train_svms(regions: Regions, num_classes: int, settings: SvmSettings | None = None) -> LinearModels:
    """Train one linear support vector machine a class, with hard negative mining in one pass over the images.

    Positives are the objects of the class, negatives the regions that overlap each of them by less than 0.3; what lies
    between is neither (appendix B). The first image gives a class all its negatives. From then on only those count
    that the machine of now does not leave outside of its margin; 2,000 of them train it anew, and it forgets the easy
    ones (section 2.3: one pass is enough).

    Args:
        regions: Gives passes over the images.
        num_classes: C.
        settings: The paper's if not given.

    Returns:
        ``weight`` (C, D) and ``bias`` (C,) of the margins; a class without positives or negatives has zeros, which the
        log tells.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        >>> boxes = np.tile(np.float32([0, 0, 8, 8]), (40, 1)) + np.arange(40, dtype=np.float32)[:, None] * 10
        >>> features[-1] += 6
        >>> found = train_svms(lambda: [RegionFeatures(features, boxes, np.array([1]))], num_classes=2)
        >>> int((features @ found.weight[1] + found.bias[1]).argmax()), found.weight[0].tolist()
        (39, [0.0, 0.0, 0.0, 0.0])
    """
    settings = settings or SvmSettings()
    scale = feature_scale(regions)
    positives: list[list[NDArray[np.float32]]] = [[] for _ in range(num_classes)]
    width = 0
    for image in regions():
        width = image.features.shape[1]
        own = image.features[image.proposals :] * np.float32(scale)
        for label in np.unique(image.labels):
            positives[label].append(own[image.labels == label])
    machines = {label: _Machine(rows, settings) for label, rows in enumerate(positives) if rows}
    for image in regions():
        overlaps = _overlaps_by_class(image, num_classes)
        features = image.features * np.float32(scale)
        for label, machine in machines.items():
            machine.see(features[overlaps[:, label] < settings.negative_iou])
    weight, bias = np.zeros((num_classes, width), np.float32), np.zeros(num_classes, np.float32)
    left_out = [label for label in range(num_classes) if label not in machines]
    for label, machine in machines.items():
        if machine.fresh:
            machine.train()
        if machine.weight is None:
            left_out.append(label)
            continue
        weight[label], bias[label] = machine.weight * np.float32(scale), machine.bias
    if left_out:
        logger.warning(
            "no support vector machine for the classes %s: the training images hold no object of theirs, or no region "
            "that overlaps none; they keep the scores of the softmax.", sorted(left_out),
        )  # fmt: skip
    figures = {
        "positives": float(sum(len(machine.positives) for machine in machines.values())),
        "hard_negatives": float(sum(len(rows) for machine in machines.values() for rows in machine.negatives)),
        "classes": float(num_classes - len(left_out)),
    }
    return LinearModels(weight, bias, figures)


def train_box_regressors(
    regions: Regions, num_classes: int, ridge: float = 1000.0, min_iou: float = 0.6
) -> LinearModels:
    """Ridge regression from features to box codes, one for each class (appendix C, equation 5).

    It learns from the proposals that overlap an object by more than ``min_iou``, each with the object that it overlaps
    most. Only sums of products are kept, so that memory does not grow with the images.

    Args:
        regions: Gives passes over the images.
        num_classes: C.
        ridge: Lambda, the penalty on the weights; the bias has none.
        min_iou: Overlap from which on a proposal is near enough to learn from.

    Returns:
        ``weight`` (4 C, D) and ``bias`` (4 C,) of the codes, four rows a class; zeros, which leave a proposal as it
        is, for a class without such proposals.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> shift = rng.uniform(-2, 2, (200, 1)).astype(np.float32)
        >>> boxes = np.float32([[0, 0, 20, 20]]) + shift * np.float32([1, 0, 1, 0])
        >>> boxes = np.concatenate((boxes, np.float32([[0, 0, 20, 20]])))
        >>> features = np.concatenate((shift, np.float32([[0]])))
        >>> found = train_box_regressors(lambda: [RegionFeatures(features, boxes, np.array([0]))], 1, ridge=1e-3)
        >>> round(float(found.weight[0, 0]), 3)  # dx is -1/20 of the shift
        -0.05
    """
    scale = feature_scale(regions)
    sums: dict[int, _Products] = {}
    width = 0
    before = 0.0
    for image in regions():
        width = image.features.shape[1]
        rows, owners, iou = _near(image, min_iou)
        before += float(iou.sum())
        codes = encode_anchors(_tensor(image.objects_xyxy[owners]), _tensor(image.boxes_xyxy[rows])).double().numpy()
        features = image.features[rows].astype(np.float64) * scale
        for label in np.unique(image.labels[owners]):
            chosen = image.labels[owners] == label
            sums.setdefault(int(label), _Products(width)).add(features[chosen], codes[chosen])
    weight, bias = np.zeros((num_classes, 4, width), np.float32), np.zeros((num_classes, 4), np.float32)
    for label, products in sums.items():
        solution, offset = products.solve(ridge)
        weight[label], bias[label] = solution * scale, offset
    pairs = sum(products.count for products in sums.values())
    after = 0.0
    for image in regions():
        rows, owners, _ = _near(image, min_iou)
        labels = image.labels[owners]
        codes = np.einsum("nd,nkd->nk", image.features[rows], weight[labels]) + bias[labels]
        moved = decode_anchors(_tensor(codes), _tensor(image.boxes_xyxy[rows]))
        after += float(aligned_iou(moved, _tensor(image.objects_xyxy[owners])).sum())
    figures = {"pairs": float(pairs), "iou_before": before / max(pairs, 1), "iou_after": after / max(pairs, 1)}
    return LinearModels(weight.reshape(-1, width), bias.reshape(-1), figures)


class _Products:
    """Sums from which ridge regression with a free bias is solved."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.features, self.codes = np.zeros(width), np.zeros(4)
        self.squares, self.mixed = np.zeros((width, width)), np.zeros((width, 4))

    def add(self, features: NDArray[np.float64], codes: NDArray[np.float64]) -> None:
        self.count += len(features)
        self.features += features.sum(axis=0)
        self.codes += codes.sum(axis=0)
        self.squares += features.T @ features
        self.mixed += features.T @ codes

    def solve(self, ridge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (4, D) and biases (4,): (X'X + ridge)^-1 X'Y, with X and Y less their means."""
        mean, mean_code = self.features / self.count, self.codes / self.count
        left = self.squares - self.count * np.outer(mean, mean) + ridge * np.eye(len(mean))
        right = self.mixed - self.count * np.outer(mean, mean_code)
        weight = np.linalg.solve(left, right).T
        return weight, mean_code - weight @ mean


def _overlaps_by_class(image: RegionFeatures, num_classes: int) -> NDArray[np.float32]:
    """Largest overlap of each region with an object of each class, (N, C); 0 for classes that are not there."""
    found = np.zeros((len(image.boxes_xyxy), num_classes), np.float32)
    if len(image.labels):
        overlaps = pairwise_iou(_tensor(image.boxes_xyxy), _tensor(image.objects_xyxy)).numpy()
        for column, label in enumerate(image.labels):
            found[:, label] = np.maximum(found[:, label], overlaps[:, column])
    return found


def _near(image: RegionFeatures, min_iou: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Proposals that overlap an object by more than ``min_iou``, that object, and the overlap."""
    if not len(image.labels) or not image.proposals:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    overlaps = pairwise_iou(_tensor(image.boxes_xyxy[: image.proposals]), _tensor(image.objects_xyxy))
    iou, owners = overlaps.max(dim=1)
    rows = (iou > min_iou).nonzero().flatten()
    return rows.numpy(), owners[rows].numpy(), iou[rows].numpy()


def _tensor(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
