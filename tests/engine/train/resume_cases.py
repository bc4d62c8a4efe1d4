"""A run goes on exactly: stopped at every step, killed at every change of a file, with what training can hold."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.small import Digits, SmallGan, SmallNet, small_config, small_data
from tests.engine.train.forks import KILLED, kill_at_change, run_forked
from torch import Tensor, nn

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.callbacks import OnEpoch
from saccade.engine.train.config import (
    DataConfig,
    EmaConfig,
    FreezeConfig,
    OptimizerConfig,
    ScheduleConfig,
    Step,
    TrainConfig,
)
from saccade.engine.train.fit import RunResult, fit
from saccade.engine.train.guard import Terminated
from saccade.engine.train.lock import RunLock
from saccade.engine.train.run_folder import RunFolder
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError, SaccadeError, WeightsError
from saccade.models.base import Model, Outputs, Targets
from saccade.models.checkpoint import read_metadata
from saccade.models.registry import register_model
from saccade.structures.input_spec import InputSpec
from saccade.weights.files import read_file

forks = pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA does not survive a fork")


class Counter(Model):
    """Counts the objects of an image; learns from boxes, so that mosaics can be trained on."""

    task = "detection"
    target_names = ("boxes", "labels")

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 10
        self.class_names = tuple("0123456789")
        self.input_spec = InputSpec((32, 32))
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(8, 1)
        self.builder_name, self.builder_args = "tests.engine.train.test_resume:counter", {}

    def forward(self, images: Tensor) -> Outputs:
        return {"count": self.head(self.stem(images).mean((2, 3)))}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        found = targets["labels"].ge(0).sum(1).float()
        return {"count": nn.functional.mse_loss(self.forward(images)["count"][:, 0], found)}


@register_model("detection", "a network of the tests")
def counter() -> Counter:
    return Counter()


def build(kind: Callable[[], Model] = SmallNet) -> Model:
    seed_step(0, -1)
    return kind()


def tiny(out: Path, **changes: object) -> TrainConfig:
    """Six steps with all that makes resuming hard: accumulation that ends within and at the end of an epoch, EMA."""
    config = small_config(str(out), epochs=2, accumulate=2, checkpoint_every=1, **changes)
    config.data.batch_size = 16
    return config


def tiny_data() -> Datasets:
    return small_data(48, 20)


def stop_in_step(model: Model, number: int, sent: int = signal.SIGTERM) -> None:
    """Ask this process to end in the middle of that step, from 1 on."""
    steps = 0

    def stop(module: nn.Module, arguments: object) -> None:
        nonlocal steps
        steps += module.training
        if steps == number and module.training:
            signal.raise_signal(sent)

    next(model.children()).register_forward_pre_hook(stop)


def kept(folder: Path) -> dict[str, object]:
    """All that a run leaves behind for good."""
    with (folder / "metrics.csv").open() as file:
        rows = [{name: value for name, value in row.items() if name != "minutes"} for row in csv.DictReader(file)]
    files = {name: (folder / name).read_bytes() for name in ("best.safetensors", "last/model.safetensors")}
    names = sorted(path.name for path in [*folder.iterdir(), *(folder / "last").iterdir()])
    return {**files, "rows": rows, "names": names}


def assert_same(first: Path, second: Path) -> None:
    one, other = kept(first), kept(second)
    for name, value in one.items():
        assert value == other[name], f"{name} of {second}"


def gan_data() -> Datasets:
    return Datasets(small_data(48).train)


def mosaics() -> Datasets:
    return Datasets(DigitScenes("detection", "train", count=12, size=(48, 48)))


STOPPED = {
    "accumulation and EMA": (SmallNet, tiny_data, {}),
    "another canvas every step": (
        SmallNet,
        tiny_data,
        {"augment": AugmentConfig(multiscale=(8, 12), multiscale_every=1)},
    ),
    "several groups": (SmallGan, gan_data, {"model": "small_gan", "ema": EmaConfig(), "accumulate": 1}),
    "mosaic": (Counter, mosaics, {"augment": AugmentConfig(mosaic=0.7, mixup=0.5, flip=0.5)}),
    "one worker": (SmallNet, tiny_data, {"workers": 1}),
    "two workers": (SmallNet, tiny_data, {"workers": 2}),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_run_stopped_at_every_step_ends_as_an_unbroken_one(case: str, tmp_path: Path) -> None:
    kind, data, changes = STOPPED[case]
    changes = dict(changes)
    workers = changes.pop("workers", 0)

    def config(name: str) -> TrainConfig:
        made = replace(tiny(tmp_path / name), **changes)
        made.data = replace(made.data, workers=workers, batch_size=4 if kind is Counter else 16)
        return made

    unbroken = fit(config("a"), model=build(kind), data=data())
    stops = 0
    while True:
        model = build(kind)
        stop_in_step(model, 1)
        try:
            resumed = fit(config("b"), resume=stops > 0, model=model, data=data())
            break
        except Terminated:
            stops += 1
    # Half-summed gradients are not saved: of three batches, the first waits for the second.
    assert stops >= (6 if config("a").accumulate == 1 else 4)
    assert_same(unbroken.folder, resumed.folder)


def _killed_at(number: int, out: Path, config: Callable[[Path], TrainConfig], data: Callable[[], Datasets]) -> int:
    def work() -> None:
        kill_at_change(out, number)
        fit(config(out), model=build(), data=data())

    return run_forked(work)


def _check_kill(number: int, unbroken: Path, out: Path, config: Callable[[Path], TrainConfig]) -> bool:
    """Kill a run at that change and go on; returns whether it was killed at all."""
    code = _killed_at(number, out, config, tiny_data)
    assert code in (0, KILLED)
    if code == KILLED:
        again = (out / "small").exists()
        assert run_forked(lambda: fit(config(out), resume=again, model=build(), data=tiny_data())) == 0, number
    assert_same(unbroken / "small", out / "small")
    return code == KILLED


def improving(out: Path) -> TrainConfig:
    """One checkpoint an epoch, whose end has all files to write."""
    return replace(tiny(out), checkpoint_every=None, optimizer=OptimizerConfig(name="sgd", lr=0.05))


@pytest.fixture
def imported(tmp_path: Path) -> None:
    """All that a run imports, so that no forked process does."""
    fit(replace(tiny(tmp_path / "before"), epochs=1), model=build(), data=tiny_data())


@forks
@pytest.mark.usefixtures("imported")
def test_a_run_killed_between_any_two_files_of_an_epoch_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    assert run_forked(lambda: fit(improving(tmp_path / "a"), model=build(), data=tiny_data())) == 0
    kills = 0
    for number in range(12, 200, 4):
        if not _check_kill(number, tmp_path / "a", tmp_path / str(number), improving):
            break
        kills += 1
    assert kills > 5


@pytest.mark.slow
@forks
@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("config", [improving, tiny])
def test_a_run_killed_at_every_change_of_a_file(config: Callable[[Path], TrainConfig], tmp_path: Path) -> None:
    assert run_forked(lambda: fit(config(tmp_path / "a"), model=build(), data=tiny_data())) == 0
    number = 1
    while _check_kill(number, tmp_path / "a", tmp_path / str(number), config):
        number += 1
    assert number > 30


# ---- settings


@pytest.fixture
def finished(tmp_path: Path) -> RunResult:
    return fit(tiny(tmp_path), model=build(), data=tiny_data())


@pytest.fixture
def halfway(tmp_path: Path) -> Path:
    """Folder of a run that stopped within its second epoch."""
    model = build()
    stop_in_step(model, 5)
    with pytest.raises(Terminated):
        fit(tiny(tmp_path), model=model, data=tiny_data())
    return tmp_path / "small"


def go_on(out: Path, splits: Datasets | None = None, network: Model | None = None, **changes: object) -> RunResult:
    return fit(replace(tiny(out), **changes), resume=True, model=network or build(), data=splits or tiny_data())


APPLIED = {
    "optimizer.lr: 0.02 -> 0.0": {"optimizer": OptimizerConfig(name="adamw", lr=0.0, weight_decay=0.01)},
    "optimizer.weight_decay: 0.01 -> 0.5": {"optimizer": OptimizerConfig(name="adamw", lr=2e-2, weight_decay=0.5)},
    "optimizer.betas: (0.9, 0.999) -> (0.5, 0.9)": {
        "optimizer": OptimizerConfig(name="adamw", lr=2e-2, weight_decay=0.01, betas=(0.5, 0.9))
    },
    "optimizer.lr_scale: {} -> {'head': 10.0}": {
        "optimizer": OptimizerConfig(name="adamw", lr=2e-2, weight_decay=0.01, lr_scale={"head": 10.0})
    },
    "schedule.name: cosine -> constant": {"schedule": ScheduleConfig(name="constant", warmup_epochs=0.5)},
    "ema.decay: 0.98 -> 0.5": {"ema": EmaConfig(decay=0.5, warmup_steps=10.0)},
    "ema.decay: 0.98 -> 0.0": {"ema": EmaConfig(decay=0.0, warmup_steps=10.0)},
    "clip_norm: None -> 0.001": {"clip_norm": 0.001},
    "freeze.trainable: all -> head": {"freeze": FreezeConfig("head")},
}


@pytest.mark.parametrize("line", APPLIED)
def test_a_setting_is_applied_and_said(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = fit(replace(tiny(tmp_path / "a"), epochs=1), model=build(), data=tiny_data())
    fit(replace(tiny(tmp_path / "b"), epochs=1), model=build(), data=tiny_data())
    weights_before = torch.load(first.folder / "last/state.pt", weights_only=True)["model"]
    capsys.readouterr()
    plain = go_on(tmp_path / "a", optimizer=OptimizerConfig(name="adamw", lr=2e-2, weight_decay=0.01))
    assert "epochs: 1 -> 2 from epoch 2 on" in capsys.readouterr().err
    changed = go_on(tmp_path / "b", **APPLIED[line])
    assert f"{line} from epoch 2 on\n" in capsys.readouterr().err
    after = [read_file(run.folder / "last/model.safetensors")[0] for run in (plain, changed)]
    assert any(not torch.equal(after[0][name], after[1][name]) for name in weights_before)
    if "lr: 0.02 -> 0.0" in line:
        trained = torch.load(changed.folder / "last/state.pt", weights_only=True)["model"]
        for name, _ in build().named_parameters():
            assert torch.equal(weights_before[name], trained[name])


REFUSED = {
    "model: tests.engine.small:small_net -> resnet18": {"model": "resnet18"},
    "model_args: {} -> {'num_classes': 3}": {"model_args": {"num_classes": 3}},
    "optimizer.name: adamw -> sgd": {"optimizer": OptimizerConfig(name="sgd", lr=2e-2, weight_decay=0.01)},
    "weights: None -> other.safetensors": {"weights": "other.safetensors"},
    "data.val: val -> None": {"data": DataConfig(source="digits", batch_size=16, workers=0, val=None)},
    "steps: none -> a, b": {"steps": (Step("a"), Step("b"))},
    "epochs: 2 -> 1": {"epochs": 1},
    "data.batch_size: 16 -> 8 cannot change within an epoch, and 2 of 3": {
        "data": DataConfig(source="digits", batch_size=8, workers=0)
    },
    "accumulate: 2 -> 1 cannot change within an epoch": {"accumulate": 1},
    "seed: 0 -> 1 cannot change within an epoch": {"seed": 1},
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_setting_that_cannot_change_is_named(line: str, halfway: Path, tmp_path: Path) -> None:
    before = kept_bytes(halfway)
    with pytest.raises(ConfigError) as caught:
        go_on(tmp_path, **REFUSED[line])
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert kept_bytes(halfway) == before


def kept_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_other_images_within_an_epoch_are_refused_and_after_it_said(
    halfway: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="within epoch 2, of 48 images in 3 batches; now there are 64 in 4"):
        go_on(tmp_path, small_data(64, 20))
    go_on(tmp_path)
    longer = go_on(tmp_path, small_data(64, 20), epochs=3)
    assert "data.train: 48 images -> 64" in capsys.readouterr().err
    assert longer.history[-1]["step"] == 3 + 3 + 4


def test_other_classes_are_refused_with_their_names(finished: RunResult, tmp_path: Path) -> None:
    data = tiny_data()
    for split in (data.train, data.val):
        split.info = replace(split.info, class_names=("ten", *"123456789"))  # type: ignore[union-attr]
    model = build()
    model.class_names = data.train.info.class_names
    with pytest.raises(ConfigError, match="0 is missing in the data; ten is missing in the run"):
        go_on(tmp_path, data, model, epochs=3)


def test_a_network_of_other_tensors_is_refused_by_the_first_of_them(finished: RunResult, tmp_path: Path) -> None:
    model = build()
    model.stem[0] = nn.Conv2d(1, 16, 5, padding=2)  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"tensor 'stem.0.weight' is \(16, 1, 3, 3\) in .* and \(16, 1, 5, 5\)"):
        go_on(tmp_path, network=model, epochs=3)


def test_a_finished_run_changes_nothing_and_shows_its_figures_again(
    finished: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept_bytes(finished.folder)
    again = go_on(tmp_path)
    assert kept_bytes(finished.folder) == before
    assert again.metrics == pytest.approx(finished.metrics, abs=1e-12)
    assert again.history == finished.history
    assert "the run is finished; more --epochs let it go on: 2 epochs are done." in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"optimizer.lr: 0.02 -> 0.1 would change nothing: .* add --epochs N"):
        go_on(tmp_path, optimizer=OptimizerConfig(name="adamw", lr=0.1, weight_decay=0.01))
    assert kept_bytes(finished.folder) == before


def test_a_finished_run_with_a_test_split_changes_nothing(tmp_path: Path) -> None:
    data = Datasets(Digits("train", 48), Digits("val", 20), Digits("val", 30))
    first = fit(tiny(tmp_path), model=build(), data=data)
    before = kept_bytes(first.folder)
    assert go_on(tmp_path, data).metrics == first.metrics
    assert kept_bytes(first.folder) == before
    assert read_metadata(first.model_path)["extra"]["epoch"] > 0


def test_a_run_that_stopped_early_stays_stopped_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"epochs": 9, "patience": 2, "optimizer": OptimizerConfig(name="adamw", lr=0.0, weight_decay=0.01)}
    still |= {"ema": EmaConfig(), "freeze": FreezeConfig("all", "frozen_stats")}
    assert len(fit(replace(tiny(tmp_path), **still), model=build(), data=tiny_data()).history) == 3
    capsys.readouterr()
    assert len(go_on(tmp_path, **still).history) == 3
    assert "stopped early; more --patience, --max-minutes or --epochs let it go on" in capsys.readouterr().err
    assert len(go_on(tmp_path, **{**still, "patience": 3}).history) == 4
    assert len(go_on(tmp_path, **{**still, "patience": 3, "epochs": 10}).history) == 7


# ---- files


def test_figures_are_those_of_the_kept_weights_of_a_run_that_gets_worse(tmp_path: Path) -> None:
    """The rate grows until the network is destroyed; the best epoch is an earlier one."""

    class Worse(SmallNet):
        def begin(self, step: str, data: object) -> None:
            self.epochs = 0

        def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
            return {
                name: value if self.steps_left() else -50 * value
                for name, value in super().loss(images, targets).items()
            }

        calls = 0

        def steps_left(self) -> bool:
            self.calls += self.training
            return self.calls <= 40

    config = small_config(str(tmp_path), epochs=8, ema=EmaConfig(), clip_norm=None)
    run = fit(config, model=build(Worse), data=small_data(320))
    scores = [row["val/top1"] for row in run.history]
    assert scores[-1] < max(scores) - 0.1
    assert run.metrics["top1"] == max(scores) == read_metadata(run.model_path)["metrics"]["top1"]
    assert run.metrics["loss"] == run.history[int(np.argmax(scores))]["val/loss"]
    assert run.report is not None
    assert run.report.values == run.metrics


def flip(path: Path) -> None:
    """Turn one bit of the largest part, where weights are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(bytes(content))


