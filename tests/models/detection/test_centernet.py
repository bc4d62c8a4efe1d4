"""CenterNet: published files against a second forward, targets and losses against NumPy, decoding, export, learning."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from tests.models.detection.inverse import centernet_outputs_from_targets
from tests.models.detection.published_centernet import Published
from tests.models.detection.small_centernets import BLOCKS, CHANNELS, narrow_dla, narrow_hourglass
from tests.ops.test_heatmaps import authors_radius, slow_heatmaps
from torch import Tensor, nn

from saccade.errors import ConfigError, WeightsError
from saccade.models.base import Outputs
from saccade.models.detection.centernet import (
    CenterNet,
    Deconvolutions,
    center_targets,
    centernet,
    centernet_dla34,
    centernet_loss,
    centernet_resnet18,
)
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.testing import check_model
from saccade.weights import load_weights

COUNTS = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]
BUILDERS = ["centernet_resnet18", "centernet_dla34", "centernet_hourglass104"]


def small(num_classes: int = 3, backbone: str = "resnet18") -> CenterNet:
    return centernet(num_classes, backbone, neck_channels=16, head_channels=16)


@pytest.mark.parametrize("name", BUILDERS)
def test_parameters_and_macs_of_the_reference(name: str) -> None:
    """Of the reference's multiply-adds: it runs all heads of both hourglasses, and DLA's unread projections."""
    with torch.device("meta"):
        model = create_model(name)
        macs = []

        def count(module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
            side = inputs[0] if isinstance(module, nn.ConvTranspose2d) else out
            macs.append(module.weight[0].numel() * side.numel())

        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.register_forward_hook(count)
        images = torch.empty(1, *COUNTS[name]["input"])
        for stack, feature_map in enumerate(model._maps(images)):
            model._heads(stack, feature_map)
    unread = 2 * 33_554_432 if name == "centernet_dla34" else 0
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[name]["params"]
    assert sum(macs) + unread == COUNTS[name]["macs"]
    assert model.input_spec.size == tuple(COUNTS[name]["input"][1:])


# --- Published files.


def published(name: str, images: Tensor) -> tuple[CenterNet, dict[str, Tensor], list[dict[str, Tensor]]]:
    """A network of ours, a file of its authors, and what their network predicts."""
    authors = Published(num_classes=3)
    with torch.no_grad():
        if name == "res_18":
            return centernet_resnet18(num_classes=3), authors.state, [authors.res_18(images)]
        if name == "dlav0_34":
            return centernet_dla34(num_classes=3), authors.state, [authors.dlav0_34(images)]
        stacks = authors.hourglass(images, CHANNELS, BLOCKS)
        return narrow_hourglass(num_classes=3), authors.state, stacks


@pytest.mark.parametrize("name", ["res_18", "dlav0_34", "hourglass"])
def test_published_files_load_and_predict_the_same(name: str, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    model, state, stacks = published(name, images)
    path = tmp_path / f"ctdet_coco_{name}.pth"
    torch.save({"epoch": 140, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    report = load_weights(model, path)
    assert report.recognised == "official CenterNet"
    assert (report.missing, report.unexpected) == ((), ())
    assert report.loaded == len(state) == len(model.state_dict())
    assert report.notes == ("entry 'state_dict'", "prefix 'module.'")
    model.eval()
    with torch.no_grad():
        ours = [model._heads(stack, one) for stack, one in enumerate(model._maps(images))]
        last = model(images)
    for found, expected in zip(ours, stacks, strict=True):
        for key, authors in (("heatmap", "hm"), ("sizes", "wh"), ("offsets", "reg")):
            scale = expected[authors].abs().max()
            torch.testing.assert_close(found[key], expected[authors], rtol=0, atol=1e-5 * float(scale))
    for key, value in last.items():
        torch.testing.assert_close(value, ours[-1][key])


def test_backbone_equals_timms_dla34() -> None:
    authors = Published(num_classes=1)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        authors.dla34(images)
    state = {name.removeprefix("base."): value for name, value in authors.state.items()}
    model = centernet_dla34(num_classes=1).eval()
    model.backbone.base.load_state_dict(state)
    peer = timm.create_model("dla34", pretrained=False).eval()
    unread = [name for name in state if name.startswith(("level3.project", "level4.project"))]
    peer.load_state_dict({name: value for name, value in state.items() if name not in unread})
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.base(images)[-1], peer.forward_features(images), rtol=1e-4, atol=1e-4)


def test_weights_of_a_classifier_reach_the_backbone_alone(tmp_path: Path) -> None:
    authors = Published(num_classes=1)
    with torch.no_grad():
        authors.dla34(torch.zeros(1, 3, 64, 64))
    torch.save({name.removeprefix("base."): value for name, value in authors.state.items()}, tmp_path / "dla34.pth")
    model = centernet_dla34(num_classes=2)
    load_weights(model, tmp_path / "dla34.pth")
    assert torch.equal(model.backbone.base.level5.root.conv.weight, authors.state["base.level5.root.conv.weight"])

    classifier = create_model("resnet18", num_classes=4)
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    model = centernet_resnet18(num_classes=2)
    load_weights(model, tmp_path / "resnet18.pth")
    assert torch.equal(model.backbone.backbone.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)


def test_files_with_deformable_convolutions_are_named(tmp_path: Path) -> None:
    torch.save({"hm.0.weight": torch.zeros(1), "dla_up.ida_0.proj_1.conv.conv_offset_mask.weight": torch.zeros(1)},
               tmp_path / "ctdet_coco_dla_2x.pth")  # fmt: skip
    with pytest.raises(WeightsError, match="has deformable convolutions"):
        load_weights(centernet_dla34(num_classes=1), tmp_path / "ctdet_coco_dla_2x.pth")


# --- Targets and losses against a plain definition in NumPy.


class Plain:
    """Targets and losses of one batch, object by object, in float64."""

    def __init__(self, boxes: Tensor, labels: Tensor, classes: int, size: tuple[int, int]) -> None:
        rows, columns = size
        self.found = []  # image, row, label, cell, (w, h), (dx, dy), radius
        for image, row in np.argwhere(labels.numpy() >= 0).tolist():
            x1, y1, x2, y2 = (value / 4 for value in boxes[image, row].double().tolist())
            x1, x2 = (min(max(x, 0), columns) for x in (x1, x2))
            y1, y2 = (min(max(y, 0), rows) for y in (y1, y2))
            width, height = x2 - x1, y2 - y1
            if width <= 0 or height <= 0:
                continue
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            column, line = min(int(x), columns - 1), min(int(y), rows - 1)
            radius = int(authors_radius(math.ceil(width), math.ceil(height), 0.7))
            label = int(labels[image, row])
            self.found.append((image, row, label, (column, line), (width, height), (x - column, y - line), radius))
        kept = np.full(labels.shape, -1)
        cells, radii = np.zeros((*labels.shape, 2), int), np.zeros(labels.shape, int)
        for image, row, label, cell, _, _, radius in self.found:
            kept[image, row], cells[image, row], radii[image, row] = label, cell, radius
        self.heatmaps = slow_heatmaps(cells, radii, kept, classes, size)

    def losses(self, outputs: Outputs) -> dict[str, float]:
        y = self.heatmaps
        p = 1 / (1 + np.exp(-outputs["heatmap"].double().numpy()))
        focal = np.where(y == 1, (1 - p) ** 2 * -np.log(p), (1 - y) ** 4 * p**2 * -np.log(1 - p))
        gaps = {"sizes": 0.0, "offsets": 0.0}
        for image, _, _, (column, line), size, offset, _ in self.found:
            for name, wanted in (("sizes", size), ("offsets", offset)):
                predicted = outputs[name][image, :, line, column].double().tolist()
                gaps[name] += sum(abs(a - b) for a, b in zip(predicted, wanted, strict=True))
        coordinates = max(2 * len(self.found), 1)
        return {
            "heatmap": focal.sum() / max((y == 1).sum(), 1),
            "size": 0.1 * gaps["sizes"] / coordinates,
            "offset": gaps["offsets"] / coordinates,
        }


CLASSES, GRID = 4, (24, 32)


def scene(seed: int, objects: int) -> tuple[Tensor, Tensor]:
    """Boxes of all kinds: thin, on the border, beyond it, reversed, twice the same; labels with crowds and padding."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, (140, 100), (2, objects, 2))
    side = rng.uniform(0.1, 60, (2, objects, 2)) * rng.choice([0.01, 1, 1, 2], (2, objects, 1))
    boxes = np.concatenate([corner, corner + side], axis=-1)
    if objects > 8:
        boxes[:, 1] = boxes[:, 0]  # two at the same place
        boxes[0, 2, 2:] = boxes[0, 2, :2] - 5  # reversed
        boxes[0, 3] = [0, 0, 128, 96]
        boxes[0, 4] = [128, 96, 190, 130]  # outside, but for a corner
        boxes[0, 5] = [124, 92, 128, 96]
        boxes[0, 6] = [40, 40, 40, 60]
    labels = rng.integers(-1, CLASSES, (2, objects))
    return torch.from_numpy(boxes).float(), torch.from_numpy(labels)


