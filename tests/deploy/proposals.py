"""A small network with further inputs: it classifies the boxes that it is given."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.registry import register_model
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import ClassRows
from saccade.structures.input_spec import InputSpec


class ProposalNet(Model):
    task = "detection"
    input_names = ("proposals",)
    target_names = ("boxes", "labels")
    decoded_keys = ("boxes", "scores", "labels", "count")
    stage_names = ("body",)
    head_names = ("head",)

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_names = tuple(f"class {index}" for index in range(num_classes))
        self.input_spec = InputSpec((32, 48), resize="stretch")
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)
        self.class_rows = {"head.weight": ClassRows(), "head.bias": ClassRows()}

    def forward(self, images: Tensor, proposals: Tensor) -> Outputs:
        maps = self.body(images)
        size = torch.tensor([images.shape[3], images.shape[2]], dtype=maps.dtype, device=maps.device)
        centres = (proposals[..., :2] + proposals[..., 2:]) / size - 1
        rows = F.grid_sample(maps, centres[:, None].to(maps.dtype), align_corners=False)[:, :, 0].transpose(1, 2)
        return {"logits": self.head(rows), "boxes": proposals}

    def loss(self, images: Tensor, targets: Targets, proposals: Tensor) -> dict[str, Tensor]:
        labels = pad_targets(targets)["labels"]
        logits = self(images, proposals)["logits"]
        rows = min(labels.shape[1], logits.shape[1])
        flat = logits[:, :rows].reshape(-1, self.num_classes).float()
        return {"class": F.cross_entropy(flat, labels[:, :rows].reshape(-1), ignore_index=-1)}

    def decode(self, outputs: Outputs) -> Decoded:
        scores, labels = outputs["logits"].softmax(-1).max(-1)
        valid = (outputs["boxes"][..., 2:] > outputs["boxes"][..., :2]).all(-1)
        return {
            "boxes": outputs["boxes"] * valid[..., None],
            "scores": scores * valid,
            "labels": labels * valid,
            "count": valid.sum(1),
        }


@register_model("detection", "a network of the tests")
def proposal_net(num_classes: int = 3) -> ProposalNet:
    return ProposalNet(num_classes)
