"""RetinaNet: torchvision's losses, gradients and detections, its published file, bad boxes, export, and learning."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from tests.models.detection.torchvision_files import check_names, older_pyramid, published_file, their_pass
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet as TheirRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from saccade.errors import ConfigError, WeightsError
from saccade.models.detection.base import unpack_targets
from saccade.models.detection.retinanet import RetinaNet, retinanet, retinanet_loss, retinanet_resnet50_fpn
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.weights import load_weights
from saccade.weights.published import PUBLISHED

ROW = PUBLISHED["retinanet_resnet50_fpn/coco"]
COLUMNS = [column for column, name in enumerate(ROW.class_names()) if name]  # real ones of the file's 91
SIZE = (160, 224)  # no multiple of 128: the coarsest stride is the canvas divided by the grid
FOUND = 500  # pairs of an anchor and a class above the threshold, on a canvas of SIZE


def random_boxes(count: int, seed: int, size: tuple[int, int] = SIZE, num_classes: int = 80) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    limit = torch.tensor([size[1], size[0]] * 2)
    centre = torch.rand(count, 2, generator=generator) * limit[:2]
    half = 4 + torch.rand(count, 2, generator=generator) ** 2 * 90
    boxes = torch.minimum(torch.cat((centre - half, centre + half), dim=1).clamp(min=0), limit)
    return {"boxes": boxes, "labels": torch.randint(num_classes, (count,), generator=generator)}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """torchvision's as its loader makes it, frozen BatchNorm without eps, with random weights that find things."""
    torch.manual_seed(0)
    body = torchvision.models.resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=0.0))
    for name, module in body.named_modules():
        if isinstance(module, FrozenBatchNorm2d):
            nn.init.uniform_(module.weight, *((0.1, 0.3) if name.endswith("bn3") else (0.5, 1.0)))
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
            module.running_var[0], module.weight[0] = 3e-6, 1e-3  # a variance that is smaller than the eps
    backbone = _resnet_fpn_extractor(body, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    model = TheirRetinaNet(backbone, 91)
    classes, boxes = model.head.classification_head, model.head.regression_head
    never = [column + 91 * anchor for anchor in range(9) for column in range(91) if column not in COLUMNS]
    with torch.no_grad():
        for branch in (classes, boxes):
            for layer in branch.conv.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)
        outputs, _, _ = their_pass(model, torch.randn(1, 3, *SIZE), 9)
        boxes.bbox_reg.weight *= 0.4 / outputs["bbox_regression"].std()
        classes.cls_logits.weight *= 1.0 / outputs["cls_logits"].std()
        classes.cls_logits.weight[never], classes.cls_logits.bias[never] = 0, -60.0
        logits = their_pass(model, torch.randn(1, 3, *SIZE), 9)[0]["cls_logits"].flatten()
        real = torch.ones(9 * 91, dtype=torch.bool).index_fill_(0, torch.tensor(never), False)
        classes.cls_logits.bias[real] += -2.94 - logits.topk(FOUND).values[-1]
    return model


