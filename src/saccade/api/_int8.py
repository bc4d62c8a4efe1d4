"""Exporting in int8: which images calibrate, which measure, and what a drop of a figure is."""

from __future__ import annotations

import importlib.util
import logging
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saccade.api._open import ModelLike, as_exported, open_data
from saccade.errors import ConfigError, ExportError, did_you_mean
from saccade.models.base import Model

if TYPE_CHECKING:
    from saccade.deploy.int8 import Accuracy, Int8Report
    from saccade.metrics.base import MetricReport
    from saccade.structures.dataset import VisionDataset
    from saccade.structures.input_spec import InputSpec

__all__ = ["DropLike", "Int8Options", "export_int8"]

logger = logging.getLogger("saccade")

DropLike = Mapping[str, float] | Sequence[str]
"""By how much figures may get worse: by name, or as the shell writes it, ``["AP=0.01"]``."""


@dataclass(frozen=True)
class Int8Options:
    """What ``export`` was asked for, of int8.

    Args:
        calibrate: Data whose images calibrate, and measure unless ``data`` is given.
        max_drop: By how much figures may get worse.
        data: Other data to measure on.
        split: Split of the data that measure.
    """

    calibrate: str | Path | None
    max_drop: DropLike
    data: str | Path | None
    split: str | None

    def check(self, precision: str, format: str, verify: bool, nms: bool) -> None:
        """Refuse options that exclude each other.

        Raises:
            ConfigError: Naming them.
            ExportError: If NNCF is not installed.
        """
        if precision != "int8":
            for name, value in (("calibrate", self.calibrate), ("max_drop", self.max_drop or None)):
                if value is not None:
                    raise ConfigError(f"{name} is for precision int8, and it is '{precision}'. Leave {name} out.")
            return
        if format == "torch":
            raise ConfigError("int8 files are ONNX or OpenVINO, not torch. Use format onnx or openvino (--format).")
        if self.calibrate is None:
            raise ConfigError(
                "int8 is calibrated on images like those that the network will see. Name their data set: "
                "calibrate=DATA (--calibrate DATA), a name in the catalogue or a path."
            )
        if verify:
            raise ConfigError(
                "verify compares numbers, and those of int8 differ. What int8 costs is measured in any case; "
                "max_drop (--max-drop AP=0.01) bounds it. Leave verify out."
            )
        if not nms and (self.max_drop or self.data is not None):
            raise ConfigError(
                "a file without decoding gives raw outputs, of which there are no figures. Leave max_drop and data "
                "out, or nms=False (--no-nms)."
            )
        self.drops()
        if importlib.util.find_spec("nncf") is None:
            raise ExportError('int8 needs NNCF, which is not installed. Run: pip install "saccade[export]".')

    def drops(self) -> dict[str, float]:
        """By how much each figure may get worse; its name may begin with ``min:`` or ``max:``.

        Raises:
            ConfigError: If one is no number of 0 or more.
        """
        pairs: Iterable[tuple[str, Any]] = (
            self.max_drop.items()
            if isinstance(self.max_drop, Mapping)
            else [(name, value) for name, _, value in (text.partition("=") for text in _texts(self.max_drop))]
        )
        found: dict[str, float] = {}
        for name, value in pairs:
            try:
                found[name] = float(value)
            except (TypeError, ValueError):
                found[name] = math.nan
            if not (name and 0 <= found[name] < math.inf):
                raise ConfigError(
                    f"max_drop has '{name}={value}'. Give a figure and by how much it may drop: --max-drop AP=0.01 "
                    '(in Python: max_drop={"AP": 0.01}).'
                )
        return found


