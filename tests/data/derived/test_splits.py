"""What is held out for validation, and the folds of cross-validation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import saccade
from saccade.api._open import open_data
from saccade.data import notices
from saccade.data.derived.splits import divide, hold_out
from saccade.data.open import evaluation_split, holds_out, open_dataset, open_raw, resolve_source, split_names
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.configfile import config_to_yaml
from saccade.engine.train.setup import open_datasets
from saccade.errors import ConfigError, DataError
from saccade.models.checkpoint import save_model
from saccade.structures.dataset import DatasetInfo, VisionDataset


@pytest.fixture(autouse=True)
def forget_notices() -> None:
    notices.say_once.cache_clear()


def table(names: dict[str, str | None] | list[str], task: str = "detection", root: str = "set") -> TableDataset:
    """A data set of files that are not there, with the class of each (None: no object)."""
    classes = dict.fromkeys(names, "cat") if isinstance(names, list) else names
    listed = sorted({name for name in classes.values() if name is not None})
    builder = TableBuilder(listed, boxes=task == "detection")
    for path, name in classes.items():
        builder.add_image(path)
        if name is not None:
            builder.add_object(name, *([(1, 1, 9, 9)] if task == "detection" else []))
    return TableDataset(DatasetInfo("set", task, tuple(listed)), Path(root), builder.build())


def picture(seed: int, side: int = 96) -> np.ndarray[Any, Any]:
    """A smooth image that is like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def names(data: VisionDataset) -> list[str]:
    return [Path(data.path(index)).name for index in range(len(data))]


def held(data: VisionDataset) -> list[str]:
    return [Path(data.path(index)).name for index in np.flatnonzero(hold_out(data)).tolist()]


@pytest.mark.parametrize("count", [2, 3, 4, 8, 10, 23, 100])
def test_one_of_five_is_held_out_and_never_none(count: int) -> None:
    data = table([f"{number}.jpg" for number in range(count)])
    assert hold_out(data).sum() == max(1, round(count / 5))


def test_nothing_but_names_decides() -> None:
    files = [f"{number}.jpg" for number in range(40)]
    expected = sorted(held(table(files)))
    assert sorted(held(table(files[::-1]))) == expected
    assert sorted(held(table(files, root="/another/machine"))) == expected
    assert expected != sorted(held(table([f"x{name}" for name in files])))


def test_each_class_gives_its_share_and_a_single_image_stays() -> None:
    counts = {"ant": 50, "bee": 10, "cow": 2, "dog": 1}
    classes = {
        f"{name}/{name[0]}{chr(97 + number)}.jpg": name for name, count in counts.items() for number in range(count)
    }
    out = [name[0] for name in held(table(classes, "classification"))]
    assert {letter: out.count(letter) for letter in "abcd"} == {"a": 10, "b": 2, "c": 1, "d": 0}


def test_images_with_objects_are_among_those_held_out() -> None:
    files = {f"{number}.jpg": "cat" if number < 3 else None for number in range(40)}
    out = held(table(files))
    assert 1 <= sum(int(Path(name).stem) < 3 for name in out) <= 2
    with pytest.raises(DataError, match="there is only one image with objects, so that none can be held out"):
        hold_out(table({"a.jpg": "cat", "b.jpg": None}))


@pytest.mark.parametrize(
    ("files", "task"),
    [(["a.jpg"], "detection"), ({"a/1.jpg": "a", "b/1.jpg": "b"}, "classification")],
)
def test_where_nothing_can_be_held_out_the_message_says_what_to_do(files: Any, task: str) -> None:
    with pytest.raises(DataError, match=r"none can be held out .* Add images, name another .* \(--data.val None\)"):
        hold_out(table(files, task))


@pytest.mark.parametrize("pattern", ["{video}_{frame:04d}.jpg", "{video}/{frame}.jpg", "{video}-frame{frame}.png"])
def test_frames_of_a_video_stay_together(pattern: str) -> None:
    videos = {f"clip{letter}": 12 for letter in "abcdefghij"}
    files = [pattern.format(video=video, frame=frame) for video, count in videos.items() for frame in range(count)]
    data = table(files)
    chosen = hold_out(data)
    for video in videos:
        rows = [index for index, name in enumerate(files) if name.startswith(video)]
        assert chosen[rows].all() or not chosen[rows].any()
    assert chosen.sum() == 24
    folds = divide(data, 5)
    for video in videos:
        assert len({int(folds[index]) for index, name in enumerate(files) if name.startswith(video)}) == 1


@pytest.mark.parametrize("pattern", ["IMG_{:04d}.jpg", "{:06d}.jpg", "2007_{:06d}.jpg"])
def test_names_of_one_series_tell_nothing(pattern: str) -> None:
    assert hold_out(table([pattern.format(number) for number in range(50)])).sum() == 10


