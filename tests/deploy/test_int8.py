"""Exported files in int8: what they cost, what stays in float, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tests.contract.members import MEMBERS
from tests.deploy.glare import Glare, write_shades
from tests.deploy.small import SmallDetector, pixels
from torch import Tensor, nn

import saccade
from saccade.api._open import as_exported
from saccade.api.exporting import ExportResult
from saccade.cli import main
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.open import open_dataset
from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.export_form import ExportForm
from saccade.deploy.int8 import CalibrationImages, quantize_file
from saccade.deploy.int8_graph import OnnxGraph, OpenVinoGraph, Weights, open_graph
from saccade.deploy.openvino_file import import_openvino
from saccade.deploy.runtime import open_runtime
from saccade.errors import ConfigError, DataError, ExportError
from saccade.models.base import Decoded, Model, Outputs
from saccade.models.checkpoint import save_model
from saccade.structures.input_spec import InputSpec
from saccade.testing import Subject
from saccade.testing.examples import inputs_for, pixels_for

FORMATS = ("onnx", "openvino")


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shades(tmp_path_factory.mktemp("data") / "shades")


@dataclass
class Exported:
    """An exported file, what was printed while it was made, and its network."""

    result: ExportResult
    printed: str
    network: Model


@pytest.fixture(scope="module", params=FORMATS)
def controlled(request: pytest.FixtureRequest, shades: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network that int8 breaks, held to its accuracy."""
    capture = request.getfixturevalue("capfd_module")
    path = tmp_path_factory.mktemp(request.param) / "deep" / "m"
    network = Glare()
    result = saccade.export(network, request.param, path, precision="int8", calibrate=shades, max_drop={"top1": 0.0})
    return Exported(result, capture(), network)


@pytest.fixture(scope="module")
def capfd_module(request: pytest.FixtureRequest) -> object:
    """What processes and libraries wrote on both streams since it was called last."""
    manager = request.config.pluginmanager.getplugin("capturemanager")

    def read() -> str:
        out, err = manager.read_global_capture()
        return str(out + err)

    read()
    return read


def test_layers_stay_in_float_until_the_figure_holds(controlled: Exported, shades: Path) -> None:
    result = controlled.result
    report = result.int8
    assert report is not None
    assert result.metrics["top1"] == (1.0, 1.0)
    assert (report.layers, report.images) == (6, 12)
    assert 1 <= len(report.float_layers) <= 3
    # The weights of the first are as far apart as what the second reads.
    assert {"trunk.0", "trunk.1"} <= set(report.float_layers) <= {f"trunk.{number}" for number in range(5)}
    assert report.tries > 1
    assert f"{6 - len(report.float_layers)} of 6 layers in int8, calibrated on 12 images" in str(report)
    assert f"In float: {', '.join(report.float_layers)}." in str(report)
    assert saccade.evaluate(result.path, shades, workers=0).values["top1"] == 1.0


def test_it_says_what_it_does_and_nncf_says_nothing(controlled: Exported) -> None:
    lines = controlled.printed.splitlines()
    assert "int8: scoring the float32 file on 20 images of shades, val" in lines
    assert "int8: calibrating Glare on 12 images of shades, train" in lines
    assert any(
        line.startswith("int8: top1 drops by 0.5 (1 in float32, 0.5 in int8), more than the 0") for line in lines
    )
    assert all(line.startswith("int8") for line in lines)


def test_the_file_is_an_exported_file_like_others(controlled: Exported) -> None:
    """With its figures, any number of images, and what was done to it inside."""
    result = controlled.result
    report = result.int8
    assert report is not None
    runtime = open_runtime(result.path)
    assert runtime.metadata["precision"] == "int8"
    assert runtime.metadata["int8"] == {"images": 12, "float_layers": list(report.float_layers)}
    assert runtime.metadata["metrics"]["top1"] == 1.0
    assert runtime.class_names == ("dark", "light")
    images = pixels(controlled.network, 3)
    together = runtime(images)["probabilities"]
    assert together.shape == (3, 2)
    torch.testing.assert_close(together[1:2], runtime(images[1:2])["probabilities"])
    suffixes = {".xml": [".bin", ".xml"]}.get(result.path.suffix, [".onnx"])
    assert sorted(file.suffix for file in result.path.parent.iterdir()) == suffixes