def _texts(given: Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def export_int8(
    network: Model,
    model: ModelLike,
    path: Path,
    format: str,
    size: tuple[int, int] | None,
    nms: bool,
    options: Int8Options,
) -> tuple[Path, Int8Report]:
    """Write a network in int8; the file keeps its figures.

    Raises:
        SaccadeError: As :func:`saccade.api.exporting.export` does.
    """
    from saccade.deploy.export import export_model
    from saccade.deploy.export_form import ExportForm
    from saccade.deploy.int8 import CalibrationImages, Display, quantize_file
    from saccade.engine.train.progress import note, track

    spec = network.input_spec if size is None else network.input_spec.with_size(size)
    calibration, validation = _data(network, model, spec, options)
    display = Display(track, note)
    with tempfile.TemporaryDirectory() as folder:
        source = export_model(network, Path(folder) / path.name, format, size, nms=nms)
        target = path.with_name(source.name)
        accuracy = _accuracy(source, validation, options.drops()) if nms else None
        images = CalibrationImages(calibration, spec, network.input_names)
        layers_of = ExportForm(network, spec.size, decode=nms).model
        report = quantize_file(source, target, layers_of, images, accuracy, display)
    return target, report


def _data(
    network: Model, model: ModelLike, spec: InputSpec, options: Int8Options
) -> tuple[VisionDataset, VisionDataset]:
    """The images that calibrate, those of training where the data have some, and those that measure."""
    from saccade.data.open import evaluation_split, holds_out, open_dataset, training_split
    from saccade.tasks import get_task

    assert options.calibrate is not None
    task = get_task(network.task).ground_truth_task
    measured = options.calibrate if options.data is None else options.data
    validation = open_data(model, measured, options.split, None, task, network.decoded_keys)
    source = options.calibrate
    split = training_split(source, task=task) or evaluation_split(source, task=task)
    held_out = holds_out(source, (validation.info.split,), task=task)
    calibration = open_dataset(source, split, task=task, bad_labels="drop", hold_out=held_out or None)
    return as_exported(model, network, calibration, spec), as_exported(model, network, validation, spec)


def _accuracy(source: Path, validation: VisionDataset, max_drop: Mapping[str, float]) -> Accuracy:
    """Figures of the float32 file, by which those of int8 are judged.

    Raises:
        ConfigError: If a figure is none of them, or is undefined.
    """
    from saccade.deploy.int8 import Accuracy
    from saccade.engine.train.progress import note
    from saccade.engine.tune.fitness import direction_of

    note(
        f"int8: scoring the float32 file on {len(validation)} images of {validation.info.name}, {validation.info.split}"
    )
    report = _score(source, validation, exact=True)
    allowed: dict[str, float] = {}
    lower_is_better: set[str] = set()
    for text, drop in max_drop.items():
        name, lower = direction_of(text)
        if name not in report.values:
            raise ConfigError(f"max_drop names '{name}', which is no figure here.{did_you_mean(name, report.values)}")
        if math.isnan(report.values[name]):
            raise ConfigError(f"max_drop names '{name}', which is undefined on these data. Name another figure.")
        if name == report.primary and text == name:
            lower = not report.higher_is_better
        allowed[name] = drop
        lower_is_better |= {name} if lower else set()
    return Accuracy(
        lambda file: _score(file, validation).values, dict(report.values), allowed, frozenset(lower_is_better)
    )


def _score(path: Path, dataset: VisionDataset, exact: bool = False) -> MetricReport:
    """Figures of an exported file; ``exact``: in float32 also where the CPU would compute in bfloat16."""
    from saccade.deploy.open_file import open_file
    from saccade.deploy.openvino_file import OpenVinoFileRuntime
    from saccade.deploy.verify import file_spec
    from saccade.engine.evaluate.evaluate import evaluate
    from saccade.engine.train.progress import track

    runtime = OpenVinoFileRuntime(path, "32") if exact and path.suffix == ".xml" else open_file(path)
    runtime.input_spec = file_spec(runtime.input_spec)  # a file has one canvas, which every image gets here
    return evaluate(runtime, dataset, batch_size=8, progress=lambda batches, total: track(batches, total, runtime.name))
