"""Recipes: every one resolves; the measured ones reach the metrics of their docstrings (``make test-slow``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saccade.engine.train.config import TrainConfig
from saccade.engine.train.configfile import config_from_dict, config_to_yaml, load_config
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.optim import build_optimizer, layers_of
from saccade.engine.train.phases import resolve_phases
from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.recipes import default_recipe, get_recipe, list_recipes


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_resolves_and_survives_yaml(name: str, tmp_path: Path) -> None:
    config = get_recipe(name)
    assert config.name == name
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert load_config(path) == config
    with torch.device("meta"):
        model = create_model(config.model, **config.model_args)
    resolve_phases(config, model)  # unknown attributes are errors
    build_optimizer(model.named_parameters(), config.optimizer, layers_of(model))


@pytest.mark.parametrize("model", ["lenet5", "yolox_nano", "unet", "dsnt"])
def test_every_task_has_settings_for_data_of_ones_own(model: str) -> None:
    config = default_recipe(model, "some/where/my data/")
    assert (config.model, config.data.source) == (model, "some/where/my data/")
    assert config.name == f"{model}_my_data"
    assert config_from_dict(TrainConfig, {}).epochs > 0


def test_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lenet5_mnist'"):
        get_recipe("lenet_mnist")


def run(name: str, tmp_path: Path, **fields: object) -> RunResult:
    return fit(replace(get_recipe(name), out=str(tmp_path), **fields))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.data("mnist")
def test_lenet5_reaches_the_error_of_the_paper(tmp_path: Path) -> None:
    assert run("lenet5_mnist", tmp_path).metrics["top1"] >= 0.9905  # LeCun et al. 1998: 0.95 % error


@pytest.mark.slow
@pytest.mark.data("mnist")
def test_lenet5_of_1998_reaches_it_by_its_own_rules(tmp_path: Path) -> None:
    assert run("lenet5_1998_mnist", tmp_path).metrics["top1"] >= 0.9905


@pytest.mark.slow
@pytest.mark.data("intel_scenes")
def test_darknet19_distinguishes_landscapes(tmp_path: Path) -> None:
    # As many epochs as a quiet machine has in five minutes, so that a busy one asserts the same.
    assert run("darknet19_scenes", tmp_path, epochs=55, max_minutes=None).metrics["top1"] >= 0.79


@pytest.mark.slow
@pytest.mark.data("bccd")
def test_yolox_tiny_finds_blood_cells(tmp_path: Path) -> None:
    metrics = run("yolox_tiny_bccd", tmp_path).metrics
    assert metrics["AP50"] >= 0.90
    assert metrics["AP"] >= 0.57


# Measured 0.900 and 0.609, 0.888 and 0.578, 0.902 and 0.579; seeds differ by about 0.01.
@pytest.mark.slow
@pytest.mark.data("bccd")
@pytest.mark.parametrize(
    ("name", "ap50", "ap"),
    [
        ("fcos_r18_bccd", 0.885, 0.585),
        ("ssdlite_bccd", 0.875, 0.56),
        ("retinanet_r18_bccd", 0.885, 0.56),
        ("centernet_r18_bccd", 0.8, 0.45),
    ],
)
def test_dense_detectors_find_blood_cells(name: str, ap50: float, ap: float, tmp_path: Path) -> None:
    metrics = run(name, tmp_path).metrics
    assert metrics["AP50"] >= ap50
    assert metrics["AP"] >= ap


# Measured 0.897, 0.880, 0.874, 0.874 and 0.873.
@pytest.mark.slow
@pytest.mark.data("bccd")
@pytest.mark.parametrize(
    ("name", "ap50"),
    [
        ("yolov5n_bccd", 0.88),
        ("yolov3_tiny_bccd", 0.865),
        ("yolov3_tiny_spp_bccd", 0.86),
        ("yolov4_tiny_bccd", 0.86),
        ("yolox_nano_bccd", 0.86),
    ],
)
def test_the_yolo_line_finds_blood_cells(name: str, ap50: float, tmp_path: Path) -> None:
    assert run(name, tmp_path).metrics["AP50"] >= ap50


@pytest.mark.slow
@pytest.mark.data("isbi2012_membrane")
def test_unet_finds_membranes(tmp_path: Path) -> None:
    # The aim is 0.80; 0.793 was reached (see the recipe).
    assert run("unet_isbi", tmp_path).metrics["mIoU"] >= 0.785


@pytest.mark.slow
@pytest.mark.data("facial_keypoints_68")
def test_dsnt_halves_the_error_of_the_mean_face(tmp_path: Path) -> None:
    result = run("dsnt_faces", tmp_path)
    assert result.baseline is not None
    assert result.metrics["NME"] <= result.baseline.values["NME"] / 2


@pytest.mark.slow
def test_the_demo_learns_to_read(tmp_path: Path) -> None:
    assert run("demo", tmp_path, max_minutes=4.0).metrics["AP50"] >= 0.85
