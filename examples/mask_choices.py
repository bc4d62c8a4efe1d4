"""What the choices of Mask R-CNN are worth: RoIAlign against RoIPool, samples a cell, sigmoids against one softmax.

python examples/mask_choices.py                                # five runs on crowded scenes of digits, 192 pixels
python examples/mask_choices.py --runs align pool              # some of them
python examples/mask_choices.py --out runs/masks --seed 1      # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _runs import Row, crowded_settings, markdown, quick_options, run_options, train_runs

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets, open_datasets

CHOICES: dict[str, dict[str, Any]] = {
    "align": {},
    "pool": {"pooling": "pool"},
    "1 sample": {"pooling": "align_1"},
    "4 x 4 samples": {"pooling": "align_4"},
    "softmax": {"coupled": True},
}
SHOWN = ("mask_AP", "mask_AP50", "mask_AP75", "AP")


def settings(choice: str, seed: int) -> TrainConfig:
    """The same run for every choice."""
    own = {
        "backbone": "resnet18",
        "channels": 64,
        "anchor_size": 16,
        "proposals": 300,
        "regions": 64,
        **CHOICES[choice],
    }
    config = crowded_settings("maskrcnn", own | CHOICES[choice], 192)
    config.seed, config.epochs = seed, 4
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        figures = [f"{row[metric]:.3f}" for metric in SHOWN]
        return [row["choice"], *figures, str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("Mask R-CNN", "mask AP", "mask AP50", "mask AP75", "box AP", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "pool"))


def compare(given: argparse.Namespace) -> str:
    names = {f"mask_{choice.replace(' ', '_')}_{given.seed}": choice for choice in given.runs}

    def data(key: str, config: TrainConfig) -> Datasets:
        if not given.quick:
            return open_datasets(config)
        first, second = (DigitScenes("detection", split, 4, (64, 64), masks=True) for split in ("train", "test"))
        return Datasets(first, None, second)

    def describe(key: str, run: RunResult) -> Row:
        return {"choice": names[key], **{metric: run.metrics[metric] for metric in SHOWN}}

    configs = {key: settings(choice, given.seed) for key, choice in names.items()}
    return train_runs(given.out / "mask_choices.json", configs, given, describe, table, data)


if __name__ == "__main__":
    compare(run_options(__doc__, list(CHOICES), "runs/mask_choices").parse_args())
