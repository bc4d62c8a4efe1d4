"""Five detectors on blood cells (BCCD), from scratch, with one budget of training images.

python examples/compare_detectors.py                            # all five
python examples/compare_detectors.py --recipes fcos_r18_bccd    # one of them
python examples/compare_detectors.py --out runs/compare         # folder of the runs; a stopped one goes on from there
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
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import FusedRuntime, best_cpu_runtime
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets

RECIPES = ("ssdlite_bccd", "retinanet_r18_bccd", "fcos_r18_bccd", "centernet_r18_bccd", "yolox_tiny_bccd")
IMAGES = 292  # of train + val, once an epoch
RESULTS = "compare_detectors.json"


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def milliseconds(model: Any, quick: bool) -> float:
    """Time of one image, with decoding and suppression, in the runtime that a checkpoint gets by default."""
    # Preparing that one takes longer than a try may.
    runtime, rounds = (FusedRuntime(model), 3) if quick else (best_cpu_runtime(model), 200)
    image = torch.randint(0, 256, (1, 3, *model.input_spec.size), dtype=torch.uint8)
    for _ in range(3):
        runtime(image)
    start = time.perf_counter()
    for _ in range(rounds):
        runtime(image)
    return 1000 * (time.perf_counter() - start) / rounds


def tiny() -> Datasets:
    """A few scenes of digits, so that a try takes seconds."""
    train, test = (DigitScenes("detection", split, count=8, size=(64, 64)) for split in ("train", "test"))
    return Datasets(train, None, test)


def measure(name: str, seed: int, out: Path, quick: bool) -> dict[str, Any]:
    """One recipe: trained, or trained further where it was stopped, scored once, and timed."""
    config = saccade.recipe(name)
    config.out, config.seed = str(out / "quick" if quick else out), seed  # a try is never gone on from
    if quick:
        config.epochs, config.phases, config.data.size, config.data.workers = 1, (), (64, 64), 0
    run = fit(config, resume=True, data=tiny() if quick else None)
    model = saccade.load(run.model_path)
    return {
        "model": config.model,
        **{key: run.metrics[key] for key in ("AP", "AP50", "AP75")},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ms": milliseconds(model, quick),
        "minutes": run.history[-1]["minutes"],
        "images": config.epochs * (8 if quick else IMAGES),
        "seed": seed,
        "quick": quick,
        "machine": machine(),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| recipe | AP | AP50 | AP75 | parameters | ms an image | images seen | minutes of training | seed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in results.items():
        scores = " | ".join(f"{row[key]:.3f}" for key in ("AP", "AP50", "AP75"))
        cost = f"{row['parameters'] / 1e6:.2f} M | {row['ms']:.1f} | {row['images']:,}"
        lines.append(f"| `{name}` | {scores} | {cost} | {row['minutes']:.1f} | {row['seed']} |")
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in results.values()})]
    return "\n".join(lines)


def main(out: Path, recipes: tuple[str, ...] = RECIPES[2:3], seed: int = 0, quick: bool = True) -> str:
    out.mkdir(parents=True, exist_ok=True)
    file = out / RESULTS
    done: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else {}
    for name in recipes:
        if name in done and (done[name]["seed"], done[name]["quick"]) == (seed, quick):
            print(f"{name} is measured already ({file})", flush=True)
            continue
        done[name] = measure(name, seed, out, quick)
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({name: done[name]}), flush=True)
    result = table({name: done[name] for name in recipes})
    print(result, flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("runs/compare_detectors"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch of a few small scenes: does it run?")
    arguments = parser.parse_args()
    main(arguments.out, tuple(arguments.recipes), arguments.seed, arguments.quick)
