"""Cascade R-CNN against a plain version: losses and decoding stage by stage; counts; with a further branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from saccade.models.base import Decoded
from saccade.models.detection.box_branch import box_branch_loss
from saccade.models.detection.cascade_branch import CASCADE_STAGES, CascadeBranch
from saccade.models.detection.cascade_rcnn import cascade_rcnn, cascade_rcnn_resnet50_fpn, pyramid_cascade_branch
from saccade.models.detection.faster_rcnn import AlignPooling, FasterRCNN, pyramid_rcnn_parts
from saccade.models.detection.roi_branches import (
    FPN_SAMPLING,
    ObjectBranch,
    RegionSampling,
    RoiSample,
    loss_generator,
    sample_regions,
)
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import IGNORED
from saccade.ops.roi import roi_align


def branch(sampling: RegionSampling = FPN_SAMPLING) -> CascadeBranch:
    """A small one whose heads move boxes a good deal."""
    torch.manual_seed(0)
    built = CascadeBranch(AlignPooling((8,), 3), 4, 3, 16, 2, finest_stride=8, sampling=sampling).eval()
    for head in built.heads:
        nn.init.normal_(head.predictor.bbox_pred.weight, std=0.5)
        nn.init.normal_(head.predictor.cls_score.weight, std=0.5)
    return built


def inputs() -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(2, 30, 2, generator=generator) * 40
    proposals = torch.cat((corner, corner + 8 + torch.rand(2, 30, 2, generator=generator) * 20), dim=2)
    proposals[1, 25:] = 0
    return [torch.randn(2, 4, 8, 8, generator=generator)], proposals


def slow_stage(built: CascadeBranch, number: int, level: Tensor, box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, codes and the moved box of one region of one image."""
    region = roi_align([level], box[None, None], (8,), 3)[0]
    head = built.heads[number]
    logits, codes = head.predictor(head.head(region))
    dx, dy, dw, dh = (codes[0] / torch.tensor(built.stages[number].code_weights)).unbind()
    w, h = box[2] - box[0], box[3] - box[1]
    cx, cy, w, h = (box[0] + box[2]) / 2 + dx * w, (box[1] + box[3]) / 2 + dy * h, w * dw.exp(), h * dh.exp()
    moved = torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)).clamp(0, 64)
    return logits[0], codes[0], moved.detach()


def test_outputs_are_those_of_a_plain_cascade() -> None:
    built = branch()
    maps, proposals = inputs()
    with torch.no_grad():
        outputs = built(maps, proposals)
        for image in range(2):
            for region in range(30):
                box, scores = proposals[image, region], []
                for number in range(3):
                    if number == 2:
                        assert torch.allclose(outputs["proposals"][image, region], box, atol=1e-3)
                    logits, codes, box = slow_stage(built, number, maps[0][image : image + 1], box)
                    scores.append(logits.softmax(dim=0))
                assert torch.allclose(outputs["roi_scores"][image, region], sum(scores) / 3, atol=1e-5)
                assert torch.allclose(outputs["roi_codes"][image, region], codes, atol=1e-4)
    assert not outputs["proposals"][1, 25:].any()
    assert (outputs["proposals"] - proposals).abs().amax() > 2


def test_decoding_takes_the_boxes_of_the_last_head() -> None:
    built = branch()
    maps, proposals = inputs()
    model = cascade_rcnn(num_classes=2, backbone="mobilenet_v3_small", channels=4, hidden=8)
    nms = replace(model.nms, iou=1.0, score_threshold=0.0, max_detections=200, kind="none")
    with torch.no_grad():
        outputs = {**built(maps, proposals), "canvas": torch.tensor([64.0, 64.0])}
        decoded = built.decode(outputs, nms)
        box = proposals[0, 3]
        for number in range(3):
            _, _, box = slow_stage(built, number, maps[0][:1], box)
    own = decoded["boxes"][0, : decoded["count"][0]]
    hits = (own - box).abs().amax(dim=1) < 1e-3
    assert hits.sum() == 2  # one a class
    scores = sorted(decoded["scores"][0, : len(own)][hits].tolist())
    assert scores == pytest.approx(sorted(outputs["roi_scores"][0, 3, 1:].tolist()), abs=1e-6)
    assert decoded["count"].tolist() == [60, 50]  # rows of padding are none


