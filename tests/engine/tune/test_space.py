"""Search spaces: what is read, and what is refused before the first trial."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.engine.train.config import Phase, TrainConfig
from saccade.engine.tune.fields import LIMITS, get_field, type_of, with_fields
from saccade.engine.tune.fitness import MetricError, choose_fitness
from saccade.engine.tune.samplers import mutate
from saccade.engine.tune.space import Choice, Range, default_space, has_value, parse_space, to_config
from saccade.errors import ConfigError
from saccade.tasks import get_task

BASE = TrainConfig(model="yolox_nano", phases=(Phase(-2, augment={"mosaic": 0.0}),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=1e-4:1e-2:log", Range("optimizer.lr", 1e-4, 1e-2, log=True)),
        ("data.batch_size=8:32:8", Range("data.batch_size", 8, 32, step=8, whole=True)),
        ("data.batch-size=8,16", Choice("data.batch_size", (8, 16))),
        ("optimizer.lr=1e-4,1e-3", Choice("optimizer.lr", (1e-4, 1e-3))),
        ("optimizer.name=sgd,adamw", Choice("optimizer.name", ("sgd", "adamw"))),
        ("augment.hsv.1=0:0.9", Range("augment.hsv.1", 0, 0.9)),
        ("model_args.depthwise=true,false", Choice("model_args.depthwise", (True, False))),
        ("phases.0.from_epoch=-5:-1", Range("phases.0.from_epoch", -5, -1, whole=True)),
        ("phases.0.augment.mixup=0:0.5", Range("phases.0.augment.mixup", 0, 0.5)),
        ("clip_norm=1:20", Range("clip_norm", 1, 20)),
        ("freeze.trainable=last:1,last:2", Choice("freeze.trainable", ("last:1", "last:2"))),
    ],
)
def test_spaces_are_read(text: str, expected: Range | Choice) -> None:
    (one,) = parse_space(BASE, [text])
    assert one == expected
    assert parse_space(BASE, [str(one)]) == [one]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimiser.lr=1:2", "unknown field 'optimiser.lr'. Did you mean 'optimizer.lr'"),
        ("model_args.depthwize=true,false", "no option 'depthwize'. Did you mean 'depthwise'"),
        ("phases.0.augment.mosiac=0:1", "Did you mean 'mosaic'"),
        ("optimizer=1:2", "'optimizer' is a group of fields"),
        ("augment.hsv.3=0:1", "has the parts 0 to 2"),
        ("name=a,b", "belongs to the search"),
        ("data.batch_size=8.5:16", "whole numbers"),
        ("data.batch_size=0:16", "0 is not 1 or more"),
        ("optimizer.lr=0:1", "0 is not above 0"),
        ("optimizer.momentum=0.5:1", "1 is not below 1"),
        ("optimizer.lr=1:0.1", "the smallest value comes first"),
        ("optimizer.weight_decay=0:1:log", "needs values above 0"),
        ("optimizer.lr=1e-3", "two different values"),
        ("optimizer.lr=a:b", "is no range"),
        ("optimizer.name=sgd,adamv", "Did you mean 'adam'"),
        ("compile=0:1", "true,false"),
        ("data.size=0:1", "needs|is no"),
        ("optimizer.lr", "is no range"),
    ],
)
def test_faults_of_a_space_are_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_space(BASE, [text])
    assert "\n" not in str(caught.value)


def test_a_field_and_its_part_do_not_both_vary() -> None:
    with pytest.raises(ConfigError, match=r"is part of augment.hsv"):
        parse_space(BASE, ["augment.hsv=[0, 0, 0],[0, 0.1, 0.1]", "augment.hsv.0=0:1"])
    with pytest.raises(ConfigError, match="given twice"):
        parse_space(BASE, ["epochs=1:3", "epochs=1:2"])


def test_values_reach_the_configuration() -> None:
    space = parse_space(
        BASE, ["data.size=[96, 96],[128, 160]", "augment.scale.1=1:2", "model_args.depthwise=true,false"]
    )
    config = to_config(BASE, space, {"data.size": "[128, 160]", "augment.scale.1": 1.5, "model_args.depthwise": False})
    assert (config.data.size, config.augment.scale, config.model_args) == ((128, 160), (1.0, 1.5), {"depthwise": False})
    assert BASE.data.size is None
    assert not has_value(BASE, space[0])
    assert has_value(BASE, space[1])


def test_limits_name_fields_of_the_configuration() -> None:
    config = with_fields(TrainConfig(), {"optimizer.lr_scale.head": 2.0})
    for name in LIMITS:
        type_of(config, name)
        get_field(config, name)


@pytest.mark.parametrize("model", ["lenet5", "yolox_nano"])
def test_default_spaces_are_valid(model: str) -> None:
    config = TrainConfig(model=model)
    assert all(has_value(config, one) for one in parse_space(config, default_space(config)))


def test_mutation_is_as_defined() -> None:
    """Against plain loops over the same draws."""
    space = [Range("a", 1e-4, 1.0, log=True), Range("b", 0.0, 1.0), Range("n", 1, 64, whole=True), Choice("c", (1, 2))]
    parent = {"a": 0.01, "b": 0.5, "n": 20, "c": 1}
    for seed in range(50):
        child = mutate(parent, space, np.random.default_rng(seed))
        rng, expected = np.random.default_rng(seed), dict(parent)
        while expected == parent:
            for name in parent:
                mutated, change = rng.random() < 0.8, rng.standard_normal() * rng.random() * 0.2
                if not mutated:
                    expected[name] = parent[name]
                elif name == "c":
                    replace = rng.random() < 0.2
                    other = (2,)[rng.integers(1)]
                    expected[name] = other if replace else 1
                elif name == "b":
                    expected[name] = float(np.clip(0.5 + change, 0, 1))
                else:
                    value = parent[name] * float(np.clip(1 + change, 0.3, 3.0))
                    expected[name] = round(value) if name == "n" else float(np.clip(value, 1e-4, 1.0))
        assert child == pytest.approx(expected)
        assert isinstance(child["n"], int)


def test_mutation_stays_in_the_range_and_leaves_a_fifth_alone() -> None:
    space = [Range(str(number), 0.9, 1.1) for number in range(50)]
    parent, rng = {one.name: 1.05 for one in space}, np.random.default_rng(0)
    children = np.array([list(mutate(parent, space, rng, sigma=2.0).values()) for _ in range(40)])
    assert children.min() >= 0.9
    assert children.max() <= 1.1
    assert abs((children == 1.05).mean() - 0.2) < 0.04


def test_fitness() -> None:
    row = {"epoch": 1.0, "val/AP50": 0.8, "val/AP": 0.5, "val/loss": 2.0}
    assert choose_fitness(get_task("detection")).of(row) == pytest.approx(0.1 * 0.8 + 0.9 * 0.5)
    assert choose_fitness(get_task("detection"), "loss").of(row) == -2.0
    assert choose_fitness(get_task("detection"), "min:AP").of(row) == -0.5
    assert choose_fitness(get_task("detection")).of({"epoch": 1.0, "train/loss": 1.0}) is None
    with pytest.raises(MetricError, match=r"'AP05' is no figure of these epochs. Did you mean 'AP50'"):
        choose_fitness(get_task("detection"), "AP05").of(row)