def test_years_are_no_series() -> None:
    files = [f"{year}_{number:06d}.jpg" for year in range(2007, 2013) for number in range(10)]
    years = {name[:4] for name in held(table(files))}
    assert len(years) > 2


def test_copies_by_name_stay_together() -> None:
    files = [f"{name}_jpg.rf.{code * 16}.jpg" for name in map(str, range(20)) for code in ("0a", "1b", "2c")]
    files += ["tree.jpg", "tree (2).jpg", "tree copy.jpg"]
    out = held(table(files))
    assert len(out) in range(9, 16)
    for name in {name.split("_jpg")[0].split(" ")[0].split(".")[0] for name in out}:
        assert sum(file.split("_jpg")[0].split(" ")[0].split(".")[0] == name for file in out) == 3


def test_near_copies_stay_together(tmp_path: Path) -> None:
    for number in range(12):
        pixels = picture(number)
        save(tmp_path / f"{'abcdefghijkl'[number]}one.png", pixels)
        save(tmp_path / f"{'lkjihgfedcba'[number]}two.jpg", cv2.resize(pixels, (160, 160)))
    data = table(sorted(path.name for path in tmp_path.iterdir()), root=str(tmp_path))
    out = {"abcdefghijkl".index(name[0]) if "one" in name else "lkjihgfedcba".index(name[0]) for name in held(data)}
    assert len(held(data)) == 2 * len(out)
    pairs = divide(data, 3)
    by_picture: dict[int, set[int]] = {}
    for index in range(len(data)):
        name = Path(data.path(index)).name
        number = ("abcdefghijkl" if "one" in name else "lkjihgfedcba").index(name[0])
        by_picture.setdefault(number, set()).add(int(pairs[index]))
    assert all(len(folds) == 1 for folds in by_picture.values())


def test_a_set_of_copies_is_divided_all_the_same_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.png", picture(0))
    assert len(held(table([f"{number}.png" for number in range(10)], root=str(tmp_path)))) == 2
    assert "its score says little" in caplog.text


def test_a_set_too_large_to_compare_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("saccade.data.derived.splits.MOST_COMPARED", 30)
    assert hold_out(table([f"{number}.jpg" for number in range(40)])).sum() == 8
    assert "more than 30 images are not compared with each other" in caplog.text


def test_folds_are_a_partition_alike_in_size_and_classes() -> None:
    classes = {f"{name}/{chr(97 + number)}.jpg": name for name in ("ant", "bee") for number in range(13)}
    data = table(classes, "classification")
    folds = divide(data, 4)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    for name in ("ant", "bee"):
        counts = np.bincount([int(folds[index]) for index, own in enumerate(classes.values()) if own == name])
        assert counts.max() - counts.min() <= 1
    with pytest.raises(DataError, match=r"30 folds of 26 images .* Ask for 2 to 26"):
        divide(data, 30)


def write_classes(root: Path, *splits: str, count: int = 10) -> Path:
    for split in splits or ("",):
        for name, first in (("cat", 0), ("dog", 100)):
            for number in range(count):
                save(root / split / name / f"{number}.png", picture(first + number, 32) + (split == "test"))
    return root


def test_a_source_without_splits_is_divided_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_classes(tmp_path / "pets")
    train, val = open_dataset(root, "train"), open_dataset(root, "val")
    assert (len(train), len(val)) == (16, 4)
    assert (train.info.split, val.info.split) == ("train", "val")
    assert not {train.path(index) for index in range(16)} & {val.path(index) for index in range(4)}
    assert len(open_dataset(root, "train+val")) == len(open_dataset(root, "all")) == 20
    assert len(caplog.messages) == 1
    for word in ("4 of the 20 images of 'all' are held out", "seed 0", "--data.val test", "data.folds"):
        assert word in caplog.text
    shutil.move(root, tmp_path / "elsewhere")
    assert names(open_dataset(tmp_path / "elsewhere", "val")) == names(val)


