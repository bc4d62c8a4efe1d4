"""Four ways to find objects of all sizes, figure 1 of the FPN paper: accuracy and time under the same heads.

python examples/pyramids.py                                # four runs on small pictures of blood cells (BCCD)
python examples/pyramids.py --runs fpn hierarchy           # some of them; the image pyramid takes most of the time
python examples/pyramids.py --out runs/pyramids --seed 1   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from _runs import METRICS, Row, cell_settings, markdown, milliseconds, quick_options, run_options, scores, train_runs

import saccade
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult

DESIGNS = {
    "image": "(a) featurised image pyramid",
    "single": "(b) single feature map",
    "hierarchy": "(c) pyramidal feature hierarchy",
    "fpn": "(d) feature pyramid network",
}


def settings(design: str, seed: int) -> TrainConfig:
    """The same settings for every design; a small backbone, as the image pyramid shows it 21 times the pixels."""
    own = {"backbone": "mobilenet_v3_small", "channels": 64, "anchor_size": 12, "normalized": True, "pyramid": design}
    config = cell_settings("retinanet", own)
    config.seed, config.epochs = seed, 24
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        cost = [f"{row['parameters'] / 1e6:.1f} M", f"{row['ms']:.1f}"]
        return [row["title"], *scores(row), *cost, str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("pyramid", *METRICS, "parameters", "ms an image", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "image"))


def compare(given: argparse.Namespace) -> str:
    names = {f"pyramid_{design}_{given.seed}": design for design in given.runs}

    def describe(key: str, run: RunResult) -> Row:
        model = saccade.load(run.model_path)
        rounds = 3 if given.quick else 100
        return {
            "title": DESIGNS[names[key]],
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            # In torch with folded BatchNorm, with decoding and suppression.
            "ms": milliseconds(FusedRuntime(model), model.input_spec, rounds),
        }

    configs = {key: settings(design, given.seed) for key, design in names.items()}
    return train_runs(given.out / "pyramids.json", configs, given, describe, table)


if __name__ == "__main__":
    compare(run_options(__doc__, list(DESIGNS), "runs/pyramids").parse_args())
