"""What two ideas of U-Net are worth on neuron membranes: elastic deformation, and the weight map for touching cells.

python examples/unet_choices.py                                # four runs of three seeds (isbi2012_membrane)
python examples/unet_choices.py --runs both neither            # some of them
python examples/unet_choices.py --seeds 0                      # one seed
python examples/unet_choices.py --base-channels 16             # networks of half the width
python examples/unet_choices.py --out runs/unet                # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from _runs import SEGMENTATION_METRICS, Row, few_or_all, markdown, quick_options, run_options, scores, train_runs

from saccade.data.derived.border_weights import BorderWeighted
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.predict import predict
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets
from saccade.metrics.merged_cells import count_cells
from saccade.models.checkpoint import load_model
from saccade.recipes.unet import isbi

CHOICES: dict[str, tuple[str, dict[str, bool]]] = {
    "both": ("elastic deformation and weight map", {"elastic": True, "border": True}),
    "elastic": ("elastic deformation", {"elastic": True, "border": False}),
    "weights": ("weight map", {"elastic": False, "border": True}),
    "neither": ("neither", {"elastic": False, "border": False}),
}
SEEDS = (0, 1, 2)


def open_data(name: str, config: TrainConfig) -> Datasets:
    """The data that the configuration names; the digits of a quick try have the weights that it asks for as well."""
    datasets = few_or_all(name, config)
    if config.data.source == "digit_scenes" and config.data.border.weight:
        datasets.train = BorderWeighted(datasets.train, config.data.border.weight, config.data.border.sigma)
    return datasets


def cells_of(run: RunResult, datasets: Datasets) -> Row:
    """True, predicted and merged cells of all test images."""
    data = datasets.test
    assert data is not None
    samples = [data.read(index) for index in range(len(data))]
    results = predict(EagerRuntime(load_model(run.model_path)), [sample.image for sample in samples])
    counts = np.sum(
        [
            count_cells(result.label_map, sample.target["label_map"])
            for result, sample in zip(results, samples, strict=True)
        ],
        axis=0,
    )
    return dict(zip(("true_cells", "predicted_cells", "merged_cells"), counts.tolist(), strict=True))


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        counts = [str(row[key]) for key in ("true_cells", "predicted_cells", "merged_cells")]
        return [row["title"], *scores(row, SEGMENTATION_METRICS), *counts, f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("U-Net with", "mIoU", "pixel accuracy", "boundary F", "cells", "predicted", "merged", "minutes", "seed")
    means = {}
    for title in dict.fromkeys(row["title"] for row in results.values()):
        rows = [row for row in results.values() if row["title"] == title]
        if len(rows) > 1:
            keys = (*SEGMENTATION_METRICS, "minutes")
            counted = ("true_cells", "predicted_cells", "merged_cells")
            mean = {key: float(np.mean([row[key] for row in rows])) for key in keys}
            mean |= {key: round(float(np.mean([row[key] for row in rows])), 1) for key in counted}
            means[f"mean {title}"] = {**rows[0], **mean, "seed": f"mean of {len(rows)}"}
    return markdown(titles, {**results, **means}, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    given = quick_options(out, "both")
    given.seeds, given.base_channels = (0,), 8
    return compare(given)


def compare(given: argparse.Namespace) -> str:
    width = given.base_channels
    names = {f"unet{width}_{choice}_{seed}": (choice, seed) for seed in given.seeds for choice in given.runs}
    configs = {}
    for key, (choice, seed) in names.items():
        configs[key] = isbi(**CHOICES[choice][1])
        configs[key].seed, configs[key].data.workers = seed, 0
        configs[key].model_args = {"base_channels": width}

    def describe(key: str, run: RunResult) -> Row:
        return {"title": CHOICES[names[key][0]][0], **cells_of(run, open_data(key, configs[key]))}

    file = given.out / "unet_choices.json"
    return train_runs(file, configs, given, describe, table, open_data, metrics=SEGMENTATION_METRICS)


if __name__ == "__main__":
    parser = run_options(__doc__, list(CHOICES), "runs/unet_choices")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="in place of --seed")
    parser.add_argument("--base-channels", type=int, default=32, help="of the first level; 64 in the paper")
    compare(parser.parse_args())
