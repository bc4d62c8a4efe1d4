"""Mask R-CNN and Faster R-CNN: torchvision's detections, masks and losses, their published files, choices, learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.models.detection.torchvision_files import check_names, published_file
from tests.models.detection.torchvision_rcnn import SIZE, agree, detect, losses, older, partners, published, their_rcnn
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.roi_heads import paste_masks_in_image

from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.mask_branch import SoftmaxMaskBranch
from saccade.models.detection.mask_rcnn import PyramidPoolPooling, maskrcnn
from saccade.models.detection.roi_branches import RegionSampling
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou
from saccade.ops.paste_masks import paste_masks
from saccade.ops.roi import pyramid_levels, roi_pool
from saccade.weights.published import PUBLISHED

FASTER, MASK = PUBLISHED["fasterrcnn_resnet50_fpn/coco"], PUBLISHED["maskrcnn_resnet50_fpn/coco"]
COLUMNS = [column for column, name in enumerate(MASK.class_names()) if name]  # real ones of the file's 91


@pytest.fixture(scope="module")
def theirs() -> Any:
    return their_rcnn(MaskRCNN, 91, COLUMNS)


@pytest.fixture(scope="module")
def masks(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> FasterRCNN:
    """Ours from a file as torchvision publishes it, with the names of older releases."""
    state = {older(name): value for name, value in theirs.state_dict().items()}
    with published_file(MASK, state, tmp_path_factory.mktemp("cache")):
        return published("maskrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def boxes(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> FasterRCNN:
    """Faster R-CNN from the same tensors but for those of masks, with the names of newer releases."""
    state = {name: value for name, value in theirs.state_dict().items() if ".mask_" not in name}
    with published_file(FASTER, state, tmp_path_factory.mktemp("cache")):
        return published("fasterrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


# --- Published weights and torchvision.


def test_published_files_load_unedited(masks: FasterRCNN, boxes: FasterRCNN, theirs: Any) -> None:
    check_names(masks, MASK)
    check_names(boxes, FASTER)
    heads, rows = theirs.roi_heads, [0, *COLUMNS]
    for model in (masks, boxes):
        predictor = model.box_branch.get_submodule("predictor")
        assert torch.equal(predictor.cls_score.weight, heads.box_predictor.cls_score.weight[rows])
        codes = heads.box_predictor.bbox_pred.weight.view(91, 4, -1)[rows]
        assert torch.equal(predictor.bbox_pred.weight, codes.flatten(0, 1))
    own = masks.branches["mask"].predictor.mask_fcn_logits.weight
    assert torch.equal(own, heads.mask_predictor.mask_fcn_logits.weight[rows])
    assert torch.equal(masks.branches["mask"].head[6].weight, heads.mask_head[3][0].weight)


def test_input_as_published(masks: FasterRCNN) -> None:
    transform, spec = MaskRCNN(_Backbone(), 3).transform, masks.input_spec
    assert spec.size == (*transform.min_size, transform.max_size)
    assert spec.pad_multiple == transform.size_divisible
    assert [value / 255 for value in spec.mean] == pytest.approx(transform.image_mean)
    assert [value / 255 for value in spec.std] == pytest.approx(transform.image_std, abs=1e-3)


class _Backbone(nn.Module):
    out_channels = 8


def test_detections_and_masks_of_torchvision(masks: FasterRCNN, boxes: FasterRCNN, theirs: Any, images: Tensor) -> None:
    expected = detect(theirs, images)
    with torch.no_grad():
        found, found_boxes = masks.predict(images), boxes.predict(images)
    assert set(found) == {"boxes", "scores", "labels", "count", "masks"}
    columns = torch.tensor(COLUMNS)
    equal, pixels = 0, 0
    for image, one in enumerate(expected):
        partners(one, found_boxes, image, columns)
        partner = partners(one, found, image, columns)
        grids = found["masks"][image, partner]
        assert (grids - one["masks"][:, 0]).abs().max() <= 1e-4
        # The photograph was larger than the canvas, as usual.
        large = (5 * SIZE[0], 5 * SIZE[1])
        their = paste_masks_in_image(one["masks"], 5 * one["boxes"], large)[:, 0] >= 0.5
        own = paste_masks(grids.numpy(), 5 * found["boxes"][image, partner].numpy(), large)
        assert 0.005 < own.mean() < 0.6
        equal, pixels = equal + int((own == their.numpy()).sum()), pixels + own.size
    print(f"{equal / pixels:.5%} of the pixels are equal")
    assert equal / pixels >= 0.999


def outlined(count: int, seed: int, size: tuple[int, int] = SIZE, classes: int = 80) -> dict[str, Tensor]:
    """Ellipses with their boxes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.arange(side) + 0.5 for side in size)
    outlines = torch.zeros(count, *size, dtype=torch.uint8)
    corners = torch.zeros(count, 4)
    for row in range(count):
        centre = torch.rand(2, generator=generator) * torch.tensor([size[1], size[0]])
        radius = 8 + torch.rand(2, generator=generator) * 40
        shape = ((x - centre[0]) / radius[0])[None] ** 2 + ((y - centre[1]) / radius[1])[:, None] ** 2
        outlines[row] = shape <= 1
        rows, columns = outlines[row].any(1).nonzero(), outlines[row].any(0).nonzero()
        corners[row] = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    labels = torch.randint(classes, (count,), generator=generator)
    return {"boxes": corners, "labels": labels, "masks": outlines}


