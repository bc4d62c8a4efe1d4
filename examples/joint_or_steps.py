"""Faster R-CNN trained at once, or in the four steps of its paper: scores and time, with as many images seen.

python examples/joint_or_steps.py                  # two trainings on blood cells (BCCD), from recipes
python examples/joint_or_steps.py --choices steps  # one of them
python examples/joint_or_steps.py --quick          # a few small scenes of digits: does it run?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from _runs import METRICS, Row, machine, markdown, measure_runs, options, scenes, scores

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.recipes import get_recipe

CHOICES = {"joint": "fasterrcnn_r18_bccd", "steps": "fasterrcnn_r18_bccd_steps"}
RESULTS = "joint_or_steps.json"


def settings(choice: str, seed: int, out: Path, quick: bool) -> TrainConfig:
    config = get_recipe(CHOICES[choice])
    config.name, config.seed, config.out = f"{CHOICES[choice]}_{seed}", seed, str(out)
    if quick:
        config.epochs, config.phases, config.data.workers = 4, (), 0
        config.data.source, config.data.train, config.data.size = "digit_scenes", "crowded", (64, 64)
        config.model_args |= {"backbone": "mobilenet_v3_small", "channels": 8, "hidden": 16, "proposals": 40}
        config.schedule.warmup_epochs = 0.0
        config.steps = tuple(replace(step, changes={**step.changes, "epochs": 1}) for step in config.steps)
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["choice"], *scores(row), str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    return markdown(("Faster R-CNN", *METRICS, "epochs", "minutes of training", "seed"), results, cells)


def main(out: Path, choices: tuple[str, ...] = ("joint", "steps"), seed: int = 0, quick: bool = True) -> str:
    names = {settings(choice, seed, out, quick).name: choice for choice in choices}

    def measure(key: str) -> Row:
        config = settings(names[key], seed, out, quick)
        run = fit(config, resume=True, data=scenes(64, 8) if quick else None)
        return {
            "choice": names[key],
            **{metric: run.metrics[metric] for metric in METRICS},
            "epochs": len(run.history),
            "minutes": run.history[-1]["minutes"],
            "quick": quick,
            "seed": seed,
            "machine": machine(),
        }

    result = table(measure_runs(out / RESULTS, names, {"quick": quick}, measure, table))
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = options(__doc__, "choices", list(CHOICES), "runs/joint_or_steps")
    arguments = parser.parse_args()
    main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.quick)
