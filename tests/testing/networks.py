"""Two small networks that keep every promise. A test copies this file to where a user would have written it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Decoded, Outputs, Targets
from saccade.models.classification.base import Classifier
from saccade.models.detection.base import Detector, unpack_targets
from saccade.models.registry import register_model
from saccade.ops.anchors import grid_points
from saccade.ops.box_coding import decode_points, encode_points
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.class_rows import ClassRows, linear_rows
from saccade.structures.input_spec import InputSpec


class TinyClassifier(Classifier):
    input_spec = InputSpec((16, 16), mean=(127.0,) * 3, std=(64.0,) * 3)
    feature_channels = (4, 8)
    feature_strides = (2, 4)
    stage_names = ("stem", "stage")
    head_names = ("head",)
    class_rows = linear_rows("head")

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def features(self, images: Tensor) -> list[Tensor]:
        fine = self.stem(images)
        return [fine, self.stage(fine)]

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(self.features(images)[-1].mean((2, 3)))}


class TinyDetector(Detector):
    """One box a cell of a map of stride 8: the objectness, the classes, and four offsets, by one convolution."""

    input_spec = InputSpec((64, 64), resize="letterbox", pad_multiple=8, mean=(127.0,) * 3, std=(64.0,) * 3)
    feature_strides = (8,)
    stage_names = ("stem",)
    neck_names = ("neck",)
    head_names = ("head",)

    def __init__(self, num_classes: int = 3, width: int = 16) -> None:
        super().__init__(num_classes, NmsSettings(0.5, score_threshold=0.05, pre_nms=60, max_detections=40))
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 4, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.neck = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 5 + num_classes, 1)
        self.feature_channels = (width,)
        self.class_rows = {f"head.{name}": ClassRows(fixed=5) for name in ("weight", "bias")}

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.neck(self.stem(images)).relu()]

    def forward(self, images: Tensor) -> Outputs:
        maps = self.features(images)
        points, strides = grid_points(maps, self.feature_strides)
        raw = self.head(maps[0]).flatten(2).transpose(1, 2)
        return {
            "boxes": raw[..., :4],
            "objectness": raw[..., 4],
            "logits": raw[..., 5:],
            "points": points,
            "strides": strides,
        }

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        outputs = self(images)
        boxes, labels = unpack_targets(targets)
        middle = (outputs["points"] + 0.5) * outputs["strides"][:, None]
        low, high = (middle[:, None] > boxes[:, None, :, :2]).all(3), (middle[:, None] < boxes[:, None, :, 2:]).all(3)
        inside = low & high & (labels >= 0)[:, None]  # (B, A, M)
        positive, owner = inside.any(2), inside.float().argmax(2)
        image, point = positive.nonzero(as_tuple=True)
        target = owner[image, point]
        wanted = encode_points(boxes[image, target], outputs["points"][point], outputs["strides"][point])
        scale = max(len(image), 1)
        return {
            "box": F.smooth_l1_loss(outputs["boxes"][image, point], wanted, reduction="sum") / scale,
            "objectness": F.binary_cross_entropy_with_logits(outputs["objectness"], positive.float()),
            "class": F.cross_entropy(outputs["logits"][image, point], labels[image, target], reduction="sum") / scale,
        }

    def decode(self, outputs: Outputs) -> Decoded:
        best, labels = outputs["logits"].softmax(2).max(2)
        boxes = decode_points(outputs["boxes"], outputs["points"], outputs["strides"])
        return batched_nms(boxes, best * outputs["objectness"].sigmoid(), labels, self.nms)


@register_model("classification", "nowhere yet")
def tiny_classifier(num_classes: int = 10) -> TinyClassifier:
    return TinyClassifier(num_classes)


@register_model("detection", "nowhere yet")
def tiny_detector(num_classes: int = 3, width: int = 16) -> TinyDetector:
    return TinyDetector(num_classes, width)
