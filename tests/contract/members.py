"""Who goes through the whole suite.

One small member of each family. All other builders go through shapes, counts and names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saccade.models.base import Model


@dataclass(frozen=True)
class Member:
    """A builder with options that make it small, and two canvases (height, width) it must take."""

    builder: str
    options: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (64, 64)
    odd_size: tuple[int, int] | None = (96, 160)


MEMBERS = (
    Member("lenet5", {"num_classes": 10}, (32, 32), odd_size=None),  # C5 takes exactly 5x5
    Member("lenet5_1998", {"num_classes": 10}, (32, 32), odd_size=None),
    Member("resnet18", {"num_classes": 7}, odd_size=(75, 101)),
    Member("resnet50_v1", {"num_classes": 3}, odd_size=(75, 101)),
    Member("yolox_nano", {"num_classes": 5}),
    Member("yolox_darknet53", {"num_classes": 2}),
    Member("unet", {"num_classes": 3, "base_channels": 4}, odd_size=(75, 101)),
    Member("unet_resnet34", {"num_classes": 1}, odd_size=(75, 101)),
    Member("dsnt", {"num_classes": 6, "backbone": "resnet18"}, odd_size=(75, 101)),
    Member("heatmap_regression", {"num_classes": 6, "backbone": "resnet18"}, odd_size=(75, 101)),
)


def images_for(model: Model, size: tuple[int, int], batch: int = 2, seed: int = 0) -> Tensor:
    """Normalised pictures of plausible range."""
    spec = model.input_spec
    raw = torch.rand(batch, spec.channels, *size, generator=torch.Generator().manual_seed(seed)) * 255
    return (raw - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)


def _detection(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    height, width = size
    corner = torch.tensor([[0.1, 0.1], [0.5, 0.4], [0.2, 0.6]])[:objects] * torch.tensor([width, height])
    boxes = torch.cat([corner, corner + torch.tensor([width * 0.35, height * 0.35])], dim=1).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.arange(len(boxes)) % model.num_classes}


def _keypoints(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    steps = torch.linspace(0.2, 0.8, model.num_classes)
    visible = torch.full_like(steps, 2.0 if objects else 0.0)
    return {"keypoints": torch.stack([steps * size[1], steps.flip(0) * size[0], visible], dim=1)[None]}


def _segmentation(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    label_map = torch.arange(size[0] * size[1]).reshape(size) // 97 % max(model.num_classes, 2)
    label_map[:8] = 255
    return {"label_map": label_map if objects else torch.full(size, 255)}


def _classification(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    return {"labels": torch.tensor(objects % model.num_classes)}


# A truth of each task with so many objects; 0 gives the emptiest truth the task knows.
TARGETS: dict[str, Callable[[Model, tuple[int, int], int], dict[str, Tensor]]] = {
    "classification": _classification,
    "detection": _detection,
    "keypoints": _keypoints,
    "segmentation": _segmentation,
}


def targets_for(model: Model, size: tuple[int, int], objects: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """One truth an image, with so many objects each."""
    return [TARGETS[model.task](model, size, count) for count in objects]
