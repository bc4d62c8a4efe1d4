"""An unknown field of a configuration object is an error with the nearest name, however it is set."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, is_dataclass, replace

import pytest

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train import config as module
from saccade.engine.train.config import DataConfig, FreezeConfig, OptimizerConfig, Phase, Step, TrainConfig
from saccade.errors import ConfigError

KINDS = [*(one for one in vars(module).values() if isinstance(one, type) and is_dataclass(one))]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_configuration_object_knows_its_fields(kind: type) -> None:
    own = {field.name: "" for field in fields(kind)}
    name = next(iter(own))
    given = {"name": "a"} if kind is Step else {"from_epoch": 1} if kind is Phase else {}
    made = kind(**given)
    with pytest.raises(ConfigError, match=rf"{kind.__name__} has no field '{name}x'. Did you mean .*'{name}'"):
        setattr(made, f"{name}x", 1)
    with pytest.raises(ConfigError, match=rf"{kind.__name__} has no field '{name}x'"):
        kind(**given, **{f"{name}x": 1})
    assert not hasattr(made, f"{name}x")


def test_the_objects_include_those_of_augmentation() -> None:
    assert {AugmentConfig, TrainConfig, DataConfig} <= set(KINDS)


def test_what_is_right_still_works() -> None:
    config = TrainConfig(model="lenet5", data=DataConfig(batch_size=4))
    config.epochs = 3
    config.optimizer.lr = 0.5
    again = replace(config, epochs=4)
    assert (again.epochs, again.optimizer.lr, again.data.batch_size) == (4, 0.5, 4)
    assert copy.deepcopy(config) == config == pickle.loads(pickle.dumps(config))
    with pytest.raises(ConfigError, match=r"'epocs'. Did you mean 'epochs'"):
        replace(config, epocs=3)  # type: ignore[call-arg]


def test_mappings_fill_nested_records_and_are_checked() -> None:
    config = TrainConfig(optimizer={"lr": 0.1}, phases=[{"from_epoch": -2, "freeze": {"trainable": "head"}}])  # type: ignore[arg-type]
    assert config.optimizer == OptimizerConfig(lr=0.1)
    assert config.phases == (Phase(-2, freeze=FreezeConfig("head")),)
    config.data = {"source": "digits"}  # type: ignore[assignment]
    assert config.data == DataConfig("digits")
    config.model_args = {"anything": 1}
    assert config.model_args == {"anything": 1}
    with pytest.raises(ConfigError, match=r"TrainConfig.optimizer: unknown option 'lrr'. Did you mean 'lr'"):
        TrainConfig(optimizer={"lrr": 0.1})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"TrainConfig.phases\[0\]: unknown option 'from_epok'"):
        config.phases = ({"from_epok": 1},)  # type: ignore[assignment]
