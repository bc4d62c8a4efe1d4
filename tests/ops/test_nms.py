"""Suppression of a batch against torchvision image by image, and inside exported graphs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.ops.nms import NmsSettings, batched_nms, batched_nms_indices


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
    indices, counts = batched_nms_indices(boxes, scores, labels, settings)
    size = min(limit, pre_nms, rows)
    assert found["boxes"].shape == (images, size, 4)
    for image, rows_kept in enumerate(one_by_one(boxes, scores, labels, iou, score, pre_nms, limit)):
        count = int(found["count"][image])
        assert count == counts[image] == len(rows_kept)
        assert torch.equal(indices[image, :count], rows_kept)
        assert torch.equal(found["boxes"][image, :count], boxes[image, rows_kept])
        assert torch.equal(found["scores"][image, :count], scores[image, rows_kept])
        assert torch.equal(found["labels"][image, :count], labels[image, rows_kept])
        assert not any(found[key][image, count:].any() for key in ("boxes", "scores", "labels"))


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
        ({"kind": "nsm"}, "nms.kind is 'nsm'. Did you mean 'nms'"),
    ],
)
def test_settings_out_of_range_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NmsSettings(**fields)  # type: ignore[arg-type]


class Nms(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return tuple(batched_nms(boxes, scores, labels, NmsSettings(0.5, 0.05, 150, 40)).values())


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")  # inside torchvision
def test_exported_graphs_give_the_same_results_at_any_batch(tmp_path) -> None:
    import openvino

    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Nms(), crowd(0, 2, 300, 5), dynamic_shapes=({0: batch},) * 3)
    path = str(tmp_path / "nms.onnx")
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    onnx = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    vino = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for images in (1, 5):
        inputs = crowd(images, images, 300, 5)
        expected = Nms()(*inputs)
        arrays = [value.numpy() for value in inputs]
        results = (
            program.module()(*inputs),
            onnx.run(None, {put.name: array for put, array in zip(onnx.get_inputs(), arrays, strict=True)}),
            list(vino(arrays).to_tuple()),
        )
        for result in results:
            for value, reference in zip(result, expected, strict=True):
                np.testing.assert_allclose(np.asarray(value), reference.numpy(), rtol=0, atol=1e-6)
