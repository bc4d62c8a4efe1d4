"""Canvases of unequal size: padded for training, grouped for evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.loading.collate import collate, collate_by_canvas
from saccade.data.loading.loader import make_eval_loader, make_train_loader
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.transforms.config import AugmentConfig
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample, Target

SIZES = ((32, 64), (64, 32), (48, 48), (32, 64), (40, 90), (64, 32), (32, 64), (90, 40))
SPEC = InputSpec((32, 96), resize="shorter_side", pad_multiple=16, pad_value=7)


class Scenes:
    """Scenes of eight sizes."""

    def __init__(self) -> None:
        self.scenes = [DigitScenes("detection", "train", 1, size, seed=index) for index, size in enumerate(SIZES)]
        self.info = DatasetInfo("scenes", "detection", self.scenes[0].info.class_names)

    def __len__(self) -> int:
        return len(SIZES)

    def read(self, index: int) -> Sample:
        sample = self.scenes[index].read(0)
        sample.info = replace(sample.info, image_id=index)
        return sample

    def target(self, index: int) -> Target:
        return self.scenes[index].target(0)

    def path(self, index: int) -> str:
        return f"scene-{index}"


def test_training_pads_to_the_largest_canvas_and_says_the_sizes() -> None:
    pipeline = TrainPipeline(Scenes(), SPEC, [AugmentConfig()])
    (batch,) = make_train_loader(pipeline, EpochSampler(8, 8))
    sizes = batch.targets["image_size"]
    assert len({tuple(size) for size in sizes.tolist()}) > 1
    assert batch.images.shape[2:] == tuple(sizes.amax(0).tolist())
    for image, (height, width), boxes in zip(batch.images, sizes.tolist(), batch.targets["boxes"], strict=True):
        assert (image[:, height:] == 7).all()
        assert (image[:, :, width:] == 7).all()
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height


def test_evaluation_groups_equal_canvases_and_loses_no_image() -> None:
    batches = list(make_eval_loader(EvalPipeline(Scenes(), SPEC), batch_size=8))
    assert len(batches) > 1
    assert sorted(info.image_id for batch in batches for info in batch.infos) == list(range(8))
    for batch in batches:
        assert {info.geometry.size for info in batch.infos} == {tuple(batch.images.shape[2:])}


def test_label_maps_and_masks_are_padded_with_what_counts_for_nothing() -> None:
    samples = []
    for size in ((2, 3), (3, 2)):
        target = {"label_map": np.ones(size, np.uint8), "ignore_map": np.zeros(size, np.uint8)}
        samples.append(Sample(np.zeros((*size, 1), np.uint8), target, ImageInfo(0, "a", Geometry.identity(size))))
    batch = collate(samples, pad_value=0)
    assert batch.targets["label_map"].tolist()[0] == [[1, 1, 1], [1, 1, 1], [255, 255, 255]]
    assert batch.targets["ignore_map"].tolist()[1] == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert [part.images.shape[2:] for part in collate_by_canvas(samples)] == [(2, 3), (3, 2)]


def test_without_a_padding_value_unequal_canvases_are_refused() -> None:
    samples = [
        Sample(np.zeros((*size, 1), np.uint8), {}, ImageInfo(0, "a.png", Geometry.identity(size)))
        for size in ((2, 3), (3, 2))
    ]
    with pytest.raises(DataError, match="different shapes"):
        collate(samples)


def test_joining_augmentations_refuse_further_inputs() -> None:
    class WithProposals(Scenes):
        def read(self, index: int) -> Sample:
            sample = super().read(index)
            sample.inputs = {"proposals": np.array([[0, 0, 8, 8]], np.float32)}
            return sample

    sampler = EpochSampler(8, 2)
    (first, *_) = make_train_loader(TrainPipeline(WithProposals(), SPEC, [AugmentConfig(flip=0.5)]), sampler)
    assert first.inputs["proposals"].shape == (2, 8, 4)
    with pytest.raises(ConfigError, match=r"augment\.mosaic cannot move the inputs"):
        list(make_train_loader(TrainPipeline(WithProposals(), SPEC, [AugmentConfig(mosaic=1.0)]), sampler))


def test_inputs_travel_to_the_device() -> None:
    info = ImageInfo(0, "a.png", Geometry.identity((2, 2)))
    sample = Sample(np.zeros((2, 2, 3), np.uint8), {}, info, inputs={"proposals": np.ones((1, 4), np.float32)})
    batch = collate([sample]).to(torch.device("meta"))
    assert batch.inputs["proposals"].device.type == "meta"
