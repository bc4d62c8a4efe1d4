r"""Fast R-CNN: one network, one loss, trained end to end from proposals.

Paper: Ross Girshick, "Fast R-CNN", ICCV 2015, arXiv 1504.08083.

R-CNN and SPP-Net train in three steps and keep features on disk; SPP-Net cannot train what lies below its pooling.
Fast R-CNN pools every proposal from one feature map by a single grid (RoIPool), classifies it with a softmax and moves
it with a second layer beside that, and learns both by one loss whose gradient goes through the pooling into the
convolutions. A batch has many regions of two images instead of one each of many, so that they share the convolutions in
training too.

    images (B, 3, H, W)     proposals (B, P, 4)
      |  backbone             |
      |  conv5, stride 16     |
      \------ RoIPool 7 x 7 --/                       (B P, K, 7, 7)
                |  fc6, fc7 with dropout              (B P, 4096)
                |-- cls_score, softmax                (B, P, 1 + C)          background first
                \-- bbox_pred                         (B, P, 4 (1 + C))      codes of each class

    L = -log p_u + [u >= 1] smooth_L1(t^u - v)         equations 1 to 3; a mean over the regions

Training (section 2.3): 64 regions of each of two images; a quarter overlap an object by 0.5 or more, the rest by 0.1 to
0.5, "a heuristic for hard example mining"; codes are divided by their deviations (0.1, 0.1, 0.2, 0.2).

At test nearly half of the time goes into fc6 and fc7. :func:`truncate_svd` makes each of them two thin layers
(section 3.1: ranks 1024 and 256 for VGG-16, 30 % faster for 0.3 points of mAP).

Differences from the paper: boxes are continuous, so that no box is a pixel wider than its corners; codes are
normalised by fixed deviations rather than by those of the data set. An image with too few regions in [0.1, 0.5) has a
smaller batch. ``fast_rcnn`` takes any classifier; one that can trades the stride of its last stage for dilation, so
that the map has stride 16. The paper's third network, VGG_CNN_M_1024 ("M"), is left out.

Published weights: none that we know of in a readable format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from saccade.blocks.low_rank_linear import LowRankLinear, truncate_linear
from saccade.blocks.roi_heads.box import BoxPredictor, TwoLayerHead
from saccade.errors import ConfigError
from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier
from saccade.models.classification.trunks import build_trunk
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.detection.box_branch import SingleBoxBranch
from saccade.models.detection.faster_rcnn import PoolPooling
from saccade.models.detection.region_svm import has_area, refuse_assignment
from saccade.models.detection.roi_branches import BoxBranch, RegionSampling
from saccade.models.registry import create_model, register_model
from saccade.ops.anchors import canvas_size
from saccade.ops.nms import NmsSettings

__all__ = ["FastRCNN", "fast_rcnn", "fast_rcnn_alexnet", "fast_rcnn_vgg16", "truncate_svd"]

_PAPER = "Girshick, ICCV 2015, arXiv 1504.08083"


class FastRCNN(Detector):
    """Fast R-CNN, put together from a backbone and a branch that works on proposals.

    Args:
        backbone: Classifier without its head, whose last feature map is pooled.
        box_branch: Classifies proposals and moves them.
        num_classes: Classes without background.

    Example:
        >>> model = fast_rcnn(num_classes=2, hidden=64).eval()
        >>> decoded = model.predict(torch.zeros(1, 3, 64, 64), proposals=torch.tensor([[[8.0, 8, 40, 48]]]))
        >>> decoded["boxes"].shape, decoded["count"].shape
        (torch.Size([1, 100, 4]), torch.Size([1]))
    """

    input_names = ("proposals",)
    head_names = ("box_branch",)

    def __init__(self, backbone: Classifier, box_branch: BoxBranch, num_classes: int) -> None:
        super().__init__(num_classes, NmsSettings(iou=0.3, score_threshold=0.05, pre_nms=1000, max_detections=100))
        self.backbone = backbone
        self.box_branch = box_branch
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.class_rows = {f"box_branch.{name}": rows for name, rows in box_branch.class_rows.items()}
        self.input_spec = replace(
            backbone.input_spec, size=(512, 512), resize="letterbox", align="top_left", pad_multiple=32
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone; the last one is pooled."""
        return list(self.backbone.features(images))

    def forward(self, images: Tensor, proposals: Tensor) -> Outputs:
        """Raw outputs of all proposals.

        Args:
            images: (B, 3, H, W).
            proposals: (B, P, 4), pixels of the canvas; rows without area are padding.

        Returns:
            The ``proposals``, ``roi_logits`` (B, P, 1 + C), ``roi_codes`` (B, P, 4 (1 + C)), and ``canvas`` (2,) height
            and width.
        """
        return {**self.box_branch(self.features(images)[-1:], proposals), "canvas": canvas_size(images)}

    def loss(self, images: Tensor, targets: Targets, proposals: Tensor) -> dict[str, Tensor]:
        """Terms ``classification`` and ``box`` of sampled regions; the objects themselves are proposals too.

        Args:
            images: (B, 3, H, W).
            targets: Ground truth, padded or not.
            proposals: (B, P, 4), pixels.
        """
        boxes_xyxy, labels = unpack_targets(targets)
        canvas = canvas_size(images)
        labels = labels.masked_fill(~has_area(boxes_xyxy, canvas), -1)
        regions = torch.cat((proposals.to(boxes_xyxy.dtype), boxes_xyxy), dim=1)
        valid = torch.cat((has_area(proposals, canvas), labels >= 0), dim=1)
        terms, _ = self.box_branch.loss(self.features(images)[-1:], regions, valid, boxes_xyxy, labels)
        return terms

    def decode(self, outputs: Outputs) -> Decoded:
        """Boxes in canvas pixels after suppression; a proposal may be of several classes, each with its own box."""
        return self.box_branch.decode(outputs, self.nms)

    def assignable(self, boxes_xyxy: Tensor, size: tuple[int, int]) -> Tensor:
        """Objects (N, 4) that have an area on the canvas, (N,) bool: each is a positive of its own."""
        return has_area(boxes_xyxy, boxes_xyxy.new_tensor(size))

    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        """Not to be asked: it learns from proposals, and has no anchors.

        Raises:
            ConfigError: Always.
        """
        raise refuse_assignment(self)