def random_outputs(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    channels = {"heatmap": CLASSES, "sizes": 2, "offsets": 2}
    return {name: torch.randn(2, count, *GRID, generator=generator) * 2 for name, count in channels.items()}


@pytest.mark.parametrize(("seed", "objects"), [(0, 0), (1, 1), (2, 9), (3, 60), (4, 60), (5, 500)])
def test_targets_and_losses_equal_the_plain_definition(seed: int, objects: int) -> None:
    boxes, labels = scene(seed, objects)
    plain = Plain(boxes, labels, CLASSES, GRID)
    targets = center_targets(boxes, labels, CLASSES, GRID)
    np.testing.assert_allclose(targets.heatmaps.numpy(), plain.heatmaps, atol=1e-5)
    assert {tuple(one) for one in targets.valid.nonzero().tolist()} == {(one[0], one[1]) for one in plain.found}
    for image, row, _, (column, line), size, offset, _ in plain.found:
        assert targets.cells[image, row] == line * GRID[1] + column
        assert targets.sizes[image, row].tolist() == pytest.approx(size, abs=1e-4)
        assert targets.offsets[image, row].tolist() == pytest.approx(offset, abs=1e-4)

    outputs = {name: value.requires_grad_() for name, value in random_outputs(seed).items()}
    terms = centernet_loss([outputs], boxes, labels)
    expected = plain.losses({name: value.detach() for name, value in outputs.items()})
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)
    sum(terms.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in outputs.values())


