"""Tables of annotations, and the data sets over them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import ConcatDataset, subset
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo, VisionDataset


def random_rows(images: int, seed: int = 0) -> list[list[tuple[str, tuple[float, ...]]]]:
    """For each image its objects, as plain Python values."""
    rng = np.random.default_rng(seed)
    return [
        [
            (str(rng.choice(["cat", "dog"])), tuple(float(value) for value in rng.integers(0, 100, 4)))
            for _ in range(rng.integers(0, 5))
        ]
        for _ in range(images)
    ]


def build(rows: list[list[tuple[str, tuple[float, ...]]]], folder: str = "") -> AnnotationTable:
    builder = TableBuilder(["cat", "dog"])
    for index, objects in enumerate(rows):
        builder.add_image(f"{folder}{index}.png", size=(100, 120))
        for position, (name, box) in enumerate(objects):
            builder.add_object(name, box, tag=10 * index + position)
    return builder.build()


def unpack(table: AnnotationTable) -> list[list[tuple[str, tuple[float, ...]]]]:
    assert table.boxes is not None
    return [
        [
            (["cat", "dog"][table.labels[row]], tuple(table.boxes[row].tolist()))
            for row in range(table.objects(index).start, table.objects(index).stop)
        ]
        for index in range(len(table))
    ]


def dataset(table: AnnotationTable, split: str = "train", names: tuple[str, ...] = ("cat", "dog")) -> TableDataset:
    return TableDataset(DatasetInfo("toy", "detection", names, split), Path("data"), table)


def test_table_gives_back_what_was_added() -> None:
    rows = random_rows(30)
    table = build(rows)
    assert unpack(table) == rows
    assert table.image_index.tolist() == [index for index, objects in enumerate(rows) for _ in objects]
    assert [table.path(index) for index in (0, 29)] == ["0.png", "29.png"]


def test_selecting_images_equals_selecting_in_python() -> None:
    rows = random_rows(30)
    chosen = [7, 3, 3, 29, 0]
    table = build(rows).select_images(chosen)
    assert unpack(table) == [rows[index] for index in chosen]
    assert [table.path(index) for index in range(5)] == [f"{index}.png" for index in chosen]
    expected = [10 * index + position for index in chosen for position in range(len(rows[index]))]
    assert table.extras["tag"].tolist() == expected
    assert len(build(rows).select_images([])) == 0


def test_selecting_objects_keeps_all_images() -> None:
    rows = random_rows(30)
    table = build(rows)
    keep = table.labels == 1
    assert unpack(table.select_objects(keep)) == [[row for row in objects if row[0] == "dog"] for objects in rows]
    assert unpack(table.select_objects(np.zeros_like(keep))) == [[] for _ in rows]


def test_unknown_classes_keep_their_names() -> None:
    builder = TableBuilder(["cat"])
    builder.add_image("a.png")
    for name in ("emu", "cat", "yak", "emu"):
        builder.add_object(name, (0, 0, 1, 1))
    table = builder.build()
    assert table.labels.tolist() == [-1, 0, -2, -1]
    assert [table.class_name(label, ["cat"]) for label in table.labels.tolist()] == ["emu", "cat", "yak", "emu"]


def test_area_is_that_of_the_box_unless_given() -> None:
    builder = TableBuilder(["cat"])
    builder.add_image("a.png")
    builder.add_object("cat", (1, 2, 5, 4))
    builder.add_object("cat", (5, 4, 1, 2))
    builder.add_object("cat", (1, 2, 5, 4), area=3.5)
    assert builder.build().area.tolist() == [8.0, 0.0, 3.5]


def test_a_large_table_is_a_few_buffers() -> None:
    """What a worker receives must be arrays: 200,000 boxes pickle into a handful of objects of 53 bytes a box."""
    builder = TableBuilder(["cat"])
    for index in range(20_000):
        builder.add_image(f"images/{index:08d}.jpg", size=(480, 640))
        for _ in range(10):
            builder.add_object("cat", (1, 2, 3, 4))
    data = dataset(builder.build(), names=("cat",))
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    assert len(rest) < 10_000
    assert len(buffers) < 12
    assert sum(len(buffer.raw()) for buffer in buffers) < 11e6


def test_targets_are_the_callers_own() -> None:
    data = dataset(build(random_rows(10)))
    index = next(index for index in range(10) if data.table.objects(index).stop > data.table.objects(index).start)
    before = data.target(index)
    for array in data.target(index).values():
        array[...] = 0
    assert np.array_equal(data.target(index)["boxes"], before["boxes"])
    assert np.array_equal(data.target(index)["labels"], before["labels"])


def test_concatenated_parts_follow_each_other() -> None:
    first, second = build(random_rows(4), "a/"), build(random_rows(6, seed=1), "b/")
    both = ConcatDataset([dataset(first), dataset(second, "val")])
    assert isinstance(both, VisionDataset)
    assert len(both) == 10
    assert both.info.split == "train+val"
    assert both.path(3).endswith("a/3.png")
    assert both.path(4).endswith("b/0.png")
    assert np.array_equal(both.target(9)["boxes"], dataset(second).target(5)["boxes"])
    with pytest.raises(IndexError):
        both.target(10)


def test_concatenated_numbers_are_unique() -> None:
    """Evaluation counts a number once: parts that both count from 0 are numbered anew, COCO's numbers are kept."""
    scenes = ConcatDataset([DigitScenes("detection", "val", 3), DigitScenes("detection", "test", 3)])
    assert [scenes.read(index).info.image_id for index in range(6)] == [0, 1, 2, 3, 4, 5]
    parts = []
    for ids in ((50, 7), (9, 1000)):
        builder = TableBuilder(["cat", "dog"])
        for number in ids:
            builder.add_image(f"{number}.png", number)
        parts.append(dataset(builder.build()))
    assert ConcatDataset(parts).image_ids.tolist() == [50, 7, 9, 1000]


def test_parts_with_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"different tasks or classes \(cat, dog / cat, emu\)"):
        ConcatDataset([dataset(build(random_rows(2))), dataset(build(random_rows(2)), "val", ("cat", "emu"))])


def test_subset_of_tables_and_of_others() -> None:
    data = dataset(build(random_rows(10)))
    part = subset(data, [4, 2], "some")
    assert isinstance(part, TableDataset)
    assert part.info.split == "some"
    assert data.info.split == "train"
    assert [part.path(0), part.path(1)] == [data.path(4), data.path(2)]
    scenes = DigitScenes("classification", "val", 10)
    few = subset(scenes, [9, 1])
    assert len(few) == 2
    assert np.array_equal(few.read(0).image, scenes.read(9).image)
    assert few.target(1) == scenes.target(1)
    assert few.path(1) == scenes.path(1)
    assert ConcatDataset([few, few]).image_ids.tolist() == [0, 1, 2, 3]
