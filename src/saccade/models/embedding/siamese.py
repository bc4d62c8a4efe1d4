"""Siamese networks: two images through one network, and the distance of what comes out.

Papers: Raia Hadsell, Sumit Chopra, Yann LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006
(the loss with a margin); Gregory Koch, Richard Zemel, Ruslan Salakhutdinov, "Siamese Neural Networks for One-shot Image
Recognition", ICML deep learning workshop 2015 (Omniglot). First: Bromley, Guyon, LeCun et al., NIPS 1993 (signatures).

Whether two images show the same class is learnt from pairs. Both go through one network with one set of weights, so
that the distance is symmetric and classes never seen can be compared. ``siamese`` pulls vectors of a class together and
pushes others a margin apart; Koch's network weighs the differences of its 4,096 features and says by a sigmoid how
probable it is that the two are the same.

    siamese(backbone)                             siamese_koch, on 1 x 105 x 105 (figure 4)
    last feature map, mean, linear: D             conv 10x10   64 x 96 x 96, pool  64 x 48 x 48
    L = D^2 / 2 or max(0, m - D)^2 / 2            conv 7x7    128 x 42 x 42, pool 128 x 21 x 21
                                                  conv 4x4    128 x 18 x 18, pool 128 x  9 x  9
                                                  conv 4x4    256 x  6 x  6, fc 4096, sigmoid: h
                                                  p = sigmoid(sum of alpha_j |h1_j - h2_j|)

Differences from the paper: Koch's rates and momenta a layer are left to the recipe; the pairs' affine distortions are
those of the library. The weights alpha may be negative, so that Koch's distance is no norm: predictions carry the
weights (``l1_weights``) beside the vector.

Published weights: none.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.losses.contrastive import contrastive_loss
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.embedding.base import BackboneEncoder, EmbeddingNetwork
from saccade.models.embedding.protonet import encoder_parts
from saccade.models.registry import register_model
from saccade.structures.batch import pad_targets
from saccade.structures.input_spec import InputSpec

__all__ = ["KochNetwork", "Siamese", "siamese", "siamese_koch"]

CONTRASTIVE = "Hadsell et al., CVPR 2006"
KOCH = "Koch et al., ICML workshop 2015"


def _pairs(vectors: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """First and second of each pair (images 2i and 2i + 1), and whether their classes are equal; a last one is left."""
    labels = pad_targets(targets)["labels"]
    whole = len(vectors) // 2 * 2
    return vectors[:whole:2], vectors[1:whole:2], labels[:whole:2] == labels[1:whole:2]


class Siamese(EmbeddingNetwork):
    """Siamese network over any classifier, trained by contrastive loss.

    Args:
        backbone: Builder name of a classifier with feature maps.
        dimensions: Numbers of the embedding.
        margin: Distance beyond which images of different classes are left alone.

    Example:
        >>> model = Siamese("mobilenet_v3_small", dimensions=16)
        >>> model(torch.zeros(2, 3, 64, 64))["embedding"].shape
        torch.Size([2, 16])
    """

    def __init__(self, backbone: str = "resnet18", dimensions: int = 64, margin: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.margin = BackboneEncoder(backbone, dimensions), margin
        self.feature_channels, self.feature_strides = self.encoder.feature_channels, self.encoder.feature_strides
        self.input_spec = self.encoder.input_spec
        self.stage_names, self.head_names = encoder_parts(self.encoder)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.encoder.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``embedding`` (B, D)."""
        return {"embedding": self.encoder(images)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``contrastive`` of the pairs of a batch, images 2i and 2i + 1; 0 where there is none."""
        embedding = self(images)["embedding"].float()
        first, second, same = _pairs(embedding, targets)
        if not len(first):
            return {"contrastive": embedding.sum() * 0}
        return {"contrastive": contrastive_loss(first, second, same, self.margin)}


class KochNetwork(EmbeddingNetwork):
    """Koch's Siamese network for Omniglot.

    Args:
        fc_channels: Features that are compared, h.
        width: Channels of the first convolution; the others have 2, 2 and 4 times as many.

    Example:
        >>> model = KochNetwork(fc_channels=32, width=4)
        >>> decoded = model.predict(torch.zeros(2, 1, 105, 105))
        >>> decoded["embedding"].shape, decoded["l1_weights"].shape
        (torch.Size([2, 32]), torch.Size([2, 32]))
    """

    decoded_keys = ("embedding", "l1_weights")
    stage_names = ("conv1", "conv2", "conv3", "conv4", "fc")
    head_names = ("similarity",)
    feature_strides = (2, 4, 8)

    def __init__(self, fc_channels: int = 4096, width: int = 64) -> None:
        super().__init__()
        widths = (width, 2 * width, 2 * width, 4 * width)
        self.conv1 = nn.Conv2d(1, widths[0], 10)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 7)
        self.conv3 = nn.Conv2d(widths[1], widths[2], 4)
        self.conv4 = nn.Conv2d(widths[2], widths[3], 4)
        self.fc = nn.Linear(widths[3] * 36, fc_channels)
        self.similarity = nn.Linear(fc_channels, 1)
        self.feature_channels = widths[:3]
        self.input_spec = InputSpec(size=(105, 105), channels=1, mean=(255.0,), std=(255.0,), fixed=True)
        self._initialise()

    def _initialise(self) -> None:
        """Initialise as in section 3.2: N(0, 0.01) convolutions, N(0, 0.2) layers behind, biases N(0.5, 0.01).

        A deviation of 0.2 over 9,216 inputs saturates every sigmoid at the start; it is 0.01 there too, and the weights
        of the similarity keep 0.2.
        """
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.fc):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.normal_(layer.bias, 0.5, 0.01)
        nn.init.normal_(self.similarity.weight, std=0.2)
        nn.init.normal_(self.similarity.bias, 0.5, 0.01)

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the first three convolutions behind their pooling."""
        maps = []
        for convolution in (self.conv1, self.conv2, self.conv3):
            images = F.max_pool2d(F.relu(convolution(images)), 2)
            maps.append(images)
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``embedding`` (B, fc_channels), 0..1, of images (B, 1, 105, 105)."""
        x = F.relu(self.conv4(self.features(images)[-1]))
        return {"embedding": self.fc(x.flatten(1)).sigmoid()}

    def decode(self, outputs: Outputs) -> Decoded:
        """``embedding`` (B, D), and ``l1_weights`` (B, D): minus alpha, so that a small distance is a likely pair."""
        embedding = outputs["embedding"].float()
        return {"embedding": embedding, "l1_weights": -self.similarity.weight.float().expand_as(embedding)}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``pair``: binary cross entropy of images 2i and 2i + 1 being of one class; 0 where there is no pair."""
        embedding = self(images)["embedding"]
        first, second, same = _pairs(embedding, targets)
        logits = self.similarity((first - second).abs())[:, 0].float()
        if not len(logits):
            return {"pair": logits.sum()}
        return {"pair": F.binary_cross_entropy_with_logits(logits, same.float())}


@register_model("embedding", CONTRASTIVE)
def siamese(
    backbone: str = "resnet18", dimensions: int = 64, margin: float = 1.0, weights: str | None = None
) -> Siamese:
    """Siamese network over any registered classifier that has feature maps, trained by contrastive loss.

    Args:
        backbone: Builder name of the classifier.
        dimensions: Numbers of the embedding.
        margin: Distance beyond which images of different classes are left alone.
        weights: Name or path of weights to load, if any.

    Example:
        >>> siamese("mobilenet_v3_small", dimensions=16).margin
        1.0
    """
    return Siamese(backbone, dimensions, margin)


@register_model("embedding", KOCH)
def siamese_koch(fc_channels: int = 4096, width: int = 64, weights: str | None = None) -> KochNetwork:
    """Koch's network for one-shot recognition of Omniglot; 39.0 M parameters.

    Args:
        fc_channels: Features that are compared.
        width: Channels of the first convolution.
        weights: Name or path of weights to load, if any.

    Example:
        >>> with torch.device("meta"):
        ...     sum(parameter.numel() for parameter in siamese_koch().parameters())
        38951745
    """
    return KochNetwork(fc_channels, width)
