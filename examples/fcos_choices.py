"""What the choices of FCOS are worth: centre-ness, centre sampling, C binary classifiers against one softmax.

python examples/fcos_choices.py                                # five runs on small pictures of blood cells (BCCD)
python examples/fcos_choices.py --runs default softmax         # some of them
python examples/fcos_choices.py --out runs/fcos --seed 1       # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _runs import METRICS, Row, cell_settings, markdown, quick_options, run_options, scores, train_runs

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult

CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "no centre-ness": {"centerness": False},
    "no centre sampling": {"center_sampling": False},
    "neither": {"centerness": False, "center_sampling": False},
    "softmax": {"classifier": "softmax"},
}


def settings(choice: str, seed: int) -> TrainConfig:
    """The same run for every choice, with a small backbone on a canvas where objects have more than three cells a side.

    On smaller ones every location within an object is near its centre.
    """
    ranges = (36.0, 72.0, 144.0, 288.0)  # 3/4 of those of ``fcos_r18_bccd``, as is the side of the canvas
    own = {"backbone": "mobilenet_v3_small", "channels": 64, "ranges": ranges, **CHOICES[choice]}
    config = cell_settings("fcos", own)
    config.seed, config.epochs, config.data.size = seed, 16, (192, 256)
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["choice"], *scores(row), str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    return markdown(("FCOS", *METRICS, "epochs", "minutes of training", "seed"), results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "softmax"))


def compare(given: argparse.Namespace) -> str:
    names = {f"fcos_{choice.replace(' ', '_')}_{given.seed}": choice for choice in given.runs}

    def describe(key: str, run: RunResult) -> Row:
        return {"choice": names[key]}

    configs = {key: settings(choice, given.seed) for key, choice in names.items()}
    return train_runs(given.out / "fcos_choices.json", configs, given, describe, table)


if __name__ == "__main__":
    compare(run_options(__doc__, list(CHOICES), "runs/fcos_choices").parse_args())
