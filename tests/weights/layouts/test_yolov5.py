"""State dicts of YOLOv5: every tensor finds its place, anchors travel, faults are named, pickles are refused."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saccade.errors import WeightsError
from saccade.models.detection.yolov5 import ANCHORS_P5, YOLOv5, yolov5n
from saccade.models.registry import create_model
from saccade.weights import load_weights
from saccade.weights.layouts import layouts, yolov5

# Numbers of the layers that have tensors, as the public description of v6.1 lists them, with what they are.
P5 = {
    0: "conv", 1: "conv", 2: "c3", 3: "conv", 4: "c3", 5: "conv", 6: "c3", 7: "conv", 8: "c3", 9: "sppf", 10: "conv",
    13: "c3", 14: "conv", 17: "c3", 18: "conv", 20: "c3", 21: "conv", 23: "c3", 24: "detect",
}  # fmt: skip
P6 = {
    0: "conv", 1: "conv", 2: "c3", 3: "conv", 4: "c3", 5: "conv", 6: "c3", 7: "conv", 8: "c3", 9: "conv", 10: "c3",
    11: "sppf", 12: "conv", 15: "c3", 16: "conv", 19: "c3", 20: "conv", 23: "c3", 24: "conv", 26: "c3", 27: "conv",
    29: "c3", 30: "conv", 32: "c3", 33: "detect",
}  # fmt: skip
BOTTLENECKS = {2: 1, 4: 2, 6: 3}  # of n and s; 1 in all other C3
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published_names(layers: dict[int, str], levels: int) -> set[str]:
    """Names of a file, from the list of its layers."""

    def conv(prefix: str) -> list[str]:
        return [f"{prefix}.conv.weight", *(f"{prefix}.bn.{part}" for part in _NORM)]

    names: list[str] = []
    for number, kind in layers.items():
        prefix = f"model.{number}"
        if kind == "conv":
            names += conv(prefix)
        elif kind == "sppf":
            names += conv(f"{prefix}.cv1") + conv(f"{prefix}.cv2")
        elif kind == "c3":
            for inner in ("cv1", "cv2", "cv3"):
                names += conv(f"{prefix}.{inner}")
            for block in range(BOTTLENECKS.get(number, 1)):
                names += conv(f"{prefix}.m.{block}.cv1") + conv(f"{prefix}.m.{block}.cv2")
        else:
            names += [f"{prefix}.anchors"]
            names += [f"{prefix}.m.{level}.{part}" for level in range(levels) for part in ("weight", "bias")]
    return set(names)


@pytest.mark.parametrize(("name", "layers", "levels"), [("yolov5n", P5, 3), ("yolov5n6", P6, 4)])
def test_every_tensor_of_a_file_is_one_of_ours(name: str, layers: dict[int, str], levels: int) -> None:
    with torch.device("meta"):
        model = create_model(name)
    theirs = published_names(layers, levels)
    state = {key: torch.ones(levels, 3, 2) * torch.arange(1, levels + 1)[:, None, None] for key in sorted(theirs)}
    assert [layout.NAME for layout in layouts() if layout.matches(theirs)] == ["YOLOv5"]
    converted = yolov5.convert(state, model)
    assert set(converted) == set(model.state_dict())


def published(model: YOLOv5, layers: dict[int, str]) -> dict[str, Tensor]:
    """Our state under the names of a file: the inverse of the conversion, found by converting numbers."""
    names = sorted(published_names(layers, len(model.feature_strides)))
    detection = max(layers)
    tags = {key: torch.full((len(model.feature_strides), 3, 2), 1.0).cumsum(0) for key in names}
    for index, key in enumerate(names):
        if not key.endswith("anchors"):
            tags[key] = torch.tensor(float(index))
    state = model.state_dict()
    theirs = {}
    for own, tag in yolov5.convert(tags, model).items():
        if own != "anchor_sizes":
            theirs[names[int(tag)]] = state[own]
    strides = torch.tensor(model.feature_strides)[:, None, None]
    theirs[f"model.{detection}.anchors"] = state["anchor_sizes"].view(len(strides), 3, 2) / strides
    return theirs


def test_a_half_precision_file_of_another_data_set_brings_its_anchors(tmp_path: Path) -> None:
    anchors = [[(2 * width, 3 * height) for width, height in level] for level in ANCHORS_P5]
    source, target = yolov5n(num_classes=2, anchors=anchors), yolov5n(num_classes=2)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_(std=0.1)
    theirs = published(source, P5)
    torch.save({name: tensor.half() for name, tensor in theirs.items()}, tmp_path / "last.pth")
    report = load_weights(target, tmp_path / "last.pth", strict_head=True)
    assert (report.recognised, report.missing, report.unexpected) == ("YOLOv5", (), ())
    assert torch.equal(target.anchor_sizes, source.anchor_sizes)
    images = torch.rand(1, 3, 64, 96)
    rounded = yolov5n(num_classes=2, anchors=anchors)
    rounded.load_state_dict({name: tensor.half().float() for name, tensor in source.state_dict().items()})
    for name, value in rounded.eval()(images).items():
        assert torch.equal(value, target.eval()(images)[name])


def test_another_size_is_named(tmp_path: Path) -> None:
    torch.save(published(yolov5n(num_classes=2), P5), tmp_path / "last.pth")
    with pytest.raises(WeightsError, match="yolov5n"):
        load_weights(create_model("yolov5s", num_classes=2), tmp_path / "last.pth")


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (torch.ones(3, 6), r"model\.24\.anchors has shape \(3, 6\); it must be \(3, anchors, 2\)"),
        (torch.ones(4, 3, 2), r"has shape \(4, 3, 2\)"),
        (-torch.ones(3, 3, 2), "not above 0"),
        (torch.tensor([40.0, 10.0, 1.0]).view(3, 1, 1).expand(3, 3, 2), "get smaller from level to level"),
    ],
)
def test_anchors_that_do_not_fit_the_strides_are_named(anchors: Tensor, message: str, tmp_path: Path) -> None:
    model = yolov5n(num_classes=2)
    torch.save({**published(model, P5), "model.24.anchors": anchors.clone()}, tmp_path / "last.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(model, tmp_path / "last.pth")


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("models.yolo")
    module.Model = type("Model", (nn.Module,), {"__module__": "models.yolo"})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "models", types.ModuleType("models"))
        patch.setitem(sys.modules, "models.yolo", module)
        torch.save({"model": module.Model()}, tmp_path / "yolov5n.pt")
    with pytest.raises(WeightsError, match=r"holds Python objects.*\['model'\]\.float\(\)\.state_dict\(\)"):
        load_weights(yolov5n(), tmp_path / "yolov5n.pt")
