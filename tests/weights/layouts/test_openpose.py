"""Files of both forms of OpenPose, made up under the names of their authors, fill every tensor of the networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import saccade
from saccade.weights.layouts import layouts, lightweight_openpose, openpose


def caffe_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the convolutions of the 2017 prototxt, written down by hand."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, out: int, inside: int, side: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, inside, side, side), (out,)

    before = 3
    for stage, (count, width) in enumerate(((2, 64), (2, 128), (4, 256), (2, 512)), start=1):
        for number in range(1, count + 1):
            add(f"conv{stage}_{number}", width, before, 3)
            before = width
    add("conv4_3_CPM", 256, 512, 3)
    add("conv4_4_CPM", 128, 256, 3)
    for branch, outputs in (("L1", 38), ("L2", 19)):
        for number in (1, 2, 3):
            add(f"conv5_{number}_CPM_{branch}", 128, 128, 3)
        add(f"conv5_4_CPM_{branch}", 512, 128, 1)
        add(f"conv5_5_CPM_{branch}", outputs, 512, 1)
        for stage in range(2, 7):
            for number in range(1, 6):
                add(f"Mconv{number}_stage{stage}_{branch}", 128, 185 if number == 1 else 128, 7)
            add(f"Mconv6_stage{stage}_{branch}", 128, 128, 1)
            add(f"Mconv7_stage{stage}_{branch}", outputs, 128, 1)
    return shapes


def lightweight_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the author's PyTorch checkpoint, written down by hand."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, inside: int, side: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, inside, side, side)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{tensor}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    conv("model.0.0", 32, 3, 3, bias=False)
    norm("model.0.1", 32)
    before = 32
    for number, width in enumerate((64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512), start=1):
        conv(f"model.{number}.0", before, 1, 3, bias=False)
        norm(f"model.{number}.1", before)
        conv(f"model.{number}.3", width, before, 1, bias=False)
        norm(f"model.{number}.4", width)
        before = width
    conv("cpm.align.0", 128, 512, 1)
    for number in range(3):
        conv(f"cpm.trunk.{number}.0", 128, 1, 3, bias=False)
        conv(f"cpm.trunk.{number}.2", 128, 128, 1, bias=False)
    conv("cpm.conv.0", 128, 128, 3)
    for number in range(3):
        conv(f"initial_stage.trunk.{number}.0", 128, 128, 3)
    for number in range(5):
        block = f"refinement_stages.0.trunk.{number}"
        conv(f"{block}.initial.0", 128, 185 if number == 0 else 128, 1)
        for layer in range(2):
            conv(f"{block}.trunk.{layer}.0", 128, 128, 3)
            norm(f"{block}.trunk.{layer}.1", 128)
    for stage, hidden in (("initial_stage", 512), ("refinement_stages.0", 128)):
        for branch, outputs in (("heatmaps", 19), ("pafs", 38)):
            conv(f"{stage}.{branch}.0.0", hidden, 128, 1)
            conv(f"{stage}.{branch}.1.0", outputs, hidden, 1)
    return shapes


def zeros(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("builder", "shapes", "layout", "prefix"),
    [
        ("openpose_coco", caffe_names(), openpose, "model0."),
        ("lightweight_openpose", lightweight_names(), lightweight_openpose, ""),
    ],
)
def test_every_tensor_has_its_name(builder: str, shapes: dict, layout: object, prefix: str) -> None:
    state = zeros(shapes, prefix)
    assert [one.NAME for one in layouts() if one.matches(set(state))] == [layout.NAME]  # type: ignore[attr-defined]
    with torch.device("meta"):
        model = saccade.create_model(builder)
    converted = layout.convert(state, model)  # type: ignore[attr-defined]
    assert {name: tuple(one.shape) for name, one in converted.items()} == {
        name: tuple(one.shape) for name, one in model.state_dict().items()
    }


def test_a_file_loads_and_its_maps_keep_their_place(tmp_path: Path) -> None:
    state = zeros(lightweight_names())
    state["refinement_stages.0.heatmaps.1.0.bias"] = torch.arange(19.0)
    state["refinement_stages.0.pafs.1.0.bias"] = torch.arange(38.0)
    save_file(state, tmp_path / "pose.safetensors")
    model = saccade.create_model("lightweight_openpose", weights=str(tmp_path / "pose.safetensors")).eval()
    with torch.no_grad():
        outputs = model(torch.zeros(1, 3, 32, 32))
    assert torch.equal(outputs["heatmaps"][0, :, 1, 2], torch.arange(19.0))
    assert torch.equal(outputs["fields"][0, :, 1, 2], torch.arange(38.0))