def test_train_of_a_source_without_val_gives_a_part_only_where_it_is_asked_for(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pets", "train", "test")
    assert set(split_names(resolve_source(root))) == {"train", "test"}
    assert len(open_dataset(root, "train")) == 20
    with pytest.raises(DataError, match=r"no split 'val'; it has: .*\. Name another.*hold_out=True"):
        open_dataset(root, "val")
    train, val = (open_dataset(root, split, hold_out=True) for split in ("train", "val"))
    assert (len(train), len(val), len(open_dataset(root, "test"))) == (16, 4, 20)
    assert not {train.path(index) for index in range(16)} & {val.path(index) for index in range(4)}
    assert holds_out(root, ["train", "val", None])
    assert not holds_out(root, ["train", "test"])
    assert evaluation_split(root) == "test"


def test_folds_join_what_trains_and_validates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_classes(tmp_path, "train", "val", "test", count=3)
    seen: list[str] = []
    for fold in range(3):
        train, val = (open_raw(root, split, folds=(3, fold)) for split in ("train", "val"))
        assert (len(train), len(val)) == (8, 4)
        own = [val.path(index) for index in range(4)]
        assert not set(own) & {train.path(index) for index in range(8)}
        seen += own
    assert len(set(seen)) == 12
    assert len(open_raw(root, "test", folds=(3, 0))) == 6
    assert "fold 0 of 3" in caplog.text
    for folds in ((1, 0), (3, 3), (3, -1)):
        with pytest.raises(ConfigError, match="Ask for 2 folds or more"):
            open_raw(root, "train", folds=folds)


def test_training_and_evaluation_hold_out_the_same_images(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pets", "train", count=5)
    config = TrainConfig(model="lenet5", data=DataConfig(source=str(root)))
    trained = open_datasets(config)
    assert trained.val is not None
    held_out = names(trained.val)
    assert (len(trained.train), len(held_out)) == (8, 2)
    # What a run leaves behind.
    model = saccade.create_model("lenet5", num_classes=2)
    save_model(model, tmp_path / "run" / "best.safetensors")
    (tmp_path / "run" / "config.yaml").write_text(config_to_yaml(config))
    for data, split in ((None, None), (root, None), (root, "val")):
        assert names(open_data(tmp_path / "run" / "best.safetensors", data, split, None, "classification")) == held_out
    assert len(open_data(model, root, "train", None, "classification")) == 10
    write_classes(root, "test", count=1)
    assert len(open_data(model, root, None, None, "classification")) == 2  # test goes first


def test_folds_of_a_configuration(tmp_path: Path) -> None:
    root = write_classes(tmp_path, "train", "val", count=4)
    data = DataConfig(source=str(root), folds=4, fold=2)
    opened = open_datasets(TrainConfig(model="lenet5", data=data))
    assert opened.val is not None
    assert names(opened.val) == names(open_dataset(root, "val", folds=(4, 2)))
    assert (len(opened.train), len(opened.val)) == (12, 4)


def test_a_run_without_val_trains_on_everything(tmp_path: Path) -> None:
    root = write_classes(tmp_path, "train", "test")
    for val, test, count in ((None, None, 20), ("test", None, 20), (None, "test", 20), ("val", "test", 16)):
        data = DataConfig(source=str(root), val=val, test=test)
        assert len(open_datasets(TrainConfig(model="lenet5", data=data)).train) == count


@pytest.mark.parametrize("to", ["folder", "csv"])
def test_convert_writes_the_division(tmp_path: Path, to: str) -> None:
    root = write_classes(tmp_path / "pets")
    saccade.convert(root, tmp_path / "out", to)
    assert split_names(resolve_source(tmp_path / "out")) == ("train", "val")
    for split, count in (("train", 16), ("val", 4)):
        assert len(open_dataset(tmp_path / "out", split)) == len(open_dataset(root, split)) == count
    saccade.convert(root, tmp_path / "whole", to, split="all")
    assert split_names(resolve_source(tmp_path / "whole")) == ("all",)
    assert open_dataset(tmp_path / "whole", "all").info.class_names == ("cat", "dog")


def test_a_repaired_class_folder_has_no_class_called_all(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pets")
    (root / "cat" / "99.png").write_bytes(b"no image")
    saccade.repair(root, tmp_path / "out")
    data = open_dataset(tmp_path / "out", "all")
    assert data.info.class_names == ("cat", "dog")
    assert len(data) == 20
    assert saccade.check(tmp_path / "out").ok


def test_yolo_names_no_images_twice(tmp_path: Path) -> None:
    import yaml

    rows = ["file,label,x1,y1,x2,y2"]
    for number in range(10):
        save(tmp_path / "in" / f"{number}.png", picture(number, 32))
        rows.append(f"{number}.png,cat,1,1,20,20")
    (tmp_path / "in" / "boxes.csv").write_text("\n".join(rows))
    saccade.convert(tmp_path / "in", tmp_path / "out", "yolo")
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert (content["train"], content["val"]) == ("images/train", "images/val")
    train, val = open_dataset(tmp_path / "out", "train"), open_dataset(tmp_path / "out", "val")
    assert (len(train), len(val)) == (8, 2)
    assert not set(names(train)) & set(names(val))
