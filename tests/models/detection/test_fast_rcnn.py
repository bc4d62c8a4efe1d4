"""Fast R-CNN: its loss against plain loops over the same regions, sampling, truncated SVD, bad proposals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from saccade.errors import ConfigError
from saccade.models.checkpoint import load_model, save_model
from saccade.models.detection.box_branch import SingleBoxBranch
from saccade.models.detection.fast_rcnn import FastRCNN, truncate_svd
from saccade.models.detection.region_svm import has_area
from saccade.models.detection.roi_branches import RoiSample, loss_generator, sample_regions
from saccade.models.registry import create_model
from saccade.ops.anchors import canvas_size
from saccade.ops.matching import IGNORED
from saccade.structures.batch import pad_targets


def build(**options: object) -> FastRCNN:
    torch.manual_seed(0)
    model = create_model("fast_rcnn", **{"num_classes": 3, "hidden": 24, "backbone": "resnet20_cifar", **options})
    assert isinstance(model, FastRCNN)
    return model


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGETS = pad_targets(
    [
        {"boxes": torch.tensor([[8.0, 8, 40, 40], [30, 20, 60, 62]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.tensor([[4.0, 20, 20, 50]]), "labels": torch.tensor([1])},
    ]
)
PROPOSALS = torch.tensor(
    [
        [[8.0, 8, 38, 42], [0, 0, 25, 25], [32, 20, 60, 60], [60, 0, 64, 4]],
        [[5, 20, 20, 50], [10, 10, 40, 40], [0, 0, 0, 0], [0, 30, 12, 52]],
    ]
)


def sampled(model: FastRCNN) -> RoiSample:
    """The regions that the loss draws in eval mode."""
    branch = model.box_branch
    assert isinstance(branch, SingleBoxBranch)
    boxes, real = TARGETS["boxes"], TARGETS["labels"] >= 0
    regions = torch.cat((PROPOSALS, boxes), dim=1)
    valid = torch.cat((has_area(PROPOSALS, canvas_size(IMAGES)), real), dim=1)
    return sample_regions(regions, valid, boxes, real, branch.sampling, loss_generator(branch, boxes.device))


def test_the_loss_is_that_of_equations_1_to_3_over_the_same_regions() -> None:
    model = build().eval()
    branch = model.box_branch
    assert isinstance(branch, SingleBoxBranch)
    torch.nn.init.normal_(branch.predictor.bbox_pred.weight, std=0.3)
    sample, conv5 = sampled(model), model.features(IMAGES)[-1]
    entropy, smooth, count = 0.0, 0.0, 0
    for image in range(2):
        for box, owner in zip(sample.boxes_xyxy[image], sample.owners[image].tolist(), strict=True):
            if owner == IGNORED:
                continue
            count += 1
            pooled = plainly_pooled(conv5[image], box, model.feature_strides[-1], 7)
            logits, codes = branch.predictor(branch.head(pooled[None]))
            label = int(TARGETS["labels"][image, owner]) + 1 if owner >= 0 else 0
            entropy -= float(logits.double().log_softmax(dim=1)[0, label].detach())
            if label == 0:
                continue  # [u >= 1]
            (x1, y1, x2, y2), (g1, h1, g2, h2) = box.tolist(), TARGETS["boxes"][image, owner].tolist()
            w, h = x2 - x1, y2 - y1
            wanted = (
                ((g1 + g2) / 2 - (x1 + x2) / 2) / w / 0.1,
                ((h1 + h2) / 2 - (y1 + y2) / 2) / h / 0.1,
                math.log((g2 - g1) / w) / 0.2,
                math.log((h2 - h1) / h) / 0.2,
            )
            for found, value in zip(codes[0, 4 * label : 4 * label + 4].tolist(), wanted, strict=True):
                x = abs(found - value)
                smooth += x * x / 2 if x < 1 else x - 0.5  # equation 3
    terms = model.loss(IMAGES, TARGETS, PROPOSALS)
    assert count >= 6
    assert terms["classification"].item() == pytest.approx(entropy / count, rel=1e-4)
    assert terms["box"].item() == pytest.approx(smooth / count, rel=1e-4)


def plainly_pooled(features: torch.Tensor, box: torch.Tensor, stride: int, size: int) -> torch.Tensor:
    """RoIPool by loops: the box rounded to locations, each cell outwards (section 2.1)."""
    C, H, W = features.shape
    x1, y1, x2, y2 = (math.floor(value / stride + 0.5) for value in box.tolist())
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    out = features.new_zeros(C, size, size)
    for row in range(size):
        for column in range(size):
            top, bottom = (min(max(y1 + edge, 0), H) for edge in (row * h // size, -((-row - 1) * h // size)))
            left, right = (min(max(x1 + edge, 0), W) for edge in (column * w // size, -((-column - 1) * w // size)))
            if bottom > top and right > left:
                out[:, row, column] = features[:, top:bottom, left:right].amax(dim=(1, 2))
    return out


def test_two_images_give_128_regions_a_quarter_of_them_objects() -> None:
    branch = build().box_branch
    assert isinstance(branch, SingleBoxBranch)
    near = torch.tensor([10.0, 10, 50, 50]) + torch.rand(2, 60, 4) * 4
    some = torch.tensor([10.0, 10, 28, 40]) + torch.rand(2, 100, 4)
    far = torch.tensor([60.0, 60, 80, 80]) + torch.rand(2, 100, 4) * 9
    boxes, real = torch.tensor([[[10.0, 10, 52, 52]]]).expand(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)
    regions = torch.cat((near, some, far), dim=1)
    sample = sample_regions(regions, torch.ones(2, 260, dtype=torch.bool), boxes, real, branch.sampling)
    assert sample.owners.shape == (2, 64)
    assert int(sample.positive.sum()) == 32
    background = sample.boxes_xyxy[sample.owners == -1]
    assert len(background) == 96
    assert (background[:, 0] < 20).all()  # of what overlaps by a tenth to a half, never of what lies apart


# --- Truncated SVD.


def test_full_rank_is_equal_and_less_is_worse(tmp_path: Path) -> None:
    model = build().eval()
    outputs = model(IMAGES, PROPOSALS)["roi_logits"]
    errors = []
    for ranks in ((24, 24), (12, 12), (2, 2)):
        thin = truncate_svd(model, ranks)
        errors.append(float((thin(IMAGES, PROPOSALS)["roi_logits"] - outputs).abs().max().detach()))
    assert errors[0] < 1e-5 < errors[1] < errors[2]
    again = load_model(save_model(thin, tmp_path / "thin.safetensors")).eval()
    assert tuple(again.builder_args["svd"]) == (2, 2)
    assert torch.equal(again(IMAGES, PROPOSALS)["roi_logits"], thin(IMAGES, PROPOSALS)["roi_logits"])
    saved = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in thin.parameters())
    inputs = 64 * 49
    assert saved == inputs * 24 - 2 * (inputs + 24) + 24 * 24 - 2 * 48
    with pytest.raises(ConfigError, match=r"have the ranks \(2, 2\) already"):
        truncate_svd(thin, (1, 1))
    with pytest.raises(ConfigError, match="rank 25 of a layer with 24 inputs"):
        truncate_svd(model, (24, 25))


# --- Bad input.


@pytest.mark.parametrize(
    "proposals",
    [
        torch.zeros(1, 8, 4),  # an image without proposals
        torch.tensor([[[70.0, 70, 90, 90], [-20, -20, -5, -1]]]),  # outside
        torch.tensor([[[5.0, 5, 5, 30], [9, 9, 9, 9]]]),  # without area
        torch.tensor([[[10.0, 10, 50, 50]]]).repeat(1, 200, 1),  # all positive
        torch.tensor([[[10.0, 10, 30, 30]]]).repeat(1, 200, 1),  # all negative
    ],
)
@pytest.mark.parametrize("objects", [0, 1, 80])  # 80 are more than the regions of an image
def test_bad_proposals_and_many_objects_do_no_harm(proposals: torch.Tensor, objects: int) -> None:
    model = build().train()
    boxes = torch.tensor([[10.0, 10, 50, 50]]).repeat(objects, 1)
    targets = [{"boxes": boxes, "labels": torch.arange(objects) % 3}]
    terms = model.loss(IMAGES[:1], targets, proposals)
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        decoded = model.eval().predict(IMAGES[:1], proposals=proposals)
    inside = (proposals[..., 2:].clamp(max=64) > proposals[..., :2].clamp(min=0)).all(dim=2)
    assert bool(decoded["count"]) == bool(inside.any())


def test_decoding_is_the_inverse_of_coding() -> None:
    from saccade.models.detection.box_branch import CODE_WEIGHTS
    from saccade.ops.box_coding import encode_anchors

    model = build().eval()
    wanted = torch.tensor([[[10.0, 12, 44, 40], [2, 18, 22, 55], [30, 22, 58, 60], [0, 30, 14, 50]]])
    codes = torch.zeros(1, 4, 4, 4)
    codes[:, :, 2] = encode_anchors(wanted, PROPOSALS[:1] + torch.tensor([0, 0, 1.0, 1.0]), CODE_WEIGHTS)
    logits = torch.full((1, 4, 4), -9.0)
    logits[..., 2] = torch.tensor([9.0, 8, 7, 6])
    outputs = {
        "proposals": PROPOSALS[:1] + torch.tensor([0, 0, 1.0, 1.0]),
        "roi_logits": logits,
        "roi_codes": codes.flatten(2),
        "canvas": torch.tensor([64.0, 64.0]),
    }
    decoded = model.decode(outputs)
    kept = int(decoded["count"])
    for box in decoded["boxes"][0, :kept]:
        assert (wanted[0] - box).abs().amax(dim=1).min() < 1e-3
    assert kept >= 3
    assert decoded["labels"][0, :kept].tolist() == [1] * kept