def test_gradients_equal_those_of_the_plain_definition() -> None:
    boxes, labels = scene(2, 9)
    plain = Plain(boxes, labels, CLASSES, GRID)
    outputs = {name: value.double().requires_grad_() for name, value in random_outputs(2).items()}
    sum(centernet_loss([outputs], boxes, labels).values()).backward()
    rng = np.random.default_rng(0)
    image, _, label, (column, line), *_ = plain.found[0]
    places = {"heatmap": [(image, label, line, column)], "sizes": [(image, 0, line, column)]}
    places["offsets"] = [(image, 1, line, column)]
    for name, value in outputs.items():
        places[name] += [tuple(rng.integers(0, value.shape).tolist()) for _ in range(5)]
    for name, where in places.items():
        for place in where:
            moved = []
            for step in (-1e-4, 1e-4):
                shifted = {key: value.detach().clone() for key, value in outputs.items()}
                shifted[name][place] += step
                moved.append(sum(plain.losses(shifted).values()))
            slope = (moved[1] - moved[0]) / 2e-4
            assert float(outputs[name].grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_a_loss_of_two_stacks_is_the_mean_of_both() -> None:
    boxes, labels = scene(3, 20)
    first, second = random_outputs(0), random_outputs(1)
    both = centernet_loss([first, second], boxes, labels)
    for name, value in both.items():
        alone = [centernet_loss([one], boxes, labels)[name] for one in (first, second)]
        torch.testing.assert_close(value, (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_wild_outputs_have_finite_losses_and_boxes(value: float, dtype: torch.dtype) -> None:
    outputs = {name: torch.full_like(one, value, dtype=dtype) for name, one in random_outputs(0).items()}
    boxes, labels = scene(3, 20)
    assert all(torch.isfinite(term) for term in centernet_loss([outputs], boxes, labels).values())
    decoded = small(CLASSES).decode(outputs)
    assert all(torch.isfinite(one.float()).all() for one in decoded.values())


def test_crowds_and_difficult_objects_do_not_train() -> None:
    torch.manual_seed(0)
    model = small().eval()
    images = torch.randn(1, 3, 64, 64)
    target = {"boxes": torch.tensor([[4.0, 4, 30, 30], [20, 20, 60, 50]]), "labels": torch.tensor([0, 2])}
    alone = {name: value[:1] for name, value in target.items()}
    for mark in ("iscrowd", "difficult"):
        marked = {**target, mark: torch.tensor([False, True])}
        with torch.no_grad():
            assert model.loss(images, [marked]) == model.loss(images, [alone])
    assert model.loss(images, [target])["heatmap"] != model.loss(images, [alone])["heatmap"]


# --- Assignment.


def test_assignment_is_that_of_the_loss() -> None:
    boxes, labels = scene(3, 20)
    targets = {"boxes": boxes, "labels": labels}
    assignment = small(CLASSES).assign(torch.zeros(2, 3, 96, 128), targets)
    plain = Plain(boxes, labels, CLASSES, GRID)
    near = plain.heatmaps.max(axis=1).reshape(2, -1) > 0
    owners = np.where(near, IGNORED, NEGATIVE)
    for image, row, _, (column, line), *_ in reversed(plain.found):  # the first of several keeps the cell
        owners[image, line * GRID[1] + column] = row
    assert np.array_equal(assignment.owners.numpy(), owners)
    assert assignment.regions_xyxy[GRID[1] + 2].tolist() == [8, 4, 12, 8]
    assert assignment.levels.shape == (GRID[0] * GRID[1],)
    assert not assignment.levels.any()
    assert assignment.level_names == ("stride 4",)


def test_objects_with_the_same_centre_share_a_peak() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 60, 60], [1, 1, 59, 59], [20, 20, 20, 40], [60, 60, 40, 40], [64, 64, 70, 70], [2, 2, 3, 9]]
    )
    #      the first has the cell, the second not; no area; reversed; outside of the canvas
    assert small().assignable(boxes, (64, 64)).tolist() == [True, False, False, False, False, True]
    assert small().assignable(boxes, (96, 96)).tolist() == [True, False, False, False, True, True]


