"""Transforms built from the settings of augmentation, and the check of those settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from saccade.data.transforms.affine import Flip, FlipVertical, RandomAffine, RandomCrop, Rotate90, Transform
from saccade.data.transforms.color import HSV, BrightnessContrast, PCAColor
from saccade.data.transforms.config import AugmentConfig, PolicyName
from saccade.data.transforms.corrupt import Blur, JPEGArtefacts, RandomErasing
from saccade.data.transforms.crops import Expand, IoUCrop, RandomResizedCrop
from saccade.data.transforms.mix import CopyPaste, MixUp
from saccade.data.transforms.mosaic import TILES, Mosaic
from saccade.data.transforms.warp import Elastic, Perspective
from saccade.errors import ConfigError, did_you_mean
from saccade.structures.dataset import DatasetInfo
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Target

__all__ = ["AugmentationSteps", "check_settings"]

_PROBABILITIES = (
    "mosaic", "mixup", "cutmix", "copy_paste", "flip", "flip_vertical", "rotate90", "iou_crop", "expand", "blur",
    "jpeg", "erase",
)  # fmt: skip
_JOINING = ("mosaic", "mixup")


class AugmentationSteps:
    """Transforms of one augmentation configuration, grouped in the order in which they are applied.

    Args:
        config: The settings; checked by :func:`check_settings`.
        spec: Of the network.
        flip_pairs: Keypoints that a mirror exchanges.

    Attributes:
        source: Transforms of each original image, before it is resized: crops, expansion, quarter turns.
        affine: Rotation, zoom, shear and shift; part of the mosaic, or applied alone.
        mosaic: Joins 4 or 9 images.
        deform: Transforms on the canvas that no affine map describes.
        copy_paste: Pastes objects of a second image.
        mixup: Blends with a second image.
        mirror: Mirrors, left-right and upside down.
        extra: Transforms of the user's own, imported by name.
        finish: Transforms of the pixels alone: policy, colour, blur, JPEG, erasing.
        crops: Whether an image is cropped before it is resized.
        fixed: Whether the settings ask for nothing: images are resized, and nothing is drawn at random.

    Example:
        >>> config = AugmentConfig(flip=0.5, hsv=(0.015, 0.7, 0.4), erase=0.25)
        >>> augmentation = AugmentationSteps(config, InputSpec((64, 64)), flip_pairs=())
        >>> [type(transform).__name__ for transform in (*augmentation.mirror, *augmentation.finish)]
        ['Flip', 'HSV', 'RandomErasing']
    """

    def __init__(self, config: AugmentConfig, spec: InputSpec, flip_pairs: Sequence[tuple[int, int]]) -> None:
        self.config = config
        self.fixed = config == AugmentConfig(fill=config.fill)
        self.affine = RandomAffine(config.degrees, config.translate, config.scale, config.shear, config.fill)
        self.mosaic = Mosaic(self.affine, config.mosaic_tiles)
        self.mixup = MixUp(config.fill, flip_pairs)
        self.copy_paste = CopyPaste()
        self.crops = config.crop is not None or config.iou_crop > 0
        self.source = _source(config, spec)
        self.deform: list[Transform] = []
        if config.perspective > 0:
            self.deform.append(Perspective(config.perspective, config.fill))
        if config.elastic > 0:
            self.deform.append(Elastic(config.elastic, fill=config.fill))
        self.mirror: list[Transform] = []
        if config.flip > 0:
            self.mirror.append(Flip(config.flip, flip_pairs))
        if config.flip_vertical > 0:
            self.mirror.append(FlipVertical(config.flip_vertical, flip_pairs))
        self.extra: list[Transform] = []
        if config.extra:
            from saccade.data.transforms.extra import extra_transforms

            self.extra = extra_transforms(config.extra, flip_pairs)
        self.finish = _finish(config)

    def resized_crop(self, spec: InputSpec) -> RandomResizedCrop | None:
        """Inception's crop for that canvas, instead of the resize rule; None if the settings ask for none."""
        if self.config.resized_crop is None:
            return None
        return RandomResizedCrop(spec.canvas, self.config.resized_crop, self.config.resized_crop_aspect)


