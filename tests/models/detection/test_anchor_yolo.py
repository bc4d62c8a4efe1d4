"""What YOLOv2 to v5 share: the order of rows, codes, which anchors an object claims, and the loss of v3 and v4."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.detection.anchor_yolo import AnchorYOLO, check_anchors
from saccade.models.detection.yolo_assign_ratio import claim_by_ratio
from saccade.models.detection.yolo_assign_shape import claim_best, claim_overlapping
from saccade.models.detection.yolo_cells import CellGrid, CellMatches, claimed_rows, largest_overlap
from saccade.models.detection.yolo_loss import YoloLoss, yolo_loss
from saccade.ops.box_coding import SizeCoding, cell_offsets, decode_cells, encode_cells
from saccade.ops.matching import IGNORED
from saccade.ops.nms import NmsSettings

ANCHORS = (((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)), ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)))
STRIDES = (16, 32)
SIZE = (96, 128)


class Toy(AnchorYOLO):
    """One convolution a level."""

    def __init__(self, num_classes: int = 3, assignment: str = "best") -> None:
        super().__init__(num_classes, ANCHORS, STRIDES, ("fine", "coarse"), NmsSettings(0.5, 0.01))
        self.assignment = assignment
        if assignment == "ratio":
            self.size_coding, self.xy_scales = "square", (2.0, 2.0)
        self.fine = nn.Conv2d(3, self.outputs_of(0), 16, 16)
        self.coarse = nn.Conv2d(3, self.outputs_of(1), 32, 32)
        self.reset_predictions()
        self.ignore = 0.5

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        return [self.fine(images), self.coarse(images)]

    def claim(self, grid: CellGrid, boxes_xyxy: Tensor, labels: Tensor) -> tuple[CellMatches, Tensor | None]:
        if self.assignment == "ratio":
            return claim_by_ratio(grid, boxes_xyxy, labels), None
        return (claim_best if self.assignment == "best" else claim_overlapping)(grid, boxes_xyxy, labels)

    def loss_terms(self, outputs: dict[str, Tensor], matches: CellMatches, boxes_xyxy: Tensor, labels: Tensor):  # type: ignore[no-untyped-def, override]
        return yolo_loss(outputs, matches, boxes_xyxy, labels, YoloLoss())


def cases(count: int) -> list[tuple[Tensor, Tensor]]:
    """Boxes (2, M, 4) and labels (2, M): random, doubled, thin, outside, none."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for case in range(count):
        objects = (0, 1, 3, 9)[case % 4]
        sides = 10 ** (torch.rand(2, objects, 2, generator=generator) * 3 - 0.7)
        corners = torch.rand(2, objects, 2, generator=generator) * torch.tensor([150.0, 120.0]) - 10
        boxes = torch.cat((corners, corners + sides), dim=-1)
        if objects > 2:
            boxes[:, 1] = boxes[:, 0]  # two objects in one place
            boxes[:, 2, 2] = boxes[:, 2, 0]  # no width
        labels = torch.randint(-1, 3, (2, objects), generator=generator)
        found.append((boxes, labels))
    return found


