"""Protocol of runtimes, and the network in the form in which it is exported."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from saccade.deploy.fuse import fuse_batch_norm
from saccade.errors import ExportError
from saccade.models.base import Decoded, Model
from saccade.models.checkpoint import model_metadata
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import kind_of
from saccade.structures.point_layout import PointLayout

__all__ = [
    "ExportForm",
    "Runtime",
    "as_uint8",
    "export_program",
    "file_metadata",
    "max_detections_of",
    "num_classes_of",
    "points_of",
    "score_thresholds_of",
]


class Runtime(Protocol):
    """Protocol of everything that predicts: pixels in, decoded tensors out.

    A network in memory and an exported file look the same from here.

    Attributes:
        task: Name of the task.
        class_names: Names of labels 0..N-1.
        input_spec: How images become its input.
        input_names: Further inputs that it takes, by name.
        decoded_keys: Keys of the decoded tensors.
        name: Model, engine and precision, for messages and tables.

    A runtime may be called from several threads at once; those whose engine cannot, take turns.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime: Runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> runtime.task, runtime.decoded_keys, runtime.input_spec.size
        ('classification', ('probabilities',), (32, 32))
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Predict: decoded tensors, on the CPU, of ``images`` (B, C, H, W), uint8 RGB (or grey) on a canvas."""
        ...


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


def num_classes_of(runtime: Runtime) -> int:
    """Classes that a runtime predicts, also where it does not know their names; 0 where that is not known either.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> runtime = EagerRuntime(saccade.create_model("lenet5"))
        >>> runtime.class_names, num_classes_of(runtime)
        ((), 10)
    """
    return len(runtime.class_names) or int(getattr(runtime, "num_classes", 0))


def points_of(runtime: Runtime) -> PointLayout:
    """Layout of the keypoints that a runtime predicts; empty where it predicts none or does not know it.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> from saccade.structures.point_layout import PointLayout
        >>> model = saccade.create_model("dsnt", num_classes=2)
        >>> model.point_layout = PointLayout(("left_eye", "right_eye"), flip_pairs=((0, 1),))
        >>> points_of(EagerRuntime(model)).flip_pairs
        ((0, 1),)
    """
    layout: PointLayout = getattr(runtime, "point_layout", PointLayout())
    return layout


def max_detections_of(predictor: Any) -> int | None:
    """Most detections that a network or a runtime outputs for an image; None where it has no such limit.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> model = saccade.create_model("yolox_nano")
        >>> max_detections_of(model), max_detections_of(EagerRuntime(model)), max_detections_of(torch.nn.ReLU())
        (100, 100, None)
    """
    number = getattr(predictor, "max_detections", getattr(getattr(predictor, "nms", None), "max_detections", None))
    return number if isinstance(number, int) else None


def score_thresholds_of(runtime: Runtime) -> tuple[float, ...]:
    """Score of each class below which a model leaves objects out when it predicts; empty where none were chosen.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> model.score_thresholds = (0.3, 0.55)
        >>> score_thresholds_of(EagerRuntime(model))
        (0.3, 0.55)
    """
    return tuple(getattr(runtime, "score_thresholds", ()))


def as_uint8(images: Tensor) -> Tensor:
    """Convert images to what exported graphs take: uint8 on the CPU, contiguous; other values 0..255 are rounded.

    Example:
        >>> as_uint8(torch.tensor([[[[254.6, -3.0]]]]))
        tensor([[[[255,   0]]]], dtype=torch.uint8)
    """
    if images.dtype != torch.uint8:
        images = images.float().round().clamp(0, 255).to(torch.uint8)
    images = images.cpu()
    if images.shape[1] == 3 and images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        # An image as it was decoded; OpenCV takes its channels apart in about half of torch's time.
        return torch.stack([torch.from_numpy(np.stack(cv2.split(one.permute(1, 2, 0).numpy()))) for one in images])
    return images.contiguous()
