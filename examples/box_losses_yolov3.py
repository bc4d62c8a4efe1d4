"""Box losses on YOLOv3-tiny: squared errors, IoU, GIoU, DIoU, CIoU; and objectness that is to be 1 or the IoU.

python examples/box_losses_yolov3.py                               # three seeds each, on small pictures of blood cells
python examples/box_losses_yolov3.py --runs MSE CIoU               # some of them
python examples/box_losses_yolov3.py --out runs/boxes --seed 3   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _runs import METRICS, Row, cell_settings, markdown, quick_options, run_options, train_runs

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult

CHOICES: dict[str, dict[str, Any]] = {
    "MSE": {},
    "IoU": {"box_loss": "iou"},
    "GIoU": {"box_loss": "giou"},
    "DIoU": {"box_loss": "diou"},
    "CIoU": {"box_loss": "ciou"},
    "MSE, objectness IoU": {"objectness": "iou"},
    "CIoU, objectness IoU": {"box_loss": "ciou", "objectness": "iou"},
}


def settings(choice: str, seed: int) -> TrainConfig:
    """The same run for every choice."""
    config = cell_settings("yolov3_tiny", CHOICES[choice])
    config.seed, config.epochs = seed, 20
    return config


def table(results: Mapping[str, Row]) -> str:
    """One row a choice: mean and standard deviation over its seeds."""
    groups: dict[str, list[Row]] = {}
    for row in results.values():
        groups.setdefault(f"{row['choice']}{row['asked']}", []).append(row)

    def cell(rows: Sequence[Row], metric: str) -> str:
        values = [row[metric] for row in rows]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.3f}{spread}"

    def cells(name: str, first: Row) -> list[str]:
        rows = groups[name]
        seeds = ", ".join(str(row["seed"]) for row in rows)
        minutes = statistics.mean(row["minutes"] for row in rows)
        return [
            first["choice"],
            *(cell(rows, metric) for metric in METRICS),
            str(first["epochs"]),
            f"{minutes:.1f}",
            seeds,
        ]

    titles = ("YOLOv3-tiny", *METRICS, "epochs", "minutes of training", "seeds")
    return markdown(titles, {name: rows[0] for name, rows in groups.items()}, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "CIoU"), repeats=2)


def compare(given: argparse.Namespace, repeats: int) -> str:
    # Seed by seed, so that a table that is cut short compares as many of each.
    names = {
        f"yolov3_tiny_{choice.replace(', ', '_').replace(' ', '_')}_{seed}": (choice, seed)
        for seed in range(given.seed, given.seed + repeats)
        for choice in given.runs
    }

    def describe(key: str, run: RunResult) -> Row:
        return {"choice": names[key][0]}

    configs = {key: settings(*name) for key, name in names.items()}
    return train_runs(given.out / "box_losses_yolov3.json", configs, given, describe, table)


if __name__ == "__main__":
    parser = run_options(__doc__, list(CHOICES), "runs/box_losses_yolov3")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each choice, of seed, seed + 1 and so on")
    arguments = parser.parse_args()
    compare(arguments, arguments.repeats)
