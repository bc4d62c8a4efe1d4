"""YOLOX: figures of the paper, a second forward written from names alone, losses, decoding, export, and learning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tests.models.detection.inverse import yolox_outputs_from_targets
from tests.weights.layouts.test_yolox import OFFICIAL_DARKNET
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.models.base import Outputs
from saccade.models.detection.yolox import YOLOX, yolox_darknet53, yolox_loss, yolox_nano
from saccade.models.detection.yolox_parts import YOLOPAFPN, CSPDarknet, DecoupledHead
from saccade.models.registry import create_model
from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import decode_points
from saccade.ops.iou import pairwise_iou
from saccade.structures.batch import pad_targets
from saccade.weights.layouts import yolox_darknet53 as yolox_darknet53_layout

COUNTS = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]
BUILDERS = ["yolox_nano", "yolox_tiny", "yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"]


def small(num_classes: int = 3, depthwise: bool = False, size: int = 96) -> YOLOX:
    neck = YOLOPAFPN(CSPDarknet(0.33, 0.25, depthwise), 0.33, depthwise)
    return YOLOX(neck, DecoupledHead(neck.out_channels, num_classes, 32, depthwise), num_classes, size)


def lively(model: YOLOX, size: int = 96) -> YOLOX:
    """Statistics and last layers such that an untrained network predicts different things at different locations."""
    images = torch.rand(4, 3, size, size) * 255
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(images)
        model.eval()
        outputs = model(images)
        for name, layers in (
            ("objectness", model.head.obj_preds),
            ("logits", model.head.cls_preds),
            ("boxes", model.head.reg_preds),
        ):
            for layer in layers:
                layer.bias.zero_()
                layer.weight.mul_((0.5 if name == "boxes" else 2.0) / outputs[name].std())
    return model


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
    assert model.input_spec.size == tuple(COUNTS[name]["input"][1:])


def test_nano_with_whole_convolutions_has_the_shapes_of_the_depthwise_one() -> None:
    split, whole = yolox_nano(num_classes=2).eval(), yolox_nano(num_classes=2, depthwise=False).eval()
    assert all(module.groups == 1 for module in whole.modules() if isinstance(module, nn.Conv2d))
    assert any(module.groups > 1 for module in split.modules() if isinstance(module, nn.Conv2d))
    image = torch.zeros(1, 3, 64, 64)
    assert [tuple(value.shape) for value in whole.features(image)] == [
        tuple(value.shape) for value in split.features(image)
    ]


def test_normalisation_and_prior_of_the_authors() -> None:
    model = yolox_nano(num_classes=2)
    assert all(
        module.eps == 1e-3 and module.momentum == 0.03
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    )
    for layer in (*model.head.cls_preds, *model.head.obj_preds):
        torch.testing.assert_close(layer.bias.sigmoid(), torch.full_like(layer.bias, 0.01))


# --- A second forward: plain functions on a state dict with the official names.


class Plain:
    def __init__(self, state: dict[str, Tensor], activation: Callable[[Tensor], Tensor]) -> None:
        self.state, self.activation = state, activation

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        if f"{name}.dconv.conv.weight" in self.state:
            return self.conv(f"{name}.pconv", self.conv(f"{name}.dconv", x, stride))
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, x.shape[1] // weight.shape[1])
        scale, shift, mean, var = (
            self.state[f"{name}.bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return self.activation(F.batch_norm(x, mean, var, scale, shift, eps=1e-3))

    def csp(self, name: str, x: Tensor, shortcut: bool) -> Tensor:
        y = self.conv(f"{name}.conv1", x)
        block = 0
        while f"{name}.m.{block}.conv1.conv.weight" in self.state:
            z = self.conv(f"{name}.m.{block}.conv2", self.conv(f"{name}.m.{block}.conv1", y))
            y, block = (y + z if shortcut else z), block + 1
        return self.conv(f"{name}.conv3", torch.cat([y, self.conv(f"{name}.conv2", x)], 1))

    def spp(self, name: str, x: Tensor) -> Tensor:
        x = self.conv(f"{name}.conv1", x)
        return self.conv(
            f"{name}.conv2", torch.cat([x] + [F.max_pool2d(x, side, 1, side // 2) for side in (5, 9, 13)], 1)
        )

    def head(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for level, x in enumerate(maps):
            x = self.conv(f"head.stems.{level}", x)
            cls = self.conv(f"head.cls_convs.{level}.1", self.conv(f"head.cls_convs.{level}.0", x))
            reg = self.conv(f"head.reg_convs.{level}.1", self.conv(f"head.reg_convs.{level}.0", x))
            for rows, name, source in zip(found, ("reg_preds", "obj_preds", "cls_preds"), (reg, reg, cls), strict=True):
                value = F.conv2d(
                    source, self.state[f"head.{name}.{level}.weight"], self.state[f"head.{name}.{level}.bias"]
                )
                rows.append(value.reshape(*value.shape[:2], -1).transpose(1, 2))
        boxes, objectness, logits = (torch.cat(rows, 1) for rows in found)
        return boxes, objectness[..., 0], logits

    def csp_network(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        squares = [images[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        b = "backbone.backbone"
        x = self.conv(f"{b}.stem.conv", torch.cat(squares, 1))
        x = self.csp(f"{b}.dark2.1", self.conv(f"{b}.dark2.0", x, 2), True)
        c3 = self.csp(f"{b}.dark3.1", self.conv(f"{b}.dark3.0", x, 2), True)
        c4 = self.csp(f"{b}.dark4.1", self.conv(f"{b}.dark4.0", c3, 2), True)
        c5 = self.csp(f"{b}.dark5.2", self.spp(f"{b}.dark5.1", self.conv(f"{b}.dark5.0", c4, 2)), False)
        l5 = self.conv("backbone.lateral_conv0", c5)
        p4 = self.csp("backbone.C3_p4", torch.cat([double(l5), c4], 1), False)
        l4 = self.conv("backbone.reduce_conv1", p4)
        n3 = self.csp("backbone.C3_p3", torch.cat([double(l4), c3], 1), False)
        n4 = self.csp("backbone.C3_n3", torch.cat([self.conv("backbone.bu_conv2", n3, 2), l4], 1), False)
        n5 = self.csp("backbone.C3_n4", torch.cat([self.conv("backbone.bu_conv1", n4, 2), l5], 1), False)
        return self.head([n3, n4, n5])

    def darknet_network(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def run(name: str, x: Tensor, blocks: int, first: int = 0) -> Tensor:
            x = self.conv(f"{name}.{first}", x, 2)
            for block in range(first + 1, first + 1 + blocks):
                x = x + self.conv(f"{name}.{block}.layer2", self.conv(f"{name}.{block}.layer1", x))
            return x

        b = "backbone.backbone"
        x = run(f"{b}.dark2", run(f"{b}.stem", self.conv(f"{b}.stem.0", images), 1, first=1), 2)
        c3 = run(f"{b}.dark3", x, 8)
        c4 = run(f"{b}.dark4", c3, 8)
        x = self.conv(f"{b}.dark5.6", self.conv(f"{b}.dark5.5", run(f"{b}.dark5", c4, 4)))
        c5 = self.conv(f"{b}.dark5.9", self.conv(f"{b}.dark5.8", self.spp(f"{b}.dark5.7", x)))
        p4 = torch.cat([double(self.conv("backbone.out1_cbl", c5)), c4], 1)
        for layer in range(5):
            p4 = self.conv(f"backbone.out1.{layer}", p4)
        p3 = torch.cat([double(self.conv("backbone.out2_cbl", p4)), c3], 1)
        for layer in range(5):
            p3 = self.conv(f"backbone.out2.{layer}", p3)
        return self.head([p3, p4, c5])


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def official_darknet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of our YOLOX-Darknet53 under the names of the published file."""
    rules = (
        (r"\.stem\.conv1\.", lambda match: ".stem.0."),
        (r"\.stages\.0\.conv_down\.", lambda match: ".stem.1."),
        (r"\.stages\.0\.blocks\.0\.conv(\d)\.", lambda match: f".stem.2.layer{match[1]}."),
        (r"\.stages\.(\d)\.conv_down\.", lambda match: f".dark{int(match[1]) + 1}.0."),
        (
            r"\.stages\.(\d)\.blocks\.(\d)\.conv(\d)\.",
            lambda match: f".dark{int(match[1]) + 1}.{int(match[2]) + 1}.layer{match[3]}.",
        ),
        (r"\.spp\.(\d)\.", lambda match: f".backbone.dark5.{int(match[1]) + 5}."),
    )
    official = {}
    for name, tensor in state.items():
        for pattern, change in rules:
            name = re.sub(pattern, change, name)
        official[name] = tensor
    return official


