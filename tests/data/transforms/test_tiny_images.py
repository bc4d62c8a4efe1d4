"""Images of one pixel, one row or one column pass every transform with every kind of ground truth, and stay images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.transforms.affine import Flip, FlipVertical, RandomAffine, RandomCrop, Rotate90
from saccade.data.transforms.color import HSV, BrightnessContrast, PCAColor
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.corrupt import Blur, JPEGArtefacts, RandomErasing
from saccade.data.transforms.crops import Expand, IoUCrop, RandomResizedCrop
from saccade.data.transforms.mix import CopyPaste, MixUp, blend_classes, cut_classes
from saccade.data.transforms.mosaic import Mosaic
from saccade.data.transforms.move import clip_objects, require_finite, warp_pixels
from saccade.data.transforms.resize import Resize, resize_image
from saccade.data.transforms.warp import Elastic, Perspective
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample

SIZES = [(1, 1), (1, 2), (3, 1), (1, 40), (40, 1), (2, 2), (2, 33)]
RULES = ("letterbox", "stretch", "center_crop", "shorter_side", "multiple", "none")
SPEC = InputSpec((32, 32), resize="letterbox", pad_multiple=8)


def make(size: tuple[int, int], kind: str, number: int = 0) -> Sample:
    """An image of that size with one kind of ground truth; an object covers it, another its first pixel."""
    height, width = size
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    target: dict[str, Any] = {}
    if kind == "class":
        target["labels"] = np.int64(1)
    elif kind == "map":
        target["label_map"] = np.ones(size, np.uint8)
        target["weight_map"] = np.ones(size, np.float32)
    elif kind == "image":
        target["target_image"] = image.copy()
    else:
        boxes = np.array([[0, 0, width, height], [0, 0, 1, 1]], np.float32)
        target = {"boxes": boxes, "labels": np.array([0, 1]), "iscrowd": np.zeros(2, bool)}
        target["area"] = np.array([width * height, 1], np.float32)
        if kind == "masks":
            target["masks"] = np.zeros((2, *size), np.uint8)
            target["masks"][0] = 1
            target["masks"][1, 0, 0] = 1
        if kind == "keypoints":
            points = [[[width / 2, height / 2, 2], [0, 0, 1]], [[0.5, 0.5, 2], [0, 0, 0]]]
            target["keypoints"] = np.array(points, np.float32)
    return Sample(image, target, ImageInfo(number, "tiny.png", Geometry.identity(size)))


KINDS = ("class", "map", "boxes", "masks", "keypoints")
TRANSFORMS: dict[str, Callable[[Sample, np.random.Generator], Sample]] = {
    "flip": Flip(1.0, [(0, 1)]),
    "flip_vertical": FlipVertical(1.0, [(0, 1)]),
    "rotate90": Rotate90(1.0),
    "crop": RandomCrop((5, 7)),
    "affine": RandomAffine(30, 0.3, (0.2, 3.0), 20),
    "perspective": Perspective(0.9),
    "elastic": Elastic(8.0),
    "expand": Expand(1.0),
    "resized_crop": RandomResizedCrop((6, 8), (0.01, 1.0)),
    "hsv": HSV(0.1, 0.5, 0.5),
    "brightness": BrightnessContrast(0.5, 0.5),
    "pca": PCAColor(0.1),
    "blur": Blur(1.0, (0.1, 9.0)),
    "jpeg": JPEGArtefacts(1.0),
    "erase": RandomErasing(1.0, (0.1, 1.0)),
    "mixup": lambda sample, rng: MixUp(flip_pairs=[(0, 1)])(sample, replace(sample), rng),
    "mosaic": lambda sample, rng: Mosaic(RandomAffine(20, 0.3, (0.2, 2.0)), 9)(lambda n, size: sample, (16, 24), rng),
    **{f"resize {rule}": Resize(replace(SPEC, resize=rule)) for rule in RULES},
    "iou_crop": IoUCrop(),
}


def sound(sample: Sample) -> None:
    """Every array is of the image's size, and every number is one."""
    height, width = sample.size
    assert min(height, width) >= 1
    assert sample.image.dtype == np.uint8
    target = sample.target
    for name in ("label_map", "weight_map", "target_image"):
        assert name not in target or target[name].shape[:2] == (height, width)
    if "boxes" in target:
        boxes = target["boxes"]
        assert np.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        counts = {len(value) for key, value in target.items()}
        assert counts == {len(boxes)}
        assert np.isfinite(target["area"]).all()
    if "masks" in target:
        assert target["masks"].shape[1:] == (height, width)
        assert target["area"].tolist() == np.count_nonzero(target["masks"], axis=(1, 2)).tolist()
    if "keypoints" in target:
        assert np.isfinite(target["keypoints"]).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_tiny_images_pass_every_transform(name: str) -> None:
    for size in SIZES:
        for kind in (*KINDS, "image"):
            if (kind in ("class", "map", "image") and name in ("mixup", "iou_crop")) or (
                kind == "image" and name == "mosaic"
            ):
                continue
            if kind == "map" and name == "mosaic":
                continue
            sample = make(size, kind)
            before = {key: value.copy() for key, value in sample.target.items()}
            for seed in range(4):
                sound(TRANSFORMS[name](sample, np.random.default_rng(seed)))
            assert all(np.array_equal(before[key], value) for key, value in sample.target.items())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tiny_images_are_joined(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, two = make(size, "masks"), make(size, "masks", 1)
    sound(CopyPaste()(one, two, rng))
    labelled = make(size, "class"), make(size, "class", 1)
    for join in (blend_classes, cut_classes):
        mixed = join(*labelled, 1.0, 3, rng)
        assert mixed.target["labels"].sum() == pytest.approx(1)
        assert mixed.size == size


class Tiny:
    """A data set of images of every tiny size."""

    def __init__(self, kind: str) -> None:
        task = {"class": "classification", "map": "segmentation", "keypoints": "keypoints"}.get(kind, "detection")
        self.kind = kind
        self.info = DatasetInfo("tiny", task, ("a", "b", "c"), flip_pairs=((0, 1),))

    def __len__(self) -> int:
        return len(SIZES)

    def read(self, index: int) -> Sample:
        return make(SIZES[index], self.kind, index)

    def target(self, index: int) -> Any:
        return self.read(index).target

    def path(self, index: int) -> str:
        return f"{index}.png"


ALL = AugmentConfig(
    flip=0.5, flip_vertical=0.5, rotate90=0.5, degrees=20, translate=0.2, scale=(0.5, 1.5), shear=5, perspective=0.3,
    hsv=(0.1, 0.5, 0.5), brightness=0.2, contrast=0.2, pca=0.1, elastic=4, expand=0.5, blur=0.5, jpeg=0.5, erase=0.5,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_pipeline_of_tiny_images(kind: str) -> None:
    config = replace(ALL, mosaic=0.0 if kind in ("class", "map") else 0.5)
    if kind in ("boxes", "masks", "keypoints"):
        config = replace(config, mixup=0.5, iou_crop=0.5, copy_paste=0.5 if kind == "masks" else 0.0)
    if kind == "class":
        config = replace(config, mixup=0.3, cutmix=0.5, resized_crop=(0.05, 1.0), policy="trivialaugment")
    pipeline = TrainPipeline(Tiny(kind), SPEC, [config])
    for epoch in range(3):
        samples = [pipeline[SampleKey(epoch, index)] for index in range(len(SIZES))]
        assert all(sample.size == (32, 32) for sample in samples)
        (batch,) = pipeline.collate(samples)
        assert batch.images.shape == (len(SIZES), 3, 32, 32)


@pytest.mark.parametrize("rule", RULES)
def test_one_row_of_many_pixels_takes_no_more_memory_than_its_canvas(rule: str) -> None:
    """A shorter side of 1 enlarged to 256 would make 5,000 pixels 1.3 million long."""
    spec = InputSpec((224, 224), resize=rule, crop_fraction=0.875)
    row = np.tile(np.arange(5000, dtype=np.int64)[None, :, None] % 251, (1, 1, 3)).astype(np.uint8)
    canvas, geometry = resize_image(row, spec)
    assert canvas.shape[:2] == geometry.size
    assert canvas.size < 1 << 24
    if rule == "center_crop":  # 224 / 256 of a pixel in the middle, half of it each side of column 2500
        assert {int(value) for value in np.unique(canvas)} <= set(range(2498 % 251, 2503 % 251))
        assert canvas[0, 112, 0] == pytest.approx((2499.5 % 251), abs=1)


def test_warps_of_images_beyond_the_limit_of_opencv() -> None:
    row = np.full((1, 50_000, 3), 90, np.uint8)
    row[:, 40_000:] = 200
    whole = warp_pixels(row, np.diag([100 / 50_000, 10.0, 1.0]), (10, 100), 0, linear=True)
    assert whole[4, 10:70] == pytest.approx(90, abs=6)  # the edge of the row is half a pixel away, and blends with 0
    assert whole[5, 90] == pytest.approx(200, abs=11)
    shift = np.array([[1.0, 0, -39_950], [0, 1, 0], [0, 0, 1]])
    part = warp_pixels(row, shift, (1, 100), 0, linear=False)
    assert (part[0, :50] == 90).all()
    assert (part[0, 50:] == 200).all()
    long = replace(make((1, 50_000), "boxes"), image=row)
    assert MixUp()(make((16, 16), "boxes"), long, np.random.default_rng(0)).image.shape == (16, 16, 3)


def test_area_is_that_of_the_mask_under_every_transform() -> None:
    """Resizing too; without a mask it scales with the box."""
    masks = np.zeros((1, 40, 40), np.uint8)
    masks[0, 10:30, 10:20] = 1
    boxes = np.array([[10, 10, 20, 30]], np.float32)
    target = {"boxes": boxes, "labels": np.array([0]), "area": np.array([777.0], np.float32)}
    info = ImageInfo(0, "x.png", Geometry.identity((40, 40)))
    image = np.zeros((40, 40, 3), np.uint8)
    resize = Resize(InputSpec((80, 60)))
    assert resize(Sample(image, {**target, "masks": masks}, info)).target["area"].tolist() == [2 * 1.5 * 200]
    assert resize(Sample(image, target, info)).target["area"].tolist() == [2 * 1.5 * 777]
    flipped = Flip(1.0)(Sample(image, {**target, "masks": masks}, info), np.random.default_rng(0))
    assert flipped.target["area"].tolist() == [200]
    only_masks = {"masks": masks, "labels": np.array([0]), "area": np.array([777.0], np.float32)}
    assert clip_objects(only_masks, (0, 0, 40, 40), tight=True)["area"].tolist() == [200]


def _broken(key: str, value: Any) -> Sample:
    sample = make((8, 8), "keypoints")
    changed: NDArray[Any] = sample.target[key].copy()
    changed[(1, *(0,) * (changed.ndim - 1))] = value
    return replace(sample, target={**sample.target, key: changed})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["boxes", "keypoints", "area"])
@pytest.mark.parametrize("name", ["flip", "resize letterbox", "elastic", "mosaic", "mixup", "affine"])
def test_what_is_no_number_never_reaches_the_network(name: str, key: str, value: float) -> None:
    with pytest.raises(DataError, match=rf"tiny\.png: {key} of object 1 hold a value that is no number"):
        TRANSFORMS[name](_broken(key, value), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["flip", "resize letterbox", "elastic", "mosaic", "perspective"])
def test_unlabelled_points_may_hold_anything(name: str) -> None:
    sample = make((8, 8), "keypoints")
    points = sample.target["keypoints"].copy()
    points[1, 1] = np.nan, np.inf, 0
    require_finite({"keypoints": points}, "x")
    moved = TRANSFORMS[name](replace(sample, target={**sample.target, "keypoints": points}), np.random.default_rng(0))
    assert np.isfinite(moved.target["keypoints"]).all()
