"""Faults of outlines, keypoints, class ids and names, against slow obvious versions where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.check import CheckReport, Issue, check_dataset
from saccade.data.check.objects import repeated_boxes
from saccade.data.check.statistics import PIXEL_EDGES, histogram
from saccade.data.derived.combine import ConcatDataset
from saccade.data.readers import coco
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.outlines import ObjectOutline
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

Build = Callable[..., TableDataset]
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A table of one image, 40 high and 60 wide, from objects given as arguments of ``add_object``."""

    def make(
        objects: list[dict[str, Any]], names: tuple[str, ...] = ("cat", "dog"), task: str = "detection", **options: Any
    ) -> TableDataset:
        ids = options.pop("category_ids", ())
        builder = TableBuilder(names, **options)
        builder.add_image("a.jpg", size=(40, 60))
        for item in objects:
            builder.add_object(**{"class_name": "cat", "box_xyxy": (1, 2, 30, 35), **item})
        return TableDataset(DatasetInfo("set", task, names, "all", category_ids=ids), tmp_path, builder.build())

    return make


def found(report: CheckReport, code: str) -> list[Issue]:
    return [issue for issue in report.issues if issue.code == code]


def check(dataset: Any) -> CheckReport:
    return check_dataset(dataset, images=False)


def test_polygons_of_few_points_far_away_and_over_the_edge(build: Build) -> None:
    rings = [[SQUARE], [[1.0, 1.0, 5.0, 5.0], SQUARE], [[0, 0, 9000, 0, 9000, 9]], [[-5, 0, 9, 0, 9, 9]], [[]], []]
    dataset = build([{"outline": ObjectOutline(rings=item)} for item in rings], outlines=True)
    report = check(dataset)
    few = found(report, "outlines.points")
    assert [(issue.field, issue.problem) for issue in few] == [
        ("object 1 (cat), polygon 0", "a polygon of 2 points has no area"),
        ("object 4 (cat), polygon 0", "a polygon of 0 points has no area"),
    ]
    (far,) = found(report, "outlines.far")
    assert (far.field, far.problem) == (
        "object 2 (cat), polygon 0",
        "the polygon reaches from 0, 0 to 9000, 9, the image is 60x40",
    )
    (over,) = found(report, "outlines.outside")
    assert over.field == "object 3 (cat), polygon 0"
    assert report.ok  # boxes alone are learnt from ...
    dataset.masks = True
    assert [issue.severity for issue in found(check(dataset), "outlines.points")] == [
        "error",
        "error",
    ]  # ... or masks too


def test_what_is_an_error_is_what_drawing_the_mask_refuses(build: Build) -> None:
    rings = [
        [SQUARE],
        [[1.0, 1.0, 5.0, 5.0]],
        [[0, 0, 9000, 0, 9000, 9]],
        [[-5, 0, 9, 0, 9, 9]],
        [[0, 0, np.nan, 1, 2, 2]],
    ]
    for item in rings:
        dataset = build([{"outline": ObjectOutline(rings=item)}], outlines=True)
        dataset.masks = True
        try:
            dataset.object_masks(0)
            refused = False
        except DataError:
            refused = True
        assert check(dataset).ok != refused, item


def test_masks_of_another_size_and_of_wrong_length(build: Build) -> None:
    masks = [([0, 2400], (40, 60)), ([0, 2400], (60, 40)), ([5, 5], (40, 60))]
    dataset = build([{"outline": ObjectOutline(runs=runs, run_size=size)} for runs, size in masks], outlines=True)
    report = check(dataset)
    assert [issue.problem for issue in found(report, "masks.size")] == ["the mask is 40x60, its image 60x40"]
    assert [(issue.field, issue.problem) for issue in found(report, "masks.runs")] == [
        ("object 2 (cat)", "the mask's runs sum to 10 pixels, not to 60x40")
    ]


