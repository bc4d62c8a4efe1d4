"""Runs of CycleGAN: resumed bit for bit, sheets of samples after each epoch, one image in a domain."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saccade.data.open import open_dataset
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.evaluate.model_check import check_model
from saccade.engine.report.run_report import write_run_report
from saccade.engine.report.samples import draw_samples
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.schedule import lr_factor
from saccade.engine.train.seeding import seed_step
from saccade.metrics.translation import ssim
from saccade.models.checkpoint import load_model
from saccade.models.registry import create_model
from saccade.models.translation.cyclegan import CycleGAN

SIDE = 32


def write_domains(folder: Path, first: int, second: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for letter, count, colour in (("A", first, (40, 90, 60)), ("B", second, (220, 200, 190))):
            (folder / f"{split}{letter}").mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(colour, 25, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
                assert cv2.imwrite(str(folder / f"{split}{letter}" / f"{number}.png"), pixels)
    return folder


def settings(folder: Path, out: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        name="gan",
        model="cyclegan_resnet6",
        model_args={"base_channels": 4, "discriminator_channels": 4},
        data=DataConfig(source=str(folder), train="train", val=None, size=(SIDE, SIDE), batch_size=1, workers=0),
        augment=AugmentConfig(flip=0.5, scale=(1.1, 1.1), translate=0.05),
        optimizer=OptimizerConfig(name="adam", lr=2e-3, betas=(0.5, 0.999)),
        schedule=ScheduleConfig(name="linear", constant_epochs=1.0),
        epochs=2,
        precision="32",
        out=str(out),
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


class Killed(RuntimeError):
    """In the middle of an epoch."""


def run(config: TrainConfig, stop_before: int | None = None, resume: bool = False) -> tuple[RunResult, CycleGAN]:
    """A run whose buffers hold two images, so that they are full and exchange; killed before a step, if asked."""
    seed_step(config.seed, -1)
    model = create_model(config.model, **config.model_args)
    assert isinstance(model, CycleGAN)
    model.history_a.size = model.history_b.size = 2
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += model.training
        if stop_before is not None and calls[0] > 2 * stop_before:  # two calls of each generator a step
            raise Killed

    model.generator_ab.model.register_forward_pre_hook(count)
    return fit(config, resume=resume, model=model), model


def test_a_killed_run_goes_on_bit_for_bit_buffers_included(tmp_path: Path) -> None:
    folder = write_domains(tmp_path / "data", 4, 3)
    whole, model = run(settings(folder, tmp_path / "whole"))
    changes = {"checkpoint_every": 1}
    with pytest.raises(Killed):
        run(settings(folder, tmp_path / "killed", **changes), stop_before=6)
    state = torch.load(tmp_path / "killed" / "gan" / "last" / "state.pt", weights_only=True)
    assert {name: len(value) for name, value in state["training_state"].items()} == {"fakes_a": 2, "fakes_b": 2}
    resumed, again = run(settings(folder, tmp_path / "killed", **changes), resume=True)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    for name, value in model.training_state().items():
        assert torch.equal(again.training_state()[name], value), name
    rows = [
        [{name: value for name, value in row.items() if name != "minutes"} for row in one.history]
        for one in (whole, resumed)
    ]
    assert rows[0] == rows[1]
    # Another order of the images, or an empty buffer, would be noticed.
    other, _ = run(settings(folder, tmp_path / "other", seed=1))
    assert other.history[-1]["train/discriminator_a"] != whole.history[-1]["train/discriminator_a"]
    assert load_file(whole.model_path).keys() == model.state_dict().keys()  # no buffer in the checkpoint


def test_sheets_of_samples_are_drawn_after_each_epoch_and_reported(tmp_path: Path) -> None:
    folder = write_domains(tmp_path / "data", 2, 2)
    config = settings(folder, tmp_path)
    config.data.val, config.data.batch_size = "test", 2
    result, model = run(config)
    sheets = sorted((result.folder / "samples").iterdir())
    assert [file.name for file in sheets] == ["epoch-0001.jpg", "epoch-0002.jpg"]
    first, second = (cv2.imread(str(file)) for file in sheets)
    assert first.shape == second.shape
    assert first.shape[1] > 2 * first.shape[0]  # two rows of six
    assert (np.abs(first.astype(int) - second) > 20).any()  # it learns
    report = write_run_report(result).read_text()
    assert "amples after epoch 1, 2" in report
    assert "KID_thumbnails" in report
    assert np.isfinite(result.history[-1]["val/KID_thumbnails"])
    assert result.baseline is not None
    assert check_model(model, open_dataset(folder, "test")).ok  # the ground truth itself misses nothing
    before = torch.get_rng_state()
    assert draw_samples(model, open_dataset(folder, "test")) is not None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (1, 1)])
def test_one_image_in_a_domain_trains_and_is_named_in_evaluation(first: int, second: int, tmp_path: Path) -> None:
    folder = write_domains(tmp_path / "data", first, second)
    config = settings(folder, tmp_path, epochs=1)
    config.data.test = "test"
    result, _ = run(config)
    assert result.history[-1]["step"] == max(first, second)
    assert result.report is not None
    assert np.isnan(result.report.values["KID_thumbnails"])
    assert "two of each" in result.report.notes[0]
    assert load_model(result.model_path).builder_name == "cyclegan_resnet6"


def test_a_generator_alone_learns_pairs_and_is_scored_beside_its_input(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = []
    for split, number in (("train", 0), ("train", 1), ("val", 2), ("val", 3)):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (40, SIDE, 3)).astype(np.uint8), (5, 5), 0)
        pair = (pixels, 255 - pixels)
        for folder, image in zip("AB", pair, strict=True):
            (tmp_path / "data" / folder / split).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / "data" / folder / split / f"{number}.png"), image)
        wanted += [pair] if split == "val" else []
    config = settings(tmp_path / "data", tmp_path, model="cyclegan_resnet6_generator", model_args={"base_channels": 4})
    config.data.val, config.epochs = "val", 1
    result = fit(config)
    assert result.report is not None
    assert result.report.primary == "SSIM"
    row = result.history[-1]
    assert row["val/loss/l1"] == pytest.approx(row["val/loss"])
    assert result.baseline is not None  # that of the input as it is
    assert result.baseline.values["SSIM"] == pytest.approx(np.mean([ssim(one, other) for one, other in wanted]))
    assert (result.folder / "samples" / "epoch-0001.jpg").exists()


def test_the_rate_is_constant_and_then_falls_to_zero_in_a_line() -> None:
    schedule = ScheduleConfig(name="linear", constant_epochs=100.0)
    assert [lr_factor(schedule, epoch, 200) for epoch in (0, 50, 100, 150, 175, 200)] == [1, 1, 1, 0.5, 0.25, 0]
