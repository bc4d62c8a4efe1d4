"""What the choices of Mask R-CNN are worth: RoIAlign against RoIPool, samples a cell, sigmoids against one softmax.

python examples/mask_choices.py                                # five runs on crowded scenes of digits, 192 pixels
python examples/mask_choices.py --choices align pool           # some of them
python examples/mask_choices.py --out runs/masks --seed 1      # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _runs import Row, choice_settings, crowded_settings, machine, markdown, measure_runs, options

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets

CHOICES: dict[str, dict[str, Any]] = {
    "align": {},
    "pool": {"pooling": "pool"},
    "1 sample": {"pooling": "align_1"},
    "4 x 4 samples": {"pooling": "align_4"},
    "softmax": {"coupled": True},
}
SHOWN = ("mask_AP", "mask_AP50", "mask_AP75", "AP")
RESULTS = "mask_choices.json"


def run_name(choice: str, seed: int) -> str:
    return f"mask_{choice.replace(' ', '_')}_{seed}"


def settings(choice: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same run for every choice."""
    own = {"backbone": "resnet18", "channels": 64, "anchor_size": 16, "proposals": 300, **CHOICES[choice]}
    return choice_settings(crowded_settings(run_name(choice, seed), "maskrcnn", own, size), seed, out, epochs)


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        figures = [f"{row[metric]:.3f}" for metric in SHOWN]
        return [row["choice"], *figures, str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("Mask R-CNN", "mask AP", "mask AP50", "mask AP75", "box AP", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(
    out: Path,
    choices: tuple[str, ...] = ("pool",),
    seed: int = 0,
    epochs: int = 1,
    size: int = 64,
    quick: bool = True,
) -> str:
    asked = {"epochs": epochs, "size": size, "quick": quick}
    names = {run_name(choice, seed): choice for choice in choices}

    def measure(key: str) -> Row:
        config = settings(names[key], seed, out, epochs, size)
        data = None
        if quick:  # a few scenes, so that a try takes seconds
            config.data.workers = 0
            first, second = (
                DigitScenes("detection", split, 4, (size, size), masks=True) for split in ("train", "test")
            )
            data = Datasets(first, None, second)
        run = fit(config, resume=True, data=data)
        return {
            "choice": names[key],
            **{metric: run.metrics[metric] for metric in SHOWN},
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
    parser = options(__doc__, "choices", list(CHOICES), "runs/mask_choices")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), arguments.seed)
    else:
        main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.epochs, arguments.size, quick=False)