@pytest.mark.parametrize("counts", [(3, 7), (0, 2), (0, 0)], ids=str)
def test_losses_of_torchvision(
    masks: FasterRCNN, boxes: FasterRCNN, theirs: Any, images: Tensor, counts: tuple[int, int]
) -> None:
    targets = [outlined(count, seed) for seed, count in enumerate(counts)]
    with torch.no_grad():
        own, their = losses(masks, theirs, images, targets, torch.tensor(COLUMNS))
    agree(own, their)
    assert (own["mask"] > 0) == (sum(counts) > 0)
    if counts == (3, 7):
        del their["loss_mask"]
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            patch.setitem(theirs.roi_heads._modules, "mask_roi_pool", None)
            own, their = losses(boxes, theirs, images, targets, torch.tensor(COLUMNS))
        agree(own, their)


def test_parameters_of_torchvision() -> None:
    with torch.device("meta"):
        model = create_model("maskrcnn_resnet50_fpn", num_classes=90)
    assert sum(parameter.numel() for parameter in model.parameters()) == 44_454_513


# --- Choices of the paper.


def small(**options: Any) -> FasterRCNN:
    return maskrcnn(**{"num_classes": 3, "channels": 16, "anchor_size": 16, "proposals": 50, **options})


def test_masks_are_those_of_the_class_that_was_found() -> None:
    branch = small().branches["mask"]
    logits = torch.randn(3, 4, 28, 28)
    labels = torch.tensor([0, 2, 1])
    chosen = torch.stack([logits[row, 1 + label] for row, label in enumerate(labels)])
    assert torch.equal(branch.probabilities(logits, labels), chosen.sigmoid())
    # Other classes and the background have no part in it: no gradient reaches them.
    logits.requires_grad_()
    branch.compare(logits, labels, torch.rand(3, 28, 28)).backward()
    touched = logits.grad.abs().sum((2, 3)) > 0
    assert touched.tolist() == [[column == 1 + label for column in range(4)] for label in labels.tolist()]


def test_coupled_masks_are_one_softmax() -> None:
    branch = small(coupled=True).branches["mask"]
    assert isinstance(branch, SoftmaxMaskBranch)
    logits, labels, wanted = torch.randn(2, 4, 28, 28), torch.tensor([2, 0]), torch.rand(2, 28, 28).round()
    classes = torch.where(wanted > 0, labels[:, None, None] + 1, 0)
    torch.testing.assert_close(branch.compare(logits, labels, wanted), nn.functional.cross_entropy(logits, classes))
    found = branch.probabilities(logits, labels)
    assert torch.equal(found > 0.5, logits.argmax(1) == labels[:, None, None] + 1)
    shares = logits.softmax(1)
    others = torch.stack([shares[0, [0, 1, 2]].amax(0), shares[1, [0, 2, 3]].amax(0)])
    own = torch.stack([shares[0, 3], shares[1, 1]])
    torch.testing.assert_close(found, own / (own + others))


