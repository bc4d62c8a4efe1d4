"""Networks in memory, run by torch: as they are, or rearranged for a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saccade.deploy.arrays import planes
from saccade.deploy.base import max_detections_of
from saccade.deploy.fuse import fuse_batch_norm
from saccade.deploy.precision import Precision, resolve_precision
from saccade.models.base import Decoded, Model
from saccade.models.finish import run_finish
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import select_inputs

__all__ = ["EagerRuntime", "FusedRuntime", "as_uint8"]

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class EagerRuntime:
    """Runtime of a network as it is, in torch: training scores with it, and every other runtime is compared to it.

    Args:
        model: The network; it is moved to ``device`` and put into eval mode, and not copied.
        device: Where it runs.
        precision: ``32``, or autocast in ``bf16`` or ``16``; ``auto`` picks half precision where the device computes in
            it. Raw outputs are decoded in float32.

    Example:
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> runtime.name
        'lenet5 (torch, cpu, float32)'
        >>> runtime(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))["probabilities"].shape
        torch.Size([2, 10])
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __init__(self, model: Model, device: str | torch.device = "cpu", precision: Precision = "32") -> None:
        self.device = torch.device(device)
        self.precision = resolve_precision(precision, self.device.type)
        self.model = model.to(self.device).eval()
        self.normalize = Normalize(model.input_spec).to(self.device)
        self.task, self.class_names, self.input_spec = model.task, model.class_names, model.input_spec
        self.input_names, self.decoded_keys = model.input_names, model.decoded_keys
        self.point_layout = model.point_layout
        self.num_classes, self.max_detections = model.num_classes, max_detections_of(model)
        self.score_thresholds = model.score_thresholds
        self.name = f"{model.builder_name or type(model).__name__} (torch, {self.device}, {_words(self.precision)})"

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded tensors on the CPU of ``images`` (B, C, H, W), uint8."""
        with torch.inference_mode():
            name, options = self.finish
            return run_finish(name, self.run_graph(images, **inputs), images.cpu(), options)

    @property
    def finish(self) -> tuple[str, Mapping[str, Any]]:
        """Name and options of the function that runs after the graph."""
        return self.model.finish, self.model.finish_options

    def run_graph(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Tensors of the graph on the CPU, before the function that runs after it."""
        chosen = select_inputs(self.input_names, inputs, self.name)
        with torch.inference_mode():
            pixels = self.normalize(self._arranged(images.to(self.device, non_blocking=True)))
            named = {name: value.to(self.device, non_blocking=True) for name, value in chosen.items()}
            with self._autocast():
                decoded = self.model.predict(pixels, **normalize_inputs(self.normalize, named))
            return {name: _float32(value).cpu() for name, value in decoded.items()}

    def _arranged(self, images: Tensor) -> Tensor:
        return images

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = _DTYPES.get(self.precision)
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)


class FusedRuntime(EagerRuntime):
    """Runtime for CPUs without OpenVINO: BatchNorm folded, channels last, bfloat16 where the CPU computes in it.

    Args:
        model: The network; a copy is taken.
        precision: As for :class:`EagerRuntime`.

    Example:
        >>> runtime = FusedRuntime(saccade.create_model("lenet5"), precision="32")
        >>> runtime.name
        'lenet5 (torch fused, cpu, float32)'
    """

    def __init__(self, model: Model, precision: Precision = "auto") -> None:
        spec = model.input_spec
        inputs = normalize_inputs(Normalize(spec), example_inputs(model, spec.size, 1))
        fused = fuse_batch_norm(model, torch.zeros(1, spec.channels, *spec.size), inputs).requires_grad_(False)
        super().__init__(fused, "cpu", precision)
        self.model.to(memory_format=torch.channels_last)
        self.name = f"{model.builder_name or type(model).__name__} (torch fused, cpu, {_words(self.precision)})"

    def _arranged(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _words(precision: str) -> str:
    return {"32": "float32", "bf16": "bfloat16", "16": "float16"}[precision]


def as_uint8(images: Tensor) -> Tensor:
    """Convert images to what exported graphs take: uint8 on the CPU, contiguous; other values 0..255 are rounded.

    Example:
        >>> as_uint8(torch.tensor([[[[254.6, -3.0]]]]))
        tensor([[[[255,   0]]]], dtype=torch.uint8)
    """
    if images.dtype != torch.uint8:
        images = images.float().round().clamp(0, 255).to(torch.uint8)
    return torch.from_numpy(planes(images.cpu().numpy()))
