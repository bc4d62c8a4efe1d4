"""What a run tells while it runs: events, files, loggers; and how it is stopped by a callback or by the time."""

from __future__ import annotations

import csv
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.small import SmallNet, small_config, small_data
from torch import Tensor

from saccade.engine.train import budget, monitor
from saccade.engine.train.callbacks import Callback, EndEvent, EpochEvent, OnEpoch, StartEvent, StepEvent
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.interim_report import InterimReport
from saccade.engine.train.loggers import make_loggers
from saccade.engine.train.run_files import RunFiles
from saccade.engine.train.seeding import seed_step
from saccade.errors import ConfigError
from saccade.metrics.base import MetricReport
from saccade.models.base import Targets
from saccade.weights.files import read_file

STEPS = 10  # an epoch of small_data


class Remember(Callback):
    """Keeps every event; stops after a step or an epoch."""

    def __init__(self, step: int = 0, epoch: int = 0) -> None:
        self.step, self.epoch = step, epoch
        self.events: list[Any] = []

    def on_start(self, event: StartEvent) -> None:
        self.events.append(event)

    def on_step(self, event: StepEvent) -> bool:
        self.events.append(event)
        return event.step == self.step

    def on_epoch(self, event: EpochEvent) -> bool:
        self.events.append(event)
        return event.epoch == self.epoch

    def on_end(self, event: EndEvent) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def build() -> SmallNet:
    seed_step(0, -1)
    return SmallNet()


def run(
    out: Path, *callbacks: Callback, resume: bool = False, model: SmallNet | None = None, **changes: Any
) -> RunResult:
    config = small_config(str(out), **{"epochs": 2, "log_every": 4, "loggers": (), **changes})
    return fit(config, resume=resume, model=model or build(), data=small_data(), callbacks=callbacks)


def status(out: Path) -> dict[str, Any]:
    return json.loads((out / "small/status.json").read_text())


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "small/metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, Tensor]:
    return read_file(out / "small/last/model.safetensors")[0]


# ---- events


def test_events_come_in_order_with_their_figures(tmp_path: Path) -> None:
    told = Remember()
    result = run(tmp_path, told)
    kinds = [type(event).__name__[:-5] for event in told.events]
    assert kinds == ["Start", "Step", "Step", "Epoch", "Step", "Step", "Step", "Epoch", "End"]
    start, end = told.events[0], told.events[-1]
    assert (start.step, start.steps, start.folder, start.config.epochs) == (0, 20, result.folder, 2)
    assert [(event.epoch, event.epochs, event.step, event.steps) for event in told.of(StepEvent)] == [
        (1, 2, 4, 20), (1, 2, 8, 20), (2, 2, 12, 20), (2, 2, 16, 20), (2, 2, 20, 20)
    ]  # fmt: skip
    assert all(0 < event.losses["cross_entropy"] == event.loss < 4 for event in told.of(StepEvent))
    assert told.of(StepEvent)[1].images_per_second > 0
    assert told.of(StepEvent)[0].seconds_left > 0
    assert [event.figures for event in told.of(EpochEvent)] == result.history
    assert told.of(EpochEvent)[0].is_best
    assert told.of(EpochEvent)[0].report.values["top1"] == result.history[0]["val/top1"]
    assert (end.state, end.step, end.metrics, end.error) == ("finished", 20, result.metrics, "")


def test_a_finished_run_tells_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    told = Remember()
    run(tmp_path, told, resume=True)
    assert told.events == []


