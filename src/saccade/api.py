"""The verbs in Python; the command line calls these and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.engine.config import TrainConfig
from saccade.engine.fit import RunResult, fit
from saccade.engine.progress import track
from saccade.errors import ConfigError
from saccade.explain.summary import summary
from saccade.models.base import Model
from saccade.models.checkpoint import load_model as load
from saccade.models.registry import create_model, list_models

if TYPE_CHECKING:
    from saccade.data.check import CheckReport
    from saccade.data.dataset import VisionDataset
    from saccade.deploy.runtime import Runtime
    from saccade.deploy.verify import ParityReport
    from saccade.metrics.base import MetricReport
    from saccade.results.base import Result

__all__ = [
    "ExportResult", "check", "create_model", "datasets", "demo", "evaluate", "export", "list_models", "load", "predict",
    "recipe", "summary", "train",
]  # fmt: skip

ModelLike = str | Path | Model


@dataclass
class ExportResult:
    """What an export gave.

    Args:
        path: The file.
        parity: How close its outputs are to the model's; None unless it was verified.
        metrics: Figures of the model and of the file, ``{"AP": (0.571, 0.571)}``; empty unless data was at hand.
    """

    path: Path
    parity: ParityReport | None
    metrics: dict[str, tuple[float, float]]

    @property
    def metric_change(self) -> dict[str, float]:
        """Figure of the file minus figure of the model, by name."""
        return {name: after - before for name, (before, after) in self.metrics.items()}


def recipe(name: str | None = None, *, model: str | None = None, data: str | None = None) -> TrainConfig:
    """A run's configuration: a recipe by name, or sensible settings for a model on data of your own.

    Args:
        name: Recipe (``saccade train --recipe`` lists them).
        model: Network, with ``data`` in place of ``name``.
        data: Catalogue name or path.
    """
    from saccade.recipes import default_recipe, get_recipe

    if name is not None:
        return get_recipe(name)
    if model is None or data is None:
        raise ConfigError("recipe() needs a name, or a model and data.")
    return default_recipe(model, data)


def train(config: TrainConfig | str, resume: bool = False) -> RunResult:
    """Train as a configuration, or a recipe's name, says.

    Args:
        config: What to do.
        resume: Go on where the run of that name stopped.
    """
    from saccade.engine.run_report import write_run_report

    result = fit(recipe(config) if isinstance(config, str) else config, resume=resume)
    if result.is_main:
        write_run_report(result)
    return result


def evaluate(
    model: ModelLike,
    data: str | None = None,
    split: str | None = None,
    format: str | None = None,
    task: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
) -> MetricReport:
    """Score a checkpoint, a model or an exported file.

    Args:
        model: What predicts.
        data: Catalogue name or path; the training run's data if not given and ``model`` lies in a run folder.
        split: Part of the data; the run's held-out part if not given.
        format: Reader; found by looking if not given.
        task: Which truth to read; the model's own if not given.
        batch_size: Pictures at a time.
        workers: Loader processes.
    """
    from saccade.engine.evaluate import evaluate as score
    from saccade.engine.setup import worker_count

    runtime = _runtime(model)
    dataset = _open_data(model, data, split, format, task or runtime.task)
    return score(
        runtime,
        dataset,
        batch_size,
        worker_count(workers),
        progress=lambda batches, total: track(batches, total, "evaluate"),
    )


def predict(
    model: ModelLike,
    source: Any,
    *,
    score_threshold: float | None = None,
    batch_size: int = 1,
    device: str | None = None,
    keep_images: bool = True,
) -> Iterator[Result]:
    """Predict pictures one by one, in bounded memory.

    Args:
        model: Checkpoint, model or exported file.
        source: Path, folder, glob, array, Pillow image, tensor, or a list of any of them.
        score_threshold: Leave out answers below this score, where the task has any.
        batch_size: Pictures at a time.
        device: Such as ``cuda``; the processor through the fastest runtime installed if not given.
        keep_images: Keep the pixels on each result.
    """
    from saccade.engine.predict import predict as run

    for result in run(_runtime(model, device), source, batch_size, keep_images=keep_images):
        yield result if score_threshold is None else result.above(score_threshold)


def export(
    model: ModelLike,
    format: str = "onnx",
    path: str | Path | None = None,
    verify: bool = False,
    data: str | None = None,
    split: str | None = None,
) -> ExportResult:
    """Write a model for another runtime.

    Args:
        model: Checkpoint or model.
        format: ``onnx``, ``openvino`` or ``torch``.
        path: File to write; beside the checkpoint if not given.
        verify: Compare outputs with the model's, and the metric too where data is known.
        data: Data set for that; the training run's if not given and ``model`` lies in a run folder.
        split: Part of that data; the run's held-out part if not given.
    """
    from saccade.deploy.export import SUFFIXES, export_model
    from saccade.deploy.runtime import EagerRuntime
    from saccade.deploy.verify import canvases, verify_export

    network = model if isinstance(model, Model) else load(model)
    if format not in SUFFIXES:
        from saccade.errors import did_you_mean

        raise ConfigError(f"unknown export format '{format}'.{did_you_mean(format, SUFFIXES)}")
    if path is None:
        path = (
            Path(f"{network.builder_name}{SUFFIXES[format]}")
            if isinstance(model, Model)
            else Path(model).with_suffix(SUFFIXES[format])
        )
    written = export_model(network, Path(path), format=format)
    if not verify:
        return ExportResult(written, None, {})
    if data is None and _run_config(model) is None:
        return ExportResult(written, verify_export(network, written), {})
    dataset = _open_data(model, data, split, None, network.task)
    parity = verify_export(network, written, canvases(dataset, network.input_spec))
    before = evaluate_runtime(EagerRuntime(network), dataset)
    after = evaluate_runtime(_runtime(written), dataset)
    metrics = {name: (value, after.values[name]) for name, value in before.values.items() if name in after.values}
    return ExportResult(written, parity, metrics)


def evaluate_runtime(runtime: Runtime, dataset: VisionDataset) -> MetricReport:
    """Score an open runtime on an open data set, with a bar."""
    from saccade.engine.evaluate import evaluate as score

    return score(runtime, dataset, 8, progress=lambda batches, total: track(batches, total, runtime.name))


def check(
    data: str, split: str = "train", format: str | None = None, task: str | None = None, images: bool = True
) -> CheckReport:
    """Look for faults in images and labels before training.

    Args:
        data: Catalogue name or path.
        split: Part of the data; several are joined by "+".
        format: Reader; found by looking if not given.
        task: Which truth to read, where there are several.
        images: Also decode every picture.
    """
    from saccade.data.check import check_dataset
    from saccade.data.open import open_raw

    return check_dataset(open_raw(data, split, format=format, task=task), images=images)


def datasets() -> list[dict[str, Any]]:
    """The catalogue: name, task, licence, and whether the files are on this machine."""
    from saccade.data.catalogue import CATALOGUE, is_present

    return [
        {
            "name": entry.name,
            "task": entry.task,
            "licence": entry.licence,
            "present": is_present(entry.name),
            "description": entry.description,
        }
        for entry in CATALOGUE.values()
    ]


def demo(minutes: float = 4.0, out: str | Path = "runs/demo") -> Path:
    """Train, score, draw and export a small detector on generated scenes; returns the HTML report.

    Args:
        minutes: Training stops after this long.
        out: Folder to write; an earlier demo there is replaced.
    """
    from saccade.engine.demo import run_demo
    from saccade.recipes import get_recipe

    return run_demo(get_recipe("demo"), minutes, Path(out))


def _runtime(model: ModelLike, device: str | None = None) -> Runtime:
    from saccade.deploy.runtime import open_runtime

    return open_runtime(model, device)


def _run_config(model: ModelLike) -> TrainConfig | None:
    """Configuration of the run that a checkpoint lies in."""
    from saccade.engine.configfile import load_config

    if isinstance(model, Model):
        return None
    path = Path(model).parent / "config.yaml"
    return load_config(path) if path.exists() else None


def _open_data(model: ModelLike, data: str | None, split: str | None, format: str | None, task: str) -> VisionDataset:
    from saccade.data.open import open_dataset

    config = _run_config(model)
    if data is None:
        if config is None:
            raise ConfigError(
                "no data was named, and the model does not lie in a run folder that names it. "
                "Pass data=PATH (--data PATH)."
            )
        data, format = config.data.source, config.data.format  # noqa: A001
        split = split or config.data.test or config.data.val or config.data.train
    return open_dataset(data, split or "test", format=format, task=task, bad_labels="drop")