@pytest.fixture(scope="module")
def published(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file as torchvision publishes it, where a download of it would lie: the names of older releases."""
    state = {older(name): value for name, value in theirs.state_dict().items()}
    with published_file(ROW, state, tmp_path_factory.mktemp("cache")) as path:
        yield path


def older(name: str) -> str:
    for index in range(4):
        name = name.replace(f"_head.conv.{index}.0.", f"_head.conv.{2 * index}.")
    return older_pyramid(name)


@pytest.fixture(scope="module")
def ours(published: Path) -> RetinaNet:
    model = create_model("retinanet_resnet50_fpn", weights="coco").eval()
    assert isinstance(model, RetinaNet)
    return model


# --- Published weights and torchvision.


def test_published_file_loads_unedited(ours: RetinaNet, theirs: Any, published: Path) -> None:
    check_names(ours, ROW)
    rows = ours.head.classification_head.cls_logits.weight.view(9, 80, -1)
    their_rows = theirs.head.classification_head.cls_logits.weight.view(9, 91, -1)
    assert torch.equal(rows, their_rows[:, COLUMNS])
    assert sum(value.numel() for value in theirs.parameters()) == 34_014_999
    assert sum(value.numel() for value in (*theirs.parameters(), *theirs.buffers())) == 34_014_999 + 2 * 53_120
    # By path, names of rows are unknown: a network of as many columns takes them as they are. Newer names, too.
    newer = published.with_name("newer.pth")
    torch.save(theirs.state_dict(), newer)
    for path in (published, newer):
        whole = retinanet_resnet50_fpn(num_classes=91)
        report = load_weights(whole, path)
        assert report.missing == report.unexpected == ()
        assert torch.equal(whole.head.classification_head.cls_logits.weight.view(9, 91, -1), their_rows)


def test_batch_norm_without_eps_gives_the_same_numbers(ours: RetinaNet, theirs: Any) -> None:
    for own, their in zip(
        (module for module in ours.backbone.modules() if isinstance(module, nn.BatchNorm2d)),
        (module for module in theirs.backbone.body.modules() if isinstance(module, FrozenBatchNorm2d)),
        strict=True,
    ):
        x = torch.randn(1, len(own.weight), 3, 3)
        torch.testing.assert_close(own(x), their(x), rtol=1e-5, atol=1e-5)
        assert (own.running_var >= 0).all()


def test_batch_norm_that_was_not_frozen_stays_as_it_is() -> None:
    from saccade.weights.layouts import torchvision_detection as layout

    model = create_model("retinanet", num_classes=2, channels=32)
    frozen = {
        "backbone.body.bn1.weight": torch.ones(1),
        "backbone.body.bn1.running_var": torch.tensor([1e-5 + 1e-6]),
        "backbone.fpn.inner_blocks.0.weight": torch.zeros(1),
    }
    assert layout.convert(frozen, model)["backbone.bn1.running_var"].item() == pytest.approx(1e-6, rel=1e-3)
    for beside in ("backbone.body.bn1.num_batches_tracked", "head.regression_head.bbox_ctrness.weight"):
        converted = layout.convert({**frozen, beside: torch.zeros(1)}, model)
        assert torch.equal(converted["backbone.bn1.running_var"], frozen["backbone.body.bn1.running_var"])


def test_second_version_of_torchvision_is_refused(tmp_path: Path) -> None:
    second = torchvision.models.detection.retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=3)
    torch.save(second.state_dict(), tmp_path / "second.pth")
    with pytest.raises(WeightsError, match=r"it lacks .*backbone.conv1.weight"):
        load_weights(create_model("retinanet_resnet50_fpn_c5", num_classes=3), tmp_path / "second.pth")


def test_input_as_published(ours: RetinaNet, theirs: Any) -> None:
    transform, spec = theirs.transform, ours.input_spec
    assert spec.size == (*transform.min_size, transform.max_size)
    assert spec.pad_multiple == transform.size_divisible
    assert [value / 255 for value in spec.mean] == pytest.approx(transform.image_mean)
    assert [value / 255 for value in spec.std] == pytest.approx(transform.image_std, abs=1e-3)
    assert (spec.resize, spec.align, spec.channel_order) == ("shorter_side", "top_left", "rgb")


@pytest.mark.parametrize("size", [(128, 128), SIZE, (97, 131)], ids=str)
def test_detections_of_torchvision(ours: RetinaNet, theirs: Any, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs, anchors, per_level = their_pass(theirs, images, 9)
        split = {name: list(value.split(per_level, dim=1)) for name, value in outputs.items()}
        expected = theirs.postprocess_detections(split, [list(one.split(per_level)) for one in anchors], [size] * 2)
        raw, found = ours(images), ours.predict(images)
    assert torch.equal(raw["anchors"], anchors[0])
    torch.testing.assert_close(raw["logits"], outputs["cls_logits"][..., COLUMNS], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(raw["codes"], outputs["bbox_regression"], rtol=1e-4, atol=1e-4)
    columns = torch.tensor(COLUMNS)
    for image, one in enumerate(expected):
        count = len(one["scores"])
        assert 20 < count <= 300
        # As many as enter the suppression in all: torchvision's limit of 1,000 is one of each level.
        assert (raw["logits"][image].sigmoid() > 0.05).sum() <= 1000
        assert int(found["count"][image]) == count
        boxes, scores, labels = (found[key][image, :count] for key in ("boxes", "scores", "labels"))
        # Equal scores may stand in either order: every box of theirs has its partner of the same class.
        same = pairwise_iou(one["boxes"], boxes) * (one["labels"][:, None] == columns[labels])
        overlap, partner = same.max(dim=1)
        assert overlap.min() > 0.999
        assert len(partner.unique()) == count
        assert (scores[partner] - one["scores"]).abs().max() <= 1e-4


@pytest.mark.parametrize("counts", [(0, 1, 60), (0, 0, 0)])
def test_losses_and_gradients_of_torchvision(ours: RetinaNet, theirs: Any, counts: tuple[int, ...]) -> None:
    images = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    targets = [random_boxes(count, seed) for seed, count in enumerate(counts)]
    columns = torch.tensor(COLUMNS)
    outputs, anchors, _ = their_pass(theirs, images, 9)
    as_columns = [{"boxes": one["boxes"], "labels": columns[one["labels"]]} for one in targets]
    expected = theirs.compute_loss(as_columns, outputs, anchors)
    terms = ours.loss(images, targets)
    for name, their_name in (("classification", "classification"), ("box", "bbox_regression")):
        assert terms[name].item() == pytest.approx(expected[their_name].item(), abs=1e-4, rel=1e-4)
    assert (terms["box"] > 0) == (sum(counts) > 0)

    last = ("head.classification_head.cls_logits", "head.regression_head.bbox_reg")
    pairs = [("backbone.conv1", "backbone.body.conv1"), *((name, name) for name in last)]
    own = torch.autograd.grad(sum(terms.values()), [ours.get_submodule(name).weight for name, _ in pairs])
    their = torch.autograd.grad(sum(expected.values()), [theirs.get_submodule(name).weight for _, name in pairs])
    for (name, _), first, second in zip(pairs, own, their, strict=True):
        if name.endswith("cls_logits"):
            first, second = first.view(9, 80, -1), second.view(9, 91, -1)[:, COLUMNS]
        assert (first - second).abs().max() <= 1e-3 * second.abs().max(), name


@pytest.mark.parametrize("size", [(256, 256), (320, 416), (100, 75)], ids=str)
def test_anchors_of_torchvision(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        model = retinanet(num_classes=2, channels=32)
    images = torch.empty(1, 3, *size)
    maps = [torch.empty(1, 1, *(-(-side // stride) for side in size)) for stride in (8, 16, 32, 64, 128)]
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    assert torch.equal(model._anchors(images, maps), generator(ImageList(images, [size]), maps)[0])


# --- Options.


def small(**options: Any) -> RetinaNet:
    return retinanet(**{"num_classes": 3, "channels": 32, "anchor_size": 8, **options})


TARGETS = [
    {"boxes": torch.tensor([[8.0, 10.0, 50.0, 60.0], [40.0, 30.0, 90.0, 80.0]]), "labels": torch.tensor([2, 0])},
    {"boxes": torch.tensor([[20.0, 20.0, 36.0, 40.0]]), "labels": torch.tensor([1])},
]


def test_prior_and_initialisation_of_the_paper() -> None:
    head = retinanet(num_classes=20).head
    assert head.classification_head.cls_logits.bias.sigmoid().tolist() == pytest.approx([0.01] * 180)
    layers = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) == 10
    for layer in layers:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert layer is head.classification_head.cls_logits or not layer.bias.any()


@pytest.mark.parametrize(("alpha", "gamma"), [(None, 0.0), (0.75, 0.0), (0.25, 5.0)])
def test_options_of_the_loss(alpha: float | None, gamma: float) -> None:
    torch.manual_seed(0)
    model = small(alpha=alpha, gamma=gamma).eval()
    images = torch.randn(2, 3, 96, 96)
    terms, outputs, assignment = model.loss(images, TARGETS), model(images), model.assign(images, TARGETS)
    expected, box = [], []
    for image, target in enumerate(TARGETS):
        owners = assignment.owners[image]
        truth = torch.zeros(len(owners), 3)
        truth[owners >= 0, target["labels"][owners[owners >= 0]]] = 1.0
        logits = outputs["logits"][image]
        p = logits.sigmoid()
        weight = torch.ones_like(p) if alpha is None else torch.where(truth == 1, alpha, 1 - alpha)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        losses = losses * weight * torch.where(truth == 1, 1 - p, p) ** gamma
        expected.append(losses[owners != IGNORED].sum() / (owners >= 0).sum())
        anchors = assignment.regions_xyxy[owners >= 0]
        boxes = target["boxes"][owners[owners >= 0]]
        sides = anchors[:, 2:] - anchors[:, :2]
        centres = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / sides
        codes = torch.cat((centres, ((boxes[:, 2:] - boxes[:, :2]) / sides).log()), dim=1)
        box.append(F.smooth_l1_loss(outputs["codes"][image, owners >= 0], codes, reduction="sum") / len(codes))
    torch.testing.assert_close(terms["classification"], sum(expected) / 2, rtol=1e-5, atol=1e-5)
    model.smooth_l1_beta = 1.0  # the paper's
    torch.testing.assert_close(model.loss(images, TARGETS)["box"], sum(box) / 2, rtol=1e-5, atol=1e-5)


def test_assignment_by_overlap() -> None:
    model = small()
    images = torch.zeros(2, 3, 96, 96)
    assignment = model.assign(images, TARGETS)
    assert assignment.level_names == ("P3 /8", "P4 /16", "P5 /32", "P6 /64", "P7 /128")
    assert assignment.levels.bincount().tolist() == [9 * cells for cells in (144, 36, 9, 4, 1)]
    for image, target in enumerate(TARGETS):
        overlaps = pairwise_iou(target["boxes"], assignment.regions_xyxy)
        iou, owners = overlaps.amax(dim=0), assignment.owners[image]
        assert (owners[iou >= 0.5] == overlaps.argmax(dim=0)[iou >= 0.5]).all()
        best = (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
        assert (owners[best] >= 0).all()
        assert (owners[(iou < 0.4) & ~best] == NEGATIVE).all()
        assert (owners[(iou >= 0.4) & (iou < 0.5) & ~best] == IGNORED).all()
    # Too thin for any anchor, but nearest to some: positive by force alone, and then the paper has nothing for it.
    thin = [{"boxes": torch.tensor([[0.0, 40.0, 96.0, 43.0]]), "labels": torch.tensor([1])}]
    assert (model.assign(images[:1], thin).owners >= 0).any()
    assert model.assignable(thin[0]["boxes"], (96, 96)).tolist() == [True]
    model.forced = "none"
    assert not (model.assign(images[:1], thin).owners >= 0).any()
    assert model.assignable(thin[0]["boxes"], (96, 96)).tolist() == [False]
    boxes = torch.cat([target["boxes"] for target in TARGETS])
    assert model.assignable(boxes, (96, 96)).all()
    assert not model.assignable(torch.tensor([[200.0, 200.0, 240.0, 240.0]]), (96, 96)).any()


# --- Bad input.

BAD = {
    "zero area": [[30.0, 30.0, 30.0, 30.0]],
    "reversed": [[60.0, 60.0, 20.0, 20.0]],
    "thin": [[10.0, 10.0, 90.0, 10.01]],
    "border": [[0.0, 0.0, 96.0, 96.0]],
    "outside": [[300.0, 300.0, 340.0, 360.0]],
    "beyond": [[-50.0, -50.0, 400.0, 500.0]],
}


@pytest.mark.parametrize("boxes", [*BAD.values(), None], ids=[*BAD, "500 boxes"])
def test_bad_boxes_leave_losses_and_gradients_finite(boxes: Any) -> None:
    torch.manual_seed(0)
    model = small()
    first = (
        random_boxes(500, 0, (96, 96), 3)
        if boxes is None
        else {"boxes": torch.tensor(boxes), "labels": torch.tensor([1])}
    )
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    terms = model.loss(torch.randn(2, 3, 96, 96), [first, nothing])
    assert all(torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_canvas_smaller_than_the_largest_stride() -> None:
    model = small()
    images = torch.randn(2, 3, 32, 40)
    targets = [{"boxes": torch.tensor([[4.0, 4.0, 28.0, 30.0]]), "labels": torch.tensor([0])}] * 2
    assert torch.isfinite(sum(model.loss(images, targets).values()))
    assert (model.assign(images, targets).owners >= 0).any()
    assert torch.isfinite(model.eval().predict(images)["boxes"]).all()


def test_bfloat16_training_step_is_finite() -> None:
    torch.manual_seed(0)
    model = small().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.loss(torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last), TARGETS)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# --- Graphs.


class Whole(nn.Module):
    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.model.predict(images)


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
def test_exports_with_dynamic_batch_and_canvas() -> None:
    torch.manual_seed(0)
    model = small().eval()
    nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.1)
    nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    # A graph of torch.export takes more than one cell each way at the coarsest level for granted.
    batch, rows, columns = (
        torch.export.Dim(name, min=low, max=20) for name, low in (("batch", 1), ("rows", 5), ("columns", 5))
    )
    shapes = ({0: batch, 2: 32 * rows, 3: 32 * columns},)
    program = torch.export.export(Whole(model), (torch.rand(2, 3, 160, 192),), dynamic_shapes=shapes).module()
    for size in ((1, 3, 160, 224), (3, 3, 192, 160)):
        images = torch.rand(size)
        with torch.no_grad():
            expected, found = model.predict(images), program(images)
        assert expected["boxes"].shape == (size[0], 300, 4)
        assert expected["count"].min() > 20
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


# --- Learning.


def test_overfits_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    colours = torch.tensor([[2.0, -1.5, -1.5], [-1.5, 2.0, -1.0], [-1.0, -1.0, 2.0]])
    images = torch.randn(2, 3, 96, 96) * 0.1
    for image, target in zip(images, TARGETS, strict=True):
        for (x1, y1, x2, y2), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            image[:, y1:y2, x1:x2] = colours[label][:, None, None]
    model = small(channels=64).train()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=70)
    for _ in range(70):
        optimizer.zero_grad()
        sum(model.loss(images, TARGETS).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    # Still in training mode: two images are too few for running statistics.
    with torch.no_grad():
        decoded = model.decode(model(images))
    for image, target in enumerate(TARGETS):
        count = len(target["labels"])
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        assert overlaps.max(dim=1).values.min() > 0.8
        assert torch.equal(decoded["labels"][image, overlaps.argmax(dim=1)], target["labels"])
        assert decoded["scores"][image, count - 1] > 2 * decoded["scores"][image, count]


def test_loss_of_outputs_is_the_loss_of_the_network() -> None:
    model = small().eval()
    images = torch.randn(2, 3, 96, 96)
    boxes, labels = unpack_targets(TARGETS)
    terms = retinanet_loss(model(images), model.assign(images, TARGETS).owners, boxes, labels)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {name: value.item() for name, value in model.loss(images, TARGETS).items()}
    )


def test_subnets_with_group_norm_take_multiples_of_its_groups() -> None:
    model = create_model("retinanet", num_classes=2, channels=64, normalized=True)
    norms = [module for module in model.head.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [32] * 8
    with pytest.raises(ConfigError, match="channels is 48; it must be a multiple of 32"):
        create_model("retinanet", num_classes=2, channels=48, normalized=True)
