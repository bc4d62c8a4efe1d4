"""Networks as files for other programs: pixels in, predictions out, and all that a prediction needs to know inside."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from saccade.deploy.export_form import ExportForm, export_program, file_metadata
from saccade.deploy.file_runtime import OnnxRuntime
from saccade.deploy.openvino_file import import_openvino
from saccade.deploy.openvino_runtime import convert_program
from saccade.deploy.precision import Precision
from saccade.deploy.program_runtime import refuse_untrusted
from saccade.deploy.roi_pool import onnx_translations
from saccade.errors import ExportError, did_you_mean
from saccade.models.base import Model
from saccade.models.inputs import example_inputs
from saccade.structures.files import atomic_write, to_json
from saccade.structures.input_spec import InputSpec

__all__ = ["SUFFIXES", "TOLERANCES", "export_model", "keep_fields", "keep_metrics", "quiet", "save_openvino"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
# Largest difference from the network, as a share of an output's scale, at which a file passes. Rounded weights differ
# by up to 2 ** -12 (float16) or 2 ** -9 (bfloat16) of their value, and a network adds that up.
TOLERANCES: dict[Precision, float] = {"auto": 1e-3, "32": 1e-3, "16": 1e-2, "bf16": 8e-2}
_STORED = {"bf16": torch.bfloat16, "16": torch.float16}
_RT_INFO = ["saccade", "metadata"]
_MODEL_INFO = "model_info"  # where OpenVINO's own tools keep what describes a model
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch": ()}


def export_model(
    model: Model,
    path: str | Path,
    format: str = "onnx",
    size: tuple[int, int] | None = None,
    dynamic_batch: bool = True,
    nms: bool = True,
    metrics: Mapping[str, float] | None = None,
    precision: Precision = "auto",
) -> Path:
    """Export a network to a file for another runtime: ONNX, OpenVINO or ``torch.export``.

    The file takes ``images``, uint8 RGB (or grey) of shape (B, C, H, W), normalises them itself, and gives the decoded
    tensors of its task under their names (``boxes scores labels count`` for detection). Classes, input rules, builder,
    version and metrics travel inside, so that :func:`saccade.deploy.runtime.open_runtime` needs the file alone. ONNX
    and OpenVINO files also hold ``names``, ``task``, ``imgsz`` and ``stride`` as plain text, for other programs.

    Args:
        model: The network.
        path: File to write; the suffix of the format is added if it is not there.
        format: ``onnx``, ``openvino`` (an ``.xml`` with its ``.bin``) or ``torch`` (``.pt2``).
        size: Canvas (height, width); the network's own if not given.
        dynamic_batch: Any number of images at a time, or always one.
        nms: Decode inside the graph, non-maximum suppression included. Without it the graph gives the raw outputs of
            ``forward``.
        metrics: What the network scored, to be kept in the file.
        precision: How the weights are stored: ``auto`` and ``32`` in float32, ``bf16`` and ``16`` in half the space,
            rounded, and widened when the file is opened. All formats hold all of them; the arithmetic is that of the
            runtime.

    Returns:
        The file.

    Raises:
        ExportError: If the format or the precision is unknown, a package is missing, the network cannot be exported, or
            a weight is beyond float16.
        SaccadeError: If the file cannot be written.

    Example:
        >>> export_model(saccade.create_model("lenet5"), "lenet", format="torch").name
        'lenet.pt2'
    """
    if format not in SUFFIXES:
        raise ExportError(f"unknown export format '{format}'.{did_you_mean(format, SUFFIXES)}")
    if precision not in TOLERANCES:
        raise ExportError(f"unknown precision '{precision}'.{did_you_mean(precision, TOLERANCES)}")
    missing = [package for package in _NEEDS[format] if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(f'export to {format} needs {", ".join(missing)}. Run: pip install "saccade[export]".')
    path = Path(path)
    if path.suffix != SUFFIXES[format]:
        path = path.with_name(path.name + SUFFIXES[format])
    spec = model.input_spec if size is None else model.input_spec.with_size(size)
    form = ExportForm(model, spec.size, decode=nms)
    if precision in _STORED:
        _store_rounded(form.model, _STORED[precision])
    program = export_program(form, spec, dynamic_batch)
    metadata = {
        **file_metadata(model, spec, form.names, nms, metrics),
        "batch": None if dynamic_batch else 1,
        "precision": "32" if precision == "auto" else precision,
    }
    text = to_json(metadata)
    if format == "onnx":
        _write_onnx(program, form, text, path, _plain_fields(model, spec))
    elif format == "openvino":
        _write_openvino(program, form, text, path, _plain_fields(model, spec))
    else:
        _write_program(program, text, path)
    return path


class _Widened(nn.Module):
    """Parametrisation that widens a weight which is stored in half the space."""

    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


def _store_rounded(model: nn.Module, dtype: torch.dtype) -> None:
    """Store weights in ``dtype``; the graph widens them. Vectors (biases, scales) are small and stay in float32."""
    for path, module in list(model.named_modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dtype != torch.float32 or weight.ndim < 2:
                continue
            rounded = weight.detach().to(dtype)
            if rounded.isinf().any() and not weight.isinf().any():
                largest = float(weight.detach().abs().max())
                raise ExportError(
                    f"weight '{path}.{name}' holds {largest:.3g}, beyond float16 (65504). Export with precision bf16 "
                    "or 32."
                )
            parametrize.register_parametrization(module, name, _Widened(), unsafe=True)
            module.parametrizations[name].original.data = rounded


def keep_metrics(path: str | Path, metrics: Mapping[str, float], trust: bool = False) -> None:
    """Write metrics into an exported file, replacing those it holds; never half-written.

    Args:
        path: File written by :func:`export_model`.
        metrics: Figures by name; those that are undefined (NaN) are left out.
        trust: Open a ``.pt2`` program, which can run any code: of a file that you wrote yourself.

    Raises:
        SaccadeError: If the file cannot be written, or is a program that is not trusted.

    Example:
        >>> path = export_model(saccade.create_model("lenet5"), "lenet", format="onnx")
        >>> keep_metrics(path, {"top1": 0.99})
        >>> from saccade.deploy.file_runtime import OnnxRuntime
        >>> OnnxRuntime(path).metadata["metrics"]
        {'top1': 0.99}
    """
    kept = {name: float(value) for name, value in metrics.items() if not math.isnan(value)}
    keep_fields(path, {"metrics": kept}, trust)


def keep_fields(path: str | Path, fields: Mapping[str, Any], trust: bool = False) -> None:
    """Write fields into the metadata of an exported file, replacing those it holds; never half-written.

    Args:
        path: File written by :func:`export_model`.
        fields: Plain JSON by name.
        trust: Open a ``.pt2`` program, which can run any code: of a file that you wrote yourself.

    Raises:
        SaccadeError: If the file cannot be written, or is a program that is not trusted.

    Example:
        >>> path = export_model(saccade.create_model("lenet5"), "lenet", format="torch")
        >>> keep_fields(path, {"metrics": {"top1": 0.99}}, trust=True)
        >>> from saccade.deploy.program_runtime import ProgramRuntime
        >>> ProgramRuntime(path, trust=True).metadata["metrics"]
        {'top1': 0.99}
    """
    path = Path(path)
    if path.suffix == SUFFIXES["onnx"]:
        import onnx

        graph = onnx.load(path)
        entry = next(entry for entry in graph.metadata_props if entry.key == "saccade")
        entry.value = _with_fields(entry.value, fields)
        atomic_write(path, lambda target: onnx.save(graph, target))
    elif path.suffix == SUFFIXES["openvino"]:
        openvino = import_openvino()
        graph = openvino.Core().read_model(path)
        graph.set_rt_info(_with_fields(graph.get_rt_info(_RT_INFO).astype(str), fields), _RT_INFO)
        save_openvino(graph, path)
    else:
        refuse_untrusted(path, trust)
        extra = {"saccade": ""}
        program = torch.export.load(str(path), extra_files=extra)
        _write_program(program, _with_fields(extra["saccade"], fields), path)


def _with_fields(metadata: str, fields: Mapping[str, Any]) -> str:
    return to_json({**json.loads(metadata), **fields})


def _plain_fields(model: Model, spec: InputSpec) -> dict[str, str]:
    """What programs look for that know nothing of Saccade, as they write it: Python's text of plain values."""
    names = model.class_names or tuple(map(str, range(model.num_classes)))
    return {
        "names": str(dict(enumerate(names))),
        "task": model.task,
        "imgsz": str(list(spec.size)),
        "stride": str(max(spec.pad_multiple, *model.feature_strides, 1)),
    }


