"""YOLOv2: a second forward from the list of layers, the region loss by plain loops, warm-up, what it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.detection.yolov2 import ANCHORS, ANCHORS_TINY_VOC, TinyNeck, YOLOv2, yolov2_tiny
from saccade.models.detection.yolov2_loss import RegionLoss, region_loss
from saccade.models.detection.yolov3_parts import leaky_conv
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou


class Small(nn.Module):
    """A backbone of a few channels."""

    stage_names = tuple(f"stages.{number}" for number in range(5))
    feature_channels = (16, 32)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 16, 16, 32)
        self.stages = nn.ModuleList(leaky_conv(widths[n], widths[n + 1], 3, stride=2) for n in range(5))

    def features(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[-2:]


def small(num_classes: int = 3, **options: object) -> YOLOv2:
    anchors = [[(20.0, 20.0), (40.0, 25.0), (30.0, 60.0)]]
    return YOLOv2(num_classes, Small(), TinyNeck(32, 32), anchors, **options)  # type: ignore[arg-type]


# --- The network.


def folded(model: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution with its BatchNorm."""
    state = model.state_dict()
    scale = state[f"{name}.bn.weight"] / (state[f"{name}.bn.running_var"] + 1e-5).sqrt()
    bias = state[f"{name}.bn.bias"] - state[f"{name}.bn.running_mean"] * scale
    return state[f"{name}.conv.weight"] * scale.view(-1, 1, 1, 1), bias


# Convolutions of the configuration file, by the number of their layer there (routes and pooling count too).
FULL = {0: 32, 2: 64, 4: 128, 5: 64, 6: 128, 8: 256, 9: 128, 10: 256, 12: 512, 13: 256, 14: 512, 15: 256, 16: 512}
FULL |= {18: 1024, 19: 512, 20: 1024, 21: 512, 22: 1024, 23: 1024, 24: 1024, 26: 64, 29: 1024}


