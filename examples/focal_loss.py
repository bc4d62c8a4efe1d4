"""What focal loss is worth: against cross entropy, beside SSD with its hard negatives, and with wrong labels.

python examples/focal_loss.py                                  # twelve runs on crowded scenes of digits, 128 pixels
python examples/focal_loss.py --runs cross_entropy focal_2     # some of them
python examples/focal_loss.py --minutes 1                      # each run stops after the epoch that passes a minute
python examples/focal_loss.py --out runs/focal --seed 1        # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
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
METRICS = ("AP", "AP50", "AP75")


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


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def settings(name: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same settings for every run; none of them was tuned by a score."""
    run = RUNS[name]
    if run.model == "ssd":  # as many levels as RetinaNet has
        own: dict[str, Any] = {"size": size, "levels": 5 if size >= 128 else 4}
    else:
        own = {"channels": 64, "anchor_size": 12}  # digits are 14 to 48 pixels high at 128
    return TrainConfig(
        name=f"{name}_{seed}",
        model=run.model,
        model_args={"backbone": "resnet18", **own, **run.arguments},
        data=DataConfig(
            source="digit_scenes", train="crowded", val=None, test="test", size=(size, size), batch_size=16
        ),
        augment=AugmentConfig(translate=0.05, scale=(0.8, 1.25), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.3, final_factor=0.02),
        ema=EmaConfig(decay=0.99, warmup_steps=50.0),
        clip_norm=10.0,
        epochs=epochs,
        seed=seed,
        out=str(out),
    )


def datasets(changed: float, seed: int, size: int, count: int | None) -> Datasets:
    """Training scenes, with some labels changed, and test scenes, whose labels are right."""
    train, test = (DigitScenes("detection", split, count=count, size=(size, size)) for split in ("crowded", "test"))
    return Datasets(ChangedLabels(train, changed, seed) if changed else train, None, test)


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| loss | labels changed | AP | AP50 | AP75 | epochs | minutes of training | seed |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in results.values():
        scores = " | ".join(f"{row[key]:.3f}" for key in METRICS)
        changed = f"{100 * row['changed']:.0f} %"
        lines.append(
            f"| {row['title']} | {changed} | {scores} | {row['epochs']} | {row['minutes']:.1f} | {row['seed']} |"
        )
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in results.values()})]
    return "\n".join(lines)


def main(
    out: Path,
    runs: tuple[str, ...] = ("ssd_all", "focal_2_30"),
    seed: int = 0,
    epochs: int = 1,
    size: int = 64,
    count: int | None = 8,
    minutes: float | None = None,
) -> str:
    out.mkdir(parents=True, exist_ok=True)
    file = out / RESULTS
    done: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for name in runs:
        config = settings(name, seed, out, epochs, size)
        config.max_minutes = minutes
        asked = {"epochs": epochs, "size": size, "count": count, "minutes": minutes}
        if config.name in done and done[config.name]["asked"] == asked:
            print(f"{config.name} is measured already ({file})", flush=True)
            continue
        if count is not None:
            config.data.workers = 0
        run = fit(config, resume=True, data=datasets(RUNS[name].changed, seed, size, count))
        done[config.name] = {
            "title": RUNS[name].title,
            "changed": RUNS[name].changed,
            **{key: run.metrics[key] for key in METRICS},
            "asked": asked,
            "epochs": len(run.history),
            "minutes": run.history[-1]["minutes"],
            "seed": seed,
            "machine": machine(),
        }
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({name: done[config.name]}), flush=True)
    result = table(done)
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path("runs/focal_loss"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=None, help="of each run; the schedule is not stretched")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=None, help="scenes of each split; all if not given")
    arguments = parser.parse_args()
    main(
        arguments.out,
        tuple(arguments.runs),
        arguments.seed,
        arguments.epochs,
        arguments.size,
        arguments.count,
        arguments.minutes,
    )