def test_poolings_are_parts() -> None:
    for name, samples in (("align", 2), ("align_1", 1), ("align_4", 4), ("align_adaptive", 0)):
        model = small(pooling=name)
        assert model.branches["mask"].pooling.sampling_ratio == model.box_branch.pooling.sampling_ratio == samples
    model = small(pooling="pool")
    assert isinstance(model.box_branch.pooling, PyramidPoolPooling)
    pooling = model.branches["mask"].pooling
    maps = [torch.randn(2, 3, 256 // stride, 256 // stride) for stride in (4, 8, 16, 32)]
    regions = torch.tensor(
        [[[0.0, 0, 60, 60], [10, 20, 200, 220], [0, 0, 0, 0]], [[3, 3, 130, 140], [0, 0, 256, 256], [9, 9, 20, 20]]]
    )
    pooled, levels = pooling(maps, regions), pyramid_levels(regions, 4)
    for image in range(2):
        for row in range(3):
            level = int(levels[image, row])
            alone = roi_pool(maps[level][image, None], regions[image, row].view(1, 1, 4), 4 * 2**level, 14)
            assert torch.equal(pooled[image, row], alone[0, 0])
    with pytest.raises(Exception, match=r"'alihn'; choose one of align, .*Did you mean 'align'"):
        small(pooling="alihn")


# --- Bad input.


@pytest.mark.parametrize("kind", ["nothing", "more objects than regions", "all crowds", "empty masks"])
def test_unusual_targets_leave_losses_and_gradients_finite(kind: str) -> None:
    torch.manual_seed(0)
    model = small()
    first = outlined(0 if kind == "nothing" else 600 if kind.startswith("more") else 3, 0, (96, 96), 3)
    if kind == "all crowds":
        first["iscrowd"] = torch.ones(3, dtype=torch.bool)
    if kind == "empty masks":
        first["masks"] = torch.zeros_like(first["masks"])
    second = outlined(0, 0, (96, 96), 3)
    if kind == "all crowds":
        second["iscrowd"] = torch.zeros(0, dtype=torch.bool)
    terms = model.loss(torch.randn(2, 3, 96, 96), [first, second])
    assert all(torch.isfinite(term) for term in terms.values())
    assert (terms["mask"] == 0) == (kind in ("nothing", "all crowds"))
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_predictions_do_not_depend_on_the_batch_or_on_rows_of_padding() -> None:
    torch.manual_seed(0)
    model = small().eval()
    images = torch.randn(2, 3, 96, 96)
    maps = model.features(images)
    decoded = {
        "boxes": torch.tensor([[[4.0, 4, 60, 70], [10, 10, 40, 50], [0, 0, 0, 0]], [[0.0] * 4] * 3]),
        "labels": torch.tensor([[2, 0, 0], [0, 0, 0]]),
        "count": torch.tensor([2, 0]),
    }
    branch = model.branches["mask"]
    with torch.no_grad():
        found = branch.predict(maps, decoded)["masks"]
        alone = branch.predict(
            [level[:1] for level in maps],
            {key: value[:1, :1] if value.ndim > 1 else value[:1] - 1 for key, value in decoded.items()},
        )["masks"]
    torch.testing.assert_close(found[:1, :1], alone)
    assert found[0, :2].gt(0).all()
    assert not found[0, 2].any()
    assert not found[1].any()


# --- Memory.


def test_masks_of_a_large_batch_stay_small() -> None:
    from saccade.structures.batch import pad_targets

    rng = np.random.default_rng(0)
    targets = []
    for image in range(16):
        count = 6 if image < 13 else 5  # 93 in all
        low = rng.uniform(0, [1000, 600], (count, 2))
        corners = np.concatenate([low, np.minimum(low + rng.uniform(40, 330, (count, 2)), [1333, 800])], axis=1)
        targets.append(
            {
                "boxes": torch.tensor(corners, dtype=torch.float32),
                "labels": torch.zeros(count, dtype=torch.int64),
                "masks": torch.ones(1, 1, 1, dtype=torch.uint8).expand(count, 800, 1333),
            }
        )
    assert sum(len(target["labels"]) for target in targets) == 93
    batch = pad_targets(targets)
    stored = sum(value.numel() * value.element_size() for value in batch.values())
    assert stored < 200e6


# --- Learning.


def test_overfits_masks_of_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    targets = [outlined(1, 3, (96, 96), 3), outlined(1, 4, (96, 96), 3)]
    colours = torch.tensor([[2.0, -1.5, -1.5], [-1.5, 2.0, -1.0], [-1.0, -1.0, 2.0]])
    images = torch.randn(2, 3, 96, 96) * 0.1
    for image, target in zip(images, targets, strict=True):
        for mask, label in zip(target["masks"].bool(), target["labels"].tolist(), strict=True):
            image[:, mask] = colours[label][:, None]
    model = small(channels=32).train()
    model.box_branch.sampling = RegionSampling(count=64)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=45)
    for _ in range(45):
        optimizer.zero_grad()
        sum(model.loss(images, targets).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # still in training mode: two images are too few for running statistics
        decoded = model.predict(images)
    for image, target in enumerate(targets):
        count = int(decoded["count"][image])
        overlaps = pairwise_iou(target["boxes"], decoded["boxes"][image, :count])
        best = overlaps.argmax(dim=1)
        assert torch.equal(decoded["labels"][image, best], target["labels"])
        own = paste_masks(decoded["masks"][image, best].numpy(), decoded["boxes"][image, best].numpy(), (96, 96))
        wanted = target["masks"].bool().numpy()
        iou = (own & wanted).sum((1, 2)) / (own | wanted).sum((1, 2))
        assert iou.min() > 0.7
