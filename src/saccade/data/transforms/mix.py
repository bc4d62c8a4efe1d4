"""Transforms that join two images: mixup, CutMix and copy-paste."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.transforms.affine import Pairs, mirror
from saccade.data.transforms.move import (
    MIN_SIDE,
    MIN_VISIBLE,
    join_objects,
    move_sample,
    select_objects,
    warp_pixels,
)
from saccade.errors import ConfigError
from saccade.ops.mask_boxes import boxes_of_masks
from saccade.structures.kinds import kind_of
from saccade.structures.sample import Sample, Target

__all__ = ["CopyPaste", "MixUp", "blend_classes", "cut_classes"]


class MixUp:
    """Mixup of detection: the mean of two images, with the objects of both (Ge et al. 2021, YOLOX, section 2.1).

    The second image is letterboxed, zoomed by 0.5 to 1.5, mirrored half of the time, and laid at a random position.

    Args:
        fill: Value of what the second image does not cover.
        flip_pairs: Keypoints that a mirror exchanges.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((64, 64)))
        >>> first, second = (
        ...     Sample(
        ...         np.full((64, 64, 3), grey, np.uint8),
        ...         {"boxes": np.array([[16, 16, 48, 48]], np.float32), "labels": np.array([label])},
        ...         info,
        ...     )
        ...     for grey, label in ((0, 3), (200, 7))
        ... )
        >>> mixed = MixUp()(first, second, np.random.default_rng(0))
        >>> mixed.target["labels"].tolist(), mixed.image[32, 32].tolist()
        ([3, 7], [100, 100, 100])
    """

    def __init__(self, fill: int = 114, flip_pairs: Pairs = ()) -> None:
        self.fill = fill
        self.flip_pairs = flip_pairs

    def __call__(self, sample: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Blend two samples.

        Args:
            sample: On the network's canvas; gives identity and geometry.
            partner: Of any size.
            rng: Source of zoom, mirror and position.
        """
        height, width = size = sample.size
        gain = min(height / partner.size[0], width / partner.size[1]) * rng.uniform(0.5, 1.5)
        if rng.random() < 0.5:
            partner = mirror(partner, self.flip_pairs)
        slack = np.array([width - partner.size[1] * gain, height - partner.size[0] * gain])
        left, top = rng.random(2) * slack
        matrix = np.array([[gain, 0, left], [0, gain, top], [0, 0, 1.0]])

        def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
            return warp_pixels(pixels, matrix, size, fill, linear)

        second = move_sample(partner, matrix, size, remap, self.fill, tight=True)
        image = cv2.addWeighted(sample.image, 0.5, second.image, 0.5, 0.0).reshape(sample.image.shape)
        return replace(sample, image=image, target=join_objects([sample.target, second.target]))


class CopyPaste:
    """Copy-paste: objects of one image, cut out along their masks and laid over another (Ghiasi et al. 2021).

    Every object of the second image is taken with probability 1/2; crowd regions never are. What lies under them is
    removed from the masks of the first image's objects, whose boxes and areas follow; an object of which no more than
    a tenth is left is dropped. A keypoint under a pasted object is still labelled, but hidden.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> def square(left, label):
        ...     masks = np.zeros((1, 60, 100), np.uint8)
        ...     masks[0, 20:40, left : left + 20] = 1
        ...     target = {"masks": masks, "labels": np.array([label])}
        ...     return Sample(masks[0, ..., None] * 100, target, ImageInfo(0, "x", Geometry.identity((60, 100))))
        >>> pasted = CopyPaste()(square(10, 3), square(20, 7), np.random.default_rng(2))
        >>> pasted.target["labels"].tolist(), pasted.target["masks"].sum((1, 2)).tolist()  # half of the first is hidden
        ([3, 7], [200, 400])
    """

    def __call__(self, sample: Sample, partner: Sample, rng: np.random.Generator) -> Sample:
        """Paste objects of one sample onto another.

        Args:
            sample: Image to paste onto.
            partner: Image of the same size and channels to take objects from.
            rng: Chooses the objects.

        Raises:
            ConfigError: If either has no masks.
        """
        if "masks" not in sample.target or "masks" not in partner.target:
            raise ConfigError("augment.copy_paste cuts objects out along their masks, and there are none. Set it to 0.")
        count = len(partner.target["masks"])
        chosen = rng.random(count) < 0.5
        chosen &= ~partner.target.get("iscrowd", np.zeros(count, bool))
        if not chosen.any():
            return sample
        pasted = select_objects(partner.target, chosen)
        cover = np.asarray(pasted["masks"].any(axis=0))
        image = np.where(cover[..., None], partner.image, sample.image)
        target = join_objects([_behind(sample.target, cover), pasted])
        for key in (key for key in target if kind_of(key).motion == "map"):
            target[key] = np.where(cover, partner.target[key], sample.target[key])
        return replace(sample, image=image, target=target)


