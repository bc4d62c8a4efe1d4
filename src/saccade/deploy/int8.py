"""Exported files in int8: post-training quantisation by NNCF, calibrated on images and held to a drop of the metrics.

``nncf.quantize_with_accuracy_control`` is not used: it takes one figure where higher is better, ranks layers by the
figure of each image alone (which AP, recall at 1 or KID do not have), and for ONNX has no other ranking. Here
``nncf.quantize`` is called again with more and more layers left in float, those first whose quantisation moves the raw
outputs most, and the whole metric of the task decides.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.derived.combine import subset
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.deploy.export import keep_fields, keep_metrics, quiet
from saccade.deploy.int8_graph import Arrays, Int8Graph, Weights, mean_squared_error, open_graph
from saccade.deploy.openvino_file import import_openvino
from saccade.deploy.torch_runtime import as_uint8
from saccade.deploy.verify import file_spec
from saccade.errors import ExportError, SaccadeError
from saccade.models.base import Model
from saccade.structures.dataset import VisionDataset
from saccade.structures.files import atomic_write
from saccade.structures.input_spec import InputSpec
from saccade.structures.kinds import select_inputs

__all__ = ["Accuracy", "CalibrationImages", "Display", "Int8Report", "import_nncf", "quantize_file"]

CALIBRATION_IMAGES = 300
_RANKING_IMAGES = 8


def import_nncf() -> Any:
    """Import the ``nncf`` package so that its telemetry stays off and Python's logging stays as it is.

    NNCF reports what is quantised to its makers where ``openvino_telemetry`` can be imported. Its documented switch
    (``opt_in_out --opt_out``) is a file in the user's home, so that the package is hidden during the import instead.

    Raises:
        ExportError: If NNCF is not installed.
    """
    import_openvino()
    if "nncf" in sys.modules:
        return sys.modules["nncf"]
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's mark of a module that does not exist
    logger_class = logging.getLoggerClass()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            import nncf
            import nncf.telemetry
    except ImportError as error:
        raise ExportError('int8 needs NNCF, which is not installed. Run: pip install "saccade[export]".') from error
    finally:
        logging.setLoggerClass(logger_class)
        if hidden:
            del sys.modules["openvino_telemetry"]
    return nncf


class CalibrationImages:
    """Images of a data set as the exported file takes them, one at a time, by the preprocessing of prediction.

    Args:
        dataset: Where they come from, evenly over its length.
        spec: Of the file.
        input_names: Further inputs of the file.
        count: At most so many.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> images = CalibrationImages(DigitScenes("detection"), InputSpec((64, 64)), count=5)
        >>> len(images), images[0]["images"].shape
        (5, (1, 3, 64, 64))
    """

    def __init__(
        self,
        dataset: VisionDataset,
        spec: InputSpec,
        input_names: tuple[str, ...] = (),
        count: int = CALIBRATION_IMAGES,
    ) -> None:
        chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
        self.name = f"{dataset.info.name}, {dataset.info.split}"
        self._input_names = input_names
        self._pipeline = EvalPipeline(subset(dataset, chosen.tolist()), file_spec(spec))

    def __len__(self) -> int:
        return len(self._pipeline)

    def __getitem__(self, index: int) -> Arrays:
        (batch,) = self._pipeline.collate([self._pipeline[SampleKey(0, range(len(self))[index])]])
        inputs = select_inputs(self._input_names, batch.inputs, self.name)
        return {
            "images": as_uint8(batch.images).numpy(),
            **{name: value.contiguous().numpy() for name, value in inputs.items()},
        }


def _as_they_are(values: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    return values


def _silent(text: str) -> None:
    return None


@dataclass(frozen=True)
class Display:
    """How a quantisation, which takes minutes, shows where it is; nothing is shown by default.

    Args:
        track: Wraps what is iterated, given its number and a label, to show a bar.
        say: Prints a line.
    """

    track: Callable[[Iterable[Any], int, str], Iterable[Any]] = _as_they_are
    say: Callable[[str], None] = _silent


@dataclass(frozen=True)
class Accuracy:
    """What int8 may cost.

    Args:
        measure: Figures of an exported file, by name.
        before: Those of the float32 file.
        max_drop: By how much a figure may get worse, by its name; figures that are not named may be anything.
        lower_is_better: Names of the figures that rise where they get worse.

    Example:
        >>> accuracy = Accuracy(lambda path: {}, {"AP": 0.5, "NME": 0.02}, {"AP": 0.01, "NME": 0.01}, {"NME"})
        >>> accuracy.excess({"AP": 0.48, "NME": 0.025})
        ('AP', 0.01)
        >>> accuracy.excess({"AP": 0.51, "NME": 0.03})
        ('NME', 0.0)
    """

    measure: Callable[[Path], Mapping[str, float]]
    before: Mapping[str, float]
    max_drop: Mapping[str, float] = field(default_factory=dict)
    lower_is_better: Collection[str] = ()

    def drop(self, name: str, after: Mapping[str, float]) -> float:
        """By how much a figure got worse; infinite where it became undefined."""
        value = after.get(name, math.nan)
        lost = value - self.before[name] if name in self.lower_is_better else self.before[name] - value
        # Differences of sums of the same numbers in another order are none.
        return math.inf if math.isnan(lost) else round(lost, 9)

    def excess(self, after: Mapping[str, float]) -> tuple[str, float]:
        """The figure that is farthest beyond what it may lose, and by how much; 0 or less where all are within it."""
        beyond = {name: round(self.drop(name, after) - allowed, 9) for name, allowed in self.max_drop.items()}
        return max(beyond.items(), key=lambda one: one[1], default=("", 0.0))

    def describe(self, name: str, after: Mapping[str, float]) -> str:
        """How a figure got worse by more than it may."""
        verb = "rises" if name in self.lower_is_better else "drops"
        return (
            f"{name} {verb} by {self.drop(name, after):.4g} ({self.before[name]:.4g} in float32, "
            f"{after.get(name, math.nan):.4g} in int8), more than the {self.max_drop[name]:g} that max_drop allows"
        )


@dataclass(frozen=True)
class Int8Report:
    """What was quantised; ``str()`` is one line.

    Args:
        images: Images it was calibrated on.
        layers: Layers with weights.
        float_layers: Names of those that stay in float. Decoding stays in float always.
        size: Bytes of the float32 file and of the int8 file, of OpenVINO the weights included.
        tries: How often the network was quantised.
        before: Figures of the float32 file; empty if none were measured.
        after: Those of the int8 file.

    Example:
        >>> print(Int8Report(300, 54, ("fc",), (102_000_000, 26_000_000), 2))
        53 of 54 layers in int8, calibrated on 300 images; 102.0 MB in float32, now 26.0 MB. In float: fc.
    """

    images: int
    layers: int
    float_layers: tuple[str, ...]
    size: tuple[int, int]
    tries: int
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        before, after = (f"{size / 1e6:.1f} MB" for size in self.size)
        kept = f" In float: {', '.join(self.float_layers)}." if self.float_layers else ""
        return (
            f"{self.layers - len(self.float_layers)} of {self.layers} layers in int8, calibrated on {self.images} "
            f"images; {before} in float32, now {after}.{kept}"
        )


def quantize_file(
    source: Path,
    path: Path,
    model: Model,
    images: CalibrationImages,
    accuracy: Accuracy | None = None,
    display: Display | None = None,
) -> Int8Report:
    """Write an exported float32 file in int8.

    Layers with weights compute in int8, decoding in float32. Where a figure drops by more than it may, the layers that
    move the raw outputs most are left in float: one in 32, then twice as many, and so on up to half of all. The file
    keeps its figures.

    Args:
        source: Float32 file of :func:`saccade.deploy.export.export_model`, ``.onnx`` or ``.xml``.
        path: File to write, of the same format.
        model: The network as it was exported (``ExportForm.model``), which names the layers.
        images: What it is calibrated on.
        accuracy: What it may cost; not measured if not given.
        display: Shows progress.

    Raises:
        ExportError: If NNCF is not installed or cannot quantise the network, or a figure drops by more than it may
            whatever is left in float; nothing is written then.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> from saccade.deploy.export import export_model
        >>> model = saccade.create_model("lenet5")
        >>> images = CalibrationImages(DigitScenes("classification"), model.input_spec, count=4)
        >>> source = export_model(model, "whole.onnx")
        >>> print(quantize_file(source, Path("small.onnx"), model, images).layers)
        5
    """
    nncf = import_nncf()
    display = display or Display()
    graph = open_graph(source, Weights(model))
    layers, name = list(graph.layers), model.builder_name or type(model).__name__
    if not layers:
        raise ExportError(f"'{name}' has no convolution and no product with weights, so there is nothing to quantise.")
    first: Any = None
    ranked: list[str] = []
    nearest: tuple[str, Mapping[str, float]] = "", {}
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / path.name
        for tries, number in enumerate(_numbers(len(layers)), start=1):
            if number and not ranked:
                ranked = _rank(graph, first, images, display)
            in_float = sorted(ranked[:number], key=layers.index)
            beside = f" with {number} of {len(layers)} layers in float" if number else ""
            display.say(f"int8: calibrating {name} on {len(images)} images of {images.name}{beside}")
            quantized = _quantize(nncf, graph, images, in_float, display)
            first = quantized if first is None else first
            graph.save(quantized, candidate)
            keep_fields(candidate, {"precision": "int8", "int8": {"images": len(images), "float_layers": in_float}})
            after: Mapping[str, float] = {}
            if accuracy is not None:
                after = accuracy.measure(candidate)
                figure, excess = accuracy.excess(after)
                if excess > 0:
                    display.say(f"int8{beside}: {accuracy.describe(figure, after)}")
                    if tries == 1 or excess < accuracy.excess(nearest[1])[1]:
                        nearest = figure, after
                    continue
                keep_metrics(candidate, after)
            size = _bytes(source), _bytes(candidate)
            for file in (candidate.with_suffix(".bin"), candidate):  # the weights first, which the graph needs
                if file.exists():
                    atomic_write(path.with_suffix(file.suffix), partial(shutil.copyfile, file))
            before = accuracy.before if accuracy is not None else {}
            return Int8Report(len(images), len(layers), tuple(in_float), size, tries, before, after)
    assert accuracy is not None
    figure, after = nearest
    enough = _rounded_up(accuracy.drop(figure, after))
    remedy = f"Allow more (--max-drop {figure}={enough}), c" if enough else "C"
    raise ExportError(
        f"int8 was not written: {accuracy.describe(figure, after)}, whichever layers of '{name}' stay in float, up to "
        f"half of {len(layers)}. {remedy}alibrate on images that are more like those it will see, or export with "
        "precision bf16 or 32."
    )


def _numbers(layers: int) -> list[int]:
    """How many layers are left in float, one try after the other: none, a 32nd, and twice as many up to half."""
    return sorted({0, *(min(-(-layers // part), layers // 2) for part in (32, 16, 8, 4, 2))})


def _rounded_up(value: float) -> str:
    """Three digits that are enough; none where nothing is."""
    if not math.isfinite(value):
        return ""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(round(value / unit, 6)) * unit:.3g}"


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, path.with_suffix(".bin")) if file.exists())


class _Shown:
    """Images that show how far a pass over them is."""

    def __init__(self, images: CalibrationImages, display: Display, label: str) -> None:
        self._images, self._display, self._label = images, display, label

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self._display.track(map(self._images.__getitem__, range(len(self))), len(self), self._label))


def _quantize(nncf: Any, graph: Int8Graph, images: CalibrationImages, kept: Sequence[str], display: Display) -> Any:
    try:
        with quiet("nncf", "torch.utils.cpp_extension"):
            return graph.quantize(nncf, _Shown(images, display, "calibrating"), kept)
    except SaccadeError:
        raise  # of the images
    except Exception as error:  # NNCF and the runtimes raise many kinds, all with the same meaning here
        reason = str(error).strip().partition("\n")[0][:300]
        raise ExportError(f"NNCF cannot quantise this network: {reason}. Export with precision bf16 or 32.") from error


def _rank(graph: Int8Graph, quantized: Any, images: CalibrationImages, display: Display) -> list[str]:
    """Layers by how much nearer the raw outputs come to those in float32 once a layer is left in float."""
    few = [images[index] for index in range(0, len(images), max(len(images) // _RANKING_IMAGES, 1))]
    exact = graph.probe(graph.original())
    expected = [exact(one) for one in few]

    def error(layer: str) -> float:
        probe = graph.probe(quantized, layer)
        return sum(mean_squared_error(out, probe(one)) for one, out in zip(few, expected, strict=True))

    layers = list(graph.layers)
    errors = {layer: error(layer) for layer in display.track(layers, len(layers), "which layers matter most")}
    return sorted(layers, key=errors.__getitem__)
