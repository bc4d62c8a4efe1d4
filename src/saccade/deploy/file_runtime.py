"""Exported files: everything a prediction needs is inside them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.deploy.base import as_uint8
from saccade.errors import ExportError
from saccade.models.base import Decoded
from saccade.models.checkpoint import FORMAT_VERSION, library_version
from saccade.models.finish import run_finish
from saccade.models.inputs import select_inputs
from saccade.structures.input_spec import InputSpec

__all__ = ["FileRuntime", "OnnxRuntime", "ProgramRuntime"]


class FileRuntime:
    """Base of the runtimes of exported files: their metadata, and the check of their inputs.

    Args:
        path: The file.
        metadata: Its metadata; None if it holds none.
        engine: What runs it, for messages.

    Raises:
        ExportError: If it was not written by :func:`saccade.deploy.export.export_model`.
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __init__(self, path: Path, metadata: dict[str, Any] | None, engine: str) -> None:
        if not metadata:
            raise ExportError(
                f"'{path}' does not hold its inputs and outputs (no Saccade metadata). Export it with saccade.export, "
                f"or run it with {engine} yourself."
            )
        if metadata["format_version"] > FORMAT_VERSION:
            raise ExportError(
                f"'{path}' was written by a newer saccade ({metadata['saccade_version']}; this is "
                f"{library_version()}). Upgrade: pip install --upgrade saccade."
            )
        self.metadata = metadata
        self.task, self.class_names = metadata["task"], tuple(metadata["class_names"])
        self.input_spec = InputSpec.from_dict(metadata["input_spec"])
        self.name = f"{path.name} ({engine})"
        self.input_names = tuple(metadata.get("inputs", ()))
        self.decoded_keys = tuple(metadata.get("decoded_keys") or metadata["outputs"])
        self._outputs = tuple(metadata["outputs"])
        self._lock = threading.Lock()
        self._fixed_batch: int | None = metadata["batch"]

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded tensors of ``images`` (B, C, H, W), uint8, at the canvas the file was made for."""
        images = as_uint8(images)
        expected = (self.input_spec.channels, *self.input_spec.size)
        if tuple(images.shape[1:]) != expected:
            raise ExportError(
                f"{self.name} takes images of {_by(expected)}, got {_by(tuple(images.shape[1:]))}. Export the model "
                "with size=(height, width) for others."
            )
        tensors = {"images": images, **select_inputs(self.input_names, inputs, self.name)}
        size = len(images) if self._fixed_batch is None else self._fixed_batch
        parts = [
            self._run({key: value[start : start + size].cpu() for key, value in tensors.items()})
            for start in range(0, max(len(images), 1), max(size, 1))
        ]
        decoded = {name: torch.cat([part[index] for part in parts]) for index, name in enumerate(self._outputs)}
        return run_finish(self.metadata.get("finish", ""), decoded, images, self.metadata.get("finish_options"))

    def _run(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        """Outputs for the images and the further inputs, by name, all with the same leading dimension."""
        raise NotImplementedError


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class OnnxRuntime(FileRuntime):
    """Runtime of an exported ``.onnx`` file, in ONNX Runtime on the CPU.

    Args:
        path: The file.

    Raises:
        ExportError: If ONNX Runtime is not installed, or the file is not one that :func:`export_model` wrote.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ExportError('ONNX Runtime is not installed. Run: pip install "saccade[export]".') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base but this
            raise ExportError(
                f"'{path}' cannot be opened by ONNX Runtime: {str(error).partition(chr(10))[0]}"
            ) from error
        text = self._session.get_modelmeta().custom_metadata_map.get("saccade")
        super().__init__(Path(path), None if text is None else json.loads(text), "ONNX Runtime")

    def _run(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        arrays = {name: value.contiguous().numpy() for name, value in tensors.items()}
        return [torch.from_numpy(array) for array in self._session.run(list(self._outputs), arrays)]


class ProgramRuntime(FileRuntime):
    """Runtime of an exported ``.pt2`` file of ``torch.export``, in torch on the CPU.

    Args:
        path: The file.

    Raises:
        ExportError: If it is not one that :func:`export_model` wrote.

    Example:
        >>> from saccade.deploy.export import export_model
        >>> runtime = ProgramRuntime(export_model(saccade.create_model("lenet5"), "lenet", format="torch"))
        >>> runtime(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))["probabilities"].shape
        torch.Size([2, 10])
    """

    def __init__(self, path: str | Path) -> None:
        import torchvision  # noqa: F401 - registers the operators that the graph may use

        extra = {"saccade": ""}
        try:
            program = torch.export.load(str(path), extra_files=extra)
        except Exception as error:  # torch raises whatever its archive reader meets
            raise ExportError(
                f"'{path}' cannot be opened by torch.export: {str(error).partition(chr(10))[0]}"
            ) from error
        self._module = program.module()
        super().__init__(Path(path), json.loads(extra["saccade"] or "null"), "torch.export")

    def _run(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return list(self._module(*(value.contiguous() for value in tensors.values())))
