"""One table says how each kind of ground truth and input moves and is padded; what is not in it is an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saccade.data.transforms.affine import Flip
from saccade.data.transforms.move import move_target
from saccade.data.transforms.resize import Resize
from saccade.errors import DataError
from saccade.structures.batch import pad_targets
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import KINDS, Kind, kind_of, register_kind
from saccade.structures.sample import ImageInfo, Sample


def sample(**target: object) -> Sample:
    info = ImageInfo(0, "a.png", Geometry.identity((40, 80)))
    return Sample(np.zeros((40, 80, 3), np.uint8), {key: np.asarray(value) for key, value in target.items()}, info)


@pytest.mark.parametrize("key", ["depth_maps", "boxs"])
def test_an_unknown_key_is_an_error_that_says_what_to_do(key: str) -> None:
    with pytest.raises(DataError, match=rf"'{key}' is no known kind.*register_kind\('{key}'"):
        Resize(InputSpec((20, 40)))(sample(**{key: np.zeros((1, 4), np.float32)}))
    with pytest.raises(DataError, match="no known kind"):
        pad_targets([{key: torch.zeros(1, 4)}])


def test_every_kind_of_the_table_moves_with_its_image() -> None:
    half = InputSpec((20, 40), resize="stretch")
    whole = sample(
        boxes=np.array([[10, 4, 30, 24]], np.float32),
        labels=np.array([1]),
        keypoints=np.array([[[10, 4, 2]]], np.float32),
        head_boxes=np.array([[10, 4, 20, 14]], np.float32),
        label_map=np.full((40, 80), 3, np.uint8),
        ignore_map=np.eye(40, 80, dtype=np.uint8),
        weight_map=np.full((40, 80), 2.5, np.float32),
        masks=np.ones((1, 40, 80), np.uint8),
        target_image=np.zeros((40, 80, 3), np.uint8),
        paired=np.array(True),
    )
    moved = Resize(half)(whole).target
    np.testing.assert_array_equal(moved["boxes"], [[5, 2, 15, 12]])
    np.testing.assert_array_equal(moved["head_boxes"], [[5, 2, 10, 7]])
    np.testing.assert_array_equal(moved["keypoints"], [[[5, 2, 2]]])
    for key in ("label_map", "ignore_map", "weight_map", "target_image", "masks"):
        assert moved[key].shape[-2:] == (20, 40) or moved[key].shape[:2] == (20, 40), key
    assert (moved["weight_map"] == 2.5).all()


def test_further_inputs_move_as_ground_truth_does() -> None:
    one = sample(labels=np.array(1))
    one.inputs = {"proposals": np.array([[0, 0, 20, 10], [60, 20, 80, 40]], np.float32)}
    resized = Resize(InputSpec((20, 40)))(one)
    np.testing.assert_array_equal(resized.inputs["proposals"], [[0, 0, 10, 5], [30, 10, 40, 20]])
    mirrored = Flip(1.0)(resized, np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored.inputs["proposals"], [[30, 0, 40, 5], [0, 10, 10, 20]])


def test_proposals_outside_the_canvas_are_dropped_with_their_scores() -> None:
    from saccade.data.transforms.move import move_inputs

    inputs = {
        "proposals": np.array([[0, 0, 5, 5], [50, 0, 60, 5]], np.float32),
        "proposal_scores": np.array([0.1, 0.9]),
    }
    moved = move_inputs(inputs, np.eye(3), (10, 10), lambda pixels, fill, linear: pixels, 0)
    np.testing.assert_array_equal(moved["proposals"], [[0, 0, 5, 5]])
    np.testing.assert_array_equal(moved["proposal_scores"], [0.1])


def test_a_second_image_of_another_scene_stays() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    target = {"target_image": image, "paired": np.array(False)}
    moved = move_target(target, np.diag([2.0, 2.0, 1.0]), lambda pixels, fill, linear: pixels[:1])
    assert moved["target_image"] is image


def test_kinds_of_ones_own() -> None:
    try:
        register_kind("heights", Kind("map"))
        assert kind_of("heights").motion == "map"
        register_kind("heights", Kind("map"))  # the same again
        with pytest.raises(DataError, match="'heights' is a kind of ground truth already"):
            register_kind("heights", Kind("boxes"))
    finally:
        KINDS.pop("heights", None)


def test_masks_of_a_batch_are_cropped_to_their_boxes() -> None:
    masks = np.zeros((2, 100, 200), np.uint8)
    masks[0, 10:20, 30:50] = 1
    masks[1, 60:100, 150:200] = 1
    boxes = np.array([[30.2, 10, 50, 19.5], [150, 60, 200, 100]], np.float32)
    empty = {
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int64),
        "masks": np.zeros((0, 100, 200), np.uint8),
    }
    padded = pad_targets([{"boxes": boxes, "labels": np.array([0, 1]), "masks": masks}, empty])
    assert padded["masks"].shape == (2, 8, 40, 50)  # the largest crop, not the canvas
    assert padded["mask_origins"][0, :2].tolist() == [[30, 10], [150, 60]]
    restored = np.zeros_like(masks)
    for row, (x, y) in enumerate(padded["mask_origins"][0, :2].tolist()):
        crop = padded["masks"][0, row].numpy()[: 100 - y, : 200 - x]
        restored[row, y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    np.testing.assert_array_equal(restored, masks)
    assert not padded["masks"][1].any()


def test_proposals_are_padded_beside_objects() -> None:
    padded = pad_targets([{"proposals": torch.ones(3, 4)}, {"proposals": torch.ones(11, 4)}])
    assert padded["proposals"].shape == (2, 16, 4)
    assert padded["proposals"][0, 3:].abs().sum() == 0
