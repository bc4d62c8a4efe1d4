"""Exporting in Python: ``export``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saccade.api._finish import OWN_FINISH, FinishLike, with_finish
from saccade.api._int8 import DropLike, Int8Options, export_int8
from saccade.api._open import OWN_NMS, ModelLike, NmsLike, as_exported, open_data, open_network, run_config
from saccade.errors import ConfigError, ExportError, did_you_mean
from saccade.models.base import Model
from saccade.models.checkpoint import find_checkpoint

if TYPE_CHECKING:
    from saccade.deploy.int8 import Int8Report
    from saccade.deploy.verify import ParityReport

__all__ = ["ExportResult", "export"]

logger = logging.getLogger("saccade")


@dataclass
class ExportResult:
    """An exported file, and how close it is to the model.

    Args:
        path: The file.
        parity: How close its outputs are to the model's; None unless it was verified.
        metrics: Figures of the model and of the file, ``{"AP": (0.571, 0.571)}``; empty unless data was at hand.
        int8: Which layers were quantised, on how many images, and what it saved; None for other precisions.
    """

    path: Path
    parity: ParityReport | None
    metrics: dict[str, tuple[float, float]]
    int8: Int8Report | None = None

    @property
    def metric_change(self) -> dict[str, float]:
        """Figure of the file minus figure of the model, by name."""
        return {name: after - before for name, (before, after) in self.metrics.items()}


def export(
    model: ModelLike,
    format: Literal["onnx", "openvino", "torch"] = "onnx",
    path: str | Path | None = None,
    *,
    weights: str | None = None,
    size: tuple[int, int] | None = None,
    precision: Literal["auto", "32", "bf16", "16", "int8"] = "auto",
    calibrate: str | Path | None = None,
    max_drop: DropLike = (),
    nms: bool = True,
    verify: bool = False,
    data: str | Path | None = None,
    split: str | None = None,
    max_detections: int | None = None,
    suppression: NmsLike = OWN_NMS,
    prune: int | None = None,
    finish: FinishLike = OWN_FINISH,
    trust: bool = False,
) -> ExportResult:
    """Write a model for another runtime, and prove that the file gives the same numbers.

    Args:
        model: Model: checkpoint, folder of a run, or name of a network with weights.
        format: What to write: an .onnx file, OpenVINO's .xml with its .bin, or a .pt2 program of torch.export.
        path: File to write; beside the checkpoint if not given.
        weights: Published weights by name, or a file of any known layout, for a network given by name.
        size: Canvas (height, width); the model's own if not given.
        precision: How the weights are stored: auto and 32 in float32, bf16 and 16 in half the space, rounded; int8 in a
            quarter, and computed with.
        calibrate: Data set for int8, name in the catalogue or path: it is calibrated on 300 of its training images, and
            measured on its test or validation images.
        max_drop: By how much a figure may drop in int8, such as AP=0.01; may be given several times.
        nms: Decode inside the file, non-maximum suppression included.
        verify: Compare the file with the model: raw numbers, and the metrics where data is known, which the file then
            keeps.
        data: Data set to verify with: name in the catalogue, or path; that of the training run if not given.
        split: Split of that data; the run's held-out split if not given.
        max_detections: Detections that the file of a detector outputs for an image; its own number, usually 100, if not
            given.
        suppression: Of detectors: other settings of suppression inside the file than the model's own, such as kind and
            iou.
        prune: Of networks with outputs at several depths (unetpp): the file gives the one at this depth alone, and
            holds no weights that only deeper ones need.
        finish: What runs after the network, such as kind dense_crf for segmenters.
        trust: Open the checkpoint of a network from outside the package, whose module is imported, that is, run.

    Returns:
        The file, its parity with the model, the figures of both, and what int8 did.

    Raises:
        SaccadeError: If a name or file is unknown, a package is missing, the network cannot be exported, options
            exclude each other, or int8 costs more than it may.

    Example:
        >>> result = saccade.export(saccade.create_model("lenet5"), "torch", verify=True)
        >>> result.path.name, result.parity.passed
        ('lenet5.pt2', True)
    """
    from saccade.deploy.export import SUFFIXES, TOLERANCES, export_model

    if format not in SUFFIXES:
        raise ConfigError(f"unknown export format '{format}'.{did_you_mean(format, SUFFIXES)}")
    if verify and not nms:
        raise ConfigError(
            "a file without decoding gives raw outputs, which verify cannot compare. Leave one of them out."
        )
    if not nms and (suppression != OWN_NMS or max_detections is not None):
        raise ConfigError(
            "a file without decoding has no suppression and no limit: leave suppression and max_detections out, or "
            "nms=False (--no-nms)."
        )
    options = Int8Options(calibrate, max_drop, data, split)
    options.check(precision, format, verify, nms)
    network = with_finish(open_network(model, weights, trust, max_detections, suppression, prune), finish)
    if path is None:
        suffix = SUFFIXES[format]
        if isinstance(model, Model) or weights is not None:
            path = Path(f"{network.builder_name.replace(':', '.')}{suffix}")
        else:
            path = find_checkpoint(model).with_suffix(suffix)
    if precision == "int8":
        written, report = export_int8(network, model, Path(path), format, size, nms, options)
        pairs = {name: (value, report.after[name]) for name, value in report.before.items() if name in report.after}
        return ExportResult(written, None, pairs, report)
    written = export_model(network, path, format, size, nms=nms, precision=precision)
    if not verify:
        return ExportResult(written, None, {})
    return _verified(network, written, model, data, split, size, TOLERANCES[precision])


def _verified(
    network: Model,
    path: Path,
    model: ModelLike,
    data: str | Path | None,
    split: str | None,
    size: tuple[int, int] | None,
    tolerance: float,
) -> ExportResult:
    """Parity, and where data is known the figures of model and file; the file keeps its own."""
    from saccade.deploy.export import keep_metrics
    from saccade.deploy.runtime import EagerRuntime, open_runtime
    from saccade.deploy.verify import canvases, verify_export
    from saccade.engine.evaluate.evaluate import evaluate
    from saccade.engine.train.progress import track
    from saccade.tasks import get_task

    if data is None and run_config(model) is None:
        return ExportResult(path, verify_export(network, path, tolerance=tolerance, trust=True), {})
    dataset = open_data(model, data, split, None, get_task(network.task).ground_truth_task)
    file = open_runtime(path, trust=True)  # written a moment ago
    dataset = as_exported(model, network, dataset, file.input_spec)
    parity = verify_export(network, path, canvases(dataset, file.input_spec), tolerance=tolerance, trust=True)
    try:
        after, before = (
            evaluate(
                runtime,
                dataset,
                batch_size=8,
                size=size,
                progress=lambda batches, total, name=runtime.name: track(batches, total, name),  # type: ignore[misc]
            )
            for runtime in (file, EagerRuntime(network))
        )
    except ExportError as error:  # the canvas of some networks follows the image, and a file has one
        logger.warning("figures are not compared, only numbers: %s", error)
        return ExportResult(path, parity, {})
    keep_metrics(path, after.values, trust=True)
    return ExportResult(
        path,
        parity,
        {name: (value, after.values[name]) for name, value in before.values.items() if name in after.values},
    )
