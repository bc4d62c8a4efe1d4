"""Four ways to find objects of all sizes, figure 1 of the FPN paper: accuracy and time under the same heads.

python examples/pyramids.py                                # four runs on crowded scenes of digits, 96 pixels
python examples/pyramids.py --designs fpn hierarchy        # some of them; the image pyramid takes most of the time
python examples/pyramids.py --minutes 1                    # each run stops after the epoch that passes a minute
python examples/pyramids.py --out runs/pyramids --seed 1   # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets

DESIGNS = {
    "image": "(a) featurised image pyramid",
    "single": "(b) single feature map",
    "hierarchy": "(c) pyramidal feature hierarchy",
    "fpn": "(d) feature pyramid network",
}
RESULTS = "pyramids.json"
METRICS = ("AP", "AP50", "AP75")


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def milliseconds(model: Any, rounds: int) -> float:
    """Time of one image, with decoding and suppression, in torch with folded BatchNorm."""
    runtime = FusedRuntime(model)
    image = torch.randint(0, 256, (1, 3, *model.input_spec.size), dtype=torch.uint8)
    for _ in range(2):
        runtime(image)
    start = time.perf_counter()
    for _ in range(rounds):
        runtime(image)
    return 1000 * (time.perf_counter() - start) / rounds


def settings(design: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same settings for every design; none of them was tuned by a score."""
    return TrainConfig(
        name=f"pyramid_{design}_{seed}",
        model="retinanet",
        # Digits are 10 to 36 pixels high at 96, so that three of the five sizes of anchors have objects.
        model_args={"backbone": "resnet18", "channels": 64, "anchor_size": 8, "pyramid": design},
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


def datasets(size: int, count: int | None) -> Datasets:
    """Crowded scenes to train, ordinary ones to test."""
    train, test = (DigitScenes("detection", split, count=count, size=(size, size)) for split in ("crowded", "test"))
    return Datasets(train, None, test)


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| pyramid | AP | AP50 | AP75 | parameters | ms an image | epochs | minutes of training | seed |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for row in results.values():
        scores = " | ".join(f"{row[key]:.3f}" for key in METRICS)
        cost = f"{row['parameters'] / 1e6:.1f} M | {row['ms']:.1f}"
        lines.append(f"| {row['title']} | {scores} | {cost} | {row['epochs']} | {row['minutes']:.1f} | {row['seed']} |")
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in results.values()})]
    return "\n".join(lines)


def main(
    out: Path,
    designs: tuple[str, ...] = ("image",),
    seed: int = 0,
    epochs: int = 1,
    size: int = 32,
    count: int | None = 8,
    minutes: float | None = None,
) -> str:
    out.mkdir(parents=True, exist_ok=True)
    file = out / RESULTS
    done: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for design in designs:
        config = settings(design, seed, out, epochs, size)
        config.max_minutes = minutes
        asked = {"epochs": epochs, "size": size, "count": count, "minutes": minutes}
        if config.name in done and done[config.name]["asked"] == asked:
            print(f"{config.name} is measured already ({file})", flush=True)
            continue
        if count is not None:
            config.data.workers = 0
        run = fit(config, resume=True, data=datasets(size, count))
        model = saccade.load(run.model_path)
        done[config.name] = {
            "title": DESIGNS[design],
            **{key: run.metrics[key] for key in METRICS},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "ms": milliseconds(model, 100 if count is None else 3),
            "asked": asked,
            "epochs": len(run.history),
            "minutes": run.history[-1]["minutes"],
            "seed": seed,
            "machine": machine(),
        }
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({design: done[config.name]}), flush=True)
    result = table(done)
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--out", type=Path, default=Path("runs/pyramids"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=None, help="of each run; the schedule is not stretched")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--count", type=int, default=None, help="scenes of each split; all if not given")
    arguments = parser.parse_args()
    main(
        arguments.out,
        tuple(arguments.designs),
        arguments.seed,
        arguments.epochs,
        arguments.size,
        arguments.count,
        arguments.minutes,
    )
