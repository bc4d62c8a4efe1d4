"""What examples share that train a list of named runs: settings on scenes of digits, the loop, timing, the table."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.setup import Datasets

METRICS = ("AP", "AP50", "AP75")
Row = dict[str, Any]  # what is kept of one run


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def milliseconds(runtime: Callable[[Tensor], Any], size: tuple[int, int], rounds: int, unmeasured: int = 2) -> float:
    """Time of one image of that size, mean of some rounds after a few that are not measured."""
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    for _ in range(unmeasured):
        runtime(image)
    start = time.perf_counter()
    for _ in range(rounds):
        runtime(image)
    return 1000 * (time.perf_counter() - start) / rounds


def crowded_settings(name: str, model: str, model_args: dict[str, Any], size: int) -> TrainConfig:
    """One training on crowded scenes of digits, scored on ordinary ones; none of it was tuned by a score."""
    return TrainConfig(
        name=name,
        model=model,
        model_args=model_args,
        data=DataConfig(
            source="digit_scenes", train="crowded", val=None, test="test", size=(size, size), batch_size=16
        ),
        augment=AugmentConfig(translate=0.05, scale=(0.8, 1.25), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.3, final_factor=0.02),
        ema=EmaConfig(decay=0.99, warmup_steps=50.0),
        clip_norm=10.0,
    )


def choice_settings(run: TrainConfig, seed: int, out: Path, epochs: int) -> TrainConfig:
    """A run of :func:`crowded_settings` that is one of several choices: the same for each but for the choice itself."""
    run.epochs, run.seed, run.out = epochs, seed, str(out)
    run.schedule.warmup_epochs, run.ema = 0.5, EmaConfig(decay=0.998, warmup_steps=300.0)
    return run


def scenes(size: int, count: int | None, train: str = "crowded") -> Datasets:
    """Training scenes and test scenes; with a count that many of each."""
    first, second = (DigitScenes("detection", split, count=count, size=(size, size)) for split in (train, "test"))
    return Datasets(first, None, second)


def measure_runs(
    file: Path,
    names: Iterable[str],
    same: Mapping[str, Any],
    measure: Callable[[str], Row],
    table: Callable[[Mapping[str, Row]], str],
) -> dict[str, Row]:
    """Measures each run that ``file`` does not hold yet, prints its row, and keeps it at once.

    Args:
        file: JSON file of the rows by name; a run that was stopped is measured again.
        names: The runs.
        same: What a row has to hold to count as measured with the settings of now.
        measure: Makes the row of a run from its name.
        table: Makes a table of rows.

    Returns:
        All rows of the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Row] = json.loads(file.read_text()) if file.is_file() else {}
    for name in names:
        if name in done and all(done[name].get(key) == value for key, value in same.items()):
            print(f"{name} is measured already ({file})", flush=True)
            continue
        done[name] = measure(name)
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(table({name: done[name]}), flush=True)
    return done


def markdown(titles: Sequence[str], rows: Mapping[str, Row], cells: Callable[[str, Row], Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers, and the machines it was measured on."""
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    lines += [f"| {' | '.join(cells(name, row))} |" for name, row in rows.items()]
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in rows.values()})]
    return "\n".join(lines)


def scores(row: Row) -> list[str]:
    return [f"{row[key]:.3f}" for key in METRICS]


def options(text: str | None, what: str, names: Sequence[str], out: str) -> argparse.ArgumentParser:
    """The command line of such an example: which runs, their folder, their seed."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{what}", nargs="+", default=list(names), choices=list(names))
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seed", type=int, default=0)
    return parser


def add_length(parser: argparse.ArgumentParser, size: int) -> None:
    """Options of how long a run trains, and on what."""
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=None, help="of each run; the schedule is not stretched")
    parser.add_argument("--size", type=int, default=size)
    parser.add_argument("--count", type=int, default=None, help="scenes of each split; all if not given")
