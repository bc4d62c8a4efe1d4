"""The learning test that every classifier passes: it overfits 32 photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from saccade.models.registry import create_model


def learns_32_scenes(
    data_root: Path,
    name: str,
    options: dict[str, Any] | None = None,
    size: int = 64,
    steps: int = 100,
    lr: float = 1e-3,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Train on 32 photographs of ``intel_scenes`` (all six classes) until at least 31 are predicted in eval mode.

    Args:
        data_root: The fixture of that name; the test is marked ``@pytest.mark.data("intel_scenes")``.
        name: Builder.
        options: Options of the builder, such as those that make it smaller.
        size: Side of the images.
        steps: Steps of AdamW over all 32 images, at most; it stops once the loss is small.
        lr: Learning rate after eight steps of warm-up.
        attributes: Set on the model, such as ``dropout_rate``: a network that has to overfit needs no regularisation.
    """
    files = sorted((data_root / "intel_scenes" / "train").glob("*/*.jpg"))
    files = [files[index * len(files) // 32] for index in range(32)]
    classes = sorted({file.parent.name for file in files})
    assert len(classes) == 6
    torch.manual_seed(0)
    model = create_model(name, num_classes=6, **(options or {}))
    for attribute, value in (attributes or {}).items():
        assert hasattr(model, attribute)
        setattr(model, attribute, value)
    spec = model.input_spec
    flag = cv2.IMREAD_GRAYSCALE if spec.channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels = [torch.from_numpy(cv2.resize(cv2.imread(str(file), flag), (size, size))) for file in files]
    images = torch.stack(pixels).reshape(32, size, size, spec.channels).permute(0, 3, 1, 2).float()
    images = (images - torch.tensor(spec.mean).view(-1, 1, 1)) / torch.tensor(spec.std).view(-1, 1, 1)
    targets = {"labels": torch.tensor([classes.index(file.parent.name) for file in files])}
    images = images.contiguous(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 8))
    for _ in range(steps):
        loss = sum(model.loss(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if loss < 0.05:
            break
    _settle(model, images)
    model.eval()
    with torch.no_grad():
        correct = (model.decode(model(images))["probabilities"].argmax(1) == targets["labels"]).sum().item()
    assert correct >= 31, f"{correct} of 32"


@torch.no_grad()
def _settle(model: nn.Module, images: Tensor) -> None:
    """Recompute BatchNorm's statistics for the current weights: running ones lag by more steps than were taken."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
    if norms:
        model.train()(images)
