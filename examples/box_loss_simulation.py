"""The simulation of the DIoU paper (Zheng et al. 2020, arXiv 1911.08287): which loss brings a box to its target?

5,000 points within 3 of (10, 10); at each, boxes of 7 areas and 7 aspect ratios; 7 targets of area 1 at (10, 10), one
an aspect ratio: 1,715,000 cases. Each box moves by gradient descent for 200 iterations,

    B <- B - rate * (2 - IoU) * gradient,   B = (x, y, w, h),

at a rate of 0.1, of 0.01 after 80 % of them and of 0.001 after 90 %. The error is |x| + |y| + |w| + |h| of the
difference to the target, here as the mean over all cases.

python examples/box_loss_simulation.py out               # all cases; writes docs/results/box_losses.md as well
python examples/box_loss_simulation.py out --points 100  # seconds
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from torch import Tensor

from saccade.losses.iou import iou_loss
from saccade.losses.smooth_l1 import l1_loss, smooth_l1_loss
from saccade.ops.iou import aligned_iou

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "box_losses.md"
AREAS = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)  # width over height
ITERATIONS = 200
SMALLEST = 1e-3  # of a side: a step too long must not turn a box inside out
CHUNK = 500  # points at a time; from so many on, a step is compiled, which takes seconds

Loss = Callable[[Tensor, Tensor], Tensor]


def corners(boxes: Tensor) -> Tensor:
    """Corners (N, 4) of boxes (4, N) given by centre and sides; four planes in memory."""
    half = boxes[2:] / 2
    return torch.cat((boxes[:2] - half, boxes[:2] + half)).T


LOSSES: dict[str, Loss] = {
    "L1": l1_loss,
    "smooth L1": smooth_l1_loss,
    "IoU": lambda boxes, targets: iou_loss(corners(boxes), corners(targets), "iou"),
    "GIoU": lambda boxes, targets: iou_loss(corners(boxes), corners(targets), "giou"),
    "DIoU": lambda boxes, targets: iou_loss(corners(boxes), corners(targets), "diou"),
    "CIoU": lambda boxes, targets: iou_loss(corners(boxes), corners(targets), "ciou"),
}


class Descent(NamedTuple):
    """What a loss did."""

    errors: Tensor  # (T + 1,), mean over the cases
    areas: Tensor  # (T + 1,), mean area of the boxes that have not touched their target so far
    final: Tensor  # (P,), error at the end at each point
    apart: float  # share of the cases that end without touching their target
    still: float  # share of the cases disjoint at the start that have not moved at all
    matched: float  # share of the cases that end with IoU > 0.9


def cases(points: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes and targets, (4, P * 343) each: of every point all areas, ratios and targets."""
    areas, ratios, wanted = (torch.tensor(values) for values in (AREAS, RATIOS, RATIOS))
    area, ratio, target = (one.flatten() for one in torch.meshgrid(areas, ratios, wanted, indexing="ij"))
    sides = torch.stack(((area * ratio).sqrt(), (area / ratio).sqrt()))
    centres = points.T[:, :, None].expand(-1, -1, sides.shape[1])
    boxes = torch.cat((centres, sides[:, None].expand(-1, len(points), -1)))
    ends = torch.stack((torch.full_like(target, 10.0), torch.full_like(target, 10.0), target.sqrt(), 1 / target.sqrt()))
    return boxes.flatten(1), ends[:, None].expand(-1, len(points), -1).flatten(1)


