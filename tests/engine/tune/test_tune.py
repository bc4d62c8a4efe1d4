"""Searches of seconds: samplers, failures, kill -9, two processes, the report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from PIL import Image

import saccade
from saccade.cli import main
from saccade.engine.train.config import DataConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.configfile import config_to_yaml, load_config
from saccade.engine.tune import search as search_module
from saccade.engine.tune import study as study_module
from saccade.engine.tune import trials as trials_module
from saccade.engine.tune.fitness import choose_fitness
from saccade.engine.tune.space import parse_space
from saccade.engine.tune.study import Search, counted, open_storage, open_study, suggest
from saccade.errors import ConfigError, DataError
from saccade.tasks import get_task

LR = "optimizer.lr=1e-4:1e-2:log"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Two shades of grey, a run of a second."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, grey in (("dark", 60), ("light", 180)):
            folder = tmp_path / "shades" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(grey, 40, (32, 32)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    data = DataConfig(source="shades", batch_size=8, workers=0)
    optimizer = OptimizerConfig(name="adamw", lr=1e-3)
    return TrainConfig(name="shades", model="lenet5", data=data, optimizer=optimizer, epochs=1, precision="32")


def _trials(folder: str) -> list[Any]:
    with open_storage(f"sqlite:///{folder}/study.db") as storage:
        return counted(optuna.load_study(study_name=Path(folder).name, storage=storage))


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "evolve", "random"])
def test_each_sampler_searches(base: TrainConfig, sampler: Any, capsys: pytest.CaptureFixture[str]) -> None:
    space = [LR, "optimizer.weight_decay=0:0.1", "data.batch_size=4,8"]
    found = saccade.tune(base, space=space, trials=3, sampler=sampler, prune=False, out="search")
    assert [row["state"] for row in found.trials] == ["complete (recipe)", "complete", "complete"]
    names = [one.partition("=")[0] for one in space]
    assert len({tuple(row[name] for name in names) for row in found.trials}) == 3
    assert found.recipe_value == found.trials[0]["fitness"]
    assert found.best_value == max(row["fitness"] for row in found.trials)
    best = load_config(found.best_config)
    assert best.optimizer.lr == found.best_values["optimizer.lr"]
    assert best.name == "shades_tuned"
    # Figures of all trials stay, weights of the best alone, no training states.
    assert len(list(Path("search/trials").glob("*/metrics.csv"))) == 3
    assert len(list(Path("search").rglob("*.safetensors"))) == 1
    assert not list(Path("search").rglob("state*.pt"))
    said = capsys.readouterr().err
    assert "trial 2 (3/3)" in said
    assert "min left" in said
    assert "MB; the weights of trial" in said
    page = Path("search/tune.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_the_command_line(base: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    Path("base.yaml").write_text(config_to_yaml(base))
    words = ["tune", "--config", "base.yaml", "--out", "found", "--space", LR, "--space", "data.batch_size=4,8"]
    assert main([*words, "--trials", "2", "--no-prune", "--optimizer.weight-decay", "0.02"]) == 0
    assert "saccade train --config found/best.yaml" in capsys.readouterr().out
    assert load_config("found/best.yaml").optimizer.weight_decay == 0.02
    # There is one already; --resume goes on, and refuses another search.
    assert main(words) == 2
    assert "already holds a search. Add --resume" in capsys.readouterr().err
    assert main(["tune", "--config", "base.yaml", "--out", "found", "--space", LR, "--resume"]) == 2
    assert "the search there is another one (space is" in capsys.readouterr().err
    assert main(["tune", "--out", "found", "--resume", "--trials", "3"]) == 0
    assert len(_trials("found")) == 3
    assert main(["train", "--config", "found/best.yaml"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "optimizer.lrr=1:2"], "Did you mean 'optimizer.lr'"),
        (["--space", "augment.mixup=0:1.5"], "augment.mixup is a probability"),
        (["--space", LR, "--sampler", "cmaes"], "needs two ranges"),
        (["--space", LR, "--jobs", "0"], "--jobs is 0"),
        (["--space", LR, "--trials", "0"], "--trials is 0"),
        (["--space", LR, "--data", "nowhere"], "nowhere"),
        (["--space", LR, "--storage", "nonsense://x"], "--storage 'nonsense://x' cannot be opened"),
        (["--spaze", LR], "unknown option '--spaze'. Did you mean 'space'"),
    ],
)
def test_what_cannot_begin_is_one_line(
    base: TrainConfig, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("base.yaml").write_text(config_to_yaml(base))
    assert main(["tune", "--config", "base.yaml", "--out", "x", *words]) == (3 if message == "nowhere" else 2)
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not list(Path().rglob("metrics.csv"))


def test_without_optuna_the_extra_is_named(base: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "saccade\[tune\]"'):
        saccade.tune(base, space=[LR])


def _fitting(outcomes: Callable[[int], Exception | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that fails where ``outcomes`` of the trial's number gives an error."""
    fit = trials_module.fit

    def run(config: TrainConfig, **options: Any) -> Any:
        error = outcomes(int(config.name))
        if error is not None:
            raise error
        return fit(config, **options)

    monkeypatch.setattr(trials_module, "fit", run)


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    base: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {0: RuntimeError("CUDA out of memory. Tried"), 1: ConfigError("no such thing."), 2: MemoryError()}
    _fitting(errors.get, monkeypatch)
    # A rate that overflows at once: the loss is no number.
    space = ["optimizer.lr=1e-3,1e37"]
    found = saccade.tune(base, space=space, trials=6, sampler="random", out="x")
    reasons = [row["reason"] for row in found.trials]
    assert reasons[:3] == ["out of memory: CUDA out of memory. Tried", "no such thing.", "out of memory"]
    assert "failed: no such thing." in capsys.readouterr().err
    assert "no such thing." in found.report.read_text()


