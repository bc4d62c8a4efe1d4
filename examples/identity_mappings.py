"""The five unit orders of "Identity Mappings" on one network of 110 layers, photographs of 32 pixels.

python examples/identity_mappings.py             # writes docs/results/identity_mappings.md
python examples/identity_mappings.py --epochs 1  # a quick try
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

import saccade
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig
from saccade.models.classification.preact_resnet import Order
from saccade.recipes.scenes import scenes

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "identity_mappings.md"


def train(order: str, seed: int, epochs: int, out: Path) -> tuple[float, float, float]:
    """Accuracy on the test photographs, and the training loss of the first and of the last epoch."""
    config = scenes(
        "preact_resnet110_cifar",
        32,
        minutes=None,
        model_args={"order": order},
        augment=AugmentConfig(flip=0.5, translate=0.125, fill=0),
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(epochs / 2, 3 * epochs / 4), warmup_epochs=epochs / 20),
        ema=EmaConfig(),
        phases=(),
        epochs=epochs,
        seed=seed,
        name=f"identity_{order}_{seed}",
        out=str(out),
    )
    run = saccade.train(config)
    return run.metrics["top1"], run.history[0]["train/loss"], run.history[-1]["train/loss"]


def main(out: Path, epochs: int = 1, seeds: int = 1, orders: tuple[str, ...] = get_args(Order)[:1]) -> str:
    lines = [
        "| order | top-1 on 120 photographs, by seed | mean | loss, first epoch | loss, last epoch |",
        "|---|---|---:|---:|---:|",
    ]
    for order in orders:
        runs = [train(order, seed, epochs, out) for seed in range(seeds)]
        scores = [100 * score for score, _, _ in runs]
        first, last = (sum(run[column] for run in runs) / seeds for column in (1, 2))
        shown = ", ".join(f"{score:.1f}" for score in scores)
        lines.append(f"| {order} | {shown} | {sum(scores) / seeds:.1f} | {first:.3f} | {last:.3f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="saccade-"))
    table = main(folder, arguments.epochs, arguments.seeds, get_args(Order))
    if arguments.epochs == parser.get_default("epochs"):
        head, mark, _ = RESULTS.read_text().partition("<!-- measured -->")
        RESULTS.write_text(f"{head}{mark}\n{table}\n")
