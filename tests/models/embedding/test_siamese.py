"""Siamese networks: pairs, losses by hand, and the distance that predictions carry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saccade.losses.contrastive import contrastive_loss
from saccade.models.registry import create_model
from saccade.results.embedding import distances


def test_contrastive_loss_is_the_papers_equation():
    rng = np.random.default_rng(0)
    first, second, same = rng.normal(size=(20, 3)), rng.normal(size=(20, 3)), rng.random(20) < 0.5
    terms = []
    for a, b, equal in zip(first, second, same, strict=True):
        distance = np.sqrt(((a - b) ** 2).sum())
        terms.append(distance**2 / 2 if equal else max(0, 1.5 - distance) ** 2 / 2)
    found = contrastive_loss(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(same), margin=1.5)
    assert found.item() == pytest.approx(np.mean(terms))
    assert min(terms[index] for index in range(20) if not same[index]) == 0  # some are beyond the margin


def test_equal_vectors_have_a_finite_gradient():
    first = torch.ones(2, 3, requires_grad=True)
    contrastive_loss(first, torch.ones(2, 3), torch.tensor([True, False])).backward()
    assert torch.isfinite(first.grad).all()


def test_pairs_are_neighbours_of_the_batch():
    torch.manual_seed(0)
    model = create_model("siamese", backbone="mobilenet_v3_small", dimensions=4).eval()
    images, labels = torch.randn(5, 3, 64, 64), torch.tensor([1, 1, 2, 1, 2])
    vectors = model(images)["embedding"]
    expected = contrastive_loss(vectors[[0, 2]], vectors[[1, 3]], torch.tensor([True, False]))
    torch.testing.assert_close(model.loss(images, {"labels": labels})["contrastive"], expected)


def test_kochs_distance_orders_pairs_as_its_sigmoid_does():
    torch.manual_seed(0)
    model = create_model("siamese_koch", fc_channels=12, width=2).eval()
    images = torch.rand(8, 1, 105, 105) - 1
    with torch.no_grad():
        decoded = model.predict(images)
        vectors = decoded["embedding"]
        logits = model.similarity((vectors[:1] - vectors[1:]).abs())[:, 0].numpy()
    found = distances(vectors[:1].numpy(), vectors[1:].numpy(), decoded["l1_weights"][0].numpy())[0]
    assert logits - model.similarity.bias.item() == pytest.approx(-found, abs=1e-6)
    assert (decoded["l1_weights"][0] < 0).any()  # no norm: some differences make a pair likelier


def test_kochs_loss_is_the_cross_entropy_of_pairs():
    torch.manual_seed(0)
    model = create_model("siamese_koch", fc_channels=12, width=2).eval()
    images = torch.rand(4, 1, 105, 105) - 1
    with torch.no_grad():
        vectors = model(images)["embedding"]
        p = model.similarity((vectors[::2] - vectors[1::2]).abs()).sigmoid()[:, 0]
        value = model.loss(images, {"labels": torch.tensor([3, 3, 1, 2])})["pair"]
    torch.testing.assert_close(value, -(p[0].log() + (1 - p[1]).log()) / 2)
