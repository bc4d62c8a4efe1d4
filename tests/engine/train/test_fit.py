"""The loop: it learns, resumes exactly, stops in good order, and knows no task or model."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.small import SmallGan, SmallNet, small_config, small_data

from saccade.engine.train.config import EmaConfig, FreezeConfig, OptimizerConfig, Phase, ScheduleConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError, NonFiniteLossError, SaccadeError
from saccade.weights.files import read_file

HERE = Path(__file__).parent


def build() -> SmallNet:
    seed_step(0, -1)
    return SmallNet()


def big_data() -> Datasets:
    return small_data(1000)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_file(folder / "last" / "model.safetensors")[0]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_learns_and_leaves_a_complete_run_folder(tmp_path: Path) -> None:
    result = fit(small_config(str(tmp_path), epochs=8), model=build(), data=big_data())
    assert result.metrics["top1"] > 0.8
    with (result.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert float(rows[-1]["val/loss"]) < float(rows[0]["val/loss"])
    assert {path.name for path in result.folder.iterdir()} >= {
        "config.yaml",
        "metrics.csv",
        "batch.png",
        "best.safetensors",
        "last",
        "events",
    }


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    fit(small_config(str(tmp_path), epochs=1), model=build(), data=small_data())
    with pytest.raises(ConfigError, match="--resume"):
        fit(small_config(str(tmp_path), epochs=1), model=build(), data=small_data())


def test_workers_do_not_change_the_weights(tmp_path: Path) -> None:
    for workers in (0, 1, 2):
        config = small_config(str(tmp_path / str(workers)), epochs=1)
        config.data.workers = workers
        fit(config, model=build(), data=small_data())
    first, second, third = (weights(tmp_path / str(workers) / "small") for workers in (0, 1, 2))
    assert_equal(first, second)
    assert_equal(first, third)


@pytest.mark.parametrize("kill_at", [7, 25])
def test_kill_and_resume_gives_the_same_bits(tmp_path: Path, kill_at: int) -> None:
    unbroken = fit(small_config(str(tmp_path / "a")), model=build(), data=small_data())
    killed = stop_run(tmp_path / "b", kill_at, signal.SIGKILL, "--checkpoint-every-4")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = fit(small_config(str(tmp_path / "b"), checkpoint_every=4), resume=True, model=build(), data=small_data())
    assert_equal(weights(unbroken.folder), weights(resumed.folder))
    assert_equal(read_file(unbroken.model_path)[0], read_file(resumed.model_path)[0])
    for before, after in zip(unbroken.history, resumed.history, strict=True):
        assert {key: value for key, value in before.items() if key != "minutes"} == {
            key: value for key, value in after.items() if key != "minutes"
        }


def test_damaged_state_falls_back_to_the_one_before(tmp_path: Path) -> None:
    unbroken = fit(small_config(str(tmp_path / "a")), model=build(), data=small_data())
    fit(small_config(str(tmp_path / "b"), epochs=4), model=build(), data=small_data())
    state = tmp_path / "b" / "small" / "last" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    resumed = fit(small_config(str(tmp_path / "b")), resume=True, model=build(), data=small_data())
    assert_equal(weights(unbroken.folder), weights(resumed.folder))


def test_interrupt_saves_the_step_and_resumes(tmp_path: Path) -> None:
    unbroken = fit(small_config(str(tmp_path / "a")), model=build(), data=small_data())
    stopped = stop_run(tmp_path / "b", 13, signal.SIGINT)
    assert "KeyboardInterrupt" in stopped.stderr
    state = torch.load(tmp_path / "b" / "small" / "last" / "state.pt", weights_only=True)
    assert state["position"]["step"] == 13  # the step under way was finished and saved
    resumed = fit(small_config(str(tmp_path / "b")), resume=True, model=build(), data=small_data())
    assert_equal(weights(unbroken.folder), weights(resumed.folder))


def test_nan_loss_stops_and_saves_the_batch(tmp_path: Path) -> None:
    config = small_config(str(tmp_path), phases=(Phase(from_epoch=2, model={"poison": True}),))
    with pytest.raises(NonFiniteLossError, match="cross_entropy is not finite"):
        fit(config, model=build(), data=small_data())
    saved = torch.load(tmp_path / "small" / "nonfinite" / "batch.pt", weights_only=True)
    assert saved["images"].shape == (32, 1, 8, 8)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "small").values())


def test_two_optimisers_share_the_loop(tmp_path: Path) -> None:
    seed_step(0, -1)
    model = SmallGan()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = small_data(640)
    config = small_config(
        str(tmp_path), epochs=12, model="small_gan", optimizer=OptimizerConfig(name="adam", lr=2e-3, betas=(0.5, 0.999))
    )
    config.augment.translate = config.augment.degrees = 0.0
    result = fit(config, model=model, data=Datasets(data.train))
    assert {"train/generator", "train/real", "train/fake"} <= result.history[0].keys()
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    # The average generated digit must look like the average real one, far more than noise does.
    with torch.no_grad():
        fake = model.generator(torch.randn(500, 16)).mean(0).numpy()
    real = data.train.images.reshape(len(data.train), -1).mean(0) / 127.5 - 1.0
    assert np.corrcoef(fake, real)[0, 1] > 0.8


def test_each_optimiser_moves_only_its_own_group(tmp_path: Path) -> None:
    seed_step(0, -1)
    model = SmallGan()
    model.loss_groups = ("discriminator",)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(small_config(str(tmp_path), epochs=1, model="small_gan"), model=model, data=Datasets(small_data().train))
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"discriminator"}


def test_accumulation_equals_a_larger_batch(tmp_path: Path) -> None:
    def train(batch_size: int, accumulate: int) -> dict[str, torch.Tensor]:
        config = small_config(str(tmp_path / str(batch_size)), epochs=1, accumulate=accumulate, ema=EmaConfig())
        config.data.batch_size = batch_size
        config.schedule = ScheduleConfig(name="constant")
        config.optimizer = OptimizerConfig(name="sgd", lr=0.1)
        config.augment.translate = config.augment.degrees = 0.0
        config.freeze = FreezeConfig(batch_norm="frozen_stats")
        model = build()
        model.stage[3].p = 0.0
        fit(config, model=model, data=small_data(256))
        return model.state_dict()

    whole, parts = train(64, 1), train(16, 4)
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=1e-4, atol=1e-5)


def test_frozen_parts_and_statistics_do_not_move(tmp_path: Path) -> None:
    def moved(freeze: FreezeConfig, name: str) -> set[str]:
        model = build()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        fit(small_config(str(tmp_path / name), epochs=1, freeze=freeze), model=model, data=small_data())
        return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}

    assert moved(FreezeConfig("head"), "head") == {"head.weight", "head.bias"}
    assert {key.split(".")[0] for key in moved(FreezeConfig("last:1"), "last")} == {"stage", "head"}
    statistics = moved(FreezeConfig("all", "frozen_stats"), "stats")
    assert not any("running" in key or "tracked" in key for key in statistics)
    assert "stem.1.weight" in statistics
    assert "stem.1.weight" not in moved(FreezeConfig("all", "frozen_all"), "frozen")


def test_early_stopping(tmp_path: Path) -> None:
    config = small_config(str(tmp_path), epochs=50, patience=2, optimizer=OptimizerConfig(name="sgd", lr=0.0))
    assert len(fit(config, model=build(), data=small_data()).history) == 3


def test_stage_with_an_unknown_attribute_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'poison'"):
        fit(
            small_config(str(tmp_path), phases=(Phase(from_epoch=1, model={"posion": True}),)),
            model=build(),
            data=small_data(),
        )


def test_bf16_autocast_and_clipping_train(tmp_path: Path) -> None:
    model = build()
    seen: set[torch.dtype] = set()
    model.stage.register_forward_hook(lambda stage, _, maps: seen.add(maps.dtype) if stage.training else None)
    result = fit(small_config(str(tmp_path), epochs=8, precision="bf16", clip_norm=1.0), model=model, data=big_data())
    assert seen == {torch.bfloat16}
    assert result.metrics["top1"] > 0.8


def test_full_disk_is_one_clear_message_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(HERE / "full_disk_run.py"), str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 3, run.stderr
    assert "the disk is full" in run.stdout
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "small").values())


def test_two_processes_train_to_equal_weights_and_score_everything(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(HERE / "two_processes.py"),
        str(tmp_path),
    ]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal(first["parameters"], second["parameters"])
    assert first["metrics"] == second["metrics"]
    assert first["metrics"]["top1"] > 0.7
    assert first["images"] == 101  # odd on purpose: the padded last image counts once


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step(tmp_path: Path) -> None:
    script = str(HERE / "two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    run = subprocess.run(
        [*command, str(tmp_path), "--stop"], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Traceback" not in run.stderr
    # Only the second process was asked to; the first, which writes, saved the step that both had done.
    assert [(tmp_path / f"stopped{rank}").read_text() for rank in (0, 1)] == ["KeyboardInterrupt", "Terminated"]
    state = torch.load(tmp_path / "small" / "last" / "state.pt", weights_only=True)
    assert state["position"]["step"] == 4


def stop_run(out: Path, step: int, number: signal.Signals, *options: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own that gets a signal in the middle of a step."""
    command = [sys.executable, str(HERE / "stopped_run.py"), str(out), str(step), str(int(number)), *options]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


def environment() -> dict[str, str]:
    # Sums come out in another order with another number of threads.
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(HERE.parents[2])}


def test_errors_of_the_engine_are_for_users() -> None:
    assert issubclass(NonFiniteLossError, SaccadeError)