@pytest.mark.parametrize(("stop", "done"), [(Remember(step=8), (0, 8)), (Remember(epoch=1), (1, 0))])
def test_a_callback_stops_in_good_order_and_the_run_goes_on_to_the_same_weights(
    tmp_path: Path, stop: Remember, done: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(tmp_path / "a")
    stopped = run(tmp_path / "b", stop)
    assert stop.events[-1].state == "stopped"
    assert status(tmp_path / "b")["state"] == "stopped"
    assert "stopped by a callback" in capsys.readouterr().err
    assert stopped.model_path.exists()
    assert stopped.metrics["top1"] == stopped.history[-1]["val/top1"]
    state = torch.load(tmp_path / "b/small/last/state.pt", weights_only=True)
    assert (state["position"]["epoch"], state["position"]["batch"]) == done
    resumed = run(tmp_path / "b", resume=True)
    assert all(torch.equal(value, weights(tmp_path / "b")[name]) for name, value in weights(tmp_path / "a").items())
    assert [row["step"] for row in resumed.history] == [row["step"] for row in whole.history]
    assert [row["val/top1"] for row in resumed.history] == [row["val/top1"] for row in whole.history]


def test_an_error_is_told_and_not_hidden_by_a_callback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Breaks(Remember):
        def on_end(self, event: EndEvent) -> None:
            super().on_end(event)
            raise ValueError("of the callback")

    def vanished(event: Any) -> bool:
        raise FileNotFoundError("the data folder is gone")

    told, last = Breaks(), Remember()
    with pytest.raises(FileNotFoundError, match="the data folder is gone"):
        run(tmp_path, told, OnEpoch(vanished), last)
    assert told.events[-1].state == last.events[-1].state == "failed"
    assert status(tmp_path)["error"] == "FileNotFoundError: the data folder is gone"
    assert "Breaks.on_end: ValueError: of the callback" in capsys.readouterr().err


# ---- the time


class Slow(SmallNet):
    """A clock beside the network, on which each training step takes ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        self.seconds += 10 * self.training
        return super().loss(images, targets)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    seed_step(0, -1)
    model = Slow()
    monkeypatch.setattr("saccade.engine.train.loop.time", types.SimpleNamespace(monotonic=lambda: model.seconds))
    return model


def test_max_minutes_are_kept_within_a_long_first_epoch(
    tmp_path: Path, slow: Slow, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Remember()
    result = run(tmp_path, told, model=slow, max_minutes=1)
    assert "max_minutes are over within an epoch: 6 of its 10 batches are done" in capsys.readouterr().err
    assert told.events[-1].state == "finished"
    assert result.metrics["top1"] == result.history[-1]["val/top1"]
    assert [(row["epoch"], row["step"]) for row in result.history] == [(1, 6)]
    again = run(tmp_path, resume=True, max_minutes=1)  # the time is over, and nothing is left to do
    assert again.metrics == pytest.approx(result.metrics)
    assert "stopped early; more --patience, --max-minutes or --epochs let it go on" in capsys.readouterr().err
    more = run(tmp_path, resume=True, max_minutes=None)
    run(tmp_path / "whole")
    assert [(row["epoch"], row["step"]) for row in more.history] == [(1, 10), (2, 20)]
    assert all(torch.equal(value, weights(tmp_path)[name]) for name, value in weights(tmp_path / "whole").items())


def test_epochs_that_fit_are_whole(tmp_path: Path, slow: Slow) -> None:
    result = run(tmp_path, model=slow, max_minutes=5.1, epochs=9)
    assert [row["step"] for row in result.history] == [10, 20, 30]


def test_an_epoch_that_takes_much_longer_than_those_before_is_cut_too() -> None:
    config = TrainConfig(max_minutes=1)
    position = budget.Position
    assert not budget.out_of_time(config, position(epoch=2, batch=3, seconds=65.9))
    assert budget.out_of_time(config, position(epoch=2, batch=3, seconds=66.1))
    assert not budget.out_of_time(TrainConfig(), position(batch=3, seconds=1e9))


def test_without_validation_data_a_cut_run_keeps_its_weights(tmp_path: Path, slow: Slow) -> None:
    data = small_data()
    data.val = None
    result = fit(small_config(str(tmp_path), max_minutes=1.0), model=slow, data=data)
    best = read_file(result.model_path)[0]
    assert all(torch.equal(value, best[name]) for name, value in weights(tmp_path).items())


# ---- files


def test_metrics_and_status_are_written_as_it_goes(tmp_path: Path) -> None:
    seen = []

    class Look(Callback):
        def on_step(self, event: StepEvent) -> None:
            seen.append((status(tmp_path), lines(tmp_path)[-1]))

    result = run(tmp_path, Look())
    for number, (now, line) in zip((4, 8, 12, 16, 20), seen, strict=True):
        assert (now["state"], now["step"], now["steps"], now["pid"]) == ("running", number, 20, os.getpid())
        assert (line["event"], line["step"], line["loss"]) == ("step", number, now["losses"]["cross_entropy"])
    assert seen[-1][0]["figures"]["val/top1"] == result.history[0]["val/top1"]
    assert [line["event"] for line in lines(tmp_path)].count("epoch") == 2
    end = status(tmp_path)
    assert (end["state"], end["epoch"], end["metrics"], end["error"]) == ("finished", 2, result.metrics, "")


def test_a_run_that_was_killed_while_it_was_scored_is_finished_by_resuming(tmp_path: Path) -> None:
    result = run(tmp_path)
    file = tmp_path / "small/status.json"
    end = status(tmp_path)
    before = file.stat()
    run(tmp_path, resume=True)
    assert file.stat().st_ino == before.st_ino  # nothing to say
    del end["metrics"]
    file.write_text(json.dumps({**end, "state": "running"}))
    run(tmp_path, resume=True)
    assert (status(tmp_path)["state"], status(tmp_path)["metrics"]) == ("finished", result.metrics)


def test_each_step_has_one_line_after_a_kill(tmp_path: Path) -> None:
    class Killed(Callback):
        def on_step(self, event: StepEvent) -> None:
            if event.step == 16:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, Killed(), checkpoint_every=6)  # the last state is that of step 12
    with (tmp_path / "small/metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # cut off
    run(tmp_path, resume=True, checkpoint_every=6)
    assert [line["step"] for line in lines(tmp_path) if line["event"] == "step"] == [4, 8, 12, 16, 20]


def test_a_slow_run_tells_at_least_every_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now)
    display = types.SimpleNamespace(active=True, due=lambda: False)
    told = Remember()
    watch = monitor.Monitor(display, [told], log_every=1000)  # type: ignore[arg-type]
    for step in range(1, 9):
        now += 8.0
        if watch.due(step, 4):
            watch.step(StepEvent(1, 1, step, 8, {"loss": 1.0}, 0.1, 0.5, None))
    assert [event.step for event in told.events] == [4, 8]


def test_the_interim_report_takes_a_twentieth_of_the_time(tmp_path: Path) -> None:
    now = 0.0
    (tmp_path / "config.yaml").write_text("epochs: 3")
    report = InterimReport(tmp_path, lambda: [{"epoch": 1.0, "train/loss": 2.0}], clock=lambda: now)
    report.on_start(StartEvent(TrainConfig(name="digits"), tmp_path, build(), 0, 20))
    scores = MetricReport({"top1": 0.5}, "top1")
    event = EpochEvent(1, 3, 10, {}, scores, True, None)
    now = 10.0
    report.on_epoch(event)
    assert not (tmp_path / "report.html").exists()
    now = 21.0
    report.on_epoch(event)
    assert "digits (running)" in (tmp_path / "report.html").read_text()


# ---- loggers


def test_csv_logger_goes_on_where_the_run_does(tmp_path: Path) -> None:
    run(tmp_path, Remember(step=8), loggers=("csv",))
    run(tmp_path, resume=True, loggers=("csv",))
    with (tmp_path / "small/steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["4", "8", "12", "16", "20"]
    assert all(0 < float(row["step/loss"]) < 4 for row in rows)


def test_tensorboard_has_steps_and_epochs(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(tmp_path, loggers=("tensorboard",))
    events = EventAccumulator(str(result.folder / "events")).Reload()
    assert [event.step for event in events.Scalars("step/loss")] == [4, 8, 12, 16, 20]
    assert [event.value for event in events.Scalars("val/top1")] == pytest.approx(
        [row["val/top1"] for row in result.history]
    )


class FakeMlflow(types.ModuleType):
    """Records what the functions of MLflow that are used are called with."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[dict[str, Any]] = []
        self.params: dict[str, str] = {}
        self.metrics: list[tuple[int | None, dict[str, float]]] = []
        self.ended: list[str] = []

    def start_run(self, run_id: str | None, run_name: str | None) -> Any:
        self.runs.append({"run_id": run_id, "run_name": run_name})
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "abc"))

    def log_params(self, params: dict[str, str]) -> None:
        assert len(params) <= 100
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append((step, metrics))

    def end_run(self, status: str) -> None:
        self.ended.append(status)