def test_losses_are_those_of_stages_one_after_the_other() -> None:
    sampling = RegionSampling(24)
    built = branch(sampling)
    maps, proposals = inputs()
    boxes = torch.stack((proposals[:, 0] + 1.0, proposals[:, 4] - 1.5), dim=1)
    labels = torch.tensor([[1, 0], [0, -1]])
    proposals = torch.cat((proposals, boxes + 0.5), dim=1)
    valid = torch.ones(2, 32, dtype=torch.bool)
    valid[1, 25:30] = valid[1, 31] = False
    terms, first = built.loss(maps, proposals, valid, boxes, labels)
    assert sorted(terms) == sorted(f"{name}_{stage}" for name in ("classification", "box") for stage in (1, 2, 3))

    generator = loss_generator(built, torch.device("cpu"))
    for number, stage in enumerate(CASCADE_STAGES):
        own = replace(sampling, positive=(0.5, 0.6, 0.7)[number])
        sample = sample_regions(proposals, valid, boxes, labels >= 0, own, generator)
        for image, region in sample.positive.nonzero().tolist():
            owner = sample.owners[image, region]
            overlap = pairwise_iou(sample.boxes_xyxy[image, region][None], boxes[image, owner][None])
            assert overlap >= (0.5, 0.6, 0.7)[number] - 1e-6
        if number == 0:
            assert torch.equal(first.owners, sample.owners)
        logits, codes = (torch.zeros(*sample.owners.shape, width) for width in (3, 4))
        proposals = torch.zeros(*sample.owners.shape, 4)
        for image in range(2):
            for region, box in enumerate(sample.boxes_xyxy[image]):
                found = slow_stage(built, number, maps[0][image : image + 1], box)
                logits[image, region], codes[image, region], proposals[image, region] = found
        deviations = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (1 / 30, 1 / 30, 1 / 15, 1 / 15))[number]
        weights = tuple(1 / value for value in deviations)
        expected = box_branch_loss({"roi_logits": logits, "roi_codes": codes}, sample, boxes, labels, weights)  # type: ignore[arg-type]
        for name, value in expected.items():
            wanted = value.item() * (1.0, 0.5, 0.25)[number]
            assert terms[f"{name}_{number + 1}"].item() == pytest.approx(wanted, rel=1e-3, abs=1e-6)
        assert stage.iou == own.positive
        valid = (sample.owners != IGNORED) & ((proposals[..., 2:] - proposals[..., :2]) > 0).all(dim=2)
    assert terms["box_1"] > 0


def test_boxes_that_a_head_has_moved_are_the_proposals_of_the_next() -> None:
    """A first head that moves every box onto its object leaves the later ones nothing but positives."""
    built = branch(RegionSampling(16, share=1.0))
    boxes = torch.tensor([[[16.0, 16.0, 48.0, 48.0]]])
    proposals = boxes.repeat(1, 8, 1) + torch.tensor([8.0, 0.0, 8.0, 0.0])  # overlap 0.6
    nn.init.zeros_(built.heads[0].predictor.bbox_pred.weight)
    with torch.no_grad():
        built.heads[0].predictor.bbox_pred.bias.copy_(torch.tensor([-0.25 * 10, 0, 0, 0]))
    seen: list[Tensor] = []
    pooling = built.pooling

    def watched(maps: Sequence[Tensor], regions: Tensor) -> Tensor:
        seen.append(regions)
        return pooling(maps, regions)

    built.pooling = watched
    built.loss([torch.zeros(1, 4, 8, 8)], proposals, torch.ones(1, 8).bool(), boxes, torch.tensor([[1]]))
    assert torch.equal(seen[0], proposals)
    assert torch.allclose(seen[1], boxes.repeat(1, 8, 1), atol=1e-4)


def test_parameters_of_the_published_form() -> None:
    with torch.device("meta"):
        model = cascade_rcnn_resnet50_fpn(num_classes=80)
    norms = sum(
        parameter.numel()
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters()
    )
    assert norms == 53_120  # fixed in the published count
    assert sum(parameter.numel() for parameter in model.parameters()) - norms == 69_341_646


class _Middles(ObjectBranch):
    """Toy branch: mean of the feature map in a box."""

    decoded_keys = ("middles",)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 1)
        self.samples: list[RoiSample] = []

    def _values(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        values: Tensor = self.layer(roi_align(maps[:4], boxes, (4, 8, 16, 32), 1)[..., 0, 0])
        return values.squeeze(2)

    def loss(self, maps: Sequence[Tensor], sample: RoiSample, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.samples.append(sample)
        return {"middle": (self._values(maps, sample.boxes_xyxy) * sample.positive).square().mean()}

    def predict(self, maps: Sequence[Tensor], decoded: Decoded) -> Decoded:
        return {"middles": self._values(maps, decoded["boxes"])}


def test_a_further_branch_learns_from_the_first_stage_and_predicts_on_final_boxes() -> None:
    torch.manual_seed(0)
    body, neck, rpn = pyramid_rcnn_parts("mobilenet_v3_small", channels=8, anchor_size=8, proposals=40)
    toy = _Middles()
    model = FasterRCNN(body, neck, rpn, pyramid_cascade_branch(2, 8, 16), 2, {"middle": toy})
    assert model.decoded_keys[-1] == "middles"
    images = torch.randn(2, 3, 64, 64)
    terms = model.loss(
        images, [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])} for _ in range(2)]
    )
    torch.stack(list(terms.values())).sum().backward()
    assert toy.samples[0].positive.any(dim=1).all()
    assert toy.layer.weight.grad is not None
    assert toy.layer.weight.grad.any()
    with torch.no_grad():
        decoded = model.eval().predict(images)
        expected = toy.predict(model.features(images), decoded)["middles"]
    assert torch.allclose(decoded["middles"], expected)
    assert decoded["middles"].shape == decoded["scores"].shape


def test_gradients_reach_every_head_and_no_box() -> None:
    built = branch()
    maps, proposals = inputs()
    proposals.requires_grad_(True)
    boxes = proposals.detach()[:, :2] + 0.5
    terms, _ = built.loss(maps, proposals, torch.ones(2, 30).bool(), boxes, torch.zeros(2, 2, dtype=torch.int64))
    torch.stack(list(terms.values())).sum().backward()
    for head in built.heads:
        weight = head.predictor.cls_score.weight
        assert weight.grad is not None
        assert weight.grad.any()
    assert proposals.grad is None
