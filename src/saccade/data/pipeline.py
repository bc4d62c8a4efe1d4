"""From a data set to what the network sees: the evaluation pipeline resizes, the training pipeline also augments.

A training sample goes this way; every step is skipped if its setting is zero:

    read - crop - quarter turn - mosaic of four, or resize rule and affine - elastic - mixup - mirror - colours

All randomness of a sample comes from ``default_rng([seed, epoch, index])``, partners included: which worker makes it,
and what else is in the batch, does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.augment import AugmentConfig
from saccade.data.color import HSV, BrightnessContrast
from saccade.data.dataset import DatasetInfo, VisionDataset
from saccade.data.fit import Fit, fit_image
from saccade.data.input_spec import InputSpec
from saccade.data.loader import SampleKey
from saccade.data.mosaic import MixUp, Mosaic, blend_classes
from saccade.data.reduced import read_at_least
from saccade.data.sample import Sample, Target
from saccade.data.targets import has_objects
from saccade.data.transforms import Elastic, Flip, FlipVertical, RandomAffine, RandomCrop, Rotate90, Transform
from saccade.errors import ConfigError, DataError, SaccadeError

__all__ = ["EvalPipeline", "TrainPipeline", "fit_image"]


class EvalPipeline:
    """Pictures as the network is evaluated on them, with their truth both on the canvas and in original pixels.

    Args:
        dataset: Where pictures come from.
        spec: Of the network.
        size: Canvas (height, width) instead of the spec's own.
    """

    def __init__(self, dataset: VisionDataset, spec: InputSpec, size: tuple[int, int] | None = None) -> None:
        self.dataset = dataset
        self.spec = spec if size is None else spec.with_size(size)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        """Sample ``key.index``; nothing else of the key matters here.

        Raises:
            DataError: If the picture cannot be read.
        """
        sample = _read(self.dataset, key.index, self.spec.channels)
        fitted = Fit(self.spec)(sample)
        fitted.original = sample.target
        return fitted


class TrainPipeline:
    """Pictures as the network is trained on them.

    Args:
        dataset: Where pictures come from.
        spec: Of the network.
        stages: Augmentation by stage; a key says which one holds.
        seed: Of the run.

    Raises:
        ConfigError: If a setting is out of range, or does not go with the data set's kind of truth.
    """

    def __init__(self, dataset: VisionDataset, spec: InputSpec, stages: Sequence[AugmentConfig], seed: int = 0) -> None:
        self.dataset = dataset
        self.spec = spec
        self.seed = seed
        target = dataset.target(0) if len(dataset) else {}
        for number, config in enumerate(stages):
            _check(config, dataset.info, target, f"stage {number}: augment" if number else "augment")
        self.stages = [_Steps(config, dataset.info.flip_pairs) for config in stages]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        """The sample of that key; the same key gives the same bits.

        Raises:
            DataError: If a picture cannot be read; the message names the file.
        """
        spec = self.spec if key.size is None else self.spec.with_size(key.size)
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        steps = self.stages[key.stage]
        config = steps.config
        if rng.random() < config.mosaic:
            indices = (key.index, *rng.integers(len(self.dataset), size=3))
            sample = steps.mosaic(
                lambda tile, size: self._source(indices[tile], spec, steps, rng, size), spec.size, rng
            )
        else:
            sample = self._single(key.index, spec, steps, rng)
        for transform in steps.deform:
            sample = transform(sample, rng)
        if config.mixup > 0:
            sample = self._mix(sample, spec, steps, rng)
        for transform in steps.finish:
            sample = transform(sample, rng)
        return sample

    def _source(
        self,
        index: int,
        spec: InputSpec,
        steps: _Steps,
        rng: np.random.Generator,
        at_least: tuple[int, int] | None = None,
    ) -> Sample:
        """A picture before it meets the canvas; it may be decoded smaller, but not smaller than ``at_least`` needs."""
        # A random crop is counted in pixels of the original.
        whole = at_least is None or steps.config.crop is not None
        sample = _read(self.dataset, int(index), spec.channels, None if whole else at_least)
        for transform in steps.source:
            sample = transform(sample, rng)
        return sample

    def _single(self, index: int, spec: InputSpec, steps: _Steps, rng: np.random.Generator) -> Sample:
        """One picture by the network's resize rule, then the affine warp."""
        sample = Fit(spec)(self._source(index, spec, steps, rng))
        return sample if steps.affine.is_identity else steps.affine(sample, rng)

    def _mix(self, sample: Sample, spec: InputSpec, steps: _Steps, rng: np.random.Generator) -> Sample:
        config = steps.config
        chosen = int(rng.integers(len(self.dataset))) if rng.random() < config.mixup else None
        if self.dataset.info.task == "classification":
            partner = None if chosen is None else self._single(chosen, spec, steps, rng)
            return blend_classes(sample, partner, config.mixup_alpha, len(self.dataset.info.class_names), rng)
        if chosen is None:
            return sample
        return steps.mixup(sample, self._source(chosen, spec, steps, rng), rng)


