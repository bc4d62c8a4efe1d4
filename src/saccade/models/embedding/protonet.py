"""Prototypical networks: a class is the mean of its examples.

Paper: Jake Snell, Kevin Swersky, Richard Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, arXiv
1703.05175.

To tell classes apart of which there are a few examples only, learn a space in which the mean of a class's examples
stands for it: a query belongs to the class of the nearest prototype. With squared Euclidean distances that is a linear
classifier over the embedding (section 2.4), made anew for every episode without a single step of optimisation.

    images 1 x 28 x 28
    4 times (3x3 convolution, BN, ReLU, 2x2 pool)   64 x 14 x 14, 64 x 7 x 7, 64 x 3 x 3, 64 x 1 x 1
    embedding 64
    prototype c_k = mean of the support of class k               (equation 1)
    p(y = k | x) = softmax over k of -|| f(x) - c_k ||^2          (equation 2)

Differences from the paper: none in the network. Drawings come as ink -1 on paper 0 rather than ink 1; the canvas is
made from the 105 x 105 original by averaging. In evaluation BN uses its running statistics, so that a vector does not
depend on the images beside it.

Published weights: files of the layout ``encoder.N.M.*`` (the authors' and its descendants) load; none is at a stable
address.
"""

from __future__ import annotations

from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.embedding.base import BackboneEncoder, Conv4, Episode, EpisodeNetwork
from saccade.models.registry import register_model

__all__ = ["ProtoNet", "protonet", "protonet_conv4"]

PAPER = "Snell et al., NeurIPS 2017, arXiv 1703.05175"


class ProtoNet(EpisodeNetwork):
    """Prototypical network over an encoder.

    Args:
        encoder: Gives (B, D) or (B, D, h, w), which is flattened.

    Example:
        >>> model = ProtoNet(Conv4(width=8)).eval()
        >>> model(torch.zeros(2, 1, 28, 28))["embedding"].shape
        torch.Size([2, 8])
    """

    def __init__(self, encoder: Conv4 | BackboneEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature_channels, self.feature_strides = encoder.feature_channels, encoder.feature_strides
        self.input_spec = encoder.input_spec
        self.stage_names, self.head_names = encoder_parts(encoder)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the encoder."""
        return self.encoder.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``embedding`` (B, D)."""
        return {"embedding": self.encoder(images).flatten(1)}

    def episode_logits(self, images: Tensor, episode: Episode) -> Tensor:
        """Minus the squared distance of each query to each prototype (equations 1 and 2)."""
        embedding = self(images)["embedding"].float()
        prototypes = embedding[episode.support].mean(1)
        return -(embedding[episode.queries][:, None] - prototypes).square().sum(-1)


def encoder_parts(encoder: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Stages and heads of a network that is an encoder under the name ``encoder``.

    Args:
        encoder: ``Conv4``, whose last block gives the embedding, or a backbone with a linear layer.

    Example:
        >>> encoder_parts(Conv4())
        (('encoder.0', 'encoder.1', 'encoder.2'), ('encoder.3',))
    """
    if isinstance(encoder, BackboneEncoder):
        return tuple(f"encoder.backbone.{name}" for name in encoder.backbone.stage_names), ("encoder.project",)
    return tuple(f"encoder.{number}" for number in range(3)), ("encoder.3",)


@register_model("embedding", PAPER)
def protonet_conv4(in_channels: int = 1, width: int = 64, weights: str | None = None) -> ProtoNet:
    """Prototypical network of the paper; 0.11 M parameters, 9.8 M multiply-adds at 28 x 28.

    Args:
        in_channels: 1 for grey, 3 for colour.
        width: Channels of every block.
        weights: Name or path of weights to load, if any.

    Example:
        >>> protonet_conv4()(torch.zeros(1, 1, 28, 28))["embedding"].shape
        torch.Size([1, 64])
    """
    return ProtoNet(Conv4(in_channels, width))


@register_model("embedding", PAPER)
def protonet(backbone: str = "resnet18", dimensions: int = 64, weights: str | None = None) -> ProtoNet:
    """Prototypical network over any registered classifier that has feature maps.

    Args:
        backbone: Builder name of the classifier.
        dimensions: Numbers of the embedding.
        weights: Name or path of weights to load, if any.

    Example:
        >>> protonet("mobilenet_v3_small").input_spec.channels
        3
    """
    return ProtoNet(BackboneEncoder(backbone, dimensions))
