"""The network in the form in which it is exported: one graph from pixels to decoded tensors, and its metadata."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saccade.deploy.base import max_detections_of
from saccade.deploy.fuse import fuse_batch_norm
from saccade.errors import ExportError
from saccade.models.base import Model
from saccade.models.checkpoint import model_metadata
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import kind_of

__all__ = ["ExportForm", "export_program", "file_metadata"]


class ExportForm(nn.Module):
    """Network as it is exported: normalisation, network and decoding as one graph with a tuple of tensors at its end.

    Args:
        model: The network; a copy with folded BatchNorm is taken.
        size: Canvas (height, width).
        decode: Whether decoding is part of the graph; without it the raw outputs of ``forward`` are given.

    Attributes:
        names: Names of the outputs, in order.
        input_names: Names of the inputs behind the images, in order.

    Example:
        >>> form = ExportForm(saccade.create_model("lenet5"), (32, 32), decode=True)
        >>> form.names, form(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))[0].shape
        (('probabilities',), torch.Size([2, 10]))
    """

    def __init__(self, model: Model, size: tuple[int, int], decode: bool) -> None:
        super().__init__()
        self.normalize = Normalize(model.input_spec)
        images = torch.zeros(1, model.input_spec.channels, *size)
        inputs = normalize_inputs(self.normalize, example_inputs(model, size, 1))
        self.model = fuse_batch_norm(model, images, inputs).requires_grad_(False)
        self.decode = decode
        self.input_names = tuple(inputs)
        with torch.no_grad():
            run = self.model.predict if decode else self.model
            self.names: tuple[str, ...] = tuple(run(self.normalize(images), **inputs))

    def forward(self, images: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of ``names`` for ``images`` (B, C, H, W), uint8, and the further inputs."""
        named = normalize_inputs(self.normalize, dict(zip(self.input_names, inputs, strict=True)))
        run = self.model.predict if self.decode else self.model
        outputs: Mapping[str, Tensor] = run(self.normalize(images), **named)
        return tuple(outputs[name] for name in self.names)


def export_program(form: ExportForm, spec: InputSpec, dynamic_batch: bool) -> torch.export.ExportedProgram:
    """Trace an :class:`ExportForm` as one graph, at the canvas of ``spec``.

    Raises:
        ExportError: If torch cannot trace the network as one graph; the message names the reason.
    """
    # Traced with a batch of two, because torch takes sizes of one for constants.
    batch = 2 if dynamic_batch else 1
    images = torch.zeros(batch, spec.channels, *spec.size, dtype=torch.uint8)
    inputs = example_inputs(form.model, spec.size, batch)
    shapes: Any = None
    if dynamic_batch or inputs:
        first = {0: torch.export.Dim("batch")} if dynamic_batch else {}
        rows = {name: {1: torch.export.Dim(f"{kind_of(name).rows}_count")} for name in inputs if kind_of(name).rows}
        shapes = (first, *([tuple(first | rows.get(name, {}) for name in inputs)] if inputs else []))
    name = form.model.builder_name or type(form.model).__name__
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and torchvision warn about each other's internals
        try:
            return torch.export.export(form, (images, *inputs.values()), dynamic_shapes=shapes)
        except Exception as error:  # torch.export raises many kinds, all with the same meaning here
            reason = str(error).strip().partition("\n")[0]
            remedy = (
                " With dynamic_batch=False a network that ties itself to one batch size may pass."
                if dynamic_batch
                else ""
            )
            raise ExportError(f"'{name}' cannot be exported as one graph: {reason}.{remedy}") from error


def file_metadata(
    model: Model, spec: InputSpec, names: tuple[str, ...], decoded: bool, metrics: Mapping[str, float] | None
) -> dict[str, Any]:
    """Metadata of an exported file: that of a checkpoint, the canvas it is made for, and its outputs.

    Example:
        >>> model = saccade.create_model("lenet5", num_classes=3)
        >>> metadata = file_metadata(model, model.input_spec, ("probabilities",), decoded=True, metrics={"top1": 0.9})
        >>> metadata["task"], metadata["outputs"], metadata["metrics"]
        ('classification', ['probabilities'], {'top1': 0.9})
    """
    return {
        **model_metadata(model, metrics),
        "input_spec": spec.to_dict(),
        "inputs": list(model.input_names),
        "outputs": list(names),
        "decoded": decoded,
        "max_detections": max_detections_of(model),
    }
