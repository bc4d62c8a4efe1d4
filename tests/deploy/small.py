"""Small networks for the tests of this folder: a classifier and a detector with everything that makes export hard."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.models.base import Decoded, Model, Outputs
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.input_spec import InputSpec


def shake(model: nn.Module, seed: int = 0) -> None:
    """Random weights and statistics, so that nothing is accidentally the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            if module.running_mean is not None:
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)


class SmallClassifier(Model):
    task = "classification"
    num_classes = 3
    class_names = ("ant", "bee", "cat")
    input_spec = InputSpec(size=(32, 48), mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0), channel_order="bgr")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, 2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 3)
        shake(self)
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.fc(self.relu(self.bn(self.conv(images))).mean((2, 3)))}

    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"].softmax(1)}


class SmallDetector(Model):
    """Every pixel of a map says a box; suppression and a valid count at the end."""

    task = "detection"
    num_classes = 4
    class_names = ("a", "b", "c", "d")
    input_spec = InputSpec(size=(64, 64), mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.head = nn.Conv2d(16, 4 + 4, 1)
        nn.init.normal_(self.head.weight, std=0.5)
        shake(self)
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        height, width = images.shape[2] // 4, images.shape[3] // 4
        y = torch.arange(height, device=images.device, dtype=torch.float32)[:, None].expand(height, width) * 4 + 2
        x = torch.arange(width, device=images.device, dtype=torch.float32)[None].expand(height, width) * 4 + 2
        raw = self.head(self.stem(images)).flatten(2).transpose(1, 2)
        return {"logits": raw[..., :4], "sides": raw[..., 4:], "points": torch.stack((x, y), -1).flatten(0, 1)}

    def decode(self, outputs: Outputs) -> Decoded:
        sides = outputs["sides"].exp().clamp(max=8) * 4
        boxes = torch.cat((outputs["points"] - sides[..., :2], outputs["points"] + sides[..., 2:]), -1)
        scores, labels = outputs["logits"].sigmoid().max(2)
        return batched_nms(boxes, scores, labels, NmsSettings(0.5, 0.6, 100, 20))


def pixels(model: Model, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0, 256, (count, model.input_spec.channels, *model.input_spec.size), dtype=torch.uint8, generator=generator
    )
