"""Regions for training, their loss and their decoding against plain loops; bad input of the second stage."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import nms as their_nms

from saccade.models.detection.box_branch import CODE_WEIGHTS, box_branch_loss, decode_regions
from saccade.models.detection.cascade_rcnn import cascade_rcnn
from saccade.models.detection.faster_rcnn import FasterRCNN, fasterrcnn
from saccade.models.detection.roi_branches import RegionSampling, RoiSample, sample_regions
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.ops.nms import NmsSettings


def random_boxes(*shape: int, generator: torch.Generator, side: float = 100.0) -> Tensor:
    corner = torch.rand(*shape, 2, generator=generator) * side * 0.7
    return torch.cat((corner, corner + 4 + torch.rand(*shape, 2, generator=generator) * side * 0.3), dim=-1)


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Proposals (2, 60, 4) of which some lie near objects, which are real; objects (2, 4, 4) and their labels."""
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(2, 4, generator=generator)
    labels = torch.tensor([[0, 1, 2, 1], [2, -1, -1, -1]])
    near = boxes.repeat(1, 5, 1) + torch.randn(2, 20, 4, generator=generator) * 1.5
    proposals = torch.cat((near, random_boxes(2, 40, generator=generator)), dim=1)
    valid = torch.ones(2, 60, dtype=torch.bool)
    valid[1, 50:] = False
    proposals[1, 50:] = 0
    return proposals, valid, boxes, labels


@pytest.mark.parametrize("sampling", [RegionSampling(16), RegionSampling(24, 0.5, 0.6, 0.1), RegionSampling(512)])
def test_regions_are_chosen_by_overlap_within_their_shares(sampling: RegionSampling) -> None:
    proposals, valid, boxes, labels = scene()
    sample = sample_regions(proposals, valid, boxes, labels >= 0, sampling)
    for image in range(2):
        real = labels[image] >= 0
        positives, negatives = {}, set()
        for row in valid[image].nonzero().flatten().tolist():
            overlaps = pairwise_iou(proposals[image, row][None], boxes[image, real])[0]
            key = tuple(proposals[image, row].tolist())
            if overlaps.max() >= sampling.positive:
                positives[key] = int(overlaps.argmax())
            elif overlaps.max() >= sampling.background:
                negatives.add(key)
        chosen = list(zip(sample.boxes_xyxy[image].tolist(), sample.owners[image].tolist(), strict=True))
        found = {tuple(box): owner for box, owner in chosen if owner >= 0}
        background = {tuple(box) for box, owner in chosen if owner == NEGATIVE}
        count = int(sampling.count * sampling.share)
        assert len(found) == min(count, len(positives))
        assert found.items() <= positives.items()
        assert background <= negatives
        assert len(background) == min(sampling.count - len(found), len(negatives))
        owners = [owner for _, owner in chosen]
        assert all(owner >= 0 for owner in owners[: len(found)])  # positives come first
        assert owners.count(IGNORED) == len(chosen) - len(found) - len(background)


def slow_loss(outputs: dict[str, Tensor], sample: RoiSample, boxes: Tensor, labels: Tensor) -> tuple[float, float]:
    classification, box, count = 0.0, 0.0, 0
    for image in range(len(boxes)):
        for region, owner in enumerate(sample.owners[image].tolist()):
            if owner == IGNORED:
                continue
            count += 1
            label = 0 if owner == NEGATIVE else int(labels[image, owner]) + 1
            logits = outputs["roi_logits"][image, region].tolist()
            classification += math.log(sum(math.exp(value) for value in logits)) - logits[label]
            if owner < 0:
                continue
            x1, y1, x2, y2 = boxes[image, owner].tolist()
            px1, py1, px2, py2 = sample.boxes_xyxy[image, region].tolist()
            width, height = px2 - px1, py2 - py1
            wanted = (
                10 * ((x1 + x2) - (px1 + px2)) / 2 / width,
                10 * ((y1 + y2) - (py1 + py2)) / 2 / height,
                5 * math.log((x2 - x1) / width),
                5 * math.log((y2 - y1) / height),
            )
            codes = outputs["roi_codes"][image, region]
            own = codes[4 * label : 4 * label + 4] if len(codes) > 4 else codes
            for found, value in zip(own.tolist(), wanted, strict=True):
                difference = abs(found - value)
                box += difference**2 / 2 if difference < 1 else difference - 0.5
    return classification / count, box / count


@pytest.mark.parametrize("codes", [4, 16])
def test_loss_is_that_of_plain_loops(codes: int) -> None:
    proposals, valid, boxes, labels = scene(1)
    sample = sample_regions(proposals, valid, boxes, labels >= 0, RegionSampling(64))
    assert (sample.owners == IGNORED).any()
    generator = torch.Generator().manual_seed(2)
    outputs = {
        "roi_logits": torch.randn(*sample.owners.shape, 4, generator=generator),
        "roi_codes": torch.randn(*sample.owners.shape, codes, generator=generator),
    }
    terms = box_branch_loss(outputs, sample, boxes, labels, CODE_WEIGHTS)
    classification, box = slow_loss(outputs, sample, boxes, labels)
    assert terms["classification"].item() == pytest.approx(classification, rel=1e-4)
    assert terms["box"].item() == pytest.approx(box, rel=1e-4)


