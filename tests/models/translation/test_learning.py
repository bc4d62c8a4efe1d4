"""A generator alone learns pairs by L1, and in CycleGAN the cycle closes, on real photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.metrics.translation import psnr
from saccade.models.translation.cyclegan import CycleGAN, ResnetGenerator


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def photographs(folder: Path, count: int, side: int) -> np.ndarray:
    files = sorted(folder.glob("*.jpg"))[:count]
    pixels = [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pixels])


def normalised(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.data("summer2winter")
def test_a_generator_learns_to_invert_four_photographs(data_root: Path) -> None:
    pixels = photographs(data_root / "summer2winter" / "trainA", 4, 32)
    torch.manual_seed(0)
    model = ResnetGenerator(blocks=1, base_channels=16)
    images, targets = normalised(pixels), {"target_image": torch.from_numpy(255 - pixels)}
    optimizer = torch.optim.Adam(model.parameters(), 2e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(60):
        loss = model.loss(images, targets)["l1"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        made = model.eval().predict(images)["image"].permute(0, 2, 3, 1).numpy()
    assert np.mean([psnr(one, wanted) for one, wanted in zip(made, 255 - pixels, strict=True)]) > 18
    assert np.mean([psnr(one, wanted) for one, wanted in zip(pixels, 255 - pixels, strict=True)]) < 12


@pytest.mark.data("summer2winter")
def test_the_cycle_closes_and_both_groups_learn(data_root: Path) -> None:
    summer, winter = (photographs(data_root / "summer2winter" / name, 2, 32) for name in ("trainA", "trainB"))
    torch.manual_seed(0)
    model = CycleGAN(blocks=1, base_channels=8, discriminator_channels=8).train()
    images, targets = normalised(summer), {"target_image": torch.from_numpy(winter)}
    optimizers = {
        group: torch.optim.Adam(model.group_parameters(group), 2e-3, betas=(0.5, 0.999)) for group in model.loss_groups
    }
    history: list[dict[str, float]] = []
    for _ in range(40):
        shared: dict[str, Tensor] = {}
        row: dict[str, float] = {}
        for group, optimizer in optimizers.items():
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            for parameter in model.group_parameters(group):
                parameter.requires_grad_(True)
            terms = model.loss(images, targets, group, shared)
            sum(terms.values()).backward()
            optimizer.step()
            optimizer.zero_grad()
            row |= {name: value.item() for name, value in terms.items()}
        history.append(row)
    for name in ("cycle_a", "cycle_b", "identity_a", "identity_b"):
        assert history[-1][name] < 0.65 * history[0][name]
    for name in ("discriminator_a", "discriminator_b"):
        assert np.mean([row[name] for row in history[-10:]]) < 0.8 * history[0][name]
