"""Images of two domains on their way to the network: drawn anew each epoch, each augmented by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from saccade.data.derived.cached import CachedDataset
from saccade.data.derived.combine import ConcatDataset, SubsetDataset, subset
from saccade.data.loading.collate import collate_by_canvas
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.readers import paired, unpaired
from saccade.data.transforms.config import AugmentConfig
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import Sample

SPEC = InputSpec((32, 32), mean=(127.5,) * 3, std=(127.5,) * 3)


def write(path: Path, value: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def write_domains(folder: Path, first: int, second: int, split: str = "train") -> Path:
    """Images of A are dark, those of B bright, in other sizes; the value of the pixels is their number."""
    for number in range(first):
        write(folder / f"{split}A" / f"{number}.png", number, (20, 30 + number))
    for number in range(second):
        write(folder / f"{split}B" / f"{number}.png", 100 + number, (40 - number, 24))
    return folder


def values(sample: Sample) -> tuple[int, int]:
    return int(sample.image[16, 16, 0]), int(sample.target["target_image"][16, 16, 0])


@pytest.mark.parametrize(("first", "second"), [(3, 5), (5, 3), (4, 1), (1, 4), (1, 1)])
def test_partners_are_drawn_anew_each_epoch_and_all_alike(first: int, second: int, tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, first, second), "train")
    pipeline = TrainPipeline(data, SPEC, [AugmentConfig()], seed=3)
    epochs = [
        [values(pipeline[SampleKey(epoch, index)]) for index in range(len(data))]
        for epoch in range(60 if second > 1 else 3)
    ]
    assert epochs[0] == [values(pipeline[SampleKey(0, index)]) for index in range(len(data))]  # the same bits again
    assert all(sorted({a for a, _ in epoch}) == list(range(first)) for epoch in epochs)
    drawn = Counter(b for epoch in epochs for _, b in epoch)
    assert sorted(drawn) == list(range(100, 100 + second))
    if second > 1:
        assert len({tuple(epoch) for epoch in epochs}) > 10
        expected = sum(drawn.values()) / second  # also where one domain is repeated unevenly to the length of the other
        assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in drawn.values())


def test_both_domains_are_resized_augmented_and_stacked(tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, 3, 2), "train")
    pipeline = TrainPipeline(data, SPEC, [AugmentConfig(crop=(16, 16), flip=0.5)], seed=0)
    (batch,) = pipeline.collate([pipeline[SampleKey(0, index)] for index in range(3)])
    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.targets["target_image"].shape == (3, 32, 32, 3)
    assert batch.targets["target_image"].dtype == batch.images.dtype
    assert batch.targets["paired"].tolist() == [False] * 3


def test_domains_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (40, 1, 3))  # bright at the right
    for name in ("trainA/1.png", "trainB/1.png"):
        (tmp_path / name).parent.mkdir()
        assert cv2.imwrite(str(tmp_path / name), ramp)
    pipeline = TrainPipeline(unpaired.read(tmp_path, "train"), SPEC, [AugmentConfig(flip=0.5)])
    mirrored = Counter()
    for epoch in range(80):
        sample = pipeline[SampleKey(epoch, 0)]
        one, other = (pixels[0, 0, 0] > pixels[0, -1, 0] for pixels in (sample.image, sample.target["target_image"]))
        mirrored[bool(one), bool(other)] += 1
    assert len(mirrored) == 4  # each of them alone, both, and none
    assert min(mirrored.values()) > 8


def test_pairs_move_together(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 1, 3))
    for name in ("A/train/1.png", "B/train/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / name), ramp)
    augment = AugmentConfig(flip=0.5, crop=(30, 30), degrees=20.0, scale=(0.8, 1.2))
    pipeline = TrainPipeline(paired.read(tmp_path, "train"), SPEC, [augment])
    samples = [pipeline[SampleKey(epoch, 0)] for epoch in range(8)]
    assert all(np.array_equal(one.image, one.target["target_image"]) for one in samples)
    assert not np.array_equal(samples[0].image, samples[1].image)


def test_evaluation_keeps_the_fixed_order_and_stacks_images_of_any_size(tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, 3, 3), "train")
    pipeline = EvalPipeline(data, SPEC)
    samples = [pipeline[SampleKey(epoch, index)] for epoch, index in ((0, 0), (1, 1), (2, 2))]
    assert [values(one) for one in samples] == [
        (int(one.image[0, 0, 0]), int(one.target["target_image"][0, 0, 0])) for one in map(data.read, range(3))
    ]
    (batch,) = collate_by_canvas(samples)
    assert batch.targets["target_image"].shape == (3, 32, 32, 3)
    shapes = [original["target_image"].shape for original in batch.originals]
    assert len(set(shapes)) == 3  # of the files


def wrapped(data: VisionDataset, tmp_path: Path, kind: str) -> VisionDataset:
    if kind == "subset":
        return subset(data, [0, 2])
    if kind == "wrapper":
        return SubsetDataset(data, [0, 2])
    if kind == "cached":
        return CachedDataset(data)
    return ConcatDataset([data, unpaired.read(write_domains(tmp_path, 2, 2, split="more"), "more")])


@pytest.mark.parametrize("kind", ["subset", "wrapper", "cached", "concat"])
def test_partners_are_drawn_in_subsets_joined_and_cached_data(kind: str, tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, 4, 4), "train")
    made = wrapped(data, tmp_path, kind)
    pipeline = TrainPipeline(made, SPEC, [AugmentConfig()])
    drawn = {index: {values(pipeline[SampleKey(epoch, index)])[1] for epoch in range(40)} for index in range(len(made))}
    if kind == "subset":  # of a part, held out or a fold, no image of another part is seen
        own = {int(data.read(index).target["target_image"][0, 0, 0]) for index in (0, 2)}
        assert list(drawn.values()) == [own, own]
    elif kind == "concat":
        assert list(drawn.values()) == [{100, 101, 102, 103}] * 4 + [{100, 101}] * 2
    else:
        assert all(seen == {100, 101, 102, 103} for seen in drawn.values())


def test_what_joins_images_is_refused(tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, 1, 1), "train")
    for field in ("mosaic", "mixup", "copy_paste"):
        with pytest.raises(ConfigError, match=rf"augment\.{field} joins several images, .* Set it to 0"):
            TrainPipeline(data, SPEC, [AugmentConfig(**{field: 0.5})])


def test_a_broken_image_of_the_other_domain_is_named(tmp_path: Path) -> None:
    data = unpaired.read(write_domains(tmp_path, 2, 1), "train")
    pipeline = TrainPipeline(data, SPEC, [AugmentConfig()])
    (tmp_path / "trainB" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"trainB/0\.png"):
        pipeline[SampleKey(0, 0)]
