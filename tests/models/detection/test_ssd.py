"""SSD and SSDLite: counts, equality with torchvision, bad boxes, canvases, decoding, graphs, and learning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from saccade.analysis.summary import summary
from saccade.errors import ConfigError
from saccade.models.detection.ssd import CODE_WEIGHTS, SSD, ssd_loss
from saccade.models.registry import create_model
from saccade.ops.box_coding import decode_anchors, encode_anchors
from saccade.ops.iou import pairwise_iou
from saccade.recipes.defaults import default_settings
from saccade.structures.batch import pad_targets
from saccade.weights.layouts import ssd_torchvision

COUNTS = json.loads((Path(__file__).parents[2] / "reference_counts.json").read_text())["counts"]
CLASSES = 6
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssd512_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_parameters_and_macs_of_the_reference(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=COUNTS[name]["num_classes"])
    figures = summary(model)
    assert (figures.params, figures.macs) == (COUNTS[name]["params"], COUNTS[name]["macs"])
    assert model.input_spec.size == tuple(COUNTS[name]["input"][1:])


# --- Equality with torchvision: one construction a network.


def random_targets(size: int, counts: Sequence[int]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * size * 0.8
        side = torch.rand(count, 2, generator=generator) * size * 0.45 + 4
        boxes = torch.cat((corner, (corner + side).clamp(max=size)), dim=1)
        targets.append({"boxes": boxes, "labels": torch.randint(CLASSES, (count,), generator=generator)})
    return targets


@pytest.fixture(scope="module", params=["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def pair(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The same network here and there, with weights with which it predicts different things at different locations."""
    torch.manual_seed(0)
    size = 300 if request.param == "ssd300_vgg16" else 320
    build = getattr(torchvision.models.detection, request.param)
    theirs = build(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, image_mean=[0.0] * 3, image_std=[1.0] * 3
    )
    images = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 0.5, 1.5)
        theirs.train().backbone(images)
        theirs.eval()
        maps = list(theirs.backbone(images).values())
        for name, head in (("classes", theirs.head.classification_head), ("boxes", theirs.head.regression_head)):
            for layer, level in zip(head.module_list, maps, strict=True):
                last = layer if isinstance(layer, nn.Conv2d) else layer[-1]
                last.weight.mul_((2.0 if name == "classes" else 1.0) / layer(level).std().clamp(min=1e-6))
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    ours = create_model(request.param, num_classes=CLASSES)
    state = theirs.state_dict()
    assert ssd_torchvision.matches(set(state))
    ours.load_state_dict(ssd_torchvision.convert(state, ours))
    return SimpleNamespace(ours=ours, theirs=theirs, size=size, images=images, lite=size == 320)


def test_detections_are_those_of_torchvision(pair: SimpleNamespace) -> None:
    image = pair.images[:1]
    with torch.no_grad():
        expected = pair.theirs.eval()([image[0]])[0]
        outputs = pair.ours.eval()(image)
        found = pair.ours.decode(outputs)
        maps = pair.ours.features(image)
    boxes = pair.theirs.anchor_generator(ImageList(image, [(pair.size, pair.size)]), maps)[0]
    torch.testing.assert_close(outputs["anchors"], boxes, rtol=0, atol=1e-4)
    count = int(found["count"])
    assert count == len(expected["scores"]) > 50
    boxes, scores, labels = (found[key][0, :count] for key in ("boxes", "scores", "labels"))
    same = labels[:, None] == expected["labels"] - 1
    overlaps = pairwise_iou(boxes, expected["boxes"]) * same
    near = (scores[:, None] - expected["scores"]).abs() <= 1e-4
    found_again = (overlaps > 0.999) & near
    assert found_again.any(dim=1).all()
    assert found_again.any(dim=0).all()


