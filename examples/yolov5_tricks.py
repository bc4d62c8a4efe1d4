"""What the tricks of YOLOv5's training are worth: one taken away at a time; and anchors of three kinds.

python examples/yolov5_tricks.py                                # all runs on BCCD, yolov5n from scratch
python examples/yolov5_tricks.py --choices "all" "no mosaic"    # some of them
python examples/yolov5_tricks.py --out runs/tricks --seed 1     # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.deploy.precision import has_bf16
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
METRICS = ("AP", "AP50", "AP75")


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


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def settings(choice: str, seed: int, out: Path, epochs: int | None) -> TrainConfig:
    """The recipe with multi-scale, and one thing changed; none of it was tuned by a score."""
    config = get_recipe("yolov5n_bccd")
    config.name = f"{choice.replace(' ', '_').replace(':', '')}_{seed}"
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


def tiny() -> Datasets:
    """A few scenes, so that a try takes seconds."""
    train, test = (DigitScenes("detection", split, count=8, size=(64, 64)) for split in ("crowded", "test"))
    return Datasets(train, None, test)


def measure(choice: str, config: TrainConfig, data: Datasets) -> dict[str, Any]:
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


def table(results: dict[str, dict[str, Any]]) -> str:
    titles = ("yolov5n", *METRICS, "best possible recall", "epochs", "minutes of training", "seed")
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for row in results.values():
        scores = " | ".join(f"{row[key]:.3f}" for key in METRICS)
        rest = f"{row['recall']:.4f} | {row['epochs']} | {row['minutes']:.1f} | {row['seed']}"
        lines.append(f"| {row['choice']} | {scores} | {rest} |")
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in results.values()})]
    return "\n".join(lines)


def main(
    out: Path,
    choices: tuple[str, ...] = ("anchors: AutoAnchor",),
    seed: int = 0,
    epochs: int | None = 1,
    quick: bool = True,
) -> str:
    out.mkdir(parents=True, exist_ok=True)
    file = out / RESULTS
    done: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for choice in choices:
        config = settings(choice, seed, out, epochs)
        asked = {"epochs": epochs, "quick": quick}
        if config.name in done and done[config.name]["asked"] == asked:
            print(f"{config.name} is measured already ({file})", flush=True)
            continue
        if quick:
            config.data.workers, config.data.size, config.phases = 0, (64, 64), ()
        data = tiny() if quick else open_datasets(config)
        done[config.name] = {**measure(choice, config, data), "asked": asked}
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({choice: done[config.name]}), flush=True)
    result = table(done)
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--out", type=Path, default=Path("runs/yolov5_tricks"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=None, help="the recipe's if not given")
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), arguments.seed)
    else:
        main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.epochs, quick=False)
