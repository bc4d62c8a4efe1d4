"""Opening data sets by name and path, and what is done about faulty labels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saccade.data
from saccade.data.open import open_dataset, open_raw
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.affine import mirror
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import VisionDataset

# Images are 60 wide, 40 high; VOC counts from 1.
FAULTY: dict[str, list[tuple[Any, ...]]] = {
    "a": [("cat", 1, 1, 60, 40), ("cat", 9, 9, 9, 9)],
    "b": [("dog", 30, 30, 11, 21), ("dog", 5, 5, 90, 20), ("cat", 100, 5, 120, 20)],
    "c": [],
    "d": [("dog", 3, 4, 10, 12), ("dog", 1, 1, 61, 41), ("dog", "nan", 4, 10, 12)],
}


def boxes(data: VisionDataset) -> list[list[list[float]]]:
    return [data.target(index)["boxes"].tolist() for index in range(len(data))]


def repairs(data: VisionDataset) -> dict[str, int]:
    found = getattr(data, "repairs", None)
    assert isinstance(found, dict)
    return found


def test_error_lists_file_field_and_remedy(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path / "set", FAULTY, {"train": list("abcd")})
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path / "set")
    message = str(caught.value)
    assert "set (train): 5 faulty labels" in message
    assert f"{tmp_path / 'set' / 'Annotations' / 'a.xml'}: object 1 (cat): box 9, 9, 9, 9: zero area" in message
    assert "b.xml: object 0 (dog): box 30, 30, 10, 20: inverted" in message
    assert "b.xml: object 1 (dog): box 4, 4, 90, 20: outside of the 60x40 image" in message
    assert "bad_labels to 'drop'" in message


def test_drop_leaves_faulty_boxes_out_and_counts_them(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, FAULTY)
    data = open_dataset(tmp_path, "all", bad_labels="drop")
    assert boxes(data) == [[[0, 0, 60, 40]], [], [], [[2, 3, 10, 12], [0, 0, 61, 41]]]
    assert repairs(data) == {
        "dropped zero area": 1,
        "dropped inverted": 1,
        "dropped outside": 2,
        "dropped not finite": 1,
    }


def test_repair_mends_what_it_can(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, FAULTY)
    data = open_dataset(tmp_path, "all", bad_labels="repair")
    assert boxes(data) == [[[0, 0, 60, 40]], [[10, 20, 30, 30], [4, 4, 60, 20]], [], [[2, 3, 10, 12], [0, 0, 61, 41]]]
    assert data.target(1)["area"].tolist() == [200, 896]
    assert repairs(data) == {
        "swapped inverted": 1,
        "clipped outside": 2,
        "dropped zero area": 2,
        "dropped not finite": 1,
    }


def test_joined_splits_add_up(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, FAULTY, {"train": ["a", "c"], "val": ["d"]})
    data = open_dataset(tmp_path, "train+val", bad_labels="drop")
    assert len(data) == 3
    assert data.info.split == "train+val"
    assert repairs(data) == {"dropped zero area": 1, "dropped not finite": 1}
    assert [data.read(index).info.image_id for index in range(3)] == [0, 1, 2]


def test_raw_keeps_everything(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, FAULTY)
    assert [len(rows) for rows in boxes(open_raw(tmp_path, "all"))] == [2, 3, 0, 3]


def test_unknown_classes_are_refused_or_dropped(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9), ("emu", 1, 1, 9, 9)]})
    (tmp_path / "saccade.yaml").write_text("class_names: [dog, cat]")
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(emu\): .*unknown class"):
        open_dataset(tmp_path, "all")
    data = open_dataset(tmp_path, "all", bad_labels="repair")
    assert data.target(0)["labels"].tolist() == [1]
    assert repairs(data) == {"dropped unknown class": 1}


def test_clean_data_passes_every_policy(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path, {"a": [("cat", 1, 1, 60, 40)]})
    for policy in ("error", "drop", "repair"):
        data = open_dataset(tmp_path, "all", bad_labels=policy)  # type: ignore[arg-type]
        assert boxes(data) == [[[0, 0, 60, 40]]]
        assert repairs(data) == {}


def test_wrong_words_are_answered_with_the_right_ones(tmp_path: Path, write_voc: Any) -> None:
    write_voc(tmp_path / "set", {"a": [("cat", 1, 1, 9, 9)]}, {"train": ["a"], "minival": ["a"]})
    with pytest.raises(DataError, match="no split 'test'; it has: minival, train"):
        open_dataset(tmp_path / "set", "test")
    with pytest.raises(DataError, match="no split 'tes'"):
        open_dataset(tmp_path / "set", "train+tes")
    with pytest.raises(DataError, match=r"no format 'vok'. Did you mean 'voc'"):
        open_dataset(tmp_path / "set", format="vok")
    with pytest.raises(DataError, match="'voc' has no ground truth for task 'keypoints'; it offers: detection"):
        open_dataset(tmp_path / "set", task="keypoints")
    with pytest.raises(ConfigError, match="bad_labels is 'fix'"):
        open_dataset(tmp_path / "set", bad_labels="fix")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"neither a folder nor .* Did you mean 'bccd'"):
        open_dataset("bcccd")
    with pytest.raises(DataError, match="this is a file"):
        open_dataset(tmp_path / "set" / "Annotations" / "a.xml")


def test_empty_and_strange_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"no known layout.*Name the format: coco, labelme"):
        open_dataset(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="there are no images"):
        open_dataset(tmp_path, format="folder")


def test_options_file_is_checked(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images" / "1.png")
    write_image(tmp_path / "labels" / "1.png", channels=1)
    options = tmp_path / "saccade.yaml"
    options.write_text("format: masks\nimage_dir: images\nlabel_dir: labels\nclas_names: [a]\n")
    with pytest.raises(DataError, match=r"no option 'clas_names'. Did you mean 'class_names'"):
        open_dataset(tmp_path, "all")
    options.write_text(
        "format: masks\nimage_dir: images\nlabel_dir: labels\nclass_names: [low, high]\nvalues: {0: 0}\n"
    )
    assert open_dataset(tmp_path, "all").info.class_names == ("low", "high")
    options.write_text("format: [")
    with pytest.raises(DataError, match=r"saccade\.yaml: this is not valid YAML"):
        open_dataset(tmp_path, "all")
    options.write_text("- masks")
    with pytest.raises(DataError, match="name: value"):
        open_dataset(tmp_path, "all")


def test_digit_scenes_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    data = open_dataset("digit_scenes", "train+val", task="segmentation")
    assert data.info.task == "segmentation"
    assert len(data) == 2200
    assert open_dataset("digit_scenes").info.task == "detection"


@pytest.mark.data("bccd")
def test_bccd_has_two_boxes_without_area(data_root: Path) -> None:
    with pytest.raises(DataError, match=r"1 faulty label:\n.*BloodImage_00343\.xml: object 3 \(RBC\).*zero area"):
        open_dataset(data_root / "bccd", "train")
    data = open_dataset(data_root / "bccd", "train+val+test", bad_labels="drop")
    assert len(data) == 364
    assert repairs(data) == {"dropped zero area": 2}
    counts = np.bincount(np.concatenate([data.target(index)["labels"] for index in range(len(data))]))
    assert counts.sum() == 4886
    assert data.info.class_names == ("Platelets", "RBC", "WBC")


CATALOGUED = [
    ("mnist", "train", 60000, 10),
    ("mnist", "test", 10000, 10),
    ("intel_scenes", "train", 600, 6),
    ("intel_scenes", "test", 120, 6),
    ("bccd", "test", 72, 3),
    ("tiny_coco", "train", 50, 80),
    ("tiny_coco", "val", 50, 80),
    ("voc100_multiformat", "all", 100, 20),
    ("voc100_multiformat", "train", 80, 20),
    ("pennfudan", "all", 20, 1),
    ("isbi2012_membrane", "train", 24, 2),
    ("isbi2012_membrane", "val", 6, 2),
    ("camvid", "train", 53, 11),
    ("camvid", "val", 12, 11),
    ("human_segmentation", "all", 92, 2),
    ("facial_keypoints_68", "train", 80, 68),
    ("facial_keypoints_68", "test", 20, 68),
]


@pytest.mark.parametrize(
    ("name", "split", "count", "classes"),
    [pytest.param(*row, marks=pytest.mark.data(row[0]), id=f"{row[0]}-{row[1]}") for row in CATALOGUED],
)
def test_catalogue_opens_with_the_documented_counts(
    name: str, split: str, count: int, classes: int, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACCADE_DATA", str(data_root))
    data = open_dataset(name, split, bad_labels="drop")
    assert isinstance(data, TableDataset)
    assert len(data) == count
    assert len(data.info.class_names) == classes
    for index in (0, count - 1):
        sample = data.read(index)
        assert sample.size == sample.info.geometry.original_size
        assert sample.target.keys() == data.target(index).keys()


def test_a_zip_of_images_is_opened_in_place(tmp_path: Path, write_image: Any) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write_image(tmp_path / "set" / split / name / "a.png")
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "set").as_posix())
    loose, zipped = open_dataset(tmp_path / "set", "val"), open_dataset(packed, "val")
    assert zipped.info.class_names == loose.info.class_names == ("cat", "dog")
    assert [np.array_equal(zipped.read(i).image, loose.read(i).image) for i in range(2)] == [True, True]
    with pytest.raises(DataError, match=r"format 'coco' does not read zips\. Unpack it"):
        open_dataset(packed, format="coco")


def test_paired_images_move_together_and_unpaired_ones_do_not(tmp_path: Path, write_image: Any) -> None:
    for domain, names in (("A", "ab"), ("B", "ab")):
        for name in names:
            write_image(tmp_path / "paired" / "train" / domain / f"{name}.png")
            write_image(tmp_path / "unpaired" / f"train{domain}" / f"{name}.png")
    for kind, together in (("paired", True), ("unpaired", False)):
        data = open_dataset(tmp_path / kind, "train", format=kind)
        sample = data.read(0)
        mirrored = mirror(sample, ())
        expected = sample.target["target_image"][:, ::-1] if together else sample.target["target_image"]
        assert np.array_equal(mirrored.target["target_image"], expected)


def test_the_package_offers_what_most_need_and_loads_it_late() -> None:
    code = (
        "import sys, saccade.data as data\n"
        "assert not {'cv2', 'torch', 'saccade.data.open'} & set(sys.modules)\n"
        "assert set(data.__all__) <= set(dir(data))\n"
        "assert data.open_dataset('digit_scenes', 'val').info.split == 'val'\n"
        "from saccade.data import DatasetInfo, VisionDataset, read_image\n"
        "assert read_image.__module__ == 'saccade.data.images.decode'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'opendataset'"):
        saccade.data.opendataset  # noqa: B018
