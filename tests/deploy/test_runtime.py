from __future__ import annotations

import gc
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.deploy.small import SmallClassifier, SmallDetector, pixels
from torch import Tensor

from saccade.deploy import runtime as runtimes
from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import EagerRuntime, FusedRuntime, OpenVinoRuntime, best_cpu_runtime, open_runtime
from saccade.errors import ExportError, SaccadeError
from saccade.models.base import Decoded, Model, Outputs
from saccade.models.checkpoint import save_model
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model


def _slow(model: Model, images: Tensor) -> Decoded:
    with torch.no_grad():
        return model.decode(model(Normalize(model.input_spec)(images)))


def _assert_close(found: Decoded, expected: Decoded) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype
        torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [SmallClassifier, SmallDetector])
@pytest.mark.parametrize("build", [EagerRuntime, lambda m: FusedRuntime(m, "32"), lambda m: OpenVinoRuntime(m, "32")])
def test_every_runtime_gives_the_same_numbers(network: type[Model], build: Any) -> None:
    model = network()
    runtime = build(model)
    assert (runtime.task, runtime.class_names, runtime.input_spec) == (model.task, model.class_names, model.input_spec)
    for count in (1, 3, 2, 1):
        images = pixels(model, count, seed=count)
        decoded = runtime(images)
        _assert_close(decoded, _slow(model, images))
    if "count" in decoded:
        assert decoded["count"].min() > 3  # there was something to compare


def test_other_canvases_and_strided_pixels() -> None:
    model = SmallClassifier()
    runtime = OpenVinoRuntime(model, "32")
    for size in ((32, 48), (40, 40), (32, 48)):
        images = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)  # as predict passes them
        _assert_close(runtime(images), _slow(model, images))


class _HandsOn(SmallClassifier):
    """Decodes to what the graph gave, and to a view of it."""

    decoded_keys = ("logits", "best")

    def decode(self, outputs: Outputs) -> Decoded:
        return {"logits": outputs["logits"], "best": outputs["logits"][:, 1:]}


@pytest.mark.parametrize("build", [EagerRuntime, FusedRuntime, OpenVinoRuntime])
def test_results_outlive_the_next_call(build: Any) -> None:
    model = _HandsOn()
    runtime = build(model)
    first = runtime.run_graph(pixels(model, 2, seed=1))
    kept = {name: value.clone() for name, value in first.items()}
    second = runtime.run_graph(pixels(model, 2, seed=2))
    for name, value in kept.items():
        assert torch.equal(first[name], value)
        assert not torch.equal(first[name], second[name])


def test_ever_new_canvases_go_through_torch_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = SmallClassifier()
    runtime = OpenVinoRuntime(model, "32")
    for side in (16, 18, 20, 22, 24, 26, 16):
        images = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
        _assert_close(runtime(images), _slow(model, images))
    assert [record.levelname for record in caplog.records if record.name == "saccade"] == ["WARNING"]
    assert "more than 4 canvases" in caplog.text


class Unexportable(SmallClassifier):
    """Looks at the values, which no graph can."""

    def forward(self, images: Tensor) -> Outputs:
        return super().forward(images * (2.0 if float(images.mean()) > 1e9 else 1.0))


def test_network_that_cannot_be_converted_still_predicts(caplog: pytest.LogCaptureFixture) -> None:
    model = Unexportable()
    images = pixels(model, 2)
    _assert_close(OpenVinoRuntime(model, "32")(images), _slow(model, images))
    assert "cannot be exported as one graph" in caplog.text


def test_half_precision_is_close_and_decodes_in_float32() -> None:
    model = SmallClassifier()
    images = pixels(model, 2)
    decoded = EagerRuntime(model, precision="bf16")(images)
    assert decoded["probabilities"].dtype == torch.float32
    torch.testing.assert_close(decoded["probabilities"], _slow(model, images)["probabilities"], rtol=0, atol=0.03)


def test_auto_precision_is_what_the_processor_computes_in() -> None:
    word = "bfloat16" if has_bf16() else "float32"
    assert word in FusedRuntime(SmallClassifier()).name
    assert word in OpenVinoRuntime(SmallClassifier()).name


@pytest.mark.parametrize("build", [FusedRuntime, OpenVinoRuntime])
def test_a_runtime_does_not_change_with_the_training_of_its_model(build: Any) -> None:
    model = SmallClassifier()
    images = pixels(model, 1)
    before = FusedRuntime(model, "32")(images)
    runtime = build(model, "32")
    model.train()
    with torch.no_grad():
        model.conv.weight.zero_()
    _assert_close(runtime(images), before)


def test_openvino_is_taken_where_it_is_installed_else_torch_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(best_cpu_runtime(SmallClassifier()), OpenVinoRuntime)
    assert not caplog.records
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else find(name, *rest)
    )
    runtimes._warn_once.cache_clear()
    for _ in range(2):
        assert isinstance(best_cpu_runtime(SmallClassifier()), FusedRuntime)
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert 'pip install "saccade[export]"' in caplog.text


def test_the_same_network_is_prepared_once_and_anew_when_it_changed() -> None:
    model = SmallClassifier()
    first = best_cpu_runtime(model)
    assert best_cpu_runtime(model.train()) is first
    model.conv.weight.data[0, 0, 0, 0] += 0.1  # as averaging does, behind autograd's back
    second = best_cpu_runtime(model)
    assert second is not first
    model.class_names = ("x", "y", "z")
    assert best_cpu_runtime(model).class_names == ("x", "y", "z")
    alive = weakref.ref(model)
    del model, first, second
    gc.collect()
    assert alive() is None


