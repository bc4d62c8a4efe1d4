"""Eight segmenters on street scenes (CamVid), from scratch, with one budget of training images.

python examples/compare_segmenters.py                            # all eight, and UNet++ pruned to each of its depths
python examples/compare_segmenters.py --recipes unet_camvid      # one of them
python examples/compare_segmenters.py --out runs/compare_camvid  # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from _runs import Row, machine, markdown, measure_runs, milliseconds, options

import saccade
from saccade.data import open_dataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.deploy.runtime import EagerRuntime, FusedRuntime, best_cpu_runtime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.models.base import Model
from saccade.results.images import montage, write_image
from saccade.structures.dataset import VisionDataset

RECIPES = (
    "fcn8s_camvid",
    "deeplabv1_camvid",
    "deeplabv3_camvid",
    "lraspp_camvid",
    "unet_camvid",
    "unet_add_camvid",
    "unetpp_camvid",
    "hrnet_w18_small_camvid",
)
SCORES = {"mIoU": "mIoU", "pixel_accuracy": "pixel accuracy", "mean_boundary_F": "boundary F"}
RESULTS, PICTURE = "compare_segmenters.json", "compare_segmenters.png"
SHOWN = 3  # images of the figure


def measure(name: str, seed: int, out: Path, quick: bool) -> tuple[Row, VisionDataset]:
    """One recipe: trained, or trained further where it was stopped, scored once, and timed."""
    config = saccade.recipe(name)
    config.out, config.seed = str(out / "quick" if quick else out), seed  # a try is never gone on from
    data = None
    if quick:
        config.epochs, config.data.size, config.data.workers = 1, (64, 64), 0
        if "backbone" in config.model_args:
            config.model_args["backbone"] = "mobilenet_v3_small"
        train, test = (DigitScenes("segmentation", split, count=4, size=(64, 64)) for split in ("train", "test"))
        data = Datasets(train, None, test)
    run = fit(config, resume=True, data=data)
    model = saccade.load(run.model_path)
    test = data.test if data else open_dataset("camvid", "val", task="segmentation")
    row = {
        "model": config.model,
        **{key: run.metrics[key] for key in SCORES},
        **cost(model, quick),
        "minutes": run.history[-1]["minutes"],
        "epochs": config.epochs,
        "seed": seed,
        "quick": quick,
        "machine": machine(),
        "path": str(run.model_path),
    }
    levels = getattr(model, "prune_levels", ())
    row["pruned"] = {level: pruned(model, level, test, quick) for level in levels}
    return row, test


def cost(model: Model, quick: bool) -> Row:
    """Parameters, and time of an image by the runtime that a checkpoint gets by default."""
    runtime, rounds = (FusedRuntime(model), 2) if quick else (best_cpu_runtime(model), 50)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ms": milliseconds(runtime, model.input_spec, rounds),
    }


def pruned(model: Model, level: int, test: VisionDataset, quick: bool) -> Row:
    """UNet++ cut down to one of its depths: what is left of score, size and time."""
    smaller = model.pruned(level)
    report = evaluate(EagerRuntime(smaller), test, batch_size=4)
    return {**{key: report.values[key] for key in SCORES}, **cost(smaller, quick)}


def table(results: Mapping[str, Row]) -> str:
    rows = {f"`{name}`": row for name, row in results.items()}
    for name, row in results.items():
        for level, part in row["pruned"].items():
            rows[f"`{name}`, pruned to L{level}"] = {**row, **part}

    def cells(name: str, row: Row) -> list[str]:
        figures = [f"{row[key]:.3f}" for key in SCORES]
        return [name, *figures, f"{row['parameters'] / 1e6:.2f} M", f"{row['ms']:.1f}", f"{row['minutes']:.1f}"]

    titles = ("recipe", *SCORES.values(), "parameters", "ms an image", "minutes of training")
    return markdown(titles, rows, cells)


def draw(results: Mapping[str, Row], test: VisionDataset, file: Path) -> None:
    """A row an image: the ground truth, and what each network makes of it."""
    from saccade.tasks import get_task

    task, tiles = get_task("segmentation"), []
    indices = np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(int).tolist()
    models = [saccade.load(row["path"]) for row in results.values()]
    for index in indices:
        sample = test.read(index)
        sample.info.image = sample.image
        tiles.append(task.from_target(sample.target, sample.info, test.info.class_names).plot())
        tiles += [next(iter(saccade.predict(model, sample.image))).plot() for model in models]
    write_image(file, montage(tiles, columns=len(models) + 1, cell=320))


def compare(file: Path, recipes: Sequence[str], seed: int, quick: bool) -> str:
    """Measures the recipes that ``file`` does not hold yet; the runs and the figure lie beside it."""
    tests: list[VisionDataset] = []

    def measured(name: str) -> Row:
        row, test = measure(name, seed, file.parent, quick)
        tests.append(test)
        return row

    done = measure_runs(file, recipes, {"seed": seed, "quick": quick}, measured, table)
    chosen = {name: done[name] for name in recipes}
    result = table(chosen)
    print(result, flush=True)
    test = tests[0] if tests else open_dataset("camvid", "val", task="segmentation")
    draw(chosen, test, file.parent / PICTURE)
    print(f"figure: {file.parent / PICTURE}")
    return result


def main(out: Path, recipes: tuple[str, ...] = ("unetpp_camvid",), seed: int = 0, quick: bool = True) -> str:
    """A quick try; the command line asks for more."""
    return compare(out / RESULTS, recipes, seed, quick)


if __name__ == "__main__":
    parser = options(__doc__, "recipes", RECIPES, "runs/compare_segmenters")
    arguments = parser.parse_args()
    main(arguments.out, tuple(arguments.recipes), arguments.seed, arguments.quick)
