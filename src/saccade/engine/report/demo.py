"""The demonstration: from nothing to a trained, scored, drawn and exported detector, with everything in one report."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.runtime import EagerRuntime, Runtime, best_cpu_runtime, open_runtime
from saccade.deploy.verify import canvases, verify_export
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.predict.predict import predict
from saccade.engine.report.run_report import write_run_report
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import open_datasets, worker_count
from saccade.models.base import Model
from saccade.models.checkpoint import load_model
from saccade.structures.dataset import VisionDataset
from saccade.structures.files import to_json, write_text

__all__ = ["run_demo"]


def run_demo(config: TrainConfig, minutes: float, out: Path) -> Path:
    """Run the demonstration: train for at most ``minutes``, then score, draw, export and time the network.

    Args:
        config: What to train; its name and folder are replaced by ``out``.
        minutes: Time for training.
        out: Folder to write; an earlier demo there is replaced.

    Returns:
        ``report.html``; ``report.json`` lies beside it.
    """
    if (out / "report.json").exists() or (out / "config.yaml").exists():
        shutil.rmtree(out)
    config.name, config.out, config.max_minutes = out.name, str(out.parent), minutes
    data = open_datasets(config)
    result = fit(config, data=data)
    held_out = data.test or data.val
    assert held_out is not None, "the demo recipe scores a held-out split"
    model = load_model(result.model_path)
    _draw(model, held_out, out / "predictions")
    parity, files = _export(model, held_out, out)
    runtimes: list[Runtime] = [EagerRuntime(model), best_cpu_runtime(model), *(open_runtime(path) for path in files)]
    speeds = [_time(runtime, held_out) for runtime in runtimes]
    report = evaluate(best_cpu_runtime(model), held_out, config.data.batch_size, worker_count(config.data.workers))
    result.report = report
    page = write_run_report(
        result, data, {"Speed of each runtime, one image at a time": speeds, "Parity of the exported files": parity}
    )
    summary = {
        "metrics": report.values,
        "primary": report.primary,
        "per_class": report.per_class,
        "epochs": len(result.history),
        "minutes": result.history[-1]["minutes"],
        "threads": torch.get_num_threads(),
        "speeds": speeds,
        "parity": parity,
    }
    write_text(out / "report.json", to_json(summary, indent=1))
    return page


def _draw(model: Model, dataset: VisionDataset, folder: Path, count: int = 12) -> None:
    images = (dataset.read(index).image for index in range(min(count, len(dataset))))
    for number, result in enumerate(predict(best_cpu_runtime(model), images)):
        result.above(0.3).save(folder / f"{number:02d}.png")


def _export(model: Model, dataset: VisionDataset, out: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    images = canvases(dataset, model.input_spec)
    rows, files = [], []
    for kind in ("onnx", "openvino"):
        path = export_model(model, out / "exported" / f"model{SUFFIXES[kind]}", format=kind)
        parity = verify_export(model, path, images)
        rows.append(
            {
                "file": str(path.relative_to(out)),
                "runtime": parity.runtime,
                "largest difference": max(parity.max_abs.values()),
                "predictions compared": parity.rows,
                "unmatched": parity.unmatched,
                "batch sizes": ", ".join(str(size) for size in parity.batch_sizes),
                "passed": parity.passed,
            }
        )
        files.append(path)
    return rows, files


def _time(runtime: Runtime, dataset: VisionDataset, rounds: int = 30) -> dict[str, Any]:
    """Median milliseconds from pixels in memory to a result in original pixels."""
    image = dataset.read(0).image
    for _ in range(5):
        list(predict(runtime, image))
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        list(predict(runtime, image))
        seconds.append(time.perf_counter() - started)
    return {
        "runtime": runtime.name,
        "milliseconds": round(1000 * statistics.median(seconds), 2),
        "threads": torch.get_num_threads(),
    }