@pytest.mark.parametrize("which", ["nano", "plain", "darknet53"])
def test_forward_equals_a_plain_version(which: str) -> None:
    torch.manual_seed(0)
    model = lively({"nano": yolox_nano, "plain": small, "darknet53": yolox_darknet53}[which](num_classes=3))
    images = torch.rand(2, 3, 64, 96) * 255
    state = dict(model.state_dict())
    if which == "darknet53":
        state = official_darknet_names(state)
        assert set(state) >= OFFICIAL_DARKNET
        assert yolox_darknet53_layout.matches(set(state))
        assert list(yolox_darknet53_layout.convert(state, model)) == list(model.state_dict())
    plain = Plain(state, (lambda x: F.leaky_relu(x, 0.1)) if which == "darknet53" else F.silu)
    with torch.no_grad():
        outputs = model(images)
        expected = plain.darknet_network(images) if which == "darknet53" else plain.csp_network(images)
    for name, value in zip(("boxes", "objectness", "logits"), expected, strict=True):
        assert (outputs[name] - value).abs().max() <= 1e-4 * value.abs().max()


def test_features_are_the_maps_that_the_attributes_announce() -> None:
    model = yolox_nano(num_classes=2).eval()
    maps = model.features(torch.zeros(1, 3, 96, 128))
    assert [tuple(level.shape[1:]) for level in maps] == [
        (channels, 96 // stride, 128 // stride)
        for channels, stride in zip(model.feature_channels, model.feature_strides, strict=True)
    ]


# --- Losses.


def plain_loss(outputs: Outputs, matched: list[dict[int, int]], boxes: Tensor, labels: Tensor) -> dict[str, float]:
    """The authors' loss, one positive point after the other; ``matched`` maps these to objects, by image."""
    decoded = decode_points(outputs["boxes"], outputs["points"], outputs["strides"])
    objectness = torch.zeros_like(outputs["objectness"])
    box = classification = l1 = 0.0
    for image, points in enumerate(matched):
        for point, target in points.items():
            ground_truth = boxes[image, target]
            iou = pairwise_iou(decoded[image, point : point + 1], ground_truth[None]).item()
            box += 1 - iou**2
            wanted = torch.zeros(outputs["logits"].shape[2])
            wanted[labels[image, target]] = iou
            classification += F.binary_cross_entropy_with_logits(
                outputs["logits"][image, point], wanted, reduction="sum"
            ).item()
            objectness[image, point] = 1
            stride, (column, row) = outputs["strides"][point], outputs["points"][point]
            centre, size = (ground_truth[:2] + ground_truth[2:]) / 2, ground_truth[2:] - ground_truth[:2]
            raw = torch.cat((centre / stride - torch.stack((column, row)), (size / stride).log()))
            l1 += (outputs["boxes"][image, point] - raw).abs().sum().item()
    count = sum(map(len, matched))
    return {
        "box": 5 * box / count,
        "objectness": F.binary_cross_entropy_with_logits(outputs["objectness"], objectness, reduction="sum").item()
        / count,
        "class": classification / count,
        "l1": l1 / count,
    }


TARGETS = [
    {"boxes": torch.tensor([[8.0, 10.0, 50.0, 60.0], [40.0, 30.0, 90.0, 80.0]]), "labels": torch.tensor([2, 0])},
    {"boxes": torch.tensor([[20.0, 20.0, 36.0, 40.0]]), "labels": torch.tensor([1])},
]
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def test_terms_equal_the_authors_formula() -> None:
    from saccade.models.detection.yolox_assign import Predictions, simota

    torch.manual_seed(0)
    model = lively(small())
    images = torch.rand(2, 3, 96, 96) * 255
    padded = pad_targets(TARGETS)
    with torch.no_grad():
        outputs = model(images)
        decoded = decode_points(outputs["boxes"], outputs["points"], outputs["strides"])
        centres = (outputs["points"] + 0.5) * outputs["strides"][:, None]
        given = Predictions(decoded, outputs["objectness"], outputs["logits"])
        matches = simota(given, centres, outputs["strides"], padded["boxes"], padded["labels"])
        matched: list[dict[int, int]] = [{}, {}]
        for image, point, target in zip(
            matches.image.tolist(), matches.point.tolist(), matches.target.tolist(), strict=True
        ):
            matched[image][point] = target
        expected = plain_loss(outputs, matched, padded["boxes"], padded["labels"])
        terms = yolox_loss(outputs, padded["boxes"], padded["labels"], use_l1=True)
        model.use_l1 = True
        through_model = model.loss(images, TARGETS)
        model.use_l1 = False
        without = model.loss(images, TARGETS)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert {name: value.item() for name, value in through_model.items()} == pytest.approx(expected, rel=1e-4)
    assert without["l1"].item() == 0
    assert without["box"].item() == pytest.approx(expected["box"], rel=1e-4)


@pytest.mark.parametrize("mark", ["iscrowd", "difficult"])
def test_crowds_and_difficult_objects_are_not_targets(mark: str) -> None:
    torch.manual_seed(0)
    model = lively(small())
    images = torch.rand(1, 3, 96, 96) * 255
    crowded = [{**TARGETS[0], mark: torch.tensor([False, True])}]
    single = [{"boxes": TARGETS[0]["boxes"][:1], "labels": TARGETS[0]["labels"][:1]}]
    with torch.no_grad():
        first, second = model.loss(images, crowded), model.loss(images, single)
    assert {name: value.item() for name, value in first.items()} == pytest.approx(
        {name: value.item() for name, value in second.items()}
    )


@pytest.mark.parametrize("targets", [[TARGETS[0], NOTHING], [NOTHING, NOTHING]], ids=["one empty", "all empty"])
@pytest.mark.parametrize("training", [True, False])
def test_images_without_boxes(targets, training: bool) -> None:
    model = small(depthwise=True).train(training)
    model.use_l1 = True
    terms = model.loss(torch.rand(2, 3, 64, 64) * 255, targets)
    assert all(torch.isfinite(value) and value.ndim == 0 for value in terms.values())
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_bfloat16_training_step_is_finite() -> None:
    torch.manual_seed(0)
    model = small().to(memory_format=torch.channels_last)
    images = (torch.rand(2, 3, 64, 64) * 255).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.loss(images, TARGETS)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_sizes_beyond_the_range_of_floats_stay_finite() -> None:
    torch.manual_seed(0)
    model = lively(small())
    with torch.no_grad():
        outputs = dict(model(torch.rand(2, 3, 96, 96) * 255))
    wild = outputs["boxes"].clone()
    wild[:, ::3, 2:] = 1e4  # exp overflows from 88 on
    outputs["boxes"] = wild.requires_grad_()
    decoded = model.decode({name: value.detach() for name, value in outputs.items()})
    assert all(torch.isfinite(value).all() for value in decoded.values())
    padded = pad_targets(TARGETS)
    terms = yolox_loss(outputs, padded["boxes"], padded["labels"], use_l1=True)
    assert all(torch.isfinite(value) for value in terms.values())
    (gradient,) = torch.autograd.grad(sum(terms.values()), wild)
    assert torch.isfinite(gradient).all()
    # One wild box beside two objects does not take the precision of the comparison from them.
    beside = dict(yolox_outputs_from_targets(model, TARGETS[:1], (96, 96)))
    expected = model.decode(beside)
    beside["boxes"][0, -1, 2:] = 1e4
    beside["objectness"][0, -1] = beside["logits"][0, -1, 0] = 13.0
    found = model.decode(beside)
    assert found["count"].tolist() == [3]
    rows = sorted(found["boxes"][0, 1:3].tolist())  # their scores are equal, and their order free
    assert rows == sorted(expected["boxes"][0, :2].tolist())


# --- Decoding.


def chatter(seed: int, images: int) -> dict[str, Tensor]:
    """Outputs of a network that finds something everywhere: many boxes, many of them nearly the same."""
    generator = torch.Generator().manual_seed(seed)
    points, strides = grid_points(
        [torch.zeros(1, 1, 96 // stride, 96 // stride) for stride in (8, 16, 32)], (8, 16, 32)
    )
    return {
        "boxes": torch.randn(images, len(points), 4, generator=generator) * 0.5 + 0.8,
        "objectness": torch.randn(images, len(points), generator=generator) * 2,
        "logits": torch.randn(images, len(points), 3, generator=generator) * 2,
        "points": points,
        "strides": strides,
    }


def test_perfect_outputs_decode_to_the_ground_truth() -> None:
    model = small()
    decoded = model.decode(yolox_outputs_from_targets(model, [*TARGETS, NOTHING], (96, 96)))
    assert decoded["count"].tolist() == [2, 1, 0]
    for image, target in enumerate(TARGETS):
        count = len(target["labels"])
        best = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        assert best.max(dim=1).values.min() > 0.999
        assert torch.equal(decoded["labels"][image, best.argmax(dim=1)], target["labels"])
    assert decoded["scores"].max() <= 1


def test_duplicates_go_and_settings_are_one_record() -> None:
    model, outputs = small(), chatter(0, 1)
    decoded = model.decode(outputs)
    count = int(decoded["count"])
    boxes, labels, scores = decoded["boxes"][0, :count], decoded["labels"][0, :count], decoded["scores"][0, :count]
    same = (labels[:, None] == labels) & ~torch.eye(count, dtype=torch.bool)
    assert (pairwise_iou(boxes, boxes)[same] <= model.nms.iou + 1e-3).all()
    assert (scores[:-1] >= scores[1:]).all()
    model.nms = replace(model.nms, score_threshold=0.5, max_detections=7)
    fewer = model.decode(outputs)
    assert fewer["boxes"].shape == (1, 7, 4)
    assert fewer["scores"][0, : int(fewer["count"])].min() > 0.5


# --- Graphs.


def test_forward_compiles_as_one_graph() -> None:
    torch.manual_seed(0)
    model = lively(small())
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")(images)
        for name, value in model(images).items():
            torch.testing.assert_close(compiled[name], value)


class Decoder(nn.Module):
    def __init__(self, model: YOLOX) -> None:
        super().__init__()
        self.decode = model.decode

    def forward(self, outputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(self.decode(outputs).values())


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
def test_exported_decoding_gives_the_same_detections_at_any_batch(tmp_path) -> None:
    # The contract suite exports whole networks; here the decoding meets outputs that are full of near-duplicates.
    decoder = Decoder(small()).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    shapes = {"boxes": batch, "objectness": batch, "logits": batch, "points": None, "strides": None}
    program = torch.export.export(decoder, (chatter(0, 2),), dynamic_shapes=(shapes,))
    path = tmp_path / "decoder.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(str(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        outputs = chatter(count, count)
        expected, exported = decoder(outputs), program.module()(outputs)
        inputs = zip(session.get_inputs(), outputs.values(), strict=True)
        onnx = session.run(None, {put.name: value.numpy() for put, value in inputs})
        assert expected[3].min() > 20
        for value, again, foreign in zip(expected, exported, onnx, strict=True):
            torch.testing.assert_close(again, value)
            np.testing.assert_allclose(foreign, value.numpy(), rtol=1e-5, atol=1e-3)


# --- Learning.


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    colours = torch.tensor([[230.0, 40, 40], [40, 220, 60], [50, 60, 240]])
    images = torch.full((2, 3, 96, 96), 114.0) + torch.randn(2, 3, 96, 96) * 5
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [48.0, 46.0, 90.0, 88.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 30.0, 70.0, 70.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    model = small().train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=100)
    for step in range(100):
        model.use_l1 = step >= 70
        optimizer.zero_grad()
        sum(model.loss(images, targets).values()).backward()
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
        assert decoded["scores"][image, count - 1] > 2 * decoded["scores"][image, count]
