"""What focal loss is worth: against cross entropy, beside SSD with its hard negatives, and with wrong labels.

python examples/focal_loss.py                                  # twelve runs on small pictures of blood cells (BCCD)
python examples/focal_loss.py --runs cross_entropy focal_2     # some of them
python examples/focal_loss.py --out runs/focal --seed 1        # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from _runs import METRICS, Row, cell_settings, few_or_all, markdown, quick_options, run_options, scores, train_runs

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.sample import Sample, Target


class Run(NamedTuple):
    """One row of the table."""

    title: str
    arguments: Mapping[str, Any] = MappingProxyType({})
    model: str = "retinanet"
    changed: float = 0.0  # share of the training labels that are replaced by another


# alpha beside each gamma is the best of table 1 of the paper.
CROSS_ENTROPY = {"alpha": None, "gamma": 0.0}
RUNS = {
    "cross_entropy": Run("RetinaNet, cross entropy", CROSS_ENTROPY),
    "balanced_25": Run("RetinaNet, cross entropy, alpha 0.25", {"alpha": 0.25, "gamma": 0.0}),
    "balanced_75": Run("RetinaNet, cross entropy, alpha 0.75", {"alpha": 0.75, "gamma": 0.0}),
    "focal_05": Run("RetinaNet, focal, gamma 0.5, alpha 0.5", {"alpha": 0.5, "gamma": 0.5}),
    "focal_2": Run("RetinaNet, focal, gamma 2, alpha 0.25"),
    "focal_5": Run("RetinaNet, focal, gamma 5, alpha 0.25", {"gamma": 5.0}),
    "ssd_mining": Run("SSD, three hard negatives a positive", model="ssd"),
    "ssd_all": Run("SSD, all negatives", {"hard_negative_ratio": None}, model="ssd"),
    "cross_entropy_10": Run("RetinaNet, cross entropy", CROSS_ENTROPY, changed=0.1),
    "focal_2_10": Run("RetinaNet, focal, gamma 2, alpha 0.25", changed=0.1),
    "cross_entropy_30": Run("RetinaNet, cross entropy", CROSS_ENTROPY, changed=0.3),
    "focal_2_30": Run("RetinaNet, focal, gamma 2, alpha 0.25", changed=0.3),
}


class ChangedLabels:
    """A data set in which a share of the objects have another class, always the same objects and classes."""

    def __init__(self, data: VisionDataset, share: float, seed: int) -> None:
        self.data, self.share, self.seed = data, share, seed
        self.info: DatasetInfo = data.info

    def __len__(self) -> int:
        return len(self.data)

    def path(self, index: int) -> str:
        return self.data.path(index)

    def target(self, index: int) -> Target:
        return self._changed(self.data.target(index), index)

    def read(self, index: int) -> Sample:
        sample = self.data.read(index)
        return replace(sample, target=self._changed(sample.target, index))

    def _changed(self, target: Target, index: int) -> Target:
        rng = np.random.default_rng([self.seed, index])
        labels, classes = target["labels"], len(self.info.class_names)
        others = (labels + rng.integers(1, classes, labels.shape)) % classes
        return {**target, "labels": np.where(rng.random(labels.shape) < self.share, others, labels)}


def settings(run: Run, seed: int) -> TrainConfig:
    """The same for every run but for its loss, network and labels."""
    own: dict[str, Any] = {"channels": 64, "anchor_size": 12, "normalized": True}
    if run.model == "ssd":  # its canvas is a square
        own = {"size": 128, "levels": 4, "scales": (0.07, 0.5)}
    config = cell_settings(run.model, {"backbone": "resnet18", **own, **run.arguments})
    if run.model == "ssd":
        config.data.size = (128, 128)
    config.seed = seed
    return config


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        changed = f"{100 * row['changed']:.0f} %"
        return [row["title"], changed, *scores(row), str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("loss", "labels changed", *METRICS, "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "ssd_all", "focal_2_30"))


def compare(given: argparse.Namespace) -> str:
    names = {f"{name}_{given.seed}": RUNS[name] for name in given.runs}

    def data(key: str, config: TrainConfig) -> Datasets:
        """Training images, with some labels changed, and test images, whose labels are right."""
        found = few_or_all(key, config)
        changed = names[key].changed
        return replace(found, train=ChangedLabels(found.train, changed, given.seed)) if changed else found

    def describe(key: str, run: RunResult) -> Row:
        return {"title": names[key].title, "changed": names[key].changed}

    configs = {key: settings(run, given.seed) for key, run in names.items()}
    return train_runs(given.out / "focal_loss.json", configs, given, describe, table, data)


if __name__ == "__main__":
    compare(run_options(__doc__, list(RUNS), "runs/focal_loss").parse_args())
