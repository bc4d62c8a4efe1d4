"""YOLOv1: a second forward from the authors' layer list, the loss by plain loops, cells, class rows, what it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import ConfigError
from saccade.models.detection.yolov1 import YOLOv1, yolov1, yolov1_fast
from saccade.models.detection.yolov1_loss import Grid, cell_owners, decode_grid, encode_grid, yolov1_loss
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou

SMALL = {"num_classes": 3, "size": (128, 192), "hidden": (16,)}
GRID = Grid(2, 3, 128, 192)

# Layers as the authors list them: c = channels, side, stride of a convolution; "m" = pooling.
_PAIRS = [(256, 1, 1), (512, 3, 1)] * 4
FULL = [(64, 7, 2), "m", (192, 3, 1), "m", (128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1), "m", *_PAIRS]
FULL += [(512, 1, 1), (1024, 3, 1), "m", *[(512, 1, 1), (1024, 3, 1)] * 2]
FULL += [(1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1)]
FAST = [layer for width in (16, 32, 64, 128, 256, 512) for layer in ((width, 3, 1), "m")] + [(1024, 3, 1)] * 3


def plain(model: YOLOv1, layers: list, linear_first: bool, images: Tensor) -> Tensor:
    """Every layer in the order of the state dict, which is that of a Darknet file."""
    weights = [value for name, value in model.state_dict().items() if name.endswith("weight")]
    biases = [value for name, value in model.state_dict().items() if name.endswith("bias")]
    x, number = images, 0
    for layer in layers:
        if layer == "m":
            x = F.max_pool2d(x, 2)
            continue
        channels, side, stride = layer
        assert weights[number].shape == (channels, x.shape[1], side, side)
        x = F.leaky_relu(F.conv2d(x, weights[number], biases[number], stride, side // 2), 0.1)
        number += 1
    x = x.flatten(1)
    first = number
    for weight, bias in zip(weights[number:], biases[number:], strict=True):
        x = F.linear(x, weight, bias)
        number += 1
        if number < len(weights) and not (linear_first and number == first + 1):
            x = F.leaky_relu(x, 0.1)
    return x


@pytest.mark.parametrize(("builder", "layers", "first"), [(yolov1, FULL, False), (yolov1_fast, FAST, True)])
def test_forward_equals_the_authors_list_of_layers(builder, layers: list, first: bool) -> None:
    torch.manual_seed(0)
    model = builder(num_classes=3, size=64, hidden=(8, 12)).eval()
    nn.init.normal_(model.head.weight)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        outputs, flat = model(images), plain(model, layers, first, images)
    parts = [outputs["classes"], outputs["confidence"], outputs["boxes"]]  # Darknet's order
    found = torch.cat([part.flatten(1) for part in parts], dim=1)
    torch.testing.assert_close(found, flat, rtol=1e-4, atol=1e-4 * float(flat.abs().max()))


def test_the_canvas_is_fixed_and_a_multiple_of_the_cells() -> None:
    model = yolov1_fast(**SMALL)
    assert (model.grid, model.input_spec.size, model.input_spec.fixed) == (GRID, (128, 192), True)
    with pytest.raises(ConfigError, match="takes images of 128x192 pixels"):
        model.input_spec.with_size((192, 192))
    for size in (400, (448, 450), (448,), 0):
        with pytest.raises(ConfigError, match="multiples of 64"):
            yolov1_fast(size=size, hidden=(8,))


# --- Cells.


def test_the_first_object_of_a_cell_owns_it_and_borders_are_inside() -> None:
    boxes = torch.tensor(
        [
            [[10.0, 10, 20, 20], [30.0, 30, 40, 40], [70.0, 70, 90, 90], [188.0, 120, 196, 136], [-9.0, 0, 3, 9]],
            [[0.0, 0, 192, 128], [64.0, 0, 64, 0], [0.0, 0, 0, 0], [0.0, 0, 0, 0], [0.0, 0, 0, 0]],
        ]
    )
    labels = torch.tensor([[-1, 0, 1, 2, 0], [0, 1, -1, -1, -1]])
    assert cell_owners(boxes, labels, GRID).tolist() == [[1, -1, -1, -1, 2, 3], [-1, 1, -1, -1, 0, -1]]
    assert cell_owners(torch.zeros(2, 0, 4), torch.zeros(2, 0).long(), GRID).tolist() == [[-1] * 6] * 2


def test_crowds_are_what_it_cannot_have() -> None:
    model = yolov1_fast(**SMALL)
    corner = torch.rand(60, 2) * torch.tensor([170.0, 110.0])
    boxes = torch.cat((corner, corner + 15), dim=1)
    cells = {tuple((box // 64).tolist()) for box in (boxes[:, :2] + boxes[:, 2:]) / 2}
    assert int(model.assignable(boxes, (128, 192)).sum()) == len(cells)
    assert model.assignable(boxes[:1], (128, 192)).tolist() == [True]
    assert model.assignable(torch.zeros(0, 4), (128, 192)).shape == (0,)


def test_the_viewer_gets_cells_and_their_objects() -> None:
    model = yolov1_fast(**SMALL)
    targets = [{"boxes": torch.tensor([[70.0, 70.0, 90.0, 90.0]]), "labels": torch.tensor([1])}]
    assignment = model.assign(torch.zeros(1, 3, 128, 192), targets)
    assert assignment.owners.tolist() == [[-1, -1, -1, -1, 0, -1]]
    assert assignment.regions_xyxy[4].tolist() == [64.0, 64.0, 128.0, 128.0]
    assert assignment.level_names == ("2 x 3 cells",)


def test_codes_there_and_back() -> None:
    corner = torch.rand(4, 6, 2) * 100
    boxes = torch.cat((corner, corner + torch.rand(4, 6, 2) * 90), dim=2)
    torch.testing.assert_close(decode_grid(encode_grid(boxes, GRID)[:, :, None], GRID)[:, :, 0], boxes)


# --- The loss.


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def slow_loss(outputs: dict[str, Tensor], boxes: Tensor, labels: Tensor, grid: Grid) -> dict[str, float]:
    """Equation 3 cell by cell, in relative coordinates, as the paper writes it."""
    terms = dict.fromkeys(("center", "size", "confidence", "no_object", "class"), 0.0)
    for image in range(len(boxes)):
        for cell in range(grid.rows * grid.columns):
            row, column = divmod(cell, grid.columns)
            confidence = outputs["confidence"][image, cell].tolist()
            own = None
            for box, label in zip(boxes[image].tolist(), labels[image].tolist(), strict=True):
                x, y = (box[0] + box[2]) / 2 / grid.width, (box[1] + box[3]) / 2 / grid.height
                if label >= 0 and (int(x * grid.columns), int(y * grid.rows)) == (column, row):
                    own = (x, y, (box[2] - box[0]) / grid.width, (box[3] - box[1]) / grid.height, label)
                    break
            if own is None:
                terms["no_object"] += 0.5 * sum(value**2 for value in confidence)
                continue
            x, y, w, h, label = own
            overlaps, errors = [], []
            for px, py, rw, rh in outputs["boxes"][image, cell].tolist():
                px, py, pw, ph = (px + column) / grid.columns, (py + row) / grid.rows, rw**2, rh**2
                corners = [
                    [cx - sw / 2, cy - sh / 2, cx + sw / 2, cy + sh / 2]
                    for cx, cy, sw, sh in ((px, py, pw, ph), (x, y, w, h))
                ]
                overlaps.append(iou(*corners))
                errors.append((px - x) ** 2 + (py - y) ** 2 + (pw - w) ** 2 + (ph - h) ** 2)
            best = overlaps.index(max(overlaps)) if max(overlaps) > 0 else errors.index(min(errors))
            px, py, rw, rh = outputs["boxes"][image, cell, best].tolist()
            terms["center"] += 5 * ((px - (x * grid.columns - column)) ** 2 + (py - (y * grid.rows - row)) ** 2)
            terms["size"] += 5 * ((rw - math.sqrt(w)) ** 2 + (rh - math.sqrt(h)) ** 2)
            terms["confidence"] += (overlaps[best] - confidence[best]) ** 2
            terms["no_object"] += 0.5 * confidence[1 - best] ** 2
            for number, value in enumerate(outputs["classes"][image, cell].tolist()):
                terms["class"] += (value - (number == label)) ** 2
    return {name: value / len(boxes) for name, value in terms.items()}


def test_loss_equals_that_of_plain_loops() -> None:
    torch.manual_seed(2)
    corner = torch.rand(6, 8, 2) * torch.tensor([150.0, 90.0])
    boxes = torch.cat((corner, corner + torch.rand(6, 8, 2) * 40 + 0.5), dim=2)
    labels = torch.randint(0, 3, (6, 8))
    labels[1], labels[2, 3:] = -1, -1
    # Small boxes, so that for some objects neither box overlaps.
    outputs = {
        "boxes": torch.rand(6, 6, 2, 4) * 0.5,
        "confidence": torch.randn(6, 6, 2),
        "classes": torch.randn(6, 6, 3),
    }
    overlaps = [
        pairwise_iou(boxes[image], decode_grid(outputs["boxes"], GRID)[image].flatten(0, 1)) for image in range(6)
    ]
    assert any(bool((overlap == 0).all(dim=1).any()) for overlap in overlaps)
    found, expected = yolov1_loss(outputs, boxes, labels, GRID), slow_loss(outputs, boxes, labels, GRID)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (60, 500)])
def test_loss_and_gradients_are_finite_for_any_number_of_boxes(counts: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = yolov1_fast(**SMALL)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2) * 120
        boxes = torch.cat((corner, corner + torch.rand(count, 2) * 60), 1)
        boxes[: count // 3, 2] = boxes[: count // 3, 0]  # no width
        boxes[count // 3 : count // 2] = torch.tensor([0.0, 0.0, 192.0, 128.0])
        targets.append({"boxes": boxes, "labels": torch.ones(count).long()})
    terms = model.loss(torch.rand(2, 3, 128, 192), targets)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())
    assert bool(terms["size"] > 0) == any(counts)


# --- Classes.


def test_a_head_keeps_the_rows_of_its_classes(tmp_path) -> None:
    from saccade.models.checkpoint import save_model
    from saccade.weights.load import load_weights

    torch.manual_seed(0)
    model = create_model("yolov1_fast", **SMALL).eval()
    model.class_names = ("cat", "dog", "cow")
    path = save_model(model, tmp_path / "model.safetensors")
    other = create_model("yolov1_fast", **{**SMALL, "num_classes": 2}).eval()
    other.class_names = ("cow", "bird")
    load_weights(other, path)
    images = torch.rand(1, 3, 128, 192)
    with torch.no_grad():
        before, after = model(images), other(images)
    torch.testing.assert_close(after["boxes"], before["boxes"])
    torch.testing.assert_close(after["confidence"], before["confidence"])
    torch.testing.assert_close(after["classes"][..., 0], before["classes"][..., 2])


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    colours = torch.tensor([[0.9, 0.15, 0.15], [0.15, 0.85, 0.2], [0.2, 0.2, 0.95]]) * 2 - 1
    images = torch.full((2, 3, 128, 128), -0.1) + torch.randn(2, 3, 128, 128) * 0.04
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [68.0, 66.0, 120.0, 118.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 80.0, 60.0, 120.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    stages = [((8, 3, 1),), ((16, 3, 2),), ((16, 3, 2),), ((32, 3, 2),)]
    connected = lambda inputs: (nn.Sequential(nn.Linear(inputs, 64), nn.LeakyReLU(0.1)), 64)  # noqa: E731
    model = YOLOv1(3, stages, connected, size=128, batch_norm=True).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        torch.stack(list(model.loss(images, targets).values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        decoded = model.decode(model(images))
    for image, target in enumerate(targets):
        count = len(target["labels"])
        assert decoded["scores"][image, :count].min() > 0.7
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        assert overlaps.max(dim=1).values.min() > 0.8
        assert torch.equal(decoded["labels"][image, overlaps.argmax(dim=1)], target["labels"])
