"""What the tricks of YOLOv5's training are worth: one taken away at a time; and anchors of three kinds.

python examples/yolov5_tricks.py                                # all runs on BCCD, yolov5n from scratch
python examples/yolov5_tricks.py --choices "all" "no mosaic"    # some of them
python examples/yolov5_tricks.py --out runs/tricks --seed 1     # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from _runs import METRICS, Row, machine, markdown, measure_runs, options, scenes, scores

from saccade.engine.train.auto_anchor import object_sizes
from saccade.engine.train.config import EmaConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets, open_datasets
from saccade.models.checkpoint import load_model
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.ops.auto_anchor import best_possible_recall
from saccade.ops.kmeans_anchors import kmeans_anchors
from saccade.recipes import get_recipe
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec

RESULTS = "yolov5_tricks.json"


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
    config.data.sampler = "balanced"


def with_auto_anchor(config: TrainConfig) -> None:
    config.auto_anchor = True


def unchanged(config: TrainConfig) -> None:
    """All tricks; anchors of COCO."""


# "all" has the recipe's tricks and multi-scale; copy-paste needs masks, which blood cells have not.
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


def run_name(choice: str, seed: int) -> str:
    return f"{choice.replace(' ', '_').replace(':', '')}_{seed}"


def settings(choice: str, seed: int, out: Path, epochs: int | None) -> TrainConfig:
    """The recipe with multi-scale, and one thing changed; none of it was tuned by a score."""
    config = get_recipe("yolov5n_bccd")
    config.name = run_name(choice, seed)
    config.augment.multiscale_range, config.augment.multiscale_every = (0.75, 1.25), 1
    config.seed, config.out = seed, str(out)
    config.epochs = config.epochs if epochs is None else epochs
    CHOICES[choice](config)
    return config


def kmeans_levels(train: VisionDataset, spec: InputSpec) -> list[list[list[float]]]:
    """Nine anchors by k-means alone, three a level."""
    found = kmeans_anchors(object_sizes(train, spec), 9, seed=0)
    rows = found[found.prod(dim=1).argsort()].tolist()
    return [rows[first : first + 3] for first in (0, 3, 6)]


def measure(choice: str, config: TrainConfig, data: Datasets) -> Row:
    spec = InputSpec(config.data.size or (640, 640), resize="letterbox", pad_multiple=32)
    sizes = object_sizes(data.train, spec)
    if choice == "anchors: k-means":
        config.model_args["anchors"] = kmeans_levels(data.train, spec)
    run = fit(config, resume=True, data=data)
    kept = load_model(run.model_path)
    assert isinstance(kept, AnchorYOLO)
    return {
        "choice": choice,
        **{key: run.metrics[key] for key in METRICS},
        "recall": best_possible_recall(sizes, kept.anchor_sizes),
        "minutes": run.history[-1]["minutes"],
        "epochs": config.epochs,
        "seed": config.seed,
        "machine": machine(),
    }


def table(results: Mapping[str, Row]) -> str:
    def cells(name: str, row: Row) -> list[str]:
        rest = [f"{row['recall']:.4f}", str(row["epochs"]), f"{row['minutes']:.1f}", str(row["seed"])]
        return [row["choice"], *scores(row), *rest]

    titles = ("yolov5n", *METRICS, "best possible recall", "epochs", "minutes of training", "seed")
    return markdown(titles, results, cells)


def main(
    out: Path,
    choices: tuple[str, ...] = ("anchors: AutoAnchor",),
    seed: int = 0,
    epochs: int | None = 1,
    quick: bool = True,
) -> str:
    asked = {"epochs": epochs, "quick": quick}
    names = {run_name(choice, seed): choice for choice in choices}

    def measured(key: str) -> Row:
        config = settings(names[key], seed, out, epochs)
        if quick:  # a few scenes, so that a try takes seconds
            config.data.workers, config.data.size, config.phases = 0, (64, 64), ()
        return {**measure(names[key], config, scenes(64, 8) if quick else open_datasets(config)), "asked": asked}

    result = table(measure_runs(out / RESULTS, names, {"asked": asked}, measured, table))
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = options(__doc__, "choices", list(CHOICES), "runs/yolov5_tricks")
    parser.add_argument("--epochs", type=int, default=None, help="the recipe's if not given")
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), arguments.seed)
    else:
        main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.epochs, quick=False)
