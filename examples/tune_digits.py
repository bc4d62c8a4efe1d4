"""Experiment: a short search beats the recipe that it starts from; killed once on the way, and resumed.

python examples/tune_digits.py                                   # 20 trials of yolov5n_digits, killed in the sixth
python examples/tune_digits.py --trials 3 --kill-after 1 --epochs 1 --out /tmp/t
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import saccade
from saccade.engine.train.configfile import config_to_yaml

SPACE = (
    "optimizer.lr=3e-4:1e-2:log",
    "optimizer.weight_decay=1e-3:1e-1:log",
    "augment.mosaic=0:1",
    "augment.translate=0:0.2",
    "ema.decay=0.98:0.999",
)


def toy(folder: Path) -> tuple[str, ...]:
    """What a try of seconds starts from: LeNet-5 on grey squares of two brightnesses."""
    for name, grey in (("dark", 40), ("light", 200)):
        (folder / "shades" / name).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            cv2.imwrite(str(folder / "shades" / name / f"{number}.png"), np.full((32, 32), grey + number, np.uint8))
    config = saccade.recipe(model="lenet5", data=str(folder / "shades"))
    config.epochs, config.data.workers = 1, 0
    (folder / "toy.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    return "--config", str(folder / "toy.yaml"), *(word for one in SPACE[:2] for word in ("--space", one))


def kill_in_trial(words: list[str], folder: Path, number: int) -> float:
    """Start the search and kill it with -9 once it is in its trial of that number; seconds until then."""
    started = time.monotonic()
    process = subprocess.Popen(words)
    while process.poll() is None and not (folder / "trials" / f"{number:04d}" / "config.yaml").exists():
        time.sleep(0.5)
    if process.poll() is not None:
        raise SystemExit(f"the search ended with code {process.returncode} before it could be killed.")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return time.monotonic() - started


def main(out: Path, start: Sequence[str] | None = None, trials: int = 2, kill_after: int = 1) -> str:
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "search"
    words = [sys.executable, "-m", "saccade", "tune", *(toy(out) if start is None else start)]
    words += ["--trials", str(trials), "--out", str(folder)]
    seconds = kill_in_trial(words, folder, kill_after)
    print(f"killed with -9 after {seconds / 60:.1f} minutes, in trial {kill_after}; resuming", flush=True)
    found = saccade.tune(out=folder, resume=True)
    states = [str(row["state"]) for row in found.trials]
    counts = {state: sum(one.startswith(state) for one in states) for state in ("complete", "pruned", "failed")}
    recipe = "-" if found.recipe_value is None else f"{found.recipe_value:.4f}"
    minutes = sum(row["minutes"] or 0.0 for row in found.trials)
    table = f"| | {found.metric} |\n|---|---:|\n| the recipe | {recipe} |\n"
    table += f"| best of {len(states)} trials | {found.best_value:.4f} |"
    print(f"\n{table}\n\n{counts}, {minutes:.1f} minutes of training; values {found.best_values}", flush=True)
    result = {"metric": found.metric, "recipe": found.recipe_value, "best": found.best_value, "minutes": minutes}
    text = json.dumps(result | {"values": found.best_values, "trials": found.trials}, indent=1)
    (out / "tune_digits.json").write_text(text + "\n", encoding="utf-8")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="yolov5n_digits")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--kill-after", type=int, default=5, help="whole trials before the kill")
    parser.add_argument("--out", type=Path, default=Path("runs/tune_digits"))
    arguments = parser.parse_args()
    given = ["--recipe", arguments.recipe, "--sampler", arguments.sampler]
    given += [word for one in SPACE for word in ("--space", one)]
    if arguments.epochs is not None:
        given += ["--epochs", str(arguments.epochs)]
    main(arguments.out, given, arguments.trials, arguments.kill_after)
