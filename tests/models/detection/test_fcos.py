"""FCOS: torchvision's losses, gradients and detections, published files, options, bad boxes, export, and learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from tests.models.detection.torchvision_files import check_names, older_pyramid, published_file, their_pass
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.detection.fcos import FCOS, FCOSHead, fcos, fcos_resnet50_fpn, unitbox_loss
from saccade.models.registry import create_model
from saccade.ops.iou import aligned_iou, pairwise_iou
from saccade.structures.class_rows import ClassRows
from saccade.weights import load_weights
from saccade.weights.published import PUBLISHED

ROW = PUBLISHED["fcos_resnet50_fpn/coco"]
COLUMNS = [column for column, name in enumerate(ROW.class_names()) if name]  # real ones of the file's 91
SIZE = (160, 224)  # no multiple of 128: the coarsest stride is the canvas divided by the grid


def random_boxes(count: int, seed: int, num_classes: int = 80) -> dict[str, Tensor]:
    """Of all sizes; never as good as equal in area, where torchvision's single precision cannot tell them apart."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([SIZE[1], SIZE[0]])
    half = 4 + torch.rand(count, 2, generator=generator) ** 2 * 90
    boxes = torch.cat((centre - half, centre + half), dim=1)
    limit = torch.tensor([SIZE[1], SIZE[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    return {"boxes": boxes, "labels": torch.randint(num_classes, (count,), generator=generator)}


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """torchvision's, with random weights such that it finds things, but none of the ids that COCO never used."""
    torch.manual_seed(0)
    model = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    head = model.head
    with torch.no_grad():
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        images = torch.randn(2, 3, *SIZE)
        model.backbone.train()(images)
        model.train()
        for norm in norms:
            norm.eval()
        for layer in (*head.classification_head.conv, *head.regression_head.conv):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        outputs = head(list(model.backbone(images).values()))
        logits, boxes, centerness = (
            head.classification_head.cls_logits,
            head.regression_head.bbox_reg,
            head.regression_head.bbox_ctrness,
        )
        logits.weight *= 1.5 / outputs["cls_logits"].std()
        logits.bias.fill_(-6.5)
        boxes.weight *= 1.5 / outputs["bbox_regression"].std()
        boxes.bias.fill_(8.0)
        centerness.weight *= 1.0 / outputs["bbox_ctrness"].std()
        never = [column for column in range(91) if column not in COLUMNS]
        logits.weight[never] = 0
        logits.bias[never] = -60
    return model


@pytest.fixture(scope="module")
def published(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file as torchvision publishes it, where a download of it would lie: frozen BatchNorm, older names."""
    kept = {name: value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    state = {older_pyramid(name): value for name, value in kept.items()}
    with published_file(ROW, state, tmp_path_factory.mktemp("cache")) as path:
        yield path


@pytest.fixture(scope="module")
def ours(published: Path) -> FCOS:
    model = create_model("fcos_resnet50_fpn", weights="coco").eval()
    assert isinstance(model, FCOS)
    return model


# --- Published weights and torchvision.


def test_published_file_loads_unedited(ours: FCOS, theirs: Any, published: Path) -> None:
    check_names(ours, ROW)
    theirs_rows = theirs.head.classification_head.cls_logits
    rows = ours.head.classification_head.cls_logits
    assert torch.equal(rows.weight, theirs_rows.weight[COLUMNS])
    assert torch.equal(rows.bias, theirs_rows.bias[COLUMNS])
    assert sum(value.numel() for value in theirs.parameters()) == 32_322_720
    # By path, names of rows are unknown: a network of as many columns takes them as they are.
    whole = fcos_resnet50_fpn(num_classes=91)
    report = load_weights(whole, published)
    assert report.missing == ()
    assert torch.equal(whole.head.classification_head.cls_logits.weight, theirs_rows.weight)


def test_input_as_published(ours: FCOS) -> None:
    transform = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None).transform
    spec = ours.input_spec
    assert spec.size == (*transform.min_size, transform.max_size)
    assert spec.pad_multiple == transform.size_divisible
    assert [value / 255 for value in spec.mean] == pytest.approx(transform.image_mean)
    assert [value / 255 for value in spec.std] == pytest.approx(transform.image_std, abs=1e-3)
    assert (spec.resize, spec.align, spec.channel_order) == ("shorter_side", "top_left", "rgb")


def test_detections_of_torchvision(ours: FCOS, theirs: Any) -> None:
    images = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs, anchors, per_level = their_pass(theirs, images, 1)
        split = {name: list(value.split(per_level, dim=1)) for name, value in outputs.items()}
        expected = theirs.postprocess_detections(split, [list(one.split(per_level)) for one in anchors], [SIZE] * 3)
        ours.nms = replace(ours.nms, score_threshold=0.2)
        raw, found = ours(images), ours.predict(images)
        ours.nms = replace(ours.nms, score_threshold=0.05)
    torch.testing.assert_close(raw["distances"], outputs["bbox_regression"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(raw["points"], (anchors[0][:, :2] + anchors[0][:, 2:]) / 2)
    scores = (outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt()
    candidates = (scores > 0.2).sum(dim=(1, 2))
    # Theirs takes the best 1,000 of each level, ours of all levels: the same where there are not as many.
    assert (candidates > 100).all(), candidates
    assert (candidates < outputs["cls_logits"].shape[1]).all(), candidates
    columns = torch.tensor(COLUMNS)
    for image, one in enumerate(expected):
        count = len(one["scores"])
        assert 20 < count <= 100
        assert int(found["count"][image]) == count
        boxes, scores, labels = (found[key][image, :count] for key in ("boxes", "scores", "labels"))
        # Equal scores may stand in either order: every box of theirs has its partner of the same class.
        same = pairwise_iou(one["boxes"], boxes) * (one["labels"][:, None] == columns[labels])
        overlap, partner = same.max(dim=1)
        assert overlap.min() > 0.999
        assert len(partner.unique()) == count
        assert (scores[partner] - one["scores"]).abs().max() <= 1e-4


@pytest.mark.parametrize("counts", [(0, 1, 60), (0, 0, 0)])
def test_losses_and_gradients_of_torchvision(ours: FCOS, theirs: Any, counts: tuple[int, ...]) -> None:
    images = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    targets = [random_boxes(count, seed) for seed, count in enumerate(counts)]
    columns = torch.tensor(COLUMNS)
    outputs, anchors, per_level = their_pass(theirs, images, 1)
    as_columns = [{"boxes": one["boxes"], "labels": columns[one["labels"]]} for one in targets]
    expected = theirs.compute_loss(as_columns, outputs, anchors, per_level)
    terms = ours.loss(images, targets)
    names = {"classification": "classification", "box": "bbox_regression", "centerness": "bbox_ctrness"}
    assert list(terms) == list(names)
    for name, their_name in names.items():
        assert terms[name].item() == pytest.approx(expected[their_name].item(), abs=1e-4, rel=1e-4)
    assert (terms["box"] > 0) == (sum(counts) > 0)

    last = ("head.classification_head.cls_logits", "head.regression_head.bbox_reg", "head.regression_head.bbox_ctrness")
    pairs = [("backbone.conv1", "backbone.body.conv1"), *((name, name) for name in last)]
    own = torch.autograd.grad(sum(terms.values()), [ours.get_submodule(name).weight for name, _ in pairs])
    their = torch.autograd.grad(sum(expected.values()), [theirs.get_submodule(name).weight for _, name in pairs])
    for (name, _), first, second in zip(pairs, own, their, strict=True):
        second = second[COLUMNS] if name.endswith("cls_logits") else second
        assert (first - second).abs().max() <= 1e-3 * second.abs().max(), name


# --- Options.


def test_middles_of_cells_are_the_papers_points() -> None:
    images = torch.zeros(1, 3, 128, 128)
    for model, first in ((fcos(1, channels=64), [4, 8, 16, 32, 64]), (fcos_resnet50_fpn(1), [0] * 5)):
        with torch.no_grad():
            outputs = model.eval()(images)
        starts = [outputs["points"][outputs["strides"] == stride][0].tolist() for stride in model.feature_strides]
        assert starts == [[value, value] for value in first]
        step = outputs["points"][1] - outputs["points"][0]
        assert step.tolist() == [8, 0]
    assert fcos_resnet50_fpn(1, points="middle").points == "middle"


def test_iou_loss_is_the_papers() -> None:
    distances = torch.rand(50, 4) * 40
    targets = torch.rand(50, 4) * 40 + 1
    boxes, own = (torch.cat((-value[:, :2], value[:, 2:]), dim=1) for value in (distances, targets))
    # Up to the pixel that is added.
    torch.testing.assert_close(
        unitbox_loss(distances * 100, targets * 100), -aligned_iou(boxes, own).log(), atol=1e-2, rtol=1e-2
    )
    nothing = torch.zeros(1, 4, requires_grad=True)
    loss = unitbox_loss(nothing, targets[:1])
    assert torch.isfinite(loss).all()
    model = fcos(2, channels=64).eval()
    batch = torch.rand(1, 3, 128, 128), [{"boxes": torch.tensor([[8.0, 8.0, 70.0, 90.0]]), "labels": torch.tensor([1])}]
    with torch.no_grad():
        by_default = model.loss(*batch)
        model.box_loss = "iou"
        changed = model.loss(*batch)
    assert changed["box"] != by_default["box"]
    assert changed["classification"] == by_default["classification"]


def test_without_centerness() -> None:
    model = fcos(2, channels=64, centerness=False).eval()
    images = torch.rand(1, 3, 128, 128)
    targets = [{"boxes": torch.tensor([[8.0, 8.0, 70.0, 90.0]]), "labels": torch.tensor([1])}]
    assert list(model.loss(images, targets)) == ["classification", "box"]
    assert not any("ctrness" in name for name in model.state_dict())
    with torch.no_grad():
        outputs = model(images)
    assert "centerness" not in outputs
    decoded = model.decode(outputs)
    assert decoded["scores"].max() <= outputs["logits"].sigmoid().max() + 1e-6


def test_without_center_sampling_more_locations_are_positive() -> None:
    near, inside = fcos(1, channels=64), fcos(1, channels=64, center_sampling=False)
    assert near.center_radius == 1.5
    assert inside.center_radius is None
    images = torch.zeros(1, 3, 128, 128)
    targets = [{"boxes": torch.tensor([[10.0, 10.0, 74.0, 74.0]]), "labels": torch.tensor([0])}]
    counts = [int((model.eval().assign(images, targets).owners == 0).sum()) for model in (near, inside)]
    assert counts == [9, 64]


def test_softmax_has_one_classifier_over_background_and_classes() -> None:
    torch.manual_seed(0)
    model = fcos(3, channels=64, classifier="softmax").eval()
    name = "head.classification_head.cls_logits"
    assert model.class_rows == {f"{name}.weight": ClassRows(fixed=1), f"{name}.bias": ClassRows(fixed=1)}
    images = torch.rand(2, 3, 128, 128)
    targets = [
        {"boxes": torch.tensor([[8.0, 8.0, 70.0, 90.0]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    with torch.no_grad():
        outputs = dict(model(images))
        owners = model.assign(images, targets).owners
        loss = model.loss(images, targets)["classification"]
    assert outputs["logits"].shape[2] == 4
    probabilities = outputs["logits"].softmax(dim=2)
    assert (1 - probabilities[..., 0]).mean().item() == pytest.approx(0.01, abs=0.005)  # the prior
    expected, positives = 0.0, int((owners >= 0).sum())
    for image, location in torch.cartesian_prod(torch.arange(2), torch.arange(owners.shape[1])).tolist():
        column, weight = (3, 0.25) if owners[image, location] == 0 else (0, 0.75)
        p = probabilities[image, location, column].item()
        expected -= weight * (1 - p) ** 2 * torch.tensor(p).log().item()
    assert loss.item() == pytest.approx(expected / positives, rel=1e-3)

    # Decoding takes the probabilities of classes; the background is none of them.
    logits = torch.full_like(outputs["logits"], 0.0)
    logits[..., 0] = 20.0
    logits[0, 7] = torch.tensor([0.0, 1.0, 9.0, 0.0])
    outputs["logits"], outputs["distances"] = logits, torch.ones_like(outputs["distances"])
    outputs["centerness"] = torch.full_like(outputs["centerness"], 30.0)
    decoded = model.decode(outputs)
    assert decoded["count"].tolist() == [1, 0]
    assert decoded["labels"][0, 0] == 1
    assert decoded["scores"][0, 0].item() == pytest.approx(logits[0, 7].softmax(0)[2].sqrt().item(), abs=1e-5)


def test_score_is_the_root_of_class_times_centerness_and_boxes_stay_on_the_canvas() -> None:
    model = fcos(2, channels=64).eval()
    with torch.no_grad():
        outputs = dict(model(torch.rand(1, 3, 96, 128)))
    outputs["logits"] = torch.full_like(outputs["logits"], -20.0)
    outputs["logits"][0, 5] = torch.tensor([1.0, 2.0])
    outputs["centerness"] = torch.full_like(outputs["centerness"], 0.5)
    outputs["distances"] = torch.full_like(outputs["distances"], 100.0)
    decoded = model.decode(outputs)
    assert decoded["count"].tolist() == [2]  # two classes of one location
    assert decoded["labels"][0, :2].tolist() == [1, 0]
    expected = (torch.tensor([2.0, 1.0]).sigmoid() * torch.tensor(0.5).sigmoid()).sqrt()
    torch.testing.assert_close(decoded["scores"][0, :2], expected)
    assert decoded["boxes"][0, 0].tolist() == [0, 0, 128, 96]


def test_options_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="channels is 48; it must be a multiple of 32"):
        fcos(2, channels=48)
    with pytest.raises(ConfigError, match=r"ranges is \(64.*\); it must be 4 rising numbers"):
        fcos(2, channels=64, ranges=(64, 64, 128, 256))
    with pytest.raises(ConfigError, match="4 rising numbers"):
        fcos(2, channels=64, ranges=(64, 128))
    with pytest.raises(ConfigError, match="classifier"):
        fcos(2, channels=64, classifier="sigmoid")


@pytest.mark.parametrize("backbone", ["vit_ti_16", "mobilenet_v2", "lenet5"])
def test_any_classifier_is_a_backbone(backbone: str) -> None:
    with torch.device("meta"):
        model = fcos(2, backbone, channels=64)
    assert len(model.ranges) == len(model.feature_strides) - 1
    assert [limit / stride for limit, stride in zip(model.ranges, model.feature_strides, strict=False)] == [8.0] * len(
        model.ranges
    )
    assert set(model.feature_channels) == {64}


# --- Bad input.


def bad_boxes() -> Tensor:
    many = random_boxes(490, seed=3)["boxes"]
    bad = torch.tensor(
        [
            [20.0, 20.0, 20.0, 60.0],  # no area
            [30.0, 30.0, 30.0, 30.0],
            [90.0, 80.0, 40.0, 20.0],  # reversed
            [10.0, 50.0, 90.0, 50.3],  # thinner than a pixel
            [0.0, 0.0, 224.0, 160.0],  # border to border
            [-50.0, -50.0, -10.0, -10.0],  # outside
            [300.0, 200.0, 400.0, 300.0],
            [-1e6, -1e6, 1e6, 1e6],
            [52.0, 44.0, 60.0, 52.0],  # twice the same
            [52.0, 44.0, 60.0, 52.0],
        ]
    )
    return torch.cat((bad, many))


@pytest.mark.parametrize("box_loss", ["giou", "iou"])
@pytest.mark.parametrize("options", [{}, {"classifier": "softmax", "center_sampling": False}])
def test_bad_boxes_leave_losses_and_gradients_finite(box_loss: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = fcos(4, channels=64, **options)
    model.box_loss = box_loss
    boxes = bad_boxes()
    labels = torch.randint(4, (len(boxes),))
    images = torch.rand(2, 3, *SIZE)
    targets = [{"boxes": boxes, "labels": labels}, {"boxes": boxes[:10], "labels": labels[:10]}]
    terms = model.loss(images, targets)
    assert all(torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())
    crowds = [{**one, "iscrowd": torch.ones(len(one["labels"]), dtype=torch.bool)} for one in targets]
    assert not (model.assign(images, crowds).owners >= 0).any()
    assert model.assignable(boxes[:10], SIZE).tolist()[:3] == [False] * 3


def test_ten_thousand_boxes_in_an_image() -> None:
    model = fcos(1, channels=64).eval()
    boxes = random_boxes(10_000, seed=4)["boxes"]
    targets = [{"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64)}]
    with torch.no_grad():
        terms = model.loss(torch.rand(1, 3, *SIZE), targets)
    assert all(torch.isfinite(value) for value in terms.values())


def test_bfloat16_training_step_is_finite() -> None:
    torch.manual_seed(0)
    model = fcos(2, channels=64).to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.loss(images, [random_boxes(5, 0, 2), random_boxes(0, 1, 2)])
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


# --- Export.


class Whole(nn.Module):
    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.model.predict(images)


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
def test_exports_with_dynamic_batch_and_canvas() -> None:
    torch.manual_seed(0)
    model = fcos(2, channels=64).eval()
    model.points = "corner"  # whose strides depend on the canvas
    nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    batch, rows, columns = (
        torch.export.Dim(name, min=low, max=20) for name, low in (("batch", 1), ("rows", 5), ("columns", 5))
    )
    shapes = ({0: batch, 2: 32 * rows, 3: 32 * columns},)
    program = torch.export.export(Whole(model), (torch.rand(2, 3, 160, 192),), dynamic_shapes=shapes).module()
    for size in ((1, 3, 160, 256), (3, 3, 192, 160)):
        images = torch.rand(size)
        with torch.no_grad():
            expected, found = model.predict(images), program(images)
        assert expected["count"].min() > 20
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


# --- Learning.


@pytest.mark.parametrize("classifier", ["binary", "softmax"])
def test_overfits_two_images(classifier: Any) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    colours = torch.tensor([[2.0, -1.5, -1.5], [-1.5, 2.0, -1.0], [-1.0, -1.0, 2.0]])
    images = torch.randn(2, 3, 96, 96) * 0.1
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [48.0, 46.0, 90.0, 88.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 30.0, 70.0, 70.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    model = fcos(3, "shufflenet_v2_x0_5", channels=64, classifier=classifier).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=60)
    for _ in range(60):
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


def test_no_side_begins_without_a_gradient() -> None:
    torch.manual_seed(0)
    head = FCOSHead(64, num_classes=3)
    distances = head([torch.randn(2, 64, 6, 8)])["distances"]
    assert distances.min() > 0
    distances.sum().backward()
    bias = head.regression_head.bbox_reg.bias
    assert bias is not None
    assert bias.grad is not None
    assert (bias.grad == 2 * 48).all()
