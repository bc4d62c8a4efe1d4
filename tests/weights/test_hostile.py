"""Files of weights from strangers: whatever is wrong with one, a WeightsError of one printable line says it."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.errors import WeightsError
from saccade.models.base import Model
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec
from saccade.structures.text import printable
from saccade.weights import foreign, load_weights, save_file


class Tiny(Model):
    """A convolution with BatchNorm and a head, of a few numbers."""

    task = "classification"
    stage_names = ("conv", "bn")
    head_names = ("head",)
    class_rows = linear_rows("head")

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_spec = InputSpec((8, 8))
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, num_classes)


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Tiny().state_dict()


def write(kind: str, path: Path) -> Path:
    """A sound file of each format."""
    if kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(path, state(), {"class_names": ["a", "b", "c"], "num_classes": 3})
    elif kind == "darknet":
        path = path.with_suffix(".weights")
        count = sum(value.numel() for name, value in state().items() if not name.endswith("tracked"))
        path.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + np.ones(count, "<f4").tobytes())
    else:
        path = path.with_suffix(".pth")
        content = {"state_dict": {f"module.{name}": value for name, value in state().items()}, "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def outcome(path: Path) -> str:
    """The message with which a file is refused; empty if it was taken. Anything but a WeightsError is a fault."""
    model = Tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        load_weights(model, path)
    except WeightsError as error:
        message = str(error)
        assert message == printable(message), message
        assert 0 < len(message) < 2_000
        assert path.name in message or printable(path.name) in message
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        return message
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    return ""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """A file cut, overwritten, or with bytes put in."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data)))
        choice = int(rng.integers(5))
        if choice == 0:
            del data[at:]
            data = data or bytearray(b"\0")
        elif choice == 1:
            data[at] = int(rng.integers(256))
        elif choice == 2:
            data[at : at + 8] = rng.bytes(8)
        elif choice == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        else:
            data[at : at + 16] = bytes([0xFF] * 16)
    return bytes(data)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "darknet"])
def test_mutants_are_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    """Two hundred of each format; not one ends otherwise, and most of the damage is seen."""
    sound = write(kind, tmp_path / "sound")
    assert outcome(sound) == ""
    content = sound.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(200):
        path = tmp_path / f"mutant{number}{sound.suffix}"
        path.write_bytes(mutate(content, rng))
        refused += bool(outcome(path))
        path.unlink()
    assert refused > 60


class Code:
    """Pickles into a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("saccade-was-here",)


def _itself() -> dict[str, Any]:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    return content


def _deep(levels: int) -> dict[str, Any]:
    content: dict[str, Any] = dict(state())
    for _ in range(levels):
        content = {"model": content}
    return content


CONTENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "code": (lambda: {"model": state(), "hook": Code()}, "holds Python objects"),
    "a dict in itself": (_itself, "dicts in dicts, more than 8 deep"),
    "dicts in dicts": (lambda: _deep(30), "dicts in dicts, more than 8 deep"),
    "a list": (lambda: [state()], "holds a list and no state dict"),
    "a tensor": (lambda: torch.zeros(3), "holds a Tensor and no state dict"),
    "nothing": (dict, r"no tensors under any usual name \(found: nothing\)"),
    "no tensors": (lambda: {"a\x1b[31m\nb": 1}, r"found: a\\x1b\[31m\\nb"),
    "control characters": (lambda: {f"x\x1b[2J{name}\r\n": value for name, value in state().items()}, r"x\\x1b\[2J"),
    "names that are numbers": (lambda: dict(enumerate(state().values())), "has nothing for Tiny"),
    "another shape": (lambda: {**state(), "conv.weight": torch.zeros(9, 9)}, r"conv\.weight: \(9, 9\) in the file"),
    "no shape": (lambda: {**state(), "conv.weight": torch.zeros(())}, r"conv\.weight: \(\) in the file"),
    "an empty tensor": (lambda: {**state(), "bn.bias": torch.zeros(0)}, r"bn\.bias: \(0,\) in the file"),
    "not finite": (lambda: {**state(), "bn.bias": torch.full((2,), torch.nan)}, "bn.bias holds values that are no"),
    "whole numbers": (lambda: {**state(), "bn.bias": torch.zeros(2, dtype=torch.long)}, "bn.bias is int64"),
    "a huge view": (lambda: {**state(), "x": torch.zeros(1).expand(1 << 45)}, "x claims 35,184,372,088,832 numbers"),
    "no values": (lambda: {**state(), "x": torch.zeros(3, device="meta")}, "x is sparse, nested or without values"),
    "many tensors": (lambda: {str(number): torch.zeros(1) for number in range(1001)}, "holds 1,001 tensors, more than"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_state_dict_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = CONTENTS[name]
    monkeypatch.setattr(foreign, "_MAX_TENSORS", 1000)
    torch.save(make(), tmp_path / "theirs.pth")
    assert re.search(message, outcome(tmp_path / "theirs.pth"))
    assert not (tmp_path / "saccade-was-here").exists()


def _header(header: Any, length: int | None = None, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        _header({}, length=1 << 60),
        _header(b"[1, 2]"),
        _header(b"{" * 5000),
        _header({"conv.weight": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}, body=b"\0" * 8),
        _header({"conv.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 50]}}, body=b"\0" * 8),
        _header({"conv.weight": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, body=b"\0" * 8),
        _header({"conv.weight": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, body=b"\0" * 8),
        _header({"a\x1b[31m": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, body=b"\0" * 8),
        _header({"conv.weight": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, body=b"\0" * 8),
        _header({"__metadata__": {"saccade": "[]"}}),
        _header({"__metadata__": {"saccade": '{"class_names": 3}'}}),
    ],
    ids=range(13),
)
def test_hostile_safetensors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "theirs.safetensors").write_bytes(content)
    assert outcome(tmp_path / "theirs.safetensors")


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    sound = write("zip", tmp_path / "sound")
    with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in archive.infolist():
            bomb.writestr(entry.filename, archive.read(entry))
        bomb.writestr("sound/data/99", b"\0" * 50_000_000)
    assert "would unpack to 50," in outcome(tmp_path / "bomb.pth")


def test_pickles_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "theirs.pth").write_bytes(pickle.dumps({"model": {"a": np.zeros(2)}}))
    assert outcome(tmp_path / "theirs.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code()))
    assert outcome(tmp_path / "code.pth")
    assert not Path("saccade-was-here").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights"])
def test_only_regular_files_are_opened(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    assert "this is a folder" in outcome(tmp_path / f"folder{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    assert "this is a pipe" in outcome(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    assert "this is a device" in outcome(tmp_path / f"zero{suffix}")
    assert "no weights file" in outcome(tmp_path / f"gone{suffix}")
    strange = tmp_path / f"a\x1b[31m\n{suffix}"
    strange.write_bytes(b"hello")
    assert outcome(strange)
