"""Base of networks for embeddings, and of those that learn from episodes; the backbone under both."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.classification.base import build_backbone
from saccade.structures.batch import pad_targets
from saccade.structures.input_spec import InputSpec

__all__ = ["BackboneEncoder", "Conv4", "EmbeddingNetwork", "Episode", "EpisodeNetwork", "split_episode"]


class EmbeddingNetwork(Model):
    """Base of networks whose ``forward`` gives ``{"embedding": (B, D)}``: near for images of one class.

    They have no classes of their own, so ``num_classes`` is 0 and builders take none.
    """

    task = "embedding"
    target_names = ("labels",)
    decoded_keys: tuple[str, ...] = ("embedding",)
    num_classes = 0

    def decode(self, outputs: Outputs) -> Decoded:
        """``embedding`` (B, D) float32."""
        return {"embedding": outputs["embedding"].float()}


class Episode(NamedTuple):
    """Which images of a batch are examples and which are asked about.

    Attributes:
        support: Indices of the examples, (N, K) int64, a row a class.
        queries: Indices of the other images of these classes, (Q,) int64.
        classes: Row of each query's class, (Q,) int64.
    """

    support: Tensor
    queries: Tensor
    classes: Tensor


def split_episode(labels: Tensor, shots: int) -> Episode:
    """Split a batch into support and queries: the first ``shots`` images of each class, and the rest of them.

    Classes with fewer images take no part.

    Args:
        labels: (B,) int64.
        shots: K.

    Example:
        >>> split_episode(torch.tensor([7, 7, 7, 3, 3, 3, 5]), shots=1)
        Episode(support=tensor([[3],
                [0]]), queries=tensor([1, 2, 4, 5]), classes=tensor([1, 1, 0, 0]))
    """
    _, index = labels.unique(return_inverse=True)
    one_hot = F.one_hot(index)
    rank = (one_hot.cumsum(0) * one_hot).sum(1) - 1  # how many images of its class stand before it
    counts = one_hot.sum(0)
    taken = counts > shots
    row_of = taken.cumsum(0) - 1
    kept = taken[index]
    first = kept & (rank < shots)
    order = (row_of[index] * shots + rank)[first].argsort()
    support = first.nonzero()[:, 0][order].view(-1, shots)
    queries = (kept & (rank >= shots)).nonzero()[:, 0]
    return Episode(support, queries, row_of[index[queries]])


class EpisodeNetwork(EmbeddingNetwork):
    """Base of networks that learn from episodes: some examples a class, and queries that they have to classify."""

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``episode``: cross entropy of the queries, mean; 0 where the batch has none.

        Args:
            images: (B, C, H, W), the examples of a class before its queries.
            targets: ``labels`` (B,).
        """
        episode = split_episode(pad_targets(targets)["labels"], self.shots)
        if not len(episode.queries):
            return {"episode": self.episode_logits(images, self._every_image(images))[..., 0].sum() * 0}
        return {"episode": F.cross_entropy(self.episode_logits(images, episode), episode.classes)}

    def episode_logits(self, images: Tensor, episode: Episode) -> Tensor:
        """Scores of each query for each class of its episode, (Q, N), at least float32.

        Args:
            images: (B, C, H, W).
            episode: Of :func:`split_episode`.
        """
        raise NotImplementedError

    def _every_image(self, images: Tensor) -> Episode:
        """One class of which every image is both example and query: what gives every parameter a gradient of 0."""
        every = torch.arange(len(images), device=images.device)
        return Episode(every[None], every, torch.zeros_like(every))


class Conv4(nn.Sequential):
    """Encoder of few-shot learning: four times 3x3 convolution, BN, ReLU, 2x2 max pooling.

    Vinyals et al. 2016, section 4.1. (B, in_channels, 28, 28) to (B, width, 1, 1).

    Args:
        in_channels: 1 for grey.
        width: Channels of every block.

    Example:
        >>> Conv4()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 64, 1, 1])
    """

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)
                )
                for channels in (in_channels, width, width, width)
            )
        )
        self.feature_channels, self.feature_strides = (width,) * 4, (2, 4, 8, 16)
        # Ink is -1, paper 0: what pads a drawing is paper.
        self.input_spec = InputSpec(
            size=(28, 28), channels=in_channels, mean=(255.0,) * in_channels, std=(255.0,) * in_channels
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the four blocks."""
        maps = []
        for block in self:
            images = block(images)
            maps.append(images)
        return maps


class BackboneEncoder(nn.Module):
    """Encoder over any classifier: the mean of its last feature map, and a linear layer to the embedding.

    Args:
        backbone: Builder name of a classifier with feature maps.
        dimensions: D.

    Example:
        >>> BackboneEncoder("mobilenet_v3_small", 32)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 32])
    """

    def __init__(self, backbone: str, dimensions: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.project = nn.Linear(self.backbone.feature_channels[-1], dimensions)
        self.feature_channels, self.feature_strides = self.backbone.feature_channels, self.backbone.feature_strides
        self.input_spec = replace(self.backbone.input_spec, resize="letterbox")

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D)."""
        return self.project(self.features(images)[-1].mean((2, 3)))
