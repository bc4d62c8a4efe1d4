from __future__ import annotations

import dsntnn
import pytest
import torch

from saccade.losses.dsnt import euclidean_loss, js_regularizer, kl_regularizer, masked_mean, variance_regularizer
from saccade.ops.heatmaps import expectation, gaussian, normalized_cells


@pytest.fixture
def heatmaps():
    torch.manual_seed(0)
    return dsntnn.flat_softmax(torch.randn(2, 3, 10, 14) * 3)


@pytest.fixture
def points():
    torch.manual_seed(1)
    return torch.rand(2, 3, 2) * 1.6 - 0.8


def test_cell_centres_never_touch_the_border():
    assert normalized_cells(4, torch.zeros(1)).tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_transform_and_losses_equal_the_authors_library(heatmaps, points):
    mean = expectation(heatmaps)
    torch.testing.assert_close(mean, dsntnn.dsnt(heatmaps))
    torch.testing.assert_close(euclidean_loss(mean, points), dsntnn.euclidean_losses(mean, points))
    torch.testing.assert_close(
        variance_regularizer(heatmaps, 1.5), dsntnn.variance_reg_losses(heatmaps, 1.5), rtol=1e-4, atol=1e-4
    )
    for sigma in (0.7, 1.0, 2.0):
        torch.testing.assert_close(
            kl_regularizer(heatmaps, points, sigma), dsntnn.kl_reg_losses(heatmaps, points, sigma)
        )
        torch.testing.assert_close(
            js_regularizer(heatmaps, points, sigma), dsntnn.js_reg_losses(heatmaps, points, sigma)
        )


def test_gradients_equal_the_authors_library(heatmaps, points):
    logits = torch.randn(2, 3, 10, 14)
    gradients = []
    for mean, regularizer in ((expectation, js_regularizer), (dsntnn.dsnt, dsntnn.js_reg_losses)):
        leaf = logits.clone().requires_grad_()
        probabilities = dsntnn.flat_softmax(leaf)
        ((mean(probabilities) - points).norm(dim=-1) + regularizer(probabilities, points, 1.0)).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_gaussians_equal_the_authors_library(points):
    for sigma in (0.7, 2.0):
        torch.testing.assert_close(gaussian(points, (9, 16), sigma), dsntnn.make_gauss(points, (9, 16), sigma))
        ours = gaussian(points, (9, 16), sigma, peak_one=True)
        torch.testing.assert_close(ours, dsntnn.make_gauss(points, (9, 16), sigma, normalize=False))


def test_the_loss_of_a_gaussian_of_the_target_width_is_zero():
    ground_truth = torch.tensor([[[0.1, -0.2]]])
    exact = gaussian(ground_truth, (40, 40), 1.0)
    torch.testing.assert_close(expectation(exact), ground_truth, atol=1e-4, rtol=0)
    for value in (
        kl_regularizer(exact, ground_truth, 1.0),
        js_regularizer(exact, ground_truth, 1.0),
        variance_regularizer(exact, 1.0),
    ):
        assert value.abs().max() < 1e-3


@pytest.mark.parametrize("regularizer", [kl_regularizer, js_regularizer])
def test_points_far_outside_stay_finite(regularizer):
    logits = torch.randn(1, 1, 8, 8, requires_grad=True)
    loss = regularizer(dsntnn.flat_softmax(logits), torch.tensor([[[9.0, -50.0]]]), 1.0).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_a_perfect_prediction_has_a_finite_gradient():
    point = torch.zeros(1, 1, 2, requires_grad=True)
    euclidean_loss(point, torch.zeros(1, 1, 2)).sum().backward()
    assert (point.grad == 0).all()


def test_masked_mean_leaves_points_out():
    values = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    assert masked_mean(values, torch.tensor([[True, False], [True, False]])) == 2.5
    assert masked_mean(values, torch.zeros(2, 2, dtype=torch.bool)) == 0
