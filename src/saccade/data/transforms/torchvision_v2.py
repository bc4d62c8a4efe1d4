"""Adapters between Saccade's transforms and those of ``torchvision.transforms.v2``, in both directions.

Ours take a sample and a numpy generator, theirs any structure of ``tv_tensors`` and torch's global generator.
Coordinates are the same, except that torchvision mirrors keypoints as pixel indices, while its boxes are measured from
the edge of the image; points that go through :func:`from_torchvision` are mirrored like boxes.

This module loads torchvision's transforms; import it where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from saccade.data.transforms.affine import Transform
from saccade.data.transforms.color import check_uint8
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.move import OBJECT_KEYS, clip_objects, has_objects
from saccade.errors import ConfigError
from saccade.ops.views import flip_order
from saccade.structures.geometry import Geometry
from saccade.structures.kinds import kind_of
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["Policy", "as_torchvision", "from_torchvision"]

# Motions (structures.kinds) that torchvision has a tensor for, and those that need none.
_MOVED = ("none", "area", "boxes", "masks", "map")
# Of an object, what does not move.
_PLAIN = tuple(key for key in OBJECT_KEYS if key not in ("boxes", "masks", "keypoints"))


def from_torchvision(transform: Callable[..., Any], flip_pairs: Sequence[tuple[int, int]] | None = None) -> Transform:
    """Adapt a torchvision transform to samples.

    The image becomes a ``tv_tensors.Image``, boxes ``BoundingBoxes``, masks and maps ``Mask``, keypoints
    ``KeyPoints``; further inputs of a network and images of another domain are refused. Pixels of a label map that the
    transform leaves uncovered become 255. torchvision returns boxes already clipped, so the visible share of an object
    is unknown: only those with a side of less than two pixels are dropped, unless the transform drops more
    (``SanitizeBoundingBoxes``).

    The geometry record is updated by the affine matrix that best explains where the transform moved some points of the
    image: exact for affine transforms.

    Args:
        transform: Takes and returns a dictionary of tv_tensors: any of ``torchvision.transforms.v2`` that does not
            change the depth or the channels of the image, or a ``Compose`` of them. Randomness comes from the
            sample's generator; torch's own is left alone.
        flip_pairs: Keypoints that a mirror exchanges, left and right; their order stays as it is if not given.

    Returns:
        A transform of samples. It raises ConfigError where torchvision cannot transform a sample, or mirrors keypoints
        of which no pairs are known.

    Example:
        >>> from torchvision.transforms import v2
        >>> target = {"boxes": np.array([[0, 0, 20, 10]], np.float32), "labels": np.array([3])}
        >>> sample = Sample(np.zeros((60, 100, 3), np.uint8), target, ImageInfo(0, "x", Geometry.identity((60, 100))))
        >>> resized = from_torchvision(v2.Resize((30, 50)))(sample, np.random.default_rng(0))
        >>> resized.image.shape, resized.target["boxes"].tolist()
        ((30, 50, 3), [[0.0, 0.0, 10.0, 5.0]])
    """
    return _FromTorchvision(transform, flip_pairs)


def as_torchvision(transform: Transform) -> nn.Module:
    """Adapt one of our transforms to torchvision's pipelines.

    The module takes ``(image, target)`` or ``image`` alone, as all of ``torchvision.transforms.v2`` do. The image is a
    ``tv_tensors.Image``, a tensor (C, H, W) or a Pillow image; the result is a ``tv_tensors.Image``. The target is a
    ``Mask`` (a label map), a class, or a dictionary with any of ``boxes`` (``BoundingBoxes`` of any upright format,
    returned as XYXY), ``labels``, ``area``, ``iscrowd``, ``difficult``, ``masks``, ``keypoints`` (``KeyPoints``,
    (N, K, 2), with ``visibility`` (N, K) beside it, which is added if it was not there) and ``label_map``; other keys
    are passed on.

    Args:
        transform: Any of ours. It draws from a generator that torch's global one seeds.

    Example:
        >>> from torchvision.transforms import v2
        >>> from saccade.data.transforms.affine import Flip
        >>> augment = v2.Compose([as_torchvision(Flip(1.0)), v2.ToDtype(torch.float32, scale=True)])
        >>> boxes = tv_tensors.BoundingBoxes([[0, 0, 20, 10]], format="XYXY", canvas_size=(60, 100))
        >>> image, target = augment(torch.zeros(3, 60, 100, dtype=torch.uint8), {"boxes": boxes})
        >>> image.dtype, target["boxes"].tolist()
        (torch.float32, [[80.0, 0.0, 100.0, 10.0]])
    """
    return _AsTorchvision(transform)


class Policy:
    """torchvision's RandAugment, AutoAugment (on ImageNet) or TrivialAugment: random sequences of operations.

    They move the pixels without the ground truth, so they are for classification only.

    Args:
        config: Gives name, strength and fill.

    Raises:
        ConfigError: If there is no such policy.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        >>> sample = Sample(image, {"labels": np.int64(3)}, ImageInfo(0, "x", Geometry.identity((32, 32))))
        >>> policy = Policy(AugmentConfig(policy="randaugment"))
        >>> policy(sample, np.random.default_rng(0)).image.shape
        (32, 32, 3)
    """

    def __init__(self, config: AugmentConfig) -> None:
        makers: dict[str, Callable[[], Any]] = {
            "randaugment": lambda: v2.RandAugment(config.policy_operations, config.policy_magnitude, fill=config.fill),
            "autoaugment": lambda: v2.AutoAugment(fill=config.fill),
            "trivialaugment": lambda: v2.TrivialAugmentWide(fill=config.fill),
        }
        if config.policy not in makers:
            raise ConfigError(f"augment.policy '{config.policy}' is unknown. Choose from: {', '.join(makers)}.")
        self.transform = makers[config.policy]()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply randomly drawn operations.

        Raises:
            ConfigError: If the ground truth has boxes, masks, a label map or keypoints, or the pixels are not 8-bit RGB
                or grey.
        """
        if has_objects(sample.target) or "label_map" in sample.target:
            raise ConfigError(
                "augment.policy moves the pixels without the boxes, masks, label maps or keypoints on them. "
                "Set it to 'none', and use degrees, translate, shear, hsv and contrast instead."
            )
        check_uint8(sample, "policy", (1, 3))
        with _seeded(rng):
            image = self.transform(_to_image(sample.image))
        return replace(sample, image=_to_pixels(image))


