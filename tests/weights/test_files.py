from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.errors import SaccadeError, WeightsError
from saccade.weights import read_file, save_file


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_of_tensors_and_metadata(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "plain": base,
        "transposed": base.t(),
        "view": base[1],
        "scalar": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 4),
    }
    metadata = {
        "classes": ["a", "ü"],
        "nested": {"x": [1, 2.5, None]},
        "ap": np.float32(0.5),
        "where": tmp_path,
        "t": torch.tensor(2),
    }
    save_file(tmp_path / "deep" / "a.safetensors", state, metadata)
    found, back = read_file(tmp_path / "deep" / "a.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in state.items())
    assert back == {"classes": ["a", "ü"], "nested": {"x": [1, 2.5, None]}, "ap": 0.5, "where": str(tmp_path), "t": 2}
    assert _files(tmp_path / "deep") == ["a.safetensors"]


def test_metadata_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.safetensors.*not plain JSON"):
        save_file(tmp_path / "a.safetensors", {}, {"model": object()})
    assert _files(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all", b"\xff" * 100])
def test_foreign_or_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.safetensors' is not a readable safetensors file"):
        read_file(path)


def test_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(path, {"a": torch.rand(1000)}, {})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="cut short"):
        read_file(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file.*gone\.safetensors"):
        read_file(tmp_path / "gone.safetensors")


def test_safetensors_of_others_have_no_metadata(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_safetensors

    save_safetensors({"a": torch.ones(2)}, tmp_path / "hub.safetensors", {"format": "pt"})
    state, metadata = read_file(tmp_path / "hub.safetensors")
    assert torch.equal(state["a"], torch.ones(2))
    assert metadata == {}


def test_full_disk_reported_by_safetensors(tmp_path: Path) -> None:
    """The writer is Rust and reports no errno; a limit on file size stands in for the full disk."""
    path = tmp_path / "a.safetensors"
    save_file(path, {"a": torch.ones(10)}, {"n": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(SaccadeError, match=r"a\.safetensors': the disk is full"):
            save_file(path, {"a": torch.ones(100_000)}, {"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_file(path)[1] == {"n": 1}
    assert _files(tmp_path) == ["a.safetensors"]


def test_new_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    save_file(tmp_path / "a.safetensors", {}, {})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
