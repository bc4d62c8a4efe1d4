from __future__ import annotations

import pytest
import torch
from tests.testing.networks import TinyClassifier, TinyDetector

from saccade.structures.batch import pad_targets
from saccade.testing.examples import images_for, inputs_for, pixels_for, targets_for


def test_objects_have_a_row_in_each_kind_and_lie_where_their_boxes_are() -> None:
    model = TinyDetector(3)
    model.target_names = ("boxes", "labels", "masks", "keypoints", "target_image")
    model.task = "keypoints"  # counts points by class
    targets = targets_for(model, (64, 80), (3, 0, 2))
    assert [len(target["boxes"]) for target in targets] == [3, 0, 2]
    for target, count in zip(targets, (3, 0, 2), strict=True):
        assert target["labels"].shape == (count,)
        assert target["masks"].shape == (count, 64, 80)
        assert target["keypoints"].shape == (count, 3, 3)
        assert target["target_image"].shape == (64, 80, 3)
        assert target["target_image"].dtype == torch.uint8
        for box, mask, points in zip(target["boxes"], target["masks"], target["keypoints"], strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            assert mask.any()
            assert columns.min() >= box[0].floor()
            assert columns.max() <= box[2]
            assert rows.min() >= box[1].floor()
            assert rows.max() <= box[3]
            assert (points[:, :2] >= box[:2]).all()
            assert (points[:, :2] <= box[2:]).all()
            assert (points[:, 2] == 2).all()
    assert pad_targets(targets)["masks"].shape[:2] == (3, 8)


def test_points_of_an_object_are_as_many_as_the_network_predicts() -> None:
    class Pose(TinyDetector):
        target_names = ("boxes", "labels", "keypoints")

        def decode(self, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            decoded = super().decode(outputs)
            return {**decoded, "keypoints": decoded["boxes"].new_zeros(*decoded["boxes"].shape[:2], 17, 2)}

    assert [target["keypoints"].shape for target in targets_for(Pose(2), (64, 64), (2,))] == [(2, 17, 3)]


def test_the_emptiest_ground_truth_of_each_kind() -> None:
    model = TinyClassifier(3)
    model.target_names = ("label_map",)
    (empty,) = targets_for(model, (16, 24), (0,))
    assert (empty["label_map"] == 255).all()
    (some,) = targets_for(model, (16, 24), (1,))
    assert set(some["label_map"].unique().tolist()) == {0, 1, 2, 255}
    model.target_names, model.task = ("keypoints",), "keypoints"
    (empty,) = targets_for(model, (16, 24), (0,))
    assert empty["keypoints"].shape == (1, 3, 3)
    assert not empty["keypoints"][..., 2].any()
    model.target_names = ("labels",)
    assert [int(target["labels"]) for target in targets_for(model, (16, 24), (0, 1, 5))] == [0, 1, 2]


@pytest.mark.parametrize("size", [(16, 24), (33, 21)])
def test_images_are_pixels_normalised(size: tuple[int, int]) -> None:
    model = TinyClassifier(3)
    pixels, images = pixels_for(model, size, 4, seed=7), images_for(model, size, 4, seed=7)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == images.shape == (4, 3, *size)
    torch.testing.assert_close(images, (pixels.float() - 127) / 64)
    assert not torch.equal(pixels[0], pixels[1])
    model.input_names = ("proposals", "target_image")
    inputs = inputs_for(model, size, 4)
    assert (inputs["proposals"][..., 2:] > inputs["proposals"][..., :2]).all()
    assert inputs["target_image"].dtype == torch.float32