@pytest.mark.parametrize("kind", FORMATS)
def test_without_a_bound_the_cost_is_told(kind: str, shades: Path, tmp_path: Path) -> None:
    result = saccade.export(Glare(), kind, tmp_path / "m", precision="int8", calibrate=shades)
    assert result.int8 is not None
    assert (result.int8.float_layers, result.int8.tries) == ((), 1)
    assert result.metrics["top1"] == (1.0, 0.5)
    assert result.metric_change["top1"] == -0.5
    assert result.int8.size[1] == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_a_drop_beyond_the_bound_is_refused(shades: Path, tmp_path: Path) -> None:
    """That channel crosses more than half of the layers."""
    network = Glare(crossed=4)
    with pytest.raises(ExportError) as raised:
        saccade.export(network, "openvino", tmp_path / "m", precision="int8", calibrate=shades, max_drop=["top1=0.25"])
    assert raised.value.exit_code == 5
    message = str(raised.value)
    assert "top1 drops by 0.5 (1 in float32, 0.5 in int8), more than the 0.25 that max_drop allows" in message
    assert "up to half of 6" in message
    assert "--max-drop top1=0.5" in message
    assert "precision bf16 or 32" in message
    assert list(tmp_path.iterdir()) == []


def test_the_shell(shades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = saccade.create_model("lenet5", num_classes=2)
    model.class_names = ("dark", "light")
    checkpoint = save_model(model, tmp_path / "best.safetensors")
    words = ["export", str(checkpoint), "--format", "onnx", "--precision", "int8"]
    assert main([*words, "--calibrate", str(shades), "--max-drop", "top1=1", "--max-drop", "nll=9"]) == 0
    printed = capsys.readouterr().out
    assert "5 of 5 layers in int8, calibrated on 12 images" in printed
    assert "top1" in printed
    assert f"written: {tmp_path / 'best.onnx'}" in printed
    assert main(words) == 2
    assert "Name their data set: calibrate=DATA (--calibrate DATA)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrate": None}, r"Name their data set: calibrate=DATA \(--calibrate DATA\)"),
        ({"format": "torch"}, "int8 files are ONNX or OpenVINO, not torch"),
        ({"verify": True}, "those of int8 differ.*Leave verify out"),
        ({"precision": "16"}, "calibrate is for precision int8, and it is '16'"),
        ({"nms": False, "max_drop": {"top1": 0.1}}, "gives raw outputs, of which there are no figures"),
        ({"max_drop": ("top1",)}, r"max_drop has 'top1='. Give a figure and by how much it may drop"),
        ({"max_drop": {"top1": -0.1}}, r"max_drop has 'top1=-0\.1'"),
        ({"max_drop": "top1=nan"}, "max_drop has 'top1=nan'"),
        ({"max_drop": {"top2": 0.1}}, "max_drop names 'top2', which is no figure here. Did you mean 'top1'"),
        ({"max_drop": {"min:brier": 0.1, "AP": 0.1}}, "max_drop names 'AP', which is no figure here"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str, shades: Path, tmp_path: Path) -> None:
    given = {"format": "onnx", "precision": "int8", "calibrate": shades, **options}
    with pytest.raises(ConfigError, match=message):
        saccade.export(Glare(), path=tmp_path / "m", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match="classes"):
        saccade.export(Glare(), path=tmp_path / "m", precision="int8", calibrate="digit_scenes", max_drop={"top1": 0.1})


