"""Headers as a stranger may write them: named, refused, and nothing reached."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from saccade.errors import WeightsError
from saccade.models.checkpoint import find_checkpoint, load_model, model_metadata, save_model
from saccade.models.registry import create_model
from saccade.weights.files import read_file, read_header, save_file
from saccade.weights.metadata import read_text_metadata

SPEC = create_model("lenet5").input_spec.to_dict()


def text_of(**changes: Any) -> str:
    return json.dumps({**model_metadata(create_model("lenet5")), **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_classes": 10**12}, "num_classes"),
        ({"num_classes": "3"}, "num_classes"),
        ({"class_names": [1]}, r"class_names\[0\]"),
        ({"class_names": "abc"}, "class_names"),
        ({"format_version": None}, "format_version"),
        ({"task": ["x"]}, "task"),
        ({"input_spec": 5}, "input_spec"),
        ({"input_spec": {**SPEC, "std": [0.0]}}, r"input_spec.std\[0\]"),
        ({"input_spec": {**SPEC, "std": [float("nan")]}}, r"input_spec.std\[0\]"),
        ({"input_spec": {**SPEC, "mean": [float("inf")]}}, r"input_spec.mean\[0\]"),
        ({"input_spec": {**SPEC, "mean": [1, 2, 3]}}, "input_spec.mean"),
        ({"input_spec": {**SPEC, "size": [10**9, 4]}}, r"input_spec.size\[0\]"),
        ({"input_spec": {**SPEC, "size": [16000, 16000]}}, "input_spec.size"),
        ({"input_spec": {**SPEC, "pad_multiple": 0}}, "input_spec.pad_multiple"),
        ({"input_spec": {**SPEC, "channels": 10**9}}, "input_spec.channels"),
        ({"input_spec": {**SPEC, "crop_fraction": 0}}, "input_spec.crop_fraction"),
        ({"input_spec": {**SPEC, "colour": 1}}, "colour"),
        ({"builder_args": {"weights": "imagenet"}}, "builder_args.weights"),
        ({"builder_args": {"num_classes": 10**9}}, "builder_args.num_classes"),
        ({"builder_args": {"a": {"b": 1}}}, "builder_args.a"),
        ({"builder_args": {"a": [[[[[[1]]]]]]}}, "builder_args.a"),
        ({"builder_args": {"a": [0] * 10_000}}, "builder_args.a"),
        ({"finish_options": {"a": 1e300}}, "finish_options.a"),
        ({"metrics": {"AP": "high"}}, "metrics"),
        ({"earlier_heads": [{"num_classes": -1, "class_names": []}]}, r"earlier_heads\[0\].num_classes"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"^'evil\\x1b\.safetensors': metadata.*{field}.* download or save it again"
    ):
        read_text_metadata(text_of(**changes), "evil\x1b.safetensors", WeightsError)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "1" * 10_000, '"a"', "nul", "\ud800"])
def test_what_is_no_json_is_named(text: str) -> None:
    with pytest.raises(WeightsError, match="'a' has damaged metadata"):
        read_text_metadata(text, "a", WeightsError)


def test_undefined_figures_are_null_in_the_file_and_nan_in_memory(tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors", {"AP": float("nan"), "AP50": 0.5})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    text = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["saccade"]
    assert json.loads(text)["metrics"] == {"AP": None, "AP50": 0.5}
    metrics = read_header(path)[1]["metrics"]
    assert metrics["AP"] != metrics["AP"]
    assert metrics["AP50"] == 0.5


def test_a_header_reaches_no_module_no_file_and_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_network.py").write_text("raise SystemExit('I ran')\n")
    monkeypatch.chdir(tmp_path)
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    reached: list[str] = []
    save_file(path, state, {**metadata, "builder_name": "evil_network:build"})
    with pytest.raises(WeightsError, match=r"m\.safetensors.*'evil_network:build'.*trust=True \(--trust\)"):
        load_model(path)
    assert "evil_network" not in sys.modules
    # A backbone is a network too.
    net = create_model("unet_backbone", backbone="resnet18")
    path = save_model(net, tmp_path / "unet.safetensors")
    state, metadata = read_file(path)
    metadata["builder_args"]["backbone"] = "evil_network:build"
    save_file(path, state, metadata)
    with pytest.raises(WeightsError, match=r"'evil_network:build'.*trust"):
        load_model(path)
    monkeypatch.setattr("saccade.weights.load_weights", lambda *words, **more: reached.append("weights"))
    for weights in ("imagenet", str(tmp_path / "unet.safetensors"), ["imagenet"]):
        save_file(path, state, {**metadata, "builder_args": {"weights": weights}})
        with pytest.raises(WeightsError, match=r"builder_args\.weights"):
            load_model(path)
    assert not reached
    assert "evil_network" not in sys.modules


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lenet5", {"num_classes": 100_000}),  # within the limit, and not what the file holds
        ("vgg16", {"num_classes": 100_000}),
        ("lenet5", {"num_classes": "many"}),
        ("lenet5", {"num_classes": -3}),
        ("lenet5", {"num_classes": [1, 2]}),
        ("unet", {"base_channels": 900_000}),
        ("unet_backbone", {"backbone": "resnet18", "decoder_channels": [900_000] * 400}),
        ("squeezenet1_1", {"dropout": "a"}),
    ],
)
def test_a_network_larger_than_its_file_asks_for_no_memory(name: str, arguments: Any, tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    save_file(path, state, {**metadata, "builder_name": name, "builder_args": arguments})
    with pytest.raises(WeightsError, match=rf"m\.safetensors.*{name}"):
        load_model(path)


def test_the_input_of_a_file_is_that_of_its_network(tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    for changes in (
        {"channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]},
        {"channels": 2, "mean": [0, 0], "std": [1, 1]},
    ):
        save_file(path, state, {**metadata, "input_spec": {**metadata["input_spec"], **changes}})
        with pytest.raises(WeightsError, match=r"m\.safetensors': metadata, field input_spec"):
            load_model(path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    del metadata["input_spec"]
    save_file(path, state, metadata)
    with pytest.raises(WeightsError, match=r"m\.safetensors': metadata, field input_spec: it is missing"):
        load_model(path)


def test_a_folder_means_its_best_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    save_model(create_model("lenet5", num_classes=3), run / "last" / "model.safetensors")
    with pytest.raises(WeightsError, match=r"mine' is a folder without a checkpoint.*last/model\.safetensors"):
        load_model(run)
    save_model(create_model("lenet5", num_classes=4), run / "other.safetensors")
    assert load_model(run).num_classes == 4
    save_model(create_model("lenet5", num_classes=5), run / "third.safetensors")
    with pytest.raises(WeightsError, match=r"several checkpoints \(other\.safetensors, third\.safetensors\)"):
        load_model(run)
    save_model(create_model("lenet5", num_classes=2), run / "best.safetensors")
    assert load_model(run).num_classes == 2
    assert find_checkpoint(run / "last") == run / "last" / "model.safetensors"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match=r"zero\.safetensors: this is a device, not a file"):
        load_model(tmp_path / "zero.safetensors")
    with pytest.raises(WeightsError, match="this is a folder"):
        read_file(tmp_path)


def test_random_bytes_in_the_header_are_no_traceback(tmp_path: Path) -> None:
    path = save_model(create_model("lenet5", num_classes=2), tmp_path / "m.safetensors")
    whole = path.read_bytes()
    start, end = whole.index(b"__metadata__"), whole.index(b"extra")
    generator = torch.Generator().manual_seed(3)
    messages = []
    for _ in range(60):
        changed = bytearray(whole)
        for at in torch.randint(start, end, (3,), generator=generator).tolist():
            changed[at] = int(torch.randint(32, 127, (1,), generator=generator))
        path.write_bytes(changed)
        try:
            assert load_model(path).num_classes == 2
        except WeightsError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(str(path) in message for message in messages)
