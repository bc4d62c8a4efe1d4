"""SimOTA of a batch against a slow version, written image by image and object by object from the paper."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.detection import yolox_assign
from saccade.models.detection.yolox import yolox_loss
from saccade.models.detection.yolox_assign import (
    CANDIDATES,
    Candidates,
    Matches,
    Predictions,
    candidate_regions,
    simota,
)
from saccade.models.registry import create_model
from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import decode_points

CLASSES = 6
POINTS, STRIDES = grid_points(
    [torch.zeros(1, 1, 16, 20), torch.zeros(1, 1, 8, 10), torch.zeros(1, 1, 4, 5)], (8, 16, 32)
)
CENTRES = (POINTS + 0.5) * STRIDES[:, None]


def predictions(seed: int, images: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(images, len(POINTS), 4, generator=generator) * 0.7 + torch.tensor([0.5, 0.5, 0.8, 0.8])
    objectness = torch.randn(images, len(POINTS), generator=generator) * 3
    logits = torch.randn(images, len(POINTS), CLASSES, generator=generator) * 3
    return Predictions(decode_points(raw, POINTS, STRIDES), objectness, logits)


def ground_truth(seed: int, images: int, objects: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = low + torch.rand(images, objects, 2, generator=generator) * (high - low)
    centre = torch.rand(images, objects, 2, generator=generator) * torch.tensor([160.0, 128.0])
    return torch.cat((centre - size / 2, centre + size / 2), dim=2), torch.randint(
        0, CLASSES, (images, objects), generator=generator
    )


def slow_simota(
    given: Predictions, boxes: Tensor, labels: Tensor, rule: Candidates = "box_or_center"
) -> dict[int, tuple[int, float]]:
    """Object and overlap by point, for one image, by the rule of the releases or that of the repository since 2023."""
    radius, outside = {"box_or_center": (2.5, 1e5), "center": (1.5, 1e6)}[rule]
    objects = [index for index, label in enumerate(labels.tolist()) if label >= 0]
    pairs: dict[tuple[int, int], tuple[bool, bool]] = {}
    for point, ((x, y), stride) in enumerate(zip(CENTRES.tolist(), STRIDES.tolist(), strict=True)):
        for index in objects:
            x1, y1, x2, y2 = boxes[index].tolist()
            inside = x1 < x < x2 and y1 < y < y2
            near = abs(x - (x1 + x2) / 2) < radius * stride and abs(y - (y1 + y2) / 2) < radius * stride
            pairs[index, point] = (near, near) if rule == "center" else (inside, near)
    candidates = [point for point in range(len(POINTS)) if any(any(pairs[index, point]) for index in objects)]
    cost: dict[tuple[int, int], float] = {}
    overlap: dict[tuple[int, int], float] = {}
    for point in candidates:
        probability = (given.logits[point].double().sigmoid() * given.objectness[point].double().sigmoid()).sqrt()
        for index in objects:
            iou = torchvision.ops.box_iou(
                boxes[index : index + 1].double(), given.boxes_xyxy[point : point + 1].double()
            ).item()
            one_hot = F.one_hot(labels[index], CLASSES).double()
            classification = F.binary_cross_entropy(probability, one_hot, reduction="sum").item()
            overlap[index, point] = iou
            cost[index, point] = classification - 3 * math.log(iou + 1e-8) + outside * (not all(pairs[index, point]))
    claims: dict[int, list[int]] = {}
    for index in objects:
        best = sorted((overlap[index, point] for point in candidates), reverse=True)[:10]
        k = max(int(sum(best)), 1)
        for point in sorted(candidates, key=lambda point: cost[index, point])[:k]:
            claims.setdefault(point, []).append(index)
    matched = {}
    for point, owners in claims.items():
        owner = owners[0] if len(owners) == 1 else min(objects, key=lambda index: cost[index, point])
        matched[point] = (owner, overlap[owner, point])
    return matched


def by_image(matches: Matches, images: int) -> list[dict[int, tuple[int, float]]]:
    found: list[dict[int, tuple[int, float]]] = [{} for _ in range(images)]
    rows = zip(
        matches.image.tolist(), matches.point.tolist(), matches.target.tolist(), matches.iou.tolist(), strict=True
    )
    for image, point, target, iou in rows:
        assert point not in found[image], "one object a point"
        found[image][point] = (target, iou)
    return found


@pytest.mark.parametrize("rule", CANDIDATES)
@pytest.mark.parametrize(
    ("seed", "low", "high"),
    [(0, 10, 60), (1, 40, 150), (2, 12, 30)],
    ids=["mixed sizes", "large and overlapping", "small"],
)
def test_equals_the_slow_version(seed: int, low: float, high: float, rule: Candidates) -> None:
    given = predictions(seed, 3)
    boxes, labels = ground_truth(seed, 3, 9, low, high)
    labels[0, 4:] = -1  # padding behind
    labels[1] = -1  # an image without objects
    labels[2, 3] = -1  # a crowd box between others
    found = by_image(simota(given, CENTRES, STRIDES, boxes, labels, rule), 3)
    assert sum(map(len, found)) > 10
    for image in range(3):
        expected = slow_simota(Predictions(*(value[image] for value in given)), boxes[image], labels[image], rule)
        assert {point: target for point, (target, _) in found[image].items()} == {
            point: target for point, (target, _) in expected.items()
        }
        for point, (_, iou) in found[image].items():
            assert iou == pytest.approx(expected[point][1], abs=1e-5)


@pytest.mark.parametrize("rule", CANDIDATES)
def test_portions_of_objects_change_nothing(rule: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many objects in portions, of which none is larger than the limit, match as they do all at once."""
    given = predictions(3, 2)
    boxes, labels = ground_truth(3, 2, 70, 10, 90)
    labels[1, 50:] = -1
    whole = simota(given, CENTRES, STRIDES, boxes, labels, rule)
    assert len(whole.point) > 100
    pairs: list[int] = []
    overlaps = yolox_assign.pairwise_iou

    def counted(first: Tensor, second: Tensor) -> Tensor:
        found = overlaps(first, second)
        pairs.append(found.numel())
        return found

    monkeypatch.setattr(yolox_assign, "pairwise_iou", counted)
    limit = 2 * len(POINTS) * 9  # nine objects of each image
    monkeypatch.setattr(yolox_assign, "_PAIRS", limit)
    portions = simota(given, CENTRES, STRIDES, boxes, labels, rule)
    assert len(pairs) == 8 + 1  # and the overlaps of the matches
    assert max(pairs) <= limit
    for one, other in zip(whole, portions, strict=True):
        assert torch.equal(one, other)