def test_a_checkpoint_that_is_opened_again_is_converted_once(tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    first = open_runtime(path, "cpu")
    assert open_runtime(tmp_path, "cpu") is first
    save_model(create_model("lenet5", num_classes=3), path)
    second = open_runtime(path, "cpu")
    assert second is not first
    assert second(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))["probabilities"].shape == (1, 3)


def test_checkpoints_and_networks_open(tmp_path: Path) -> None:
    model = create_model("lenet5", num_classes=3).eval()
    model.class_names = ("a", "b", "c")
    path = save_model(model, tmp_path / "m.safetensors")
    images = pixels(model, 2)
    for source in (model, path, str(path)):
        runtime = open_runtime(source, "cpu")
        assert runtime.class_names == ("a", "b", "c")
        torch.testing.assert_close(
            runtime(images)["probabilities"], _slow(model, images)["probabilities"], rtol=0, atol=0.02
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.onnx", None, r"no model '.*gone\.onnx'"),
        ("m.pth", b"", r"ends in '\.pth'.*saccade convert FILE"),
        ("m.onnx", b"junk", r"m\.onnx' cannot be opened by ONNX Runtime"),
        ("m.xml", b"junk", r"m\.xml' cannot be opened by OpenVINO"),
        ("m.pt2", b"junk", r"m\.pt2' cannot be opened by torch\.export"),
        ("m.safetensors", b"junk", r"m\.safetensors' is not a readable safetensors file"),
    ],
)
def test_files_that_cannot_be_opened_are_named(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SaccadeError, match=message):
        open_runtime(tmp_path / name, trust=True)


def test_device_that_is_not_there_is_named() -> None:
    with pytest.raises(SaccadeError, match="device 'nonsense' cannot be used"):
        open_runtime(SmallClassifier(), "nonsense")


def test_no_package_calls_home_or_leaves_files(tmp_path: Path) -> None:
    """A fresh process with an empty home, traced by the system where strace is installed, and by Python in any case."""
    home = tmp_path / "home"
    home.mkdir()
    network = SmallClassifier()
    for kind in ("onnx", "openvino"):
        export_model(network, tmp_path / f"m{SUFFIXES[kind]}", format=kind)
    Image.new("RGB", (48, 32), "red").save(tmp_path / "red.png")
    code = """
        import sys
        def refuse(event, arguments):
            if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
                raise AssertionError(f"{event} {arguments}")
        sys.addaudithook(refuse)
        import saccade.cli
        from tests.deploy.small import SmallClassifier, pixels
        from saccade.deploy.runtime import best_cpu_runtime
        for name in ("m.onnx", "m.xml"):
            words = ["predict", "--model", f"{sys.argv[1]}/{name}", "--source", f"{sys.argv[1]}/red.png"]
            assert saccade.cli.main(words) == 0
        model = SmallClassifier()
        runtime = best_cpu_runtime(model)
        assert "OpenVINO" in runtime.name
        runtime(pixels(model, 1))
        assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
        assert runtime._torch is None
    """
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    trace = tmp_path / "trace.txt"
    traced = ["strace", "-f", "-qq", "-e", "trace=socket,connect,openat", "-e", "signal=none", "-o", str(trace)]
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    subprocess.run(
        [*(traced if shutil.which("strace") else []), *command],
        check=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert [path for path in home.rglob("*") if path.is_file()] == []
    if trace.exists():
        calls = trace.read_text(errors="replace").splitlines()
        assert len(calls) > 100
        assert [call for call in calls if "AF_INET" in call or "resolv.conf" in call] == []


def test_onnx_files_run_on_a_gpu_where_onnx_runtime_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    path = export_model(create_model("lenet5"), tmp_path / "lenet5.onnx")
    with pytest.raises(ExportError, match=r"no CUDA .*pip install onnxruntime-gpu"):
        open_runtime(path, "cuda")
    with pytest.raises(ExportError, match="device 'mps' is none that exported files run on"):
        open_runtime(path, "mps")
    asked: list[object] = []
    session = onnxruntime.InferenceSession

    def on_cpu(file: str, options: object, providers: list[object]) -> object:
        asked.extend(providers)
        return session(file, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert open_runtime(path, "cuda:1").name == "lenet5.onnx (ONNX Runtime, cuda:1)"
    assert asked == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]


@pytest.mark.parametrize(("precision", "half"), [("bf16", True), ("32", False)])
def test_branches_on_final_boxes_compute_in_the_precision_of_the_graph(precision: str, half: bool) -> None:
    torch.manual_seed(0)
    model = create_model("maskrcnn", num_classes=2, backbone="mobilenet_v3_small", channels=16).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    runtime = OpenVinoRuntime(model, precision)  # type: ignore[arg-type]
    branch = runtime._shell.branches["mask"]
    seen: list[bool] = []

    def predict(maps: list[torch.Tensor], decoded: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(torch.is_autocast_enabled("cpu"))
        assert maps[0].shape[1] == 16  # channels where the branch has them
        return type(branch).predict(branch, maps, decoded)

    runtime.run_graph(images)  # makes the graph, which asks the network for its outputs
    branch.predict = predict
    decoded = runtime.run_graph(images)
    assert seen == [half]
    assert decoded["masks"].dtype == torch.float32
    assert decoded["masks"].shape == (*decoded["boxes"].shape[:2], 28, 28)
    expected = EagerRuntime(model, "cpu", "32").run_graph(images)["masks"]
    if not half:
        torch.testing.assert_close(decoded["masks"], expected, atol=1e-3, rtol=1e-3)
