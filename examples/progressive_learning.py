"""Progressive learning (EfficientNetV2) against images of one size: the same epochs, time and accuracy.

python examples/progressive_learning.py             # writes docs/results/progressive_learning.md
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import saccade
from saccade.data.derived.combine import subset
from saccade.data.open import open_dataset
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import Phase
from saccade.recipes.progressive import progressive_phases
from saccade.recipes.scenes import scenes
from saccade.structures.dataset import VisionDataset

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "progressive_learning.md"


def some(split: str, images: int) -> VisionDataset:
    """Photographs of all classes, in place of those that the recipe names."""
    whole = open_dataset("intel_scenes", split)
    return subset(whole, range(0, len(whole), len(whole) // images))


def main(out: Path, epochs: int = 2, seeds: int = 1, sizes: tuple[int, int] = (32, 48), images: int | None = 48) -> str:
    """A quick try; the command line asks for more."""
    data = {} if images is None else {split: some(split, images) for split in ("train", "test")}
    phases = {
        "progressive": progressive_phases(
            epochs,
            sizes,
            magnitude=(3, 9),
            mixup_alpha=(0.0, 0.2),
            dropout=(0.0, 0.2),
            count=min(4, epochs),
            multiple=8,
        ),
        "fixed size": (
            Phase(
                from_epoch=0, size=(sizes[1], sizes[1]), augment={"policy_magnitude": 9}, model={"dropout_rate": 0.2}
            ),
        ),
    }
    scores: dict[str, list[float]] = {name: [] for name in phases}
    minutes: dict[str, list[float]] = {name: [] for name in phases}
    for seed in range(seeds):
        for name, chosen in phases.items():  # in turn, so that what slows the machine down slows both
            config = scenes(
                "efficientnet_v2_b0",
                sizes[1],
                minutes=None,
                augment=AugmentConfig(resized_crop=(0.35, 1.0), flip=0.5, policy="randaugment"),
                phases=chosen,
                epochs=epochs,
                seed=seed,
                name=f"{name.replace(' ', '_')}_{seed}",
                out=str(out),
            )
            run = saccade.train(config, **data)
            scores[name].append(100 * run.metrics["top1"])
            minutes[name].append(run.history[-1]["minutes"])
            print(name, seed, scores[name][-1], minutes[name][-1], flush=True)
    lines = ["| training images | top-1 on 120 photographs, by seed | mean | minutes of training, by seed |"]
    lines += ["|---|---|---:|---|"]
    for name in phases:
        sides = " to ".join(str(side) for side in sizes) if name == "progressive" else str(sizes[1])
        top1 = ", ".join(f"{score:.1f}" for score in scores[name])
        times = ", ".join(f"{value:.2f}" for value in minutes[name])
        lines.append(f"| {name}, {sides} pixels | {top1} | {sum(scores[name]) / seeds:.1f} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    table = main(Path(tempfile.mkdtemp(prefix="saccade-")), arguments.epochs, arguments.seeds, (64, 112), None)
    if arguments.epochs == parser.get_default("epochs"):
        head, mark, _ = RESULTS.read_text().partition("<!-- measured -->")
        RESULTS.write_text(f"{head}{mark}\n{table}\n")