def blend_classes(
    sample: Sample, partner: Sample | None, alpha: float, num_classes: int, rng: np.random.Generator
) -> Sample:
    """Mixup of classification: ``lam * a + (1 - lam) * b`` for pixels and for labels (Zhang et al. 2018).

    Args:
        sample: On the network's canvas; its label is a class.
        partner: Likewise, or None for no blend.
        alpha: lam is of Beta(alpha, alpha).
        num_classes: C.
        rng: Source of lam.

    Returns:
        The sample with soft labels, shape (C,), float32, summing to 1: also without a partner, so that a batch can be
        stacked.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((8, 8)))
        >>> black, white = (
        ...     Sample(np.full((8, 8, 3), grey, np.uint8), {"labels": np.int64(label)}, info)
        ...     for grey, label in ((0, 0), (255, 2))
        ... )
        >>> blended = blend_classes(black, white, alpha=1.0, num_classes=3, rng=np.random.default_rng(0))
        >>> blended.target["labels"].round(2), blended.image[0, 0].tolist()
        (array([0.7, 0. , 0.3], dtype=float32), [76, 76, 76])
    """
    if partner is None:
        return _with_shares(sample, sample, 1.0, num_classes)
    share = float(rng.beta(alpha, alpha))
    image = cv2.addWeighted(sample.image, share, partner.image, 1.0 - share, 0.0).reshape(sample.image.shape)
    return _with_shares(replace(sample, image=image), partner, share, num_classes)


def cut_classes(sample: Sample, partner: Sample, alpha: float, num_classes: int, rng: np.random.Generator) -> Sample:
    """CutMix: a rectangle of another image is pasted, and labels are mixed by area (Yun et al. 2019, section 3.1).

    The rectangle's sides are ``sqrt(1 - lam)`` of the image's and its centre is anywhere; what sticks out is cut, and
    the labels follow the area that is really covered.

    Args:
        sample: On the network's canvas; its label is a class.
        partner: Likewise, of the same size.
        alpha: lam is of Beta(alpha, alpha).
        num_classes: C.
        rng: Source of lam and of the position.

    Returns:
        The sample with soft labels, shape (C,), float32, summing to 1.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> from saccade.structures.sample import ImageInfo, Sample
        >>> info = ImageInfo(0, "photo.jpg", Geometry.identity((8, 8)))
        >>> black, white = (
        ...     Sample(np.full((8, 8, 1), grey, np.uint8), {"labels": np.int64(label)}, info)
        ...     for grey, label in ((0, 0), (255, 2))
        ... )
        >>> mixed = cut_classes(black, white, alpha=1.0, num_classes=3, rng=np.random.default_rng(0))
        >>> mixed.target["labels"].tolist(), float((mixed.image == 255).mean())
        ([0.90625, 0.0, 0.09375], 0.09375)
    """
    height, width = sample.size
    side = (1.0 - float(rng.beta(alpha, alpha))) ** 0.5
    y, x = rng.random(2) * (height, width)
    top, bottom = (round(min(max(y + sign * side * height / 2, 0), height)) for sign in (-1, 1))
    left, right = (round(min(max(x + sign * side * width / 2, 0), width)) for sign in (-1, 1))
    image = sample.image.copy()
    image[top:bottom, left:right] = partner.image[top:bottom, left:right]
    share = 1.0 - (bottom - top) * (right - left) / (height * width)
    return _with_shares(replace(sample, image=image), partner, share, num_classes)


def _with_shares(sample: Sample, partner: Sample, share: float, num_classes: int) -> Sample:
    """Soft labels: ``share`` of the sample's own class and the rest of its partner's."""
    labels = np.zeros(num_classes, np.float32)
    labels[int(sample.target["labels"])] += share
    labels[int(partner.target["labels"])] += 1.0 - share
    return replace(sample, target={**sample.target, "labels": labels})


def _behind(target: Target, cover: NDArray[np.bool_]) -> Target:
    """Objects with what ``cover`` (H, W) hides removed from their masks."""
    before = target["masks"].sum(axis=(1, 2), dtype=np.int64)
    masks = target["masks"] * ~cover
    tight, after = boxes_of_masks(masks)
    touched = after < before
    behind = {**target, "masks": masks}
    if "boxes" in target:
        behind["boxes"] = np.where(touched[:, None], tight, target["boxes"]).astype(np.float32)
    if "area" in target:
        behind["area"] = np.where(touched, after, target["area"]).astype(np.float32)
    if "keypoints" in target:
        behind["keypoints"] = _hidden_points(target["keypoints"], cover)
    small = (tight[:, 2:] - tight[:, :2] < MIN_SIDE).any(axis=1)
    return select_objects(behind, ~touched | ((after > MIN_VISIBLE * before) & ~small))


def _hidden_points(keypoints: NDArray[np.float32], cover: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Keypoints (N, K, 3) with the visible ones under the cover (H, W) marked as hidden."""
    height, width = cover.shape
    columns = np.clip(keypoints[..., 0].astype(np.int64), 0, width - 1)
    rows = np.clip(keypoints[..., 1].astype(np.int64), 0, height - 1)
    hidden = keypoints.copy()
    hidden[..., 2] = np.where(cover[rows, columns], np.minimum(keypoints[..., 2], 1), keypoints[..., 2])
    return hidden