class _Steps:
    """The transforms that a configuration asks for, in groups by their place on the way."""

    def __init__(self, config: AugmentConfig, flip_pairs: Sequence[tuple[int, int]]) -> None:
        self.config = config
        self.affine = RandomAffine(config.degrees, config.translate, config.scale, config.shear, config.fill)
        self.mosaic = Mosaic(self.affine)
        self.mixup = MixUp(config.fill, flip_pairs)
        self.source: list[Transform] = []
        self.deform: list[Transform] = []
        self.finish: list[Transform] = []
        if config.crop is not None:
            self.source.append(RandomCrop(config.crop, config.fill))
        if config.rotate90 > 0:
            self.source.append(Rotate90(config.rotate90))
        if config.elastic > 0:
            self.deform.append(Elastic(config.elastic))
        if config.flip > 0:
            self.finish.append(Flip(config.flip, flip_pairs))
        if config.flip_vertical > 0:
            self.finish.append(FlipVertical(config.flip_vertical, flip_pairs))
        if any(config.hsv):
            self.finish.append(HSV(*config.hsv))
        if config.brightness > 0 or config.contrast > 0:
            self.finish.append(BrightnessContrast(config.brightness, config.contrast))


def _read(dataset: VisionDataset, index: int, channels: int, at_least: tuple[int, int] | None = None) -> Sample:
    """Picture and truth with the network's number of channels; any fault names the file."""
    try:
        sample = dataset.read(index) if at_least is None else read_at_least(dataset, index, at_least)
    except SaccadeError:
        raise
    except Exception as error:
        path = dataset.path(index)
        raise DataError(
            f"{path}: the picture cannot be read ({type(error).__name__}: {error}). Repair the file, or remove it."
        ) from error
    sample.image = _match_channels(sample.image, channels, sample.info.path)
    return sample


def _match_channels(image: NDArray[Any], channels: int, path: str) -> NDArray[Any]:
    have = image.shape[2]
    if have == channels:
        return image
    if have == 1:
        return np.repeat(image, channels, axis=2)
    if have == 3 and channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[..., None]
    raise DataError(
        f"{path}: the picture has {have} channels, but the network takes {channels}. "
        f"Build the model with channels={have}."
    )


def _check(config: AugmentConfig, info: DatasetInfo, target: Target, name: str) -> None:
    """Refuse what cannot work before the first picture is read."""
    for field in ("mosaic", "mixup", "flip", "flip_vertical", "rotate90"):
        value = getattr(config, field)
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}.{field} is a probability, 0 to 1; got {value}.")
    if not 0 < config.scale[0] <= config.scale[1]:
        raise ConfigError(f"{name}.scale is a range (smallest, largest) of factors above 0; got {config.scale}.")
    if config.mixup > 0 and config.mixup_alpha <= 0:
        raise ConfigError(f"{name}.mixup_alpha must be above 0; got {config.mixup_alpha}.")
    if config.mosaic > 0 and info.task == "classification":
        raise ConfigError(
            f"{name}.mosaic joins four pictures, which have no single class. Set it to 0 for classification."
        )
    if config.mixup > 0 and "label_map" in target:
        raise ConfigError(f"{name}.mixup cannot blend label maps. Set it to 0 for segmentation.")
    if "keypoints" in target and "boxes" not in target and (config.mosaic > 0 or config.mixup > 0):
        raise ConfigError(
            f"{name}: mosaic and mixup need boxes around the keypoints, and this data set has none. Set both to 0."
        )
    if config.elastic > 0 and has_objects(target):
        raise ConfigError(f"{name}.elastic deforms label maps, but no boxes, masks or keypoints. Set it to 0.")
    mirrors = config.flip > 0 or config.flip_vertical > 0 or config.mixup > 0
    if mirrors and "keypoints" in target and target["keypoints"].shape[1] > 1 and not info.flip_pairs:
        raise ConfigError(
            f"{name}: a mirror exchanges left and right points, and data set '{info.name}' does not say which. "
            "Set flip, flip_vertical and mixup to 0, or name its flip_pairs (a point with itself if it has no partner)."
        )
