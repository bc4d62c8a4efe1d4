"""One graph: what compiles, exports, and gives the same numbers in other runtimes."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.verify import verify_export
from saccade.models.base import Model, Outputs
from saccade.testing.comparing import ROUNDING, NotApplicableError, attempt, require_close, require_parity
from saccade.testing.examples import images_for, inputs_for, pixels_for
from saccade.testing.subject import Subject

__all__ = ["check_fullgraph", "check_runtime_formats", "check_torch_export"]

logger = logging.getLogger("saccade")

_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


def check_fullgraph(subject: Subject) -> None:
    """``forward`` is captured as one graph by ``torch.compile(fullgraph=True)``, with equal outputs.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.
    """
    model = subject.model
    images, inputs = images_for(model, subject.size), inputs_for(model, subject.size)
    torch.compiler.reset()
    # Capture is what a network can break; generating code from the graph is torch's.
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad(), attempt("torch.compile(fullgraph=True)"):
        require_close(compiled(images, **inputs), model(images, **inputs), "forward, compiled and not")


def check_torch_export(subject: Subject) -> None:
    """``torch.export`` takes ``forward`` with any number of images, with equal outputs.

    Args:
        subject: The network.

    Raises:
        AssertionError: If not.
        NotApplicableError: If the subject is not to be exported.
    """
    _require_exported(subject)
    model = subject.model
    images, inputs = images_for(model, subject.size), inputs_for(model, subject.size)
    form: nn.Module = _Positional(model) if inputs else model
    first = {0: torch.export.Dim("batch", min=1, max=64)}
    shapes = (first, *([(first,) * len(inputs)] if inputs else []))
    with torch.no_grad(), attempt("torch.export with any number of images"):
        program = torch.export.export(form, (images, *inputs.values()), dynamic_shapes=shapes).module()
        for batch in (1, 5):
            images = images_for(model, subject.size, batch, seed=2)
            inputs = inputs_for(model, subject.size, batch)
            found, expected = program(images, *inputs.values()), model(images, **inputs)
            require_close(found, expected, f"forward, exported and not, {batch} images")


def check_runtime_formats(subject: Subject, formats: Sequence[str] = ("onnx", "openvino")) -> None:
    """Files for other runtimes give the same predictions for any number of images.

    Args:
        subject: The network.
        formats: Of :func:`saccade.deploy.export.export_model`; those whose packages are missing are left out, which the
            log tells.

    Raises:
        AssertionError: If not.
        NotApplicableError: If the subject is not to be exported, or none of the packages is installed.
    """
    _require_exported(subject)
    model = subject.model
    missing = [name for name in formats if not all(map(importlib.util.find_spec, _PACKAGES.get(name, ())))]
    if len(missing) == len(formats):
        raise NotApplicableError(f'{", ".join(missing)} not installed: pip install "saccade[export]"')
    for name in formats:
        if name in missing:
            logger.warning("check 'runtime_formats': %s is not installed and was left out.", name)
            continue
        with tempfile.TemporaryDirectory(dir=subject.folder) as folder, attempt(f"export to {name}"):
            path = export_model(model, Path(folder) / f"model{SUFFIXES[name]}", format=name, size=subject.size)
            pixels = pixels_for(model, subject.size, 3)
            tolerance = subject.tolerance or ROUNDING
            report = verify_export(model, path, pixels, batch_sizes=(1, 3), tolerance=tolerance, trust=True)
            require_parity(report, model.decoded_keys)


def _require_exported(subject: Subject) -> None:
    if not subject.exported:
        raise NotApplicableError("it is not to be exported")


class _Positional(nn.Module):
    """A network that takes its further inputs by position, as dynamic shapes are given for them."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, *inputs: Tensor) -> Outputs:
        """Raw outputs."""
        return self.model(images, **dict(zip(self.model.input_names, inputs, strict=True)))
