"""YOLOv5: a second forward written from the layer list of v6.1, the loss against plain loops, anchors, biases."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from tests.weights.layouts.test_yolov5 import P5, P6, published
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.checkpoint import load_model, save_model
from saccade.models.detection.yolo_cells import CellMatches
from saccade.models.detection.yolov5 import ANCHORS_P6, YOLOv5, yolov5n
from saccade.models.detection.yolov5_loss import YOLOv5Gains, yolov5_loss
from saccade.models.registry import create_model
from saccade.ops.box_coding import decode_cells
from saccade.ops.iou import aligned_iou, pairwise_iou


def tiny(levels: int = 3, num_classes: int = 2) -> YOLOv5:
    """Four to sixteen channels, the depth of n."""
    anchors = {"anchors": ANCHORS_P6} if levels == 4 else {}
    return YOLOv5(num_classes, 0.33, 1 / 16, levels, size=128, **anchors)


class Plain:
    """Layers by their published numbers."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, None, stride, 2 if weight.shape[-1] == 6 else weight.shape[-1] // 2)
        scale, shift, mean, var = (
            self.state[f"{name}.bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return F.silu(F.batch_norm(x, mean, var, scale, shift, eps=1e-3))

    def c3(self, number: int, x: Tensor, shortcut: bool) -> Tensor:
        name = f"model.{number}"
        y, block = self.conv(f"{name}.cv1", x), 0
        while f"{name}.m.{block}.cv1.conv.weight" in self.state:
            z = self.conv(f"{name}.m.{block}.cv2", self.conv(f"{name}.m.{block}.cv1", y))
            y, block = (y + z if shortcut else z), block + 1
        return self.conv(f"{name}.cv3", torch.cat([y, self.conv(f"{name}.cv2", x)], 1))

    def run(self, images: Tensor, levels: int) -> list[Tensor]:
        """Every layer in the order of its number, with what later ones concatenate."""
        x = self.conv("model.0", images, 2)
        number, backbone = 1, []
        for _ in range(levels + 1):
            x = self.c3(number + 1, self.conv(f"model.{number}", x, 2), shortcut=True)
            backbone.append(x)
            number += 2
        y = self.conv(f"model.{number}.cv1", x)
        pooled = [y, *(F.max_pool2d(y, side, 1, side // 2) for side in (5, 9, 13))]
        x = self.conv(f"model.{number}.cv2", torch.cat(pooled, 1))
        number += 1
        kept = []
        for fine in backbone[-2:0:-1]:
            x = self.conv(f"model.{number}", x)
            kept.append(x)
            double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = self.c3(number + 3, torch.cat([double, fine], 1), shortcut=False)
            number += 4
        maps = [x]
        for earlier in kept[::-1]:
            joined = torch.cat([self.conv(f"model.{number}", x, 2), earlier], 1)
            x = self.c3(number + 2, joined, shortcut=False)
            maps.append(x)
            number += 3
        heads = (f"model.{number}.m.{level}" for level in range(levels))
        return [
            F.conv2d(level, self.state[f"{head}.weight"], self.state[f"{head}.bias"])
            for head, level in zip(heads, maps, strict=True)
        ]


@pytest.mark.parametrize(("levels", "layers"), [(3, P5), (4, P6)])
def test_forward_equals_a_plain_version(levels: int, layers: dict[int, str]) -> None:
    torch.manual_seed(0)
    model = tiny(levels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.rand(2, 3, 128, 192)
    model.train()(images)
    model.eval()
    with torch.no_grad():
        found, expected = model.raw_maps(images), Plain(published(model, layers)).run(images, levels)
    for own, plain in zip(found, expected, strict=True):
        assert (own - plain).abs().max() <= 1e-4 * plain.abs().max()


def test_the_first_predictions_are_eight_objects_an_image_of_640() -> None:
    model = yolov5n(num_classes=20)
    cells = [(640 // stride) ** 2 for stride in (8, 16, 32)]
    for layer, count in zip(model.head, cells, strict=True):
        bias = layer.bias.detach().view(3, 25)
        torch.testing.assert_close(bias[:, 4].exp() * count, torch.full((3,), 8.0))
        torch.testing.assert_close(bias[:, 5:], torch.full((3, 20), math.log(0.6 / 19.00001)))
        assert bias[:, :4].abs().max() < 0.2
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


# --- The loss.


def slow_loss(
    outputs: dict[str, Tensor], matches: CellMatches, boxes: Tensor, labels: Tensor, balance: list[float]
) -> dict[str, float]:
    """Level by level and pair by pair, with gains of one."""
    terms = {"box": 0.0, "objectness": 0.0, "class": 0.0}
    for level, stride in enumerate(outputs["strides"].unique().tolist()):
        rows = (outputs["strides"] == stride).nonzero()[:, 0].tolist()
        wanted = torch.zeros(len(boxes), len(rows))
        box, classes = [], []
        for image, row, target in zip(*(index.tolist() for index in matches), strict=True):
            if row not in rows:
                continue
            code = outputs["boxes"][image, row]
            here = tuple(outputs[name][row] for name in ("points", "strides", "anchors", "xy_scales"))
            found = decode_cells(code[None], here[0][None], here[1][None], here[2][None], here[3][None], "square")
            ciou = aligned_iou(found, boxes[image, target][None], "ciou").item()
            box.append(1 - ciou)
            cell = (image, rows.index(row))
            wanted[cell] = max(float(wanted[cell]), ciou)
            one_hot = F.one_hot(labels[image, target], outputs["logits"].shape[2]).float()
            classes.append(F.binary_cross_entropy_with_logits(outputs["logits"][image, row], one_hot).item())
        terms["box"] += sum(box) / max(len(box), 1)
        terms["class"] += sum(classes) / max(len(classes), 1)
        mean = F.binary_cross_entropy_with_logits(outputs["objectness"][:, rows], wanted)
        terms["objectness"] += balance[level] * mean.item()
    return terms


def test_loss_equals_that_of_plain_loops() -> None:
    torch.manual_seed(3)
    model = tiny(num_classes=4)
    images = torch.rand(3, 3, 64, 96)
    corner = torch.rand(3, 9, 2) * 60
    boxes = torch.cat((corner, corner + torch.rand(3, 9, 2) * 50 + 1), dim=2)
    labels = torch.randint(0, 4, (3, 9))
    labels[1] = -1
    maps = model.raw_maps(images)
    grid = model.grid(maps)
    outputs = {name: value.detach() for name, value in model.rows(images, maps).items()}
    matches = model.match(grid, boxes, labels)
    pairs = list(zip(matches.image.tolist(), matches.row.tolist(), strict=True))
    assert len(set(pairs)) < len(pairs)  # some rows are claimed twice
    balance = [4.0, 1.0, 0.4]
    found = yolov5_loss(outputs, matches, boxes, labels, YOLOv5Gains(1.0, 1.0, 1.0, tuple(balance)))
    expected = slow_loss(outputs, matches, boxes, labels, balance)
    for name, value in expected.items():
        assert float(found[name]) / 64 == pytest.approx(value, rel=1e-5)


def test_gains_follow_classes_levels_and_canvas() -> None:
    model = tiny(levels=4, num_classes=20)
    model.input_spec = model.input_spec.with_size((320, 1280))
    scaled = model.gains.scaled(model.num_classes, model.input_spec.size)
    assert scaled == YOLOv5Gains(0.05 * 0.75, 0.75, 0.5 * 0.25 * 0.75, (4.0, 1.0, 0.25, 0.06))
    with pytest.raises(ConfigError, match="at least 0"):
        YOLOv5Gains(box=-1.0)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (60, 500)])
def test_loss_and_gradients_are_finite_for_any_number_of_boxes(counts: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = tiny()
    corners = [torch.rand(count, 2) * 100 for count in counts]
    targets = [
        {
            "boxes": torch.cat((corner, corner + torch.rand(len(corner), 2) * 60), 1),
            "labels": torch.ones(len(corner)).long(),
        }
        for corner in corners
    ]
    terms = model.loss(torch.rand(2, 3, 128, 128), targets)
    sum(terms.values()).backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert bool(terms["box"] > 0) == any(counts)


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
    model = YOLOv5(3, 0.33, 1 / 8, size=96).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=100)
    for _ in range(100):
        optimizer.zero_grad()
        torch.stack(list(model.loss(images, targets).values())).sum().backward()
        optimizer.step()
        schedule.step()
    # Still in training mode: two images are too few for running statistics.
    with torch.no_grad():
        decoded = model.decode(model(images))
    for image, target in enumerate(targets):
        count = len(target["labels"])
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        assert overlaps.max(dim=1).values.min() > 0.8
        assert torch.equal(decoded["labels"][image, overlaps.argmax(dim=1)], target["labels"])


# --- Anchors.


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (ANCHORS_P6, "anchors has 4 levels; this network has 3, of strides 8, 16, 32"),
        ([[(10.0, 13.0)], [(30.0, 61.0)], [(5.0, 5.0)]], "reverse their order"),
        ([10.0, 13.0, 16.0], r"anchors\[0\] is 10\.0; it must be a list of"),
        ([[10.0, 13.0], [30.0, 61.0], [116.0, 90.0]], r"anchors\[0\] holds 10\.0"),
        ([[(10.0, "13")], [(30.0, 61.0)], [(116.0, 90.0)]], r"anchors\[0\] holds"),
        ([[(10.0, 13.0)], [], [(116.0, 90.0)]], r"anchors\[1\] is empty"),
        ([[(10.0, 13.0)], [(30.0, -61.0)], [(116.0, 90.0)]], r"anchors\[1\] holds"),
    ],
)
def test_anchors_that_do_not_fit_the_strides_are_one_line(anchors: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        yolov5n(num_classes=2, anchors=anchors)


def test_anchors_that_were_set_are_in_the_checkpoint(tmp_path: Path) -> None:
    model = create_model("yolov5n", num_classes=2)
    others = [[(7.0 * factor, 5.0 * factor + step) for step in range(3)] for factor in (1, 3, 9)]
    model.set_anchors(others)
    kept = load_model(save_model(model, tmp_path / "model.safetensors"))
    assert kept.anchor_sizes.tolist() == [list(anchor) for anchor in itertools.chain(*others)]
