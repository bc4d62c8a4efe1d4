"""An exported float32 file as a graph that NNCF quantises: which layers it has, what follows them, how near it stays.

The two formats differ in how an operation is found and changed; what is asked of the graph is the same for both.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.deploy.export import save_openvino
from saccade.deploy.file_runtime import import_onnxruntime
from saccade.deploy.openvino_file import import_openvino
from saccade.models.base import Model
from saccade.structures.files import atomic_write

__all__ = ["Int8Graph", "OnnxGraph", "OpenVinoGraph", "Weights", "mean_squared_error", "open_graph"]

Arrays = Mapping[str, NDArray[Any]]
Probe = Callable[[Arrays], list[NDArray[Any]]]

# Operations by both formats' names.
_CONVOLUTIONS = {"Convolution", "GroupConvolution", "Conv"}
_TRANSPOSED = {"ConvolutionBackpropData", "GroupConvolutionBackpropData", "ConvTranspose"}
_PRODUCTS = {"MatMul", "Gemm"}
# Inputs by number that choose or locate and are no features: what computes them is geometry, wherever it is.
_LOCATING = {
    "TopK": (0,), "NonMaxSuppression": (0, 1), "NonMaxSuppressionIEInternal": (0, 1), "ROIAlign": (1, 2),
    "RoiAlign": (1, 2), "ROIPooling": (1,), "MaxRoiPool": (1,), "GridSample": (1,), "Gather": (1,),
    "GatherElements": (1,), "GatherND": (1,),
}  # fmt: skip
_SHAPES = {"ShapeOf", "Shape"}
# Operations that hand on quantised values as they are.
_PASSING = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "MaxPool", "Concat", "Slice", "Split", "VariadicSplit",
    "Interpolate", "Resize", "Pad",
}  # fmt: skip


class Weights:
    """Names of a network's layers by the content of their weights, which is all that a converted graph keeps of them.

    Args:
        model: The network as it is exported, BatchNorm folded.

    Example:
        >>> model = saccade.create_model("lenet5")
        >>> Weights(model).layers(model.output.weight.detach().numpy())
        ['output']
    """

    def __init__(self, model: Model) -> None:
        self._names: dict[bytes, list[str]] = {}
        for name, weight in model.named_parameters():
            layer = name.rpartition(".")[0] or name
            for form in (weight, weight.mT) if weight.ndim == 2 else (weight,):
                names = self._names.setdefault(_digest(form.detach().cpu().contiguous().numpy()), [])
                names += [layer] if layer not in names else []
        self._constants = {_digest(buffer.cpu().contiguous().numpy()) for buffer in model.buffers() if buffer.ndim > 1}

    def layers(self, array: NDArray[Any]) -> Sequence[str]:
        """Names of the layers with this weight: several where weights are equal, none where it is computed."""
        return self._names.get(_digest(array), ())

    def is_constant(self, array: NDArray[Any]) -> bool:
        """Whether this is a buffer, such as the kernel of a fixed filter."""
        return _digest(array) in self._constants


def _digest(array: NDArray[Any]) -> bytes:
    """By content alone: converters reshape weights."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