def test_a_loss_that_is_no_number_fails_the_trial(base: TrainConfig) -> None:
    base.epochs = 4
    with pytest.raises(ConfigError, match=r"no trial of x was completed; the last failed: diverged: step"):
        saccade.tune(base, space=["optimizer.lr=1e30,1e35"], trials=2, sampler="random", out="x")
    assert [trial.state.name for trial in _trials("x")] == ["FAIL", "FAIL"]


def test_what_every_trial_meets_ends_the_search(base: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--metric 'top2' is no figure of these epochs. Did you mean 'top1'"):
        saccade.tune(base, space=[LR], metric="top2", out="a")
    assert len(_trials("a")) == 1
    _fitting(lambda number: DataError("image 3 is broken."), monkeypatch)
    with pytest.raises(DataError, match=r"image 3 is broken."):
        saccade.tune(base, space=[LR], out="b")
    assert len(_trials("b")) == 1
    _fitting(lambda number: ConfigError(f"always {number}."), monkeypatch)
    with pytest.raises(ConfigError, match=r"the first 3 trials all fail alike: always 0"):
        saccade.tune(base, space=[LR], out="c")


def test_bad_trials_are_pruned(base: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    base.epochs = 2
    monkeypatch.setattr(study_module, "MedianPruner", lambda **_: optuna.pruners.ThresholdPruner(lower=2.0))
    with pytest.raises(ConfigError, match=r"no trial of x was completed"):
        saccade.tune(base, space=[LR], trials=1, out="x")
    (trial,) = _trials("x")
    assert trial.state.name == "PRUNED"
    assert trial.user_attrs["epochs"] == 1


def test_a_killed_search_goes_on(base: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    base.epochs = 2
    Path("base.yaml").write_text(config_to_yaml(base))
    script = Path(__file__).with_name("killed_search.py")
    done = subprocess.run([sys.executable, str(script), "base.yaml", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    before = _trials("x")
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]
    found = saccade.tune(out="x", resume=True)
    assert "trial 1 was cut off" in capsys.readouterr().err
    after = _trials("x")
    assert len(found.trials) == len(after) == 3
    assert [trial.state.is_finished() for trial in after] == [True] * 3
    again = next(trial for trial in after if trial.user_attrs.get("attempt") == 2)
    assert again.params == before[1].params
    assert again.user_attrs["folder"] == "0001"
    # It went on from the first epoch's state, and knows that epoch's figure.
    assert sorted(again.intermediate_values) == [1, 2]


def test_several_processes_share_a_search(base: TrainConfig) -> None:
    found = saccade.tune(base, space=[LR], trials=4, jobs=2, prune=False, out="x")
    assert len(found.trials) == len(_trials("x")) == 4
    holders = {trial.user_attrs["process"]["pid"] for trial in _trials("x")}
    assert len(holders) == 2


def _process_of_the_first_trial() -> int:
    """Once it has trained an epoch and can go on from there: it says so last."""
    place, ends = Path("x/trials/0000"), time.monotonic() + 240
    log = place / "log.txt"
    while not (log.exists() and re.search(r"^epoch 1/\d+  [\d.]+ min", log.read_text(), flags=re.M)):
        assert time.monotonic() < ends, [str(path) for path in Path("x").rglob("*")]
        time.sleep(0.05)
    return int(json.loads((place / ".lock").read_text())["pid"])


def test_ctrl_c_ends_all_processes_and_the_search_goes_on(
    base: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    base.epochs = 40  # so that it runs when the signal comes
    Path("base.yaml").write_text(config_to_yaml(base))
    workers: list[int] = []

    def interrupt() -> None:
        training = _process_of_the_first_trial()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        # Ctrl-C of a terminal goes to a whole group; processes of the search are in none that has this one.
        workers.extend(int(child) for child in children if os.getpgid(int(child)) == int(child))
        assert training in workers
        os.kill(os.getpid(), signal.SIGINT)

    words = ["tune", "--config", "base.yaml", "--space", LR, "--trials", "2", "--jobs", "2", "--out", "x"]
    waiting = threading.Thread(target=interrupt)
    waiting.start()
    assert main([*words, "--no-prune"]) == 130
    waiting.join()
    said = capsys.readouterr().err
    assert "interrupted; finished trials are kept. Go on with: saccade tune --config base.yaml" in said
    assert "--resume" in said
    assert len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    assert {trial.state.name for trial in _trials("x")} == {"WAITING"}
    found = saccade.tune(out="x", resume=True)
    assert sorted(row["state"] for row in found.trials) == ["complete", "complete (recipe)"]
    # What was interrupted went on in its folder, behind the epochs that it had, and is no failure.
    (recipe,) = (trial for trial in _trials("x") if trial.user_attrs.get("recipe"))
    assert (recipe.user_attrs["folder"], recipe.user_attrs["attempt"]) == ("0000", 1)
    log = Path("x/trials/0000/log.txt").read_text()
    assert [len(re.findall(rf"^epoch {epoch}/40  [\d.]+ min", log, flags=re.M)) for epoch in (1, 40)] == [1, 1]


@pytest.mark.parametrize("moment", ["while it is taken", "before it draws its values"])
def test_a_trial_that_hardly_began_is_not_lost_by_ctrl_c(
    base: TrainConfig, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    module, name = (search_module, "take_trial") if moment.startswith("while") else (trials_module, "suggest")
    original = getattr(module, name)

    def interrupted(*given: Any) -> Any:
        found = original(*given) if name == "take_trial" else None
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        saccade.tune(base, space=[LR], trials=1, out="x")
    (waiting,) = _trials("x")
    assert (waiting.state.name, waiting.user_attrs.get("recipe")) == ("WAITING", True)
    monkeypatch.setattr(module, name, original)
    found = saccade.tune(out="x", resume=True)
    assert [row["state"] for row in found.trials] == ["complete (recipe)"]


def test_a_process_that_is_killed_is_replaced(base: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    base.epochs = 12
    killed: list[int] = []

    def kill() -> None:
        killed.append(_process_of_the_first_trial())
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = saccade.tune(base, space=[LR], trials=2, jobs=2, prune=False, out="x")
    killer.join()
    said = capsys.readouterr().err
    assert "a process of the search was killed by signal 9" in said
    assert "trial 0 was cut off when its process was killed; it is begun again" in said
    assert sorted(row["state"] for row in found.trials) == ["complete", "complete (recipe)"]
    (again,) = (trial for trial in _trials("x") if trial.user_attrs.get("attempt") == 2)
    assert again.user_attrs["folder"] == "0000"
    assert again.user_attrs["process"]["pid"] != killed[0]


def test_a_recipe_that_reaches_nothing_is_shown_as_zero(
    base: TrainConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(base, parse_space(base, [LR]), trials=2)
    fitness = choose_fitness(get_task("classification"))
    with open_study("sqlite:///study.db", "x", search) as study:
        search_module._begin(study, search)
        for value in (0.0, 0.25):
            trial = study.ask()
            suggest(trial, search.space)
            study.tell(trial, value)
        metric = search_module._write_best(study, search, Path("x"), fitness, report=True)
        result = search_module._result(study, search, Path("x"), metric)
    assert (result.recipe_value, result.best_value) == (0.0, 0.25)
    assert "best: trial 1, top1 0.2500; the recipe 0.0000" in capsys.readouterr().err
    assert "<b>0.0000</b><span>recipe&#x27;s top1</span>" in Path("x/tune.html").read_text()
    monkeypatch.setattr("saccade.api.tune", lambda **_: result)
    Path("base.yaml").write_text(config_to_yaml(base))
    assert main(["tune", "--config", "base.yaml"]) == 0
    assert re.search(r"of the recipe\W+0\.0000", capsys.readouterr().out)


def test_a_shared_storage_is_joined_and_never_overfilled(base: TrainConfig) -> None:
    """A second machine gives the same command; its folder is its own, and bears the same name."""
    url = f"sqlite:///{Path('shared.db').resolve()}"
    one = saccade.tune(base, space=[LR], trials=2, storage=url, out="a/x")
    two = saccade.tune(base, space=[LR], trials=3, storage=url, out="b/x")
    assert len(one.trials) == 2
    assert len(two.trials) == 3
    assert [path.name for path in Path("b/x/trials").iterdir()] == ["0002"]
    assert search_module.storage_url(Path("x"), url) == url