def truncate_svd(model: FastRCNN, ranks: tuple[int, int]) -> FastRCNN:
    """The same network with fc6 and fc7 as two thin layers each, by truncated singular value decomposition.

    Args:
        model: Of one of the builders of this file, trained and not truncated yet.
        ranks: Of fc6 and fc7; (1024, 256) in the paper, for VGG-16 (section 3.1).

    Returns:
        A new network, in eval mode on the device of ``model``; its checkpoint builds the thin layers again.

    Raises:
        ConfigError: If it is truncated already, or a rank is larger than its layer.

    Example:
        >>> model = fast_rcnn(num_classes=2, hidden=64)
        >>> thin = truncate_svd(model, (32, 16))
        >>> thin.builder_args["svd"], tuple(thin.box_branch.head.fc7[0].weight.shape)
        ((32, 16), (16, 64))
    """
    if model.builder_args.get("svd"):
        raise ConfigError(
            f"fc6 and fc7 have the ranks {tuple(model.builder_args['svd'])} already. Truncate the network from before."
        )
    thin = create_model(model.builder_name, **{**model.builder_args, "svd": tuple(ranks)})
    assert isinstance(thin, FastRCNN)
    thin.to(next(model.parameters()).device)
    state = model.state_dict()
    for name, rank in zip(("fc6", "fc7"), ranks, strict=True):
        path = f"box_branch.head.{name}"
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        del state[f"{path}.weight"], state[f"{path}.bias"]
        state.update({f"{path}.{key}": value for key, value in truncate_linear(layer, rank).state_dict().items()})
    thin.load_state_dict(state)
    thin.class_names, thin.input_spec, thin.nms = model.class_names, model.input_spec, model.nms
    return thin.eval()


