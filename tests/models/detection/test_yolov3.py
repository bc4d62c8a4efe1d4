"""YOLOv3 and v4: figures of the reference, a second forward from the list of sections, and what each option changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.detection import darknet_layers
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.losses.iou import iou_loss
from saccade.models.checkpoint import save_model
from saccade.models.classification.cspdarknet53 import cspdarknet53
from saccade.models.detection import yolov4 as v4
from saccade.models.detection.yolo_loss import YoloLoss
from saccade.models.detection.yolov3 import ANCHORS_TINY, ANCHORS_TINY_PUBLISHED, yolov3, yolov3_spp, yolov3_tiny
from saccade.models.detection.yolov3_parts import PyramidYOLO
from saccade.models.detection.yolov4 import yolov4, yolov4_tiny
from saccade.models.registry import create_model
from saccade.ops.box_coding import decode_cells, encode_cells
from saccade.weights import load_weights

COUNTS = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]
BUILDERS = ("yolov3", "yolov3_tiny", "yolov3_spp", "yolov4", "yolov4_tiny")
TINY = (yolov3_tiny, yolov4_tiny)


@pytest.mark.parametrize("name", BUILDERS)
def test_parameters_and_macs_of_the_reference(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
        macs = []
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda module, _, out: macs.append(module.weight[0].numel() * out.numel()))
        model(torch.empty(1, *COUNTS[name]["input"]))
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[name]["params"]
    assert sum(macs) == COUNTS[name]["macs"]


@pytest.mark.parametrize(
    ("build", "sections"),
    [
        (yolov3_spp, lambda outputs: darknet_layers.yolov3(outputs, spp=True)),
        (yolov3_tiny, darknet_layers.yolov3_tiny),
        (yolov4, darknet_layers.yolov4),
        (yolov4_tiny, darknet_layers.yolov4_tiny),
    ],
)
def test_forward_equals_that_of_the_sections_in_the_order_of_the_state_dict(
    build: Callable[..., PyramidYOLO], sections: Callable[[int], list[darknet_layers.Layer]]
) -> None:
    torch.manual_seed(0)
    model = build(num_classes=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        model.train()(images)
        found = model.eval().raw_maps(images)
        expected = darknet_layers.run(sections(21), model, images)
    if build is not yolov4:
        expected.reverse()  # YOLOv4 alone predicts from fine to coarse
    assert [level.shape[2:] for level in found] == [(64 // stride, 96 // stride) for stride in model.feature_strides]
    for own, plain in zip(found, expected, strict=True):
        assert own.std() > 0.1
        assert (own - plain).abs().max() <= 1e-3 * plain.abs().max()
    if build is not yolov3_tiny:
        whole = torch.compile(model, backend="eager", fullgraph=True)(images)
        torch.testing.assert_close(whole["objectness"], model(images)["objectness"])


def test_yolov3_has_the_sections_of_its_file() -> None:
    with torch.device("meta"), torch.no_grad():
        model = yolov3(num_classes=3).eval()
        maps = darknet_layers.run(darknet_layers.yolov3(24), model, torch.empty(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in maps] == [(24, 2, 2), (24, 4, 4), (24, 8, 8)]


def some_targets(count: int, kind: str = "any", side: int = 64) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * (side - 8)
    sides = torch.rand(count, 2, generator=generator) * 30 + 2
    if kind == "thin":
        sides[:, 0] = 1e-3
    if kind == "border":
        corners, sides = corners * 0 + side - 1e-3, sides * 0 + 4
    if kind == "crowd":
        corners, sides = corners[:1].expand(count, 2), sides[:1].expand(count, 2)
    boxes = torch.cat((corners, corners + sides), dim=1)
    return [{"boxes": boxes, "labels": torch.arange(count) % 2}, {"boxes": boxes[:0], "labels": torch.arange(0)}]


@pytest.mark.parametrize("build", TINY)
def test_losses_and_gradients_are_finite_for_any_boxes(build: Callable[..., PyramidYOLO]) -> None:
    torch.manual_seed(0)
    model = build(num_classes=2).train()
    images = torch.rand(2, 3, 64, 64)
    for count, kind in ((0, "any"), (1, "any"), (60, "any"), (500, "any"), (9, "thin"), (9, "border"), (60, "crowd")):
        model.zero_grad()
        terms = model.loss(images, some_targets(count, kind))
        torch.stack(list(terms.values())).sum().backward()
        assert all(term.isfinite() for term in terms.values()), (count, kind)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), (name, count, kind)
        assert bool(terms["box"] > 0) == bool(count)


def test_defaults_are_those_of_papers_and_configurations() -> None:
    with torch.device("meta"):
        third, fourth, small = yolov3(), yolov4(), yolov4_tiny()
    assert third.loss_settings == YoloLoss("mse", "one", ignore=0.5)
    assert fourth.loss_settings == YoloLoss("ciou", "one", ignore=0.7, box_gain=v4.BOX_GAIN)
    assert (third.assignment, fourth.iou_threshold, small.iou_threshold) == ("best", 0.213, 1.0)
    assert (third.xy_scales, third.size_coding) == ((1.0, 1.0, 1.0), "exp")
    assert (fourth.xy_scales, small.xy_scales) == ((1.2, 1.1, 1.05), (1.05, 1.05))
    assert (third.nms.iou, fourth.nms.iou) == (0.45, 0.6)
    assert (third.input_spec.size, fourth.input_spec.size) == ((416, 416), (608, 608))


@pytest.mark.parametrize(
    ("build", "option", "changed"),
    [
        *((yolov3_tiny, {"box_loss": kind}, "box") for kind in ("iou", "giou", "diou", "ciou")),
        (yolov3_tiny, {"objectness": "iou"}, "objectness"),
        (yolov3_tiny, {"focal_gamma": 2.0}, "objectness"),
        *((yolov4_tiny, {"box_loss": kind}, "box") for kind in ("mse", "iou", "giou", "diou")),
        (yolov4_tiny, {"objectness": "iou"}, "objectness"),
        (yolov4_tiny, {"label_smoothing": 0.1}, "class"),
    ],
)
def test_an_option_of_the_loss_changes_its_term_and_no_other(
    build: Callable[..., PyramidYOLO], option: dict[str, Any], changed: str
) -> None:
    torch.manual_seed(0)
    model = build(num_classes=2).eval()
    images, targets = torch.rand(2, 3, 64, 64), some_targets(5)
    plain = model.loss(images, targets)
    with torch.device("meta"):
        model.loss_settings = build(num_classes=2, **option).loss_settings
    other = model.loss(images, targets)
    assert {name for name in plain if not torch.equal(plain[name], other[name])} == {changed}


def positives(model: PyramidYOLO, box: list[float]) -> tuple[int, set[float]]:
    """Positive rows of one object, and the strides of their levels."""
    maps = [torch.zeros(1, 1, 416 // stride, 416 // stride) for stride in model.feature_strides]
    grid = model.grid(maps)
    matches = model.match(grid, torch.tensor([[box]]), torch.tensor([[0]]))
    return len(matches.row), set(grid.rows()[1][matches.row].tolist())


def test_the_ratio_rule_gives_an_object_several_anchors_and_cells() -> None:
    box = [150.0, 153.0, 220.0, 230.0]
    best, ratio = yolov3_tiny(num_classes=2), yolov3_tiny(num_classes=2, assignment="ratio")
    assert positives(best, box) == (1, {32.0})
    count, strides = positives(ratio, box)
    assert (count, strides) == (3 * 4, {16.0, 32.0})  # of the anchors, 23 x 27 up to 135 x 169 fit, at three cells each
    assert (ratio.size_coding, ratio.xy_scales) == ("square", (2.0, 2.0))


def test_the_threshold_of_yolov4_gives_an_object_several_anchors() -> None:
    box = [150.0, 153.0, 220.0, 230.0]
    assert positives(yolov4_tiny(num_classes=2), box) == (1, {32.0})
    # IoU of shapes with 70 x 77: 37 x 58 has 0.40, 81 x 82 0.81, 135 x 169 0.24; 23 x 27 has 0.12, 344 x 319 0.05.
    assert positives(yolov4_tiny(num_classes=2, iou_threshold=0.213), box) == (3, {16.0, 32.0})


def test_gradients_of_the_box_term_are_as_large_as_darknets() -> None:
    """Darknet: 0.07 times the slope of CIoU by centre and sides over those of the image, sides times e^t."""
    torch.manual_seed(0)
    side, ratios = 608, []
    for anchors, stride, scale in zip(v4.ANCHORS, (8, 16, 32), (1.2, 1.1, 1.05), strict=True):
        for anchor in anchors:
            points, sizes = torch.randint(0, side // stride, (500, 2)).float(), torch.tensor(anchor).expand(500, 2)
            centres, sides = (points + torch.rand(500, 2)) * stride, sizes * (0.4 * torch.randn(500, 2)).exp()
            boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=1)
            cells = points, torch.full((500,), float(stride)), sizes, torch.full((500,), scale)
            raw = (encode_cells(boxes, *cells) + 0.5 * torch.randn(500, 4)).requires_grad_()
            decoded = decode_cells(raw, *cells)
            whole = torch.autograd.grad(iou_loss(decoded, boxes, "ciou").sum(), raw)[0]
            found = decoded.detach() / side
            cxcywh = torch.cat(((found[:, :2] + found[:, 2:]) / 2, found[:, 2:] - found[:, :2]), 1).requires_grad_()
            corners = torch.cat((cxcywh[:, :2] - cxcywh[:, 2:] / 2, cxcywh[:, :2] + cxcywh[:, 2:] / 2), dim=1)
            slope = torch.autograd.grad(iou_loss(corners, boxes / side, "ciou").sum(), cxcywh)[0]
            darknet = 0.07 * torch.cat((slope[:, :2], slope[:, 2:] * raw[:, 2:].exp()), dim=1).detach()
            ratios.append(darknet.norm(dim=1).median() / whole.norm(dim=1).median())
    assert torch.stack(ratios).log().mean().exp().item() == pytest.approx(v4.BOX_GAIN, rel=0.1)


def test_anchors_of_the_published_tiny_weights_are_taken() -> None:
    model = yolov3_tiny(num_classes=2, anchors=ANCHORS_TINY_PUBLISHED)
    assert model.anchor_sizes.tolist() == [list(anchor) for level in ANCHORS_TINY_PUBLISHED for anchor in level]
    own = yolov3_tiny(num_classes=2)
    assert own.anchor_sizes[0].tolist() == [10.0, 14.0]
    assert positives(own, [3.0, 3.0, 13.0, 17.0]) == (1, {16.0})
    with pytest.raises(ConfigError, match="anchors has 2 levels; this network has 3, of strides 8, 16, 32"):
        yolov3(anchors=ANCHORS_TINY)


@pytest.mark.parametrize(
    ("build", "option", "message"),
    [
        (yolov3_tiny, {"assignment": "ratios"}, "assignment is 'ratios'.*ratio"),
        (yolov3_tiny, {"box_loss": "siou"}, "box_loss is 'siou'"),
        (yolov3_tiny, {"objectness": "two"}, "objectness is 'two'"),
        (yolov4_tiny, {"iou_threshold": 2.0}, "iou_threshold is 2.0; it is an IoU"),
        (yolov4_tiny, {"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_options_that_there_are_not_are_one_line(
    build: Callable[..., Any], option: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(num_classes=2, **option)
    assert "\n" not in str(caught.value)


def test_a_classifiers_weights_fill_the_backbone_and_leave_the_pyramid(tmp_path: Path) -> None:
    with torch.device("meta"):
        classifier, detector = cspdarknet53(num_classes=2), yolov4(num_classes=2)
    classifier, detector = classifier.to_empty(device="cpu"), detector.to_empty(device="cpu")
    for value in (*classifier.state_dict().values(), *detector.state_dict().values()):
        value.zero_()
    for number, value in enumerate(classifier.state_dict().values()):
        value.fill_(number + 1)
    before = detector.state_dict()["pyramid.back4.0.conv.weight"].clone()
    load_weights(detector, save_model(classifier, tmp_path / "backbone.safetensors"))
    after = detector.state_dict()
    for name, tensor in classifier.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(after[f"backbone.{name}"], tensor), name
    assert torch.equal(after["pyramid.back4.0.conv.weight"], before)


@pytest.mark.parametrize("options", [{}, {"spp": True, "assignment": "ratio", "box_loss": "ciou"}])
def test_a_few_steps_on_one_image_find_its_objects(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = yolov3_tiny(num_classes=2, anchors=[[(12.0, 12.0), (20.0, 20.0)], [(40.0, 40.0), (60.0, 60.0)]], **options)
    images = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[4.0, 6.0, 18.0, 20.0], [20.0, 18.0, 60.0, 60.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([0, 1])}] * 2
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(model.loss(images, targets).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    model.nms = replace(model.nms, score_threshold=0.3)
    found = model.predict(images)  # of the batch's own statistics, as it was trained
    assert found["count"].tolist() == [2, 2]
    assert (found["boxes"][0, :2][found["labels"][0, :2].argsort()] - boxes).abs().max() < 4
