"""The learning test of segmenters and of networks for saliency: four photographs of people, learnt to mIoU > 0.9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from saccade.models.registry import create_model


def overfits_four_people(
    data_root: Path, name: str, options: dict[str, Any] | None = None, size: int = 64, steps: int = 60, lr: float = 3e-3
) -> None:
    """Train on four photographs of ``human_segmentation`` until person and background are told apart in eval mode.

    Args:
        data_root: The fixture of that name; the test is marked ``@pytest.mark.data("human_segmentation")``.
        name: Builder of a network that tells one foreground or two classes.
        options: Options of the builder, such as those that make it smaller.
        size: Side of the images.
        steps: Steps of AdamW over all four, at most; it stops once the first loss term is small.
        lr: Learning rate after five steps of warm-up.
    """
    folder = data_root / "human_segmentation"
    names = [f"{number}" for number in (1, 10, 102, 11)]
    pixels = [cv2.imread(str(folder / "Training_Images" / f"{one}.jpg"), cv2.IMREAD_COLOR_RGB) for one in names]
    masks = [cv2.imread(str(folder / "Ground_Truth" / f"{one}.png"), cv2.IMREAD_GRAYSCALE) for one in names]
    side = (size, size)
    labels = torch.from_numpy(np.stack([cv2.resize(one, side, interpolation=cv2.INTER_NEAREST) > 127 for one in masks]))
    assert 0.1 < labels.float().mean() < 0.9
    torch.manual_seed(0)
    model = create_model(name, **(options or {}))
    spec = model.input_spec
    images = torch.from_numpy(np.stack([cv2.resize(one, side, interpolation=cv2.INTER_AREA) for one in pixels]))
    images = images.permute(0, 3, 1, 2).float()
    images = (images - torch.tensor(spec.mean).view(-1, 1, 1)) / torch.tensor(spec.std).view(-1, 1, 1)
    targets = {"label_map": labels.long()}
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))
    for _ in range(steps):
        terms = list(model.loss(images, targets).values())
        optimizer.zero_grad()
        sum(terms).backward()
        optimizer.step()
        schedule.step()
        if terms[0] < 0.04:
            break
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # running statistics lag by more steps than were taken
            module.reset_running_stats()
            module.momentum = 1.0
    with torch.no_grad():
        model(images)
        probabilities = model.eval().predict(images)["probabilities"]
    predicted = probabilities[:, -1] > 0.5
    ious = [
        ((predicted == one) & (labels == one)).sum() / ((predicted == one) | (labels == one)).sum()
        for one in (False, True)
    ]
    score = sum(ious).item() / 2
    assert score > 0.9, f"mIoU {score:.3f}"
