"""Networks as files for other programs: pixels in, answers out, and all that a prediction needs to know inside."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from saccade.deploy.base import ExportForm, export_program, file_metadata
from saccade.deploy.file_runtime import OnnxRuntime
from saccade.deploy.openvino_runtime import convert_program, import_openvino
from saccade.errors import ExportError, did_you_mean
from saccade.models.base import Model
from saccade.models.inputs import example_inputs
from saccade.structures.files import atomic_write

__all__ = ["SUFFIXES", "export_model"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch": ()}


def export_model(
    model: Model,
    path: str | Path,
    format: str = "onnx",
    size: tuple[int, int] | None = None,
    dynamic_batch: bool = True,
    nms: bool = True,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Write a network for another runtime.

    The file takes ``images``, uint8 RGB (or grey) of shape (B, C, H, W), normalises them itself, and gives the decoded
    tensors of its task under their names (``boxes scores labels count`` for detection). Classes, input rules, builder,
    version and metrics travel inside, so that :func:`saccade.deploy.runtime.open_runtime` needs the file alone.

    Args:
        model: The network.
        path: File to write; the suffix of the format is added if it is not there.
        format: ``onnx``, ``openvino`` (an ``.xml`` with its ``.bin``) or ``torch`` (``.pt2``).
        size: Canvas (height, width); the network's own if not given.
        dynamic_batch: Any number of images at a time, or always one.
        nms: Decode inside the graph, suppression of double boxes included. Without it the graph gives the raw outputs
            of ``forward``.
        metrics: What the network scored, to be kept in the file.

    Returns:
        The file.

    Raises:
        ExportError: If the format is unknown, a package is missing, or the network cannot be exported.
        SaccadeError: If the file cannot be written.

    Example:
        >>> export_model(create_model("lenet5"), "lenet", format="torch").name  # doctest: +SKIP
        'lenet.pt2'
    """
    if format not in SUFFIXES:
        raise ExportError(f"unknown export format '{format}'.{did_you_mean(format, SUFFIXES)}")
    missing = [package for package in _NEEDS[format] if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(f'export to {format} needs {", ".join(missing)}. Run: pip install "saccade[export]".')
    path = Path(path)
    if path.suffix != SUFFIXES[format]:
        path = path.with_name(path.name + SUFFIXES[format])
    spec = model.input_spec if size is None else model.input_spec.with_size(size)
    form = ExportForm(model, spec.size, decode=nms)
    program = export_program(form, spec, dynamic_batch)
    metadata = {**file_metadata(model, spec, form.names, nms, metrics), "batch": None if dynamic_batch else 1}
    text = json.dumps(metadata)
    if format == "onnx":
        _write_onnx(program, form, text, path)
    elif format == "openvino":
        _write_openvino(program, form, text, path)
    else:
        _write_program(program, text, path)
    return path


def _write_onnx(program: torch.export.ExportedProgram, form: ExportForm, metadata: str, path: Path) -> None:
    try:
        with _quiet():
            result = torch.onnx.export(
                program,
                input_names=["images", *form.input_names],
                output_names=list(form.names),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds, all with the same meaning here
        raise ExportError(f"ONNX cannot take this network: {str(error).strip().partition(chr(10))[0]}") from error
    assert result is not None
    result.model.metadata_props["saccade"] = metadata

    def write(target: Path) -> None:
        result.save(target, external_data=False)
        # A graph can be valid and still be refused by the runtime; that is found out here and not at the user's.
        runtime = OnnxRuntime(target)
        images = torch.zeros(2, runtime.input_spec.channels, *runtime.input_spec.size, dtype=torch.uint8)
        runtime(images, **example_inputs(form.model, runtime.input_spec.size, 2))

    atomic_write(path, write)


def _write_openvino(program: torch.export.ExportedProgram, form: ExportForm, metadata: str, path: Path) -> None:
    openvino = import_openvino()
    with _quiet():
        graph = convert_program(program, form.names, form.input_names)
    graph.set_rt_info(metadata, ["saccade", "metadata"])
    # Two files belong together: the weights come into place first, and the graph that needs them last.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        openvino.save_model(graph, made, compress_to_fp16=False)
        for file in (made.with_suffix(".bin"), made):
            atomic_write(path.with_suffix(file.suffix), partial(shutil.copyfile, file))


def _write_program(program: torch.export.ExportedProgram, metadata: str, path: Path) -> None:
    def write(target: Path) -> None:
        with _quiet():
            torch.export.save(program, str(target), extra_files={"saccade": metadata})

    atomic_write(path, write)


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Without the exporters' progress prints and their warnings about one another."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
