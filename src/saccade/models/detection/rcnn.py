r"""R-CNN: regions with features of a convolutional network, the detector that ended the age of hand-made features.

Paper: Ross Girshick, Jeff Donahue, Trevor Darrell, Jitendra Malik, "Rich Feature Hierarchies for Accurate Object
Detection and Semantic Segmentation", CVPR 2014, arXiv 1311.2524.

Selective search proposes some 2,000 boxes an image. Each is warped to the input of a network that was trained to
classify whole images, and the features under its last layer are classified by a linear support vector machine for each
class. Fine-tuning on warped proposals brings most of the gain. What it costs is a pass of the whole network for each
proposal: SPP-Net (:mod:`spp_net <saccade.models.detection.spp_net>`) and Fast R-CNN share one pass among them all.

    images (B, 3, H, W), proposals (B, P, 4)
      |  warp: each proposal to S x S pixels, whatever its shape,
      |        with 16 pixels of its surroundings on each side       (B P, 3, S, S)      S = 227, or 224
      |  backbone without its last layer                             (B, P, D)           D = 4096: fc7
      |  softmax, support vector machines, box regressors            (B, P, 1 + C), (B, P, C), (B, P, 4 C)

Training has three steps (section 2.3, appendices B and C), one run:

1. *finetune*: a softmax of 1 + C classes replaces the thousand of ImageNet; a proposal that overlaps an object by 0.5
   or more is positive for it, all others are background; batches of 32 positives and 96 negatives.
2. *svm*: features of all regions are computed once and cached on disk. Positives are the objects themselves, negatives
   overlap every object of the class by less than 0.3, and the hard ones among them are mined.
3. *boxes*: ridge regression (lambda = 1000) moves a proposal that overlaps an object by more than 0.6 onto it.

Differences from the paper: a batch has regions of few images, ``128 / B`` of each, where the paper draws them from all
images at random. Support vector machines and box regressors use the same features (fc7), where the paper regresses
from pool5. Scores are sigmoid(2 m) of the margins m, which keeps their order. ``rcnn`` takes any classifier; S is 112
there, and the context in proportion 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.classification.base import Classifier
from saccade.models.detection.region_svm import RegionDetector
from saccade.models.registry import create_model, get_builder, list_models, register_model
from saccade.ops.warp_regions import warp_regions

__all__ = ["RCNN", "feature_extractor", "rcnn", "rcnn_alexnet", "rcnn_vgg16"]

_PAPER = "Girshick et al., CVPR 2014, arXiv 1311.2524"
_CHUNK = 128  # regions of an image that go through the network at once, so that memory does not grow with all


class RCNN(RegionDetector):
    """R-CNN over any classifier.

    Args:
        backbone: Classifier whose last layer is replaced; see :func:`feature_extractor`.
        channels: D, inputs of that layer.
        num_classes: C, without background.
        region_size: S, side of a warped proposal, pixels.
        context: Pixels of it on each side that show the surroundings.

    Example:
        >>> model = rcnn(num_classes=2, backbone="mobilenet_v3_small", region_size=32, context=2).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64), proposals=torch.tensor([[[8.0, 8, 40, 48]]]))
        >>> decoded["boxes"].shape, decoded["labels"].shape
        (torch.Size([1, 100, 4]), torch.Size([1, 100]))
    """

    def __init__(
        self, backbone: Classifier, channels: int, num_classes: int, region_size: int = 227, context: int = 16
    ) -> None:
        super().__init__(num_classes, channels)
        if not 0 <= 2 * context < region_size:
            raise ConfigError(
                f"context is {context} pixels on each side of a region of {region_size}, which leaves nothing for the "
                "proposal. Choose a smaller context or a larger region_size."
            )
        self.backbone = backbone
        self.region_size, self.context = region_size, context
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.input_spec = replace(
            backbone.input_spec, size=(512, 512), resize="letterbox", align="top_left", pad_multiple=32, fixed=False
        )

    @property
    def feature_settings(self) -> Mapping[str, Any]:
        """Size and context of the warped regions."""
        return {"region_size": self.region_size, "context": self.context}

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone for whole images."""
        return list(self.backbone.features(images))

    def region_features(self, images: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Features (B, R, D) of boxes (B, R, 4): each is warped, and goes through the backbone by itself."""
        if torch.compiler.is_compiling():  # one graph for any number of regions
            return self._features_of(images, boxes_xyxy)
        return torch.cat([self._features_of(images, part) for part in boxes_xyxy.split(_CHUNK, dim=1)], dim=1)

    def _features_of(self, images: Tensor, boxes_xyxy: Tensor) -> Tensor:
        regions = warp_regions(images, boxes_xyxy, self.region_size, self.context)  # (B, R, 3, S, S)
        features = self.backbone(regions.flatten(0, 1))["logits"]  # its last layer is gone
        return features.unflatten(0, (boxes_xyxy.shape[0], boxes_xyxy.shape[1]))


def feature_extractor(name: str, **options: Any) -> tuple[Classifier, int]:
    """A registered classifier whose last layer is replaced by nothing, and the length of what it then gives.

    Args:
        name: Builder name of a classifier.
        options: Of its builder.

    Raises:
        ConfigError: If there is no such classifier, or its last layer is not a linear one that it has alone.

    Example:
        >>> extractor, channels = feature_extractor("resnet18")
        >>> extractor(torch.zeros(2, 3, 64, 64))["logits"].shape, channels
        (torch.Size([2, 512]), 512)
    """
    entry = get_builder(name)
    if entry.task != "classification":
        hint = did_you_mean(name, list_models("classification"))
        raise ConfigError(f"backbone '{name}' is a {entry.task} model; R-CNN warps regions for a classifier.{hint}")
    model = create_model(name, **options)
    last = model.get_submodule(model.head_names[0]) if len(model.head_names) == 1 else None
    channels = None
    if isinstance(last, nn.Linear):
        channels = last.in_features
    elif isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1):
        channels = last.in_channels
    if not isinstance(model, Classifier) or model.auxiliary_heads or channels is None:
        raise ConfigError(
            f"backbone '{name}' does not end in one linear layer whose inputs are features (it has auxiliary "
            "classifiers, or another kind of head). Choose another, such as 'resnet18'."
        )
    parent, _, child = model.head_names[0].rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    model.head_names, model.class_rows = (), {}
    return model, channels


@register_model("detection", _PAPER)
def rcnn_alexnet(num_classes: int = 20, weights: str | None = None) -> RCNN:
    """R-CNN as in the paper, over the AlexNet of 2012 ("T-Net"): regions of 227 pixels, 16 of them context."""
    backbone, channels = feature_extractor("alexnet_2012")
    return RCNN(backbone, channels, num_classes)


@register_model("detection", _PAPER)
def rcnn_vgg16(num_classes: int = 20, weights: str | None = None) -> RCNN:
    """R-CNN over VGG-16 ("O-Net", section 3.3): regions of 224 pixels, 16 of them context."""
    backbone, channels = feature_extractor("vgg16")
    return RCNN(backbone, channels, num_classes, region_size=224)


@register_model("detection", _PAPER)
def rcnn(
    num_classes: int = 20,
    backbone: str = "resnet18",
    region_size: int = 112,
    context: int = 8,
    weights: str | None = None,
) -> RCNN:
    """R-CNN over any classifier that ends in one linear layer.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        region_size: Side of a warped proposal, pixels.
        context: Pixels of it on each side that show the surroundings.
        weights: Checkpoint to start from.

    Example:
        >>> model = rcnn(num_classes=3, region_size=32, context=2)
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        >>> list(model.loss(torch.zeros(1, 3, 64, 64), targets, proposals=torch.tensor([[[0.0, 0, 30, 40]]])))
        ['classification']
    """
    body, channels = feature_extractor(backbone)
    return RCNN(body, channels, num_classes, region_size, context)
