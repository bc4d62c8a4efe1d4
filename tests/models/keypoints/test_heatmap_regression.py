from __future__ import annotations

import dsntnn
import torch

from saccade.models.registry import create_model


def test_has_the_parameters_of_dsnt():
    count = sum(p.numel() for p in create_model("heatmap_regression").parameters())
    assert count == sum(p.numel() for p in create_model("dsnt").parameters()) == 11211396


def test_decode_is_the_centre_of_the_highest_cell():
    model = create_model("heatmap_regression", num_classes=2)
    heatmaps = torch.zeros(1, 2, 5, 7)
    heatmaps[0, 0, 3, 6], heatmaps[0, 1, 0, 0] = 0.9, 1.7
    decoded = model.decode({"heatmaps": heatmaps})
    torch.testing.assert_close(decoded["keypoints"], torch.tensor([[[[6.5 * 8, 3.5 * 8], [0.5 * 8, 0.5 * 8]]]]))
    torch.testing.assert_close(decoded["point_scores"], torch.tensor([[[0.9, 1.0]]]))
    torch.testing.assert_close(decoded["scores"], torch.tensor([[0.95]]))
    assert decoded["count"].tolist() == [1]


def test_loss_is_the_squared_error_against_blobs_of_height_one():
    torch.manual_seed(0)
    model = create_model("heatmap_regression", num_classes=3, sigma=1.5).eval()
    images = torch.randn(2, 3, 64, 64)
    keypoints = torch.cat((torch.rand(2, 1, 3, 2) * 64, torch.full((2, 1, 3, 1), 2.0)), -1)
    keypoints[1, 0, 2, 2] = 0
    blobs = dsntnn.make_gauss(keypoints[:, 0, :, :2] / 32 - 1, (8, 8), 1.5, normalize=False)
    error = (model(images)["heatmaps"] - blobs).square().sum((2, 3)).flatten()
    torch.testing.assert_close(model.loss(images, {"keypoints": keypoints})["heatmap"], error[:5].mean())