def _write_onnx(
    program: torch.export.ExportedProgram, form: ExportForm, metadata: str, path: Path, plain: Mapping[str, str]
) -> None:
    try:
        with quiet("torch.onnx", "onnx_ir", "onnxscript"):
            result = torch.onnx.export(
                program,
                input_names=["images", *form.input_names],
                output_names=list(form.names),
                dynamo=True,
                verbose=False,
                custom_translation_table=onnx_translations(),
            )
    except Exception as error:  # the exporter raises many kinds, all with the same meaning here
        raise ExportError(f"ONNX cannot take this network: {str(error).strip().partition(chr(10))[0]}") from error
    assert result is not None
    result.model.metadata_props.update(plain, saccade=metadata)

    def write(target: Path) -> None:
        result.save(target, external_data=False)
        # A graph can be valid and still be refused by the runtime; that is found out here and not at the user's.
        runtime = OnnxRuntime(target)
        images = torch.zeros(2, runtime.input_spec.channels, *runtime.input_spec.size, dtype=torch.uint8)
        runtime(images, **example_inputs(form.model, runtime.input_spec.size, 2))

    atomic_write(path, write)


def _write_openvino(
    program: torch.export.ExportedProgram, form: ExportForm, metadata: str, path: Path, plain: Mapping[str, str]
) -> None:
    with quiet("torch.onnx", "onnx_ir", "onnxscript"):
        graph = convert_program(program, form.names, form.input_names)
    for name, value in plain.items():
        graph.set_rt_info(value, [_MODEL_INFO, name])
    graph.set_rt_info(metadata, _RT_INFO)
    save_openvino(graph, path)


def save_openvino(graph: Any, path: Path) -> None:
    """Write an ``openvino.Model`` as an ``.xml`` file with its ``.bin``; neither is ever half-written."""
    # Two files belong together: the weights are written first, and the graph that needs them last.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        import_openvino().save_model(graph, made, compress_to_fp16=False)
        for file in (made.with_suffix(".bin"), made):
            atomic_write(path.with_suffix(file.suffix), partial(shutil.copyfile, file))


def _write_program(program: torch.export.ExportedProgram, metadata: str, path: Path) -> None:
    def write(target: Path) -> None:
        with quiet("torch.onnx", "onnx_ir", "onnxscript"):
            torch.export.save(program, str(target), extra_files={"saccade": metadata})

    atomic_write(path, write)


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Without the prints and warnings of packages, and of these loggers only errors, which are raised anyway.

    Example:
        >>> with quiet("a_package"):
        ...     logging.getLogger("a_package").warning("about another package")
    """
    loggers = [logging.getLogger(name) for name in names]
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
