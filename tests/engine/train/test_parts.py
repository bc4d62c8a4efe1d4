"""Schedules, optimiser groups, averages and configuration files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.small import SmallNet

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, FreezeConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig
from saccade.engine.train.configfile import config_to_yaml, load_config
from saccade.engine.train.ema import WeightAverage
from saccade.engine.train.optim import apply_freeze, build_optimizer, describe_freeze, layers_of
from saccade.engine.train.phases import resolve_phases, settings_at
from saccade.engine.train.schedule import lr_factor
from saccade.errors import ConfigError
from saccade.models.registry import create_model


def test_cosine_with_quadratic_warmup_and_flat_end() -> None:
    config = ScheduleConfig(name="cosine", warmup_epochs=5, warmup_power=2.0, final_factor=0.05, flat_epochs=15)
    assert lr_factor(config, 2.5, 300) == pytest.approx(0.25)
    assert lr_factor(config, 5, 300) == pytest.approx(1.0)
    assert lr_factor(config, 5 + 140, 300) == pytest.approx(0.05 + 0.95 / 2)
    assert lr_factor(config, 285, 300) == lr_factor(config, 299, 300) == pytest.approx(0.05)


def test_step_poly_and_linear() -> None:
    step = ScheduleConfig(name="step", milestones=(3.0, 6.0), gamma=0.1)
    assert [round(lr_factor(step, epoch, 9), 6) for epoch in (0, 3, 6)] == [1.0, 0.1, 0.01]
    assert lr_factor(ScheduleConfig(name="poly", power=0.9), 5, 10) == pytest.approx(0.5**0.9)
    assert lr_factor(ScheduleConfig(name="linear"), 10, 10) == 0.0
    assert lr_factor(ScheduleConfig(name="constant"), 7, 10) == 1.0


def test_norms_and_biases_are_not_decayed_and_prefixes_scale() -> None:
    model = SmallNet()
    optimizer = build_optimizer(
        model.named_parameters(), OptimizerConfig(lr=0.1, weight_decay=0.5, lr_scale={"stem": 0.1})
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = {
        names[id(member)]: (group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
        for member in group["params"]
    }
    assert settings["stage.0.weight"] == (0.5, 0.1)
    assert settings["stage.0.bias"] == settings["stage.1.weight"] == (0.0, 0.1)
    assert settings["stem.0.weight"] == (0.5, pytest.approx(0.01))
    with pytest.raises(ConfigError, match="Did you mean 'stem'"):
        build_optimizer(model.named_parameters(), OptimizerConfig(lr_scale={"stme": 0.1}))


def test_layers_below_the_head_learn_slower_step_by_step() -> None:
    model = SmallNet()
    # A norm belongs to the convolution before it, and the last one to the head.
    assert layers_of(model) == (("stem.0", "stem.1"), ("stage.0",), ("head", "stage.1"))
    config = OptimizerConfig(lr=1.0, layer_decay=0.5, lr_scale={"stem": 0.1})
    optimizer = build_optimizer(model.named_parameters(), config, layers_of(model))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(member)]: group["lr"] for group in optimizer.param_groups for member in group["params"]}
    assert rates["head.weight"] == rates["head.bias"] == rates["stage.1.weight"] == 1.0
    assert rates["stage.0.weight"] == rates["stage.0.bias"] == 0.5
    assert rates["stem.0.weight"] == rates["stem.1.bias"] == pytest.approx(0.25 * 0.1)
    with pytest.raises(ConfigError, match="layer_decay needs a network with stages"):
        build_optimizer(model.named_parameters(), config)


def test_layers_of_networks_are_those_of_their_papers() -> None:
    with torch.device("meta"):
        convnext, vit = create_model("convnext_tiny"), create_model("vit_ti_16")
    layers = layers_of(convnext)
    assert layers[0] == ("stem",)
    assert layers[3] == ("stages.2.blocks.0", "stages.2.blocks.1", "stages.2.blocks.2", "stages.2.downsample")
    assert layers[-1] == ("head.fc", "head.norm")
    assert len(layers) == 1 + 2 + 3 + 1 + 1
    tokens = ("patch_embed", "cls_token", "pos_embed")  # what is a single parameter belongs to the layer before it
    assert layers_of(vit) == (tokens, *((f"blocks.{index}",) for index in range(12)), ("head", "norm"))


def test_the_neck_learns_at_the_rate_of_the_heads() -> None:
    with torch.device("meta"):
        model = create_model("yolox_nano", num_classes=2)
    layers = layers_of(model)
    assert len(model.neck_names) == 8
    assert layers[-1] == ("head", *model.neck_names)
    config = OptimizerConfig(lr=1.0, layer_decay=0.5)
    optimizer = build_optimizer(model.named_parameters(), config, layers)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(member)]: group["lr"] for group in optimizer.param_groups for member in group["params"]}
    assert rates["backbone.C3_p4.conv1.conv.weight"] == rates["head.stems.0.conv.weight"] == 1.0
    assert rates["backbone.backbone.dark5.2.conv1.conv.weight"] == 0.5
    assert min(rates, key=rates.__getitem__).startswith("backbone.backbone.stem.")


def test_what_is_in_no_part_is_named() -> None:
    model = SmallNet()
    model.token = torch.nn.Parameter(torch.zeros(1, 4))
    with pytest.raises(ConfigError, match=r"layer_decay: parameter 'token' is in no layer.*stage_names"):
        build_optimizer(model.named_parameters(), OptimizerConfig(layer_decay=0.5), layers_of(model))
    with pytest.raises(ConfigError, match=r"trainable is 'head', but parameter 'token'.*train 'all'"):
        apply_freeze(model, FreezeConfig(trainable="head"))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert build_optimizer(model.named_parameters(), OptimizerConfig()).param_groups


def test_rmsprop_is_its_definition() -> None:
    parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    config = OptimizerConfig(name="rmsprop", lr=0.1, alpha=0.8, eps=0.01, momentum=0.5)
    optimizer = build_optimizer([("weight", parameter)], config)
    expected, square, velocity = parameter.detach().clone(), torch.zeros(1, 2), torch.zeros(1, 2)
    for step in range(3):
        gradient = torch.tensor([[0.3, -0.1 * step]])
        square = 0.8 * square + 0.2 * gradient**2
        velocity = 0.5 * velocity + gradient / (square.sqrt() + 0.01)
        expected -= 0.1 * velocity
        parameter.grad = gradient
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), expected)


def test_exponential_falls_in_steps() -> None:
    config = ScheduleConfig(name="exponential", gamma=0.97, gamma_epochs=2.4, warmup_epochs=1.0)
    assert lr_factor(config, 0.5, 100) == 0.5
    assert lr_factor(config, 2.3, 100) == 1.0
    assert lr_factor(config, 2.4, 100) == pytest.approx(0.97)
    assert lr_factor(config, 24.0, 100) == pytest.approx(0.97**10)


@pytest.mark.parametrize(
    ("trainable", "moving"),
    [
        ("all", {"token", "stem", "stage", "head"}),
        ("last:2", {"token", "stem", "stage", "head"}),
        ("last:1", {"stage", "head"}),
        ("last:0", {"head"}),
        ("head", {"head"}),
    ],
)
def test_only_what_is_named_moves(trainable: str, moving: set[str]) -> None:
    model = SmallNet()
    model.token = torch.nn.Parameter(torch.zeros(1, 4))  # part of the first stage, as a class token is
    model.stage_names = ("stem", "token", "stage")
    apply_freeze(model, FreezeConfig(trainable=trainable))
    assert {name.split(".")[0] for name, one in model.named_parameters() if one.requires_grad} == moving
    assert [model.stem.training, model.stage.training, model.head.training] == [
        name in moving for name in ("stem", "stage", "head")
    ]
    assert model.training
    apply_freeze(model, FreezeConfig())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(("trainable", "neck"), [("last:5", True), ("last:0", True), ("head", False)])
def test_necks_train_with_the_last_stages(trainable: str, neck: bool) -> None:
    with torch.device("meta"):
        model = create_model("yolox_nano", num_classes=2)
    apply_freeze(model, FreezeConfig(trainable=trainable))
    said = describe_freeze(model, FreezeConfig(trainable=trainable))
    moving = {name for name, one in model.named_parameters() if one.requires_grad}
    inside = {
        name for name, _ in model.named_parameters() if name.startswith(tuple(f"{one}." for one in model.neck_names))
    }
    assert len(inside) == 90
    assert inside <= moving if neck else not inside & moving
    assert (len(moving) == 330) == (trainable == "last:5")
    assert f"trained: {trainable}, {len(moving)} of 330 parameter tensors" in said
    assert ("backbone.C3_p4" in said) == neck


def test_a_vision_transformer_has_as_many_stages_as_modules() -> None:
    with torch.device("meta"):
        model = create_model("vit_ti_16", num_classes=2)
    apply_freeze(model, FreezeConfig(trainable="last:12"))
    assert not model.pos_embed.requires_grad
    assert not model.patch_embed.proj.weight.requires_grad
    assert model.blocks[0].norm1.weight.requires_grad
    apply_freeze(model, FreezeConfig(trainable="last:13"))
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match=r"'last:14', but vit_ti_16 has 13 stages: patch_embed, blocks\.0"):
        apply_freeze(model, FreezeConfig(trainable="last:14"))


def test_average_equals_its_definition() -> None:
    model = SmallNet()
    average = WeightAverage(model, EmaConfig(decay=0.9, warmup_steps=3.0))
    expected = model.head.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            model.head.weight.add_(torch.randn_like(model.head.weight))
        decay = 0.9 * (1 - math.exp(-step / 3.0))
        expected = decay * expected + (1 - decay) * model.head.weight.detach()
        average.update()
    torch.testing.assert_close(average.module.head.weight, expected)  # type: ignore[union-attr]


def test_config_survives_yaml(tmp_path: Path) -> None:
    config = TrainConfig(model="yolox_nano", phases=(Phase(from_epoch=-3, model={"use_l1": True}, size=(64, 96)),))
    config.augment.scale = (0.5, 1.5)
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimiser: {lr: 0.1}", "unknown option 'optimiser'. Did you mean 'optimizer'"),
        ("optimizer: {learning_rate: 0.1}", "unknown option 'learning_rate'"),
        ("optimizer: {name: sdg}", "Did you mean 'sgd'"),
        ("epochs: many", "epochs needs a value of type int"),
        ("data: {size: [1, 2, 3]}", "data: size needs 2 values"),
        ("- 1", "holds no mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_configuration_names_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert "wrong.yaml" in str(caught.value)


def test_stages_hold_from_their_epoch_and_go_back_by_none() -> None:
    model = SmallNet()
    config = TrainConfig(
        augment=AugmentConfig(mosaic=1.0),
        epochs=20,
        phases=(
            Phase(from_epoch=5, size=(16, 16)),
            Phase(from_epoch=-3, model={"poison": True}, augment={"mosaic": 0.0}),
        ),
    )
    phases = resolve_phases(config, model)
    at = [settings_at(config, phases, epoch, 20) for epoch in (0, 5, 16, 17)]
    assert [settings.augment.mosaic for settings in at] == [1.0, 1.0, 1.0, 0.0]
    assert [settings.size for settings in at] == [None, (16, 16), (16, 16), (16, 16)]
    assert [settings.model for settings in at] == [{"poison": False}] * 3 + [{"poison": True}]


@pytest.mark.parametrize(
    "change",
    [{"augment": AugmentConfig(multiscale=(8, 16))}, {"phases": (Phase(from_epoch=5, size=(16, 8)),)}],
    ids=str,
)
def test_a_network_of_one_size_refuses_others_before_the_first_epoch(change: dict[str, Any]) -> None:
    model = SmallNet()
    model.input_spec = replace(model.input_spec, fixed=True)
    with pytest.raises(ConfigError, match=r"takes images of 8x8 pixels .* only, and 16x"):
        resolve_phases(TrainConfig(**change), model)
    assert resolve_phases(TrainConfig(augment=AugmentConfig(multiscale=(8,))), model)
