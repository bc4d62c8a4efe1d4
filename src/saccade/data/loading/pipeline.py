"""From a data set to what the network sees: the evaluation pipeline resizes, the training pipeline also augments.

A training sample goes this way; every transform is skipped if its setting is zero:

    read - crop - expand - crop around objects - quarter turn
    - mosaic, or resize rule (or a crop instead of it) and affine - perspective - elastic
    - copy-paste - mixup or CutMix - mirror - one's own - policy - colours - blur - JPEG - erasing

The image of another domain that is no partner of the first goes the same way by random numbers of its own.

All randomness of a sample comes from ``default_rng([seed, epoch, index])``, partners included: which worker makes it,
and what else is in the batch, does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from saccade.data.images.decode import match_channels
from saccade.data.loading.collate import collate, collate_by_canvas
from saccade.data.loading.reduced_decode import read_at_least
from saccade.data.loading.sampler import SampleKey
from saccade.data.transforms.affine import Transform
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.mix import blend_classes, cut_classes
from saccade.data.transforms.resize import Resize, resize_image
from saccade.data.transforms.steps import AugmentationSteps, check_settings
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset, draw
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Sample

__all__ = ["EvalPipeline", "TrainPipeline", "resize_image"]

_JOINS_OR_BENDS = ("mosaic", "mixup", "cutmix", "copy_paste", "perspective", "elastic")


class EvalPipeline:
    """Evaluation pipeline: images on the network's canvas, with their ground truth both there and in original pixels.

    Args:
        dataset: Where images come from.
        spec: Of the network.
        size: Canvas (height, width) instead of the spec's own.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data = DigitScenes("detection", "val", size=(100, 200))
        >>> pipeline = EvalPipeline(data, InputSpec((64, 64), resize="letterbox"))
        >>> sample = pipeline[SampleKey(epoch=0, index=0)]
        >>> sample.image.shape, sample.info.geometry.original_size
        ((64, 64, 3), (100, 200))
    """

    def __init__(self, dataset: VisionDataset, spec: InputSpec, size: tuple[int, int] | None = None) -> None:
        self.dataset = dataset
        self.spec = spec if size is None else spec.with_size(size)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        """Sample ``key.index``; nothing else of the key matters here.

        Raises:
            DataError: If the image cannot be read.
        """
        sample = _read(self.dataset, key.index, self.spec.channels)
        resized = Resize(self.spec)(sample)
        # A crop of an object is scored with all objects of its image.
        resized.original = sample.target if sample.original is None else sample.original
        return resized

    def collate(self, samples: Sequence[Sample]) -> list[Batch]:
        """Stack samples to one batch for each canvas that occurs: no prediction depends on its batch mates."""
        return collate_by_canvas(samples)


class TrainPipeline:
    """Training pipeline: images on the network's canvas after augmentation.

    Args:
        dataset: Where images come from.
        spec: Of the network.
        phases: Augmentation by phase; a key names the one in force.
        seed: Of the run.
        extra: Transforms of one's own, run between the mirror and the colours, in every phase, before those that
            ``augment.extra`` names; those of torchvision come through
            :func:`saccade.data.transforms.torchvision_v2.from_torchvision`. They must keep the size of the canvas.

    Raises:
        ConfigError: If a setting is out of range, or does not go with the ground truth of the data set.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> data = DigitScenes("detection", "train", count=8)
        >>> pipeline = TrainPipeline(data, InputSpec((64, 64)), [AugmentConfig(mosaic=1.0, flip=0.5)])
        >>> first, again = (pipeline[SampleKey(epoch=2, index=5)] for _ in range(2))
        >>> first.image.shape, np.array_equal(first.image, again.image)
        ((64, 64, 3), True)
    """

    def __init__(
        self,
        dataset: VisionDataset,
        spec: InputSpec,
        phases: Sequence[AugmentConfig],
        seed: int = 0,
        extra: Sequence[Transform] = (),
    ) -> None:
        self.dataset = dataset
        self.spec = spec
        self.seed = seed
        self.extra = tuple(extra)
        target = dataset.target(0) if len(dataset) else {}
        for number, config in enumerate(phases):
            check_settings(config, spec, dataset.info, target, f"phase {number}: augment" if number else "augment")
        self.phases = [AugmentationSteps(config, spec, dataset.info.flip_pairs) for config in phases]
        self._two_domains = not target.get("paired", True)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        """The sample of that key; the same key gives the same bits.

        Raises:
            DataError: If an image cannot be read; the message names the file.
        """
        spec = self.spec if key.size is None else self.spec.with_size(key.size)
        steps = self.phases[key.phase]
        config = steps.config
        if steps.fixed and not self.extra and not self._two_domains:
            # Without a generator of random numbers: to make one takes as long as to resize a small image.
            return Resize(spec)(_read(self.dataset, key.index, spec.channels))
        again = [key.repeat] if key.repeat else []  # an image's first time in an epoch has the seed it always had
        rng = np.random.default_rng([self.seed, key.epoch, key.index, *again])
        if self._two_domains:
            return self._unpaired(key.index, spec, steps, rng)
        if rng.random() < config.mosaic:
            indices = (key.index, *rng.integers(len(self.dataset), size=config.mosaic_tiles - 1))
            sample = steps.mosaic(
                lambda tile, size: self._source(indices[tile], spec, steps, rng, size), spec.canvas, rng
            )
        else:
            sample = self._single(key.index, spec, steps, rng)
        for transform in steps.deform:
            sample = transform(sample, rng)
        if config.copy_paste > 0:
            sample = self._paste(sample, spec, steps, rng)
        if config.mixup > 0 or config.cutmix > 0:
            sample = self._mix(sample, spec, steps, rng)
        for transform in (*steps.mirror, *self.extra, *steps.extra, *steps.finish):
            sample = transform(sample, rng)
        return sample

    def _unpaired(self, index: int, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        """An image, and one of the other domain that is drawn anew; each is augmented by itself."""
        chance, own, others = rng.spawn(3)
        first = _read(self.dataset, index, spec.channels, rng=chance)
        pixels = match_channels(first.target["target_image"], spec.channels, first.info.path)
        geometry = Geometry.identity((pixels.shape[0], pixels.shape[1]))
        second = Sample(pixels, {}, replace(first.info, geometry=geometry))
        target, first.target = first.target, {}
        made = self._alone(first, spec, steps, own)
        made.target = {**target, "target_image": self._alone(second, spec, steps, others).image}
        return made

    def _alone(self, sample: Sample, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        """An image after all transforms that need no other one."""
        for transform in steps.source:
            sample = transform(sample, rng)
        sample = self._on_canvas(sample, spec, steps, rng)
        for transform in (*steps.deform, *steps.mirror, *self.extra, *steps.extra, *steps.finish):
            sample = transform(sample, rng)
        return sample

    def collate(self, samples: Sequence[Sample]) -> list[Batch]:
        """Stack samples to one batch; canvases of unequal size are padded to the largest."""
        return [collate(samples, self.spec.pad_value)]

    def _source(
        self,
        index: int,
        spec: InputSpec,
        steps: AugmentationSteps,
        rng: np.random.Generator,
        at_least: tuple[int, int] | None = None,
    ) -> Sample:
        """An image before it meets the canvas; it may be decoded smaller, but not smaller than ``at_least`` needs."""
        # A random crop is counted in pixels of the original, and a crop around an object may enlarge it.
        whole = at_least is None or steps.crops
        sample = _read(self.dataset, int(index), spec.channels, None if whole else at_least)
        if sample.inputs:
            _refuse_joining(sample, steps.config)
        for transform in steps.source:
            sample = transform(sample, rng)
        return sample

    def _single(self, index: int, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        """One image by the network's resize rule, or a crop instead of it, then the affine warp."""
        return self._on_canvas(self._source(index, spec, steps, rng), spec, steps, rng)

    def _on_canvas(self, sample: Sample, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        crop = steps.resized_crop(spec)
        sample = Resize(spec)(sample) if crop is None else crop(sample, rng)
        return sample if steps.affine.is_identity else steps.affine(sample, rng)

    def _paste(self, sample: Sample, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        """Objects of another image, which is warped and mirrored on its own."""
        if rng.random() >= steps.config.copy_paste:
            return sample
        partner = self._single(int(rng.integers(len(self.dataset))), spec, steps, rng)
        for transform in steps.mirror:
            partner = transform(partner, rng)
        return steps.copy_paste(sample, partner, rng)

    def _mix(self, sample: Sample, spec: InputSpec, steps: AugmentationSteps, rng: np.random.Generator) -> Sample:
        config = steps.config
        chosen = int(rng.integers(len(self.dataset))) if rng.random() < config.mixup else None
        if self.dataset.info.task == "classification":
            classes = len(self.dataset.info.class_names)
            if chosen is None and config.cutmix > 0 and rng.random() < config.cutmix:
                other = self._single(int(rng.integers(len(self.dataset))), spec, steps, rng)
                return cut_classes(sample, other, config.cutmix_alpha, classes, rng)
            partner = None if chosen is None else self._single(chosen, spec, steps, rng)
            return blend_classes(sample, partner, config.mixup_alpha, classes, rng)
        if chosen is None:
            return sample
        return steps.mixup(sample, self._source(chosen, spec, steps, rng), rng)


def _refuse_joining(sample: Sample, config: AugmentConfig) -> None:
    """Refuse further inputs where they would be joined or bent; they move with affine transforms, crops and mirrors."""
    asked = [name for name in _JOINS_OR_BENDS if getattr(config, name) > 0]
    asked += [] if config.policy == "none" else ["policy"]
    if asked:
        raise ConfigError(
            f"augment.{asked[0]} cannot move the inputs {sorted(sample.inputs)} of {sample.info.path}. "
            f"Set augment.{asked[0]} to {'none' if asked[0] == 'policy' else 0} for this network."
        )


def _read(
    dataset: VisionDataset,
    index: int,
    channels: int,
    at_least: tuple[int, int] | None = None,
    rng: np.random.Generator | None = None,
) -> Sample:
    """Image and ground truth with the network's number of channels; any fault names the file."""
    try:
        if rng is not None:
            sample = draw(dataset, index, rng)
        else:
            sample = dataset.read(index) if at_least is None else read_at_least(dataset, index, at_least)
    except SaccadeError:
        raise
    except Exception as error:
        path = dataset.path(index)
        raise DataError(
            f"{path}: the image cannot be read ({type(error).__name__}: {error}). Repair the file, or remove it."
        ) from error
    sample.image = match_channels(sample.image, channels, sample.info.path)
    return sample
