"""Suppression of a batch: against torchvision and slow, obvious versions image by image, and inside exported graphs."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.ops import nms
from saccade.ops.iou import pairwise_iou
from saccade.ops.nms import NmsKind, NmsSettings, batched_nms, batched_nms_indices


def crowd(seed: int, images: int, rows: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heaped boxes on quarter pixels in a canvas of 512: no rounding, so results compare bit by bit."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 4 * 400, (images, rows, 2), generator=generator) / 4
    size = torch.randint(4 * 30, 4 * 112, (images, rows, 2), generator=generator) / 4
    boxes = torch.cat((corner, corner + size), dim=2)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 512.0, 512.0])
    scores = torch.stack([torch.randperm(rows, generator=generator) for _ in range(images)]) / rows
    return boxes, scores, torch.randint(0, classes, (images, rows), generator=generator)


def one_by_one(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou: float, score: float, pre_nms: int, limit: int
) -> list[Tensor]:
    """Kept rows of each image, the obvious way."""
    kept = []
    for image in range(len(boxes)):
        rows = scores[image].argsort(descending=True)[:pre_nms]
        rows = rows[scores[image, rows] > score]
        kept.append(
            rows[torchvision.ops.batched_nms(boxes[image, rows], scores[image, rows], labels[image, rows], iou)][:limit]
        )
    return kept


@pytest.mark.parametrize(("images", "rows", "classes"), [(1, 300, 1), (4, 400, 3), (3, 600, 80)])
@pytest.mark.parametrize(
    ("iou", "score", "pre_nms", "limit"), [(0.5, 0.05, 200, 50), (0.65, 0.5, 1000, 300), (0.1, 0.01, 1000, 1000)]
)
def test_equals_torchvision_image_by_image(
    images: int, rows: int, classes: int, iou: float, score: float, pre_nms: int, limit: int
) -> None:
    boxes, scores, labels = crowd(rows, images, rows, classes)
    settings = NmsSettings(iou, score, pre_nms, limit)
    found = batched_nms(boxes, scores, labels, settings)
    indices = batched_nms_indices(boxes, scores, labels, settings)
    size = min(limit, pre_nms, rows)
    assert found["boxes"].shape == (images, size, 4)
    for image, rows_kept in enumerate(one_by_one(boxes, scores, labels, iou, score, pre_nms, limit)):
        count = int(found["count"][image])
        assert count == indices.count[image] == len(rows_kept)
        assert torch.equal(indices.rows[image, :count], rows_kept)
        assert torch.equal(found["boxes"][image, :count], boxes[image, rows_kept])
        assert torch.equal(found["scores"][image, :count], scores[image, rows_kept])
        assert torch.equal(found["labels"][image, :count], labels[image, rows_kept])
        assert not any(found[key][image, count:].any() for key in ("boxes", "scores", "labels"))


KINDS: tuple[NmsKind, ...] = get_args(NmsKind)


def slowly(
    boxes: Tensor, scores: Tensor, labels: Tensor, settings: NmsSettings
) -> list[tuple[list[float], float, int, int]]:
    """Detections (box, score, label, row) of one image, one after the other, as the papers list them."""
    left = {}
    for row in scores.topk(min(settings.pre_nms, len(scores))).indices.tolist():  # equal scores in this order
        if scores[row] > settings.score_threshold:
            left[row] = scores[row].item()
    overlap = pairwise_iou(boxes, boxes, "diou" if settings.kind == "diou" else "iou")
    found = []
    while left and len(found) < settings.max_detections:
        best = max(left, key=lambda row: left[row])
        score = left.pop(best)
        if score <= settings.score_threshold:
            break
        members = {best: score}
        for row in list(left) if settings.kind != "none" else []:
            if labels[row] != labels[best] and not settings.class_agnostic:
                continue
            shared = overlap[best, row].item()
            if settings.kind == "soft_gaussian":
                left[row] *= math.exp(-(shared**2) / settings.sigma)
            elif shared > settings.iou and settings.kind == "soft":
                left[row] *= 1 - shared
            elif shared > settings.iou:
                members[row] = left.pop(row)
        box = boxes[best].tolist()
        if settings.kind == "wbf":
            box = [sum(boxes[row, i].item() * w for row, w in members.items()) for i in range(4)]
            box = [value / sum(members.values()) for value in box]
        found.append((box, score, int(labels[best]), best))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agnostic", [False, True])
def test_equals_a_slow_version_on_random_batches(kind: NmsKind, agnostic: bool) -> None:
    for seed in range(12):
        images, rows, classes = 1 + seed % 4, (1, 7, 40, 90)[seed // 3], (1, 3, 20)[seed % 3]
        boxes, scores, labels = crowd(seed, images, rows, classes)
        boxes[..., 2:] += 60 * (seed % 2)
        scores[:, : rows // 4] *= 0.05  # padding in every image
        if images > 1:
            scores[1] = 0.0  # an image without objects
        if rows > 10:
            boxes[0, 5] = boxes[0, 4]  # a duplicate
            boxes[-1, 6, 2:] = boxes[-1, 6, :2]  # a point
        settings = NmsSettings(0.1 + 0.1 * (seed % 5), 0.05, 60, (30, 4)[seed % 2], kind, agnostic, 0.3)
        found = batched_nms(boxes, scores, labels, settings)
        kept = batched_nms_indices(boxes, scores, labels, settings)
        for image in range(images):
            expected = slowly(boxes[image], scores[image], labels[image], settings)
            count = int(found["count"][image])
            assert count == len(expected) == kept.count[image]
            assert not any(found[key][image, count:].any() for key in ("boxes", "scores", "labels"))
            for row, (box, score, label, source) in enumerate(expected):
                assert found["labels"][image, row] == label
                assert kept.rows[image, row] == source
                torch.testing.assert_close(found["scores"][image, row], torch.tensor(score), rtol=1e-5, atol=1e-6)
                torch.testing.assert_close(found["boxes"][image, row], torch.tensor(box), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores_are_all_treated(kind: NmsKind) -> None:
    boxes, scores, labels = crowd(4, 3, 40, 2)
    found = batched_nms(boxes, torch.full_like(scores, 0.5), labels, NmsSettings(0.3, 0.05, 40, 40, kind))
    for image in range(3):
        count = int(found["count"][image])
        assert 0 < count <= 40
        assert (found["scores"][image, :count].diff() <= 0).all()
        if kind in ("nms", "diou"):
            ours, own = found["boxes"][image, :count], found["labels"][image, :count]
            every = pairwise_iou(boxes[image], ours, "diou" if kind == "diou" else "iou")
            same = labels[image][:, None] == own
            assert ((every > 0.3) & same).sum(1).min() >= 1  # each box is there or was dropped by one that is
            among = pairwise_iou(ours, ours, "diou" if kind == "diou" else "iou")
            assert ((among > 0.3) & (own[:, None] == own)).sum() == count  # with itself alone


def test_images_without_any_rows_and_without_boxes() -> None:
    for kind in KINDS:
        found = batched_nms(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0).long(), NmsSettings(kind=kind))
        assert found["boxes"].shape == (2, 0, 4)
        assert found["count"].tolist() == [0, 0]


def test_diou_keeps_what_greedy_suppression_drops_for_overlap_alone() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0]]])  # IoU 0.43, DIoU 0.37
    scores, labels = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long()
    counts = [batched_nms(boxes, scores, labels, NmsSettings(0.4, kind=kind))["count"] for kind in ("nms", "diou")]
    assert counts == [1, 2]


def test_results_do_not_depend_on_batch_mates_or_position() -> None:
    generator = torch.Generator().manual_seed(3)
    boxes, scores, labels = crowd(1, 40, 200, 80)
    boxes = boxes + torch.rand(boxes.shape, generator=generator)  # off the quarter pixels: here rounding could matter
    boxes[5] *= 1000  # a mate with huge boxes
    settings = NmsSettings(0.3, 0.01, 200, 100)
    together = batched_nms(boxes, scores, labels, settings)
    for image in (0, 17, 39):
        alone = batched_nms(boxes[image : image + 1], scores[image : image + 1], labels[image : image + 1], settings)
        assert all(torch.equal(value[0], together[key][image]) for key, value in alone.items())


@pytest.mark.parametrize("kind", ["nms", "wbf"])
def test_the_best_boxes_go_first_and_the_rest_only_where_too_few_are_kept(
    kind: NmsKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of which the first 15 or 45 boxes give 10, images of which they do not, and images with few boxes."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(4, 400, 2, generator=generator) * torch.tensor([600.0, 4, 600, 60])[:, None, None]
    boxes = torch.cat((low, low + 10 + 30 * torch.rand(4, 400, 2, generator=generator)), dim=2)
    boxes[1, :, 2:] = low[1] + 30  # all but alike
    scores = torch.rand(4, 400, generator=generator)
    scores[2] *= torch.arange(400) < 20
    scores = (50 * scores).ceil() / 50  # many are equal
    labels = torch.randint(0, 3, (4, 400), generator=generator)
    settings = NmsSettings(kind=kind, iou=0.5, max_detections=10, pre_nms=400, score_threshold=0.0)
    sizes = []
    greedy = nms._greedy

    def counted(*arguments: Any) -> Tensor:
        sizes.append(tuple(arguments[1].shape))
        return greedy(*arguments)

    monkeypatch.setattr(nms, "_greedy", counted)
    found = batched_nms_indices(boxes, scores, labels, settings)
    assert sizes[0] == (4, 15)
    assert [few for _, few in sizes[1:]] == [45, 135, 400]
    assert [count for count, _ in sizes[1:]] == sorted((count for count, _ in sizes[1:]), reverse=True)
    assert sizes[-1][0] == 1
    monkeypatch.setattr(
        nms, "_first_kept", lambda *arguments: greedy(nms._lay_out(*arguments[:1], *arguments[2:4]), *arguments[1:-1])
    )
    expected = batched_nms_indices(boxes, scores, labels, settings)
    assert torch.equal(found.count, expected.count)
    for image, count in enumerate(found.count.tolist()):
        assert torch.equal(found.rows[image, :count], expected.rows[image, :count])
        assert torch.equal(found.boxes_xyxy[image, :count], expected.boxes_xyxy[image, :count])


def test_rows_below_the_threshold_drop_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0]] * 4, [[0.0, 0.0, 10.0, 10.0]] * 4])
    scores = torch.tensor([[0.1, 0.6, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]])
    found = batched_nms(boxes, scores, torch.zeros(2, 4, dtype=torch.long), NmsSettings(0.5, 0.1, 4, 4))
    assert found["count"].tolist() == [1, 0]
    assert found["scores"][0].tolist() == pytest.approx([0.6, 0, 0, 0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iou": 1.5}, "nms.iou is 1.5; it must lie between 0 and 1"),
        ({"score_threshold": -0.1}, "nms.score_threshold"),
        ({"max_detections": 0}, "nms.max_detections is 0; it must be at least 1"),
        ({"sigma": 0.0}, "nms.sigma is 0.0; it must be above 0"),
        ({"kind": "nsm"}, "nms.kind is 'nsm'. Did you mean 'nms'"),
        ({"kind": "soft_gausian"}, "Did you mean 'soft_gaussian'"),
    ],
)
def test_settings_out_of_range_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NmsSettings(**fields)  # type: ignore[arg-type]


class Nms(nn.Module):
    def __init__(self, kind: NmsKind, limit: int) -> None:
        super().__init__()
        self.settings = NmsSettings(0.5, 0.05, 150, limit, kind)

    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return tuple(batched_nms(boxes, scores, labels, self.settings).values())


# Picks are written out one by one in a graph: few of them here, for the time of the exporters.
@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
@pytest.mark.parametrize(
    ("kind", "limit"), [("nms", 40), ("soft", 8), ("soft_gaussian", 8), ("diou", 8), ("wbf", 40), ("none", 40)]
)
def test_exported_graphs_give_the_same_results_at_any_batch(kind: NmsKind, limit: int, tmp_path) -> None:
    import openvino

    network = Nms(kind, limit)
    batch = torch.export.Dim("batch", min=1, max=64)
    rows = 300 if kind == "nms" else 60
    program = torch.export.export(network, crowd(0, 2, rows, 5), dynamic_shapes=({0: batch},) * 3)
    path = str(tmp_path / "nms.onnx")
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    onnx = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    vino = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for images in (1, 5):
        inputs = crowd(images, images, rows, 5)
        expected = network(*inputs)
        arrays = [value.numpy() for value in inputs]
        results = (
            program.module()(*inputs),
            onnx.run(None, {put.name: array for put, array in zip(onnx.get_inputs(), arrays, strict=True)}),
            list(vino(arrays).to_tuple()),
        )
        for result in results:
            for value, reference in zip(result, expected, strict=True):
                np.testing.assert_allclose(
                    np.asarray(value), reference.numpy(), rtol=0, atol=0 if kind == "nms" else 1e-4
                )
