"""Every network for embeddings learns five characters of Omniglot, four drawings each, in seconds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from saccade.data.open import open_dataset
from saccade.models.embedding.base import EpisodeNetwork, split_episode
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model
from saccade.results.embedding import distances

CHARACTERS, DRAWINGS = 5, 4


def _drawings(spec) -> tuple[torch.Tensor, torch.Tensor]:
    data = open_dataset("omniglot", "train", task="classification")
    rows = [20 * character + drawing for character in range(CHARACTERS) for drawing in range(DRAWINGS)]
    images = [cv2.resize(data.read(row).image, spec.size, interpolation=cv2.INTER_AREA) for row in rows]
    stacked = torch.from_numpy(np.stack([image.reshape(1, *spec.size) for image in images]))
    labels = torch.tensor([int(data.target(row)["labels"]) for row in rows])
    assert labels.unique(return_counts=True)[1].tolist() == [DRAWINGS] * CHARACTERS
    return Normalize(spec)(stacked.expand(-1, spec.channels, -1, -1)), labels


@pytest.mark.data("omniglot")
@pytest.mark.parametrize(
    ("name", "options", "size", "steps", "lr"),
    [
        ("protonet_conv4", {"width": 16}, None, 40, 1e-2),
        ("matching_conv4", {"width": 16, "scale": 10.0}, None, 40, 1e-2),
        ("maml_conv4", {"width": 16}, None, 60, 5e-3),
        ("siamese", {"backbone": "resnet20_cifar", "dimensions": 8}, (32, 32), 40, 1e-3),
        ("siamese_koch", {"width": 4, "fc_channels": 128}, None, 60, 1e-3),
    ],
)
def test_it_learns_five_characters(name, options, size, steps, lr):
    torch.manual_seed(0)
    model = create_model(name, **options)
    spec = model.input_spec if size is None else model.input_spec.with_size(size)
    images, labels = _drawings(spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        drawn = torch.cat([torch.randperm(DRAWINGS) + DRAWINGS * row for row in range(CHARACTERS)])
        if not isinstance(model, EpisodeNetwork):  # as many pairs of one character as of two
            other = torch.randperm(len(drawn))
            drawn = torch.cat([drawn, torch.stack([other, other.roll(1)], 1).flatten()])
        optimizer.zero_grad()
        sum(model.loss(images[drawn], {"labels": labels[drawn]}).values()).backward()
        optimizer.step()

    model.eval()
    if name == "maml_conv4":  # what it learns is how to adapt
        episode = split_episode(labels, 1)
        found = model.episode_logits(images, episode).argmax(1)
        assert (found == episode.classes).float().mean() >= 0.95
        return
    with torch.no_grad():
        decoded = {key: value.numpy() for key, value in model.predict(images).items()}
    weights = decoded["l1_weights"][0] if "l1_weights" in decoded else None
    table = distances(decoded["embedding"], decoded["embedding"], weights)
    np.fill_diagonal(table, np.inf)
    assert (labels[table.argmin(1)] == labels).float().mean() >= 0.95