class _Points(tv_tensors.KeyPoints):
    """Keypoints in coordinates that count from the edge of the image, as boxes do."""


def _mirror_points(points: Any) -> Any:
    plain = points.as_subclass(Tensor)
    mirrored = torch.stack([points.canvas_size[1] - plain[..., 0], plain[..., 1]], dim=-1)
    return tv_tensors.wrap(mirrored, like=points)


def _mirror_points_vertically(points: Any) -> Any:
    plain = points.as_subclass(Tensor)
    mirrored = torch.stack([plain[..., 0], points.canvas_size[0] - plain[..., 1]], dim=-1)
    return tv_tensors.wrap(mirrored, like=points)


tvf.register_kernel("horizontal_flip", _Points)(_mirror_points)
tvf.register_kernel("vertical_flip", _Points)(_mirror_points_vertically)


class _FromTorchvision:
    def __init__(self, transform: Callable[..., Any], flip_pairs: Sequence[tuple[int, int]] | None) -> None:
        self.transform = transform
        self.flip_pairs = flip_pairs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        left = [key for key in sample.target if key != "keypoints" and kind_of(key).motion not in _MOVED]
        for key in (*left, *sample.inputs):
            raise ConfigError(f"{self._name} cannot move '{key}' of {sample.info.path}. Leave the transform out.")
        probes = _probes(sample.size)
        inputs = _to_inputs(sample, probes)
        try:
            with _seeded(rng):
                outputs = self.transform(inputs)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{self._name} cannot transform {sample.info.path}: {error}") from error
        image = _to_pixels(outputs["image"])
        if image.dtype != sample.image.dtype or image.shape[2] != sample.image.shape[2]:
            raise ConfigError(
                f"{self._name} made {image.dtype} {image.shape} of {sample.image.dtype} {sample.image.shape}. "
                "Depth and channels belong to the input spec; leave ToDtype, Normalize and Grayscale out."
            )
        size = image.shape[0], image.shape[1]
        points = _to_array(outputs["points"]).astype(np.float64)
        if len(points) != len(inputs["points"]):
            raise ConfigError(f"{self._name} removes keypoints; ours become unlabelled instead. Leave it out.")
        target = _moved_target(sample.target, outputs, points[: len(points) - len(probes)], size)
        matrix = _nearest_affine(probes, points[len(points) - len(probes) :])
        if "keypoints" in target and np.linalg.det(matrix[:2, :2]) < 0:
            target["keypoints"] = self._exchanged(target["keypoints"])
        info = replace(sample.info, geometry=sample.info.geometry.then(matrix, size))
        return Sample(image, clip_objects(target, (0, 0, size[1], size[0]), tight=True), info, sample.original)

    def _exchanged(self, keypoints: NDArray[Any]) -> NDArray[Any]:
        """Keypoints (N, K, 3) of a mirrored image, with left and right in each other's place."""
        count = keypoints.shape[1]
        if self.flip_pairs is None or count < 2:
            return keypoints
        if not self.flip_pairs:
            raise ConfigError(
                f"{self._name} mirrors images, which exchanges left and right points, and the data set does not name "
                "them. Leave the transform out, or add flip_pairs (a point with itself if it has no partner)."
            )
        return keypoints[:, flip_order(self.flip_pairs, count)]

    @property
    def _name(self) -> str:
        return f"torchvision's {type(self.transform).__name__}"


