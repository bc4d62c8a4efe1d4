"""Learners from a few examples against slow, obvious versions of their papers' equations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from saccade.errors import ConfigError
from saccade.models.embedding.base import split_episode
from saccade.models.registry import create_model

LABELS = torch.tensor([9, 9, 9, 9, 4, 4, 4, 4, 6, 6, 6, 6])


def _images(seed: int = 0) -> torch.Tensor:
    return torch.randn(len(LABELS), 1, 28, 28, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_an_episode_is_split_as_a_loop_splits_it(shots):
    rng = np.random.default_rng(shots)
    for _ in range(50):
        labels = rng.integers(0, 5, rng.integers(1, 20))
        support, queries, classes, row = [], [], [], 0
        for label in np.unique(labels):
            images = np.flatnonzero(labels == label)
            if len(images) <= shots:
                continue
            support.append(images[:shots].tolist())
            queries += [(image, row) for image in images[shots:].tolist()]
            row += 1
        queries.sort()
        found = split_episode(torch.from_numpy(labels), shots)
        assert found.support.tolist() == support
        assert found.queries.tolist() == [image for image, _ in queries]
        classes = [row for _, row in queries]
        assert found.classes.tolist() == classes


@pytest.mark.parametrize("shots", [1, 2])
def test_protonet_is_the_softmax_over_distances_to_means(shots):
    torch.manual_seed(0)
    model, images = create_model("protonet_conv4", width=8), _images()
    model.shots = shots
    value = model.loss(images, {"labels": LABELS})["episode"]
    embedding = copy.deepcopy(model)(images)["embedding"]
    terms = []
    means = {label: embedding[label == LABELS][:shots].mean(0) for label in (9, 4, 6)}
    for label in (9, 4, 6):
        for query in embedding[label == LABELS][shots:]:
            distances = {other: ((query - mean) ** 2).sum() for other, mean in means.items()}
            terms.append(distances[label] + torch.logsumexp(-torch.stack(list(distances.values())), 0))
    torch.testing.assert_close(value, torch.stack(terms).mean())


@pytest.mark.parametrize("shots", [1, 2])
def test_matching_network_adds_the_attention_of_a_class(shots):
    torch.manual_seed(0)
    model, images = create_model("matching_conv4", width=8, scale=3.0), _images()
    model.shots = shots
    value = model.loss(images, {"labels": LABELS})["episode"]
    embedding = copy.deepcopy(model)(images)["embedding"]
    examples = [(label, row) for label in (9, 4, 6) for row in embedding[label == LABELS][:shots]]
    terms = []
    for label in (9, 4, 6):
        for query in embedding[label == LABELS][shots:]:
            similar = [(3 * F.cosine_similarity(query, row, dim=0)).exp() for _, row in examples]
            own = [one for one, (other, _) in zip(similar, examples, strict=True) if other == label]
            terms.append(-(sum(own) / sum(similar)).log())
    torch.testing.assert_close(value, torch.stack(terms).mean())


@pytest.mark.parametrize("first_order", [False, True])
def test_mamls_gradient_is_that_of_two_steps_written_out(first_order):
    """By finite differences of a plain inner loop for the second order, by the gradient at theta' for the first."""
    torch.manual_seed(0)
    model = create_model("maml_conv4", ways=3, width=3, inner_lr=0.1).double()
    model.first_order, images = first_order, _images().double()
    episode = split_episode(LABELS, 1)
    support, queries = images[episode.support.flatten()], images[episode.queries]

    def classify(weights, batch):
        x = batch
        for block in range(4):
            prefix = f"encoder.{block}"
            x = F.conv2d(x, weights[f"{prefix}.0.weight"], weights[f"{prefix}.0.bias"], padding=1)
            mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
            scale, shift = (weights[f"{prefix}.1.{name}"].view(1, -1, 1, 1) for name in ("weight", "bias"))
            x = F.max_pool2d(F.relu((x - mean) / (variance + 1e-5).sqrt() * scale + shift), 2)
        return F.linear(x.flatten(1), weights["classifier.weight"], weights["classifier.bias"])

    def adapted(weights):
        loss = F.cross_entropy(classify(weights, support), torch.arange(3))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        return {key: value - 0.1 * one for (key, value), one in zip(weights.items(), gradients, strict=True)}

    def outer(weights):
        return F.cross_entropy(classify(adapted(weights), queries), episode.classes)

    start = {key: value.detach().clone().requires_grad_() for key, value in model.learner.named_parameters()}
    value = model.loss(images, {"labels": LABELS})["episode"]
    torch.testing.assert_close(value, outer(start))
    value.backward()
    parameters = dict(model.learner.named_parameters())
    if first_order:
        moved = {key: one.detach().requires_grad_() for key, one in adapted(start).items()}
        loss = F.cross_entropy(classify(moved, queries), episode.classes)
        for key, one in zip(moved, torch.autograd.grad(loss, list(moved.values())), strict=True):
            torch.testing.assert_close(parameters[key].grad, one, msg=key)
        return
    for key, index in (("encoder.0.0.weight", (0, 0, 1, 1)), ("encoder.3.1.weight", (1,)), ("classifier.bias", (2,))):
        shifted = []
        for step in (1e-5, -1e-5):
            weights = {name: one.detach().clone() for name, one in start.items()}
            weights[key][index] += step
            shifted.append(outer({name: one.requires_grad_() for name, one in weights.items()}))
        expected = (shifted[0] - shifted[1]) / 2e-5
        torch.testing.assert_close(parameters[key].grad[index], expected.detach(), rtol=1e-4, atol=1e-7)


def test_maml_adapts_in_evaluation_without_changing_itself():
    torch.manual_seed(0)
    model = create_model("maml_conv4", ways=3, width=8).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    episode = split_episode(LABELS, 1)
    with torch.no_grad():
        scores = model.episode_logits(_images(), episode)
    assert scores.shape == (9, 3)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    with pytest.raises(ConfigError, match="3 classes, and the network was built for 2"):
        create_model("maml_conv4", ways=2).loss(_images(), {"labels": LABELS})


@pytest.mark.parametrize("name", ["protonet_conv4", "matching_conv4", "maml_conv4"])
def test_a_batch_without_queries_costs_nothing(name):
    model = create_model(name, width=4)
    (value,) = model.loss(_images()[:3], {"labels": torch.tensor([0, 1, 2])}).values()
    value.backward()
    assert value == 0
    assert all(parameter.grad is not None for parameter in model.parameters())
