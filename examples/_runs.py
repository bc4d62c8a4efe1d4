"""What examples share that train a list of named runs: settings on blood cells or digits, loop, timing, table."""

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
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.setup import Datasets, open_datasets
from saccade.models.registry import get_builder
from saccade.recipes.defaults import bccd
from saccade.structures.input_spec import InputSpec
from saccade.tasks import get_task

METRICS = ("AP", "AP50", "AP75")
SEGMENTATION_METRICS = ("mIoU", "pixel_accuracy", "mean_boundary_F")
WITHOUT_MOSAIC_AT_THE_END = (Phase(from_epoch=-3, augment={"mosaic": 0.0}),)
Row = dict[str, Any]  # what is kept of one run


def machine() -> str:
    """Processor, threads, and what it trains in."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.is_file() else []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, {'bf16' if has_bf16() else 'float32'}"


def milliseconds(runtime: Callable[[Tensor], Any], spec: InputSpec, rounds: int, unmeasured: int = 2) -> float:
    """Time of one image of that size, mean of some rounds after a few that are not measured."""
    image = torch.randint(0, 256, (1, spec.channels, *spec.size), dtype=torch.uint8)
    for _ in range(unmeasured):
        runtime(image)
    start = time.perf_counter()
    for _ in range(rounds):
        runtime(image)
    return 1000 * (time.perf_counter() - start) / rounds


def crowded_settings(model: str, model_args: Mapping[str, Any], size: int) -> TrainConfig:
    """One training on crowded scenes of digits, scored on ordinary ones; none of it was tuned by a score."""
    return TrainConfig(
        model=model,
        model_args=dict(model_args),
        data=DataConfig(
            source="digit_scenes", train="crowded", val=None, test="test", size=(size, size), batch_size=16
        ),
        augment=AugmentConfig(translate=0.05, scale=(0.8, 1.25), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.5, final_factor=0.02),
        ema=EmaConfig(decay=0.998, warmup_steps=300.0),
        clip_norm=10.0,
    )


def cell_settings(model: str, model_args: Mapping[str, Any]) -> TrainConfig:
    """One training from scratch on small pictures of blood cells (BCCD); none of it was tuned by a score.

    On 96 x 128 pixels platelets have sides of 6 to 11 pixels, red cells of 16 to 23, white ones of 23 to 45.
    """
    config = bccd(model, size=(96, 128), epochs=12, model_args=dict(model_args), phases=WITHOUT_MOSAIC_AT_THE_END)
    config.data.cache, config.data.workers = True, 0
    return config


def scenes(size: int, count: int | None, train: str = "crowded", task: str = "detection") -> Datasets:
    """Training scenes and test scenes; with a count that many of each."""
    first, second = (DigitScenes(task, split, count=count, size=(size, size)) for split in (train, "test"))
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


def train_runs(
    file: Path,
    configs: Mapping[str, TrainConfig],
    given: argparse.Namespace,
    describe: Callable[[str, RunResult], Row],
    table: Callable[[Mapping[str, Row]], str],
    data: Callable[[str, TrainConfig], Datasets] | None = None,
    metrics: Sequence[str] = METRICS,
) -> str:
    """Trains the runs that ``file`` does not hold yet, and prints the table of all.

    Args:
        file: JSON file of the rows, see :func:`measure_runs`.
        configs: What each run trains with, by name; its folder, and its length if asked for, come from ``given``.
        given: Of :func:`run_options`.
        describe: What a row has besides scores, time, seed and machine, from the name of the run and what it reached.
        table: Makes a table of rows.
        data: Makes the data of a run; what the configuration names if not given.
        metrics: Scores of a row.
    """
    asked = {"epochs": given.epochs, "quick": given.quick}

    def measure(key: str) -> Row:
        config = configs[key]
        config.name, config.out = key, str(given.out)
        config.epochs = given.epochs or config.epochs
        if given.quick:
            make_quick(config)
        run = fit(config, resume=True, data=(data or few_or_all)(key, config))
        return {
            **{metric: run.metrics[metric] for metric in metrics},
            **describe(key, run),
            "asked": asked,
            "epochs": len(run.history),
            "minutes": run.history[-1]["minutes"],
            "seed": config.seed,
            "machine": machine(),
        }

    result = table(measure_runs(file, configs, {"asked": asked}, measure, table))
    print(result, flush=True)
    return result


def make_quick(config: TrainConfig) -> None:
    """One epoch of a few small scenes of digits: does it run?"""
    config.epochs, config.phases = 1, ()
    config.data.source, config.data.size, config.data.workers = "digit_scenes", (64, 64), 0
    if "size" in config.model_args:
        config.model_args["size"] = 64


def few_or_all(name: str, config: TrainConfig) -> Datasets:
    """The data that the configuration names; of digits eight scenes a split."""
    if config.data.source != "digit_scenes":
        return open_datasets(config)
    task = get_task(get_builder(config.model).task).ground_truth_task
    return scenes(config.data.size[0], 8, "train" if task == "segmentation" else "crowded", task)


def markdown(titles: Sequence[str], rows: Mapping[str, Row], cells: Callable[[str, Row], Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers, and the machines it was measured on."""
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    lines += [f"| {' | '.join(cells(name, row))} |" for name, row in rows.items()]
    lines += ["", *sorted({f"Measured on: {row['machine']}." for row in rows.values()})]
    return "\n".join(lines)


def scores(row: Row, metrics: Sequence[str] = METRICS) -> list[str]:
    return [f"{row[key]:.3f}" for key in metrics]


def options(text: str | None, what: str, names: Sequence[str], out: str) -> argparse.ArgumentParser:
    """The command line of such an example: which runs, in which folder, of which seed."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{what}", nargs="+", default=list(names), choices=list(names))
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="an epoch of a few small scenes of digits: does it run?")
    return parser


def run_options(text: str | None, names: Sequence[str], out: str) -> argparse.ArgumentParser:
    """That of an example that calls :func:`train_runs`."""
    parser = options(text, "runs", names, out)
    parser.add_argument("--epochs", type=int, default=None, help="those of the settings if not given")
    return parser


def quick_options(out: Path, *runs: str) -> argparse.Namespace:
    """What :func:`run_options` reads from a command line with these runs and ``--quick``."""
    return argparse.Namespace(runs=runs, out=out, seed=0, quick=True, epochs=None)
