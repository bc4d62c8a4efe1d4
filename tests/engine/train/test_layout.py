"""Where channels lie in memory: chosen by a trial for long runs in float32 on a CPU, and kept when a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train import layout
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.configfile import load_config
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.models.registry import create_model

SCENES = Datasets(DigitScenes("classification", "train", count=8), None, None)


def settings(out: Path, **fields: object) -> TrainConfig:
    data = DataConfig(source="digit_scenes", batch_size=4, workers=0)
    return TrainConfig(name="run", model="lenet5", data=data, epochs=1, out=str(out), **{"precision": "32", **fields})  # type: ignore[arg-type]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Layouts that were tried; plain channels take three quarters of the time."""
    tried: list[bool] = []

    def seconds(model: object, size: tuple[int, int], batch_size: int, channels_last: bool) -> float:
        tried.append(channels_last)
        return 0.4 if channels_last else 0.3

    monkeypatch.setattr(layout, "seconds_of_step", seconds)
    monkeypatch.setattr("saccade.engine.train.session.LONG_RUN", 2)
    return tried


def kept(out: Path) -> bool | None:
    return load_config(out / "run" / "config.yaml").channels_last


def test_a_long_run_takes_the_faster_layout_and_goes_on_in_it(
    trials: list[bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path)
    fit(config, data=SCENES)
    assert trials == [True, False]
    line = "channels_last: False (a step takes 400 ms so, 300 ms with the channels first; --channels-last sets it)"
    assert line in capsys.readouterr().err
    assert kept(tmp_path) is False
    assert config.channels_last is None  # the caller's own is not touched
    again = settings(tmp_path)
    again.epochs = 2
    fit(again, resume=True, data=SCENES)
    assert trials == [True, False]
    assert kept(tmp_path) is False
    assert "channels_last" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "expected"), [({"precision": "bf16"}, True), ({"channels_last": False}, False), ({}, True)]
)
def test_others_are_not_tried(
    fields: dict[str, object], expected: bool, trials: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fields:
        monkeypatch.setattr("saccade.engine.train.session.LONG_RUN", 3)  # the run has 2 steps
    fit(settings(tmp_path, **fields), data=SCENES)
    assert trials == []
    assert kept(tmp_path) is expected


def test_a_trial_leaves_network_and_random_numbers_alone() -> None:
    model = create_model("shufflenet_v2_x0_5", num_classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert all(layout.seconds_of_step(model, (64, 64), 4, last) > 0 for last in (True, False))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_that_cannot_be_tried_keeps_the_default() -> None:
    model = create_model("lenet5")
    model.forward = lambda images: {}  # type: ignore[method-assign]
    assert layout.faster_layout(model, (32, 32), 4) == (True, "")
