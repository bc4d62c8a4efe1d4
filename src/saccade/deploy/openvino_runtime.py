"""OpenVINO: a network in memory converted for this CPU."""

from __future__ import annotations

import copy
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from saccade.deploy.base import max_detections_of
from saccade.deploy.export_form import ExportForm, export_program
from saccade.deploy.fuse import fuse_batch_norm
from saccade.deploy.graph_cache import GraphCache
from saccade.deploy.openvino_file import import_openvino, openvino_options
from saccade.deploy.precision import Precision
from saccade.deploy.roi_pool import convert_roi_pool
from saccade.deploy.torch_runtime import FusedRuntime, as_uint8
from saccade.errors import ExportError
from saccade.models.base import Decoded, Model
from saccade.models.finish import run_finish
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import select_inputs

__all__ = ["OpenVinoRuntime", "convert_program"]

logger = logging.getLogger("saccade")
# Graphs of so many canvases, and compiled ones of so many shapes, are kept: those used last.
_MAX_CANVASES = 4
_MAX_COMPILED = 8
# Converting takes seconds. The first canvases are converted at once; once the table is full, a canvas has to come back
# within so many others, and images of canvases that never do go through torch.
_REMEMBERED = 32


def convert_program(
    program: torch.export.ExportedProgram, names: tuple[str, ...], input_names: tuple[str, ...] = ()
) -> Any:
    """Convert an exported graph to an ``openvino.Model``: inputs ``images`` and ``input_names``, outputs ``names``.

    Raises:
        ExportError: If OpenVINO lacks an operation of the graph.
    """
    openvino = import_openvino()
    from openvino.frontend.pytorch import ConversionExtension

    try:
        extensions = [
            ConversionExtension("torchvision.nms.default", _convert_nms),
            ConversionExtension("torchvision.roi_pool.default", convert_roi_pool),
        ]
        model = openvino.convert_model(program, extension=extensions)
    except Exception as error:  # the converter raises many kinds, all with the same meaning here
        reason = next(
            (line for line in str(error).splitlines() if "No conversion rule" in line), str(error).partition("\n")[0]
        )
        raise ExportError(f"OpenVINO cannot take this network: {reason}") from error
    for source, name in zip(model.inputs, ("images", *input_names), strict=True):
        source.get_tensor().set_names({name})
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


def _folded(model: Model) -> Model:
    """A copy with BatchNorm folded, which takes a pass through the network."""
    spec = model.input_spec
    inputs = normalize_inputs(Normalize(spec), example_inputs(model, spec.size, 1))
    return fuse_batch_norm(model, torch.zeros(1, spec.channels, *spec.size), inputs)


def _in_bfloat16(method: Callable[..., Decoded]) -> Callable[..., Decoded]:
    """The method with its convolutions and products of matrices in bfloat16."""

    def computed(*arguments: Any) -> Decoded:
        with torch.autocast("cpu", torch.bfloat16):
            return method(*arguments)

    return computed


def _data(value: Tensor) -> int:
    """Address of what a tensor, or the tensor that it is a view of, holds."""
    return value.untyped_storage().data_ptr()


