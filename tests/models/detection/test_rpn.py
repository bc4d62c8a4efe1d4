"""Region proposal network against plain loops: who owns an anchor, the sampled loss, the proposals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saccade.models.detection.roi_branches import loss_generator
from saccade.models.detection.rpn import ProposalSettings, RegionProposalNetwork
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.ops.sampling import sample_balanced

SIZE = (96, 128)
CANVAS = torch.tensor([float(side) for side in SIZE])
STRIDES = (8, 16)


def network(**options: object) -> RegionProposalNetwork:
    torch.manual_seed(0)
    return RegionProposalNetwork(8, ((16,), (40,)), **options).eval()  # type: ignore[arg-type]


def inputs(seed: int, images: int = 3) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(images, 8, SIZE[0] // s, SIZE[1] // s, generator=generator) * 20 for s in STRIDES]
    return torch.zeros(images, 3, *SIZE), maps


def objects(seed: int) -> tuple[Tensor, Tensor]:
    """Three images: some objects, none, two that are equal (a tie)."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(3, 6, 2, generator=generator) * 70
    boxes = torch.cat((corner, corner + 6 + torch.rand(3, 6, 2, generator=generator) * 50), dim=2)
    boxes[2, 1] = boxes[2, 0]
    valid = torch.tensor([[True] * 6, [False] * 6, [True] * 2 + [False] * 4])
    return boxes, valid


def iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def slow_owners(anchors: Tensor, boxes: Tensor, valid: Tensor, inside_only: bool) -> list[int]:
    """Section 3.1.2 as it is written, anchor by anchor."""
    rows = [row for row in range(len(boxes)) if valid[row]]
    table = [[iou(boxes[row].tolist(), anchor) for row in rows] for anchor in anchors.tolist()]
    best = [max((line[column] for line in table), default=0.0) for column in range(len(rows))]
    owners = []
    for anchor, line in zip(anchors.tolist(), table, strict=True):
        largest = max(line, default=0.0)
        owner = NEGATIVE if largest < 0.3 else IGNORED
        ties = any(value == high > 0 for value, high in zip(line, best, strict=True))
        if rows and (largest >= 0.7 or ties):
            owner = rows[line.index(largest)]
        x1, y1, x2, y2 = anchor
        if inside_only and (x1 < 0 or y1 < 0 or x2 > SIZE[1] or y2 > SIZE[0]):
            owner = IGNORED
        owners.append(owner)
    return owners


