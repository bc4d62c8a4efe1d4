"""MAML: a start from which a few steps of gradient descent learn a new task.

Paper: Chelsea Finn, Pieter Abbeel, Sergey Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML 2017, arXiv 1703.03400.

Not a rule for new classes is learnt but a start: weights from which one or a few steps on the examples of an episode
give a network that classifies its queries (algorithm 2). The loss of the queries after those steps is minimised with
respect to the weights before them, which takes second derivatives; leaving them out (first order) costs little accuracy
and saves a third of the time (section 5.2).

    images 1 x 28 x 28
    4 times (3x3 convolution, BN, ReLU, 2x2 pool)      64 x 1 x 1
    linear                                             ways
    inner steps:  theta' = theta - alpha grad_theta CE(f_theta(support))          (equation 1)
    outer loss:   CE(f_theta'(queries)), differentiated with respect to theta

BN in episodes, as in the authors' code: always with the statistics of the images at hand, examples and queries apart,
also in testing; nothing of a running mean. Its scale and shift belong to theta and are adapted with the rest.
``forward`` on single images, whose embedding is the 64 numbers before the linear layer, uses running statistics
instead, so that a vector does not depend on the images beside it.

Differences from the paper: its Omniglot network has strided convolutions in place of pooling; this is the form of the
count below, as most later work has it. A meta-batch of 32 tasks is 32 batches an update (``accumulate``).

Published weights: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.embedding.base import Conv4, Episode, EpisodeNetwork
from saccade.models.registry import register_model

__all__ = ["MAML", "maml_conv4"]

PAPER = "Finn et al., ICML 2017, arXiv 1703.03400"


class _Learner(nn.Module):
    """What is adapted: encoder and linear layer."""

    def __init__(self, in_channels: int, width: int, ways: int) -> None:
        super().__init__()
        self.encoder = Conv4(in_channels, width)
        self.classifier = nn.Linear(width, ways)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, 28, 28) to (B, ways)."""
        return self.classifier(self.encoder(images).flatten(1))


class MAML(EpisodeNetwork):
    """MAML over the encoder of four convolutions.

    Args:
        ways: Classes an episode.
        in_channels: 1 for grey, 3 for colour.
        width: Channels of every block.
        inner_lr: alpha, size of a step of adaptation.

    Attributes:
        inner_steps: Steps of adaptation in training; 1 in the paper's Omniglot.
        test_steps: Steps in evaluation; 3 there.
        first_order: Leave the second derivatives out.

    Example:
        >>> MAML(ways=5)(torch.zeros(2, 1, 28, 28))["embedding"].shape
        torch.Size([2, 64])
    """

    stage_names = tuple(f"learner.encoder.{number}" for number in range(4))
    head_names = ("learner.classifier",)

    def __init__(self, ways: int = 5, in_channels: int = 1, width: int = 64, inner_lr: float = 0.4) -> None:
        super().__init__()
        self.learner = _Learner(in_channels, width, ways)
        self.ways, self.inner_lr = ways, inner_lr
        self.inner_steps, self.test_steps, self.first_order = 1, 3, False
        encoder = self.learner.encoder
        self.feature_channels, self.feature_strides = encoder.feature_channels, encoder.feature_strides
        self.input_spec = replace(encoder.input_spec, fixed=True)  # the linear layer sees one location

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the four blocks."""
        return self.learner.encoder.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``embedding`` (B, width): what the linear layer sees, before any adaptation; ``logits`` (B, ways)."""
        embedding = self.learner.encoder(images).flatten(1)
        return {"embedding": embedding, "logits": self.learner.classifier(embedding)}

    def episode_logits(self, images: Tensor, episode: Episode) -> Tensor:
        """Scores of the queries by the network that the examples made of this one, (Q, ways).

        Raises:
            ConfigError: If the episode has more classes than the network has outputs.
        """
        ways, shots = episode.support.shape
        if ways > self.ways:
            raise ConfigError(
                f"an episode has {ways} classes, and the network was built for {self.ways}. Build it with ways={ways} "
                f"(--model-args.ways), or set data.episode.ways to {self.ways}."
            )
        support, queries = images[episode.support.flatten()], images[episode.queries]
        labels = torch.arange(ways, device=images.device).repeat_interleave(shots)
        steps = self.inner_steps if self.training else self.test_steps
        return self._run(self.adapt(support, labels, steps), queries)

    def adapt(self, support: Tensor, labels: Tensor, steps: int) -> dict[str, Tensor]:
        """Weights after ``steps`` steps of gradient descent on the examples (equation 1).

        Args:
            support: (N K, C, H, W).
            labels: (N K,) int64.
            steps: At least 0.

        Returns:
            Parameters of the learner by name, differentiable with respect to its own in training.
        """
        # What is frozen in training is adapted to an episode all the same.
        weights: dict[str, Tensor] = {
            name: value if value.requires_grad else value.detach().requires_grad_()
            for name, value in self.learner.named_parameters()
        }
        with torch.enable_grad():
            for _ in range(steps):
                loss = F.cross_entropy(self._run(weights, support), labels)
                second_order = self.training and not self.first_order
                gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order)
                weights = {
                    name: weight - self.inner_lr * gradient
                    for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
                }
        return weights

    def _run(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """The learner with other weights, BN by the statistics of these images.

        Running statistics, which ``forward`` uses, follow in training only.
        """
        norms = [module for module in self.learner.modules() if isinstance(module, nn.BatchNorm2d)]
        kept = {} if self.training else {name: value.clone() for name, value in self.learner.named_buffers()}
        for norm in norms:
            norm.training = True
        try:
            logits: Tensor = functional_call(self.learner, {**weights, **kept}, (images,))
            return logits.to(torch.promote_types(logits.dtype, torch.float32))
        finally:
            for norm in norms:
                norm.training = self.training


@register_model("embedding", PAPER)
def maml_conv4(
    ways: int = 5, in_channels: int = 1, width: int = 64, inner_lr: float = 0.4, weights: str | None = None
) -> MAML:
    """MAML for Omniglot; 0.11 M parameters with 5 ways.

    Args:
        ways: Classes an episode.
        in_channels: 1 for grey, 3 for colour.
        width: Channels of every block.
        inner_lr: Size of a step of adaptation.
        weights: Name or path of weights to load, if any.

    Example:
        >>> sum(parameter.numel() for parameter in maml_conv4().parameters())
        112261
    """
    return MAML(ways, in_channels, width, inner_lr)
