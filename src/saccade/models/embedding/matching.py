"""Matching networks: a query takes the classes of the examples that it resembles.

Paper: Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu, Daan Wierstra, "Matching Networks for One
Shot Learning", NeurIPS 2016, arXiv 1606.04080.

A nearest-neighbour rule that is differentiable from end to end: the class of a query is the average of the examples'
classes, weighted by attention, a softmax over cosine similarities (equation 1 and section 2.1.1). Training asks
exactly what testing will ask: few examples of classes that are new in each episode (section 2.2).

    images 1 x 28 x 28 -> four convolutions with pooling (as in ``protonet_conv4``) -> embedding 64, length 1
    a(x, x_i) = softmax over i of cos(f(x), g(x_i))
    p(y = k | x) = sum of a(x, x_i) over the examples x_i of class k

Differences from the paper: f and g are one encoder without full context embeddings (the two LSTMs of section 2.1.2),
the row "Matching Nets, no FCE" of the paper's tables. The embedding has length 1, so that squared Euclidean
distances, by which the task compares, order images as cosines do. Cosines are multiplied by ``scale``: 1 is the
paper's; with values of -1 to 1 under the softmax a certain answer is out of reach, and learning is slow.

Published weights: none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.models.base import Outputs
from saccade.models.embedding.base import BackboneEncoder, Conv4, Episode, EpisodeNetwork
from saccade.models.embedding.protonet import encoder_parts
from saccade.models.registry import register_model

__all__ = ["MatchingNetwork", "matching", "matching_conv4"]

PAPER = "Vinyals et al., NeurIPS 2016, arXiv 1606.04080"


class MatchingNetwork(EpisodeNetwork):
    """Matching network over an encoder, without full context embeddings.

    Args:
        encoder: Gives (B, D) or (B, D, h, w), which is flattened.
        scale: Factor on the cosines under the softmax.

    Example:
        >>> model = MatchingNetwork(Conv4(width=8)).eval()
        >>> model(torch.rand(2, 1, 28, 28))["embedding"].norm(dim=1).detach()
        tensor([1.0000, 1.0000])
    """

    def __init__(self, encoder: Conv4 | BackboneEncoder, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.scale = encoder, scale
        self.feature_channels, self.feature_strides = encoder.feature_channels, encoder.feature_strides
        self.input_spec = encoder.input_spec
        self.stage_names, self.head_names = encoder_parts(encoder)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the encoder."""
        return self.encoder.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``embedding`` (B, D), of length 1."""
        return {"embedding": F.normalize(self.encoder(images).flatten(1).float(), dim=1)}

    def episode_logits(self, images: Tensor, episode: Episode) -> Tensor:
        """Log-probability of each class for each query: attention over all examples, summed by class."""
        embedding = self(images)["embedding"]
        ways, shots = episode.support.shape
        cosines = embedding[episode.queries] @ embedding[episode.support.flatten()].T  # (Q, N K)
        attention = (self.scale * cosines).log_softmax(1)
        return torch.logsumexp(attention.view(-1, ways, shots), dim=2)


@register_model("embedding", PAPER)
def matching_conv4(
    in_channels: int = 1, width: int = 64, scale: float = 1.0, weights: str | None = None
) -> MatchingNetwork:
    """Matching network of the paper without full context embeddings; 0.11 M parameters.

    Args:
        in_channels: 1 for grey, 3 for colour.
        width: Channels of every block.
        scale: Factor on the cosines under the softmax; 1 is the paper's.
        weights: Name or path of weights to load, if any.

    Example:
        >>> matching_conv4()(torch.rand(1, 1, 28, 28))["embedding"].shape
        torch.Size([1, 64])
    """
    return MatchingNetwork(Conv4(in_channels, width), scale)


@register_model("embedding", PAPER)
def matching(
    backbone: str = "resnet18", dimensions: int = 64, scale: float = 1.0, weights: str | None = None
) -> MatchingNetwork:
    """Matching network over any registered classifier that has feature maps.

    Args:
        backbone: Builder name of the classifier.
        dimensions: Numbers of the embedding.
        scale: Factor on the cosines under the softmax; 1 is the paper's.
        weights: Name or path of weights to load, if any.

    Example:
        >>> matching("mobilenet_v3_small").input_spec.channels
        3
    """
    return MatchingNetwork(BackboneEncoder(backbone, dimensions), scale)
