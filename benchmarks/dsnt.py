"""What DSNT adds to a training step of the network below it: softmax, expectation, both losses and their gradients.

ResNet-18 at stride 8 with one heatmap for each of 68 points, 224 pixels, batch 8; the step without DSNT takes the mean
of its heatmaps for a loss.
"""

from __future__ import annotations

import torch

from benchmarks.common import Figure, alternate, use_threads
from saccade.deploy.precision import has_bf16
from saccade.models.keypoints.dsnt import DSNT, dsnt

BATCH, SIDE = 8, 224


def run(rounds: int = 12) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    torch.manual_seed(0)
    model: DSNT = dsnt().to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    points = torch.cat(
        [torch.rand(BATCH, 1, model.num_classes, 2) * SIDE, torch.full((BATCH, 1, model.num_classes, 1), 2.0)], dim=-1
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True)

    def step(with_dsnt: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            if with_dsnt:
                loss = torch.stack(list(model.loss(images, {"keypoints": points}).values())).sum()
            else:
                loss = model.heatmap_logits(images).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = alternate({"dsnt": lambda: step(True), "bare": lambda: step(False)}, rounds)
    added = 100 * (seconds["dsnt"] / seconds["bare"] - 1)
    note = f"{1000 * seconds['dsnt']:.0f} ms against {1000 * seconds['bare']:.0f} ms; {BATCH} images of {SIDE} pixels"
    return [Figure("DSNT on top of its network's step", added, "%", 2.0, note=note)]
