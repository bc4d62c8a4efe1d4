"""Every kind of ground truth and further input, in one table: how it moves with the image and how it is padded.

Transforms, tiles and batches ask this table and nothing else, so a key that is not in it is an error rather than an
array that stays behind in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.plugins import load_installed

__all__ = ["IGNORE_LABEL", "KINDS", "Kind", "check_kinds", "kind_of", "register_kind", "row_keys", "select_inputs"]

# Label of pixels that are neither learnt nor scored.
IGNORE_LABEL = 255

_Array = TypeVar("_Array")

Motion = Literal["none", "boxes", "points", "area", "masks", "map", "image"]


@dataclass(frozen=True)
class Kind:
    """Rules for one kind of array: how it moves with its image, what its rows are, how it is padded.

    Args:
        motion: ``boxes`` (N, 4) and ``points`` (N, K, 3 or 2) are coordinates; ``area`` (N,) grows with the canvas;
            ``masks`` (N, H, W) and ``map`` (H, W) are warped to the nearest pixel, ``image`` (H, W, C) is
            interpolated; ``none`` stays as it is.
        rows: What a row stands for: ``objects``, ``proposals``, or nothing for values of the whole image. Rows of one
            kind are kept, dropped and padded together.
        padding: Value of rows beyond an image's own in a batch.
        outside: Value of the pixels of a map where no image is.

    Example:
        >>> KINDS["label_map"]
        Kind(motion='map', rows='', padding=0, outside=255)
    """

    motion: Motion = "none"
    rows: Literal["", "objects", "proposals"] = ""
    padding: float = 0
    outside: int = 0


KINDS: dict[str, Kind] = {
    "boxes": Kind("boxes", "objects"),  # (N, 4) float xyxy
    "labels": Kind(
        "none", "objects", padding=-1
    ),  # (N,) int64; without objects () int64, or (C,) once labels are mixed
    "area": Kind("area", "objects"),  # (N,) float
    "iscrowd": Kind("none", "objects"),  # (N,) bool
    "difficult": Kind("none", "objects"),  # (N,) bool, where the source marks objects so (PASCAL VOC)
    "masks": Kind("masks", "objects"),  # (N, H, W) uint8; in a batch cropped to their boxes
    "keypoints": Kind("points", "objects"),  # (N, K, 3) float: x, y, visibility (0 unlabelled, 1 hidden, 2 visible)
    "head_boxes": Kind("boxes", "objects"),  # (N, 4) float xyxy (MPII)
    "label_map": Kind("map", outside=IGNORE_LABEL),  # (H, W) uint8, 255 = ignore
    "ignore_map": Kind("map", outside=1),  # (H, W) uint8, 1 where nothing is scored or learnt
    "weight_map": Kind("map"),  # (H, W) float, weight of each pixel in a loss
    "target_image": Kind("image"),  # (H, W, 3) uint8 of another domain
    "paired": Kind(),  # () bool: target_image shows the same scene, and moves with the input
    "proposals": Kind("boxes", "proposals"),  # (P, 4) float xyxy
    "proposal_scores": Kind("none", "proposals"),  # (P,) float
    "image_size": Kind(),  # (2,) int64: height and width of an image inside its padded canvas
}


def register_kind(name: str, kind: Kind) -> None:
    """Register a further kind of array; the same kind may be registered again.

    Raises:
        DataError: If the name stands for another kind already.

    Example:
        >>> register_kind("depth", Kind("map"))
        >>> kind_of("depth").motion
        'map'
    """
    if KINDS.setdefault(name, kind) != kind:
        raise DataError(f"'{name}' is a kind of ground truth already ({KINDS[name]}). Choose another name.")


def kind_of(name: str) -> Kind:
    """Get the rules of a kind by its key.

    Raises:
        DataError: If there is none; the message offers the nearest, and how to add one.

    Example:
        >>> kind_of("boxes").motion
        'boxes'
    """
    if name not in KINDS:
        load_installed()
    kind = KINDS.get(name)
    if kind is None:
        raise DataError(
            f"'{name}' is no known kind of ground truth or input, so there is no rule by which it moves with its image."
            f"{did_you_mean(name, KINDS)} Add one: saccade.structures.kinds.register_kind('{name}', Kind(...))."
        )
    return kind


def check_kinds(names: Collection[str]) -> None:
    """Raise an error for keys that are no known kind.

    Raises:
        DataError: For the first of them.

    Example:
        >>> check_kinds(["boxes", "label"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        saccade.errors.DataError: 'label' is no known kind of ground truth or input, ... Did you mean 'labels' ...
    """
    for name in names:
        kind_of(name)


def row_keys(rows: str = "objects") -> tuple[str, ...]:
    """List the keys whose first dimension counts ``objects`` or ``proposals``.

    Example:
        >>> row_keys("proposals")
        ('proposals', 'proposal_scores')
    """
    return tuple(name for name, kind in KINDS.items() if kind.rows == rows)


def select_inputs(names: Collection[str], inputs: Mapping[str, _Array], whose: str) -> dict[str, _Array]:
    """Select the further inputs that a network declares, in its order.

    Args:
        names: Its ``input_names``.
        inputs: What there is; more is left out.
        whose: Name of the network, for messages.

    Raises:
        ConfigError: If one is missing.

    Example:
        >>> inputs = {"proposals": np.zeros((1, 2, 4)), "proposal_scores": np.zeros((1, 2))}
        >>> list(select_inputs(("proposals",), inputs, "fast_rcnn"))
        ['proposals']
    """
    for name in names:
        if name not in inputs:
            raise ConfigError(
                f"{whose} needs the input '{name}' beside the images. Pass {name}=..., or use a data set that gives it."
            )
    return {name: inputs[name] for name in names}
