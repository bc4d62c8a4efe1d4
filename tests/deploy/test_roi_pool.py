"""RoIPool in ONNX Runtime and OpenVINO: the same cells as torchvision's, for any number of images and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.deploy.openvino_runtime import convert_program
from saccade.deploy.roi_pool import onnx_translations
from saccade.ops.roi import roi_pool


class Pool(nn.Module):
    def __init__(self, stride: int, size: int) -> None:
        super().__init__()
        self.stride, self.size = stride, size

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        return roi_pool(images, boxes, self.stride, self.size)


def boxes_for(batch: int, count: int, side: float) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    boxes = torch.rand(batch, count, 2, 2, generator=generator).sort(dim=2).values.flatten(2) * side * 1.2
    boxes[:, ::7] = 0.0  # padding
    return boxes


@pytest.mark.parametrize(("stride", "size"), [(16, 7), (1, 6)])
def test_other_runtimes_pool_the_same_cells(stride: int, size: int, tmp_path: Path) -> None:
    import onnxruntime
    import openvino

    pool, maps = Pool(stride, size), torch.randn(3, 4, 13, 13)
    first = {0: torch.export.Dim("batch")}
    shapes = (first, {**first, 1: torch.export.Dim("rows")})
    program = torch.export.export(pool, (maps[:2], boxes_for(2, 30, 13 * stride)), dynamic_shapes=shapes)
    file = tmp_path / "pool.onnx"
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        custom_translation_table=onnx_translations(),
        input_names=["images", "boxes"],
    )
    assert exported is not None
    exported.save(file)
    session = onnxruntime.InferenceSession(file)
    compiled = openvino.compile_model(
        convert_program(program, ("pooled",), ("boxes",)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for batch, count in ((3, 50), (1, 5)):
        boxes = boxes_for(batch, count, 13 * stride)
        expected = pool(maps[:batch], boxes).numpy()
        arrays = {"images": maps[:batch].numpy(), "boxes": boxes.numpy()}
        assert np.array_equal(session.run(None, arrays)[0], expected)
        assert np.array_equal(compiled(arrays)[0], expected)
