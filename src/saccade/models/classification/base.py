"""Base of all classifiers: cross entropy, softmax, and how a classifier becomes the backbone of a dense model."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.registry import create_model, get_builder, list_models
from saccade.structures.batch import pad_targets
from saccade.structures.input_spec import InputSpec

__all__ = ["IMAGENET_SPEC", "Classifier", "build_backbone"]

# Input of most networks after 2015 on ImageNet: the middle of an image whose shorter side is 256.
IMAGENET_SPEC = InputSpec(
    size=(224, 224),
    resize="center_crop",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    crop_fraction=0.875,
)


class Classifier(Model):
    """Base of every classifier: a subclass writes ``forward`` (``{"logits": (B, C)}``) and ``features``.

    It states its parts (``stage_names``, ``head_names``) and ``class_rows``, documented on
    :class:`saccade.models.base.Model`; what ``features`` does not run besides the head stands in
    ``unused_by_features``.

    Attributes:
        label_smoothing: Share of the target's mass spread evenly over all classes (Szegedy et al. 2016, section 7),
            0..1.
        cam_layer: Submodule whose feature map explains a class best (``saccade.analysis.cam``); empty: the last stage
            that gives a feature map.
        unused_by_features: Submodules that ``features`` never runs; empty: the heads.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=3).eval()
        >>> model.predict(torch.zeros(2, 3, 64, 64))["probabilities"].shape
        torch.Size([2, 3])
    """

    task = "classification"
    target_names = ("labels",)
    decoded_keys = ("probabilities",)
    label_smoothing: float = 0.0
    cam_layer: str = ""
    unused_by_features: tuple[str, ...] = ()

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Classification loss of normalised ``images`` (B, C, H, W).

        Args:
            images: As ``forward`` takes them.
            targets: ``labels``: (B,) int64, or (B, C) float32 rows that sum to one once labels are mixed.
        """
        logits = self(images)["logits"].float()
        return {"classification": self.criterion(logits, pad_targets(targets)["labels"])}

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of ``logits`` (B, C) for ``labels`` (B,) int64 or (B, C) float."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def decode(self, outputs: Outputs) -> Decoded:
        """``probabilities`` (B, C), rows sum to one."""
        return {"probabilities": outputs["logits"].float().softmax(dim=-1)}

    @property
    def dropout_rate(self) -> float:
        """Probability of all its dropout layers (0 if it has none); setting it sets them all."""
        return max((module.p for module in self.modules() if isinstance(module, nn.Dropout)), default=0.0)

    @dropout_rate.setter
    def dropout_rate(self, rate: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

    def to_map(self, activation: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Output of a stage as a feature map (B, C, H, W); networks whose stages give tokens arrange them.

        Args:
            activation: Output of one of ``stage_names``.
            image_size: (height, width) of the images that led to it.
        """
        return activation

    def remove_head(self) -> None:
        """Turn what ``features`` never runs into ``nn.Identity``: a dense model has no parameter that cannot learn."""
        unused = self.unused_by_features or self.head_names
        for name in unused:
            parent, _, child = name.rpartition(".")
            setattr(self.get_submodule(parent), child, nn.Identity())
        gone = tuple(f"{name}." for name in unused)
        self.stage_names = tuple(stage for stage in self.stage_names if not f"{stage}.".startswith(gone))
        self.head_names, self.auxiliary_heads, self.class_rows = (), (), {}


def build_backbone(name: str, **options: Any) -> Classifier:
    """A registered classifier without its head: the backbone of a dense model, which calls its ``features``.

    Args:
        name: Builder name of a classifier.
        options: Passed to the builder where it knows them, left out where it does not (``output_stride`` of networks
            without dilation).

    Raises:
        ConfigError: If there is no such classifier, or it has no feature maps.

    Example:
        >>> build_backbone("resnet18").feature_strides
        (2, 4, 8, 16, 32)
    """
    entry = get_builder(name)
    if entry.task != "classification":
        hint = did_you_mean(name, list_models("classification"))
        raise ConfigError(f"backbone '{name}' is a {entry.task} model; a backbone is a classifier.{hint}")
    model = create_model(name, **{key: value for key, value in options.items() if key in entry.parameters})
    if not isinstance(model, Classifier) or not model.feature_channels:
        raise ConfigError(f"model '{name}' has no feature maps and cannot be a backbone.")
    model.remove_head()
    return model
