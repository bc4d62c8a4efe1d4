"""Five detectors on blood cells (BCCD), from scratch, with one budget of training images.

python examples/compare_detectors.py                            # all five
python examples/compare_detectors.py --recipes fcos_r18_bccd    # one of them
python examples/compare_detectors.py --times                    # time of an image alone, untrained: a minute
python examples/compare_detectors.py --out runs/compare         # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from _runs import METRICS, Row, machine, markdown, measure_runs, milliseconds, options, scenes, scores

import saccade
from saccade.deploy.runtime import FusedRuntime, best_cpu_runtime
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import build_model, open_datasets

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
        "ms": milliseconds(runtime, model.input_spec, rounds, unmeasured=3),
        "minutes": run.history[-1]["minutes"],
        "images": config.epochs * (8 if quick else IMAGES),
        "seed": seed,
        "quick": quick,
        "machine": machine(),
    }


def times(recipes: Sequence[str], rounds: int = 200) -> str:
    """Time of an image by networks with fresh weights; as few of their boxes score anything, suppression has less to do
    than after training."""

    def row(name: str) -> Row:
        config = saccade.recipe(name)
        model = build_model(config, open_datasets(config).train.info).eval()
        ms = milliseconds(best_cpu_runtime(model), model.input_spec, rounds, unmeasured=3)
        return {"size": model.input_spec.size, "ms": ms, "machine": machine()}

    def cells(name: str, found: Row) -> list[str]:
        return [f"`{name}`", "{} x {}".format(*found["size"]), f"{found['ms']:.1f}"]

    result = markdown(("recipe", "pixels", "ms an image"), {name: row(name) for name in recipes}, cells)
    print(result, flush=True)
    return result


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


def command_line(text: str | None, recipes: Sequence[str], out: str, results: str) -> None:
    """That of a comparison of recipes."""
    parser = options(text, "recipes", recipes, out)
    parser.add_argument("--times", action="store_true", help="only the time of an image, by untrained networks")
    given = parser.parse_args()
    if given.times:
        times(given.recipes)
    else:
        compare(given.out / results, given.recipes, given.seed, given.quick)


if __name__ == "__main__":
    command_line(__doc__, RECIPES, "runs/compare_detectors", RESULTS)
