"""OpenVINO: a network in memory converted for this processor, or an exported ``.xml`` file."""

from __future__ import annotations

import copy
import json
import logging
import sys
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.deploy.base import ExportForm, as_uint8, export_program
from saccade.deploy.file_runtime import FileRuntime
from saccade.deploy.precision import Precision, resolve_precision
from saccade.deploy.torch_runtime import FusedRuntime
from saccade.errors import ExportError
from saccade.models.base import Decoded, Model
from saccade.structures.input_spec import InputSpec

__all__ = ["OpenVinoFileRuntime", "OpenVinoRuntime", "convert_program", "import_openvino"]

logger = logging.getLogger("saccade")
# Compiled graphs are kept for so many shapes; images of ever new canvases go through torch instead.
_MAX_CANVASES = 4
_MAX_COMPILED = 8
_CPU = torch.device("cpu")


def import_openvino() -> Any:
    """The ``openvino`` package, imported so that its usage statistics stay off.

    OpenVINO reports every import and conversion to its makers where the package ``openvino_telemetry`` can be imported,
    and does without where it cannot. It is hidden during the import only: what the user does with it elsewhere is the
    user's business.

    Raises:
        ExportError: If OpenVINO is not installed.
    """
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say: there is no such module
        try:
            return _import()
        finally:
            del sys.modules["openvino_telemetry"]
    return _import()


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ExportError('OpenVINO is not installed. Run: pip install "saccade[export]".') from error
    return openvino


def convert_program(program: torch.export.ExportedProgram, names: tuple[str, ...]) -> Any:
    """An ``openvino.Model`` of an exported graph, its input named ``images``, its outputs ``names``.

    Raises:
        ExportError: If OpenVINO lacks an operation of the graph.
    """
    openvino = import_openvino()
    from openvino.frontend.pytorch import ConversionExtension

    try:
        model = openvino.convert_model(
            program, extension=[ConversionExtension("torchvision.nms.default", _convert_nms)]
        )
    except Exception as error:  # the converter raises many kinds, all with the same meaning here
        reason = next(
            (line for line in str(error).splitlines() if "No conversion rule" in line), str(error).partition("\n")[0]
        )
        raise ExportError(f"OpenVINO cannot take this network: {reason}") from error
    model.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(model.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    return model


def _convert_nms(context: Any) -> list[Any]:
    """``torchvision::nms(boxes (N, 4), scores (N,), iou_threshold) -> indices (K,)`` by OpenVINO's batched form."""
    import numpy as np
    from openvino import opset13 as ops

    boxes, scores, iou_threshold = (context.get_input(index) for index in range(3))
    selected = ops.non_max_suppression(
        ops.unsqueeze(boxes, ops.constant(np.int64(0))),  # (1, N, 4)
        ops.unsqueeze(scores, ops.constant(np.array([0, 1]))),  # (1, 1, N)
        ops.constant(np.int64(np.iinfo(np.int32).max)),
        ops.convert(iou_threshold, "f32"),
        ops.constant(np.float32(-np.inf)),
        box_encoding="corner",
        output_type="i64",
    )
    # Rows of (batch, class, index).
    rows = ops.gather(selected.output(0), ops.constant(np.int64(2)), ops.constant(np.int64(1)))
    return [rows.output(0)]


def _options(precision: Precision) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if resolve_precision(precision, _CPU) == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }


class OpenVinoRuntime:
    """A network in memory, converted on its first image of each canvas; decoding stays in torch.

    Args:
        model: The network; a copy is taken.
        precision: ``auto`` takes bfloat16 where the processor computes in it.
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    name: str

    def __init__(self, model: Model, precision: Precision = "auto") -> None:
        self._core = import_openvino().Core()
        self._options = _options(precision)
        self._precision = precision
        self._model = copy.deepcopy(model).cpu().eval()
        self._graphs: dict[tuple[int, int], tuple[Any, tuple[str, ...]]] = {}
        self._compiled: OrderedDict[tuple[int, ...], tuple[Any, tuple[str, ...]]] = OrderedDict()
        self._torch: FusedRuntime | None = None
        self._lock = threading.Lock()
        self.task, self.class_names, self.input_spec = model.task, model.class_names, model.input_spec
        words = {"f32": "float32", "bf16": "bfloat16"}[self._options["INFERENCE_PRECISION_HINT"]]
        self.name = f"{model.builder_name or type(model).__name__} (OpenVINO, cpu, {words})"

    def __call__(self, images: Tensor) -> Decoded:
        """Decoded tensors of ``images`` (B, C, H, W), uint8."""
        images = as_uint8(images)
        with self._lock:
            found = self._compile(tuple(images.shape))
            if found is None:
                assert self._torch is not None
                return self._torch(images)
            compiled, names = found
            arrays = compiled([images.numpy()])
        with torch.inference_mode():
            return self._model.decode({name: torch.from_numpy(arrays[index]) for index, name in enumerate(names)})

    def _compile(self, shape: tuple[int, ...]) -> tuple[Any, tuple[str, ...]] | None:
        """The graph for batches of this shape; None where torch has to do it."""
        if shape in self._compiled:
            self._compiled.move_to_end(shape)
            return self._compiled[shape]
        size = (shape[2], shape[3])
        if size not in self._graphs and not self._convert(size):
            return None
        graph, names = self._graphs[size]
        # A graph of fixed shape is faster than one that takes any.
        graph.reshape(list(shape))
        self._compiled[shape] = self._core.compile_model(graph, "CPU", self._options), names
        if len(self._compiled) > _MAX_COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def _convert(self, size: tuple[int, int]) -> bool:
        reason = f"more than {_MAX_CANVASES} canvases"
        if self._torch is None and len(self._graphs) < _MAX_CANVASES:
            spec = replace(self.input_spec, size=size)
            try:
                form = ExportForm(self._model, size, decode=False)
                self._graphs[size] = (
                    convert_program(export_program(form, spec, dynamic_batch=True), form.names),
                    form.names,
                )
            except ExportError as error:
                reason = str(error)
            else:
                return True
        if self._torch is None:
            self._torch = FusedRuntime(self._model, self._precision)
            logger.warning("%s: %s; torch takes these images instead.", self.name, reason)
        return False


class OpenVinoFileRuntime(FileRuntime):
    """An exported ``.xml`` file (with its ``.bin`` beside it).

    Args:
        path: The file.
        precision: ``auto`` takes bfloat16 where the processor computes in it.

    Raises:
        ExportError: If OpenVINO is not installed, or the file is not one that :func:`export_model` wrote.
    """

    def __init__(self, path: str | Path, precision: Precision = "auto") -> None:
        core = import_openvino().Core()
        try:
            graph = core.read_model(path)
            text = (
                graph.get_rt_info(["saccade", "metadata"]).astype(str)
                if graph.has_rt_info(["saccade", "metadata"])
                else None
            )
            self._compiled = core.compile_model(graph, "CPU", _options(precision))
        except RuntimeError as error:
            raise ExportError(
                f"'{path}' cannot be opened by OpenVINO: {str(error).strip().splitlines()[-1]}"
            ) from error
        super().__init__(Path(path), None if text is None else json.loads(text), "OpenVINO")

    def _run(self, images: Tensor) -> list[Tensor]:
        arrays = self._compiled([images.numpy()])
        return [torch.from_numpy(arrays[index]) for index in range(len(self._compiled.outputs))]