def reorg(x: Tensor) -> Tensor:
    B, C, H, W = x.shape
    quarter, memory = C // 4, x.reshape(B, C // 4, 2 * H, 2 * W)
    parts = [memory[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]  # channel k: part k // quarter
    return torch.stack(parts, dim=1).reshape(B, 4 * quarter, H, W).reshape(B, 4 * C, H // 2, W // 2)


def test_forward_equals_the_authors_list_of_layers() -> None:
    torch.manual_seed(0)
    model = create_model("yolov2", num_classes=3).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    names = [name.removesuffix(".conv.weight") for name in model.state_dict() if name.endswith(".conv.weight")]
    assert len(names) == len(FULL)
    x = images = torch.rand(1, 3, 64, 96)
    kept: dict[int, Tensor] = {}
    with torch.no_grad():
        for (number, channels), name in zip(FULL.items(), names, strict=True):
            if number in (2, 4, 8, 12, 18):
                x = F.max_pool2d(x, 2)
            elif number == 26:
                x = kept[16]
            elif number == 29:
                x = torch.cat((reorg(kept[26]), kept[24]), dim=1)
            weight, bias = folded(model, name)
            assert weight.shape[:2] == (channels, x.shape[1]), number
            x = kept[number] = F.leaky_relu(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2), 0.1)
        expected = F.conv2d(x, model.head.weight, model.head.bias)
        found = model.raw_maps(images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_tiny_of_voc_and_bad_anchors() -> None:
    with torch.device("meta"):
        model = yolov2_tiny(num_classes=20, anchors=ANCHORS_TINY_VOC, channels=1024)
    floats = [
        value for name, value in model.state_dict().items() if name != "anchor_sizes" and value.is_floating_point()
    ]
    # The published file has 63,471,556 bytes, of which 16 are the header.
    assert 4 * sum(value.numel() for value in floats) + 16 == 63_471_556
    assert (ANCHORS[0][0][0], ANCHORS_TINY_VOC[0][4][0]) == pytest.approx((18.32736, 531.84))
    with pytest.raises(ConfigError, match=r"anchors has 2 levels; this network has 1, of strides 32"):
        yolov2_tiny(anchors=[[(1.0, 2.0)], [(3.0, 4.0)]])


# --- The loss.


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def slow_loss(
    maps: Tensor, anchors: list[tuple[float, float]], boxes: Tensor, labels: Tensor, warming_up: bool
) -> dict[str, float]:
    """Cell by cell and anchor by anchor, as Darknet's region layer goes."""
    B, channels, rows, columns = maps.shape
    each = channels // len(anchors)
    terms = dict.fromkeys(("box", "objectness", "class", "prior"), 0.0)
    for image in range(B):
        real = [
            (box, label) for box, label in zip(boxes[image].tolist(), labels[image].tolist(), strict=True) if label >= 0
        ]
        owners: dict[tuple[int, int, int], tuple[list[float], int]] = {}
        for box, label in real:  # a later object takes the anchor from an earlier one
            width, height = box[2] - box[0], box[3] - box[1]
            shapes = [iou([0, 0, width, height], [0, 0, *anchor]) for anchor in anchors]
            cell = (int((box[1] + box[3]) / 2 // 32), int((box[0] + box[2]) / 2 // 32))
            owners[(*cell, shapes.index(max(shapes)))] = box, label
        for row in range(rows):
            for column in range(columns):
                for number, (aw, ah) in enumerate(anchors):
                    tx, ty, tw, th, to, *scores = maps[image, number * each : (number + 1) * each, row, column].tolist()
                    x, y = (column + sigmoid(tx)) * 32, (row + sigmoid(ty)) * 32
                    w, h, objectness = aw * math.exp(tw), ah * math.exp(th), sigmoid(to)
                    predicted = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    if (row, column, number) not in owners:
                        if all(iou(predicted, box) <= 0.6 for box, _ in real):
                            terms["objectness"] += objectness**2 / 2
                        if warming_up:
                            offsets = (sigmoid(tx) - 0.5, sigmoid(ty) - 0.5, tw, th)
                            terms["prior"] += 0.01 * sum(value**2 for value in offsets) / 2
                        continue
                    box, label = owners[row, column, number]
                    bw, bh = box[2] - box[0], box[3] - box[1]
                    wanted = ((box[0] + box[2]) / 64 - column, (box[1] + box[3]) / 64 - row)
                    errors = (
                        sigmoid(tx) - wanted[0],
                        sigmoid(ty) - wanted[1],
                        tw - math.log(bw / aw),
                        th - math.log(bh / ah),
                    )
                    scale = 2 - bw * bh / (rows * columns * 32**2)
                    terms["box"] += scale * sum(error**2 for error in errors) / 2
                    terms["objectness"] += 5 * (iou(predicted, box) - objectness) ** 2 / 2
                    terms["class"] += math.log(sum(math.exp(score) for score in scores)) - scores[label]
    return {name: value / B for name, value in terms.items()}


@pytest.mark.parametrize("warming_up", [True, False])
def test_loss_equals_that_of_plain_loops(warming_up: bool) -> None:
    torch.manual_seed(1)
    model = small()
    corner = torch.rand(4, 12, 2) * torch.tensor([100.0, 70.0])
    boxes = torch.cat((corner, corner + torch.rand(4, 12, 2) * 50 + 4), dim=2)
    labels = torch.randint(0, 3, (4, 12))
    labels[1], labels[2, 5:] = -1, -1
    boxes = torch.minimum(boxes, torch.tensor([160.0, 128.0, 160.0, 128.0]))
    maps = torch.randn(4, 3 * 8, 4, 5)
    # Some boxes predict an object that is another anchor's: neither positive nor negative.
    for image, target in ((0, 0), (0, 3), (3, 1)):
        x, y, w, h = ((boxes[image, target, :2] + boxes[image, target, 2:]) / 2).tolist() + (
            boxes[image, target, 2:] - boxes[image, target, :2]
        ).tolist()
        column, row = int(x // 32), int(y // 32)
        for number, (aw, ah) in enumerate(((20.0, 20.0), (40.0, 25.0), (30.0, 60.0))):
            code = torch.tensor([x / 32 - column, y / 32 - row, 0, 0]).clamp(1e-3, 1 - 1e-3).logit()
            code[2], code[3] = math.log(w / aw), math.log(h / ah)
            maps[image, number * 8 : number * 8 + 4, row, column] = code
    outputs = model.rows(torch.empty(4, 3, 128, 160), [maps])
    matches = model.match(model.grid([maps]), boxes, labels)
    assert len(matches.row) < int((labels >= 0).sum())  # some anchors are wanted by two objects
    ignored = pairwise_iou(model.boxes(outputs)[0], boxes[0]).amax(dim=1) > 0.6
    assert set(ignored.nonzero()[:, 0].tolist()) - set(matches.row[matches.image == 0].tolist())
    found = region_loss(outputs, matches, boxes, labels, RegionLoss(), float(warming_up))
    anchors = [(20.0, 20.0), (40.0, 25.0), (30.0, 60.0)]
    expected = slow_loss(maps, anchors, boxes, labels, warming_up)
    assert (expected["prior"] > 0) == warming_up
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (60, 500)])
def test_loss_and_gradients_are_finite_for_any_number_of_boxes(counts: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = small()
    targets = []
    for count in counts:
        corner = torch.rand(count, 2) * 100
        boxes = torch.cat((corner, corner + torch.rand(count, 2) * 60), 1)
        boxes[: count // 3, 2] = boxes[: count // 3, 0]  # no width
        boxes[count // 3 : count // 2] = torch.tensor([-3.0, 0.0, 128.0, 128.0])
        targets.append({"boxes": boxes, "labels": torch.ones(count).long()})
    terms = model.loss(torch.rand(2, 3, 128, 128), targets)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())
    assert bool(terms["box"] > 0) == any(counts)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        RegionLoss(object_scale=-1.0)
    with pytest.raises(ConfigError, match=r"ignore is 1\.5"):
        RegionLoss(ignore=1.5)


# --- Warm-up.


def test_boxes_learn_their_anchors_while_the_first_images_are_seen() -> None:
    model = small(prior_images=4)
    images, targets = torch.rand(2, 3, 64, 64), [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}] * 2

    def prior(model: YOLOv2) -> float:
        return model.loss(images, targets)["prior"].item()

    priors = [prior(model.train()) for _ in range(3)]
    assert priors[0] > 0
    assert priors[1] > 0
    assert priors[2] == 0
    assert int(model.images_seen) == 6
    other = small(prior_images=8)
    other.load_training_state(model.training_state())
    assert prior(other.eval()) > 0  # 6 of 8 images
    assert int(other.images_seen) == 6  # evaluation counts none
    prior(other.train())
    assert prior(other) == 0
    assert "images_seen" not in model.state_dict()
    fresh = small(prior_images=0)
    assert prior(fresh) == 0


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    colours = torch.tensor([[0.9, 0.15, 0.15], [0.15, 0.85, 0.2], [0.2, 0.2, 0.95]])
    images = torch.full((2, 3, 96, 96), 0.45) + torch.randn(2, 3, 96, 96) * 0.02
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [48.0, 46.0, 90.0, 88.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 30.0, 70.0, 70.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    model = small().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        torch.stack(list(model.loss(images, targets).values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        decoded = model.decode(model(images))
    for image, target in enumerate(targets):
        count = len(target["labels"])
        assert decoded["scores"][image, :count].min() > 0.6
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        assert overlaps.max(dim=1).values.min() > 0.8
        assert torch.equal(decoded["labels"][image, overlaps.argmax(dim=1)], target["labels"])
