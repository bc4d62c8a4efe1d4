"""Exported files: everything a prediction needs is inside them.

They are run in NumPy arrays: neither torch nor torchvision is imported, unless a function runs after the graph, or the
caller itself gives tensors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.deploy.arrays import planes
from saccade.deploy.precision import thread_count
from saccade.errors import DataError, ExportError
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import select_inputs
from saccade.structures.point_layout import PointLayout
from saccade.structures.reading import require_regular
from saccade.structures.text import printable
from saccade.tasks import get_task, list_tasks
from saccade.weights.metadata import EXPORTED_FIELDS, FORMAT_VERSION, library_version, read_text_metadata

if TYPE_CHECKING:
    from torch import Tensor

    from saccade.models.base import Decoded

__all__ = ["Arrays", "FileRuntime", "OnnxRuntime", "import_onnxruntime", "require_file"]

Arrays = dict[str, NDArray[Any]]
"""Arrays by name."""


def import_onnxruntime() -> Any:
    """Import the ``onnxruntime`` package so that its telemetry stays off.

    From 1.31 on it looks up a host of its makers and keeps a device id and a database in the user's cache folder,
    unless ``ORT_DISABLE_TELEMETRY`` is set before it is imported. Set it to 0 yourself to allow that.

    Raises:
        ExportError: If ONNX Runtime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError('ONNX Runtime is not installed. Run: pip install "saccade[export]".') from error
    return onnxruntime


def require_file(path: str | Path) -> None:
    """Refuse what is no regular file, such as a device or a pipe, before an engine opens it.

    Raises:
        ExportError: Naming what it is.
    """
    try:
        require_regular(path)
    except DataError as error:
        raise ExportError(str(error)) from error


class FileRuntime:
    """Base of the runtimes of exported files: their metadata, and the check of their inputs.

    Args:
        path: The file.
        text: Its metadata, as JSON; None if it holds none.
        engine: What runs it, for messages.

    Raises:
        ExportError: If it was not written by :func:`saccade.deploy.export.export_model`, or a field of its metadata is
            wrong.
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __init__(self, path: Path, text: str | None, engine: str) -> None:
        if not text:
            raise ExportError(
                f"'{path}' does not hold its inputs and outputs (no Saccade metadata). Export it with saccade.export, "
                f"or run it with {engine} yourself."
            )
        metadata = read_text_metadata(text, path, ExportError, EXPORTED_FIELDS)
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
        self.point_layout = PointLayout.from_dict(metadata.get("points", {}))
        self.num_classes: int = metadata["num_classes"]
        self.max_detections: int | None = metadata.get("max_detections")
        self.score_thresholds: tuple[float, ...] = tuple(metadata.get("score_thresholds", ()))
        self._outputs = tuple(metadata["outputs"])
        self._limit: int | None = None
        self._lock = threading.Lock()
        self._fixed_batch: int | None = metadata["batch"]

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded tensors of ``images`` (B, C, H, W), uint8, at the canvas the file was made for."""
        return self._in_tensors(self.predict_arrays, images, inputs)

    def predict_arrays(self, images: NDArray[Any], **inputs: NDArray[Any]) -> Arrays:
        """Decoded arrays of ``images`` (B, C, H, W), uint8, at the canvas the file was made for."""
        images = planes(images)
        name, options = self.finish
        decoded = self._graph(images, inputs)
        if name:
            decoded = _finished(name, decoded, images, options)
        if self.metadata["decoded"]:
            self._check(decoded, len(images))
        return decoded if self._limit is None else _first_rows(decoded, get_task(self.task).decoded, self._limit)

    @property
    def finish(self) -> tuple[str, Mapping[str, Any]]:
        """Name and options of the function that runs after the graph."""
        return self.metadata.get("finish", ""), self.metadata.get("finish_options", {})

    def run_graph(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Tensors of the graph, before the function that runs after it."""
        return self._in_tensors(lambda pixels, **more: self._graph(planes(pixels), more), images, inputs)

    def _graph(self, images: NDArray[Any], inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Arrays of the graph."""
        expected = (self.input_spec.channels, *self.input_spec.size)
        if tuple(images.shape[1:]) != expected:
            raise ExportError(
                f"{self.name} takes images of {_by(expected)}, got {_by(tuple(images.shape[1:]))}. Export the model "
                "with size=(height, width) for others."
            )
        arrays = {"images": images, **select_inputs(self.input_names, inputs, self.name)}
        size = len(images) if self._fixed_batch is None else self._fixed_batch
        try:
            parts = [
                self._run({name: np.ascontiguousarray(value[start : start + size]) for name, value in arrays.items()})
                for start in range(0, max(len(images), 1), max(size, 1))
            ]
            if len(parts) == 1:
                return dict(zip(self._outputs, parts[0], strict=True))
            return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(self._outputs)}
        except Exception as error:  # engines raise what they meet, all with the same meaning here
            reason = printable(str(error).strip().partition("\n")[0], limit=300)
            raise ExportError(
                f"{self.name} cannot be run as its metadata describes it ({reason}). Export the model again."
            ) from error

    @staticmethod
    def _in_tensors(run: Callable[..., Arrays], images: Tensor, inputs: Mapping[str, Tensor]) -> Decoded:
        """What ``run`` gives, for a caller who has tensors."""
        import torch

        from saccade.deploy.torch_runtime import as_uint8

        arrays = {name: value.detach().cpu().numpy() for name, value in inputs.items()}
        return {name: torch.from_numpy(value) for name, value in run(as_uint8(images).numpy(), **arrays).items()}

    def limit_detections(self, count: int) -> None:
        """Give only the best of the detections of an image; the file itself stays as it is.

        Raises:
            ExportError: If the file is not that of a detector, or outputs fewer.
        """
        own = self.max_detections
        if own is None:
            raise ExportError(f"max_detections is for detectors; {self.name} has no such limit. Leave it out.")
        if not 1 <= count <= own:
            raise ExportError(
                f"max_detections is {count}; {self.name} was exported to output {own} detections of an image, and can "
                f"give 1 to {own} of them. For more, export the model again with a larger max_detections "
                "(--max-detections)."
            )
        self._limit = self.max_detections = count

    def _check(self, decoded: Arrays, batch: int) -> None:
        """Refuse outputs that are not those of the task: a file may hold any graph."""
        if self.task not in list_tasks():
            return
        lengths: dict[str, int] = {"B": batch}
        for key, letters in get_task(self.task).decoded.items():
            found = decoded.get(key.removesuffix("?"))
            if found is None:
                if key.endswith("?"):
                    continue
                raise ExportError(f"{self.name} gives no '{key}', which {self.task} needs. Export the model again.")
            expected = [int(letter) if letter.isdigit() else lengths.get(letter) for letter in letters]
            fits = len(expected) == found.ndim and all(
                wanted in (None, length) for wanted, length in zip(expected, found.shape, strict=True)
            )
            if not fits:
                raise ExportError(
                    f"{self.name} gives '{key.removesuffix('?')}' of shape {tuple(found.shape)}, which is not that of "
                    f"{self.task} ({letters}). Export the model again."
                )
            lengths |= dict(zip(letters, found.shape, strict=True))
        if "labels" in decoded and "count" in decoded and self.class_names:
            labels, count = decoded["labels"], decoded["count"]
            rows = np.arange(labels.shape[1])[None] < count[:, None]
            wrong = labels[rows & ((labels < 0) | (labels >= len(self.class_names)))]
            if len(wrong):
                raise ExportError(
                    f"{self.name} gives label {int(wrong[0])}, but has {len(self.class_names)} classes. "
                    "Export the model again."
                )

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        """Outputs for the images and the further inputs, by name, all contiguous with the same leading dimension."""
        raise NotImplementedError