class _AsTorchvision(nn.Module):
    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, image: Any, *targets: Any) -> Any:
        if isinstance(image, (Mapping, tuple, list)) or len(targets) > 1:
            raise ConfigError("a Saccade transform takes (image) or (image, target), not a structure of its own.")
        pixels = _to_pixels(image if isinstance(image, Tensor) else tvf.pil_to_tensor(image))
        size = pixels.shape[0], pixels.shape[1]
        target = _read_target(targets[0]) if targets else {}
        sample = Sample(pixels, target, ImageInfo(0, "array", Geometry.identity(size)))
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        moved = self.transform(sample, rng)
        output = _to_image(moved.image)
        return (output, _write_target(moved, targets[0])) if targets else output


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's CPU generator from ``rng`` inside the block, and restore its state afterwards."""
    # Not torch.manual_seed, which would seed the accelerators too.
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(rng.integers(2**62)))
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _to_tensor(array: NDArray[Any]) -> Tensor:
    """A copy: a data set may keep its arrays, and torchvision may write into them."""
    return torch.from_numpy(np.array(array, order="C"))


def _to_array(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.as_subclass(Tensor).cpu())


def _to_image(pixels: NDArray[Any]) -> Any:
    return tv_tensors.Image(_to_tensor(np.moveaxis(pixels, 2, 0)))


def _to_pixels(image: Any) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(_to_array(image), 0, 2))


def _probes(size: tuple[int, int]) -> NDArray[np.float64]:
    """Points in the middle of an image of (height, width), by which the motion of its pixels is found, (P, 2)."""
    share = np.linspace(0.25, 0.75, 4)
    x, y = np.meshgrid(share * size[1], share * size[0])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _to_inputs(sample: Sample, probes: NDArray[np.float64]) -> dict[str, Any]:
    target, size = sample.target, sample.size
    inputs: dict[str, Any] = {"image": _to_image(sample.image)}
    points = [probes]
    if has_objects(target):
        first = next(key for key in ("boxes", "masks", "keypoints") if key in target)
        # Indices of the objects instead of their labels: a transform that removes boxes removes these too, so they
        # show which objects are left.
        inputs["labels"] = torch.arange(len(target[first]))
    for key, value in target.items():
        motion = kind_of(key).motion
        if motion == "boxes":
            boxes = _to_tensor(value.astype(np.float32))
            inputs[key] = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)
        elif motion in ("masks", "map"):
            inputs[key] = tv_tensors.Mask(_to_tensor(value))
            inputs["covered"] = tv_tensors.Mask(torch.ones(size, dtype=torch.uint8))
    if "keypoints" in target:
        points.insert(0, target["keypoints"][..., :2].reshape(-1, 2).astype(np.float64))
    inputs["points"] = _Points(_to_tensor(np.concatenate(points).astype(np.float32)), canvas_size=size)
    return inputs


