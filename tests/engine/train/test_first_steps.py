"""What the first steps of a run meet: classes that differ, batches of one image, statistics that begin from nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.engine.small import Digits, SmallNet, small_config, small_data
from torch import Tensor, nn

from saccade.cli import main
from saccade.data.derived.combine import subset
from saccade.data.open import open_dataset
from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.messages import explain_small_batches
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.engine.train.statistics import StatisticsWarmup, fresh_norms
from saccade.errors import ConfigError, DataError, WeightsError
from saccade.models.base import Targets
from saccade.recipes import default_recipe


def build(momentum: float = 0.1) -> SmallNet:
    seed_step(0, -1)
    model = SmallNet()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    return model


# ---- BatchNorm


def test_statistics_converge_within_a_short_run_whatever_the_momentum(tmp_path: Path) -> None:
    model = build(momentum=0.01)
    config = small_config(str(tmp_path), epochs=4, ema=EmaConfig(), augment=AugmentConfig())
    config.optimizer.lr = 1e-4  # the weights, and so the true statistics, hardly move
    fit(config, model=model, data=small_data(320))
    norm = model.stem[1]
    images = torch.from_numpy(small_data(320).train.images)[:, None].float()  # type: ignore[attr-defined]
    with torch.no_grad():
        maps = model.stem[0]((images - 80) / 96)
    assert norm.momentum == 0.01  # the network is given back as it was
    # Of the initial 0 and 1, 67 % would be left after 40 steps.
    relative = (norm.running_var / maps.var((0, 2, 3))).log().abs().max()
    assert relative < 0.1
    assert (norm.running_mean - maps.mean((0, 2, 3))).abs().max() < 0.1 * maps.std()


def test_statistics_that_are_there_already_move_as_ever(tmp_path: Path) -> None:
    trained = build(momentum=0.01)
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.5)
    assert fresh_norms(trained) == []
    fit(small_config(str(tmp_path), epochs=1, ema=EmaConfig()), model=trained, data=small_data(64))
    assert torch.allclose(trained.stem[1].running_mean, torch.tensor(0.5), atol=0.05)


def test_layers_of_ordinary_momentum_differ_in_their_first_steps_alone() -> None:
    norm = nn.Sequential(nn.BatchNorm1d(1, momentum=0.1), nn.BatchNorm1d(1, momentum=0.01))
    warmup = StatisticsWarmup(norm, ["0", "1"])
    momenta = []
    for step in range(400):
        warmup.set_step(step)
        momenta.append((norm[0].momentum, norm[1].momentum))
    assert momenta[0] == (1.0, 1.0)
    assert momenta[30][0] == 0.1
    assert momenta[30][1] == pytest.approx(3 / 33)
    assert momenta[399] == (0.1, 0.01)
    coarse = StatisticsWarmup(norm, ["1"], coarse=True)  # compiled code is compiled for each value
    assert len({(coarse.set_step(step), norm[1].momentum)[1] for step in range(2000)}) <= 6


def test_one_answer_for_all_images_is_said_once_with_its_likely_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Constant(SmallNet):
        def decode(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
            one = torch.zeros_like(outputs["logits"])
            one[:, 3] = 1
            return {"probabilities": one}

    seed_step(0, -1)
    fit(small_config(str(tmp_path), epochs=5), model=Constant(), data=small_data(320))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert "every prediction on val is '3', although the training loss fell from" in line
    assert "BatchNorm statistics that lag behind" in line


@pytest.mark.slow
@pytest.mark.data("intel_scenes")
def test_mobilenet_v3_learns_two_classes_from_scratch_in_80_steps(tmp_path: Path) -> None:
    """245 images; before, BatchNorm's momentum of 0.01 left 45 % of the initial statistics: one answer for all."""

    for split in ("train", "test"):
        images = open_dataset("intel_scenes", split)
        for index in range(len(images)):
            name = images.info.class_names[int(images.target(index)["labels"])]
            if name in ("forest", "street"):
                target = tmp_path / "two" / {"test": "val"}.get(split, split) / name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(images.path(index), target)
    config = default_recipe("mobilenet_v3_small", str(tmp_path / "two"))
    config = replace(config, out=str(tmp_path), epochs=10, data=replace(config.data, size=(96, 96), workers=0))
    run = fit(config)
    assert run.baseline is not None
    assert run.metrics["top1"] > run.baseline.values["top1"] + 0.15


# ---- batches of one image


def write_images(root: Path, counts: dict[str, int], size: tuple[int, int] = (32, 32)) -> None:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(root / name / f"{number}.png")


def train_verb(root: Path, *words: str) -> int:
    common = ["--data.size", "32", "32", "--epochs", "1", "--data.workers", "0", "--precision", "32", "--name", "one"]
    return main(["train", "--model", "resnet18", "--data", str(root), "--out", str(root / "runs"), *common, *words])


