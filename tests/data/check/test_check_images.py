"""Copies between and inside splits, files and splits that cannot be opened, and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.check import CheckReport, Issue, check_dataset, check_source
from saccade.data.check.duplicates import find_duplicates
from saccade.data.check.images import ImageStats, collect_stats
from saccade.data.check.page import write_page
from saccade.data.open import open_raw
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo


def found(report: CheckReport, code: str) -> list[Issue]:
    return [issue for issue in report.issues if issue.code == code]


def crop(number: int, side: int = 160) -> np.ndarray[Any, Any]:
    """A part of one of two photographs, (side, side, 3), each number another one."""
    photo = load_sample_images().images[number % 2]
    rng = np.random.default_rng(number)
    top, left = int(rng.integers(photo.shape[0] - side)), int(rng.integers(photo.shape[1] - side))
    return np.ascontiguousarray(photo[top : top + side, left : left + side, ::-1])


def save(path: Path, pixels: np.ndarray[Any, Any], quality: int = 95) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), pixels, options)
    return path


def test_copies_between_and_inside_splits(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "train" / "a" / f"{number}.png", crop(number))
        save(tmp_path / "val" / "a" / f"{number}.png", crop(100 + number))
    save(tmp_path / "train" / "a" / "again.png", crop(3))
    save(tmp_path / "val" / "a" / "smaller.jpg", cv2.resize(crop(5), (100, 100), interpolation=cv2.INTER_AREA), 70)
    save(tmp_path / "val" / "a" / "brighter.jpg", np.clip(crop(7) * 0.8 + 20, 0, 255).astype(np.uint8))
    save(tmp_path / "val" / "a" / "same.png", crop(9))
    report = check_source(tmp_path, format="folder")
    leaks = {
        Path(issue.image).name: (issue.problem, Path(issue.other).name, issue.split)
        for issue in found(report, "splits.leak")
    }
    path = tmp_path / "train" / "a"
    assert leaks == {
        "same.png": (f"its pixels equal those of {path / '9.png'} in 'train'", "9.png", "val"),
        "smaller.jpg": (f"it resembles {path / '5.png'} in 'train'", "5.png", "val"),
        "brighter.jpg": (f"it resembles {path / '7.png'} in 'train'", "7.png", "val"),
    }
    assert [(Path(issue.image).name, Path(issue.other).name) for issue in found(report, "image.duplicate")] == [
        ("again.png", "3.png")
    ]
    assert [issue.code for issue in report.issues if issue.severity == "error"] == ["classes.one"]  # leaks are warnings
    assert report.groups()[1][0] == "splits.leak"


def test_many_uniform_images_are_not_copies(tmp_path: Path) -> None:
    for number in range(30):
        split = "train" if number % 2 else "val"
        save(tmp_path / split / "a" / f"{number}.png", np.full((80, 80, 3), 5 * (number // 2), np.uint8))
    report = check_source(tmp_path, format="folder")
    assert not found(report, "splits.leak")
    assert not found(report, "image.duplicate")


def test_small_images_are_compared_exactly(tmp_path: Path) -> None:
    small = cv2.resize(crop(0), (28, 28), interpolation=cv2.INTER_AREA)
    other = small.copy()
    other[3, 3] += 1
    for name, pixels in (("a", small), ("b", other), ("c", small)):
        save(tmp_path / "x" / f"{name}.png", pixels)
    report = check_dataset(open_raw(tmp_path, "all", format="folder"))
    assert [(Path(issue.image).name, Path(issue.other).name) for issue in found(report, "image.duplicate")] == [
        ("c.png", "a.png")
    ]


def test_duplicates_equal_a_loop_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (40, 64)).astype(np.int8)
    thumbs = rng.normal(size=(40, 256)).astype(np.float32)
    thumbs /= np.linalg.norm(thumbs, axis=1, keepdims=True)
    for copy, source, bits, blend in (
        (10, 2, 3, 0.01),
        (20, 2, 8, 0.01),
        (30, 10, 0, 0.5),
        (35, 4, 9, 0.0),
        (39, 7, 1, 0.0),
    ):
        signs[copy] = signs[source]
        signs[copy, rng.choice(64, bits, replace=False)] *= -1
        thumbs[copy] = thumbs[source] + blend * thumbs[copy]
        thumbs[copy] /= np.linalg.norm(thumbs[copy])
    all_stats = [ImageStats(signs=signs[i], thumb=thumbs[i], digest=bytes([i])) for i in range(40)]
    splits = np.arange(40) // 15
    expected = set()
    for image in range(40):
        for leak in (False, True):
            partners = [
                first
                for first in range(image)
                if (splits[first] != splits[image]) == leak
                and (signs[first] != signs[image]).sum() <= 8
                and float(thumbs[first] @ thumbs[image]) >= 0.995
            ]
            if partners:
                expected.add((image, partners[0], leak))
    assert {(entry.image, entry.first, entry.leak) for entry in find_duplicates(all_stats, splits)} == expected
    assert {pair[0] for pair in expected} == {10, 20, 39}


def test_the_same_file_in_two_lists(tmp_path: Path, write_voc: Any) -> None:
    splits = {"train": ["a", "b"], "val": ["a"]}
    write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 1, 1, 9, 9)]}, splits)
    report = check_source(tmp_path, images=False)
    assert [(Path(issue.file).name, issue.problem) for issue in found(report, "splits.leak")] == [
        ("a.jpg", "the same file lies in 'train'")
    ]


def test_the_same_file_twice_in_a_split(tmp_path: Path) -> None:
    builder = TableBuilder(["cat"])
    for name in ("a.jpg", "b.jpg", "b.jpg"):
        builder.add_image(name)
        builder.add_object("cat", (1, 1, 9, 9))
    data = TableDataset(DatasetInfo("set", "detection", ("cat",)), tmp_path, builder.build())
    report = check_dataset(data, images=False)
    assert [Path(issue.file).name for issue in found(report, "image.repeated")] == ["b.jpg"]


def test_a_union_of_splits_is_no_leak(tmp_path: Path, write_voc: Any) -> None:
    splits = {"train": ["a"], "val": ["b"], "trainval": ["a", "b"]}
    write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 1, 1, 9, 9)]}, splits)
    report = check_source(tmp_path, images=False)
    assert [split.name for split in report.splits] == ["train", "val"]
    assert report.issues == []
    assert [split.name for split in check_source(tmp_path, "trainval", images=False).splits] == ["trainval"]


def test_file_names_that_differ_in_case(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "x" / "A.png", (9, 9))
    write_image(tmp_path / "x" / "a.png", (8, 8))
    if len(list((tmp_path / "x").iterdir())) == 1:
        pytest.skip("this file system takes the two names for one")
    (issue,) = found(check_dataset(open_raw(tmp_path, "all", format="folder"), images=False), "image.name")
    assert {Path(issue.file).name, Path(issue.other).name} == {"A.png", "a.png"}


def test_a_split_that_cannot_be_opened_is_a_fault_and_not_the_end(tmp_path: Path, write_voc: Any) -> None:
    splits = {"train": ["a"], "val": ["missing"], "test": ["b"]}
    write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 9, 9, 9, 9)]}, splits)
    report = check_source(tmp_path, images=False)
    (broken,) = found(report, "splits.unreadable")
    assert broken.field == "split 'val'"
    assert "missing.xml: there is no such annotation" in broken.problem
    assert broken.remedy.startswith("Write it")
    assert not report.ok
    assert len(found(report, "boxes.zero-area")) == 1
    for file in (tmp_path / "ImageSets" / "Main").glob("*.txt"):
        file.write_text("missing\n")
    nothing = check_source(tmp_path)
    assert len(found(nothing, "splits.unreadable")) == 3
    assert nothing.counts["images"] == 0
    assert "cannot be opened [splits.unreadable]: 3" in nothing.to_text()


def test_unknown_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a data set"):
        check_source(tmp_path / "nowhere")


def test_exchanged_sides_and_orientation_are_distinguished(tmp_path: Path, write_voc: Any, write_image: Any) -> None:
    root = write_voc(tmp_path, {"a": [("cat", 1, 1, 9, 9)]})
    write_image(root / "JPEGImages" / "a.jpg", (60, 40))
    (issue,) = found(check_source(root), "image.size")
    assert issue.problem == "annotated as 60x40, the image is 40x60, which is the same with height and width exchanged"
    assert issue.remedy.startswith("Exchange")


def test_label_maps_of_colours_are_named(tmp_path: Path, write_image: Any) -> None:
    write_image(tmp_path / "images" / "a.png", (8, 8))
    write_image(tmp_path / "masks" / "a.png", (8, 8))
    (tmp_path / "saccade.yaml").write_text("class_names: [low, high]")
    report = check_source(tmp_path)
    (issue,) = found(report, "maps.colours")
    assert "holds colours" in issue.problem
    assert not report.ok
    # A label map is ground truth and always read.
    assert len(found(check_source(tmp_path, images=False), "maps.colours")) == 1


def test_every_image_is_reported_to_the_bar() -> None:
    seen: list[int] = []

    def progress(images: Any, total: int) -> Any:
        for image in images:
            seen.append(total)
            yield image

    data = DigitScenes("detection", "val", count=5, size=(64, 64))
    all_stats = collect_stats(data, True, progress)
    assert seen == [5] * 5
    assert [stats.size for stats in all_stats] == [(64, 64)] * 5
    report = check_dataset(data)
    assert report.objects == sum(len(data.target(index)["labels"]) for index in range(5))


class _Structure(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


@pytest.fixture
def page(tmp_path: Path, write_voc: Any) -> str:
    evil = "<b>&$x_1$"
    root = write_voc(
        tmp_path / "set",
        {
            "a": [("&lt;b&gt;&amp;$x_1$", 9, 9, 9, 9), ("cat", 30, 30, 11, 21)],
            "b": [("cat", 1, 1, 90, 20), ("\u732b", 1, 1, 20, 20)],
            "<c>": [],
        },
        {"train": ["a"], "val": ["b", "<c>"]},
    )
    report = check_source(root)
    assert evil in report.class_counts
    return write_page(report, tmp_path / "new" / "page.html").read_text()


def test_page_shows_counts_histograms_and_images(page: str) -> None:
    structure = _Structure()
    structure.feed(page)
    assert "boxes without area [boxes.zero-area]: 1" in page
    assert "Counts by class and split" in page
    assert structure.tags.count("svg") == 3
    assert structure.tags.count("img") >= 4  # no area, inverted, outside, and the noise that is everywhere the same
    assert "\u732b" in page


def test_page_needs_no_network_and_no_name_becomes_markup(page: str) -> None:
    structure = _Structure()
    structure.feed(page)
    assert all(reference.startswith(("data:", "#")) for reference in structure.references)
    assert "script" not in structure.tags
    assert "link" not in structure.tags
    assert not re.search(r"@import|url\((?!#)", page)
    assert "&lt;b&gt;&amp;$x_1$" in page
    assert "<b>&$" not in page
    assert "<c>" not in page


def test_page_of_sound_data_and_of_images_that_are_no_files(tmp_path: Path) -> None:
    report = check_dataset(DigitScenes("detection", "val", count=60, size=(64, 64)))
    text = write_page(report, tmp_path / "page.html").read_text()
    assert "no faults found" in text
    report.issues.append(
        Issue("x", "y", "z", "w", "error", "boxes.zero-area", image="digit_scenes/val/0", box=(1, 1, 1, 1))
    )
    assert "<td class=text>z</td>" in write_page(report, tmp_path / "page.html").read_text()


def test_json_of_everything(tmp_path: Path, write_voc: Any) -> None:
    root = write_voc(tmp_path, {"a": [("cat", 9, 9, 9, 9), ("cat", 1, 1, 20, 20)]})
    plain = json.loads(json.dumps(check_source(root).to_json(), allow_nan=False))
    assert plain["codes"] == {"boxes.zero-area": 1}
    assert plain["issues"][0]["box"] == [9, 9, 9, 9]
    assert plain["splits"][0]["histograms"]["side in pixels"]["16-32"] == 1