@pytest.mark.parametrize("inside_only", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_owners_are_those_of_plain_loops(seed: int, inside_only: bool) -> None:
    rpn = network(inside_only=inside_only)
    anchors = rpn.anchors(*inputs(seed)).double()
    boxes, valid = objects(seed)
    boxes[0, 0] = anchors[200].float()  # an overlap of 1
    found = rpn.owners(anchors, boxes.double(), valid, CANVAS.double())
    for image in range(3):
        assert found[image].tolist() == slow_owners(anchors, boxes[image].double(), valid[image], inside_only)
    assert (found[0] >= 0).any()
    assert set(found[1].tolist()) <= {NEGATIVE, IGNORED}
    assert (found == IGNORED).any(dim=1)[1] == inside_only


def slow_loss(outputs: dict[str, Tensor], boxes: Tensor, owners: Tensor, chosen: Tensor) -> tuple[float, float]:
    objectness, box, count = 0.0, 0.0, int(chosen.sum())
    for image, anchor in chosen.nonzero().tolist():
        owner = int(owners[image, anchor])
        logit = float(outputs["rpn_logits"][image, anchor])
        probability = 1 / (1 + math.exp(-logit))
        objectness -= math.log(probability if owner >= 0 else 1 - probability)
        if owner < 0:
            continue
        ax1, ay1, ax2, ay2 = outputs["anchors"][anchor].tolist()
        x1, y1, x2, y2 = boxes[image, owner].tolist()
        aw, ah = ax2 - ax1, ay2 - ay1
        wanted = (
            ((x1 + x2) - (ax1 + ax2)) / 2 / aw,
            ((y1 + y2) - (ay1 + ay2)) / 2 / ah,
            math.log((x2 - x1) / aw),
            math.log((y2 - y1) / ah),
        )
        for found, value in zip(outputs["rpn_codes"][image, anchor].tolist(), wanted, strict=True):
            difference = abs(found - value)
            box += difference**2 * 4.5 if difference < 1 / 9 else difference - 1 / 18
    return objectness / count, box / count


@pytest.mark.parametrize("inside_only", [False, True])
def test_loss_is_that_of_plain_loops_over_the_same_anchors(inside_only: bool) -> None:
    rpn = network(inside_only=inside_only)
    images, maps = inputs(3)
    outputs = rpn(images, maps)
    boxes, valid = objects(3)
    terms = rpn.loss(outputs, boxes, valid, CANVAS)
    owners = rpn.owners(outputs["anchors"], boxes, valid, CANVAS)
    chosen = sample_balanced(owners >= 0, owners == NEGATIVE, 256, 0.5, loss_generator(rpn, owners.device))
    assert not (chosen & (owners == IGNORED)).any()
    assert chosen.sum(dim=1).tolist() == [256] * 3
    expected = slow_loss({name: value.detach() for name, value in outputs.items()}, boxes, owners, chosen)
    assert terms["objectness"].item() == pytest.approx(expected[0], rel=1e-4)
    assert terms["rpn_box"].item() == pytest.approx(expected[1], rel=1e-4)
    assert expected[1] > 0


def test_at_most_half_of_the_sampled_anchors_are_positive() -> None:
    positive = torch.zeros(2, 1000, dtype=torch.bool)
    positive[0] = True
    positive[1, :40] = True
    chosen = sample_balanced(positive, ~positive, 256, 0.5)
    assert (chosen & positive).sum(dim=1).tolist() == [128, 40]
    assert chosen.sum(dim=1).tolist() == [128, 256]


def slow_proposals(
    outputs: dict[str, Tensor], image: int, settings: tuple[int, int], least: float = 1e-3
) -> list[list[float]]:
    """Section 3.3, level by level."""
    candidates, count = settings
    kept: list[tuple[float, list[float]]] = []
    start = 0
    for stride in STRIDES:
        own = (SIZE[0] // stride) * (SIZE[1] // stride) * 3
        rows = sorted(range(start, start + own), key=lambda row: -float(outputs["rpn_logits"][image, row]))
        of_level: list[tuple[float, list[float]]] = []
        for row in rows[:candidates]:
            x1, y1, x2, y2 = outputs["anchors"][row].tolist()
            dx, dy, dw, dh = outputs["rpn_codes"][image, row].tolist()
            w, h = x2 - x1, y2 - y1
            cx, cy = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
            w, h = w * math.exp(min(dw, math.log(62.5))), h * math.exp(min(dh, math.log(62.5)))
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            box = [min(max(value, 0.0), SIZE[1 - axis % 2]) for axis, value in enumerate(box)]
            if min(box[2] - box[0], box[3] - box[1]) < least:
                continue
            if all(iou(box, other) <= 0.7 for _, other in of_level):
                of_level.append((float(outputs["rpn_logits"][image, row]), box))
        kept += of_level
        start += own
    return [box for _, box in sorted(kept, key=lambda pair: -pair[0])][:count]


@pytest.mark.parametrize(("candidates", "count"), [(50, 30), (120, 400)])
def test_proposals_are_those_of_plain_loops(candidates: int, count: int) -> None:
    rpn = network(settings=ProposalSettings(candidates, count, 2 * candidates, 2 * count))
    images, maps = inputs(5)
    with torch.no_grad():
        outputs = rpn(images, maps)
        outputs["rpn_codes"] = outputs["rpn_codes"] * 3
        # Evenly apart: of scores that are the same after a sigmoid in float32, either may come first.
        ranks = outputs["rpn_logits"].argsort(dim=1).argsort(dim=1)
        outputs["rpn_logits"] = ranks / ranks.shape[1] * 6 - 3
        outputs["rpn_codes"][0, :60, 0] = 40.0  # far outside: without area once they are clipped
        found, counts = rpn.propose(outputs, maps, CANVAS)
    anchors = sum(min(candidates, SIZE[0] // s * (SIZE[1] // s) * 3) for s in STRIDES)
    assert found.shape == (3, min(count, anchors), 4)
    for image in range(3):
        expected = torch.tensor(slow_proposals(outputs, image, (candidates, count)))
        assert len(expected) == counts[image]
        assert torch.allclose(found[image, : len(expected)], expected, atol=1e-3)
        assert not found[image, len(expected) :].any()


def test_training_looks_at_more_proposals() -> None:
    rpn = network(settings=ProposalSettings(50, 20, 100, 60))
    images, maps = inputs(7)
    assert rpn.propose(rpn(images, maps), maps, CANVAS)[0].shape[1] == 20
    assert rpn.train().propose(rpn(images, maps), maps, CANVAS)[0].shape[1] == 60


def test_proposals_without_area_leave_rows_of_zeros() -> None:
    rpn = network()
    images, maps = inputs(0, images=1)
    outputs = rpn(images, maps)
    outputs["rpn_codes"] = torch.full_like(outputs["rpn_codes"], 1e4)
    found, count = rpn.propose(outputs, maps, CANVAS)
    assert count.tolist() == [0]
    assert not found.any()


def test_two_logits_are_the_softmax_of_the_paper() -> None:
    rpn = network(two_logits=True)
    images, maps = inputs(1)
    raw = torch.relu(rpn.conv(maps[0]))
    pairs = rpn.cls_logits(raw).permute(0, 2, 3, 1).reshape(3, -1, 2)
    found = rpn(images, maps)["rpn_logits"][:, : pairs.shape[1]].sigmoid()
    assert torch.allclose(found, pairs.softmax(dim=2)[..., 1], atol=1e-6)