def test_mlflow_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    run(tmp_path, Remember(epoch=1), loggers=("mlflow",))
    result = run(tmp_path, resume=True, loggers=("mlflow",))
    assert fake.runs == [{"run_id": None, "run_name": "small"}, {"run_id": "abc", "run_name": None}]
    assert (fake.params["optimizer.lr"], fake.params["data.batch_size"]) == ("0.02", "32")
    assert [step for step, _ in fake.metrics if step is not None] == [4, 8, 10, 12, 16, 20, 20]
    assert fake.metrics[-1] == (None, {f"final/{name}": value for name, value in result.metrics.items()})
    assert fake.ended == ["FINISHED", "FINISHED"]


class FakeWandb(types.ModuleType):
    """Records what the functions of wandb that are used are called with."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.summary: dict[str, float] = {}
        self.codes: list[int] = []
        self.id = "xyz"

    def init(self, **settings: Any) -> FakeWandb:
        self.inits.append(settings)
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        self.logged.append((step, figures))

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


def test_wandb_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    run(tmp_path, Remember(step=8), loggers=("wandb",))
    result = run(tmp_path, resume=True, loggers=("wandb",))
    assert [(one["project"], one["name"], one["id"], one["resume"]) for one in fake.inits] == [
        ("digits", "small", None, None),
        ("digits", "small", "xyz", "allow"),
    ]
    assert fake.inits[0]["config"]["optimizer.lr"] == 0.02
    assert [step for step, figures in fake.logged if "step/loss" in figures] == [4, 8, 12, 16, 20]
    assert fake.summary == result.metrics
    assert fake.codes == [0, 0]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_logger_that_is_not_installed_is_named_before_the_run(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf'pip install "saccade\[{name}\]", or leave it out'):
        make_loggers(TrainConfig(loggers=(name,)))


def test_run_files_are_whole_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is replaced, never rewritten in place."""
    files = RunFiles(tmp_path)
    files.on_start(StartEvent(TrainConfig(), tmp_path, build(), 0, 20))
    before = (tmp_path / "status.json").stat().st_ino
    files.on_step(StepEvent(1, 2, 4, 20, {"loss": float("nan")}, 0.1, 0.0, None))
    assert (tmp_path / "status.json").stat().st_ino != before
    assert json.loads((tmp_path / "status.json").read_text())["losses"] == {"loss": None}
    files.on_end(EndEvent("finished", 20, {}))
