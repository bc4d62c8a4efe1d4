"""What the choices of FCOS are worth: centre-ness, centre sampling, C binary classifiers against one softmax.

python examples/fcos_choices.py                                # five runs on crowded scenes of digits, 160 pixels
python examples/fcos_choices.py --choices default softmax      # some of them
python examples/fcos_choices.py --out runs/fcos --seed 1       # folder of the runs; a stopped one goes on from there
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets

CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "no centre-ness": {"centerness": False},
    "no centre sampling": {"center_sampling": False},
    "neither": {"centerness": False, "center_sampling": False},
    "softmax": {"classifier": "softmax"},
}
RESULTS = "fcos_choices.json"
METRICS = ("AP", "AP50", "AP75")


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def settings(choice: str, seed: int, out: Path, epochs: int, size: int) -> TrainConfig:
    """The same run for every choice; none of it was tuned by a score."""
    ranges = (24.0, 48.0, 96.0, 192.0)  # digits are 18 to 60 pixels high at 160, so that three levels have objects
    return TrainConfig(
        name=f"fcos_{choice.replace(' ', '_')}_{seed}",
        model="fcos",
        model_args={"backbone": "resnet18", "channels": 64, "ranges": ranges, **CHOICES[choice]},
        data=DataConfig(
            source="digit_scenes", train="crowded", val=None, test="test", size=(size, size), batch_size=16
        ),
        augment=AugmentConfig(translate=0.05, scale=(0.8, 1.25), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.5, final_factor=0.02),
        ema=EmaConfig(decay=0.998, warmup_steps=300.0),
        clip_norm=10.0,
        epochs=epochs,
        seed=seed,
        out=str(out),
    )


def tiny(size: int) -> Datasets:
    """A few scenes, so that a try takes seconds."""
    train, test = (DigitScenes("detection", split, count=8, size=(size, size)) for split in ("crowded", "test"))
    return Datasets(train, None, test)


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| FCOS | AP | AP50 | AP75 | epochs | minutes of training | seed |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in results.values():
        scores = " | ".join(f"{row[key]:.3f}" for key in METRICS)
        lines.append(f"| {row['choice']} | {scores} | {row['epochs']} | {row['minutes']:.1f} | {row['seed']} |")
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in results.values()})]
    return "\n".join(lines)


def main(
    out: Path,
    choices: tuple[str, ...] = ("softmax",),
    seed: int = 0,
    epochs: int = 1,
    size: int = 64,
    quick: bool = True,
) -> str:
    out.mkdir(parents=True, exist_ok=True)
    file = out / RESULTS
    done: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for choice in choices:
        config = settings(choice, seed, out, epochs, size)
        asked = {"epochs": epochs, "size": size, "quick": quick}
        if config.name in done and done[config.name]["asked"] == asked:
            print(f"{config.name} is measured already ({file})", flush=True)
            continue
        if quick:
            config.data.workers = 0
        run = fit(config, resume=True, data=tiny(size) if quick else None)
        done[config.name] = {
            "choice": choice,
            **{key: run.metrics[key] for key in METRICS},
            "asked": asked,
            "epochs": epochs,
            "minutes": run.history[-1]["minutes"],
            "seed": seed,
            "machine": machine(),
        }
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({choice: done[config.name]}), flush=True)
    result = table(done)
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--out", type=Path, default=Path("runs/fcos_choices"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        main(arguments.out, tuple(arguments.choices), arguments.seed)
    else:
        main(arguments.out, tuple(arguments.choices), arguments.seed, arguments.epochs, arguments.size, quick=False)
