"""Pipelines from a data set to what the network sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from saccade.data.derived.combine import ConcatDataset
from saccade.data.loading.collate import collate
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.reduced_decode import read_at_least
from saccade.data.loading.sampler import SampleKey
from saccade.data.open import open_dataset
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.torchvision_v2 import from_torchvision
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample

SPEC = InputSpec((64, 64), resize="letterbox")
GREY = InputSpec((64, 64), channels=1, mean=(0.0,), std=(255.0,), resize="letterbox")
EVERYTHING = AugmentConfig(
    mosaic=0.5,
    mixup=0.5,
    flip=0.5,
    flip_vertical=0.5,
    rotate90=0.5,
    degrees=20,
    translate=0.2,
    scale=(0.5, 1.5),
    shear=5,
    hsv=(0.05, 0.5, 0.5),
    brightness=0.2,
    contrast=0.2,
)


class Images:
    """Noise images of several sizes, some without objects, some grey."""

    def __init__(self, task: str = "detection", count: int = 6) -> None:
        self.info = DatasetInfo("noise", task, ("a", "b", "c"))
        self.count = count

    def __len__(self) -> int:
        return self.count

    def path(self, index: int) -> str:
        return f"folder/{index}.png"

    def size(self, index: int) -> tuple[int, int]:
        return 50 + 10 * index, 90

    def target(self, index: int) -> dict[str, Any]:
        if self.info.task == "classification":
            return {"labels": np.int64(index % 3)}
        if self.info.task == "segmentation":
            return {"label_map": np.full(self.size(index), index % 3, np.uint8)}
        count = index % 3
        boxes = np.array([[10, 10, 40, 40], [30, 5, 80, 45]], np.float32)[:count]
        return {
            "boxes": boxes,
            "labels": np.arange(count),
            "iscrowd": np.zeros(count, bool),
            "area": np.full(count, 900, np.float32),
        }

    def read(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*self.size(index), 1 if index % 2 else 3)).astype(np.uint8)
        return Sample(
            image, self.target(index), ImageInfo(100 + index, self.path(index), Geometry.identity(self.size(index)))
        )


def test_evaluation_keeps_the_ground_truth_in_original_pixels() -> None:
    pipeline = EvalPipeline(Images(), SPEC)
    batch = collate([pipeline[SampleKey(0, index)] for index in range(6)])
    assert batch.images.shape == (6, 3, 64, 64)
    assert len(batch.originals) == 6
    for index, (original, info) in enumerate(zip(batch.originals, batch.infos, strict=True)):
        assert info.image_id == 100 + index
        np.testing.assert_array_equal(original["boxes"], Images().target(index)["boxes"])
        canvas = batch.targets["boxes"][index, : len(original["boxes"])].numpy()
        np.testing.assert_allclose(info.geometry.invert_boxes(canvas), original["boxes"], atol=1e-3)


@pytest.mark.parametrize("spec", [SPEC, GREY])
@pytest.mark.parametrize("index", range(6))
def test_training_samples_are_whole_and_repeatable(spec: InputSpec, index: int) -> None:
    first, second = (TrainPipeline(Images(), spec, [EVERYTHING], seed=3) for _ in range(2))
    for epoch in range(6):
        sample, twin = first[SampleKey(epoch, index)], second[SampleKey(epoch, index)]
        assert sample.image.shape == (64, 64, spec.channels)
        assert sample.image.dtype == np.uint8
        boxes = sample.target["boxes"]
        assert (boxes >= 0).all()
        assert (boxes <= 64).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()
        assert len(boxes) == len(sample.target["labels"]) == len(sample.target["area"]) == len(sample.target["iscrowd"])
        np.testing.assert_array_equal(sample.image, twin.image)
        np.testing.assert_array_equal(boxes, twin.target["boxes"])


def test_seed_epoch_and_index_each_change_the_sample() -> None:
    pipeline = TrainPipeline(Images(), SPEC, [EVERYTHING], seed=3)
    other_seed = TrainPipeline(Images(), SPEC, [EVERYTHING], seed=4)
    images = [
        pipeline[SampleKey(0, 1)],
        pipeline[SampleKey(1, 1)],
        pipeline[SampleKey(0, 2)],
        other_seed[SampleKey(0, 1)],
    ]
    assert len({sample.image.tobytes() for sample in images}) == 4


def test_the_key_chooses_canvas_and_stage() -> None:
    pipeline = TrainPipeline(
        Images(), InputSpec((64, 64), pad_multiple=32), [AugmentConfig(mosaic=1.0), AugmentConfig()]
    )
    assert pipeline[SampleKey(0, 0, (90, 120), 0)].size == (96, 128)
    plain = pipeline[SampleKey(0, 2, (96, 96), 1)]
    expected = EvalPipeline(Images(), InputSpec((96, 96)))[SampleKey(0, 2)]
    np.testing.assert_array_equal(plain.image, expected.image)
    np.testing.assert_array_equal(plain.target["boxes"], expected.target["boxes"])


def test_default_settings_change_nothing() -> None:
    train, evaluation = TrainPipeline(Images(), SPEC, [AugmentConfig()]), EvalPipeline(Images(), SPEC)
    for index in range(6):
        np.testing.assert_array_equal(train[SampleKey(5, index)].image, evaluation[SampleKey(0, index)].image)


def test_label_maps_go_through_mosaic_and_elastic() -> None:
    pipeline = TrainPipeline(
        Images("segmentation"), SPEC, [AugmentConfig(mosaic=1.0, scale=(0.4, 0.6), elastic=3.0, flip=0.5)]
    )
    values = np.concatenate([np.unique(pipeline[SampleKey(0, index)].target["label_map"]) for index in range(6)])
    assert set(values.tolist()) == {0, 1, 2, 255}


def test_classes_are_mixed_softly_in_every_sample() -> None:
    pipeline = TrainPipeline(Images("classification"), SPEC, [AugmentConfig(mixup=0.5, mixup_alpha=0.8)])
    batch = collate([pipeline[SampleKey(epoch, index)] for epoch in range(3) for index in range(6)])
    labels = batch.targets["labels"]
    assert labels.shape == (18, 3)
    np.testing.assert_allclose(labels.sum(dim=1), 1, atol=1e-6)
    mixed = ((labels > 0).sum(dim=1) > 1).sum()
    assert 0 < mixed < 18


@pytest.mark.parametrize(
    ("task", "config", "field"),
    [
        ("classification", AugmentConfig(mosaic=0.5), "mosaic"),
        ("segmentation", AugmentConfig(mixup=0.5), "mixup"),
        ("detection", AugmentConfig(flip=50), "flip"),
        ("detection", AugmentConfig(scale=(1.5, 0.5)), "scale"),
        ("classification", AugmentConfig(mixup=0.5, mixup_alpha=0.0), "mixup_alpha"),
        ("classification", AugmentConfig(cutmix=0.5, cutmix_alpha=0.0), "cutmix_alpha"),
        ("classification", AugmentConfig(policy="randaug"), "Did you mean 'randaugment'"),  # type: ignore[arg-type]
        ("classification", AugmentConfig(resized_crop=(0.5, 1.5)), "resized_crop"),
        ("classification", AugmentConfig(jpeg=0.5, jpeg_quality=(0, 90)), "jpeg_quality"),
        ("classification", AugmentConfig(iou_crop=0.5), "iou_crop"),
        ("detection", AugmentConfig(cutmix=0.5), "cutmix"),
        ("detection", AugmentConfig(policy="randaugment"), "policy"),
        ("detection", AugmentConfig(copy_paste=0.5), "copy_paste"),
        ("detection", AugmentConfig(perspective=1.5), "perspective"),
        ("detection", AugmentConfig(expand=0.5, expand_largest=0.5), "expand_largest"),
        ("detection", AugmentConfig(mosaic=0.5, mosaic_tiles=6), "mosaic_tiles"),  # type: ignore[arg-type]
        ("segmentation", AugmentConfig(iou_crop=0.5), "iou_crop"),
        ("segmentation", AugmentConfig(policy="autoaugment"), "policy"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(task: str, config: AugmentConfig, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        TrainPipeline(Images(task), SPEC, [AugmentConfig(), config])


def test_colours_of_a_grey_network_cannot_be_shifted() -> None:
    with pytest.raises(ConfigError, match="pca"):
        TrainPipeline(Images(), GREY, [AugmentConfig(pca=0.1)])


# Everything that goes with the task, but for what the settings above have already.
MORE = {
    "classification": AugmentConfig(
        resized_crop=(0.3, 1.0), mixup=0.4, cutmix=0.5, policy="randaugment", perspective=0.2, elastic=2.0, blur=0.5,
        jpeg=0.5, erase=0.5,
    ),
    "detection": AugmentConfig(
        mosaic=0.5, mosaic_tiles=9, mixup=0.3, iou_crop=0.5, expand=0.5, perspective=0.2, elastic=2.0, blur=0.5,
        jpeg=0.5, erase=0.5,
    ),
    "segmentation": AugmentConfig(
        mosaic=0.5, mosaic_tiles=9, resized_crop=(0.3, 1.0), expand=0.5, perspective=0.2, elastic=2.0, blur=0.5,
        jpeg=0.5, erase=0.5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", MORE)
@pytest.mark.parametrize("spec", [SPEC, GREY])
def test_the_newer_settings_give_whole_and_repeatable_samples(task: str, spec: InputSpec) -> None:
    first, second = (TrainPipeline(Images(task), spec, [MORE[task]], seed=5) for _ in range(2))
    samples = []
    for epoch in range(6):
        for index in range(6):
            sample, twin = first[SampleKey(epoch, index)], second[SampleKey(epoch, index)]
            assert sample.image.dtype == np.uint8
            assert sample.info.geometry.size == sample.size == (64, 64)
            assert sample.image.tobytes() == twin.image.tobytes()
            for key, value in sample.target.items():
                np.testing.assert_array_equal(value, twin.target[key])
            if task == "detection":
                boxes = sample.target["boxes"]
                assert ((boxes >= 0) & (boxes <= 64)).all()
                assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()
                assert boxes.dtype == sample.target["area"].dtype == np.float32
                assert len(boxes) == len(sample.target["labels"]) == len(sample.target["iscrowd"])
            samples.append(sample)
    batch = collate(samples)
    assert batch.images.shape == (36, spec.channels, 64, 64)
    if task == "classification":
        np.testing.assert_allclose(batch.targets["labels"].sum(dim=1), 1, atol=1e-6)
        assert 5 < ((batch.targets["labels"] > 0).sum(dim=1) > 1).sum() < 36


def test_the_policy_leaves_torchs_own_randomness_alone() -> None:
    pipeline = TrainPipeline(Images("classification"), SPEC, [AugmentConfig(policy="trivialaugment")])
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = pipeline[SampleKey(0, 0)].image
    assert torch.equal(torch.rand(4), expected)
    np.testing.assert_array_equal(pipeline[SampleKey(0, 0)].image, first)


def test_torchvisions_transforms_run_inside_a_pipeline() -> None:
    extra = [from_torchvision(v2.RandomAffine(15)), from_torchvision(v2.ColorJitter(0.3, 0.3))]
    first, second = (TrainPipeline(Images(), SPEC, [AugmentConfig(flip=0.5)], 2, extra) for _ in range(2))
    plain = TrainPipeline(Images(), SPEC, [AugmentConfig(flip=0.5)], 2)
    for index in range(6):
        sample, twin = first[SampleKey(1, index)], second[SampleKey(1, index)]
        np.testing.assert_array_equal(sample.image, twin.image)
        assert sample.image.tobytes() != plain[SampleKey(1, index)].image.tobytes()
        back = sample.info.geometry.invert_boxes(sample.target["boxes"])
        for label, box in zip(sample.target["labels"], back, strict=True):
            original = Images().target(index)["boxes"][label]
            assert (box[:2] <= original[2:]).all()
            assert (box[2:] >= original[:2]).all()
    collate([first[SampleKey(1, index)] for index in range(6)])


def test_a_resized_crop_takes_the_place_of_the_resize_rule() -> None:
    """No padding of the letterbox is left, and the canvas is full."""
    spec = InputSpec((50, 70), resize="letterbox", pad_multiple=32)
    pipeline = TrainPipeline(Images(), spec, [AugmentConfig(resized_crop=(0.2, 0.5))])
    sample = pipeline[SampleKey(0, 0)]
    assert sample.size == (64, 96)
    shown = sample.info.geometry.invert_boxes(np.array([[0, 0, 96, 64]], np.float32), clip=False)[0]
    assert (shown >= -1e-3).all()
    assert (shown <= np.array([90, 50] * 2) + 1e-3).all()


def test_an_expanded_image_lies_on_the_networks_mean() -> None:
    spec = InputSpec((64, 64), resize="letterbox", mean=(10.0, 20.2, 30.0), std=(1.0,) * 3, channel_order="bgr")
    pipeline = TrainPipeline(Images(), spec, [AugmentConfig(expand=1.0, expand_largest=8.0)])
    corners = [pipeline[SampleKey(epoch, 5)].image[0, 32].tolist() for epoch in range(10)]
    assert [30, 20, 10] in corners  # RGB


class Squares(Images):
    """Solid squares with masks, on which whoever pastes can be seen."""

    def target(self, index: int) -> dict[str, Any]:
        masks = np.zeros((1, *self.size(index)), np.uint8)
        masks[0, 10:40, 10 + 8 * index : 40 + 8 * index] = 1
        boxes = np.array([[10 + 8 * index, 10, 40 + 8 * index, 40]], np.float64)
        area = np.array([900.0])
        return {"boxes": boxes, "labels": np.array([index % 3]), "masks": masks, "area": area}

    def read(self, index: int) -> Sample:
        target = self.target(index)
        image = np.repeat((target["masks"][0] * (50 + 30 * index))[..., None], 3, axis=2)
        return Sample(image, target, ImageInfo(index, self.path(index), Geometry.identity(self.size(index))))


def test_copy_paste_brings_objects_of_other_images() -> None:
    pipeline = TrainPipeline(Squares(), SPEC, [AugmentConfig(copy_paste=1.0, flip=0.5)])
    counts = []
    for epoch in range(30):
        target = pipeline[SampleKey(epoch, 0)].target
        counts.append(len(target["labels"]))
        assert len(target["boxes"]) == len(target["masks"]) == len(target["area"]) == counts[-1]
        assert target["masks"].sum(axis=0).max() <= 1  # nothing lies under anything
    assert set(counts) == {1, 2}


def test_keypoints_without_boxes_cannot_be_joined() -> None:
    class Faces(Images):
        def target(self, index: int) -> dict[str, Any]:
            return {"keypoints": np.zeros((1, 5, 3), np.float32)}

    with pytest.raises(ConfigError, match="keypoints"):
        TrainPipeline(Faces(), SPEC, [AugmentConfig(mosaic=1.0)])


def test_keypoints_are_not_mirrored_without_knowing_their_partners() -> None:
    class Faces(Images):
        def target(self, index: int) -> dict[str, Any]:
            return {"keypoints": np.zeros((1, 5, 3), np.float32)}

    faces = Faces()
    with pytest.raises(ConfigError, match="flip_pairs"):
        TrainPipeline(faces, SPEC, [AugmentConfig(flip=0.5)])
    faces.info = replace(faces.info, flip_pairs=((0, 1),))
    TrainPipeline(faces, SPEC, [AugmentConfig(flip=0.5)])


def test_any_fault_of_a_image_names_its_file() -> None:
    class Broken(Images):
        def read(self, index: int) -> Sample:
            raise OSError("disk error")

    with pytest.raises(DataError, match=r"folder/3\.png.*disk error"):
        EvalPipeline(Broken(), SPEC)[SampleKey(0, 3)]
    with pytest.raises(DataError, match=r"folder/\d\.png.*disk error"):
        TrainPipeline(Broken(), SPEC, [AugmentConfig(mosaic=1.0)])[SampleKey(0, 3)]


def test_too_many_channels_are_named() -> None:
    class Satellite(Images):
        def read(self, index: int) -> Sample:
            return replace(super().read(index), image=np.zeros((*self.size(index), 7), np.uint8))

    with pytest.raises(DataError, match="channels=7"):
        EvalPipeline(Satellite(), SPEC)[SampleKey(0, 0)]


# ---- smaller decoding
# ----------------------------------------------------------------------------------------------------


def _jpegs(root: Path, size: tuple[int, int], suffix: str = ".jpg") -> TableDataset:
    rows, columns = np.indices(size)
    smooth = np.stack([columns * 255 // size[1], rows * 255 // size[0], (rows + columns) % 200], axis=-1).astype(
        np.uint8
    )
    builder = TableBuilder(["a"])
    for number in range(2):
        cv2.imwrite(str(root / f"{number}{suffix}"), smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        builder.add_image(f"{number}{suffix}", image_id=number + 5, size=size)
        builder.add_object("a", (20, 30, 120, 90))
    return TableDataset(DatasetInfo("jpegs", "detection", ("a",)), root, builder.build())


@pytest.mark.parametrize(
    ("wanted", "factor"), [((480, 640), 1), ((240, 320), 2), ((241, 321), 1), ((130, 400), 2), ((60, 80), 8)]
)
def test_jpegs_are_decoded_no_smaller_than_needed(tmp_path: Path, wanted: tuple[int, int], factor: int) -> None:
    dataset = _jpegs(tmp_path, (480, 640))
    small, whole = read_at_least(ConcatDataset([dataset, dataset]), 3, wanted), dataset.read(1)
    assert small.size == (480 // factor, 640 // factor)
    np.testing.assert_allclose(small.target["boxes"], whole.target["boxes"] / factor)
    assert small.info.geometry.original_size == (480, 640)
    np.testing.assert_allclose(
        small.info.geometry.invert_boxes(small.target["boxes"]), whole.target["boxes"], atol=1e-3
    )
    averaged = cv2.resize(whole.image[..., :2], (640 // factor, 480 // factor), interpolation=cv2.INTER_AREA).astype(
        int
    )
    assert np.abs(averaged - small.image[..., :2]).mean() < 2


def test_odd_sides_keep_the_exact_factor(tmp_path: Path) -> None:
    small = read_at_least(_jpegs(tmp_path, (333, 501)), 0, (100, 200))
    assert small.size == (167, 251)
    np.testing.assert_allclose(small.target["boxes"], [[10, 15, 60, 45]])


def test_other_formats_and_broken_files_take_the_ordinary_way(tmp_path: Path) -> None:
    assert read_at_least(_jpegs(tmp_path, (333, 501), ".png"), 0, (50, 50)).size == (333, 501)
    dataset = _jpegs(tmp_path, (333, 501))
    whole = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "0.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"0\.jpg"):
        read_at_least(dataset, 0, (50, 50))
    (tmp_path / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"0\.jpg"):
        read_at_least(dataset, 0, (50, 50))


def test_readers_with_pixels_of_their_own_are_left_alone(tmp_path: Path) -> None:
    class Halves(TableDataset):
        def pixels(self, index: int) -> np.ndarray:
            return super().pixels(index)[:, :200]

    source = _jpegs(tmp_path, (480, 640))
    assert read_at_least(Halves(source.info, tmp_path, source.table), 0, (50, 50)).size == (480, 200)


@pytest.mark.data("bccd")
def test_real_cells_survive_the_whole_way(data_root: Path) -> None:
    dataset = open_dataset(str(data_root / "bccd"), "train", bad_labels="drop")
    spec = InputSpec((416, 416), resize="letterbox")
    config = AugmentConfig(
        mosaic=1.0, mixup=0.5, flip=0.5, degrees=10, translate=0.1, scale=(0.5, 1.5), hsv=(0.015, 0.7, 0.4)
    )
    pipeline = TrainPipeline(dataset, spec, [config])
    samples = [pipeline[SampleKey(0, index)] for index in range(12)]
    assert all(len(sample.target["boxes"]) > 3 for sample in samples)
    batch = collate(samples)
    assert batch.images.shape == (12, 3, 416, 416)
    assert (batch.targets["labels"] < 3).all()


def test_settings_that_ask_for_nothing_only_resize() -> None:
    # A transform that changes nothing takes the way of all others, on which random numbers are drawn.
    longer = TrainPipeline(Images(), SPEC, [AugmentConfig()], extra=[lambda sample, rng: sample])
    pipeline = TrainPipeline(Images(), SPEC, [AugmentConfig(), AugmentConfig(flip=1.0)])
    for index in range(6):
        expected, found = longer[SampleKey(1, index)], pipeline[SampleKey(1, index)]
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.target["boxes"], expected.target["boxes"])
        np.testing.assert_array_equal(found.info.geometry.matrix, expected.info.geometry.matrix)
        mirrored = pipeline[SampleKey(1, index, phase=1)]  # of the settings of its own phase
        np.testing.assert_array_equal(mirrored.image, expected.image[:, ::-1])
