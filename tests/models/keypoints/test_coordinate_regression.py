from __future__ import annotations

import dsntnn
import pytest
import torch

from saccade.errors import ConfigError
from saccade.models.registry import create_model


def test_reads_two_numbers_a_point_from_the_mean_of_the_last_feature_map():
    torch.manual_seed(0)
    model = create_model("coordinate_regression", num_classes=3).eval()
    images = torch.randn(2, 3, 64, 96)
    pooled = model.features(images)[-1].mean((2, 3))
    numbers = pooled @ model.head.weight.T + model.head.bias
    expected = torch.stack([48 * (1 + numbers[:, 0::2]), 32 * (1 + numbers[:, 1::2])], -1)
    decoded = model.decode(model(images))
    torch.testing.assert_close(decoded["keypoints"], expected[:, None])
    assert decoded["point_scores"].shape == (2, 1, 3)
    assert decoded["scores"].tolist() == [[1.0], [1.0]]


def test_loss_is_the_distance_of_the_labelled_points():
    torch.manual_seed(0)
    model = create_model("coordinate_regression", num_classes=3).eval()
    images = torch.randn(2, 3, 64, 64)
    keypoints = torch.cat((torch.rand(2, 1, 3, 2) * 64, torch.full((2, 1, 3, 1), 2.0)), -1)
    keypoints[1, 0, 2, 2] = 0
    found = model(images)["points"] / 32 - 1
    distances = dsntnn.euclidean_losses(found, keypoints[:, 0, :, :2] / 32 - 1).flatten()
    loss = model.loss(images, {"keypoints": keypoints})["coordinates"]
    torch.testing.assert_close(loss, distances[:5].mean())


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_pools_a_map_of_the_stride_that_was_asked_for(output_stride):
    model = create_model("coordinate_regression", num_classes=3, output_stride=output_stride).eval()
    assert model.features(torch.zeros(1, 3, 64, 64))[-1].shape[-1] == 64 // output_stride
    start = model(torch.zeros(1, 3, 64, 64))["points"]
    torch.testing.assert_close(start, torch.full((1, 3, 2), 32.0), atol=8, rtol=0)  # near the middle before training


def test_a_stride_that_the_backbone_does_not_reach_is_refused():
    with pytest.raises(ConfigError, match="ends at stride 8 at least, and output_stride is 4"):
        create_model("coordinate_regression", num_classes=3, output_stride=4)