def test_a_last_batch_of_one_image_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "train", {"cat": 8, "dog": 9})
    write_images(tmp_path / "val", {"cat": 1, "dog": 1})
    assert train_verb(tmp_path, "--data.batch-size", "16") == 0, capsys.readouterr().err
    figures = capsys.readouterr().out
    report = tmp_path / "runs" / "one" / "report.html"
    report.unlink()  # as a run leaves it that is killed before it writes it
    assert train_verb(tmp_path, "--data.batch-size", "16", "--resume") == 0
    assert report.exists()
    assert capsys.readouterr().out == figures
    # The same run again with another rate: nothing is left that it could apply to.
    assert train_verb(tmp_path, "--data.batch-size", "16", "--resume", "--optimizer.lr", "0.0") == 2
    assert "optimizer.lr: 0.001 -> 0.0 would change nothing" in capsys.readouterr().err


def test_batches_of_one_on_maps_of_one_cell_say_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "train", {"cat": 2, "dog": 1})
    write_images(tmp_path / "val", {"cat": 1, "dog": 1})
    assert train_verb(tmp_path, "--data.batch-size", "1") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "a batch of 1 image of 32 x 32 leaves a norm layer one value a channel" in line
    assert "--data.batch-size of 2 or more" in line


def test_a_data_set_of_one_image_trains_or_says_why_not(tmp_path: Path) -> None:
    one = Datasets(Digits("train", 1))
    assert len(fit(small_config(str(tmp_path), epochs=1), model=build(), data=one).history) == 1

    class Pooled(SmallNet):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return super().forward(nn.functional.adaptive_avg_pool2d(images, 1))

    with pytest.raises(ConfigError, match="a batch of 1 image of 8 x 8 leaves a norm layer one value a channel"):
        fit(small_config(str(tmp_path / "pooled"), epochs=1), model=Pooled(), data=one)


def test_a_canvas_too_small_for_the_network_says_so() -> None:
    images = torch.zeros(2, 3, 4, 4)
    small = r"2 images of 4 x 4 is too small .* Take a larger --data.size"
    with pytest.raises(ConfigError, match=small), explain_small_batches(images):
        nn.MaxPool2d(8)(images)
    with pytest.raises(RuntimeError, match="must match"), explain_small_batches(images):
        _ = images + torch.zeros(5)


@pytest.mark.parametrize(("size", "crop"), [((1, 40), (1, 9)), ((40, 40), (1, 20)), ((1, 1), (1, 1))])
def test_images_of_one_row_of_pixels_train(
    size: tuple[int, int], crop: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "train", {"cat": 2, "dog": 2}, size)
    write_images(tmp_path / "val", {"cat": 1, "dog": 1}, size)
    words = ("--data.batch-size", "2", "--augment.crop", *map(str, crop))
    assert train_verb(tmp_path, *words) == 0, capsys.readouterr().err


# ---- classes


def named(data: Digits, names: str) -> Digits:
    data.info = replace(data.info, class_names=tuple(names))
    return data


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("012345678", "9 is missing in data.val"),
        ("012345678x", "9 is missing in data.val; x is missing in training"),
        ("1023456789", r"the same names in another order \(class 0 is 0 in training, 1 in data.val\)"),
    ],
)
def test_validation_classes_that_differ_are_told_before_the_first_step(
    names: str, message: str, tmp_path: Path
) -> None:
    steps = []

    class Watched(SmallNet):
        def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
            steps.append(1)
            return super().loss(images, targets)

    data = Datasets(Digits("train", 64), named(Digits("val", 20), names))
    with pytest.raises(ConfigError, match=message):
        fit(small_config(str(tmp_path)), model=Watched(), data=data)
    with pytest.raises(ConfigError, match=message.replace("val", "test")):
        fit(small_config(str(tmp_path)), model=Watched(), data=Datasets(data.train, None, data.val))
    assert steps == []
    assert not (tmp_path / "small").exists()


def test_a_network_with_a_wrong_number_of_names_is_refused_at_once(tmp_path: Path) -> None:
    model = build()
    model.class_names = ("cat", "dog")
    with pytest.raises(WeightsError, match=r"has 10 classes and 2 class names \(cat, dog\)"):
        fit(small_config(str(tmp_path)), model=model, data=small_data())
    model.class_names = tuple("abcdefghij")
    with pytest.raises(ConfigError, match="has other classes than the data: 0, 1, 2, "):
        fit(small_config(str(tmp_path)), model=model, data=small_data())
    model = SmallNet(3)
    model.class_names = ()
    with pytest.raises(ConfigError, match="the network has 3 classes, the data 10"):
        fit(small_config(str(tmp_path)), model=model, data=small_data())
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_names_takes_those_of_the_data(tmp_path: Path) -> None:
    model = build()
    model.class_names = ()
    fit(small_config(str(tmp_path), epochs=1), model=model, data=small_data(64))
    assert model.class_names == tuple("0123456789")


def test_sets_handed_in_without_objects_or_with_one_class_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "train", {"cat": 3, "dog": 3})
    write_images(tmp_path / "set" / "val", {"cat": 1, "dog": 1})
    config = TrainConfig(name="none", model="lenet5", out=str(tmp_path / "runs"))
    data = open_dataset(tmp_path / "set", "train", task="classification")
    cats = subset(data, [index for index in range(len(data)) if int(data.target(index)["labels"]) == 0])
    for train in (cats, subset(data, [])):
        with pytest.raises((DataError, ConfigError)):
            fit(config, data=Datasets(train))
    assert not (tmp_path / "runs" / "none").exists()
