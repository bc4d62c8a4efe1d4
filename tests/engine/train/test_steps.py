"""A run as a row of steps: gradient steps with other data and frozen parts, a solver of the model, resuming exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from tests.engine.small import Digits, SmallNet, small_config, small_data
from torch import Tensor

from saccade.engine.train.callbacks import OnEpoch
from saccade.engine.train.config import EmaConfig, ScheduleConfig, Step, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.schedule import lr_factor
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.engine.train.steps import resolve_steps
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.registry import register_model
from saccade.structures.batch import Batch
from saccade.structures.dataset import VisionDataset

TWO = (
    Step("body", {"epochs": 2, "data.train": "first"}),
    Step("head", {"epochs": 2, "data.train": "second", "freeze.trainable": "head", "optimizer.lr": 0.01}),
)


def build() -> SmallNet:
    seed_step(0, -1)
    return SmallNet()


def data_of(config: TrainConfig) -> Datasets:
    start = {"first": "train", "second": "val"}[config.data.train]
    return Datasets(Digits(start, 128), Digits("val", 64))


class Stopped(Exception):
    pass


def stop_after(epochs: int) -> object:
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == epochs:
            raise Stopped

    return on_epoch


def test_steps_train_their_own_parts_on_their_own_data(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    class Watched(SmallNet):
        def begin(self, step: str, data: VisionDataset) -> None:
            seen.append((step, data.info.split))

    seed_step(0, -1)
    model = Watched()
    after_first: dict[str, Tensor] = {}

    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == 3:  # the first epoch of the second step
            after_first.update({name: value.clone() for name, value in model.state_dict().items()})

    config = small_config(str(tmp_path), steps=TWO, ema=EmaConfig())
    result = fit(config, model=model, data=data_of, callbacks=[OnEpoch(on_epoch)])  # type: ignore[arg-type]
    assert seen == [("body", "train"), ("head", "val")]
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, after_first[name])}
    assert moved == {"head.weight", "head.bias"}
    assert (result.folder / "batch-body.png").exists()


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_of_steps_resumes_bit_for_bit(tmp_path: Path, stop: int) -> None:
    unbroken = fit(small_config(str(tmp_path / "a"), steps=TWO), model=build(), data=data_of)
    broken = small_config(str(tmp_path / "b"), steps=TWO)
    with pytest.raises(Stopped):
        fit(broken, model=build(), data=data_of, callbacks=[OnEpoch(stop_after(stop))])  # type: ignore[arg-type]
    resumed = fit(broken, resume=True, model=build(), data=data_of)
    for name in ("best.safetensors", "last/model.safetensors"):
        assert (unbroken.folder / name).read_bytes() == (resumed.folder / name).read_bytes()
    assert [row["train/loss"] for row in unbroken.history] == [row["train/loss"] for row in resumed.history]


class Ridge(SmallNet):
    """A head that scikit-learn fits, on features that gradients learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("solution", torch.zeros(10, 17))

    def forward(self, images: Tensor) -> Outputs:
        features = self.features(images)[-1].mean((2, 3))
        if not self.solution.any():
            return {"logits": self.head(features)}
        return {"logits": features @ self.solution[:, :16].T + self.solution[:, 16]}

    def solve(self, step: str, batches: Iterable[Batch]) -> dict[str, float]:
        rows, labels = [], []
        with torch.no_grad():
            for batch in batches:
                rows.append(self.features(batch.images)[-1].mean((2, 3)))
                labels.append(batch.targets["labels"])
        x, y = torch.cat(rows).numpy(), torch.cat(labels).numpy()
        ridge = RidgeClassifier(alpha=1e-3).fit(x, y)
        self.solution.copy_(torch.from_numpy(np.concatenate([ridge.coef_, ridge.intercept_[:, None]], axis=1)))
        return {"accuracy": float(ridge.score(x, y))}


@register_model("classification", "a network of the tests")
def ridge_net() -> Ridge:
    return Ridge()


