"""What the choices of FCOS are worth: centre-ness, centre sampling, C binary classifiers against one softmax.

python examples/fcos_choices.py                                # five runs on crowded scenes of digits, 160 pixels
python examples/fcos_choices.py --choices default softmax      # some of them
python examples/fcos_choices.py --out runs/fcos --seed 1       # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _runs import (
    METRICS,
    Row,
    choice_settings,
    crowded_settings,
    machine,
    markdown,
    measure_runs,
    options,
    scenes,
    scores,
)

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit

CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "no centre-ness": {"centerness": False},
    "no centre sampling": {"center_sampling": False},
    "neither": {"centerness": False, "center_sampling": False},
    "softmax": {"classifier": "softmax"},
}
RESULTS = "fcos_choices.json"


def run_name(choice: str, seed: int) -> str:
    return f"fcos_{choice.replace(' ', '_')}_{seed}"


def settings(choice: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same run for every choice."""
    ranges = (24.0, 48.0, 96.0, 192.0)  # digits are 18 to 60 pixels high at 160, so that three levels have objects
    own = {"backbone": "resnet18", "channels": 64, "ranges": ranges, **CHOICES[choice]}
    return choice_settings(crowded_settings(run_name(choice, seed), "fcos", own, size), seed, out, epochs)


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["choice"], *scores(row), str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    return markdown(("FCOS", *METRICS, "epochs", "minutes of training", "seed"), results, cells)


def main(
    out: Path,
    choices: tuple[str, ...] = ("softmax",),
    seed: int = 0,
    epochs: int = 1,
    size: int = 64,
    quick: bool = True,
) -> str:
    asked = {"epochs": epochs, "size": size, "quick": quick}
    names = {run_name(choice, seed): choice for choice in choices}

    def measure(key: str) -> Row:
        config = settings(names[key], seed, out, epochs, size)
        if quick:  # a few scenes, so that a try takes seconds
            config.data.workers = 0
        run = fit(config, resume=True, data=scenes(size, 8) if quick else None)
        return {
            "choice": names[key],
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
    parser = options(__doc__, "choices", list(CHOICES), "runs/fcos_choices")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), arguments.seed)
    else:
        main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.epochs, arguments.size, quick=False)
