"""Losses of segmentation and a thin class: cross entropy, weighted, focal, Dice, both (CamVid's poles).

python examples/segmentation_losses.py                     # five runs of LR-ASPP
python examples/segmentation_losses.py --runs dice focal   # some of them
python examples/segmentation_losses.py --out runs/losses   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _runs import SEGMENTATION_METRICS, Row, markdown, quick_options, run_options, scores, train_runs

from saccade.data import open_dataset
from saccade.engine.train.config import Phase, TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.recipes.camvid import BACKBONE, camvid
from saccade.structures.kinds import IGNORE_LABEL

THIN = "pole"
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "cross_entropy": ("cross entropy", {}),
    "weighted": ("cross entropy, classes weighted by median frequency", {"class_weights": "median"}),
    "focal": ("focal, gamma 2", {"focal_gamma": 2.0}),
    "dice": ("Dice", {"cross_entropy_weight": 0.0, "dice_weight": 1.0}),
    "both": ("cross entropy + Dice", {"dice_weight": 1.0}),
}


def median_frequency() -> list[float]:
    """Weight of each class: the median frequency over its own, where it occurs (Eigen, Fergus 2015, section 6.3.2)."""
    train = open_dataset("camvid", "train", task="segmentation")
    classes = len(train.info.class_names)
    pixels, images = np.zeros(classes), np.zeros(classes)
    for index in range(len(train)):
        label_map = train.target(index)["label_map"]
        counts = np.bincount(label_map.ravel(), minlength=IGNORE_LABEL + 1)[:classes]
        pixels += counts
        images += (counts > 0) * (label_map != IGNORE_LABEL).sum()
    frequency = pixels / images
    return [float(value) for value in np.median(frequency) / frequency]


def settings(loss: str, seed: int, quick: bool) -> TrainConfig:
    """The settings of the CamVid recipes; only the loss differs."""
    changes = dict(LOSSES[loss][1])
    if changes.get("class_weights") == "median":
        changes["class_weights"] = [] if quick else median_frequency()
    config = camvid("lraspp", model_args={"backbone": BACKBONE}, phases=(Phase(from_epoch=0, model=changes),))
    config.data.workers, config.seed = 0, seed
    return config


def iou_of(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return next((float(row["IoU"]) for row in rows if row["class"] == name), float("nan"))


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        return [row["title"], *scores(row, SEGMENTATION_METRICS), f"{row['thin']:.3f}", f"{row['minutes']:.1f}"]

    titles = ("loss", "mIoU", "pixel accuracy", "boundary F", f"IoU of {THIN}", "minutes of training")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "dice"))


def compare(given: argparse.Namespace) -> str:
    names = {f"{loss}_{given.seed}": loss for loss in given.runs}

    def describe(key: str, run: RunResult) -> Row:
        return {"title": LOSSES[names[key]][0], "thin": iou_of(run.report.per_class if run.report else (), THIN)}

    configs = {key: settings(loss, given.seed, given.quick) for key, loss in names.items()}
    file = given.out / "segmentation_losses.json"
    return train_runs(file, configs, given, describe, table, metrics=SEGMENTATION_METRICS)


if __name__ == "__main__":
    compare(run_options(__doc__, list(LOSSES), "runs/segmentation_losses").parse_args())