def test_a_step_may_be_solved_by_the_model_and_its_result_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saccade.engine.train.progress._BETWEEN_LINES", 0.0)
    config = small_config(
        str(tmp_path),
        epochs=3,
        steps=(Step("features"), Step("ridge", {"data.batch_size": 64, "data.val_batch_size": 50}, solver="model")),
    )
    seed_step(0, -1)
    result = fit(config, model=ridge_net(), data=small_data())
    printed = capsys.readouterr().err
    assert "ridge: 1 of 5, " in printed
    assert printed.index("ridge: 4 of 5, ") < printed.rindex("validation: ")  # both tell how far they are
    last = result.history[-1]
    assert last["train/accuracy"] > 0.6
    assert last["val/top1"] == result.metrics["top1"] > result.history[-2]["val/top1"] - 0.1
    again = fit(config, resume=True, model=ridge_net(), data=small_data())  # a finished run changes nothing
    assert again.metrics == result.metrics
    assert len(again.history) == len(result.history)


def test_training_state_comes_back_and_is_in_no_checkpoint(tmp_path: Path) -> None:
    class Remembers(SmallNet):
        seen = 0

        def loss(self, images: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
            self.seen += self.training
            return super().loss(images, targets)

        def training_state(self) -> dict[str, Tensor]:
            return {"seen": torch.tensor(self.seen)}

        def load_training_state(self, state: dict[str, Tensor]) -> None:  # type: ignore[override]
            self.seen = int(state["seen"])

    config = small_config(str(tmp_path), epochs=2)
    with pytest.raises(Stopped):
        fit(config, model=Remembers(), data=small_data(), callbacks=[OnEpoch(stop_after(1))])  # type: ignore[arg-type]
    model = Remembers()
    fit(config, resume=True, model=model, data=small_data())
    assert model.seen == 20  # 320 images in batches of 32, twice


def test_a_callback_may_stop_the_run(tmp_path: Path) -> None:
    result = fit(
        small_config(str(tmp_path)),
        model=build(),
        data=small_data(),
        callbacks=[OnEpoch(lambda row: row["epoch"] == 2)],
    )
    assert len(result.history) == 2


def test_a_finished_run_goes_on_with_more_epochs(tmp_path: Path) -> None:
    config = small_config(str(tmp_path), epochs=2, schedule=ScheduleConfig(name="constant"))
    fit(config, model=build(), data=small_data())
    longer = fit(replace(config, epochs=3), resume=True, model=build(), data=small_data())
    assert [row["epoch"] for row in longer.history] == [1, 2, 3]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((Step("a", {"optimizer.rl": 1.0}),), r"steps\[0\] \(a\): unknown field 'optimizer.rl'. Did you mean 'lr'"),
        ((Step("a", {"model": "resnet18"}),), "'model' belongs to the whole run"),
        ((Step("a"), Step("a")), "every step needs a name of its own"),
        ((Step("a", {"epochs": "two"}),), r"steps\[0\] \(a\): epochs needs a value of type int"),
    ],
)
def test_wrong_steps_are_named(steps: tuple[Step, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_steps(TrainConfig(steps=steps))


def test_steps_share_their_classes(tmp_path: Path) -> None:
    def other_classes(config: TrainConfig) -> Datasets:
        data = Digits("train", 64)
        if config.data.train == "second":
            data.info = replace(data.info, class_names=tuple("abcdefghij"))
        return Datasets(data)

    steps = (Step("one", {"epochs": 1}), Step("two", {"data.train": "second"}))
    with pytest.raises(ConfigError, match="All steps of a run share their classes"):
        fit(small_config(str(tmp_path), steps=steps), model=build(), data=other_classes)


def test_the_rate_stays_constant_before_it_falls() -> None:
    config = ScheduleConfig(name="linear", constant_epochs=5)
    assert [lr_factor(config, epoch, 10) for epoch in (0, 4, 5, 7.5, 10)] == [1, 1, 1, 0.5, 0]


def test_an_error_in_the_loss_leaves_no_parameter_switched_off(tmp_path: Path) -> None:
    from tests.engine.small import SmallGan

    class Breaks(SmallGan):
        def loss(self, *arguments: object, **inputs: object) -> dict[str, Tensor]:
            raise RuntimeError("no loss today")

    model = Breaks()
    with pytest.raises(RuntimeError, match="no loss today"):
        fit(small_config(str(tmp_path), model="small_gan"), model=model, data=Datasets(small_data().train))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_groups_share_what_the_first_one_computed(tmp_path: Path) -> None:
    from tests.engine.small import SmallGan

    model = SmallGan()
    fit(small_config(str(tmp_path), epochs=1, model="small_gan"), model=model, data=Datasets(small_data().train))
    assert model.generated == 10  # once a batch, for two optimisers
