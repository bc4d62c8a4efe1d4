"""``saccade train``: which configuration reaches the engine, and what is said when it is stopped."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import yaml

import saccade.api
from saccade.api._start import start_config
from saccade.cli import main
from saccade.engine.train.config import Phase, TrainConfig
from saccade.engine.train.configfile import config_to_yaml, load_config
from saccade.engine.train.guard import Terminated
from saccade.errors import ConfigError


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    config = TrainConfig(name="mine", model="resnet18", epochs=3, out=str(tmp_path / "runs"))
    config.phases = (Phase(-1, model={"use_l1": True}),)
    config.data.source = "somewhere"
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    return path


def _resolved(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert main(["train", *map(str, words), "--dry-run"]) == 0, capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


def test_dry_run_of_a_file_is_the_file(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _resolved(capsys, "--config", config_file) == yaml.safe_load(config_file.read_text())


def test_dry_run_reads_back(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(config_file), "--optimizer.lr", "0.5", "--dry-run"]) == 0
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    expected = load_config(config_file)
    expected.optimizer.lr = 0.5
    assert load_config(again) == expected


def test_any_field_is_overridden_by_its_name(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--optimizer.lr 0.25 --optimizer.weight_decay 0.1 --data.size 64 96 --ema.decay=0.9 --channels-last False "
        "--seed 7"
    )
    values = _resolved(capsys, "--config", config_file, *words.split(), "--name", "other", "--data.val", "None")
    assert values["optimizer"]["lr"] == 0.25
    assert values["optimizer"]["weight_decay"] == 0.1
    assert values["data"]["size"] == [64, 96]
    assert values["data"]["val"] is None
    assert values["ema"]["decay"] == 0.9
    assert values["channels_last"] is False
    assert (values["seed"], values["name"]) == (7, "other")
    assert values["phases"][0]["model"] == {"use_l1": True}  # what was not named stays


def test_model_data_and_model_arguments(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--model",
        "unet",
        "--data",
        "elsewhere",
        "--model-args.backbone",
        "resnet18",
        "--model-args.base-channels=16",
    ]
    values = _resolved(capsys, "--config", config_file, *words)
    assert values["model"] == "unet"
    assert values["data"]["source"] == "elsewhere"
    assert values["model_args"] == {"backbone": "resnet18", "base_channels": 16}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optimizer.lrr 3", "unknown option '--optimizer.lrr'. Did you mean 'optimizer.lr'"),
        ("--optimiser.lr 3", "Did you mean 'optimizer.lr'"),
        ("--epoch 3", "Did you mean 'epochs'"),
        ("--model-args.depth", "'--model-args.depth' needs a value"),
        ("--recipe demo", "give one of them"),
    ],
)
def test_wrong_words(config_file: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(config_file), *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_missing_config_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(tmp_path / "nope.yaml")]) == 2
    assert "nope.yaml" in capsys.readouterr().err


def test_nothing_to_train_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epochs", "3"]) == 2
    err = capsys.readouterr().err
    assert "--recipe" in err
    assert "lenet5_mnist" in err


def test_recipe_and_override(capsys: pytest.CaptureFixture[str]) -> None:
    values = _resolved(capsys, "--recipe", "lenet5_mnist", "--epochs", 2)
    assert values["name"] == "lenet5_mnist"
    assert values["model"].startswith("lenet5")
    assert values["epochs"] == 2


def test_unknown_recipe_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "lenet5_minst"]) == 2
    assert "Did you mean 'lenet5_mnist'" in capsys.readouterr().err


def test_a_folder_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    values = _resolved(capsys, "--model", "resnet18", "--data", "my/photos")
    assert values["model"] == "resnet18"
    assert values["data"]["source"] == "my/photos"


def test_help_shows_verb_and_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--recipe", "--resume", "--dry-run", "--optimizer.lr", "--ema.decay"):
        assert option in out


class _Stopped:
    """Stands for ``saccade.train``: remembers what it was asked to train, and is stopped like a real run."""

    def __init__(self, state_written: bool, by: type[BaseException] = KeyboardInterrupt) -> None:
        self.state_written, self.by = state_written, by
        self.asked: list[tuple[TrainConfig, bool]] = []

    def __call__(self, config: TrainConfig, *, resume: bool = False) -> None:
        self.asked.append((config, resume))
        last = Path(config.out) / config.name / "last"
        last.mkdir(parents=True, exist_ok=True)
        if self.state_written:
            (last / "state.pt").write_bytes(b"")
        raise self.by


@pytest.mark.parametrize("state_written", [True, False])
def test_interrupt_says_what_is_kept_and_how_to_go_on(
    state_written: bool, config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = _Stopped(state_written)
    monkeypatch.setattr(saccade.api, "train", train)
    assert main(["train", "--config", str(config_file), "--name", "a b"]) == 130
    err = capsys.readouterr().err
    assert err.endswith(f"Go on with: saccade train --config {config_file} --name 'a b' --resume\n")
    assert ("kept in" in err) == state_written
    assert [resume for _, resume in train.asked] == [False]
    # The command it prints asks for the same run.
    assert main(["train", "--config", str(config_file), "--name", "a b", "--resume"]) == 130
    assert train.asked[0][0] == train.asked[1][0]
    assert train.asked[1][1] is True
    shutil.rmtree(Path(train.asked[0][0].out))


def test_sigterm_is_told_from_ctrl_c(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(saccade.api, "train", _Stopped(True, Terminated))
    assert main(["train", "--config", str(config_file)]) == 128 + signal.SIGTERM
    assert "Go on with: saccade train" in capsys.readouterr().err


def test_python_starts_from_the_same_things(config_file: Path) -> None:
    started = start_config(config_file, model="unet", data=Path("elsewhere"), trainable="head")
    assert (started.model, started.data.source, started.freeze.trainable) == ("unet", "elsewhere", "head")
    assert started.epochs == 3
    own = load_config(config_file)
    assert start_config(own) is own
    assert saccade.recipe("lenet5_mnist", data="elsewhere").data.source == "elsewhere"
    with pytest.raises(ConfigError, match=r"recipe='lenet5_mnist'"):
        saccade.train("lenet5_mnist")
    with pytest.raises(ConfigError, match="give one of them"):
        saccade.train(own, recipe="lenet5_mnist")
    with pytest.raises(ConfigError, match="nothing to train"):
        saccade.recipe(model="lenet5")