def test_keypoints_that_are_no_numbers_or_outside(build: Build) -> None:
    points = [[1, 1, 2, 61, 5, 2], [np.nan, 1, 2, 3, 3, 2], [99, 99, 0, 3, 3, 1]]
    dataset = build(
        [{"keypoints": item} for item in points], ("nose", "tail"), "keypoints", num_keypoints=2, boxes=True
    )
    dataset.table = replace(dataset.table, labels=np.zeros(3, np.int64))
    report = check(dataset)
    assert [(issue.field, issue.severity) for issue in found(report, "keypoints.not-finite")] == [
        ("object 1, keypoints", "error")
    ]
    assert [(issue.field, issue.problem) for issue in found(report, "keypoints.outside")] == [
        ("object 0, tail", "point 61, 5 is outside of the 60x40 image")
    ]
    assert report.class_counts == {"nose": 2, "tail": 3}


def test_box_outside_of_the_real_image_alone_is_a_warning(tmp_path: Path, write_voc: Any, write_image: Any) -> None:
    from saccade.data.open import open_raw

    root = write_voc(tmp_path, {"a": [("cat", 1, 1, 55, 9)], "b": [("cat", 1, 1, 75, 9)]})
    write_image(root / "JPEGImages" / "a.jpg", (40, 50))
    write_image(root / "JPEGImages" / "b.jpg", (40, 90))
    report = check_dataset(open_raw(root, "all"))
    assert [(issue.problem, issue.severity) for issue in found(report, "boxes.outside")] == [
        ("box 0, 0, 55, 9: outside of the 50x40 image", "warning"),  # training goes by the annotated size
        ("box 0, 0, 75, 9: outside of the 60x40 image", "error"),
    ]


@pytest.mark.parametrize(
    ("ids", "unknown", "used", "expected"),
    [
        ((), ["class 2"], "dog", "counted from 1: id 2 is used and unknown, id 0 ('cat')"),
        ((1, 2), ["category_id 3"], "dog", "counted from 2: id 3"),
        ((1, 2), ["category_id 0"], "cat", "counted from 0: id 0 is used and unknown, id 2 ('dog')"),
        ((), ["class 2"], "cat", ""),  # class 0 is used: one more class, not another count
        ((), ["class 3"], "dog", ""),
        ((), ["class 2", "class 3"], "dog", ""),
        ((), ["emu"], "dog", ""),
    ],
)
def test_ids_counted_from_another_number(
    build: Build, ids: tuple[int, ...], unknown: list[str], used: str, expected: str
) -> None:
    dataset = build([{"class_name": name} for name in [*unknown, used]], category_ids=ids)
    report = check(dataset)
    assert len(found(report, "labels.class")) == len(unknown)
    issues = found(report, "classes.counted-from")
    assert len(issues) == bool(expected)
    assert all(expected in issue.problem for issue in issues)


def test_boxes_that_are_no_numbers(build: Build) -> None:
    boxes = [(np.inf, 1, np.inf, 5), (np.nan, 1, 2, 3), (1, 2, 3, 4)]
    report = check(build([{"box_xyxy": box, "area": 1.0} for box in boxes]))
    assert [(issue.field, issue.box, issue.severity) for issue in found(report, "boxes.not-finite")] == [
        ("object 0 (cat)", None, "error"),
        ("object 1 (cat)", None, "error"),
    ]
    assert report.splits[0].sides.tolist() == [[2, 2]]


def test_gaps_in_ids_are_named(build: Build) -> None:
    assert not found(check(build([{}], category_ids=(4, 5))), "classes.gaps")
    (issue,) = found(check(build([{}], category_ids=(1, 4))), "classes.gaps")
    assert issue.problem == "the ids run from 1 to 4 without 2, 3"
    assert issue.severity == "warning"


def test_class_names_that_differ_in_case_or_blanks(build: Build) -> None:
    names = ("red cell", "Red  Cell", "red_cell", "dog")
    report = check(build([{"class_name": "DOG"}], names))
    assert [issue.problem for issue in found(report, "classes.names")] == [
        "'red cell', 'Red  Cell', 'red_cell' differ only in case or blanks and count as 3 classes",
        "'dog', 'DOG' differ only in case or blanks and count as 2 classes",
    ]


def test_classes_unseen_missing_and_few(build: Build) -> None:
    first, second = build([{}] * 3), build([{"class_name": "dog"}, {}])
    second.info = replace(second.info, split="val")
    report = check(ConcatDataset([first, second]))
    assert [issue.problem for issue in found(report, "classes.missing")] == ["it occurs in 'val', but not in 'all'"]
    assert [issue.field for issue in found(check(first), "classes.unseen")] == ["class 'dog'"]