def test_losses_and_gradients_are_those_of_torchvision(pair: SimpleNamespace) -> None:
    targets = random_targets(pair.size, (0, 1, 60))
    images = torch.rand(3, 3, pair.size, pair.size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = pair.theirs.train()(
        list(images), [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
    )
    sum(expected.values()).backward()
    found = pair.ours.train().loss(images, targets)
    sum(found.values()).backward()
    assert found["box"].item() == pytest.approx(expected["bbox_regression"].item(), rel=1e-4)
    assert found["class"].item() == pytest.approx(expected["classification"].item(), rel=1e-4)
    assert found["class"].item() > 0.1
    gradients = {name: value.grad for name, value in pair.theirs.named_parameters()}
    theirs = ssd_torchvision.convert(gradients, pair.ours)
    ours = dict(pair.ours.named_parameters())
    first = "backbone.body.trunk.0.0.weight" if pair.lite else "backbone.trunk.0.0.weight"
    for name in (first, *(name for name in ours if name.startswith("head."))):
        scale = theirs[name].abs().max()
        assert (ours[name].grad - theirs[name]).abs().max() <= 1e-3 * scale.clamp(min=1e-6), name
    pair.ours.zero_grad()


# --- The paper's own numbers, in small.


@pytest.fixture(scope="module")
def small() -> SSD:
    torch.manual_seed(0)
    return create_model("ssd", num_classes=3, levels=4, size=128)


def test_without_mining_every_background_box_counts(small: SSD) -> None:
    outputs = {name: value.detach() for name, value in small.train()(torch.rand(2, 3, 128, 128)).items()}
    targets = pad_targets([{"boxes": torch.tensor([[20.0, 30, 70, 90]]), "labels": torch.tensor([2])}, NOTHING])
    mined = ssd_loss(outputs, targets["boxes"], targets["labels"])
    whole = ssd_loss(outputs, targets["boxes"], targets["labels"], None)
    overlaps = pairwise_iou(targets["boxes"][:1, 0], outputs["anchors"])[0]
    positive = overlaps >= 0.5
    positive[overlaps.argmax()] = True
    count = int(positive.sum())
    classes = torch.zeros(2, len(positive), dtype=torch.long)
    classes[0, positive] = 3
    losses = F.cross_entropy(outputs["logits"].flatten(0, 1), classes.flatten(), reduction="none").view(classes.shape)
    assert whole["class"].item() == pytest.approx(losses.sum().item() / count, rel=1e-5)
    # The three hardest of background for each positive, of that image alone.
    hardest = losses[0][~positive].sort(descending=True).values[: 3 * count].sum() + losses[0][positive].sum()
    assert mined["class"].item() == pytest.approx(hardest.item() / count, rel=1e-5)
    assert mined["box"].item() == whole["box"].item() > 0


def test_perfect_codes_decode_to_the_boxes(small: SSD) -> None:
    """What the loss wants of the network is what decoding turns into the ground truth."""
    with torch.no_grad():
        outputs = dict(small.eval()(torch.zeros(1, 3, 128, 128)))
    box = torch.tensor([10.0, 20, 60, 100])
    anchors = outputs["anchors"]
    codes = encode_anchors(box.expand(len(anchors), 4), anchors, CODE_WEIGHTS)
    torch.testing.assert_close(
        decode_anchors(codes, anchors, CODE_WEIGHTS), box.expand(len(anchors), 4), atol=0.01, rtol=0
    )
    outputs["codes"] = codes[None]
    logits = torch.zeros(1, len(anchors), 4)
    logits[..., 2] = 12.0
    decoded = small.decode({**outputs, "logits": logits})
    assert int(decoded["count"]) == 1  # all of them are one object
    torch.testing.assert_close(decoded["boxes"][0, 0], box, atol=0.01, rtol=0)
    assert decoded["labels"][0, 0] == 1  # background is no class


def test_boxes_end_at_the_canvas(small: SSD) -> None:
    with torch.no_grad():
        outputs = dict(small.eval()(torch.zeros(1, 3, 128, 96)))
    outputs["codes"] = torch.zeros_like(outputs["codes"])
    outputs["codes"][..., 2:] = 1e4  # exp would overflow
    outputs["logits"] = torch.randn_like(outputs["logits"])
    decoded = small.decode(outputs)
    count = int(decoded["count"])
    assert torch.equal(decoded["boxes"][0, :count].amax(dim=0), torch.tensor([0.0, 0.0, 96.0, 128.0]))
    assert decoded["boxes"].min() == 0


BAD = {
    "zero area": [[30.0, 30, 30, 30]],
    "reversed": [[60.0, 60, 20, 20]],
    "thin": [[30.0, 10, 30.001, 100]],
    "border": [[0.0, 0, 128, 128]],
    "outside": [[500.0, 500, 600, 600]],
    "partly outside": [[-50.0, -50, 40, 40]],
    "duplicates": [[20.0, 20, 60, 60]] * 3,
    "none": [],
    "500": (torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 100)
    .repeat(1, 2)
    .add(torch.tensor([0.0, 0, 9, 7]))
    .tolist(),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_boxes_keep_loss_and_gradients_finite(small: SSD, kind: str) -> None:
    boxes = torch.tensor(BAD[kind]).reshape(-1, 4)
    targets = [{"boxes": boxes, "labels": torch.arange(len(boxes)) % 3}, NOTHING]
    small.train().zero_grad()
    terms = small.loss(torch.rand(2, 3, 128, 128), targets)
    assert all(torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in small.parameters())
    owners = small.eval().assign(torch.rand(2, 3, 128, 128), targets).owners
    has_none = kind in ("zero area", "reversed", "outside", "none")
    assert (owners[0] >= 0).any().item() is not has_none
    assert (terms["class"] > 0).item() is not has_none  # no positive, no mined background
    assert not (owners[1] >= 0).any()


def test_assignable_is_what_assign_gives(small: SSD) -> None:
    boxes = torch.tensor(
        [[20.0, 20, 60, 60], [5.0, 5, 5, 5], [20.0, 20, 60, 60], [300.0, 300, 320, 320], [3.0, 2, 4, 3]]
    )
    can = small.assignable(boxes, (128, 96))
    # Of two objects at one place the later takes the forced box; none with an overlap of 0.5 is left to the first here.
    targets = [{"boxes": boxes, "labels": torch.zeros(5, dtype=torch.long)}]
    assignment = small.eval().assign(torch.zeros(1, 3, 128, 96), targets)
    owned = assignment.owners[0].unique()
    assert torch.equal(can.nonzero().squeeze(1), owned[owned >= 0])
    assert can[2]
    assert can[4]
    assert not can[1]
    assert not can[3]
    assert len(assignment.regions_xyxy) == len(assignment.levels) == assignment.owners.shape[1]
    assert assignment.level_names == ("16x12", "8x6", "4x3", "2x2")
    assert assignment.levels.bincount().tolist() == [16 * 12 * 4, 8 * 6 * 6, 4 * 3 * 4, 2 * 2 * 4]


def test_bfloat16_training_step_is_finite(small: SSD) -> None:
    targets = [{"boxes": torch.tensor([[20.0, 30, 70, 90]]), "labels": torch.tensor([2])}]
    with torch.autocast("cpu", torch.bfloat16):
        terms = small.train().loss(torch.rand(1, 3, 128, 128), targets)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())


# --- Canvases and options.


def test_canvas_below_the_last_layers_is_named() -> None:
    with torch.device("meta"):
        model = create_model("ssd300_vgg16", num_classes=2)
        assert [tuple(one.shape[2:]) for one in model.features(torch.empty(1, 3, 268, 400))][-1][0] == 1
        with pytest.raises(ConfigError, match=r"267x400 pixels is too small for SSD over VGG-16.*268 a side"):
            model(torch.empty(1, 3, 267, 400))
        assert create_model("ssd512_vgg16").features(torch.empty(1, 3, 268, 268))[-1].shape[2:] == (1, 1)


def test_networks_over_any_classifier_take_canvases_smaller_than_their_largest_stride() -> None:
    model = create_model("ssdlite", num_classes=2, backbone="mobilenet_v3_small").eval()
    assert max(model.feature_strides) == 512
    with torch.no_grad():
        outputs = model(torch.rand(1, 3, 40, 56))
    assert outputs["logits"].shape[1] == len(outputs["anchors"]) == 6 * (3 * 4 + 2 * 2 + 4)
    assert torch.isfinite(outputs["codes"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 3}, "levels is 3; the backbone alone has 3 feature maps from stride 8 on.*Choose 4 or more"),
        ({"finest_stride": 64}, "finest_stride is 64; the backbone's feature maps have the strides 2, 4, 8, 16, 32"),
        ({"scales": (0.9, 0.2)}, r"scales of default boxes go from 0\.9 to 0\.2"),
        ({"backbone": "yolox_s"}, "a backbone is a classifier"),
    ],
)
def test_options_that_fit_nothing_are_named(options: dict[str, object], message: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        create_model("ssd", **options)
    with torch.device("meta"), pytest.raises(ConfigError, match="must be 'coco' or 'voc'"):
        create_model("ssd300_vgg16", boxes="lvis")


def test_networks_over_mobilenets_predict_from_expansions() -> None:
    with torch.device("meta"):
        v2 = create_model("ssdlite320_mobilenet_v2")
        maps = v2.features(torch.empty(2, 3, 320, 320))
    assert [tuple(one.shape[1:]) for one in maps[:2]] == [(576, 20, 20), (1280, 10, 10)]  # section 6.2
    assert v2.feature_strides[:2] == (16, 32)
    # The taps lie on the way of the backbone, whose own outputs are as ever.
    torch.manual_seed(0)
    model = create_model("ssdlite", num_classes=2, backbone="mobilenet_v2", levels=4, finest_stride=8).eval()
    with torch.no_grad():
        image = torch.rand(1, 3, 96, 96)
        torch.testing.assert_close(model.features(image)[2], model.backbone.body.features(image)[-1])


def test_data_of_ones_own_starts_with_the_optimiser_of_the_paper_over_vgg16() -> None:
    """Without BatchNorm, and from pixels of 0..255, a rate that suits the other detectors is too high."""
    assert default_settings("detection", "ssd", "ssd300_vgg16").optimizer.name == "sgd"
    assert default_settings("detection", "ssd", "ssd").optimizer.name == "adamw"


# --- Graphs.


def test_ssd300_exports_with_any_number_of_images() -> None:
    torch.manual_seed(0)
    model = create_model("ssd300_vgg16", num_classes=2).eval()
    images = torch.rand(1, 3, 268, 268)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    with torch.no_grad():
        expected = model(images)
        program = torch.export.export(model, (images.repeat(2, 1, 1, 1),), dynamic_shapes=(batch,)).module()
        for name, value in program(images).items():
            torch.testing.assert_close(value, expected[name])


# --- Learning.


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    colours = torch.tensor([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2]])
    images = torch.randn(2, 3, 96, 96) * 0.05
    targets = [
        {"boxes": torch.tensor([[8.0, 10.0, 46.0, 50.0], [48.0, 46.0, 90.0, 88.0]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[20.0, 30.0, 70.0, 70.0]]), "labels": torch.tensor([1])},
    ]
    for image, target in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    options = {"backbone": "mobilenet_v3_small", "levels": 4, "finest_stride": 8, "scales": (0.15, 0.8)}
    model = create_model("ssdlite", num_classes=3, size=96, **options).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=60)
    for _ in range(60):
        optimizer.zero_grad()
        sum(model.loss(images, targets).values()).backward()
        optimizer.step()
        schedule.step()
    # Still in training mode: two images are too few for running statistics.
    model.nms = replace(model.nms, score_threshold=0.3)
    with torch.no_grad():
        decoded = model.decode(model(images))
    assert decoded["count"].tolist() == [2, 1]
    for image, target in enumerate(targets):
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, : len(target["labels"])])
        assert overlaps.max(dim=1).values.min() > 0.8
        assert torch.equal(decoded["labels"][image, overlaps.argmax(dim=1)], target["labels"])
