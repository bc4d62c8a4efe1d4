"""Exported files as a stranger may write them: nothing runs, nothing hangs, and what is wrong is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests.deploy.small import SmallClassifier, SmallDetector

from saccade.cli import main
from saccade.deploy.export import export_model, keep_metrics
from saccade.deploy.runtime import open_runtime
from saccade.deploy.verify import verify_export
from saccade.errors import ExportError, SaccadeError


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_model(SmallDetector(), folder / "boxes.onnx")
    export_model(SmallClassifier(), folder / "names.xml", format="openvino")
    export_model(SmallClassifier(), folder / "names.pt2", format="torch")
    Image.new("RGB", (48, 32), "red").save(folder / "red.png")
    return folder


VERBS = [
    ["predict", "--source", "red.png"],
    ["predict", "--source", "red.png", "--tile", "32"],
    ["evaluate", "--data", "digit_scenes"],
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_program_is_not_read_unless_trusted(
    words: list[str], exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported)
    for name in ("load", "_load"):
        monkeypatch.setattr(torch, name, None, raising=False)
    monkeypatch.setattr(torch.export, "load", None)
    assert main([words[0], "--model", "names.pt2", *words[1:]]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert "names.pt2' is a program of torch.export: opening it can run any code" in err
    assert "--trust" in err
    assert err.count("\n") == 1


def test_a_program_runs_where_it_is_trusted(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "--model", str(exported / "names.pt2"), "--source", str(exported / "red.png"), "--trust"]
    assert main(words) == 0
    assert "red.png: " in capsys.readouterr().out
    for door in (lambda path: verify_export(SmallClassifier(), path), lambda path: keep_metrics(path, {"top1": 1.0})):
        with pytest.raises(ExportError, match="trust"):
            door(exported / "names.pt2")


def with_metadata(source: Path, target: Path, text: str) -> Path:
    """A copy of an ONNX file with other metadata."""
    graph = onnx.load(source)
    next(entry for entry in graph.metadata_props if entry.key == "saccade").value = text
    onnx.save(graph, target)
    return target


def metadata_of(source: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(
        next(entry.value for entry in onnx.load(source).metadata_props if entry.key == "saccade")
    )
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 10**12}, "field num_classes"),
        ({"task": 5}, "field task"),
        ({"batch": 0}, "field batch"),
        ({"batch": 10**9}, "field batch"),
        ({"outputs": []}, "field outputs"),
        ({"decoded": "yes"}, "field decoded"),
        ({"max_detections": -1}, "field max_detections"),
        ({"class_names": None}, "field class_names"),
        ({"input_spec": {"size": [10**8, 10**8]}}, r"field input_spec\.size"),
        ({"input_spec": {"size": [64, 64], "std": [0, 1, 1]}}, r"field input_spec\.std"),
        ({"outputs": ["boxes", "nothing"]}, "cannot be run as its metadata describes it"),
        ({"outputs": ["scores", "boxes", "labels", "count"]}, None),  # other names for the same outputs: they are equal
        ({"task": "classification"}, "gives no 'probabilities'"),
        ({"task": "keypoints"}, "gives no 'keypoints'"),
        ({"class_names": ["a"], "num_classes": 1}, "gives label [123], but has 1 classes"),
        ({"finish": "nothing_known"}, "'nothing_known', which is not registered"),
        ({"input_spec": {"size": [32, 64]}}, "cannot be run as its metadata describes it"),
    ],
)
def test_wrong_metadata_is_named(changes: dict[str, Any], message: str | None, exported: Path, tmp_path: Path) -> None:
    source = exported / "boxes.onnx"
    path = with_metadata(source, tmp_path / "evil.onnx", json.dumps({**metadata_of(source), **changes}))

    def run() -> None:
        runtime = open_runtime(path)
        spec = runtime.input_spec
        images = np.random.default_rng(0).integers(0, 255, (2, spec.channels, *spec.size)).astype(np.uint8)
        runtime(torch.from_numpy(images))

    if message is None:
        run()
        return
    with pytest.raises(SaccadeError, match=message) as caught:
        run()
    assert "evil.onnx" in str(caught.value) or "finish" in changes


@pytest.mark.parametrize("text", ["{", "[1]", "nul", "[" * 50_000, "\x1b[31m"])
def test_broken_json_is_named(text: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = with_metadata(exported / "boxes.onnx", tmp_path / "evil.onnx", text)
    with pytest.raises(ExportError, match=r"evil\.onnx' has damaged metadata"):
        open_runtime(path)
    whole = (exported / "names.xml").read_text()
    start = whole.index("{&quot;format_version")
    end = whole.index('"', start)
    (tmp_path / "evil.xml").write_text(whole[:start] + text.replace("\x1b", "?") + whole[end:])
    shutil.copy(exported / "names.bin", tmp_path / "evil.bin")
    with pytest.raises(ExportError, match=r"evil\.xml' (has damaged metadata|cannot be opened)"):
        open_runtime(tmp_path / "evil.xml")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".safetensors"])
def test_only_regular_files_are_opened(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for name, kind in (("zero", "a device"), ("pipe", "a pipe")):
        with pytest.raises(SaccadeError, match=f"{name}{suffix}: this is {kind}, not a file"):
            open_runtime(tmp_path / f"{name}{suffix}", trust=True)


def test_weights_beside_a_graph_are_a_file_too(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "names.xml", tmp_path / "names.xml")
    (tmp_path / "names.bin").symlink_to("/dev/zero")
    with pytest.raises(ExportError, match=r"names\.bin: this is a device"):
        open_runtime(tmp_path / "names.xml")


def test_damaged_files_are_no_traceback(exported: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    failures = 0
    for name in ("boxes.onnx", "names.xml"):
        whole = (exported / name).read_bytes()
        shutil.copy(exported / "names.bin", tmp_path / "names.bin")
        for _ in range(15):
            changed = bytearray(whole)
            for at in generator.integers(0, len(whole), 20):
                changed[at] = generator.integers(256)
            (tmp_path / name).write_bytes(changed[: int(generator.integers(10, len(whole)))])
            try:
                runtime = open_runtime(tmp_path / name)
                runtime(torch.zeros(1, runtime.input_spec.channels, *runtime.input_spec.size, dtype=torch.uint8))
            except SaccadeError as error:
                failures += name in str(error)
    assert failures > 10
