from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from tests.deploy.small import SmallClassifier, SmallDetector, pixels
from torch import Tensor

from saccade.deploy.export import SUFFIXES, export_model, keep_metrics
from saccade.deploy.openvino_file import OpenVinoFileRuntime, import_openvino
from saccade.deploy.runtime import EagerRuntime, Runtime, open_runtime
from saccade.deploy.verify import verify_export
from saccade.errors import ExportError, SaccadeError
from saccade.models.base import Decoded, Model, Outputs
from saccade.models.registry import create_model
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.tasks import get_task


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("network", [SmallClassifier, SmallDetector])
def test_file_alone_gives_the_numbers_of_the_network(
    kind: str, network: type[Model], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = network()
    path = export_model(model, tmp_path / "deep" / "model", format=kind, metrics={"AP": 0.5})
    assert path == tmp_path / "deep" / f"model{SUFFIXES[kind]}"
    expected_files = {"openvino": ["model.bin", "model.xml"]}.get(kind, [path.name])
    assert sorted(file.name for file in path.parent.iterdir()) == expected_files
    assert capfd.readouterr() == ("", "")
    runtime: Runtime = open_runtime(path, trust=True)
    assert (runtime.task, runtime.class_names, runtime.input_spec) == (model.task, model.class_names, model.input_spec)
    if kind == "openvino":
        runtime = OpenVinoFileRuntime(path, "32")  # opened without a word, it computes in bfloat16 where there is that
    eager = EagerRuntime(model)
    for count in (1, 3):
        images = pixels(model, count)
        found, expected = runtime(images), eager(images)
        assert tuple(found) == get_task(model.task).decoded_keys
        for key, tensor in expected.items():
            assert found[key].dtype == tensor.dtype
            torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-4)
    report = verify_export(model, path, images, trust=True)
    assert report.passed
    assert report.batch_sizes == (1, 3)
    assert max(report.max_relative.values()) < 1e-5
    assert (report.rows is not None) == ("count" in expected)


def test_onnx_speaks_for_itself(tmp_path: Path) -> None:
    """Read with the onnx package and ONNX Runtime, without Saccade."""
    model = SmallDetector()
    path = export_model(model, tmp_path / "m.onnx", metrics={"AP": 0.25})
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("images", "tensor(uint8)")
    assert image.shape[1:] == [3, 64, 64]
    assert isinstance(image.shape[0], str)
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores", "labels", "count"]
    metadata = json.loads({entry.key: entry.value for entry in graph.metadata_props}["saccade"])
    assert metadata["task"] == "detection"
    assert metadata["class_names"] == ["a", "b", "c", "d"]
    assert metadata["input_spec"] == {
        **model.input_spec.to_dict(),
        **json.loads(json.dumps(model.input_spec.to_dict())),
    }
    assert metadata["metrics"] == {"AP": 0.25}
    assert metadata["saccade_version"]


