"""Several data sets joined by the names of their classes: labels, maps, points, and what is warned of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import saccade
from saccade.cli import main
from saccade.data import DatasetInfo, MemoryDataset, VisionDataset
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.joined import join_by_class
from saccade.data.notices import say_once
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.setup import open_datasets
from saccade.errors import ConfigError
from saccade.structures.sample import Target


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    say_once.cache_clear()


def run(words: str) -> int:
    return main(words.split())


def boxes(name: str, classes: list[str], objects: list[str], split: str = "train") -> TableDataset:
    """One image with an object of each of these classes."""
    builder = TableBuilder(classes)
    builder.add_image(f"{name}.png")
    for number, kind in enumerate(objects):
        builder.add_object(kind, (10 * number, 5, 10 * number + 8, 35))
    return TableDataset(DatasetInfo(name, "detection", tuple(classes), split), Path(name), builder.build())


def named(dataset: VisionDataset, target: Target) -> list[str]:
    return [dataset.info.class_names[label] for label in target["labels"].tolist()]


def test_labels_of_tables_go_by_name() -> None:
    first, second = boxes("a", ["dog", "cat"], ["cat", "dog"]), boxes("b", ["bird", "cat", "dog"], ["dog", "bird"])
    joined = join_by_class([first, second])
    assert joined.info.class_names == ("dog", "cat", "bird")
    assert (joined.info.name, joined.info.split, len(joined)) == ("a+b", "train", 2)
    assert [named(joined, joined.target(index)) for index in (0, 1)] == [["cat", "dog"], ["dog", "bird"]]
    np.testing.assert_array_equal(joined.target(1)["boxes"], second.target(0)["boxes"])
    assert second.info.class_names == ("bird", "cat", "dog")  # what was joined is as it was
    assert second.target(0)["labels"].tolist() == [2, 0]
    assert len({int(number) for number in joined.image_ids}) == 2  # type: ignore[attr-defined]


def test_equal_classes_need_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    joined = join_by_class([boxes("a", ["dog"], ["dog"]), boxes("b", ["dog"], [])])
    assert joined.info.class_names == ("dog",)
    assert not caplog.messages
    alone = boxes("a", ["dog"], ["dog"])
    assert join_by_class([alone]) is alone


def test_classes_that_one_data_set_lacks_are_warned_of_by_name(caplog: pytest.LogCaptureFixture) -> None:
    parts = [boxes("a", ["dog", "cat"], []), boxes("b", ["dog"], []), boxes("c", ["dog", "cat", "cow"], [])]
    with caplog.at_level(logging.WARNING):
        join_by_class(parts)
        join_by_class(parts)
    learnt = " What their images show of it is learnt as background: label it"
    lacking = [message.partition(learnt)[0] for message in caplog.messages]
    assert sorted(lacking) == [
        "data.sources: a and b do not name the class 'cow'.",
        "data.sources: b does not name the class 'cat'.",
    ]


def test_names_that_are_almost_the_same_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        joined = join_by_class([boxes("a", ["Traffic light"], []), boxes("b", ["traffic_light"], [])])
    assert joined.info.class_names == ("Traffic light", "traffic_light")
    assert any("'Traffic light' and 'traffic_light' are taken for different classes" in one for one in caplog.messages)


def test_classes_of_images_are_no_question(caplog: pytest.LogCaptureFixture) -> None:
    def images(name: str, classes: tuple[str, ...]) -> MemoryDataset:
        pixels = [np.full((8, 8, 3), 50, np.uint8)] * len(classes)
        return MemoryDataset(DatasetInfo(name, "classification", classes), pixels, list(range(len(classes))))

    joined = join_by_class([images("a", ("cat", "dog")), images("b", ("ant", "cat"))])
    assert [joined.info.class_names[int(joined.read(index).target["labels"])] for index in range(4)] == [
        *("cat", "dog", "ant", "cat")
    ]
    assert not caplog.messages


def test_label_maps_go_by_name() -> None:
    def maps(name: str, classes: tuple[str, ...], values: list[list[int]]) -> MemoryDataset:
        image = np.zeros((2, 2, 3), np.uint8)
        return MemoryDataset(DatasetInfo(name, "segmentation", classes), [image], [np.array(values)])

    first = maps("a", ("background", "road"), [[0, 1], [1, 255]])
    second = maps("b", ("background", "sky", "road"), [[0, 1], [2, 255]])
    joined = join_by_class([first, second])
    assert joined.info.class_names == ("background", "road", "sky")
    assert joined.target(0)["label_map"].tolist() == [[0, 1], [1, 255]]
    assert joined.read(1).target["label_map"].tolist() == [[0, 2], [1, 255]]
    many = maps("many", tuple(f"class {number}" for number in range(254)), [[0, 1], [2, 255]])
    with pytest.raises(ConfigError, match="256 classes; label maps hold 255 at most"):
        join_by_class([first, many])


def test_points_go_by_name_and_the_others_are_unlabelled() -> None:
    def faces(name: str, points: tuple[str, ...], pairs: Any, limbs: Any) -> MemoryDataset:
        info = DatasetInfo(name, "keypoints", points, flip_pairs=pairs, skeleton=limbs)
        values = [[[10.0 * number + 1, 5, 2] for number in range(len(points))]]
        return MemoryDataset(info, [np.zeros((64, 64, 3), np.uint8)], [{"labels": [0], "keypoints": values}])

    first = faces("a", ("left", "right"), ((0, 1),), ((0, 1),))
    second = faces("b", ("nose", "right", "left"), ((2, 1),), ((0, 1), (0, 2)))
    joined = join_by_class([first, second])
    assert joined.info.class_names == ("left", "right", "nose")
    assert joined.info.flip_pairs == ((0, 1),)
    assert joined.info.skeleton == ((0, 1), (2, 1), (2, 0))
    assert joined.target(0)["keypoints"].tolist() == [[[1, 5, 2], [11, 5, 2], [0, 0, 0]]]
    assert joined.target(1)["keypoints"].tolist() == [[[21, 5, 2], [11, 5, 2], [1, 5, 2]]]


def test_tasks_that_differ_are_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is read for detection, 'digit_scenes' for classification"):
        join_by_class([boxes("a", ["dog"], []), DigitScenes("classification")])


def shades(folder: str, classes: dict[str, int], count: int = 5) -> None:
    """A folder of images a class."""
    rng = np.random.default_rng(0)
    for name, grey in classes.items():
        Path(folder, name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(grey - 30, grey + 30, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(folder, name, f"{name}{number}.png"))


def test_sources_of_a_run_from_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    shades("first", {"dark": 40, "light": 200})
    shades("second", {"black": 40, "dark": 60})
    words = "--model lenet5 --data.sources first second --epochs 1 --data.workers 0 --loggers"
    assert main(["train", *words.split()]) == 0
    folder = Path("runs/lenet5_first_second")
    data = yaml.safe_load((folder / "config.yaml").read_text())["data"]
    assert (data["source"], data["sources"]) == ("", ["first", "second"])
    assert saccade.load(folder).class_names == ("dark", "light", "black")
    assert saccade.evaluate(folder, workers=0).primary == "top1"  # the held-out images of both
    opened = open_datasets(saccade.recipe(model="lenet5", data=["first", "second"]))
    assert opened.val is not None
    assert (len(opened.train), len(opened.val)) == (16, 4)
    Path("again.yaml").write_text("model: lenet5\ndata: {sources: [first, second]}\n")
    assert run("train --config again.yaml --dry-run") == 0
    assert "sources:\n  - first\n  - second" in capsys.readouterr().out
    assert run("train --config again.yaml --data first --dry-run") == 0
    assert "sources: []" in capsys.readouterr().out
    assert run("train --config again.yaml --data.source first --epochs 1") == 2
    assert "data.source is 'first' and data.sources first, second. Put all into" in capsys.readouterr().err
    assert run("train --model lenet5 --data.sources first secnd --epochs 1") == 3
    assert "'secnd' is neither a folder nor a data set" in capsys.readouterr().err


@pytest.mark.data("bccd")
def test_real_data_sets_are_joined(data_root: Path) -> None:
    sources = (str(data_root / "bccd"), "digit_scenes")
    config = TrainConfig(model="yolox_nano", data=DataConfig(sources=sources, bad_labels="drop"))
    joined = open_datasets(config).train
    alone = [DataConfig(source=source, bad_labels="drop") for source in sources]
    parts = [open_datasets(TrainConfig(model="yolox_nano", data=data)) for data in alone]
    assert len(joined) == sum(len(part.train) for part in parts)
    assert joined.info.class_names == (*parts[0].train.info.class_names, *parts[1].train.info.class_names)
    for index, (part, inner) in ((0, (parts[0].train, 0)), (len(parts[0].train), (parts[1].train, 0))):
        expected = part.target(inner)
        assert named(joined, joined.target(index)) == named(part, expected)
        np.testing.assert_array_equal(joined.target(index)["boxes"], expected["boxes"])