def slow_decode(outputs: dict[str, Tensor], image: int, nms: NmsSettings) -> list[tuple[int, float, list[float]]]:
    found = []
    height, width = outputs["canvas"].tolist()
    scores = outputs["roi_logits"][image].softmax(dim=1)
    for label in range(scores.shape[1] - 1):
        boxes, own = [], []
        for region, (x1, y1, x2, y2) in enumerate(outputs["proposals"][image].tolist()):
            score = float(scores[region, label + 1])
            if x2 <= x1 or y2 <= y1 or score <= nms.score_threshold:
                continue
            codes = outputs["roi_codes"][image, region]
            first = 4 * (label + 1) if len(codes) > 4 else 0
            dx, dy, dw, dh = (codes[first : first + 4] / torch.tensor(CODE_WEIGHTS)).tolist()
            w, h = x2 - x1, y2 - y1
            cx, cy = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
            w, h = w * math.exp(dw), h * math.exp(dh)
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            box = [min(max(value, 0.0), (width, height)[axis % 2]) for axis, value in enumerate(box)]
            if min(box[2] - box[0], box[3] - box[1]) >= 1e-2:
                boxes.append(box)
                own.append(score)
        if boxes:
            kept = their_nms(torch.tensor(boxes), torch.tensor(own), nms.iou).tolist()
            found += [(label, own[row], boxes[row]) for row in kept]
    return sorted(found, key=lambda item: -item[1])[: nms.max_detections]


@pytest.mark.parametrize("codes", [4, 16])
def test_decoding_is_that_of_plain_loops(codes: int) -> None:
    proposals, _, _, _ = scene(4)
    generator = torch.Generator().manual_seed(5)
    outputs = {
        "proposals": proposals,
        "roi_logits": torch.randn(2, 60, 4, generator=generator) * 2,
        "roi_codes": torch.randn(2, 60, codes, generator=generator),
        "canvas": torch.tensor([80.0, 96.0]),
    }
    nms = NmsSettings(0.5, score_threshold=0.05, pre_nms=1000, max_detections=50)
    decoded = decode_regions(outputs, CODE_WEIGHTS, nms)
    several = False
    for image in range(2):
        expected = slow_decode(outputs, image, nms)
        assert len(expected) == decoded["count"][image]
        for row, (label, score, box) in enumerate(expected):
            assert decoded["labels"][image, row] == label
            assert decoded["scores"][image, row].item() == pytest.approx(score, abs=1e-6)
            assert decoded["boxes"][image, row].tolist() == pytest.approx(box, abs=1e-3)
        several |= len({label for label, _, _ in expected}) == 3
    assert several


# --- Bad input, through whole networks.


@pytest.fixture(scope="module", params=[fasterrcnn, cascade_rcnn])
def model(request: pytest.FixtureRequest) -> FasterRCNN:
    torch.manual_seed(0)
    built: FasterRCNN = request.param(
        num_classes=3, backbone="mobilenet_v3_small", channels=8, hidden=16, anchor_size=8, proposals=50
    )
    return built.train()


def learns(model: FasterRCNN, targets: list[dict[str, Tensor]], size: tuple[int, int] = (64, 64)) -> dict[str, Tensor]:
    model.zero_grad()
    images = torch.randn(len(targets), 3, *size, generator=torch.Generator().manual_seed(1))
    terms = model.loss(images, targets)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert total.isfinite(), terms
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    return terms


NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def of(boxes: Tensor) -> dict[str, Tensor]:
    return {"boxes": boxes, "labels": torch.arange(len(boxes)) % 3}


def test_all_proposals_negative(model: FasterRCNN) -> None:
    terms = learns(model, [NOTHING, NOTHING])
    assert all(value.item() == 0 for name, value in terms.items() if "box" in name)
    assert all(value.item() > 0 for name, value in terms.items() if "classification" in name)


def test_all_proposals_positive(model: FasterRCNN) -> None:
    valid = torch.ones(1, 9, dtype=torch.bool)
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]])
    maps = model.features(torch.zeros(1, 3, 64, 64).expand(2, -1, -1, -1))
    maps = [level[:1] for level in maps]
    model.zero_grad()
    terms, sample = model.box_branch.loss(maps, boxes.repeat(1, 9, 1), valid, boxes, torch.tensor([[2]]))
    torch.stack(list(terms.values())).sum().backward()
    assert sample.positive.all()
    assert all(value.isfinite() for value in terms.values())


def test_more_objects_than_regions(model: FasterRCNN) -> None:
    boxes = random_boxes(700, generator=torch.Generator().manual_seed(3), side=60)
    learns(model, [of(boxes), NOTHING])


def test_boxes_without_area(model: FasterRCNN) -> None:
    learns(model, [of(torch.tensor([[10.0, 10.0, 10.0, 30.0], [5.0, 5.0, 5.0, 5.0]])), NOTHING])


def test_ten_thousand_boxes(model: FasterRCNN) -> None:
    boxes = random_boxes(10_000, generator=torch.Generator().manual_seed(3), side=60)
    learns(model, [of(boxes), NOTHING])


def test_a_canvas_smaller_than_the_largest_stride(model: FasterRCNN) -> None:
    size = (32, 32)
    assert max(model.feature_strides) > max(size)
    learns(model, [of(torch.tensor([[4.0, 4.0, 20.0, 20.0]])), NOTHING], size)
    with torch.no_grad():
        decoded = model.eval().predict(torch.zeros(1, 3, *size))
    model.train()
    assert decoded["boxes"].isfinite().all()
