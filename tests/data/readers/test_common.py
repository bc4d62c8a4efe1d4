"""Names of splits, layouts and options, which the readers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saccade.data.open import open_dataset
from saccade.data.readers import READERS, instance_masks, masks, option_types, voc
from saccade.data.readers._common import (
    SPLIT_NAMES,
    find_layout,
    is_split_name,
    layout_splits,
    resolve_split,
    split_order,
    standard_split,
    subfolders,
)
from saccade.errors import DataError


@pytest.mark.parametrize(
    ("split", "names", "found"),
    [
        ("train", ["training", "test"], "training"),
        ("train", ["train2017", "val2017"], "train2017"),
        ("val", ["Train", "Validation"], "Validation"),
        ("test", ["TRAIN", "TEST"], "TEST"),
        ("validation", ["valid"], "valid"),
        ("minival", ["minival", "val"], "minival"),
    ],
)
def test_splits_are_found_by_their_synonyms(split: str, names: list[str], found: str) -> None:
    assert resolve_split(split, names, Path("set")) == found


@pytest.mark.parametrize(
    ("split", "names"), [("train", ["training", "Train"]), ("train", ["train2014", "train2017"]), ("eval", ["val"])]
)
def test_splits_that_are_not_clear_are_refused(split: str, names: list[str]) -> None:
    with pytest.raises(DataError, match=f"set: there is no split '{split}'; it has: {', '.join(names)}"):
        resolve_split(split, names, Path("set"))


def test_one_list_of_split_names() -> None:
    assert all(is_split_name(name) and is_split_name(name.upper()) for name in SPLIT_NAMES)
    assert {standard_split(name) for name in SPLIT_NAMES} == {"train", "val", "test"}
    assert standard_split("minival") == "minival"
    assert not is_split_name("")
    assert sorted(SPLIT_NAMES, key=split_order)[:2] == ["train", "training"]


def test_layouts_need_both_folders(tmp_path: Path, write_image: Any) -> None:
    layout = ("{split}/A", "{split}/B")
    for folder in ("val/A", "val/B", "train/A", "train/B", "extra/A", "extra/B", "test/A"):
        write_image(tmp_path / folder / "1.png", (4, 4))
    assert layout_splits(tmp_path, layout) == ["train", "extra", "val"]
    assert layout_splits(tmp_path, layout, known_only=True) == ["train", "val"]
    assert layout_splits(tmp_path / "val", ("A", "B"), known_only=True) == [""]
    assert find_layout(tmp_path, [("A", "B"), layout]) == layout
    assert find_layout(tmp_path / "missing", [("A", "B"), layout]) is None
    assert subfolders(tmp_path / "missing") == []


def test_options_are_known_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"format 'masks' has no option 'lable_dir'\. Did you mean 'label_dir'"):
        masks.read(tmp_path, "all", lable_dir="masks")
    with pytest.raises(DataError, match=r"format 'instance_masks' has no option 'palette'"):
        instance_masks.read(tmp_path, "all", palette={})
    with pytest.raises(DataError, match=r"format 'masks' has no option 'imagedir'\. Did you mean 'image_dir'"):
        open_dataset(tmp_path, "all", "masks", imagedir="images")
    with pytest.raises(DataError, match=r"option 'image_dir': expected str \| null, got int"):
        open_dataset(tmp_path, "all", "masks", image_dir=3)


def test_every_reader_has_options_of_its_own() -> None:
    assert set(option_types("masks")) == set(masks.LabelMapOptions.__dataclass_fields__)
    assert {"masks", "image_dir"} <= set(option_types("instance_masks"))
    for name in READERS:
        assert not {"root", "split", "task", "return", "options"} & set(option_types(name))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_voc_knows_all_names_of_split_folders(split: str, tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / split / "a.png")
    (tmp_path / split / "a.xml").write_text("<annotation></annotation>")
    assert voc.matches(tmp_path)
    assert voc.splits(tmp_path) == (split,)
    assert len(voc.read(tmp_path, split)) == 1