def make_grid() -> CellGrid:
    maps = [torch.zeros(1, 1, SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    return CellGrid.of(maps, STRIDES, [torch.tensor(level) for level in ANCHORS])


def all_rows() -> dict[tuple[int, int, int, int], int]:
    """Row by level, row of cells, column and anchor, counted in loops."""
    rows: dict[tuple[int, int, int, int], int] = {}
    for level, stride in enumerate(STRIDES):
        for y in range(SIZE[0] // stride):
            for x in range(SIZE[1] // stride):
                for anchor in range(3):
                    rows[level, y, x, anchor] = len(rows)
    return rows


def shape_overlap(box: list[float], anchor: tuple[float, float]) -> float:
    width, height = box[2] - box[0], box[3] - box[1]
    both = min(width, anchor[0]) * min(height, anchor[1])
    return both / (width * height + anchor[0] * anchor[1] - both)


def slow_claims(kind: str, boxes: Tensor, labels: Tensor) -> set[tuple[int, int, int, int]]:
    """(image, row, object, rank) of every claim."""
    rows, found = all_rows(), set()
    anchors = [(level, number, anchor) for level, own in enumerate(ANCHORS) for number, anchor in enumerate(own)]
    for image in range(boxes.shape[0]):
        for number, (box, label) in enumerate(zip(boxes[image].tolist(), labels[image].tolist(), strict=True)):
            if label < 0:
                continue
            overlaps = [shape_overlap(box, anchor) for _, _, anchor in anchors]
            best = overlaps.index(max(overlaps))
            for index, (level, own, anchor) in enumerate(anchors):
                stride = STRIDES[level]
                height, width = SIZE[0] // stride, SIZE[1] // stride
                cx, cy = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
                x, y = min(max(math.floor(cx), 0), width - 1), min(max(math.floor(cy), 0), height - 1)
                if kind == "ratio":
                    sides = (box[2] - box[0], box[3] - box[1])
                    if min(sides) <= 0 or max(max(s / a, a / s) for s, a in zip(sides, anchor, strict=True)) >= 4:
                        continue
                    cells = {(x, y)}
                    if cx - x != 0.5:
                        cells.add((x + (1 if cx - x > 0.5 else -1), y))
                    if cy - y != 0.5:
                        cells.add((x, y + (1 if cy - y > 0.5 else -1)))
                    inside = {(a, b) for a, b in cells if 0 <= a < width and 0 <= b < height}
                    found |= {(image, rows[level, b, a, own], number, 0) for a, b in inside}
                elif index == best or (kind == "overlapping" and overlaps[index] > 0.213):
                    found.add((image, rows[level, y, x, own], number, int(index == best)))
    return found


@pytest.mark.parametrize("kind", ["best", "overlapping", "ratio"])
def test_claims_equal_those_of_plain_loops(kind: str) -> None:
    grid = make_grid()
    for boxes, labels in cases(300):
        if kind == "ratio":
            claims, rank = claim_by_ratio(grid, boxes, labels), None
        else:
            claims, rank = (claim_best if kind == "best" else claim_overlapping)(grid, boxes, labels)
        ranks = [0] * len(claims.row) if rank is None else rank.tolist()
        got = list(zip(*(part.tolist() for part in claims), ranks, strict=True))
        assert len(got) == len(set(got))
        assert set(got) == slow_claims(kind, boxes, labels)


def test_a_row_goes_to_the_object_whose_best_anchor_it_is_and_then_to_the_later() -> None:
    generator = random.Random(5)
    for _ in range(200):
        triples = [(generator.randrange(2), generator.randrange(4), generator.randrange(3)) for _ in range(9)]
        triples = sorted(set(triples))
        ranks = [generator.randrange(2) for _ in triples]
        slow: dict[tuple[int, int], tuple[int, int]] = {}
        for (image, row, target), rank in zip(triples, ranks, strict=True):
            slow[image, row] = max(slow.get((image, row), (-1, -1)), (rank, target))
        parts = torch.tensor(triples).T
        kept = claimed_rows(CellMatches(*parts), torch.tensor(ranks), batch=2, rows=4, objects=3)
        got = dict(zip(zip(kept.image.tolist(), kept.row.tolist(), strict=True), kept.target.tolist(), strict=True))
        assert got == {place: target for place, (_, target) in slow.items()}


def test_rows_lie_level_by_level_cell_by_cell_anchor_by_anchor() -> None:
    model = Toy().eval()
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    maps, outputs = model.raw_maps(images), model(images)
    for (level, y, x, anchor), row in all_rows().items():
        raw = maps[level][:, anchor * 8 : anchor * 8 + 8, y, x]
        assert torch.equal(outputs["boxes"][:, row], raw[:, :4])
        assert torch.equal(outputs["objectness"][:, row], raw[:, 4])
        assert torch.equal(outputs["logits"][:, row], raw[:, 5:])
        assert outputs["points"][row].tolist() == [x, y]
        assert (outputs["strides"][row].item(), tuple(outputs["anchors"][row].tolist())) == (
            STRIDES[level],
            ANCHORS[level][anchor],
        )


@pytest.mark.parametrize(("scale", "size"), [(1.0, "exp"), (1.2, "exp"), (2.0, "square")])
def test_codes_are_those_of_the_papers_and_encoding_inverts_them(scale: float, size: SizeCoding) -> None:
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    points = torch.randint(0, 20, (200, 2), generator=generator).double()
    strides = torch.tensor([8.0, 32.0]).double().repeat(100)
    anchors = torch.rand(200, 2, generator=generator).double() * 90 + 10
    boxes = decode_cells(raw, points, strides, anchors, scale, size)
    for index, (tx, ty, tw, th) in enumerate(raw.tolist()):
        cx, cy = (
            strides[index].item() * (p.item() + scale / (1 + math.exp(-t)) - (scale - 1) / 2)
            for t, p in ((tx, points[index, 0]), (ty, points[index, 1]))
        )
        width, height = (
            a.item() * (math.exp(t) if size == "exp" else (2 / (1 + math.exp(-t))) ** 2)
            for t, a in ((tw, anchors[index, 0]), (th, anchors[index, 1]))
        )
        expected = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
        assert boxes[index].tolist() == pytest.approx(expected)
    scales = torch.full((200,), scale, dtype=torch.float64)
    torch.testing.assert_close(encode_cells(boxes, points, strides, anchors, scales, size), raw)
    offsets = cell_offsets(raw, scales, size)
    torch.testing.assert_close(offsets[:, 2:], ((boxes[:, 2:] - boxes[:, :2]) / anchors).log())
    torch.testing.assert_close(offsets[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2 / strides[:, None] - points)


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


def bce(logit: float, target: float) -> float:
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


@pytest.mark.parametrize("settings", [YoloLoss(ignore=0.1), YoloLoss("giou", "iou", 0.2, label_smoothing=0.1)])
def test_loss_equals_that_of_plain_loops(settings: YoloLoss) -> None:
    torch.manual_seed(2)
    model = Toy().eval()
    nn.init.normal_(model.fine.weight, std=0.05)
    images = torch.rand(2, 3, *SIZE)
    ignored = 0
    for boxes, labels in cases(12):
        outputs = model(images)
        matches = model.match(model.grid(model.raw_maps(images)), boxes, labels)
        terms = yolo_loss(outputs, matches, boxes, labels, settings)
        predicted = model.boxes(outputs).tolist()
        owner = {(b, r): t for b, r, t in zip(*(part.tolist() for part in matches), strict=True)}
        slow = {"box": 0.0, "objectness": 0.0, "class": 0.0}
        for image in range(2):
            objects = [
                box for box, label in zip(boxes[image].tolist(), labels[image].tolist(), strict=True) if label >= 0
            ]
            for row in range(outputs["boxes"].shape[1]):
                logit, wanted = outputs["objectness"][image, row].item(), 0.0
                if (image, row) in owner:
                    target = owner[image, row]
                    box = boxes[image, target].tolist()
                    overlap = iou(predicted[image][row], box)
                    wanted = overlap if settings.objectness == "iou" else 1.0
                    if settings.box == "mse":
                        stride, anchor = outputs["strides"][row].item(), outputs["anchors"][row].tolist()
                        raw, point = outputs["boxes"][image, row].tolist(), outputs["points"][row].tolist()
                        weight = 2 - min((box[2] - box[0]) * (box[3] - box[1]) / (SIZE[0] * SIZE[1]), 1)
                        for axis in range(2):
                            place = (box[axis] + box[axis + 2]) / 2 / stride - point[axis]
                            place = min(max(place, 1e-4), 1 - 1e-4)
                            side = math.log(max((box[axis + 2] - box[axis]) / anchor[axis], 1e-8))
                            slow["box"] += weight / 2 * (1 / (1 + math.exp(-raw[axis])) - place) ** 2
                            slow["box"] += weight / 2 * (raw[axis + 2] - side) ** 2
                    else:
                        p = predicted[image][row]
                        hull = (max(p[2], box[2]) - min(p[0], box[0])) * (max(p[3], box[3]) - min(p[1], box[1]))
                        areas = (p[2] - p[0]) * (p[3] - p[1]) + (box[2] - box[0]) * (box[3] - box[1])
                        union = areas / (1 + overlap) if overlap else areas
                        slow["box"] += 1 - overlap + (hull - union) / hull
                    smooth = settings.label_smoothing / 2
                    for label, value in enumerate(outputs["logits"][image, row].tolist()):
                        slow["class"] += bce(value, 1 - smooth if label == labels[image, target] else smooth)
                elif max((iou(predicted[image][row], box) for box in objects), default=0.0) > settings.ignore:
                    ignored += 1
                    continue
                slow["objectness"] += bce(logit, wanted)
        for name, value in terms.items():
            assert value.item() == pytest.approx(slow[name] / 2, rel=2e-4, abs=1e-4), name
    assert ignored > 0


@pytest.mark.parametrize("assignment", ["best", "overlapping", "ratio"])
def test_ground_truth_that_is_encoded_is_found_again(assignment: str) -> None:
    model = Toy(assignment=assignment).eval()
    boxes = torch.tensor([[[3.0, 5.0, 14.0, 20.0], [60.0, 20.0, 120.0, 90.0], [30.0, 40.0, 60.0, 80.0]]])
    labels = torch.tensor([[0, 2, 1]])
    images = torch.zeros(1, 3, *SIZE)
    outputs = {name: value.detach().clone() for name, value in model(images).items()}
    image, row, target = model.match(model.grid(model.raw_maps(images)), boxes, labels)
    points, strides, anchors, scales = (outputs[name][row] for name in ("points", "strides", "anchors", "xy_scales"))
    codes = encode_cells(boxes[image, target], points, strides, anchors, scales, model.size_coding)
    outputs["boxes"][image, row] = codes
    outputs["objectness"].fill_(-20)[image, row] = 20.0
    outputs["logits"].fill_(-20)[image, row, labels[image, target]] = 20.0
    found = model.decode(outputs)
    assert found["count"].item() == 3
    kept = found["boxes"][0, : int(found["count"])]
    overlaps = torch.tensor([[iou(a, b) for b in kept.tolist()] for a in boxes[0].tolist()])
    assert overlaps.amax(dim=1).min() > 0.99
    assert set(found["labels"][0, : int(found["count"])].tolist()) == {0, 1, 2}


def test_largest_overlap_does_not_depend_on_how_many_pairs_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, labels = cases(4)[3]
    predicted = torch.rand(2, 50, 2).repeat(1, 1, 2) * 90
    predicted[..., 2:] += 30
    whole = largest_overlap(predicted, boxes, labels >= 0)
    monkeypatch.setattr("saccade.models.detection.yolo_cells._PAIRS", 100)
    assert torch.equal(largest_overlap(predicted, boxes, labels >= 0), whole)
    assert whole.max() > 0.1


def test_the_viewer_sees_positive_and_ignored_rows() -> None:
    model = Toy().eval()
    model.ignore = 0.4
    nn.init.zeros_(model.fine.weight)
    nn.init.zeros_(model.coarse.weight)
    model.state_dict()["coarse.bias"].zero_()  # every box is its anchor, on the middle of its cell
    box = torch.tensor([[[8.0, 8.0, 88.0, 88.0]]])  # anchor 81 x 82 of cell (1, 1)
    seen = model.assign(torch.zeros(1, 3, *SIZE), {"boxes": box, "labels": torch.tensor([[1]])})
    assert seen.regions_xyxy.shape == (8 * 6 * 3 + 4 * 3 * 3, 4)
    assert (seen.owners == 0).sum() == 1
    assert seen.regions_xyxy[(seen.owners[0] == 0).nonzero()[0, 0]].tolist() == [7.5, 7.0, 88.5, 89.0]
    assert (seen.owners == IGNORED).sum() == 4  # of the next cells: 48 of 80 pixels are common, an IoU of 0.43
    assert model.assignable(torch.cat((box[0], box[0])), SIZE).tolist() == [True, False]


@pytest.mark.parametrize("count", [0, 1, 60])
def test_losses_and_gradients_are_finite(count: int) -> None:
    torch.manual_seed(0)
    model = Toy(assignment="overlapping").train()
    corners = torch.rand(2, count, 2) * 100
    boxes = torch.cat((corners, corners + torch.rand(2, count, 2) * 30), dim=-1)
    terms = model.loss(torch.rand(2, 3, *SIZE), {"boxes": boxes, "labels": torch.zeros(2, count, dtype=torch.int64)})
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_objectness_starts_low_and_focal_and_iou_targets_change_it() -> None:
    model = Toy().eval()
    biases = model.state_dict()["fine.bias"].view(3, 8)
    assert torch.allclose(biases[:, 4].sigmoid(), torch.tensor(0.01))
    boxes, labels = torch.tensor([[[8.0, 8.0, 80.0, 80.0]]]), torch.tensor([[1]])
    images = torch.rand(1, 3, *SIZE)
    outputs, matches = model(images), model.match(model.grid(model.raw_maps(images)), boxes, labels)
    kinds = (YoloLoss(), YoloLoss(objectness="iou"), YoloLoss(focal_gamma=2.0))
    values = [yolo_loss(outputs, matches, boxes, labels, one)["objectness"].item() for one in kinds]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([[(1.0, 2.0)]], "has 1 levels; this network has 2, of strides 16, 32"),
        ([[(1.0, 2.0)], []], r"anchors\[1\] is empty"),
        ([[(1.0, 0.0)], [(3.0, 4.0)]], "above 0"),
        ([[(30.0, 40.0)], [(3.0, 4.0)]], "reverse their order"),
    ],
)
def test_anchors_that_do_not_fit_are_refused(anchors: list[list[tuple[float, float]]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_anchors(anchors, STRIDES)


def test_fitted_anchors_travel_with_the_weights() -> None:
    model, other = Toy(), Toy()
    model.set_anchors([[(5.0, 6.0)] * 3, [(50.0, 60.0)] * 3])
    other.load_state_dict(model.state_dict())
    assert other.anchors(SIZE)[0].tolist() == [5.5, 5.0, 10.5, 11.0]
    with pytest.raises(ConfigError, match="on its levels"):
        model.set_anchors([[(5.0, 6.0)], [(50.0, 60.0)]])


@pytest.mark.parametrize(
    ("field", "value"), [("box", "siou"), ("objectness", "two"), ("label_smoothing", 1.0), ("ignore", 2.0)]
)
def test_settings_of_the_loss_are_checked(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        YoloLoss(**{field: value})  # type: ignore[arg-type]
