"""Five detectors on blood cells (BCCD), from scratch, with one budget of training images.

python examples/compare_detectors.py                            # all five
python examples/compare_detectors.py --recipes fcos_r18_bccd    # one of them
python examples/compare_detectors.py --out runs/compare         # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from _runs import METRICS, Row, machine, markdown, measure_runs, milliseconds, options, scenes, scores

import saccade
from saccade.deploy.runtime import FusedRuntime, best_cpu_runtime
from saccade.engine.train.fit import fit

RECIPES = ("ssdlite_bccd", "retinanet_r18_bccd", "fcos_r18_bccd", "centernet_r18_bccd", "yolox_tiny_bccd")
IMAGES = 292  # of train + val, once an epoch
RESULTS = "compare_detectors.json"


def measure(name: str, seed: int, out: Path, quick: bool) -> Row:
    """One recipe: trained, or trained further where it was stopped, scored once, and timed."""
    config = saccade.recipe(name)
    config.out, config.seed = str(out / "quick" if quick else out), seed  # a try is never gone on from
    if quick:  # a few scenes of digits, so that it takes seconds
        config.epochs, config.phases, config.data.size, config.data.workers = 1, (), (64, 64), 0
    run = fit(config, resume=True, data=scenes(64, 8, train="train") if quick else None)
    model = saccade.load(run.model_path)
    # With decoding and suppression, in the runtime that a checkpoint gets by default; preparing that takes longer than
    # a try may.
    runtime, rounds = (FusedRuntime(model), 3) if quick else (best_cpu_runtime(model), 200)
    return {
        "model": config.model,
        **{metric: run.metrics[metric] for metric in METRICS},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ms": milliseconds(runtime, model.input_spec.size, rounds, unmeasured=3),
        "minutes": run.history[-1]["minutes"],
        "images": config.epochs * (8 if quick else IMAGES),
        "seed": seed,
        "quick": quick,
        "machine": machine(),
    }


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        cost = [f"{row['parameters'] / 1e6:.2f} M", f"{row['ms']:.1f}", f"{row['images']:,}"]
        return [f"`{name}`", *scores(row), *cost, f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("recipe", *METRICS, "parameters", "ms an image", "images seen", "minutes of training", "seed")
    return markdown(titles, results, cells)


def compare(file: Path, recipes: Sequence[str], seed: int, quick: bool) -> str:
    """Measures the recipes that ``file`` does not hold yet; the runs lie beside it."""

    def measured(name: str) -> Row:
        return measure(name, seed, file.parent, quick)

    done = measure_runs(file, recipes, {"seed": seed, "quick": quick}, measured, table)
    result = table({name: done[name] for name in recipes})
    print(result, flush=True)
    return result


def main(out: Path, recipes: tuple[str, ...] = RECIPES[2:3], seed: int = 0, quick: bool = True) -> str:
    return compare(out / RESULTS, recipes, seed, quick)


if __name__ == "__main__":
    parser = options(__doc__, "recipes", RECIPES, "runs/compare_detectors")
    arguments = parser.parse_args()
    main(arguments.out, tuple(arguments.recipes), arguments.seed, arguments.quick)