@dataclass
class Node:
    """Operation of a graph.

    Args:
        name: Its own.
        kind: Its type.
        sources: Names of the operations that compute its inputs, by input; empty where a constant or nothing does.
        weight: Its first constant input with two dimensions or more.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    weight: NDArray[Any] | None


class Int8Graph:
    """Float32 graph of a file; a subclass knows the format.

    NNCF finds decoding by TopK and suppression alone; here it is also what leads to any output, so that coordinates of
    points, soft maxima and distances stay in float too.

    Args:
        nodes: Operations in the order in which they run.
        outputs: Names of the operations that compute the outputs.
        weights: Names of layers.
    """

    def __init__(self, nodes: Iterable[Node], outputs: Iterable[str], weights: Weights) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._outputs = tuple(outputs)
        self._weights = weights

    @cached_property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Names of operations with weights, by layer; a layer that runs several times has several."""
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes.values():
            names = self._layers_of(node)
            if names:
                # Of layers with equal weights, each comes once before one comes again.
                layer = min(names, key=lambda name: len(found.get(name, ())))
                found[layer] = (*found.get(layer, ()), node.name)
        return found

    def _layers_of(self, node: Node) -> Sequence[str]:
        """Names of the layers that an operation may be of; empty for one without weights that are learnt."""
        if node.kind not in _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS:
            return ()
        if node.weight is not None:
            names = self._weights.layers(node.weight)
            if names or self._weights.is_constant(node.weight):
                return names
            if (node.weight == node.weight[:1]).all():
                return ()  # the same filter for every channel smooths or interpolates
        # Weights may be computed from what is learnt. A fixed product or transposed convolution interpolates.
        return (node.name,) if node.kind in _CONVOLUTIONS else ()

    def operations(self, layer: str) -> tuple[str, ...]:
        """A layer's operations, and those that only it reads: what is multiplied, added or pooled for it alone."""
        found = list(self.layers[layer])
        for name in found:  # grows
            for source in self.nodes[name].sources:
                if source and self._readers[source] == 1 and source not in found and source not in self._with_weights:
                    found.append(source)
        # The bias that is added to what another layer gives is that layer's.
        return tuple(
            name for name in found if not (self.nodes[name].kind == "Add" and not all(self.nodes[name].sources))
        )

    @cached_property
    def _readers(self) -> Counter[str]:
        return Counter(source for node in self.nodes.values() for source in node.sources)

    @cached_property
    def _with_weights(self) -> set[str]:
        return {name for names in self.layers.values() for name in names}

    @cached_property
    def after_layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Operations of decoding, and the last layers before it.

        Decoding is what lies between a layer and an output, or an input that chooses or locates: coordinates of boxes
        and scores lose more by eight bits than they save.
        """
        starts = list(self._outputs)
        for node in self.nodes.values():
            ports = _LOCATING.get(node.kind, ())
            starts += [node.sources[port] for port in ports if port < len(node.sources)]
        seen, last, waiting = set[str](), set[str](), [name for name in starts if name]
        while waiting:
            name = waiting.pop()
            if name in self._with_weights:
                last.add(name)
            elif name not in seen:
                seen.add(name)
                node = self.nodes[name]
                waiting += [source for source in node.sources if source and node.kind not in _SHAPES]
        ordered = tuple(self.nodes)
        return tuple(name for name in ordered if name in seen), tuple(name for name in ordered if name in last)

    @property
    def has_attention(self) -> bool:
        """Whether two computed tensors are multiplied behind a softmax."""
        return any(
            node.kind == "ScaledDotProductAttention"
            or (node.kind in _PRODUCTS and all(node.sources) and self._follows(node, "Softmax"))
            for node in self.nodes.values()
        )

    def _follows(self, node: Node, kind: str) -> bool:
        first = self.nodes.get(node.sources[0]) if node.sources else None
        while first is not None and first.kind in _PASSING | {"Convert", "Cast", "Expand", "Broadcast"}:
            first = self.nodes.get(first.sources[0])
        return first is not None and first.kind == kind

    def quantize(self, nncf: Any, images: Any, in_float: Collection[str]) -> Any:
        """The graph in int8, calibrated.

        Args:
            nncf: The package.
            images: Inputs by name, image by image, with a length.
            in_float: Layers that stay as they are, besides all decoding.
        """
        ignored = [*self.after_layers[0], *(name for layer in in_float for name in self.operations(layer))]
        return nncf.quantize(
            self.original(),
            nncf.Dataset(images),
            # Weights symmetric, activations not: those of SiLU, GELU and hard-swish reach little below zero.
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            model_type=nncf.ModelType.TRANSFORMER if self.has_attention else None,
            subset_size=max(len(images), 1),
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
        )

    def original(self) -> Any:
        """A copy of the float32 graph."""
        raise NotImplementedError

    def save(self, graph: Any, path: Path) -> None:
        """Write a graph of :meth:`quantize`."""
        raise NotImplementedError

    def probe(self, graph: Any, layer: str = "") -> Probe:
        """Prepare a graph to give what the last layers give, before any decoding.

        Args:
            graph: The float32 graph or one of :meth:`quantize`.
            layer: Of one of these: compute this layer in float.
        """
        raise NotImplementedError


class OpenVinoGraph(Int8Graph):
    """Float32 graph of an ``.xml`` file.

    Args:
        path: The file.
        weights: Names of layers.
    """

    def __init__(self, path: Path, weights: Weights) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._graph = self._core.read_model(path)
        constants: dict[str, NDArray[Any] | None] = {}
        nodes: list[Node] = []
        for operation in self._graph.get_ordered_ops():
            name, kind = operation.get_friendly_name(), operation.get_type_name()
            sources = [value.get_source_output().get_node().get_friendly_name() for value in operation.inputs()]
            if kind == "Constant" or (sources and all(source in constants for source in sources)):
                constants[name] = operation.get_data() if kind == "Constant" else None
                continue
            weight = next(
                (one for source in sources if (one := constants.get(source)) is not None and one.ndim > 1), None
            )
            inputs = tuple("" if source in constants else source for source in sources)
            nodes.append(Node(name, kind, inputs, weight))
        outputs = [node.sources[0] for node in nodes if node.kind == "Result"]
        super().__init__(nodes, [name for name in outputs if name], weights)

    def original(self) -> Any:
        """A copy of the float32 graph."""
        return self._graph.clone()

    def save(self, graph: Any, path: Path) -> None:
        """Write a graph of :meth:`quantize`."""
        save_openvino(graph, path)

    def probe(self, graph: Any, layer: str = "") -> Probe:
        """Prepare a graph to give what the last layers give, before any decoding."""
        graph = graph.clone()
        operations = {one.get_friendly_name(): one for one in graph.get_ops()}
        for name in self.operations(layer) if layer else ():
            self._restore(operations[name], self.nodes[name])
        outputs = [operations[name].output(0) for name in self.after_layers[1]]
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        # Only what the last layers need is kept.
        bare = self._openvino.Model(outputs, graph.get_parameters())
        compiled = self._core.compile_model(bare, "CPU", options)

        def run(inputs: Arrays) -> list[NDArray[Any]]:
            found = compiled(dict(inputs))
            return [found[number].copy() for number in range(len(outputs))]

        return run

    def _restore(self, operation: Any, node: Node) -> None:
        for number, source in enumerate(node.sources):
            port = operation.input(number)
            if source:
                for quantizer in _fake_quantizers(port):
                    quantizer.output(0).replace(quantizer.input_value(0))
            elif node.weight is not None and node.name in self._with_weights:
                port.replace_source_output(self._openvino.op.Constant(node.weight).output(0))


def _fake_quantizers(port: Any) -> Iterator[Any]:
    source = port.get_source_output().get_node()
    if source.get_type_name() == "FakeQuantize":
        yield source
    elif source.get_type_name() in _PASSING:
        for one in source.inputs():
            yield from _fake_quantizers(one)


class OnnxGraph(Int8Graph):
    """Float32 graph of an ``.onnx`` file.

    Args:
        path: The file.
        weights: Names of layers.
    """

    def __init__(self, path: Path, weights: Weights) -> None:
        import onnx

        self._onnx = onnx
        self._graph = onnx.load(path)
        graph = self._graph.graph
        self._initializers = {one.name: one for one in graph.initializer}
        constants = {name: None if len(one.dims) < 2 else one for name, one in self._initializers.items()}
        producers: dict[str, str] = {}
        nodes: list[Node] = []
        for number, operation in enumerate(graph.node):
            operation.name = operation.name or f"{operation.op_type}_{number}"
            if all(not source or source in constants for source in operation.input):
                constants |= dict.fromkeys(operation.output)
                continue
            weight = next((one for source in operation.input if (one := constants.get(source)) is not None), None)
            array = None if weight is None else onnx.numpy_helper.to_array(weight)
            sources = tuple(producers.get(source, "") for source in operation.input)
            nodes.append(Node(operation.name, operation.op_type, sources, array))
            producers |= dict.fromkeys(operation.output, operation.name)
        super().__init__(nodes, [producers[one.name] for one in graph.output if one.name in producers], weights)

    def original(self) -> Any:
        """A copy of the float32 graph."""
        copied = self._onnx.ModelProto()
        copied.CopyFrom(self._graph)
        return copied

    def save(self, graph: Any, path: Path) -> None:
        """Write a graph of :meth:`quantize`."""
        atomic_write(path, lambda target: self._onnx.save(graph, target))

    def probe(self, graph: Any, layer: str = "") -> Probe:
        """Prepare a graph to give what the last layers give, before any decoding."""
        changed = self._onnx.ModelProto()
        changed.CopyFrom(graph)
        operations = {one.name: one for one in changed.graph.node}
        originals = {one.name: one for one in self._graph.graph.node}
        for name in self.operations(layer) if layer else ():
            self._restore(changed.graph, operations[name], originals[name])
        names = [operations[name].output[0] for name in self.after_layers[1]]
        kind = self._onnx.TensorProto.FLOAT
        del changed.graph.output[:]
        changed.graph.output.extend(self._onnx.helper.make_tensor_value_info(name, kind, None) for name in names)
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(changed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda inputs: list(session.run(names, dict(inputs)))

    def _restore(self, graph: Any, operation: Any, original: Any) -> None:
        producers = {output: one for one in graph.node for output in one.output}
        for number, name in enumerate(original.input):
            if name in self._initializers:
                if operation.name not in self._with_weights:
                    continue
                if name not in {one.name for one in graph.initializer}:
                    graph.initializer.append(self._initializers[name])
                operation.input[number] = name
            elif name:
                for quantizer in _quantizers(operation.input[number], producers):
                    before = producers[quantizer.input[0]].input[0]
                    for one in graph.node:
                        for port, source in enumerate(one.input):
                            if source == quantizer.output[0]:
                                one.input[port] = before


def _quantizers(name: str, producers: Mapping[str, Any]) -> Iterator[Any]:
    """Operations that widen quantised values, whose input an operation that quantises gives."""
    source = producers.get(name)
    if source is None:
        return
    if source.op_type == "DequantizeLinear" and source.input[0] in producers:
        yield source
    elif source.op_type in _PASSING:
        for one in source.input:
            yield from _quantizers(one, producers)


def open_graph(path: Path, weights: Weights) -> Int8Graph:
    """Read a float32 file that :func:`saccade.deploy.export.export_model` wrote, ``.onnx`` or ``.xml``."""
    return OnnxGraph(path, weights) if path.suffix == ".onnx" else OpenVinoGraph(path, weights)


def mean_squared_error(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> float:
    """Mean squared error of some tensors, each as a share of its mean square.

    Example:
        >>> round(mean_squared_error([np.full(3, 2.0)], [np.full(3, 2.2)]), 6)
        0.01
    """
    shares = [
        float(np.square(b - a, dtype=np.float64).mean() / max(np.square(a, dtype=np.float64).mean(), 1e-12))
        for a, b in zip(expected, found, strict=True)
        if a.shape == b.shape and a.size
    ]
    return sum(shares) / max(len(shares), 1)
