"""The checker finds planted faults and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.check import CheckReport, check_dataset, check_source
from saccade.data.open import open_raw


def problems(report: CheckReport, *without: str) -> list[tuple[str, str, str, str]]:
    """Faults but those of some kinds: the images of these tests are all the same noise."""
    return [
        (Path(issue.file).name, issue.field, issue.problem, issue.severity)
        for issue in report.issues
        if issue.code not in ("image.duplicate", *without)
    ]


def test_box_faults_name_file_field_and_problem(tmp_path: Path, write_voc: Any) -> None:
    objects = {
        "a": [("cat", 1, 1, 60, 40), ("cat", 9, 9, 9, 9), ("cat", 1, 1, 60, 40), ("dog", 1, 1, 60, 40)],
        "b": [("dog", 30, 30, 11, 21), ("dog", 5, 5, 90, 20), ("cat", 1.5, 3, 2, 20)],
        "c": [],
    }
    report = check_dataset(open_raw(write_voc(tmp_path / "set", objects), "all"))
    assert problems(report) == [
        ("a.xml", "object 1 (cat)", "box 9, 9, 9, 9: zero area", "error"),
        ("a.xml", "object 2 (cat)", "box and class repeat object 0", "warning"),
        ("b.xml", "object 0 (dog)", "box 30, 30, 10, 20: inverted", "error"),
        ("b.xml", "object 1 (dog)", "box 4, 4, 90, 20: outside of the 60x40 image", "error"),
    ]
    assert not report.ok
    assert all(issue.remedy for issue in report.issues)
    assert report.counts == {
        "images": 3,
        "images without objects": 1,
        "objects": 7,
        "class cat": 4,
        "class dog": 3,
    }


def test_tiny_boxes_are_warnings(tmp_path: Path, write_voc: Any) -> None:
    report = check_dataset(open_raw(write_voc(tmp_path, {"a": [("cat", 2, 3, 2.5, 20)]}), "all"))
    assert report.ok is True
    root = tmp_path / "other"
    write_voc(root, {"a": [("cat", 4, 3, 4.5, 20), ("cat", 1, 1, 5, 5)]})
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>4</xmin>", "<xmin>5</xmin>").replace("4.5", "4.25"))
    assert not check_dataset(open_raw(root, "all")).ok  # 5 .. 4.25 is inverted


def test_broken_images_are_listed_and_the_rest_goes_on(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {name: [("cat", 1, 1, 9, 9)] for name in "abcd"})
    (root / "JPEGImages" / "a.jpg").unlink()
    whole = (root / "JPEGImages" / "b.jpg").read_bytes()
    (root / "JPEGImages" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "JPEGImages" / "c.jpg").write_bytes(b"")
    report = check_dataset(open_raw(root, "all"))
    found = [(Path(issue.file).name, issue.field, issue.severity, issue.code) for issue in report.issues]
    assert found == [
        ("a.jpg", "image", "error", "image.missing"),
        ("b.jpg", "image", "error", "image.truncated"),
        ("c.jpg", "image", "error", "image.empty"),
    ]
    assert [issue.problem.split(",")[0] for issue in report.issues] == [
        "the file does not exist",
        "the file ends before its end marker",
        "the file is empty",
    ]
    assert report.objects == 4
    assert check_dataset(open_raw(root, "all"), images=False).issues == []


def test_rotated_image_is_distinguished_from_a_wrong_size(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 1, 1, 9, 9)]})
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(stream, "JPEG", exif=exif.tobytes())
    (root / "JPEGImages" / "a.jpg").write_bytes(stream.getvalue())
    Image.new("RGB", (50, 50)).save(root / "JPEGImages" / "b.jpg")
    turned, wrong = check_dataset(open_raw(root, "all")).issues
    assert turned.problem == "annotated as 60x40, the image is 40x60 once its EXIF orientation is applied"
    assert "before rotation" in turned.remedy
    assert wrong.problem == "annotated as 60x40, the image is 50x50"
    assert {turned.severity, wrong.severity} == {"warning"}


def test_unknown_classes(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("emu", 1, 1, 9, 9)]})
    (root / "saccade.yaml").write_text("class_names: [cat]")
    assert problems(check_dataset(open_raw(root, "all"))) == [
        ("a.xml", "object 0", "unknown class 'emu'", "error"),
        (tmp_path.name, "class 'cat'", "it never occurs", "warning"),
    ]


def test_label_maps_of_other_size_and_with_unknown_values(tmp_path: Path, write_image: Any) -> None:
    for name, size in (("a", (8, 8)), ("b", (8, 8)), ("c", (8, 8))):
        write_image(tmp_path / "images" / f"{name}.png", size)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "masks" / "a.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "masks" / "b.png")
    Image.fromarray(np.full((8, 8), 5, np.uint8)).save(tmp_path / "masks" / "c.png")
    (tmp_path / "saccade.yaml").write_text("class_names: [low, high]")
    report = check_dataset(open_raw(tmp_path, "all"))
    assert problems(report) == [
        ("b.png", "image", "the label map is 8x9, its image 8x8", "error"),
        ("c.png", "annotation", "pixel value 5 is none of 0-1", "error"),
    ]
    assert report.class_counts == {"low": 1, "high": 1}


def test_keypoints_outside_are_warnings(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "points.csv").write_text("a.png,10,10,61,5,,\n")
    report = check_dataset(open_raw(tmp_path, "all"))
    assert problems(report) == [
        ("points.csv", "object 0, point_1", "point 61, 5 is outside of the 60x40 image", "warning"),
        (tmp_path.name, "class 'point_2'", "it never occurs", "warning"),
    ]
    assert report.class_counts == {"point_0": 1, "point_1": 1, "point_2": 0}


def test_joined_splits_name_the_right_files(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [], "b": [("cat", 9, 9, 9, 9)]}, {"train": ["a"], "val": ["b"]})
    report = check_dataset(open_raw(root, "train+val"))
    assert problems(report, "splits.leak", "splits.no-objects") == [
        (tmp_path.name, "split 'train'", "1 of 1 images have no object", "warning"),
        ("b.xml", "object 0 (cat)", "box 9, 9, 9, 9: zero area", "error"),
        (tmp_path.name, "class 'cat'", "it occurs in 'val', but not in 'train'", "warning"),
    ]


def test_text_and_json(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path / "set", {"a": [("cat", 9, 9, 9, 9), ("cat", 8, 8, 8, 8)]})
    report = check_dataset(open_raw(root, "all"))
    text = report.to_text(limit=1)
    assert text.splitlines()[0] == "set (all), detection"
    assert "2 errors, 0 warnings" in text
    assert "error: boxes without area [boxes.zero-area]: 2" in text
    assert "... and 1 more" in text
    assert text.count("a.xml: object") == 1
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["ok"] is False
    assert plain["counts"]["objects"] == 2
    assert plain["issues"][0]["remedy"] == (
        "Draw the box again or remove it, or write a corrected copy (saccade check DATA --repair OUT)."
    )


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification", "keypoints"])
def test_generated_scenes_have_no_faults(task: str) -> None:
    report = check_dataset(DigitScenes(task, "val", count=120, size=(96, 96)))
    assert report.issues == []
    assert "no faults found" in report.to_text()


@pytest.mark.data("human_segmentation")
def test_masks_smaller_than_their_photographs_are_found(data_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.symlink_to(data_root / "human_segmentation" / "mask_size_differs")
    from saccade.data.readers import masks

    data = masks.read(root, "all", image_dir="Training_Images", label_dir="Ground_Truth")
    report = check_dataset(data)
    assert [issue.code for issue in report.issues if issue.severity == "error"] == ["maps.size"] * 20
    assert len(data) == 20


@pytest.mark.data("bccd")
def test_bccd(data_root: Path) -> None:
    report = check_source(data_root / "bccd", images=False)
    assert [split.name for split in report.splits] == ["test", "train", "val"]  # trainval only joins two of them
    errors = [issue for issue in report.issues if issue.severity == "error"]
    assert {(Path(issue.file).stem, issue.code) for issue in errors} == {
        ("BloodImage_00338", "boxes.zero-area"),
        ("BloodImage_00343", "boxes.zero-area"),
    }
    assert len({issue.split for issue in errors}) == 2
    assert report.objects == 4888
    assert sum(report.splits[1].histograms["side in pixels"].values()) == len(report.splits[1].sides)
