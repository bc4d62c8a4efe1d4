"""What the tricks of YOLOv5's training are worth: one taken away at a time; and anchors of three kinds.

python examples/yolov5_tricks.py                                # all runs on small pictures of blood cells (BCCD)
python examples/yolov5_tricks.py --runs "all" "no mosaic"       # some of them
python examples/yolov5_tricks.py --out runs/tricks --seed 1     # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from _runs import METRICS, Row, cell_settings, few_or_all, markdown, quick_options, run_options, scores, train_runs
from torch import Tensor

from saccade.engine.train.auto_anchor import object_sizes
from saccade.engine.train.config import EmaConfig, Phase, TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.setup import Datasets
from saccade.models.checkpoint import load_model
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.ops.auto_anchor import best_possible_recall
from saccade.ops.kmeans_anchors import kmeans_anchors
from saccade.structures.input_spec import InputSpec


def without_mosaic(config: TrainConfig) -> None:
    config.augment.mosaic = 0.0
    config.phases = tuple(phase for phase in config.phases if not phase.augment)


def with_mosaic_to_the_end(config: TrainConfig) -> None:
    config.phases = tuple(phase for phase in config.phases if not phase.augment)


def without_affine(config: TrainConfig) -> None:
    config.augment = replace(config.augment, translate=0.0, scale=(1.0, 1.0))


def without_colours(config: TrainConfig) -> None:
    config.augment.hsv = (0.0, 0.0, 0.0)


def without_flips(config: TrainConfig) -> None:
    config.augment = replace(config.augment, flip=0.0, flip_vertical=0.0)


def without_multiscale(config: TrainConfig) -> None:
    config.augment.multiscale_range = None


def without_average(config: TrainConfig) -> None:
    config.ema = EmaConfig()


def without_cosine(config: TrainConfig) -> None:
    config.schedule.name = "constant"


def without_warmup(config: TrainConfig) -> None:
    config.schedule.warmup_epochs = 0.0


def with_mixup(config: TrainConfig) -> None:
    config.augment.mixup = 0.15
    config.phases = tuple(
        replace(phase, augment={**phase.augment, "mixup": 0.0}) if phase.augment else phase for phase in config.phases
    )


def with_balanced_sampling(config: TrainConfig) -> None:
    config.data.balance = "full"


def with_auto_anchor(config: TrainConfig) -> None:
    config.auto_anchor = True


def unchanged(config: TrainConfig) -> None:
    """All tricks; anchors of COCO."""


# "all" has the tricks of ``yolov5n_bccd`` and multi-scale; copy-paste needs masks, which blood cells have not.
CHOICES: dict[str, Callable[[TrainConfig], None]] = {
    "all": unchanged,
    "no mosaic": without_mosaic,
    "mosaic to the end": with_mosaic_to_the_end,
    "no affine": without_affine,
    "no HSV": without_colours,
    "no flips": without_flips,
    "no multi-scale": without_multiscale,
    "no EMA": without_average,
    "no cosine": without_cosine,
    "no warm-up": without_warmup,
    "mixup too": with_mixup,
    "balanced sampling too": with_balanced_sampling,
    "anchors: k-means": unchanged,
    "anchors: AutoAnchor": with_auto_anchor,
}


def settings(choice: str, seed: int) -> TrainConfig:
    """Small pictures of blood cells with multi-scale, and one thing changed; none of it was tuned by a score."""
    config = cell_settings("yolov5n", {})
    config.seed, config.epochs, config.optimizer.lr = seed, 30, 2e-3
    config.phases = (Phase(from_epoch=-8, augment={"mosaic": 0.0}),)
    config.augment.multiscale_range, config.augment.multiscale_every = (0.75, 1.25), 1
    CHOICES[choice](config)
    return config


def kmeans_levels(sizes: Tensor) -> list[list[list[float]]]:
    """Nine anchors by k-means alone, three a level."""
    found = kmeans_anchors(sizes, 9, seed=0)
    rows = found[found.prod(dim=1).argsort()].tolist()
    return [rows[first : first + 3] for first in (0, 3, 6)]


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        rest = [f"{row['recall']:.4f}", str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]
        return [row["choice"], *scores(row), *rest]

    titles = ("yolov5n", *METRICS, "best possible recall", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(out: Path) -> str:
    """A quick try; the command line asks for more."""
    return compare(quick_options(out, "anchors: AutoAnchor"))


def compare(given: argparse.Namespace) -> str:
    names = {f"{choice.replace(' ', '_').replace(':', '')}_{given.seed}": choice for choice in given.runs}

    def sizes(config: TrainConfig) -> Tensor:
        """Widths and heights of the training objects on the canvas."""
        spec = InputSpec(config.data.size or (640, 640), resize="letterbox", pad_multiple=32)
        return object_sizes(few_or_all("", config).train, spec)

    def data(key: str, config: TrainConfig) -> Datasets:
        if names[key] == "anchors: k-means":
            config.model_args["anchors"] = kmeans_levels(sizes(config))
        return few_or_all(key, config)

    def describe(key: str, run: RunResult) -> Row:
        kept = load_model(run.model_path)
        assert isinstance(kept, AnchorYOLO)
        return {"choice": names[key], "recall": best_possible_recall(sizes(configs[key]), kept.anchor_sizes)}

    configs = {key: settings(choice, given.seed) for key, choice in names.items()}
    return train_runs(given.out / "yolov5_tricks.json", configs, given, describe, table, data)


if __name__ == "__main__":
    compare(run_options(__doc__, list(CHOICES), "runs/yolov5_tricks").parse_args())
