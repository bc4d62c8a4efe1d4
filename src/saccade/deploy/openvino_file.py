"""Exported ``.xml`` files, in OpenVINO."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from saccade.deploy.file_runtime import Arrays, FileRuntime, require_file
from saccade.deploy.precision import Precision, resolve_precision, thread_count
from saccade.errors import ExportError

__all__ = ["OpenVinoFileRuntime", "import_openvino", "openvino_options"]


def import_openvino() -> Any:
    """Import the ``openvino`` package so that its usage statistics stay off.

    OpenVINO reports every import and conversion to its makers where the package ``openvino_telemetry`` can be imported,
    and does without where it cannot. It is hidden during the import only: what the user does with it elsewhere is the
    user's business.

    Raises:
        ExportError: If OpenVINO is not installed.
    """
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's mark of a module that does not exist
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


def openvino_options(precision: Precision) -> dict[str, Any]:
    """Options of OpenVINO's compiler for one image after another on the CPU."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if resolve_precision(precision, "cpu") == "bf16" else "f32",
    }
    threads = thread_count()
    return options if threads is None else {**options, "INFERENCE_NUM_THREADS": threads}


class OpenVinoFileRuntime(FileRuntime):
    """Runtime of an exported ``.xml`` file (with its ``.bin`` beside it), in OpenVINO.

    Args:
        path: The file.
        precision: ``auto`` takes bfloat16 where the CPU computes in it.

    Raises:
        ExportError: If OpenVINO is not installed, or the file is not one that :func:`export_model` wrote.
    """

    def __init__(self, path: str | Path, precision: Precision = "auto") -> None:
        require_file(path)
        weights = Path(path).with_suffix(".bin")
        if weights.exists():
            require_file(weights)
        core = import_openvino().Core()
        try:
            graph = core.read_model(path)
            text = (
                graph.get_rt_info(["saccade", "metadata"]).astype(str)
                if graph.has_rt_info(["saccade", "metadata"])
                else None
            )
            if precision == "auto" and any(one.get_type_name() == "FakeQuantize" for one in graph.get_ops()):
                precision = "32"  # not every int8 layer has a kernel with bfloat16 around it
            self._compiled = core.compile_model(graph, "CPU", openvino_options(precision))
        except Exception as error:  # the reader raises what it meets in the file
            reason = [*str(error).strip().splitlines(), type(error).__name__]
            raise ExportError(f"'{path}' cannot be opened by OpenVINO: {reason[-2:][0]}") from error
        super().__init__(Path(path), text, "OpenVINO")

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        with self._lock:  # the compiled graph has one request, whose outputs the next call overwrites
            found = self._compiled(list(arrays.values()), share_outputs=True)
            return [found[index].copy() for index in range(len(self._compiled.outputs))]