class Corners(Model):
    """Four points of one object, as the expectation of heatmaps, from crops of objects."""

    task = "keypoints"
    num_classes = 4
    class_names = ("top_left", "top_right", "bottom_right", "bottom_left")
    single_object = True
    decoded_keys = ("keypoints", "point_scores", "scores", "count")
    input_spec = InputSpec((32, 32), resize="letterbox", object_crops=1.25)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 5, padding=2)
        self.head = nn.Conv2d(8, 4, 1)
        nn.init.normal_(self.head.weight, std=3.0)
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        return {"heatmaps": self.head(self.stem(images).relu())}

    def decode(self, outputs: Outputs) -> Decoded:
        smooth = F.conv2d(outputs["heatmaps"], torch.ones(4, 1, 3, 3) / 9, padding=1, groups=4)
        heatmaps = smooth.flatten(2).softmax(2)
        x = torch.arange(1024, dtype=torch.float32, device=heatmaps.device) % 32
        places = torch.stack((x, (torch.arange(1024, device=heatmaps.device) // 32).float()), 1) + 0.5
        points, scores = (heatmaps @ places)[:, None], heatmaps.amax(2)[:, None]
        ones = torch.ones_like(scores[:, 0, 0])
        return {"keypoints": points, "point_scores": scores, "scores": scores.mean(2), "count": ones.long()}


def test_networks_of_crops_are_calibrated_and_measured_on_crops(shades: Path) -> None:
    network, scenes = Corners(), DigitScenes("keypoints", "test", count=5)
    crops = as_exported(network, network, scenes, network.input_spec)
    assert crops.info.object_crops == 1.25
    images = CalibrationImages(crops, network.input_spec)
    assert len(images) == sum(len(scenes.target(index)["labels"]) for index in range(5))
    assert images[0]["images"].shape == (1, 3, 32, 32)
    whole = open_dataset(shades, "train", task="classification")
    assert as_exported(Glare(), Glare(), whole, Glare.input_spec) is whole


def test_smoothing_and_the_expectation_of_a_heatmap_are_no_layers(tmp_path: Path) -> None:
    network = Corners()
    graph = open_graph(export_model(network, tmp_path / "m"), Weights(network))
    assert list(graph.layers) == ["stem", "head"]
    assert {"Conv", "MatMul"} <= {graph.nodes[name].kind for name in graph.after_layers[0]}


class Pixels:
    """Images of a network with what else it takes, as a calibration gives them."""

    name = "pixels"

    def __init__(self, model: Model, size: tuple[int, int]) -> None:
        self.model, self.size = model, size

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, NDArray[np.generic]]:
        images = pixels_for(self.model, self.size, 1, seed=index)
        return {
            "images": images.numpy(),
            **{name: value.numpy() for name, value in inputs_for(self.model, self.size, 1).items()},
        }


def _quantised_readers(path: Path) -> set[str]:
    """Names of the operations that read quantised values as they are."""
    if path.suffix == ".onnx":
        graph = onnx.load(path).graph
        quantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        return {node.name for node in graph.node if quantised & set(node.input)}
    operations = import_openvino().Core().read_model(path).get_ordered_ops()
    return {
        target.get_node().get_friendly_name()
        for operation in operations
        if operation.get_type_name() == "FakeQuantize"
        for target in operation.output(0).get_target_inputs()
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_decoding_of_boxes_stays_in_float(kind: str, tmp_path: Path) -> None:
    model = SmallDetector()
    path = export_model(model, tmp_path / "m", kind)
    graph = open_graph(path, Weights(ExportForm(model, (64, 64), decode=True).model))
    assert isinstance(graph, OnnxGraph if kind == "onnx" else OpenVinoGraph)
    assert list(graph.layers) == ["stem.0", "head"]
    decoding, last = graph.after_layers
    assert last == graph.layers["head"]
    kinds = {graph.nodes[name].kind for name in decoding}
    assert {"NonMaxSuppression", "TopK", "Exp", "Mul" if kind == "onnx" else "Multiply"} <= kinds
    assert not {"Conv", "Convolution", "HSwish", "Swish"} & kinds
    target = tmp_path / f"int8{path.suffix}"
    report = quantize_file(path, target, model, Pixels(model, (64, 64)))  # type: ignore[arg-type]
    assert (report.float_layers, report.before, report.after) == ((), {}, {})
    readers = _quantised_readers(target)
    assert {name for names in graph.layers.values() for name in names} <= readers
    assert not readers & set(decoding)
    runtime = open_runtime(target)
    assert runtime(pixels(model, 3))["boxes"].shape == (3, 20, 4)


def test_calibration_is_spread_over_the_data(shades: Path) -> None:
    """Of a folder, the first images are all of one class."""
    data = open_dataset(shades, "train", task="classification")
    images = CalibrationImages(data, Glare.input_spec, count=4)
    means = [float(images[index]["images"].mean()) for index in range(len(images))]
    assert [mean > 120 for mean in means] == [False, False, True, True]
    assert images[0]["images"].dtype == np.uint8
    assert images[0]["images"].shape == (1, 3, 32, 32)


def test_nncf_is_imported_late_and_calls_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = """
        import logging, sys
        def refuse(event, arguments):
            if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
                raise AssertionError(f"{event} {arguments}")
        sys.addaudithook(refuse)
        import saccade.api.exporting, saccade.deploy.int8 as int8
        assert "nncf" not in sys.modules
        logger_class = logging.getLoggerClass()
        nncf = int8.import_nncf()
        assert "unittest.mock" in type(nncf.telemetry.telemetry).__module__, type(nncf.telemetry.telemetry)
        assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
        assert logging.getLoggerClass() is logger_class
        assert int8.import_nncf() is nncf
    """
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert done.stdout == ""
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "subject", [pytest.param(one, id=f"{number}-{one.name}") for number, one in enumerate(MEMBERS) if one.exported]
)
def test_every_family_is_quantised(kind: str, subject: Subject, tmp_path: Path) -> None:
    model = subject.model
    path = export_model(model, tmp_path / "m", kind, size=subject.size)
    target = tmp_path / f"int8{SUFFIXES[kind]}"
    form = ExportForm(model, subject.size, decode=True).model
    report = quantize_file(path, target, form, Pixels(model, subject.size))  # type: ignore[arg-type]
    assert report.layers > 1
    readers = _quantised_readers(target)
    assert readers
    assert not readers & set(open_graph(path, Weights(form)).after_layers[0])
    runtime = open_runtime(target)
    for count in (1, 3):
        decoded = runtime(pixels_for(model, subject.size, count), **inputs_for(model, subject.size, count))
        assert {len(value) for value in decoded.values()} == {count}
