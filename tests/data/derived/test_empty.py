"""Training images without ground truth: which they are, how many are kept, what a run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.derived.empty import drop_empty
from saccade.data.derived.in_memory import MemoryDataset
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.setup import Datasets, open_datasets, prepare_datasets
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.kinds import IGNORE_LABEL

BOX = [[4.0, 4, 20, 20]]


def data_of(task: str, targets: list[Any], classes: tuple[str, ...] = ("a", "b", "c")) -> MemoryDataset:
    return MemoryDataset(DatasetInfo("few", task, classes), [np.zeros((32, 32, 3), np.uint8)] * len(targets), targets)


def points(visible: int) -> dict[str, Any]:
    return {"boxes": BOX, "labels": [0], "keypoints": [[[5.0, 5, visible], [9, 9, 0], [9, 5, 0]]]}


@pytest.mark.parametrize(
    ("task", "targets", "left"),
    [
        ("detection", [{"boxes": BOX, "labels": [0]}, {"boxes": [], "labels": []}], [0]),
        ("keypoints", [points(0), points(1)], [1]),
        ("segmentation", [np.full((32, 32), value, np.uint8) for value in (IGNORE_LABEL, 0, 1)], [1, 2]),
        ("classification", [0, 1], [0, 1]),
    ],
)
def test_what_is_empty_depends_on_the_task(task: str, targets: list[Any], left: list[int]) -> None:
    data = data_of(task, targets)
    assert [drop_empty(data, 0.0).path(number) for number in range(len(left))] == [data.path(one) for one in left]
    assert len(drop_empty(data, 0.0)) == len(left)
    assert drop_empty(data, 1.0) is data


def test_background_is_no_ground_truth() -> None:
    maps = [np.full((32, 32), value, np.uint8) for value in (0, 1)]
    data = data_of("segmentation", maps, ("background", "cell"))
    assert len(drop_empty(data, 0.0)) == 1


def test_a_share_is_drawn_by_the_seed() -> None:
    none = {"boxes": [], "labels": []}
    data = data_of("detection", [{"boxes": BOX, "labels": [0]}, *[none] * 99])
    chosen = [drop_empty(data, 0.3, seed) for seed in (0, 0, 1)]
    paths = [[one.path(index) for index in range(len(one))] for one in chosen]
    assert 15 < len(paths[0]) < 45
    assert paths[0] == paths[1] != paths[2]
    assert all(one[0] == data.path(0) for one in paths)


def test_nothing_left_and_no_share_say_so() -> None:
    data = data_of("detection", [{"boxes": [], "labels": []}])
    with pytest.raises(DataError, match=r"no image of split .train. holds any ground truth\. Raise data\.keep_empty"):
        drop_empty(data, 0.0)
    with pytest.raises(ConfigError, match=r"data\.keep_empty is a share, 0 to 1; got 2"):
        drop_empty(data, 2.0)


def test_only_training_leaves_them_out(capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of("detection", [{"boxes": BOX, "labels": [0]}, {"boxes": [], "labels": []}])
    config = TrainConfig(model="yolox_nano", data=DataConfig(keep_empty=0.0))
    made = prepare_datasets(config, Datasets(data, data, data))
    assert made.val is not None
    assert made.test is not None
    assert (len(made.train), len(made.val), len(made.test)) == (1, 2, 2)


@pytest.mark.data("tiny_coco")
def test_photographs_without_labelled_people(data_root: Path) -> None:
    data = DataConfig(source=str(data_root / "tiny_coco"), train="val", val=None, test="val", keep_empty=0.0)
    made = open_datasets(TrainConfig(model="lightweight_openpose", data=data))
    assert made.test is not None
    assert (len(made.train), len(made.test)) == (17, 50)
