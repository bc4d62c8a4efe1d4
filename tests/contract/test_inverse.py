"""Dense detectors: outputs built from the ground truth by the inverse of decoding must decode to the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.detection.inverse import (
    centernet_outputs_from_targets,
    fasterrcnn_outputs_from_targets,
    fcos_outputs_from_targets,
    region_outputs_from_targets,
    retinanet_outputs_from_targets,
    ssd_outputs_from_targets,
    yolov1_outputs_from_targets,
    yolov2_outputs_from_targets,
    yolov3_outputs_from_targets,
    yolov4_outputs_from_targets,
    yolov5_outputs_from_targets,
    yolox_outputs_from_targets,
)
from torch import Tensor

from saccade.models.base import Model
from saccade.models.inputs import example_inputs
from saccade.models.registry import create_model, list_models
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

Inverse = Callable[[Model, list[dict[str, Tensor]], tuple[int, int]], Mapping[str, Tensor]]
# By class, as the decoding belongs to it.
INVERSES: dict[str, Inverse] = {
    "CenterNet": centernet_outputs_from_targets,
    "FastRCNN": region_outputs_from_targets,
    "FasterRCNN": fasterrcnn_outputs_from_targets,
    "FCOS": fcos_outputs_from_targets,
    "RCNN": region_outputs_from_targets,
    "RetinaNet": retinanet_outputs_from_targets,
    "SPPNet": region_outputs_from_targets,
    "SSD": ssd_outputs_from_targets,
    "YOLOv1": yolov1_outputs_from_targets,
    "YOLOv2": yolov2_outputs_from_targets,
    "YOLOv3": yolov3_outputs_from_targets,
    "YOLOv4": yolov4_outputs_from_targets,
    "YOLOv5": yolov5_outputs_from_targets,
    "YOLOX": yolox_outputs_from_targets,
}


@pytest.mark.parametrize("name", list_models("detection"))
def test_ground_truth_through_the_decoder_scores_one(name: str) -> None:
    size = (320, 416)
    with torch.device("meta"), torch.no_grad():
        model = create_model(name, num_classes=6).eval()
        size = model.input_spec.size if model.input_spec.fixed else size
        inputs = example_inputs(model, size, batch=3, rows=24)
        forward = model(torch.empty(3, 3, *size), **{key: value.to("meta") for key, value in inputs.items()})
    family = type(model).__name__
    assert family in INVERSES, f"{name}: write the inverse of {family}.decode (tests/models/detection/inverse.py)"
    rng = np.random.default_rng(0)
    ground_truths = []
    for count in (7, 0, 12):
        corner = rng.uniform(0, (300, 220), (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 100, (count, 2))], axis=1).astype(np.float32)
        ground_truths.append({"boxes": boxes, "labels": rng.integers(0, 6, count)})
    tensors = [{key: torch.from_numpy(value) for key, value in ground_truth.items()} for ground_truth in ground_truths]
    outputs = INVERSES[family](model, tensors, size)
    model.nms = replace(model.nms, iou=0.7)  # two of these objects, of one class, overlap by 0.54
    assert {key: value.shape for key, value in outputs.items()} == {key: value.shape for key, value in forward.items()}
    infos = [ImageInfo(index, f"image-{index}", Geometry.identity(size)) for index in range(3)]
    names = tuple("abcdef")
    task = get_task("detection")
    evaluator = task.evaluator(DatasetInfo("inverse", "detection", names))
    evaluator.update(task.results(model.decode(outputs), infos, names), ground_truths)
    assert evaluator.compute().values["AP"] >= 0.99
