"""Why masks need RoIAlign: where RoIPool and RoIAlign look for a box of 665 pixels on a map of stride 32.

python examples/roi_align_misalignment.py                       # 665 / 32 = 20.78 steps of the map
python examples/roi_align_misalignment.py --side 400 --out runs/align
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from saccade.ops.roi import roi_align, roi_pool

STRIDE, CANVAS, CELLS = 32, 800, 7


def pooled_columns(left: float, right: float) -> list[tuple[int, int]]:
    """Steps of the map, first and behind the last, that each column of cells of RoIPool covers: it rounds twice."""
    first, last = (math.floor(edge / STRIDE + 0.5) for edge in (left, right))
    width = max(last - first + 1, 1) / CELLS
    return [(first + math.floor(cell * width), first + math.ceil((cell + 1) * width)) for cell in range(CELLS)]


def centres(left: float, right: float) -> tuple[list[float], list[float]]:
    """Where columns of cells lie in pixels, as told by a map whose value at each step is its place: pooled, aligned.

    The largest value of a cell stands at its far end, so that it is compared with the middle of the cell by half of
    the cell's width.
    """
    steps = CANVAS // STRIDE
    ramp = torch.arange(float(steps)).expand(1, 1, steps, steps)
    box = torch.tensor([[[left, left, right, right]]])
    largest = roi_pool(ramp, box, STRIDE, CELLS)[0, 0, 0, 0]
    smallest = -roi_pool(-ramp, box, STRIDE, CELLS)[0, 0, 0, 0]
    aligned = roi_align([ramp], box, (STRIDE,), CELLS)[0, 0, 0, 0]
    return ((largest + smallest) / 2 * STRIDE).tolist(), (aligned * STRIDE).tolist()


def draw(left: float, right: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 5.6), constrained_layout=True)
    columns = pooled_columns(left, right)
    exact: dict[str, Any] = {"fill": False, "linestyle": "--", "linewidth": 2, "edgecolor": "black"}
    for axis, title in zip(axes, ("RoIPool: the box and its cells are rounded", "RoIAlign: nothing is"), strict=True):
        axis.set(xlim=(0, CANVAS), ylim=(CANVAS, 0), aspect="equal", title=title, xlabel="pixels")
        axis.set_xticks(range(0, CANVAS + 1, STRIDE), minor=True)
        axis.set_yticks(range(0, CANVAS + 1, STRIDE), minor=True)
        axis.grid(which="minor", color="0.85", linewidth=0.6)
        axis.tick_params(which="minor", length=0)
        axis.add_patch(pyplot.Rectangle((left, left), right - left, right - left, **exact))
    for row, (top, bottom) in enumerate(columns):
        for column, (start, end) in enumerate(columns):
            colour = "tab:orange" if (row + column) % 2 else "tab:red"
            corner, sides = (start * STRIDE, top * STRIDE), ((end - start) * STRIDE, (bottom - top) * STRIDE)
            axes[0].add_patch(pyplot.Rectangle(corner, *sides, color=colour, alpha=0.35, linewidth=0))
    cell = (right - left) / CELLS
    samples = [left + cell * (number + share) for number in range(CELLS) for share in (0.25, 0.75)]
    axes[1].scatter(samples * len(samples), [y for y in samples for _ in samples], s=5, color="tab:green")
    for number in range(CELLS + 1):
        edge = left + cell * number
        axes[1].plot([edge, edge], [left, right], color="tab:blue", linewidth=0.8)
        axes[1].plot([left, right], [edge, edge], color="tab:blue", linewidth=0.8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(out: Path, side: int = 665, left: float = 40.0) -> None:
    right = left + side
    pooled, aligned = centres(left, right)
    wanted = [left + side / CELLS * (cell + 0.5) for cell in range(CELLS)]
    print(f"{side} / {STRIDE} = {side / STRIDE:.2f} steps of the map, {side / STRIDE / CELLS:.2f} a cell")
    print("| column of cells | middle, pixels | RoIPool is off by | RoIAlign is off by |")
    print("|---:|---:|---:|---:|")
    for cell, (middle, first, second) in enumerate(zip(wanted, pooled, aligned, strict=True)):
        print(f"| {cell + 1} | {middle:.1f} | {first - middle:+.1f} | {second - middle:+.1f} |")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "roi_align_misalignment.png"
    draw(left, right, path)
    print(f"drawing: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=665)
    parser.add_argument("--left", type=float, default=40.0)
    parser.add_argument("--out", type=Path, default=Path("runs/roi_align_misalignment"))
    arguments = parser.parse_args()
    main(arguments.out, arguments.side, arguments.left)
