"""Ten networks of the line, the same photographs, the same five minutes.

python examples/compare_line.py                # writes docs/results/compare_line.md; 55 minutes on two cores
python examples/compare_line.py --minutes 0.2  # a quick try
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import saccade
from saccade.deploy.runtime import best_cpu_runtime
from saccade.recipes.scenes import scenes

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "compare_line.md"

# Year, builder, its options, canvas, learning rate. Networks without BatchNorm have a lower one; fully connected layers
# are a sixteenth of the papers', as there are six classes and not a thousand.
LINE: tuple[tuple[int, str, dict[str, Any], int, float], ...] = (
    (2012, "alexnet", {"fc_channels": 256}, 128, 3e-4),
    (2014, "vgg11_bn", {"fc_channels": 256}, 64, 1e-3),
    (2014, "googlenet_bn", {}, 96, 2e-3),
    (2015, "resnet18", {}, 96, 2e-3),
    (2016, "darknet19", {}, 80, 2e-3),
    (2018, "mobilenet_v2", {}, 96, 3e-3),
    (2018, "shufflenet_v2_x1_0", {}, 128, 3e-3),
    (2019, "efficientnet_b0", {}, 96, 3e-3),
    (2021, "vit_ti_16", {"image_size": 96}, 96, 5e-4),
    (2022, "convnext_tiny", {}, 64, 1e-3),
)


def images_per_second(model: Any, rounds: int) -> float:
    """Speed of the runtime that a checkpoint gets by default, at batch 1."""
    runtime = best_cpu_runtime(model)
    image = torch.randint(0, 256, (1, 3, *model.input_spec.size), dtype=torch.uint8)
    for _ in range(3):
        runtime(image)
    start = time.perf_counter()
    for _ in range(rounds):
        runtime(image)
    return rounds / (time.perf_counter() - start)


def main(
    out: Path, minutes: float = 0.02, line: tuple[tuple[int, str, dict[str, Any], int, float], ...] = LINE[6:7]
) -> str:
    lines = ["| year | network | canvas | parameters | multiply-adds | epochs | top-1 | images/s |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---:|"]
    for year, name, options, size, lr in line:
        run = saccade.train(scenes(name, size, lr, minutes, model_args=options, out=str(out)))
        model = saccade.load(run.model_path)
        counts = saccade.summary(model, size=(size, size))
        speed = images_per_second(model, 5 if minutes < 1 else 100)
        size_and_cost = f"{size} | {counts.params / 1e6:.2f} M | {counts.macs / 1e6:.0f} M"
        lines.append(
            f"| {year} | {name} | {size_and_cost} | {len(run.history)} | {100 * run.metrics['top1']:.1f} "
            f"| {speed:.0f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    table = main(Path(tempfile.mkdtemp(prefix="saccade-")), arguments.minutes, LINE)
    if arguments.minutes == parser.get_default("minutes"):
        head, mark, _ = RESULTS.read_text().partition("<!-- measured -->")
        RESULTS.write_text(f"{head}{mark}\n{table}\n")