def test_splits_with_other_class_lists(build: Build) -> None:
    from saccade.data.check.run import check_splits

    first = build([{}, {"class_name": "dog"}])
    for names, objects, expected in (
        (("cat", "emu"), ["emu"], "its classes are not those of 'all': it adds 'emu' and it lacks 'dog'"),
        (("dog", "cat"), ["cat"], "its classes are not those of 'all': their order differs"),
        (("emu",), ["emu"], "it shares no class with 'all'"),
    ):
        second = build([{"class_name": name} for name in objects], names)
        second.info = replace(second.info, split="val")
        report = check_splits([first, second], images=False)
        (issue,) = found(report, "classes.lists")
        assert (issue.problem, issue.severity) == (expected, "warning" if names == ("emu",) else "error")
        assert sum(report.class_counts.values()) == 3
    assert [issue.problem for issue in found(report, "classes.missing")] == ["no class occurs in two of them"]


def test_too_few_images_of_a_class(tmp_path: Path, write_image: Any) -> None:
    from saccade.data.open import open_raw

    for name, count in (("a", 6), ("b", 2)):
        for number in range(count):
            write_image(tmp_path / name / f"{number}.png", (8, 8 + number))
    report = check(open_raw(tmp_path, "all"))
    assert [(issue.field, issue.problem) for issue in found(report, "classes.few")] == [
        ("class 'b'", "it has only 2 images")
    ]


def test_counts_of_painted_outlines_are_images_that_show_the_class(tmp_path: Path) -> None:
    objects = [(1, 2), (1, 2), (1, 5), (2, 5)]
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 40} for number in (1, 2, 3)],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {"id": row, "image_id": image, "category_id": category, "bbox": [row, 1, 9, 9], "segmentation": [SQUARE]}
            for row, (image, category) in enumerate(objects)
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    report = check(coco.read(tmp_path, "val", task="segmentation"))
    assert report.class_counts == {"background": 3, "cat": 1, "dog": 2}
    assert [issue.code for issue in report.issues] == ["classes.gaps"]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-1, 1), st.sampled_from([0.0, 1.0, np.nan]), st.sampled_from([2.0, 3.0])),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_repeated_boxes_equal_a_loop(rows: list[tuple[int, int, float, float]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    image, label = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    boxes = np.array([(x, 0.0, y, 1.0) for _, _, x, y in rows]).reshape(-1, 4)
    expected = []
    for index in range(len(rows)):
        same = [
            before
            for before in range(index)
            if image[before] == image[index] and label[before] == label[index] and (boxes[before] == boxes[index]).all()
        ]
        expected.append(same[0] if same else -1)
    assert repeated_boxes(image, label, boxes).tolist() == expected


def test_histogram_equals_a_loop() -> None:
    values = np.concatenate([np.random.default_rng(0).uniform(0, 2000, 300), PIXEL_EDGES])
    bins = histogram(values, PIXEL_EDGES)
    assert next(iter(bins)) == "< 1"
    assert list(bins)[-1] == ">= 1024"
    assert list(bins.values())[1:-1] == [
        sum(low <= value < high for value in values) for low, high in pairwise(PIXEL_EDGES)
    ]
    assert sum(bins.values()) == len(values)


def test_no_images_and_no_objects_are_no_crash(build: Build) -> None:
    report = check(build([]))
    assert report.counts == {"images": 1, "images without objects": 1, "objects": 0, "class cat": 0, "class dog": 0}
    assert [issue.code for issue in report.issues if issue.severity == "error"] == ["labels.none"]
    assert json.loads(json.dumps(report.to_json()))["splits"][0]["histograms"] == {}


def test_a_file_of_many_images_is_named_with_the_image() -> None:
    where = ("object 1 (cat)", "zero area", "", "error", "boxes.zero-area", "val")
    assert str(Issue("boxes.json", *where, image="set/7.jpg")) == "boxes.json: 7.jpg: object 1 (cat): zero area"
    assert str(Issue("set/7.xml", *where, image="set/7.jpg")) == "set/7.xml: object 1 (cat): zero area"