def test_a_flipped_bit_in_the_state_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken = fit(tiny(tmp_path / "a"), model=build(), data=tiny_data())
    model = build()
    stop_in_step(model, 5)
    with pytest.raises(Terminated):
        fit(tiny(tmp_path / "b"), model=model, data=tiny_data())
    flip(tmp_path / "b/small/last/state.pt")
    resumed = go_on(tmp_path / "b")
    err = capsys.readouterr().err
    assert "state.pt is damaged" in err
    assert "The run goes on from the state before, state.previous.pt." in err
    assert_same(unbroken.folder, resumed.folder)


def test_the_state_before_takes_the_place_of_a_damaged_one_at_once(finished: RunResult, tmp_path: Path) -> None:
    last = finished.folder / "last"
    before = (last / "state.previous.pt").read_bytes()
    flip(last / "state.pt")
    folder = RunFolder(tiny(tmp_path), resume=True)
    assert folder.load_state() is not None
    folder.start(tiny(tmp_path))
    assert (last / "state.pt").read_bytes() == before  # the next save cannot put the damaged one in its place
    assert not (last / "state.previous.pt").exists()


def foreign(path: Path) -> None:
    torch.save([1, 2], path)


def older(path: Path) -> None:
    torch.save({"position": {}, "model": {}}, path)


