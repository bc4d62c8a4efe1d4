"""FCN, DeepLabV3 and LR-ASPP overfit four photographs of people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from saccade.metrics.segmentation import confusion_figures
from saccade.models.registry import create_model

SIDE = 96


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.data("human_segmentation")
@pytest.mark.parametrize(("name", "stride"), [("fcn", 8), ("deeplabv3", 8), ("lraspp", 16)])
def test_overfits_four_people(name: str, stride: int, data_root: Path) -> None:
    folder = data_root / "human_segmentation"
    numbers = (1, 10, 102, 103)
    pixels = [cv2.imread(str(folder / f"Training_Images/{number}.jpg"), cv2.IMREAD_COLOR_RGB) for number in numbers]
    masks = [cv2.imread(str(folder / f"Ground_Truth/{number}.png"), cv2.IMREAD_GRAYSCALE) for number in numbers]
    small = [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in pixels]
    labels = np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 127 for one in masks])

    torch.manual_seed(0)
    model = create_model(name, num_classes=2, backbone="mobilenet_v3_small", output_stride=stride)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # a network that has to overfit needs no regularisation
    spec = model.input_spec
    images = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()
    images = (images - torch.tensor(spec.mean).view(-1, 1, 1)) / torch.tensor(spec.std).view(-1, 1, 1)
    targets = {"label_map": torch.from_numpy(labels.astype(np.uint8))}
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(30):
        loss = model.loss(images, targets)
        optimizer.zero_grad()
        sum(loss.values()).backward()
        optimizer.step()
        if loss["cross_entropy"] < 0.15:
            break
    for norm in norms:  # the usual average lags by more steps than were taken
        norm.reset_running_stats()
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().supervised(images)
        predicted = model.eval().predict(images)["probabilities"].argmax(1).numpy()
    matrix = np.bincount(2 * labels.ravel().astype(int) + predicted.ravel(), minlength=4).reshape(2, 2)
    figures, _ = confusion_figures(matrix, ["background", "person"])
    assert figures["mIoU"] > 0.9
