"""Four ways to find objects of all sizes, figure 1 of the FPN paper: accuracy and time under the same heads.

python examples/pyramids.py                                # four runs on crowded scenes of digits, 96 pixels
python examples/pyramids.py --designs fpn hierarchy        # some of them; the image pyramid takes most of the time
python examples/pyramids.py --minutes 1                    # each run stops after the epoch that passes a minute
python examples/pyramids.py --out runs/pyramids --seed 1   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from _runs import (
    METRICS,
    Row,
    add_length,
    crowded_settings,
    machine,
    markdown,
    measure_runs,
    milliseconds,
    options,
    scenes,
    scores,
)

import saccade
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit

DESIGNS = {
    "image": "(a) featurised image pyramid",
    "single": "(b) single feature map",
    "hierarchy": "(c) pyramidal feature hierarchy",
    "fpn": "(d) feature pyramid network",
}
RESULTS = "pyramids.json"


def settings(design: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same settings for every design."""
    # Digits are 10 to 36 pixels high at 96, so that three of the five sizes of anchors have objects.
    own = {"backbone": "resnet18", "channels": 64, "anchor_size": 8, "pyramid": design}
    config = crowded_settings(f"pyramid_{design}_{seed}", "retinanet", own, size)
    config.epochs, config.seed, config.out = epochs, seed, str(out)
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        cost = [f"{row['parameters'] / 1e6:.1f} M", f"{row['ms']:.1f}"]
        return [row["title"], *scores(row), *cost, str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("pyramid", *METRICS, "parameters", "ms an image", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(
    out: Path,
    designs: tuple[str, ...] = ("image",),
    seed: int = 0,
    epochs: int = 1,
    size: int = 32,
    count: int | None = 8,
    minutes: float | None = None,
) -> str:
    asked = {"epochs": epochs, "size": size, "count": count, "minutes": minutes}
    names = {f"pyramid_{design}_{seed}": design for design in designs}

    def measure(key: str) -> Row:
        config = settings(names[key], seed, out, epochs, size)
        config.max_minutes = minutes
        if count is not None:
            config.data.workers = 0
        run = fit(config, resume=True, data=scenes(size, count))
        model = saccade.load(run.model_path)
        return {
            "title": DESIGNS[names[key]],
            **{metric: run.metrics[metric] for metric in METRICS},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            # In torch with folded BatchNorm, with decoding and suppression.
            "ms": milliseconds(FusedRuntime(model), model.input_spec.size, 100 if count is None else 3),
            "asked": asked,
            "epochs": len(run.history),
            "minutes": run.history[-1]["minutes"],
            "seed": seed,
            "machine": machine(),
        }

    result = table(measure_runs(out / RESULTS, names, {"asked": asked}, measure, table))
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = options(__doc__, "designs", list(DESIGNS), "runs/pyramids")
    add_length(parser, 96)
    given = vars(parser.parse_args())
    main(**{**given, "designs": tuple(given["designs"])})