def program(path: Path) -> None:
    torch.save({"model": nn.Linear(2, 2)}, path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def null_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def text(path: Path) -> None:
    path.write_text("state")


@pytest.mark.parametrize("spoil", [flip, foreign, older, program, folder, null_device, text])
def test_states_that_are_none_end_in_one_line(
    spoil: Callable[[Path], None], finished: RunResult, tmp_path: Path
) -> None:
    previous = finished.folder / "last/state.previous.pt"
    flip(previous)
    spoil(finished.folder / "last/state.pt")
    with pytest.raises(WeightsError) as caught:
        go_on(tmp_path, epochs=3)
    assert "state.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("epochs", [2, 3])
def test_best_weights_that_somebody_deleted_are_written_again_or_missed_at_once(
    epochs: int, finished: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = finished.model_path
    content, epoch = best.read_bytes(), read_metadata(best)["extra"]["epoch"]
    best.unlink()
    run = go_on(tmp_path, epochs=epochs)
    err = capsys.readouterr().err
    if epoch == 2:
        assert "best.safetensors is missing; it is written again from the training state" in err
        assert epochs == 3 or best.read_bytes() == content
    else:
        assert f"best.safetensors of epoch {epoch}, the best one so far, is missing" in err
    assert run.metrics == pytest.approx(read_metadata(best)["metrics"] | run.metrics)


def test_left_overs_of_killed_runs_are_swept(halfway: Path, tmp_path: Path) -> None:
    names = (".best.k3j_2xw1.safetensors", "last/.state.abcdefgh.pt", "last/.state.pt.77.link", ".tmpA1b2C3", "a.tmp")
    for name in names:
        (halfway / name).write_bytes(b"half")
    own = halfway / ".note.txt"
    own.write_text("mine")
    go_on(tmp_path)
    assert not any((halfway / name).exists() for name in names)
    assert own.exists()
    assert not (halfway / RunLock.FILE).exists()


def test_missing_rows_and_last_weights_come_back(finished: RunResult, tmp_path: Path) -> None:
    before = kept_bytes(finished.folder)
    (finished.folder / "metrics.csv").unlink()
    (finished.folder / "last/model.safetensors").unlink()
    go_on(tmp_path)
    assert kept_bytes(finished.folder) == before


def test_resume_of_nothing_says_that_it_starts_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(go_on(tmp_path).history) == 2
    assert "small holds no training state to go on from; the run starts anew" in capsys.readouterr().err


def test_a_run_that_died_before_its_first_checkpoint_does_not_block_its_name(tmp_path: Path) -> None:
    class Dies(SmallNet):
        def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        fit(tiny(tmp_path), model=build(Dies), data=tiny_data())
    assert (tmp_path / "small/config.yaml").exists()
    assert len(fit(tiny(tmp_path), model=build(), data=tiny_data()).history) == 2


# ---- lock


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    def second(row: object) -> None:
        with pytest.raises(ConfigError, match=rf"small is being written by another run: process {os.getpid()} on "):
            fit(tiny(tmp_path), resume=True, model=build(), data=tiny_data())

    fit(tiny(tmp_path), model=build(), data=tiny_data(), callbacks=[OnEpoch(second)])
    assert not (tmp_path / "small" / RunLock.FILE).exists()


@forks
def test_locks_of_ended_processes_are_void(tmp_path: Path, sleeper: int) -> None:
    lock = tmp_path / RunLock.FILE
    with RunLock(tmp_path) as taken:
        mine = json.loads(lock.read_text())
        assert run_forked(lambda: taken.__exit__(None, None, None)) == 0  # a child does not give it back
        assert lock.exists()
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    void = ({"pid": dead}, {"pid": sleeper}, {"boot": "another"})  # the sleeper started after the lock was taken
    for change in void:
        lock.write_text(json.dumps({**mine, **change}))
        with RunLock(tmp_path):
            assert json.loads(lock.read_text())["pid"] == os.getpid()
    for broken in ("", "{", "[]", '{"pid": -1}'):
        lock.write_text(broken)
        with RunLock(tmp_path):
            pass
    lock.write_text(json.dumps({**mine, "host": "elsewhere\x1b[31m"}))
    with pytest.raises(ConfigError, match=r"on elsewhere\\x1b\[31m, since .* delete "), RunLock(tmp_path):
        pass


def test_errors_give_the_lock_back_and_leave_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SaccadeError):
        fit(TrainConfig(name="none", model="lenet5", out=str(tmp_path)))
    assert not (tmp_path / "none").exists()
    (tmp_path / "small").write_text("a file in its place")
    with pytest.raises(ConfigError, match="cannot be written"):
        fit(tiny(tmp_path), model=build(), data=tiny_data())
