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
from pathlib import Path

SPACE = (
    "optimizer.lr=3e-4:1e-2:log",
    "optimizer.weight_decay=1e-3:1e-1:log",
    "augment.mosaic=0:1",
    "augment.translate=0:0.2",
    "ema.decay=0.98:0.999",
)


def command(arguments: argparse.Namespace) -> list[str]:
    words = ["--recipe", arguments.recipe, "--trials", str(arguments.trials), "--sampler", arguments.sampler]
    words += ["--out", str(arguments.out), *(word for one in SPACE for word in ("--space", one))]
    if arguments.epochs is not None:
        words += ["--epochs", str(arguments.epochs)]
    return [sys.executable, "-m", "saccade", "tune", *words]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="yolov5n_digits")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--kill-after", type=int, default=5, help="whole trials before the kill")
    parser.add_argument("--out", type=Path, default=Path("runs/yolov5n_digits_tune"))
    arguments = parser.parse_args()
    words = command(arguments)
    seconds = kill_in_trial(words, arguments.out, arguments.kill_after)
    print(f"killed with -9 after {seconds / 60:.1f} minutes, in trial {arguments.kill_after}; resuming")
    import saccade

    found = saccade.tune(out=arguments.out, resume=True)
    states = [str(row["state"]) for row in found.trials]
    counts = {state: sum(one.startswith(state) for one in states) for state in ("complete", "pruned", "failed")}
    recipe = "-" if found.recipe_value is None else f"{found.recipe_value:.4f}"
    minutes = sum(row["minutes"] or 0.0 for row in found.trials)
    print(f"\n| | {found.metric} |\n|---|---|\n| the recipe | {recipe} |\n| best of {len(states)} trials |", end="")
    print(f" {found.best_value:.4f} |\n\n{counts}, {minutes:.1f} minutes of training; values {found.best_values}")
    result = {"metric": found.metric, "recipe": found.recipe_value, "best": found.best_value, "minutes": minutes}
    text = json.dumps(result | {"values": found.best_values, "trials": found.trials}, indent=1)
    (arguments.out / "tune_digits.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