def check_settings(config: AugmentConfig, spec: InputSpec, info: DatasetInfo, target: Target, name: str) -> None:
    """Refuse settings that cannot work with the network or the data set, before the first image is read.

    Args:
        config: The settings.
        spec: Of the network.
        info: Of the data set.
        target: Ground truth of one of its images; empty if it has none.
        name: Of the settings, for messages.

    Raises:
        ConfigError: If a setting is out of range, or does not go with the network or with this kind of ground truth.

    Example:
        >>> info = DatasetInfo("flowers", "classification", ("daisy", "tulip"))
        >>> check_settings(AugmentConfig(mosaic=1.0), InputSpec((224, 224)), info, {"labels": np.int64(0)}, "augment")
        Traceback (most recent call last):
        saccade.errors.ConfigError: augment.mosaic joins several images, which have no single class. ...
    """
    _check_ranges(config, name)
    if info.task == "classification":
        if config.mosaic > 0:
            raise ConfigError(
                f"{name}.mosaic joins several images, which have no single class. Set it to 0 for classification."
            )
    else:
        if config.cutmix > 0:
            raise ConfigError(
                f"{name}.cutmix mixes the classes of whole images. Set it to 0 for {info.task}; "
                "mosaic and copy_paste join images with objects."
            )
        if config.policy != "none":
            raise ConfigError(
                f"{name}.policy '{config.policy}' moves the pixels, but not the ground truth on them. Set it to 'none' "
                f"for {info.task}, and use degrees, translate, shear, hsv and contrast instead."
            )
    joining = next((field for field in (*_JOINING, "copy_paste") if getattr(config, field) > 0), None)
    if joining and "target_image" in target:
        raise ConfigError(
            f"{name}.{joining} joins several images, of which data set '{info.name}' knows no translation as one. Set "
            "it to 0."
        )
    if config.mixup > 0 and "label_map" in target:
        raise ConfigError(f"{name}.mixup cannot blend label maps. Set it to 0 for segmentation.")
    if config.copy_paste > 0 and target and "masks" not in target:
        raise ConfigError(
            f"{name}.copy_paste cuts objects out along their masks, and data set '{info.name}' has none. "
            "Set it to 0, or have outlines read as masks by 'masks: true' in saccade.yaml of the data folder."
        )
    if config.iou_crop > 0 and target and "boxes" not in target:
        raise ConfigError(f"{name}.iou_crop crops around boxes, and data set '{info.name}' has none. Set it to 0.")
    if config.pca > 0 and spec.channels != 3:
        raise ConfigError(
            f"{name}.pca shifts colours, and the network takes {spec.channels} channel(s). Set it to 0, or use "
            "brightness."
        )
    if "keypoints" in target and "boxes" not in target and any(getattr(config, field) > 0 for field in _JOINING):
        raise ConfigError(
            f"{name}: mosaic and mixup need boxes around the keypoints, and this data set has none. Set both to 0."
        )
    mirrors = config.flip > 0 or config.flip_vertical > 0 or config.mixup > 0
    if mirrors and "keypoints" in target and target["keypoints"].shape[1] > 1 and not info.flip_pairs:
        raise ConfigError(
            f"{name}: a mirror exchanges left and right points, and data set '{info.name}' does not name them. "
            "Set flip, flip_vertical and mixup to 0, or add its flip_pairs (a point with itself if it has no partner)."
        )


def _check_ranges(config: AugmentConfig, name: str) -> None:
    for field in _PROBABILITIES:
        value = getattr(config, field)
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}.{field} is a probability, 0 to 1; got {value}.")
    for field, low, high in (
        ("scale", 0.0, float("inf")),
        ("resized_crop", 0.0, 1.0),
        ("resized_crop_aspect", 0.0, float("inf")),
        ("blur_sigma", 0.0, float("inf")),
        ("jpeg_quality", 0.0, 100.0),
        ("erase_area", 0.0, 1.0),
        ("multiscale_range", 0.0, float("inf")),
    ):
        value = getattr(config, field)
        if value is not None and not low < value[0] <= value[1] <= high:
            kind = "factors above 0" if high == float("inf") else f"numbers above 0, up to {high:g}"
            raise ConfigError(f"{name}.{field} is a range (smallest, largest) of {kind}; got {value}.")
    if config.multiscale and config.multiscale_range is not None:
        raise ConfigError(
            f"{name}.multiscale and {name}.multiscale_range both give the canvases of multi-scale training. Set one."
        )
    for switch, field in (("mixup", "mixup_alpha"), ("cutmix", "cutmix_alpha")):
        if getattr(config, switch) > 0 and getattr(config, field) <= 0:
            raise ConfigError(f"{name}.{field} must be above 0; got {getattr(config, field)}.")
    if not 0 <= config.perspective < 1:
        raise ConfigError(f"{name}.perspective is a share of half the side, 0 to below 1; got {config.perspective}.")
    if config.expand_largest < 1:
        raise ConfigError(f"{name}.expand_largest is a factor of at least 1; got {config.expand_largest}.")
    if config.mosaic_tiles not in TILES:
        raise ConfigError(f"{name}.mosaic_tiles is 4 or 9; got {config.mosaic_tiles}.")
    if config.policy not in get_args(PolicyName):
        raise ConfigError(f"{name}.policy is '{config.policy}'.{did_you_mean(config.policy, get_args(PolicyName))}")


def _source(config: AugmentConfig, spec: InputSpec) -> list[Transform]:
    """Transforms of an image before it is resized to the canvas."""
    transforms: list[Transform] = []
    if config.crop is not None:
        transforms.append(RandomCrop(config.crop, config.fill))
    if config.expand > 0:
        transforms.append(Expand(config.expand, config.expand_largest, _mean_color(spec, config.fill)))
    if config.iou_crop > 0:
        transforms.append(IoUCrop(config.iou_crop))
    if config.rotate90 > 0:
        transforms.append(Rotate90(config.rotate90))
    return transforms


def _finish(config: AugmentConfig) -> list[Transform]:
    """Transforms of the pixels alone, at the end."""
    transforms: list[Transform] = []
    if config.policy != "none":
        from saccade.data.transforms.torchvision_v2 import Policy

        transforms.append(Policy(config))
    if any(config.hsv):
        transforms.append(HSV(*config.hsv))
    if config.brightness > 0 or config.contrast > 0:
        transforms.append(BrightnessContrast(config.brightness, config.contrast))
    if config.pca > 0:
        transforms.append(PCAColor(config.pca))
    if config.blur > 0:
        transforms.append(Blur(config.blur, config.blur_sigma))
    if config.jpeg > 0:
        transforms.append(JPEGArtefacts(config.jpeg, config.jpeg_quality))
    if config.erase > 0:
        transforms.append(RandomErasing(config.erase, config.erase_area))
    return transforms


def _mean_color(spec: InputSpec, fill: int) -> float | tuple[float, ...]:
    """Mean colour of the network's normalisation, as RGB; ``fill`` for a network that subtracts no mean."""
    if not any(spec.mean):
        return fill
    mean = tuple(float(round(value)) for value in spec.mean)
    return mean[::-1] if spec.channel_order == "bgr" else mean
