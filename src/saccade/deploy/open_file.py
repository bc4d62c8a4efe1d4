"""Exported files, opened by the ending of their name."""

from __future__ import annotations

from pathlib import Path

from saccade.deploy.file_runtime import FileRuntime, OnnxRuntime
from saccade.deploy.openvino_file import OpenVinoFileRuntime
from saccade.errors import ExportError, WeightsError

__all__ = ["open_file"]

_ENDINGS = (".onnx", ".xml", ".pt2")


def open_file(path: str | Path, device: str | None = None, trust: bool = False) -> FileRuntime:
    """Open an exported file for prediction; ONNX and OpenVINO files need no torch.

    Args:
        path: An ``.onnx``, OpenVINO ``.xml`` or torch ``.pt2`` file.
        device: ``cpu``; of ONNX files also ``cuda``, where ONNX Runtime has it. The CPU if not given.
        trust: Open a ``.pt2`` program, which can run code of its maker.

    Raises:
        WeightsError: If there is no such file, or it is of another kind.
        ExportError: If it cannot be opened on that device, has to be trusted, or gives raw outputs.

    Example:
        >>> from saccade.deploy.export import export_model
        >>> path = export_model(saccade.create_model("lenet5"), "lenet", format="onnx")
        >>> open_file(path).predict_arrays(np.zeros((2, 1, 32, 32), np.uint8))["probabilities"].shape
        (2, 10)
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(
            f"no model '{path}'. Check the path: it should be a checkpoint (.safetensors) or an exported model (.onnx, "
            ".xml, .pt2)."
        )
    if path.suffix not in _ENDINGS:
        raise WeightsError(
            f"'{path}' is no model that can be opened: its name ends in '{path.suffix}', not in .safetensors, .onnx, "
            ".xml or .pt2. A file of weights of others becomes a checkpoint by saccade convert FILE --model NAME --out "
            "NEW.safetensors."
        )
    if device not in (None, "cpu") and path.suffix != ".onnx":
        raise ExportError(
            f"'{path}' runs on the CPU; device '{device}' is for checkpoints and ONNX files. Leave device out."
        )
    runtime = _open(path, device or "cpu", trust)
    if not runtime.metadata["decoded"]:
        raise ExportError(
            f"'{path}' gives raw outputs: it was exported with nms=False, for programs that decode themselves. "
            "Export it with decoding to predict with it here."
        )
    return runtime


def _open(path: Path, device: str, trust: bool) -> FileRuntime:
    if path.suffix == ".onnx":
        return OnnxRuntime(path, device)
    if path.suffix == ".xml":
        return OpenVinoFileRuntime(path)
    from saccade.deploy.program_runtime import ProgramRuntime  # with torch

    return ProgramRuntime(path, trust)