def _plain_fields(path: Path) -> dict[str, str]:
    """What a file says of itself, read with ONNX Runtime or OpenVINO alone."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return dict(session.get_modelmeta().custom_metadata_map)
    graph = import_openvino().Core().read_model(path)
    names = ("names", "task", "imgsz", "stride")
    return {name: graph.get_rt_info(["model_info", name]).astype(str) for name in names}


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_other_programs_find_names_task_canvas_and_stride(kind: str, tmp_path: Path) -> None:
    model = create_model("resnet20_cifar", num_classes=2)
    model.class_names = ("it's", '<"zebra" & co>')
    path = export_model(model, tmp_path / "m", format=kind, size=(48, 64))
    keep_metrics(path, {"top1": 0.5})  # which writes the file again
    found = _plain_fields(path)
    assert ast.literal_eval(found["names"]) == {0: "it's", 1: '<"zebra" & co>'}
    assert (found["task"], found["imgsz"], found["stride"]) == ("classification", "[48, 64]", "4")
    model.class_names, model.input_spec = (), replace(model.input_spec, pad_multiple=16)
    found = _plain_fields(export_model(model, tmp_path / "unnamed", format=kind))
    assert ast.literal_eval(found["names"]) == {0: "0", 1: "1"}
    assert (found["imgsz"], found["stride"]) == ("[32, 32]", "16")


def test_builder_and_version_travel(tmp_path: Path) -> None:
    model = create_model("lenet5", num_classes=4)
    path = export_model(model, tmp_path / "l", format="torch")
    extra = {"saccade": ""}
    torch.export.load(path, extra_files=extra)
    metadata = json.loads(extra["saccade"])
    assert (metadata["builder_name"], metadata["builder_args"]) == (
        "lenet5",
        {"num_classes": 4} | metadata["builder_args"],
    )


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_one_image_at_a_time_and_another_canvas(kind: str, tmp_path: Path) -> None:
    model = SmallClassifier()
    path = export_model(model, tmp_path / "m", format=kind, size=(24, 24), dynamic_batch=False)
    runtime: Runtime = open_runtime(path, trust=True)
    assert runtime.input_spec.size == (24, 24)
    if kind == "openvino":
        runtime = OpenVinoFileRuntime(path, "32")
    images = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    torch.testing.assert_close(
        runtime(images)["probabilities"], EagerRuntime(model)(images)["probabilities"], rtol=0, atol=1e-5
    )
    with pytest.raises(ExportError, match=r"takes images of 3 x 24 x 24, got 3 x 32 x 48.*size="):
        runtime(pixels(model, 1))


def test_without_decoding_the_raw_outputs_are_given(tmp_path: Path) -> None:
    model = SmallDetector()
    path = export_model(model, tmp_path / "raw.onnx", nms=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = pixels(model, 2)
    arrays = session.run(["logits", "sides", "points"], {"images": images.numpy()})
    with torch.no_grad():
        expected = model(images.float() / 255)
    for array, name in zip(arrays, ("logits", "sides", "points"), strict=True):
        torch.testing.assert_close(torch.from_numpy(array), expected[name], rtol=1e-4, atol=1e-4)
    with pytest.raises(ExportError, match="nms=False"):
        open_runtime(path, trust=True)


def test_foreign_onnx_file_is_named(tmp_path: Path) -> None:
    path = export_model(SmallClassifier(), tmp_path / "m.onnx")
    graph = onnx.load(path)
    del graph.metadata_props[:]
    onnx.save(graph, path)
    with pytest.raises(ExportError, match=r"m\.onnx' does not hold its inputs and outputs"):
        open_runtime(path, trust=True)


class Ragged(SmallClassifier):
    def forward(self, images: Tensor) -> Outputs:
        return super().forward(images[:, :, : 8 + int(images.sum()) % 2])


@pytest.mark.parametrize("kind", SUFFIXES)
def test_network_that_cannot_be_exported_is_explained(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'Ragged' cannot be exported as one graph"):
        export_model(Ragged(), tmp_path / "m", format=kind)
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_and_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"unknown export format 'onx'.*Did you mean 'onnx'"):
        export_model(SmallClassifier(), tmp_path / "m", format="onx")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else find(name, *rest)
    )
    with pytest.raises(ExportError, match=r'needs onnxscript\. Run: pip install "saccade\[export\]"'):
        export_model(SmallClassifier(), tmp_path / "m.onnx")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for kind in SUFFIXES:
        with pytest.raises(SaccadeError, match="cannot write"):
            export_model(SmallClassifier(), tmp_path / "file" / "m", format=kind)


def test_the_network_stays_as_it_is(tmp_path: Path) -> None:
    model = SmallClassifier().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, tmp_path / "m.pt2", format="torch")
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


class Few(SmallDetector):
    """Finds as many objects as the first pixel says."""

    def decode(self, outputs: Outputs) -> Decoded:
        rows = torch.arange(8)
        corner = 8.0 * rows[:, None].expand(8, 2)
        number = outputs["number"]
        scores = torch.where(rows[None] < number[:, None], 0.9, 0.0)
        boxes = torch.cat((corner, corner + 6.0), 1).expand(number.shape[0], -1, -1)
        return batched_nms(boxes, scores, torch.zeros_like(scores).long(), NmsSettings())

    def forward(self, images: Tensor) -> Outputs:
        return {"number": (images[:, 0, 0, 0] * 255).round()}


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_file_takes_images_with_no_object_or_one(kind: str, tmp_path: Path) -> None:
    runtime = open_runtime(export_model(Few(), tmp_path / "m", format=kind), trust=True)
    for numbers in ([0], [1], [0, 0], [0, 1], [8, 3, 0]):
        images = torch.zeros(len(numbers), 3, 64, 64, dtype=torch.uint8)
        images[:, 0, 0, 0] = torch.tensor(numbers)
        assert runtime(images)["count"].tolist() == numbers
