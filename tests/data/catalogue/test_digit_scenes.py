"""Generated scenes: the same for everybody, exact in their ground truth, unseen scans in held-out splits."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.catalogue.digit_scenes import DigitScenes, _digits, _photographs, _scans
from saccade.errors import DataError
from saccade.structures.sample import Target

TASKS = ("detection", "segmentation", "classification", "keypoints")


def same(first: Target, second: Target) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("task", TASKS)
def test_a_scene_depends_on_seed_split_and_index_alone(task: str) -> None:
    scenes = DigitScenes(task, "train", count=10)
    late = scenes.read(7)
    again = DigitScenes(task, "train", count=50).read(7)
    assert np.array_equal(late.image, again.image)
    assert same(late.target, again.target)
    assert same(late.target, scenes.target(7))
    for other in (
        scenes.read(6),
        DigitScenes(task, "val", count=10).read(7),
        DigitScenes(task, "train", seed=1).read(7),
    ):
        assert not np.array_equal(late.image, other.image)


def test_source_is_what_scikit_learn_gives() -> None:
    from sklearn.datasets import load_digits, load_sample_images

    images, digits = _digits()
    assert np.array_equal(images, load_digits().images)
    assert np.array_equal(digits, load_digits().target)
    for ours, theirs in zip(_photographs(), load_sample_images().images, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 3  # another decoder of JPEG


def test_splits_share_no_scan() -> None:
    scans = {split: {scan.tobytes() for scan in _scans(split)[0]} for split in ("train", "val", "test")}
    assert sum(len(found) for found in scans.values()) > 1780
    assert not scans["train"] & scans["val"]
    assert not scans["train"] & scans["test"]
    assert not scans["val"] & scans["test"]
    for split in scans:
        assert (np.bincount(_scans(split)[1], minlength=10) > 30).all()


def test_crowded_scenes_show_more_of_the_training_scans() -> None:
    crowded = DigitScenes("detection", "crowded", count=20, masks=True)
    counts = [len(crowded.target(index)["labels"]) for index in range(20)]
    assert np.mean(counts) > 8
    assert max(crowded.target(index)["masks"].sum(axis=0).max() for index in range(5)) == 1
    assert np.array_equal(_scans("crowded")[0], _scans("train")[0])
    assert not np.array_equal(crowded.read(0).image, DigitScenes("detection", "train").read(0).image)
    with pytest.raises(DataError, match="no split 'crowded' for keypoints; it has: train, val, test"):
        DigitScenes("keypoints", "crowded")


def test_boxes_are_tight_around_masks_that_do_not_overlap() -> None:
    scenes = DigitScenes("detection", "train", count=30, masks=True)
    counts = []
    for index in range(30):
        target = scenes.target(index)
        counts.append(len(target["labels"]))
        assert target["masks"].sum(axis=0).max() == 1
        assert target["masks"].sum(axis=(1, 2)).tolist() == target["area"].tolist()
        for mask, box in zip(target["masks"], target["boxes"], strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert not target["iscrowd"].any()
    assert min(counts) == 1
    assert max(counts) == 8


def test_detection_and_segmentation_show_the_same_scene() -> None:
    objects = DigitScenes("detection", "val", masks=True).read(4)
    labelled = DigitScenes("segmentation", "val").read(4)
    assert np.array_equal(objects.image, labelled.image)
    expected = (objects.target["masks"] * (objects.target["labels"] + 1)[:, None, None]).sum(axis=0)
    assert np.array_equal(labelled.target["label_map"], expected)
    assert DigitScenes("segmentation", "val").info.class_names[:2] == ("background", "0")


def test_ink_stands_out_from_the_photograph() -> None:
    scenes = DigitScenes("detection", "train", masks=True)
    for index in range(20):
        sample = scenes.read(index)
        luma = sample.image @ np.array([0.299, 0.587, 0.114])
        for mask in sample.target["masks"].astype(bool):
            grown = np.zeros_like(mask)
            rows, columns = np.nonzero(mask)
            grown[max(rows.min() - 4, 0) : rows.max() + 5, max(columns.min() - 4, 0) : columns.max() + 5] = True
            around = grown & ~sample.target["masks"].any(axis=0)
            assert abs(np.median(luma[mask]) - luma[around].mean()) > 20


def test_keypoints_are_the_corners_of_a_turned_square_around_the_ink() -> None:
    scenes = DigitScenes("keypoints", "train", count=20)
    assert scenes.info.class_names == ("top_left", "top_right", "bottom_right", "bottom_left")
    for index in range(20):
        target = scenes.target(index)
        corners = target["keypoints"][0, :, :2]
        assert target["keypoints"].shape == (1, 4, 3)
        sides = np.roll(corners, -1, axis=0) - corners
        lengths = np.linalg.norm(sides, axis=1)
        assert np.allclose(lengths, lengths[0], rtol=1e-4)
        assert abs(np.dot(sides[0], sides[1])) < 1e-2 * lengths[0]
        assert sides[0][0] > 0
        assert sides[1][1] > 0
        assert corners.min() >= 0
        assert corners.max() <= 256
        # A mirror exchanges left and right by name.
        mirrored = corners * [-1, 1] + [256, 0]
        swapped = mirrored.copy()
        for first, second in scenes.info.flip_pairs:
            swapped[[first, second]] = mirrored[[second, first]]
        assert swapped[0, 0] < swapped[1, 0]
        assert swapped[3, 0] < swapped[2, 0]
        center = target["boxes"][0].reshape(2, 2).mean(axis=0)
        assert np.linalg.norm(center - corners.mean(axis=0)) < 0.2 * lengths[0]


def test_classification_gives_one_label_and_all_digits_come_up() -> None:
    scenes = DigitScenes("classification", "train", count=150, size=(32, 32))
    labels = [int(scenes.target(index)["labels"]) for index in range(150)]
    assert set(labels) == set(range(10))
    assert scenes.target(0)["labels"].shape == ()


@pytest.mark.parametrize("size", [(20, 20), (64, 200), (480, 320)])
@pytest.mark.parametrize("task", TASKS)
def test_any_size_from_the_smallest_on(task: str, size: tuple[int, int]) -> None:
    for index in range(5):
        sample = DigitScenes(task, "val", size=size).read(index)
        assert sample.image.shape == (*size, 3)
        assert sample.image.dtype == np.uint8
        if "boxes" in sample.target:
            boxes = sample.target["boxes"]
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2:] <= [size[1], size[0]]).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_wrong_words_and_sizes() -> None:
    with pytest.raises(DataError, match="Did you mean 'detection'"):
        DigitScenes("detecton")
    with pytest.raises(DataError, match="it has: train, val, test"):
        DigitScenes("detection", "trainval")
    with pytest.raises(DataError, match="need 20 pixels"):
        DigitScenes("detection", size=(8, 64))
    with pytest.raises(IndexError):
        DigitScenes("detection", "val", count=3).read(3)
