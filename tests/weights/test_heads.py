"""The head of before: kept beside a new one that was trained on a frozen network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.config import DataConfig, EmaConfig, FreezeConfig, OptimizerConfig, Phase, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.errors import WeightsError
from saccade.models.checkpoint import load_model, save_model
from saccade.models.registry import create_model
from saccade.weights import load_weights


def _config(tmp_path: Path, init: Path, trainable: str, name: str, **fields: object) -> TrainConfig:
    return TrainConfig(
        name=name,
        model="resnet20_cifar",
        weights=str(init),
        data=DataConfig(source="digit_scenes", val=None, size=(32, 32), batch_size=8, workers=0),
        optimizer=OptimizerConfig(name="adamw", lr=1e-2),
        freeze=FreezeConfig(trainable=trainable),
        epochs=1,
        out=str(tmp_path),
        **fields,
    )


@pytest.fixture
def before(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model("resnet20_cifar", num_classes=3)
    model.class_names = ("red", "green", "blue")
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 32, 32))
    return save_model(model, tmp_path / "before.safetensors")


def _data() -> Datasets:
    return Datasets(DigitScenes("classification", "train", 16, (48, 48)))


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IMAGES)["logits"]


def test_the_old_head_still_gives_its_answers(tmp_path: Path, before: Path) -> None:
    run = fit(_config(tmp_path, before, "head", "first", ema=EmaConfig(decay=0.9)), data=_data())
    new, old = saccade.load(run.model_path), saccade.load(run.model_path, earlier_head=0)
    assert new.num_classes == 10
    assert old.class_names == ("red", "green", "blue")
    torch.testing.assert_close(_logits(old), _logits(load_model(before)))
    assert not torch.allclose(_logits(new)[:, :3], _logits(old))
    # A third set of classes on the same network keeps both.
    model = create_model("resnet20_cifar", num_classes=4)
    report = load_weights(model, run.model_path)
    assert [head.num_classes for head in report.earlier_heads] == [3]
    assert report.file_head is not None
    assert report.file_head.num_classes == 10
    with pytest.raises(WeightsError, match="no earlier head 1; it keeps 1"):
        load_model(run.model_path, earlier_head=1)


def test_resuming_keeps_it(tmp_path: Path, before: Path) -> None:
    config = _config(tmp_path, before, "head", "resumed", ema=EmaConfig(decay=0.9))
    fit(config, data=_data())
    config.epochs = 2
    run = fit(config, resume=True, data=_data())
    torch.testing.assert_close(_logits(load_model(run.model_path, 0)), _logits(load_model(before)))


@pytest.mark.parametrize(
    "changes",
    [{"trainable": "all"}, {"trainable": "last:1"}, {"phases": (Phase(0, freeze=FreezeConfig("all")),)}],
    ids=str,
)
def test_a_network_that_moves_keeps_no_old_head(tmp_path: Path, before: Path, changes: dict[str, object]) -> None:
    options = {"trainable": "head", "name": "moving", **changes}
    run = fit(_config(tmp_path, before, **options), data=_data())
    assert load_model(run.model_path).earlier_heads == ()