def step(loss: Loss, boxes: Tensor, targets: Tensor, apart: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
    """One iteration: boxes (4, N) after it, their IoU before it, which have been apart so far, and the three sums."""
    iou = aligned_iou(corners(boxes), corners(targets))
    apart = apart & (iou == 0)
    error = (boxes - targets).abs().sum()
    area = (boxes[2] * boxes[3] * apart).sum()
    slope = torch.func.grad(lambda moving: loss(moving, targets).sum())(boxes)
    moved = boxes - rate * (2 - iou) * slope
    return torch.cat((moved[:2], moved[2:].clamp(min=SMALLEST))), iou, apart, torch.stack((error, area, apart.sum()))


def descend(move: Callable[..., tuple[Tensor, ...]], boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move boxes (4, N): where they end, their IoU there, and the sums of each iteration (T + 1, 3)."""
    apart = torch.ones(boxes.shape[1], dtype=torch.bool)
    sums = []
    for iteration in range(ITERATIONS + 1):
        rate = 0.1 if iteration < 0.8 * ITERATIONS else 0.01 if iteration < 0.9 * ITERATIONS else 0.001
        moved, iou, apart, found = move(boxes, targets, apart, torch.tensor(rate))
        sums.append(found)
        if iteration < ITERATIONS:
            boxes = moved
    return boxes, iou, torch.stack(sums)


def simulate(name: str, points: Tensor) -> Descent:
    """All cases under one loss."""
    sums, remaining, count = torch.zeros(ITERATIONS + 1, 3, dtype=torch.float64), [], len(points) * 343
    move = partial(step, LOSSES[name])
    if len(points) >= CHUNK:
        torch.compiler.reset()
        move = torch.compile(move, fullgraph=True, dynamic=False)
    apart = still = disjoint = matched = 0
    for some in points.split(CHUNK):
        boxes, targets = cases(some)
        begun = aligned_iou(corners(boxes), corners(targets)) == 0
        ended, iou, chunk = descend(move, boxes, targets)
        sums += chunk
        remaining.append((ended - targets).abs().sum(0).view(-1, 343).mean(1))
        apart += int((iou == 0).sum())
        matched += int((iou > 0.9).sum())
        disjoint += int(begun.sum())
        still += int(((ended == boxes).all(0) & begun).sum())
    return Descent(
        (sums[:, 0] / count).float(),
        (sums[:, 1] / sums[:, 2]).float(),
        torch.cat(remaining),
        apart / count,
        still / max(disjoint, 1),
        matched / count,
    )


def draw(results: dict[str, Descent], points: Tensor, out: Path) -> None:
    """Curves of the error, and where on the plane it remains."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for name, result in results.items():
        left.plot(result.errors, label=name)
        right.plot(result.areas, label=name)
    left.set(xlabel="iteration", ylabel="mean error", yscale="log", title="All cases")
    right.set(xlabel="iteration", ylabel="mean area", title="Boxes that have not touched their target so far")
    left.legend()
    figure.savefig(out / "box_loss_curves.png", dpi=110)
    figure, axes = plt.subplots(2, 3, figsize=(12, 7.5), layout="constrained", sharex=True, sharey=True)
    every = torch.cat([result.final for result in results.values()]).clamp(min=1e-4)
    norm = matplotlib.colors.LogNorm(float(every.min()), float(every.max()))
    for axis, (name, result) in zip(axes.flat, results.items(), strict=True):
        dots = axis.scatter(*points.T, c=result.final.clamp(min=1e-4), s=3, norm=norm)
        axis.set(title=f"{name}: mean {result.errors[-1]:.3f}", aspect="equal")
    figure.colorbar(dots, ax=axes, label="mean error at the end")
    figure.savefig(out / "box_loss_maps.png", dpi=110)
    plt.close("all")


def main(out: Path, points: int = 20, seed: int = 0) -> str:
    generator = torch.Generator().manual_seed(seed)
    radius = 3 * torch.rand(points, generator=generator).sqrt()
    angle = 2 * math.pi * torch.rand(points, generator=generator)
    plane = 10 + torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)
    figures = ("IoU > 0.9", "end apart", "disjoint, never move", "area at most", "CPU s")
    lines = [
        f"| loss | error at 0 | 50 | 100 | 160 | 200 | {' | '.join(figures)} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    results = {}
    for name in LOSSES:
        begun = time.process_time()
        result = results[name] = simulate(name, plane)
        errors = " | ".join(f"{result.errors[at]:.3f}" for at in (0, 50, 100, 160, 200))
        shares = " | ".join(f"{100 * share:.1f} %" for share in (result.matched, result.apart, result.still))
        largest = float(result.areas.nan_to_num(0).max())
        lines.append(f"| {name} | {errors} | {shares} | {largest:.2f} | {time.process_time() - begun:.0f} |")
        print(lines[-1], flush=True)
    out.mkdir(parents=True, exist_ok=True)
    draw(results, plane, out)
    print(f"{343 * points:,} cases a loss; drawings in {out}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("box_losses"), help="folder for the drawings")
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = main(arguments.out, arguments.points, arguments.seed)
    if arguments.points == parser.get_default("points"):
        head, mark, _ = RESULTS.read_text().partition("<!-- measured -->")
        RESULTS.write_text(f"{head}{mark}\n{table}\n")