def _finished(name: str, decoded: Arrays, images: NDArray[Any], options: Mapping[str, Any]) -> Arrays:
    """What the function that runs after the graph makes of it; those are written in torch."""
    import torch

    from saccade.models.finish import run_finish

    tensors = {key: torch.from_numpy(value) for key, value in decoded.items()}
    return {key: value.numpy() for key, value in run_finish(name, tensors, torch.from_numpy(images), options).items()}


def _first_rows(decoded: Arrays, letters: Mapping[str, str], limit: int) -> Arrays:
    """The first detections of each image, which come by falling score."""
    rows = letters["scores"][1]
    whole = {key.removesuffix("?"): tuple(shape) for key, shape in letters.items()}
    first = {key: value[:, :limit] if whole.get(key, ())[1:2] == (rows,) else value for key, value in decoded.items()}
    return {**first, "count": np.minimum(decoded["count"], limit)}


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class OnnxRuntime(FileRuntime):
    """Runtime of an exported ``.onnx`` file, in ONNX Runtime.

    Args:
        path: The file.
        device: ``cpu``, or ``cuda`` (``cuda:1``) where ONNX Runtime has been built for it; what it cannot compute there
            it computes on the CPU.

    Raises:
        ExportError: If ONNX Runtime is not installed or not built for the device, or the file is not one that
            :func:`export_model` wrote.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        require_file(path)
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count() or 0
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(onnxruntime, device))
            text = self._session.get_modelmeta().custom_metadata_map.get("saccade")
        except ExportError:
            raise
        except Exception as error:  # its exceptions have no common base but this
            raise ExportError(
                f"'{path}' cannot be opened by ONNX Runtime: {str(error).partition(chr(10))[0]}"
            ) from error
        super().__init__(Path(path), text, "ONNX Runtime" if device == "cpu" else f"ONNX Runtime, {device}")

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        return list(self._session.run(list(self._outputs), arrays))


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    """Where ONNX Runtime computes, the first choice first."""
    on_cpu = "CPUExecutionProvider"
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return [on_cpu]
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ExportError(f"device '{device}' is none that exported files run on. Choose cpu, or cuda for ONNX files.")
    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise ExportError(
            f"this ONNX Runtime has no CUDA (it has {', '.join(available)}). Run: pip uninstall onnxruntime && pip "
            "install onnxruntime-gpu."
        )
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), on_cpu]
