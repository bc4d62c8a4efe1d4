"""``saccade.train(train=..., val=...)``: data sets in memory in place of a source, and what is said of wrong ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import saccade
from saccade.data import DatasetInfo, MemoryDataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.notices import say_once
from saccade.engine.train.config import DataConfig, TileConfig, TrainConfig
from saccade.engine.train.fit import RunResult
from saccade.engine.train.given import GivenDatasets
from saccade.errors import ConfigError, DataError, SaccadeError
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

SMALL: dict[str, Any] = {"model": "lenet5", "epochs": 1, "loggers": (), "data.workers": 0, "data.batch_size": 8}


def shades(count: int, split: str = "train", names: tuple[str, ...] = ("dark", "light")) -> MemoryDataset:
    """Dark and light noise in turn."""
    rng = np.random.default_rng(count)
    images = [rng.integers(0, 60, (32, 32, 3)).astype(np.uint8) + 150 * (number % 2) for number in range(count)]
    labels = [number % 2 for number in range(count)]
    return MemoryDataset(DatasetInfo("shades", "classification", names, split), images, labels)


class Shades:
    """The same by the protocol alone, as somebody else would write it."""

    def __init__(self, count: int, **wrong: Any) -> None:
        self.info = DatasetInfo("own shades", "classification", ("dark", "light"))
        self.inner, self.wrong = shades(count), wrong

    def __len__(self) -> int:
        return len(self.inner)

    def path(self, index: int) -> str:
        return f"shade-{index}"

    def target(self, index: int) -> Target:
        return {"labels": np.array(index % 2), **self.wrong.get("target", {})}

    def read(self, index: int) -> Sample:
        image = self.wrong.get("image", self.inner.read(index).image)
        if image is None:
            raise KeyError("no such shade")
        return Sample(image, self.target(index), ImageInfo(index, self.path(index), Geometry.identity((32, 32))))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    say_once.cache_clear()


def train(**given: Any) -> RunResult:
    return saccade.train(**{**SMALL, **given})


def test_a_run_on_data_sets_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    run = train(train=shades(24), val=shades(6, "val"), test=shades(8, "test"))
    assert run.folder == Path("runs/lenet5_shades")
    assert saccade.load(run.model_path).class_names == ("dark", "light")
    assert "val/top1" in run.history[-1]
    assert run.report is not None
    data = yaml.safe_load((run.folder / "config.yaml").read_text())["data"]
    assert (data["source"], data["val"], data["test"]) == ("data sets in memory", "val", "test")
    assert not [message for message in caplog.messages if "held out" in message]
    report = saccade.evaluate(run.folder, shades(8, "test"), workers=0)
    assert report.values["top1"] == run.metrics["top1"]


def test_what_follows_the_protocol_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert len(train(train=Shades(16), val=Shades(4), **{"data.workers": 2}).history) == 1


def test_without_val_images_are_held_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = train(train=shades(20))
    assert "val/top1" in run.history[-1]
    assert [one for one in caplog.messages if "4 of its 20 images are held out, as of a source without a val" in one]
    given = GivenDatasets(shades(20))
    data = given(TrainConfig(model="lenet5"))
    assert data.val is not None
    names = [sorted(part.path(index) for index in range(len(part))) for part in (data.train, data.val)]
    assert sorted(names[0] + names[1]) == sorted(shades(20).path(index) for index in range(20))
    again = given(TrainConfig(model="lenet5", epochs=3))
    assert again.val is not None
    assert sorted(again.val.path(index) for index in range(len(again.val))) == names[1]
    assert [int(data.val.target(index)["labels"]) for index in range(len(data.val))].count(0) == 2  # classes alike


def test_without_val_on_purpose_and_in_folds() -> None:
    run = train(train=shades(12), **{"data.val": None})
    assert "val/top1" not in run.history[-1]
    folds = [GivenDatasets(shades(20))(TrainConfig(model="lenet5", data=DataConfig(folds=4, fold=n))) for n in range(4)]
    validated = sorted(data.val.path(index) for data in folds if data.val for index in range(len(data.val)))
    assert validated == sorted(shades(20).path(index) for index in range(20))


def test_copies_of_an_image_stay_together() -> None:
    images = [np.random.default_rng(number // 2).integers(0, 256, (64, 64, 3)).astype(np.uint8) for number in range(20)]
    data = MemoryDataset(DatasetInfo("twins", "classification", ("a", "b")), images, [(n // 2) % 2 for n in range(20)])
    divided = GivenDatasets(data)(TrainConfig(model="lenet5"))
    assert divided.val is not None
    held = {int(divided.val.path(index).rpartition("/")[2]) for index in range(len(divided.val))}
    assert held
    assert all(number ^ 1 in held for number in held)


def test_settings_of_data_apply() -> None:
    config = TrainConfig(model="yolox_nano", data=DataConfig(tile=TileConfig(size=(128, 128), overlap=0.0)))
    scenes = (DigitScenes("detection", split, count=2) for split in ("train", "val"))
    data = GivenDatasets(*scenes)(config)
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (8, 8)


def test_a_resumed_run_needs_the_data_sets_again(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"train": shades(16), "val": shades(4, "val")}
    whole = train(**given, epochs=2, name="whole")
    part = train(**given, epochs=1, name="part")
    config = part.folder / "config.yaml"
    with pytest.raises(
        ConfigError, match=r"trained on data sets in memory.*saccade\.train\(\.\.\., train=\.\.\., val="
    ):
        saccade.train(config, resume=True, epochs=2)
    with pytest.raises(ConfigError, match=r"trained on data sets in memory.*name a data set"):
        saccade.evaluate(part.folder)
    resumed = saccade.train(config, resume=True, epochs=2, **given)
    assert [row["epoch"] for row in resumed.history] == [1.0, 2.0]
    again = train(**given, epochs=2, name="again")
    first, second = (saccade.load(run.model_path).state_dict() for run in (whole, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with pytest.raises(ConfigError, match="classes: the run was trained on"):
        saccade.train(config, resume=True, epochs=3, train=shades(16, names=("dark", "bright")), val=None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"val": shades(4)}, "val without train: there is nothing to learn from"),
        ({"val": shades(4), "test": shades(4)}, "val and test without train"),
        ({"train": shades(4), "data": "digit_scenes"}, "data names a data set, train is one in memory"),
        ({"train": "photos"}, "train takes a data set in memory; the name or path 'photos' belongs into data"),
        ({"train": [1, 2]}, "train is a list and no data set: it has no info, read, target and path.*MemoryDataset"),
        ({"train": Shades}, "train is a type and no data set"),
        ({"train": shades(8), "val": [1]}, "val is a list and no data set"),
        (
            {"train": shades(8), "val": shades(4, "val", ("dark", "bright"))},
            "data.val .*other classes than training: light is missing in data.val; bright is missing in training",
        ),
        (
            {"train": shades(8), "val": shades(4, "val", ("light", "dark"))},
            "the same names in another order .class 0 is dark in training, light in data.val",
        ),
        ({"train": DigitScenes("detection", count=4)}, "train is a data set of detection, and lenet5 learns classif"),
        ({"train": shades(8), "val": DigitScenes("detection", count=4)}, "val is a data set of detection"),
        ({"train": shades(8), "data.folds": 3, "data.fold": 3}, "folds is 3, fold 3"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(**given)
    assert not list(Path().glob("runs/*/best.safetensors"))


def test_ground_truth_that_a_network_needs_is_named() -> None:
    boxes = DigitScenes("detection", count=4)
    with pytest.raises(ConfigError, match=r"learns from boxes, labels, masks, and the ground truth of .* has no masks"):
        saccade.train(model="maskrcnn_resnet50_fpn", train=boxes, val=None, **{"data.val": None})


def test_nothing_to_hold_out_and_nothing_to_learn_is_said() -> None:
    with pytest.raises(DataError, match="one image of each class, so that none can be held out"):
        train(train=shades(2))
    empty = MemoryDataset(DatasetInfo("none", "classification", ("a", "b")), [], [])
    with pytest.raises(SaccadeError, match="train has no images"):
        train(train=empty, val=shades(4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": {"labels": np.array(7)}}, "shade-0: labels: 7 is none of the 2 classes, 0 to 1"),
        ({"target": {"labels": np.array([1])}}, r"shade-0: labels are int64 \(1,\). Give one whole number"),
        ({"target": {"label": np.array(1)}}, "'label' is no known kind"),
        ({"target": {"labels": 1}}, "shade-0: labels is a int. Give a NumPy array"),
        ({"image": np.zeros((32, 32, 3))}, r"shade-\d+: the image is float64 \(32, 32, 3\).*uint8 of 0 to 255"),
        ({"image": np.zeros((32, 32), np.uint8)}, r"the image is uint8 \(32, 32\)"),
        ({"image": None}, r"shade-\d+: KeyError: 'no such shade' \(.*test_data_in_memory.py, line"),
    ],
)
def test_what_an_own_data_set_gives_is_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SaccadeError, match=message):
        train(train=Shades(8, **wrong), val=shades(4))


PETS = DatasetInfo("pets", "detection", ("cat", "dog"))
IMAGE = np.zeros((40, 60, 3), np.uint8)


@pytest.mark.parametrize(
    ("info", "target", "message"),
    [
        (PETS, {"boxes": [[10, 5, 30, 35]], "labels": [0, 1]}, "1 boxes, but 2 labels"),
        (PETS, {"boxes": [[30, 5, 10, 35]], "labels": [0]}, r"box 0, \[30.0, 5.0, 10.0, 35.0\], is inverted"),
        (PETS, {"boxes": [[10, 5, np.nan, 35]], "labels": [0]}, "is not finite"),
        (PETS, {"boxes": [[10, 5, 90, 35]], "labels": [0]}, "is outside of the image of 40 x 60 pixels"),
        (PETS, {"boxes": [[10, 5, 30, 35]], "labels": [0.5]}, "labels are float64"),
        (PETS, {"boxes": [[10, 5, 30]], "labels": [0]}, "boxes cannot be made an array"),
        (PETS, {"boxes": [[1, 5, 9, 9]], "labels": [0], "masks": np.ones((1, 8, 8))}, r"masks are \(1, 8, 8\)"),
        (replace(PETS, task="segmentation"), np.full((40, 60), 2), "label_map: 2 is none of the 2 classes"),
        (replace(PETS, task="segmentation"), np.zeros((4, 4), int), "one value a pixel"),
        (replace(PETS, task="segmentation"), np.full((40, 60), 300), "label_map is int64"),
        (replace(PETS, task="classification"), 2, "labels: 2 is none of the 2 classes"),
        (replace(PETS, task="keypoints"), {"labels": [0], "keypoints": np.ones((1, 3, 3))}, r"Give \(objects, 2, 3\)"),
        (replace(PETS, task="keypoints"), {"labels": [1], "keypoints": np.ones((1, 2, 3))}, "none of the 1 classes"),
    ],
)
def test_arrays_in_memory_are_checked_at_once(info: DatasetInfo, target: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"^pets/train/1: .*{message}"):
        MemoryDataset(info, [IMAGE, IMAGE], [_sound(info), target])


def _sound(info: DatasetInfo) -> Any:
    if info.task == "keypoints":
        return {"labels": [0], "keypoints": np.ones((1, 2, 3))}
    return {"detection": {"boxes": [], "labels": []}, "segmentation": np.zeros((40, 60), int)}.get(info.task, 0)


def test_arrays_in_memory_are_the_callers_own() -> None:
    data = MemoryDataset(PETS, [IMAGE], [{"boxes": [[10, 5, 30, 35]], "labels": [1]}], names=["mine.png"])
    sample = data.read(0)
    assert sample.info.path == "mine.png"
    assert sample.target["area"].tolist() == [600.0]
    assert sample.target["iscrowd"].tolist() == [False]
    sample.image[:], sample.target["boxes"][:] = 9, 0
    assert data.read(0).image.max() == 0
    assert data.target(0)["boxes"].tolist() == [[10, 5, 30, 35]]
    with pytest.raises(DataError, match="2 images, 1 targets and 2 names"):
        MemoryDataset(PETS, [IMAGE, IMAGE], [{"boxes": [], "labels": []}])
