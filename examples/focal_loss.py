"""What focal loss is worth: against cross entropy, beside SSD with its hard negatives, and with wrong labels.

python examples/focal_loss.py                                  # twelve runs on crowded scenes of digits, 128 pixels
python examples/focal_loss.py --runs cross_entropy focal_2     # some of them
python examples/focal_loss.py --minutes 1                      # each run stops after the epoch that passes a minute
python examples/focal_loss.py --out runs/focal --seed 1        # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from _runs import METRICS, Row, add_length, crowded_settings, machine, markdown, measure_runs, options, scenes, scores

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
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
RESULTS = "focal_loss.json"


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


def settings(name: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same settings for every run."""
    run = RUNS[name]
    if run.model == "ssd":  # as many levels as RetinaNet has
        own: dict[str, Any] = {"size": size, "levels": 5 if size >= 128 else 4}
    else:
        own = {"channels": 64, "anchor_size": 12}  # digits are 14 to 48 pixels high at 128
    config = crowded_settings(f"{name}_{seed}", run.model, {"backbone": "resnet18", **own, **run.arguments}, size)
    config.epochs, config.seed, config.out = epochs, seed, str(out)
    return config


def datasets(changed: float, seed: int, size: int, count: int | None) -> Datasets:
    """Training scenes, with some labels changed, and test scenes, whose labels are right."""
    data = scenes(size, count)
    return replace(data, train=ChangedLabels(data.train, changed, seed)) if changed else data


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        changed = f"{100 * row['changed']:.0f} %"
        return [row["title"], changed, *scores(row), str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]

    titles = ("loss", "labels changed", *METRICS, "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(
    out: Path,
    runs: tuple[str, ...] = ("ssd_all", "focal_2_30"),
    seed: int = 0,
    epochs: int = 1,
    size: int = 64,
    count: int | None = 8,
    minutes: float | None = None,
) -> str:
    asked = {"epochs": epochs, "size": size, "count": count, "minutes": minutes}
    names = {f"{name}_{seed}": name for name in runs}

    def measure(key: str) -> Row:
        config = settings(names[key], seed, out, epochs, size)
        config.max_minutes = minutes
        if count is not None:
            config.data.workers = 0
        run = fit(config, resume=True, data=datasets(RUNS[names[key]].changed, seed, size, count))
        return {
            "title": RUNS[names[key]].title,
            "changed": RUNS[names[key]].changed,
            **{metric: run.metrics[metric] for metric in METRICS},
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
    parser = options(__doc__, "runs", list(RUNS), "runs/focal_loss")
    add_length(parser, 128)
    given = vars(parser.parse_args())
    main(**{**given, "runs": tuple(given["runs"])})
