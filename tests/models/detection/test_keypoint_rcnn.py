"""Keypoint R-CNN: torchvision's detections, keypoints and losses, its published file, bad points, learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.detection.torchvision_files import published_file
from tests.models.detection.torchvision_rcnn import (
    SIZE,
    agree,
    detect,
    losses,
    older,
    partners,
    published,
    their_rcnn,
)
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights as TheirWeights

from saccade.metrics.oks import COCO_SIGMAS
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.keypoint_rcnn import keypointrcnn
from saccade.models.detection.roi_branches import RegionSampling
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou
from saccade.weights.published import PUBLISHED

ROW = PUBLISHED["keypointrcnn_resnet50_fpn/coco"]


@pytest.fixture(scope="module")
def theirs() -> Any:
    return their_rcnn(KeypointRCNN, 2, [1])


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> FasterRCNN:
    state = {older(name): value for name, value in theirs.state_dict().items()}
    with published_file(ROW, state, tmp_path_factory.mktemp("cache")):
        return published("keypointrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


# --- Published weights and torchvision.


def test_published_file_loads_unedited(ours: FasterRCNN, theirs: Any) -> None:
    assert (ours.num_classes, ours.class_names) == (1, ("person",))
    weights = TheirWeights.COCO_V1
    assert weights.url == ROW.url
    assert set(weights.meta["keypoint_names"]) == set(COCO_SIGMAS)
    heads, branch = theirs.roi_heads, ours.branches["keypoints"]
    assert torch.equal(branch.head[14].weight, heads.keypoint_head[14].weight)
    assert torch.equal(branch.predictor.kps_score_lowres.weight, heads.keypoint_predictor.kps_score_lowres.weight)


def test_detections_and_keypoints_of_torchvision(ours: FasterRCNN, theirs: Any, images: Tensor) -> None:
    expected = detect(theirs, images)
    with torch.no_grad():
        found = ours.predict(images)
    assert set(found) == {"boxes", "scores", "labels", "count", "keypoints", "point_scores"}
    distances = []
    for image, one in enumerate(expected):
        partner = partners(one, found, image, torch.tensor([1]))
        points = found["keypoints"][image, partner]
        distances.append((points - one["keypoints"][..., :2]).abs().amax(dim=2).flatten())
    distance = torch.cat(distances)
    print(f"{(distance < 1e-2).float().mean():.3%} of {len(distance)} keypoints are equal")
    assert (distance < 1e-2).float().mean() >= 0.999
    assert found["point_scores"].min() >= 0
    assert found["point_scores"].max() <= 1


@pytest.mark.parametrize("counts", [(2, 4), (0, 0)], ids=str)
def test_losses_of_torchvision(ours: FasterRCNN, theirs: Any, images: Tensor, counts: tuple[int, int]) -> None:
    targets = [persons(count, seed) for seed, count in enumerate(counts)]
    with torch.no_grad():
        own, their = losses(ours, theirs, images, targets, torch.tensor([1]))
    agree(own, their)
    assert (own["keypoints"] > 0) == (sum(counts) > 0)


def test_parameters_of_torchvision() -> None:
    with torch.device("meta"):
        model = create_model("keypointrcnn_resnet50_fpn")
    assert sum(parameter.numel() for parameter in model.parameters()) == 59_190_378


# --- Options, bad input.


def persons(count: int, seed: int, size: tuple[int, int] = SIZE, points: int = 17) -> dict[str, Tensor]:
    """Boxes with points in and around them, of which some are not labelled."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([size[1], size[0]])
    low = torch.rand(count, 2, generator=generator) * (limits - 40)
    high = torch.minimum(low + 20 + torch.rand(count, 2, generator=generator) * 80, limits)
    inside = low[:, None] + (high - low)[:, None] * (1.1 * torch.rand(count, points, 2, generator=generator))
    visibility = torch.randint(3, (count, points, 1), generator=generator).float()
    return {
        "boxes": torch.cat((low, high), dim=1),
        "labels": torch.zeros(count, dtype=torch.int64),
        "keypoints": torch.cat((inside, visibility), dim=2),
    }


def small(**options: Any) -> FasterRCNN:
    return keypointrcnn(**{"num_keypoints": 4, "channels": 16, "anchor_size": 16, "proposals": 50, **options})


@pytest.mark.parametrize("kind", ["nothing", "no point labelled", "points outside", "more objects than regions"])
def test_unusual_targets_leave_losses_and_gradients_finite(kind: str) -> None:
    torch.manual_seed(0)
    model = small()
    count = {"nothing": 0, "more objects than regions": 600}.get(kind, 3)
    first, second = persons(count, 0, (96, 96), 4), persons(0, 0, (96, 96), 4)
    if kind == "no point labelled":
        first["keypoints"][..., 2] = 0
    if kind == "points outside":
        first["keypoints"][..., :2] += 500
    terms = model.loss(torch.randn(2, 3, 96, 96), [first, second])
    assert all(torch.isfinite(term) for term in terms.values())
    assert (terms["keypoints"] > 0) == kind.startswith("more")
    sum(terms.values()).backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_rows_of_padding_have_no_keypoints() -> None:
    model = small().eval()
    decoded = {
        "boxes": torch.tensor([[[4.0, 4, 60, 70], [10, 10, 40, 50], [0, 0, 0, 0]], [[0.0] * 4] * 3]),
        "labels": torch.zeros(2, 3, dtype=torch.int64),
        "count": torch.tensor([2, 0]),
    }
    with torch.no_grad():
        found = model.branches["keypoints"].predict(model.features(torch.randn(2, 3, 96, 96)), decoded)
    assert found["keypoints"].shape == (2, 3, 4, 2)
    inside = (found["keypoints"][0, 0] > 4) & (found["keypoints"][0, 0] < torch.tensor([60.0, 70.0]))
    assert inside.all()
    assert not found["keypoints"][0, 2].any()
    assert not found["point_scores"][1].any()


# --- Learning.


def test_overfits_keypoints_of_two_images() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, targets = torch.randn(2, 3, 96, 96) * 0.1, []
    for image, (x1, y1, x2, y2) in zip(images, ((10, 14, 58, 70), (40, 20, 88, 84)), strict=True):
        image[:, y1:y2, x1:x2] = torch.tensor([2.0, -1.5, -1.5])[:, None, None]
        points = [(x1 + 6, y1 + 6), (x2 - 6, y1 + 6), ((x1 + x2) / 2, y2 - 8), (x1 + 2, y2 - 2)]
        for number, (x, y) in enumerate(points):
            image[number % 3, int(y) - 2 : int(y) + 2, int(x) - 2 : int(x) + 2] = 2.5
        box = torch.tensor([[x1, y1, x2, y2]], dtype=torch.float32)
        points = torch.tensor([[(x, y, 2.0) for x, y in points]])
        targets.append({"boxes": box, "labels": torch.tensor([0]), "keypoints": points})
    model = small(channels=32).train()
    model.box_branch.sampling = RegionSampling(count=32)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=60)
    for _ in range(60):
        optimizer.zero_grad()
        sum(model.loss(images, targets).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # still in training mode: two images are too few for running statistics
        decoded = model.predict(images)
    for image, target in enumerate(targets):
        assert pairwise_iou(target["boxes"], decoded["boxes"][image, :1]).item() > 0.6
        distance = (decoded["keypoints"][image, 0] - target["keypoints"][0, :, :2]).norm(dim=1)
        assert distance.max() < 4
        assert decoded["point_scores"][image, 0].min() > 0.5