class OpenVinoRuntime:
    """Runtime of a network in memory in OpenVINO: ``forward`` is converted at the first image of each canvas.

    Decoding stays in torch.

    Args:
        model: The network; a copy is taken.
        precision: ``auto`` takes bfloat16 where the CPU computes in it.
        cached: Keep converted graphs on disk and take them from there. The network itself is used instead of a copy,
            and must not change.
    """

    task: str
    class_names: tuple[str, ...]
    input_spec: InputSpec
    input_names: tuple[str, ...]
    decoded_keys: tuple[str, ...]
    name: str

    def __init__(self, model: Model, precision: Precision = "auto", cached: bool = False) -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._options = openvino_options(precision)
        self._precision = precision
        self._model, self._is_folded = (model, False) if cached else (_folded(model), True)
        self._cache = GraphCache(model, f"openvino {openvino.__version__}") if cached else None
        # The same network with the converted graph in place of its forward: Model.predict composes the two as ever.
        self._shell = copy.copy(self._model)
        self._shell.forward = self._forward  # type: ignore[method-assign]
        if hasattr(model, "predict_on_boxes") and self._options["INFERENCE_PRECISION_HINT"] == "bf16":
            # What runs on the final boxes is a part of the network that the graph does not hold.
            self._shell.predict_on_boxes = _in_bfloat16(self._shell.predict_on_boxes)  # type: ignore[arg-type, assignment]
        spec = model.input_spec
        self._graphs: OrderedDict[tuple[int, int], tuple[Any, tuple[str, ...]]] = OrderedDict()
        self._seen: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._refused: set[tuple[int, int]] = set()
        self._said = False
        self._compiled: OrderedDict[tuple[int, ...], tuple[Any, tuple[str, ...]]] = OrderedDict()
        self._given: set[int] = set()
        self._torch: FusedRuntime | None = None
        self._lock = threading.Lock()
        self.task, self.class_names, self.input_spec = model.task, model.class_names, spec
        self.input_names, self.decoded_keys = model.input_names, model.decoded_keys
        self.point_layout = model.point_layout
        self.num_classes, self.max_detections = model.num_classes, max_detections_of(model)
        self.score_thresholds = model.score_thresholds
        words = {"f32": "float32", "bf16": "bfloat16"}[self._options["INFERENCE_PRECISION_HINT"]]
        self.name = f"{model.builder_name or type(model).__name__} (OpenVINO, cpu, {words})"

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded tensors of ``images`` (B, C, H, W), uint8."""
        images = as_uint8(images)
        name, options = self.finish
        return run_finish(name, self.run_graph(images, **inputs), images, options)

    @property
    def finish(self) -> tuple[str, Mapping[str, Any]]:
        """Name and options of the function that runs after the graph."""
        return self._model.finish, self._model.finish_options

    def run_graph(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Tensors of the graph on the CPU, before the function that runs after it."""
        images = as_uint8(images)
        chosen = select_inputs(self.input_names, inputs, self.name)
        with self._lock, torch.inference_mode():
            if not self._is_ready((images.shape[2], images.shape[3])):
                return self._in_torch().run_graph(images, **chosen)
            decoded = self._shell.predict(images, **chosen)
            # The next call overwrites what the graph gave; decoding seldom hands it on.
            own = {name: value.clone() if _data(value) in self._given else value for name, value in decoded.items()}
        return {name: value.float() if value.is_floating_point() else value for name, value in own.items()}

    def _network(self) -> Model:
        """The network with BatchNorm folded; one whose graphs lie on the disk seldom needs it."""
        if not self._is_folded:
            self._model, self._is_folded = _folded(self._model), True
        return self._model

    def _forward(self, images: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        compiled, names = self._compile(tuple(images.shape), inputs)
        arrays = compiled(
            [images.numpy(), *(value.contiguous().numpy() for value in inputs.values())], share_outputs=True
        )
        outputs = {name: torch.from_numpy(arrays[index]) for index, name in enumerate(names)}
        self._given = {_data(value) for value in outputs.values()}
        return outputs

    def _compile(self, shape: tuple[int, ...], inputs: dict[str, Tensor]) -> tuple[Any, tuple[str, ...]]:
        """The graph for batches of this shape."""
        key = (*shape, *(length for value in inputs.values() for length in value.shape))
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        graph, names = self._graphs[shape[2], shape[3]]
        # A graph of fixed shape is faster than one that takes any.
        shapes = {"images": list(shape), **{name: list(value.shape) for name, value in inputs.items()}}
        graph.reshape(shapes)
        self._compiled[key] = self._core.compile_model(graph, "CPU", self._options), names
        if len(self._compiled) > _MAX_COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[key]

    def _is_ready(self, size: tuple[int, int]) -> bool:
        """Whether there is a graph for this canvas; one is made where that is worth its seconds."""
        if size in self._graphs:
            self._graphs.move_to_end(size)
            return True
        if size in self._refused:
            return False
        if len(self._graphs) >= _MAX_CANVASES and size not in self._seen:
            if not self._said:
                self._said = True
                logger.warning(
                    "%s: images of more than %d canvases; those whose canvas does not come back go through torch.",
                    self.name,
                    _MAX_CANVASES,
                )
            self._seen[size] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return False
        try:
            graph = self._graph(size)
        except ExportError as error:
            self._refused.add(size)
            logger.warning("%s: %s; torch takes these images instead.", self.name, error)
            return False
        self._graphs[size] = (graph, tuple(output.get_any_name() for output in graph.outputs))
        self._seen.pop(size, None)
        if len(self._graphs) > _MAX_CANVASES:
            oldest, _ = self._graphs.popitem(last=False)
            for key in [key for key in self._compiled if key[2:4] == oldest]:
                del self._compiled[key]
        return True

    def _graph(self, size: tuple[int, int]) -> Any:
        """The graph of a canvas, from the disk or converted now."""
        if self._cache is None:
            return self._converted(size)
        graph = self._cache.read(size, self._core.read_model)
        if graph is None:
            graph = self._converted(size)
            self._cache.write(size, partial(import_openvino().save_model, graph, compress_to_fp16=False))
            # As it is read by later processes, whose figures are then the same to the last bit.
            graph = self._cache.read(size, self._core.read_model) or graph
        return graph

    def _converted(self, size: tuple[int, int]) -> Any:
        form = ExportForm(self._network(), size, decode=False)
        program = export_program(form, replace(self.input_spec, size=size), dynamic_batch=True)
        return convert_program(program, form.names, form.input_names)

    def _in_torch(self) -> FusedRuntime:
        if self._torch is None:
            self._torch = FusedRuntime(self._network(), self._precision)
        return self._torch
