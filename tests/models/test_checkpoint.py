from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from saccade.errors import WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, read_metadata, save_model
from saccade.models.registry import create_model
from saccade.weights import read_file, save_file


def test_round_trip_gives_equal_outputs_and_says_everything(tmp_path: Path) -> None:
    model = create_model("lenet5", num_classes=3).eval()
    model.class_names = ("a", "b", "ç")
    model.input_spec = replace(model.input_spec, pad_value=7)
    path = save_model(model, tmp_path / "m.safetensors", {"top1": 0.5}, {"epoch": 4})
    torch.manual_seed(5)
    expected_random = torch.rand(2)
    torch.manual_seed(5)
    back = load_model(path)
    assert torch.equal(torch.rand(2), expected_random)  # loading draws nothing from the caller's random numbers
    images = torch.rand(2, model.input_spec.channels, *model.input_spec.size)
    with torch.no_grad():
        assert torch.equal(back(images)["logits"], model(images)["logits"])
    assert not back.training
    assert (back.builder_name, dict(back.builder_args)) == (model.builder_name, dict(model.builder_args))
    assert (back.class_names, back.input_spec) == (model.class_names, model.input_spec)
    metadata = read_metadata(path)
    assert metadata["metrics"] == {"top1": 0.5}
    assert metadata["extra"] == {"epoch": 4}
    assert metadata["saccade_version"] == importlib.metadata.version("saccade")
    assert metadata["task"] == "classification"


def test_builder_arguments_that_are_tuples_come_back_as_tuples(tmp_path: Path) -> None:
    model = create_model("unet_backbone", backbone="resnet18", decoder_channels=(32, 16, 16, 8, 8))
    back = load_model(save_model(model, tmp_path / "m.safetensors"))
    assert back.builder_args["decoder_channels"] == (32, 16, 16, 8, 8)


def test_weights_without_metadata_name_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "hub.safetensors"
    save_file(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(WeightsError, match=r"hub\.safetensors' holds weights.*saccade convert FILE --model NAME"):
        load_model(path)
    with pytest.raises(WeightsError, match="not the name of their network"):
        read_metadata(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        load_model(tmp_path / "gone.safetensors")


def test_network_that_no_builder_made_cannot_be_saved(tmp_path: Path) -> None:
    class Mine(Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

    with pytest.raises(WeightsError, match=r"Mine.*@register_model"):
        save_model(Mine(), tmp_path / "m.safetensors")


def test_another_number_of_class_names_is_neither_written_nor_read(tmp_path: Path) -> None:
    model = create_model("yolox_nano", num_classes=2)
    model.class_names = ("background", "cat", "dog")
    with pytest.raises(WeightsError, match=r"yolox_nano has 2 classes and 3 class names \(background, cat, dog\)"):
        save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
    model.class_names = ("cat", "dog")
    path = save_model(model, tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    save_file(path, state, {**metadata, "class_names": ["cat"]})
    with pytest.raises(WeightsError, match=r"m\.safetensors' has 2 classes and 1 class names \(cat\)"):
        load_model(path)
    save_file(path, state, {**metadata, "class_names": []})
    assert load_model(path).class_names == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "written by a newer saccade.*pip install --upgrade"),
        ({"builder_name": "lenet6"}, "cannot build: unknown model 'lenet6'.*lenet5"),
        ({"builder_args": {"colour": 1}}, "cannot build: .*no option 'colour'"),
        ({"builder_args": {"num_classes": 4}}, "does not fit today's 'lenet5'"),
    ],
)
def test_files_of_other_versions_are_explained(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = save_model(create_model("lenet5"), tmp_path / "m.safetensors")
    state, metadata = read_file(path)
    save_file(path, state, {**metadata, **change})
    with pytest.raises(WeightsError, match=message):
        load_model(path)