# --- Decoding.


def test_perfect_outputs_decode_to_the_ground_truth() -> None:
    targets = [
        {
            "boxes": torch.tensor([[8.0, 8, 60, 40], [30, 50, 39, 90], [0, 0, 96, 96]]),
            "labels": torch.tensor([1, 0, 2]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    model = small()
    decoded = model.decode(centernet_outputs_from_targets(model, targets, (96, 96)))
    assert decoded["boxes"].shape == (2, 100, 4)
    first = decoded["scores"][0] > 0.5
    assert int(first.sum()) == 3
    assert not (decoded["scores"][1] > 0.5).any()
    best = pairwise_iou(targets[0]["boxes"], decoded["boxes"][0, :3]).max(dim=1)
    assert best.values.min() > 0.999
    assert torch.equal(decoded["labels"][0, best.indices], targets[0]["labels"])


def test_a_hundred_best_peaks_of_all_classes() -> None:
    model, outputs = small(CLASSES), random_outputs(7)
    decoded = model.decode(outputs)
    heatmaps = outputs["heatmap"].numpy()
    for image in range(2):
        peaks = []
        for label, line, column in np.ndindex(CLASSES, *GRID):
            around = heatmaps[image, label, max(line - 1, 0) : line + 2, max(column - 1, 0) : column + 2]
            if heatmaps[image, label, line, column] == around.max():
                peaks.append((heatmaps[image, label, line, column], label, line, column))
        peaks = sorted(peaks, reverse=True)[:100]
        assert decoded["count"][image] == 100
        for row, (logit, label, line, column) in enumerate(peaks):
            assert decoded["labels"][image, row] == label
            assert float(decoded["scores"][image, row]) == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-5)
            width, height = outputs["sizes"][image, :, line, column].clamp(min=0).tolist()
            dx, dy = outputs["offsets"][image, :, line, column].tolist()
            x, y = (column + dx) * 4, (line + dy) * 4
            expected = [x - 2 * width, y - 2 * height, x + 2 * width, y + 2 * height]
            assert decoded["boxes"][image, row].tolist() == pytest.approx(expected, abs=1e-3)


def test_settings_are_one_record() -> None:
    model, outputs = small(CLASSES), random_outputs(7)
    outputs["sizes"] = outputs["sizes"].abs() * 10
    every = model.decode(outputs)
    model.nms = replace(model.nms, score_threshold=0.9, max_detections=30)
    fewer = model.decode(outputs)
    assert fewer["boxes"].shape == (2, 30, 4)
    assert fewer["scores"][0, : int(fewer["count"][0])].min() > 0.9
    assert torch.equal(fewer["boxes"][0, 0], every["boxes"][0, 0])
    # Suppression on top of peaks, for whoever wants it.
    model.nms = replace(model.nms, kind="nms", iou=0.3, score_threshold=0.01, max_detections=100)
    kept = model.decode(outputs)
    overlaps = pairwise_iou(kept["boxes"][0], kept["boxes"][0]).fill_diagonal_(0)
    same = kept["labels"][0, :, None] == kept["labels"][0]
    there = torch.arange(100) < kept["count"][0]
    assert overlaps[same & there & there[:, None]].max() <= 0.3 + 1e-3


class Decoder(nn.Module):
    def __init__(self, model: CenterNet) -> None:
        super().__init__()
        self.decode = model.decode

    def forward(self, outputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(self.decode(outputs).values())


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
def test_exported_decoding_gives_the_same_peaks(tmp_path: Path) -> None:
    """Plateaus too, as low precision makes them."""
    decoder = Decoder(small(CLASSES)).eval()

    def coarse(seed: int) -> dict[str, Tensor]:
        outputs = random_outputs(seed)
        heatmap = (outputs["heatmap"] * 2).round() / 2
        return {**outputs, "heatmap": heatmap + torch.arange(CLASSES).view(-1, 1, 1) * 0.01}

    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    outputs = coarse(0)
    program = torch.export.export(decoder, (outputs,), dynamic_shapes=(dict.fromkeys(outputs, batch),))
    path = tmp_path / "decoder.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(str(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in (outputs, {name: torch.cat((value, value, value))[:5] for name, value in coarse(1).items()}):
        expected, exported = decoder(inputs), program.module()(inputs)
        feeds = zip(session.get_inputs(), inputs.values(), strict=True)
        onnx = session.run(None, {put.name: value.numpy() for put, value in feeds})
        torch.testing.assert_close(exported, expected)
        assert np.array_equal(onnx[3], expected[3].numpy())
        np.testing.assert_allclose(onnx[1], expected[1].numpy(), atol=1e-6)


# --- Networks.


@pytest.mark.parametrize("build", [narrow_hourglass, narrow_dla], ids=["hourglass", "dla"])
def test_narrow_networks_keep_the_contract(build) -> None:
    # Parameters of the authors' DLA that nothing reads have a gradient of zero: the next test.
    leave_out = ["gradients_reach_every_part"] if build is narrow_dla else []
    check_model(build, size=(64, 64), odd_size=(75, 101), exported=False, leave_out=[*leave_out, "runtime_formats"])


def test_what_dla_never_reads_has_a_gradient_of_zero_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = narrow_dla().train()
    targets = [{"boxes": torch.tensor([[4.0, 4, 30, 34]]), "labels": torch.tensor([1])}]
    sum(model.loss(torch.randn(1, 3, 64, 64), targets).values()).backward()
    still = {name for name, one in model.named_parameters() if one.grad is not None and not one.grad.any()}
    assert all(one.grad is not None for one in model.parameters())
    unread = ("backbone.base.fc.", "backbone.base.level3.project.", "backbone.base.level4.project.")
    assert still == {name for name, _ in model.named_parameters() if name.startswith(unread)}
    # They are the first part, so that training the last ones never touches them.
    assert model.stage_names[0] == "backbone.base.fc"


def test_the_first_hourglass_predicts_in_training_only() -> None:
    torch.manual_seed(0)
    model = narrow_hourglass().eval()
    calls: list[str] = []
    for name in (*model.head_names, *model.auxiliary_heads):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    images = torch.randn(1, 3, 64, 64)
    model.predict(images)
    assert calls == ["hm.1", "wh.1", "reg.1"]
    terms = model.loss(images, [{"boxes": torch.tensor([[4.0, 4, 30, 34]]), "labels": torch.tensor([1])}])
    assert set(calls[3:]) == {f"{head}.{stack}" for head in ("hm", "wh", "reg") for stack in (0, 1)}
    sum(terms.values()).backward()
    assert all(one.grad.any() for one in model.hm[0].parameters())


def test_input_and_beginning_of_the_authors() -> None:
    with torch.device("meta"):
        specs = {name: create_model(name).input_spec for name in BUILDERS}
    assert {name: spec.pad_multiple for name, spec in specs.items()} == dict(zip(BUILDERS, (32, 32, 128), strict=True))
    for spec in specs.values():
        # In their code images are BGR, 0..1.
        assert spec.channel_order == "bgr"
        assert [value / 255 for value in spec.mean] == pytest.approx([0.40789654, 0.44719302, 0.47026115], abs=1e-7)
        assert [value / 255 for value in spec.std] == pytest.approx([0.28863828, 0.27408164, 0.27809835], abs=1e-7)
        assert (spec.resize, spec.align, spec.pad_value) == ("letterbox", "center", 0)
    for model in (centernet_resnet18(2), narrow_hourglass(2), narrow_dla(2)):
        for heatmap in model.hm:
            assert torch.equal(heatmap[-1].bias, torch.full((2,), -2.19))
    up = narrow_dla().backbone.dla_up["ida_0"].up_1
    line = torch.arange(8.0).expand(1, up.in_channels, 4, 8)
    torch.testing.assert_close(up(line)[0, 0, 4, 3:13], torch.arange(1.25, 6, 0.5))  # bilinear at the start


def test_any_classifier_is_a_backbone() -> None:
    # Stride 16 takes two transposed convolutions.
    for backbone, ups in (("mobilenet_v3_small", 3), ("vit_ti_16", 2), ("convnext_tiny", 3)):
        with torch.device("meta"):
            model = centernet(num_classes=2, backbone=backbone)
            outputs = model(torch.empty(1, 3, 224, 224))
        assert outputs["heatmap"].shape == (1, 2, 56, 56)
        assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in model.modules()) == ups
        assert model.input_spec.channel_order == "rgb"
    with torch.device("meta"):
        classifier = create_model("resnet18")
    classifier.feature_strides = (2, 4, 8, 16, 24)
    with pytest.raises(ConfigError, match="backbone 'resnet18' has stride 24"):
        Deconvolutions(classifier)


def test_odd_canvases_keep_their_pixels() -> None:
    torch.manual_seed(0)
    model = small().eval()
    images = torch.randn(1, 3, 75, 101)
    with torch.no_grad():
        outputs = model(images)
        padded = model(torch.nn.functional.pad(images, (0, 27, 0, 21), mode="replicate"))
    assert outputs["heatmap"].shape == (1, 3, 19, 26)
    torch.testing.assert_close(outputs["heatmap"][..., :18, :25], padded["heatmap"][..., :18, :25])


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    images = torch.randn(2, 3, 96, 96) * 0.05
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [48.0, 46.0, 90.0, 88.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 30.0, 70.0, 70.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    model = centernet(3, "mobilenet_v1_0_25", neck_channels=32, head_channels=32).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=100)
    for _ in range(100):
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