def test_batch_mates_and_padding_change_nothing() -> None:
    given = predictions(5, 4)
    boxes, labels = ground_truth(5, 4, 8, 10, 80)
    labels[2, 2:] = -1
    together = by_image(simota(given, CENTRES, STRIDES, boxes, labels), 4)
    alone = simota(Predictions(*(value[2:3] for value in given)), CENTRES, STRIDES, boxes[2:3, :2], labels[2:3, :2])
    assert by_image(alone, 1)[0] == together[2]


@pytest.mark.parametrize("objects", [0, 8])
def test_no_objects_no_matches(objects: int) -> None:
    matches = simota(predictions(0, 2), CENTRES, STRIDES, torch.zeros(2, objects, 4), torch.full((2, objects), -1))
    assert all(len(value) == 0 for value in matches)


def test_a_box_far_outside_of_the_canvas_matches_nothing() -> None:
    boxes = torch.tensor([[[900.0, 900.0, 950.0, 950.0]]])
    assert len(simota(predictions(0, 1), CENTRES, STRIDES, boxes, torch.zeros(1, 1, dtype=torch.long)).point) == 0


def test_the_rules_differ_for_a_large_object() -> None:
    """A point in the box, far from its centre, is a candidate of the releases and none of the repository."""
    boxes, valid = torch.tensor([[[0.0, 0.0, 160.0, 128.0]]]), torch.ones(1, 1, dtype=torch.bool)
    released, _ = candidate_regions(CENTRES, STRIDES, boxes, valid)
    later, good = candidate_regions(CENTRES, STRIDES, boxes, valid, "center")
    assert released.all()
    assert torch.equal(later, good)
    assert later.sum() == 2 * 2 + 2 * 2 + 3 * 2  # of strides 8, 16 and 32, within 1.5 strides of (80, 64)


def test_the_rule_is_an_option_of_the_builder() -> None:
    with torch.device("meta"):
        assert create_model("yolox_nano").candidates == "box_or_center"
        model = create_model("yolox_s", candidates="center")
    assert model.candidates == model.builder_args["candidates"] == "center"
    with pytest.raises(ConfigError, match="candidates is 'middle'; it must be 'box_or_center' or 'center'"):
        create_model("yolox_nano", candidates="middle")


def test_the_loss_follows_the_rule() -> None:
    torch.manual_seed(0)
    model = create_model("yolox_nano", num_classes=2, candidates="center")
    boxes = torch.tensor([[[4.0, 4.0, 124.0, 124.0], [30.0, 30.0, 44.0, 40.0]]])
    labels = torch.tensor([[1, 0]])
    outputs = model(torch.rand(1, 3, 128, 128) * 255)
    own = model.loss(torch.zeros(1, 3, 128, 128), {"boxes": boxes, "labels": labels})
    assert all(torch.isfinite(value) for value in own.values())
    later, released = (yolox_loss(outputs, boxes, labels, candidates=rule) for rule in ("center", "box_or_center"))
    assert later["box"] != released["box"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_wild_outputs_decode_to_finite_boxes(value: float, dtype: torch.dtype) -> None:
    model = create_model("yolox_nano", num_classes=2)
    points, strides = grid_points([torch.zeros(1, 1, 2, 2)], (32,))
    raw = torch.full((1, 4, 4), value, dtype=dtype)
    for scores in (value, -value):
        outputs = {
            "boxes": raw,
            "objectness": torch.full((1, 4), scores, dtype=dtype),
            "logits": torch.full((1, 4, 2), scores, dtype=dtype),
            "points": points,
            "strides": strides,
        }
        decoded = model.decode(outputs)
        assert all(torch.isfinite(one.float()).all() for one in decoded.values())
        boxes, labels = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]]), torch.tensor([[1]])
        for rule in CANDIDATES:
            terms = yolox_loss(outputs, boxes, labels, candidates=rule)
            assert all(torch.isfinite(term) for term in terms.values())


def test_an_object_smaller_than_a_cell_gets_a_point() -> None:
    boxes = torch.tensor([[[50.0, 50.0, 52.0, 52.0]]])
    matches = simota(predictions(0, 1), CENTRES, STRIDES, boxes, torch.zeros(1, 1, dtype=torch.long))
    assert len(matches.point) >= 1
    assert (CENTRES[matches.point] - 51).abs().max() < 2.5 * 32


def test_saturated_scores_keep_the_cost_finite() -> None:
    given = predictions(0, 1)
    sure = Predictions(given.boxes_xyxy, torch.full_like(given.objectness, 200.0), torch.full_like(given.logits, 200.0))
    boxes, labels = ground_truth(0, 1, 4, 20, 60)
    assert len(simota(sure, CENTRES, STRIDES, boxes, labels).point) >= 4
