"""Four ways to read a point from a network, at heatmaps of 7, 14 and 28 cells: the comparison of the DSNT paper.

python examples/dsnt_choices.py                                  # 17 runs on 80 faces (facial_keypoints_68)
python examples/dsnt_choices.py --runs js_16 matching_16         # some of them
python examples/dsnt_choices.py --out runs/dsnt                  # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from _runs import Row, few_or_all, markdown, quick_options, run_options, train_runs

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.in_memory import MemoryDataset
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets
from saccade.recipes import get_recipe
from saccade.structures.dataset import DatasetInfo

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STRIDES = (16, 8, 4)
HEADS: dict[str, tuple[str, str, dict[str, Any], tuple[int, ...]]] = {
    "js": ("DSNT, Jensen-Shannon", "dsnt", {"regularizer": "js"}, STRIDES),
    "kl": ("DSNT, Kullback-Leibler", "dsnt", {"regularizer": "kl"}, STRIDES),
    "variance": ("DSNT, variance", "dsnt", {"regularizer": "variance"}, STRIDES),
    "none": ("DSNT, no regulariser", "dsnt", {"regularizer": "none"}, STRIDES),
    "matching": ("heatmap matching", "heatmap_regression", {}, STRIDES),
    "connected": ("fully connected", "coordinate_regression", {}, (16, 8)),  # the features of stride 4 are those of 8
}
RUNS = tuple(f"{head}_{stride}" for head, (*_, strides) in HEADS.items() for stride in strides)
SIDE = 112


def settings(run: str, seed: int) -> TrainConfig:
    """The settings of the recipe ``dsnt_faces`` with smaller faces and fewer epochs; only the head differs."""
    head, _, stride = run.rpartition("_")
    _, model, model_args, _ = HEADS[head]
    config = get_recipe("dsnt_faces")
    config.model, config.model_args = model, {"backbone": "resnet18", "output_stride": int(stride), **model_args}
    config.data.size, config.data.workers, config.epochs, config.seed = (SIDE, SIDE), 0, 80, seed
    return config


def edges_of_a_digit(count: int, side: int) -> MemoryDataset:
    """For a quick try: the middles of the edges of the first digit's box, on a few scenes."""
    scenes = [DigitScenes("detection", "train", count=count, size=(side, side)).read(index) for index in range(count)]
    targets = []
    for scene in scenes:
        x1, y1, x2, y2 = scene.target["boxes"][0].tolist()
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        targets.append({"keypoints": [[[x, y1, 2], [x, y2, 2], [x1, y, 2], [x2, y, 2]]]})
    info = DatasetInfo("edges", "keypoints", ("top", "bottom", "left", "right"), flip_pairs=((0, 0), (1, 1), (2, 3)))
    return MemoryDataset(info, [scene.image for scene in scenes], targets)


def faces(run: str, config: TrainConfig) -> Datasets:
    """The data that the configuration names; for a quick try a few digits."""
    if config.data.source != "digit_scenes":
        return few_or_all(run, config)
    data = edges_of_a_digit(8, config.data.size[0])
    return Datasets(data, None, data)


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        sides = f"{row['cells']} x {row['cells']}"
        figures = f"{row['NME']:.3f}", f"{row['PCK@0.1']:.3f}"
        return [row["title"], sides, *figures, f"{row['macs'] / 1e9:.2f} G", f"{row['minutes']:.1f}"]

    return markdown(("output", "cells", "NME", "PCK@0.1", "multiply-adds", "minutes of training"), results, cells)


def chart(rows: Mapping[str, Row], file: Path) -> Path:
    """Error over the resolution of heatmaps, a line a head."""
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for title, *_ in HEADS.values():
        own = sorted((row["cells"], row["NME"]) for row in rows.values() if row["title"] == title)
        if own:
            axes.plot(*zip(*own, strict=True), marker="o", label=title)
    axes.set(xlabel="cells of a heatmap's side", ylabel="NME", xticks=[SIDE // stride for stride in STRIDES])
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return file


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "js_16", "connected_16"))


def compare(given: argparse.Namespace) -> str:
    names = {f"{run}_{given.seed}": run for run in given.runs}

    def describe(key: str, run: RunResult) -> Row:
        head, _, stride = names[key].rpartition("_")
        model = saccade.load(run.model_path)
        cells = model.input_spec.size[0] // int(stride)
        return {"title": HEADS[head][0], "cells": cells, "macs": saccade.summary(model).macs}

    configs = {key: settings(run, given.seed) for key, run in names.items()}
    file = given.out / "dsnt_choices.json"
    text = train_runs(file, configs, given, describe, table, data=faces, metrics=("NME", "PCK@0.1"))
    print(f"chart: {chart(json.loads(file.read_text()), given.out / 'dsnt_choices.png')}")
    return text


if __name__ == "__main__":
    compare(run_options(__doc__, list(RUNS), "runs/dsnt_choices").parse_args())