def _build(
    trunk: Classifier, num_classes: int, size: int, hidden: int, dropout: float, svd: Sequence[int] | None
) -> FastRCNN:
    head = TwoLayerHead(trunk.feature_channels[-1], size, hidden, dropout)
    if svd:
        if len(svd) != 2:
            raise ConfigError(f"svd has a rank for fc6 and one for fc7, such as (1024, 256); got {tuple(svd)}.")
        for name, rank in zip(("fc6", "fc7"), svd, strict=True):
            layer = getattr(head, name)
            setattr(head, name, LowRankLinear(layer.in_features, layer.out_features, rank))
    branch = SingleBoxBranch(
        PoolPooling(trunk.feature_strides[-1], size),
        head,
        BoxPredictor(hidden, num_classes),
        RegionSampling(count=64, background=0.1),
        smooth_l1_beta=1.0,
    )
    return FastRCNN(trunk, branch, num_classes)


def _of_the_paper(model: FastRCNN) -> FastRCNN:
    """Shorter side of 600 pixels, longer one of at most 1000 (section 4)."""
    model.input_spec = replace(model.input_spec, size=(600, 1000), resize="shorter_side", pad_multiple=16)
    return model


@register_model("detection", _PAPER)
def fast_rcnn_vgg16(num_classes: int = 20, svd: tuple[int, int] | None = None, weights: str | None = None) -> FastRCNN:
    """Fast R-CNN over VGG-16, the paper's model L: RoIPool 7 x 7 of conv5, fc6 and fc7 of 4096 units.

    Args:
        num_classes: Classes without background.
        svd: Ranks of fc6 and fc7 of a network that :func:`truncate_svd` made.
        weights: Checkpoint to start from.

    Example:
        >>> with torch.device("meta"):
        ...     model = fast_rcnn_vgg16()
        >>> sum(parameter.numel() for parameter in model.parameters()), model.input_spec.size
        (134690729, (600, 1000))
    """
    return _of_the_paper(_build(build_trunk("vgg16"), num_classes, 7, 4096, 0.5, svd))


@register_model("detection", _PAPER)
def fast_rcnn_alexnet(
    num_classes: int = 20, svd: tuple[int, int] | None = None, weights: str | None = None
) -> FastRCNN:
    """Fast R-CNN over the AlexNet of 2012, the paper's model S: RoIPool 6 x 6 of conv5, fc6 and fc7 of 4096 units."""
    return _of_the_paper(_build(build_trunk("alexnet_2012"), num_classes, 6, 4096, 0.5, svd))


@register_model("detection", _PAPER)
def fast_rcnn(
    num_classes: int = 20,
    backbone: str = "resnet18",
    hidden: int = 1024,
    size: int = 7,
    dropout: float = 0.5,
    svd: tuple[int, int] | None = None,
    weights: str | None = None,
) -> FastRCNN:
    """Fast R-CNN over any classifier with feature maps.

    Args:
        num_classes: Classes without background.
        backbone: Builder name of the classifier.
        hidden: Units of fc6 and fc7.
        size: Cells along a side of a pooled region.
        dropout: Dropout rate behind both.
        svd: Ranks of fc6 and fc7 of a network that :func:`truncate_svd` made.
        weights: Checkpoint to start from.

    Example:
        >>> model = fast_rcnn(num_classes=3, backbone="mobilenet_v3_small", hidden=64)
        >>> targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
        >>> list(model.loss(torch.zeros(1, 3, 64, 64), targets, proposals=torch.tensor([[[0.0, 0, 30, 40]]])))
        ['classification', 'box']
    """
    return _build(build_trunk(backbone), num_classes, size, hidden, dropout, svd)
