"""Detectors of two stages as torchvision has them, with random weights that find things, for the tests of ours."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.misc import FrozenBatchNorm2d

from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.rpn import ProposalSettings
from saccade.models.registry import create_model
from saccade.ops import sampling
from saccade.ops.iou import pairwise_iou
from saccade.weights import load_weights
from saccade.weights.published import PUBLISHED

SIZE = (160, 224)
FOUND = 12  # detections an image, at most


def their_rcnn(kind: type[MaskRCNN] | type[KeypointRCNN], classes: int, real: list[int]) -> Any:
    """Their network as the loader of published files makes it: frozen BatchNorm without eps.

    Args:
        kind: Which.
        classes: Columns, the background being the first.
        real: Columns that find something.
    """
    torch.manual_seed(0)
    limits = {"rpn_pre_nms_top_n_test": 60, "rpn_post_nms_top_n_test": 40}
    limits |= {"rpn_pre_nms_top_n_train": 100, "rpn_post_nms_top_n_train": 60}
    with torch.device("meta"):  # the usual start of all tensors would take most of the time
        body = torchvision.models.resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=0.0))
        model = kind(_resnet_fpn_extractor(body, 5), classes, min_size=SIZE[0], max_size=SIZE[1], **limits).eval()
    model.to_empty(device="cpu")
    model.rpn.anchor_generator = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    model.roi_heads.detections_per_img = FOUND
    for name, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm2d):
            nn.init.uniform_(module.weight, *((0.1, 0.3) if name.endswith("bn3") else (0.5, 1.0)))
            nn.init.zeros_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
            module.running_var[0], module.weight[0] = 3e-6, 1e-3  # a variance that is smaller than the eps
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    heads = model.roi_heads
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        maps = model.backbone(images)
        logits, codes = model.rpn.head(list(maps.values()))
        model.rpn.head.cls_logits.weight *= 2.0 / torch.cat([level.flatten() for level in logits]).std()
        model.rpn.head.bbox_pred.weight *= 0.3 / torch.cat([level.flatten() for level in codes]).std()
        proposals, _ = model.rpn(ImageList(images, [SIZE]), maps)
        features = heads.box_head(heads.box_roi_pool(maps, proposals, [SIZE]))
        scores, boxes = heads.box_predictor(features)
        heads.box_predictor.bbox_pred.weight *= 0.5 / boxes.std()
        heads.box_predictor.cls_score.weight *= 2.0 / (scores - scores.mean(dim=0)).std()
        scores, _ = heads.box_predictor(features)
        # Each class is as likely as any other, and columns of no class never are.
        heads.box_predictor.cls_score.bias -= scores.mean(dim=0)
        never = [column for column in range(1, classes) if column not in real]
        heads.box_predictor.cls_score.bias[never] = -60.0
        heads.box_predictor.cls_score.weight[never] = 0.0
        heads.box_predictor.cls_score.bias[0] += 0.5 * len(real) ** 0.5
        regions = torch.tensor([[10.0, 10.0, 150.0, 120.0]])
        if isinstance(model, MaskRCNN):
            masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(maps, [regions], [SIZE])))
            heads.mask_predictor.mask_fcn_logits.weight *= 3.0 / masks.std()
        else:
            points = heads.keypoint_predictor(heads.keypoint_head(heads.keypoint_roi_pool(maps, [regions], [SIZE])))
            heads.keypoint_predictor.kps_score_lowres.weight *= 3.0 / points.std()
    return model


def older(name: str) -> str:
    """Name of a weight in published files, which older releases wrote."""
    for index in range(4):
        name = name.replace(f"_blocks.{index}.0.", f"_blocks.{index}.")
        name = name.replace(f"mask_head.{index}.0.", f"mask_head.mask_fcn{index + 1}.")
    return name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")


def published(builder: str) -> FasterRCNN:
    """Ours with the published weights of that builder, and as few proposals and detections as theirs."""
    with torch.device("meta"):
        ours = create_model(builder, num_classes=PUBLISHED[f"{builder}/coco"].num_classes)
    assert isinstance(ours, FasterRCNN)
    report = load_weights(ours.to_empty(device="cpu").eval(), "coco")
    assert report.missing == report.unexpected == ()
    ours.rpn.settings = ProposalSettings(60, 40, 100, 60)
    ours.nms = replace(ours.nms, max_detections=FOUND)
    return ours


def detect(model: Any, images: Tensor) -> list[dict[str, Tensor]]:
    """Detections of theirs before they are pasted into the image."""
    with torch.no_grad():
        maps = model.backbone(images)
        listed = ImageList(images, [tuple(images.shape[-2:])] * len(images))
        proposals, _ = model.rpn(listed, maps)
        found: list[dict[str, Tensor]] = model.roi_heads(maps, proposals, listed.image_sizes)[0]
    return found


def partners(expected: dict[str, Tensor], found: dict[str, Tensor], image: int, columns: Tensor) -> Tensor:
    """Row of ours for each of their detections: same class, IoU above 0.999, same score."""
    count = len(expected["scores"])
    assert 5 <= count <= FOUND
    assert int(found["count"][image]) == count
    boxes, scores, labels = (found[key][image, :count] for key in ("boxes", "scores", "labels"))
    same = pairwise_iou(expected["boxes"], boxes) * (expected["labels"][:, None] == columns[labels])
    overlap, partner = same.max(dim=1)
    assert overlap.min() > 0.999
    assert len(partner.unique()) == count
    assert (scores[partner] - expected["scores"]).abs().max() <= 1e-4
    return partner


class First:
    """Their sampler without chance: of each kind the first are chosen."""

    def __init__(self, count: int, share: float) -> None:
        self.count, self.share = count, share

    def __call__(self, matched: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        for labels in matched:
            positive = (labels >= 1).nonzero().flatten()[: int(self.count * self.share)]
            negative = (labels == 0).nonzero().flatten()[: self.count - len(positive)]
            for rows, listed in zip((positive, negative), chosen, strict=True):
                listed.append(torch.zeros(len(labels), dtype=torch.uint8).index_fill_(0, rows, 1))
        return chosen


def falling(shape: torch.Size, **_: Any) -> Tensor:
    """Random keys of our sampler without chance: the first have the highest."""
    return torch.linspace(0.999, 0.0, shape[-1]).expand(shape)


def losses(ours: FasterRCNN, theirs: Any, images: Tensor, targets: list[dict[str, Tensor]], columns: Tensor) -> Any:
    """Loss terms of both networks, from the same sampled anchors and regions."""
    size = (images.shape[-2], images.shape[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.torch, "rand", falling)
        patch.setattr(theirs.rpn, "fg_bg_sampler", First(256, 0.5))
        patch.setattr(theirs.roi_heads, "fg_bg_sampler", First(512, 0.25))
        patch.setattr(theirs.rpn, "training", True)
        patch.setattr(theirs.roi_heads, "training", True)
        patch.setattr(ours.rpn, "training", True)
        maps = theirs.backbone(images)
        as_columns = [{**one, "labels": columns[one["labels"]]} for one in targets]
        listed = ImageList(images, [size] * len(images))
        proposals, first = theirs.rpn(listed, maps, as_columns)
        _, second = theirs.roi_heads(maps, proposals, listed.image_sizes, as_columns)
        own = ours.loss(images, targets)
    return own, {**first, **second}


def agree(own: dict[str, Tensor], their: dict[str, Tensor]) -> None:
    """Every term of theirs, to 1e-4."""
    names = {
        "loss_objectness": "objectness",
        "loss_rpn_box_reg": "rpn_box",
        "loss_classifier": "classification",
        "loss_box_reg": "box",
        "loss_mask": "mask",
        "loss_keypoint": "keypoints",
    }
    assert {names[name] for name in their} == set(own)
    for name, value in their.items():
        assert own[names[name]].item() == pytest.approx(value.item(), abs=1e-4, rel=1e-4), name
