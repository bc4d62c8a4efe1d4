"""Box losses on YOLOv3-tiny: squared errors, IoU, GIoU, DIoU, CIoU; and objectness that is to be 1 or the IoU.

python examples/box_losses_yolov3.py                               # three seeds each, on crowded scenes of digits
python examples/box_losses_yolov3.py --choices MSE CIoU            # some of them
python examples/box_losses_yolov3.py --out runs/boxes --seed 3   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _runs import METRICS, Row, choice_settings, crowded_settings, machine, markdown, measure_runs, options, scenes

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit

CHOICES: dict[str, dict[str, Any]] = {
    "MSE": {},
    "IoU": {"box_loss": "iou"},
    "GIoU": {"box_loss": "giou"},
    "DIoU": {"box_loss": "diou"},
    "CIoU": {"box_loss": "ciou"},
    "MSE, objectness IoU": {"objectness": "iou"},
    "CIoU, objectness IoU": {"box_loss": "ciou", "objectness": "iou"},
}
RESULTS = "box_losses_yolov3.json"


def run_name(choice: str, seed: int) -> str:
    return f"yolov3_tiny_{choice.replace(', ', '_').replace(' ', '_')}_{seed}"


def settings(choice: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same run for every choice."""
    run = crowded_settings(run_name(choice, seed), "yolov3_tiny", CHOICES[choice], size)
    return choice_settings(run, seed, out, epochs)


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


def main(
    out: Path,
    choices: tuple[str, ...] = ("CIoU",),
    seeds: tuple[int, ...] = (0, 1),
    epochs: int = 1,
    size: int = 64,
    quick: bool = True,
) -> str:
    asked = {"epochs": epochs, "size": size, "quick": quick}
    # Seed by seed, so that a table that is cut short compares as many of each.
    names = {run_name(choice, seed): (choice, seed) for seed in seeds for choice in choices}

    def measure(key: str) -> Row:
        choice, seed = names[key]
        config = settings(choice, seed, out, epochs, size)
        if quick:  # a few scenes, so that a try takes seconds
            config.data.workers = 0
        run = fit(config, resume=True, data=scenes(size, 8) if quick else None)
        return {
            "choice": choice,
            **{metric: run.metrics[metric] for metric in METRICS},
            "asked": asked,
            "epochs": epochs,
            "minutes": run.history[-1]["minutes"],
            "seed": seed,
            "machine": machine(),
        }

    result = table(measure_runs(out / RESULTS, names, {"asked": asked}, measure, table))
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = options(__doc__, "choices", list(CHOICES), "runs/box_losses_yolov3")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each choice, of seed, seed + 1 and so on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    seeds = tuple(range(arguments.seed, arguments.seed + arguments.repeats))
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), seeds)
    else:
        main(arguments.out, tuple(arguments.choices), seeds, arguments.epochs, arguments.size, quick=False)
