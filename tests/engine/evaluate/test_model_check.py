"""Four images overfitted, and the whole check of a network on a data set."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.engine.small import Digits, SmallNet

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import subset
from saccade.engine.evaluate import model_check
from saccade.engine.evaluate.model_check import _within, check_model, check_source, overfit_few
from saccade.errors import ConfigError
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model


def test_a_network_learns_four_images_by_heart_and_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model = SmallNet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    few = subset(Digits("train", 40), [0, 11, 22, 33])
    result = overfit_few(model, few, steps=60, lr=2e-2)
    assert result.ok, result
    assert result.last_loss < 0.5 * result.first_loss
    assert result.after == 1.0
    assert result.steps == 60
    assert result.images == ["digit-0", "digit-11", "digit-22", "digit-33"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_no_number_is_said_in_words() -> None:
    model = SmallNet()
    model.poison = True
    report = check_model(model, Digits("train", 20), steps=6)
    assert report.overfit is not None
    assert not report.ok
    assert "stopped being a number" in report.to_text()
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["overfit"]["last_loss"] is None


def test_what_is_not_learnt_is_said() -> None:
    model = SmallNet()
    model.stage[3].p = 0.0  # dropout, which would move the loss
    few = subset(Digits("train", 40), [0, 11, 22, 33])
    result = overfit_few(model, few, steps=3, lr=1e-9)
    assert not result.ok
    assert "they are not learnt" in result.to_text()


class SlowNet(SmallNet):
    """A network whose step takes a while."""

    def loss(self, *arguments: Any, **inputs: Any) -> Any:
        time.sleep(0.05)
        return super().loss(*arguments, **inputs)


def test_training_is_stopped_at_its_limit_and_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_check, "_STEP", 0.0)  # a prediction tells nothing about a step
    few = subset(Digits("train", 40), [0, 11, 22, 33])
    lines: list[str] = []
    result = overfit_few(SlowNet(), few, steps=600, lr=1e-9, minutes=0.02, progress=lines.append)
    assert 0 < result.steps < 600
    assert not result.ok
    assert not result.decided
    assert "not decided in" in result.to_text()
    assert "not learnt" not in result.to_text()
    assert lines[0] == "4 images are trained for 600 steps; at most 1 s"
    assert lines[1].startswith("step 50 of 600: loss ")
    report = model_check.ModelReport(check_model(SmallNet(), Digits("train", 20), steps=0).fit, result)
    assert report.ok  # no obstacle was found
    assert report.to_json()["overfit"]["decided"] is False


def test_what_is_learnt_in_fewer_steps_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(model_check, "_within", lambda model, steps, predicted, limit: (None, 60))
    result = overfit_few(SmallNet(), subset(Digits("train", 40), [0, 11, 22, 33]), steps=900, lr=2e-2, minutes=9.0)
    assert (result.steps, result.complete, result.ok, result.decided) == (60, False, True, True)


def test_canvas_is_smaller_before_steps_are_fewer() -> None:
    model = SmallNet()
    model.input_spec = model.input_spec.with_size((512, 640))
    assert _within(model, 100, predicted=0.1, limit=31.0) == (None, 100)
    assert _within(model, 100, predicted=0.4, limit=31.0) == ((256, 320), 100)
    assert _within(model, 100, predicted=1.0, limit=7.5) == ((128, 160), 40)
    model.input_spec = replace(model.input_spec, fixed=True)
    assert _within(model, 100, predicted=1.0, limit=30.0) == (None, 10)


def test_four_images_are_left_out_where_classes_do_not_fit() -> None:
    report = check_model(SmallNet(num_classes=3), Digits("train", 20))
    assert report.overfit is None
    assert not report.ok
    assert check_model(SmallNet(), Digits("train", 20), steps=0).overfit is None


def test_detector_on_scenes() -> None:
    torch.manual_seed(0)
    model = create_model("yolox_nano", num_classes=10, depthwise=False)
    model.input_spec = model.input_spec.with_size((96, 96))
    report = check_model(model, DigitScenes("detection", "train", count=12, size=(96, 96)), steps=24, image_count=12)
    assert report.fit.ok
    assert report.overfit is not None
    assert len(report.overfit.images) == 4
    assert report.overfit.last_loss < report.overfit.first_loss
    assert "4 images, 24 steps" in report.to_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes that a glance tells apart."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(rng.normal(level, 10, (32, 32, 3)), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / "set" / "train" / name / f"{number}.png"), pixels)
    return tmp_path / "set"


def test_by_name_and_by_checkpoint(folder: Path, tmp_path: Path) -> None:
    report = check_source("lenet5", str(folder), steps=0)
    assert report.ok
    assert report.fit.data == "set (train)"
    model = create_model("lenet5", num_classes=2)
    model.class_names = ("light", "dark")
    path = save_model(model, tmp_path / "model.safetensors")
    report = check_source(path, str(folder), steps=0)
    assert ["another order" in reason for reason in report.fit.reasons] == [True]


def test_a_name_that_is_neither(folder: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lenet5'"):
        check_source("lenet55", str(folder))


def test_command_line(folder: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    from saccade.cli import main

    words = ["check", "--model", "lenet5", "--data", str(folder), "--steps", "30"]
    code = main(words)
    out = capsys.readouterr().out
    assert "the ground truth itself scores" in out
    assert "30 steps: loss" in out
    assert main([*words, "--json"]) == code
    values = json.loads(capsys.readouterr().out)
    assert code == (0 if values["ok"] else 1)
    assert main([*words, "--html", "x.html"]) == 2
    assert "--html belongs to the check of the data" in capsys.readouterr().err


def test_the_same_command_gives_the_same_report() -> None:
    """Whatever was drawn before; and nothing is drawn from the caller's random numbers."""
    reports = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        expected = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
        reports.append(check_source("lenet5", "digit_scenes", steps=6, image_count=4).to_json())
        assert torch.equal(torch.random.get_rng_state(), expected[0])
        assert np.array_equal(np.random.get_state()[1], expected[1])  # noqa: NPY002
    assert reports[0] == reports[1]
    assert reports[0]["overfit"]["last_loss"] > 0