def _moved_target(
    target: Target, outputs: Mapping[str, Any], points: NDArray[np.float64], size: tuple[int, int]
) -> Target:
    moved = dict(target)
    kept = np.arange(0)
    if has_objects(target):
        kept = _to_array(outputs["labels"])
        moved = {key: value[kept] if key in OBJECT_KEYS else value for key, value in target.items()}
    if "boxes" in target and "area" in target:
        factor = _areas(_to_array(outputs["boxes"]).reshape(-1, 4)) / np.maximum(_areas(moved["boxes"]), 1e-9)
        moved["area"] = (moved["area"] * factor).astype(np.float32)
    covered = _to_array(outputs["covered"]) == 1 if "covered" in outputs else np.ones(size, np.bool_)
    for key, value in target.items():
        kind = kind_of(key)
        if kind.motion in ("boxes", "masks"):
            after = _to_array(outputs[key])
            moved[key] = after if len(after) == len(kept) else after[kept]
        if kind.motion == "boxes":
            moved[key] = moved[key].astype(np.float32).reshape(-1, 4)
        elif kind.motion == "masks":
            moved[key] = ((moved[key] > 0) & covered).astype(np.uint8).reshape(-1, *size)
        elif kind.motion == "map":
            moved[key] = np.where(covered, _to_array(outputs[key]), kind.outside).astype(value.dtype)
    if "keypoints" in target:
        shape = target["keypoints"].shape
        whole = np.concatenate([points.reshape(*shape[:2], 2), target["keypoints"][..., 2:]], axis=-1)
        moved["keypoints"] = whole.astype(np.float32)[kept]
    return moved


def _areas(boxes_xyxy: NDArray[Any]) -> NDArray[Any]:
    areas: NDArray[Any] = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    return areas


def _nearest_affine(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) affine map of points (P, 2) by least squares."""
    ones = np.ones((len(before), 1))
    solution = np.linalg.lstsq(np.concatenate([before, ones], axis=1), after, rcond=None)[0]
    return np.concatenate([solution.T, [[0.0, 0.0, 1.0]]])


def _read_target(target: Any) -> Target:
    """Convert a target of torchvision to ours; keys that are not ours are left out."""
    if target is None:
        return {}
    if isinstance(target, tv_tensors.Mask):
        return {"label_map": _to_array(target).astype(np.uint8)}
    if not isinstance(target, Mapping):
        return {"labels": np.asarray(target)}
    read: Target = {key: np.asarray(target[key]) for key in _PLAIN if key in target}
    if "boxes" in target:
        boxes = tvf.convert_bounding_box_format(target["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY)
        read["boxes"] = _to_array(boxes).astype(np.float32).reshape(-1, 4)
    for key in ("masks", "label_map"):
        if key in target:
            read[key] = _to_array(target[key]).astype(np.uint8)
    for key in ("iscrowd", "difficult"):
        if key in read:
            read[key] = read[key].astype(bool)
    if "keypoints" in target:
        points = _to_array(target["keypoints"]).astype(np.float32)
        visibility = np.asarray(target["visibility"]) if "visibility" in target else np.full(points.shape[:-1], 2)
        read["keypoints"] = np.concatenate([points, visibility[..., None]], axis=-1, dtype=np.float32)
    return read


def _write_target(sample: Sample, given: Any) -> Any:
    """Convert the target of a moved sample to the form in which it was given."""
    target, size = sample.target, sample.size
    if given is None:
        return None
    if isinstance(given, tv_tensors.Mask):
        return tv_tensors.Mask(_to_tensor(target["label_map"]))
    if not isinstance(given, Mapping):
        return _to_tensor(target["labels"]) if isinstance(given, Tensor) else target["labels"].item()
    written = dict(given)
    for key in _PLAIN:
        if key in target:
            written[key] = _to_tensor(target[key])
    if "boxes" in target:
        written["boxes"] = tv_tensors.BoundingBoxes(
            _to_tensor(target["boxes"].astype(np.float32)), format="XYXY", canvas_size=size
        )
    for key in ("masks", "label_map"):
        if key in target:
            written[key] = tv_tensors.Mask(_to_tensor(target[key]))
    if "keypoints" in target:
        points = _to_tensor(target["keypoints"])
        written["keypoints"] = tv_tensors.KeyPoints(points[..., :2], canvas_size=size)
        written["visibility"] = points[..., 2]
    return written
