"""Tiles cover images exactly, and a tile's ground truth is the image's ground truth seen through its window."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import ConcatDataset
from saccade.data.derived.tiles import TiledDataset, tile_grid
from saccade.data.open import open_dataset
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.train.config import DataConfig, TileConfig, TrainConfig
from saccade.engine.train.configfile import config_to_yaml, load_config
from saccade.engine.train.setup import open_datasets
from saccade.errors import ConfigError, DataError
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target


class Arrays:
    """Images and ground truths in memory; counts how often each is read."""

    def __init__(
        self, images: list[NDArray[np.uint8]], targets: list[Target], task: str, names: tuple[str, ...]
    ) -> None:
        self.info = DatasetInfo("arrays", task, names, "train")
        self.images, self.targets = images, targets
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def path(self, index: int) -> str:
        return f"image-{index}"

    def target(self, index: int) -> Target:
        return self.targets[index]

    def read(self, index: int) -> Sample:
        self.reads.append(index)
        image = self.images[index]
        info = ImageInfo(index, self.path(index), Geometry.identity((image.shape[0], image.shape[1])))
        return Sample(image, self.target(index), info)


def _noise(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 90),
    st.integers(1, 90),
    st.floats(0, 0.99),
    st.booleans(),
)
def test_a_grid_covers_every_pixel_and_no_more_than_it_must(
    height: int, width: int, tile_height: int, tile_width: int, overlap: float, margin: bool
) -> None:
    grid = tile_grid((height, width), (tile_height, tile_width), overlap, margin)
    assert len({grid.origin(index) for index in range(len(grid))}) == len(grid) == len(grid.rows) * len(grid.columns)
    for axis, (starts, length, tile) in enumerate(
        ((grid.rows, height, tile_height), (grid.columns, width, tile_width))
    ):
        shared = grid.overlap[axis]
        assert shared <= max(round(overlap * tile), 0)
        around = shared // 2 if margin else 0
        covered = np.zeros(length, np.bool_)
        for start in starts:
            covered[max(start, 0) : start + tile] = True
        assert covered.all()
        assert starts[0] == -around
        assert all(0 < after - before <= tile - shared for before, after in itertools.pairwise(starts))
        # The last one ends with the image (and its margin), unless one tile is larger than all of it.
        assert starts[-1] + tile == length + around or len(starts) == 1


def test_the_last_tile_is_shifted_inside() -> None:
    grid = tile_grid((100, 250), (100, 100), 0.2)
    assert grid.rows == (0,)
    assert grid.columns == (0, 80, 150)
    assert grid.spans(0).tolist() == [[-np.inf, np.inf]]
    assert grid.spans(1).tolist() == [[-np.inf, 100], [80, 180], [150, np.inf]]
    assert tile_grid((40, 60), (100, 100), 0.5).columns == (0,)


def test_tiles_show_the_pixels_under_them() -> None:
    image = _noise((70, 130))
    data = TiledDataset(Arrays([image], [{"labels": np.array(3)}], "classification", ("a", "b", "c", "d")), (50, 60))
    assert isinstance(data, VisionDataset)
    seen = np.zeros((70, 130), np.bool_)
    for index in range(len(data)):
        _, top, left = data.origin(index)
        sample = data.read(index)
        np.testing.assert_array_equal(sample.image, image[top : top + 50, left : left + 60])
        assert sample.target["labels"] == 3
        assert sample.info.geometry.original_size == sample.info.geometry.size == (50, 60)
        assert sample.info.image_id == data.image_ids[index]
        seen[top : top + 50, left : left + 60] = True
    assert seen.all()
    assert len(data) == 2 * 3


def test_boxes_masks_and_points_are_cut_with_their_tile() -> None:
    masks = np.zeros((3, 60, 100), np.uint8)
    boxes = np.array([[10, 10, 30, 40], [48, 20, 70, 30], [90, 50, 100, 60]], np.float64)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int).tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    points = np.array([[[20, 25, 2]], [[60, 25, 1]], [[95, 55, 2]]], np.float32)
    target = {
        "boxes": boxes, "labels": np.array([0, 1, 0]), "masks": masks, "keypoints": points,
        "area": np.array([600.0, 220, 100]), "iscrowd": np.array([False, True, False]),
    }  # fmt: skip
    arrays = Arrays([_noise((60, 100))], [target], "detection", ("a", "b"))
    data = TiledDataset(arrays, (60, 50), overlap=0.0)
    assert len(data) == 2
    # Of the second box a tenth is left of column 50, which is not enough.
    first, second = data.read(0).target, data.read(1).target
    assert first["boxes"].tolist() == [[10, 10, 30, 40]]
    assert first["labels"].tolist() == [0]
    assert second["boxes"].tolist() == [[0, 20, 20, 30], [40, 50, 50, 60]]
    assert second["iscrowd"].tolist() == [True, False]
    assert second["area"].tolist() == [200, 100]
    np.testing.assert_array_equal(second["masks"], masks[1:, :, 50:])
    assert second["keypoints"].tolist() == [[[10, 25, 1]], [[45, 55, 2]]]
    for index in range(2):  # the ground truth alone is the same
        read, alone = data.read(index).target, TiledDataset(arrays, (60, 50), 0.0).target(index)
        assert read.keys() == alone.keys()
        for key in read:
            np.testing.assert_array_equal(read[key], alone[key])


def test_label_maps_are_cut_and_ignored_outside_of_a_small_image() -> None:
    label_map = np.random.default_rng(0).integers(0, 4, (30, 45)).astype(np.uint8)
    data = TiledDataset(
        Arrays([_noise((30, 45))], [{"label_map": label_map}], "segmentation", ("a",) * 4), (40, 30), 0.5
    )
    assert [data.origin(index)[1:] for index in range(len(data))] == [(0, 0), (0, 15)]
    sample = data.read(1)
    assert sample.image.shape == (40, 30, 3)
    np.testing.assert_array_equal(sample.target["label_map"][:30], label_map[:, 15:])
    assert (sample.target["label_map"][30:] == 255).all()
    assert (sample.image[30:] == 114).all()


def test_each_image_is_decoded_once_when_tiles_are_read_in_order() -> None:
    arrays = Arrays(
        [_noise((64, 64), seed) for seed in range(3)], [{"labels": np.array(0)}] * 3, "classification", ("a",)
    )
    data = TiledDataset(arrays, (32, 32), 0.25)
    arrays.reads.clear()  # data sets without files have to be read once to know their sizes
    for index in range(len(data)):
        data.read(index)
    assert arrays.reads == [0, 1, 2]
    assert not pickle.loads(pickle.dumps(data))._cache


def test_the_cache_forgets_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.data.derived.tiles._CACHE_BYTES", 64 * 64 * 3 + 8)
    arrays = Arrays(
        [_noise((64, 64), seed) for seed in range(2)], [{"labels": np.array(0)}] * 2, "classification", ("a",)
    )
    data = TiledDataset(arrays, (64, 64))
    arrays.reads.clear()
    for index in (0, 0, 1, 1, 0):
        data.read(index)
    assert arrays.reads == [0, 1, 0]


def test_empty_tiles_are_thinned_and_numbers_stay() -> None:
    boxes = np.array([[5, 5, 20, 20]], np.float64)
    target = {"boxes": boxes, "labels": np.array([0])}
    arrays = Arrays([_noise((200, 200))] * 4, [target] * 4, "detection", ("a",))
    whole = TiledDataset(arrays, (25, 25), 0.0)
    assert len(whole) == 4 * 64
    none = TiledDataset(arrays, (25, 25), 0.0, keep_empty=0.0)
    assert [none.origin(index) for index in range(len(none))] == [(image, 0, 0) for image in range(4)]
    assert none.image_ids.tolist() == [0, 64, 128, 192]
    assert [none.read(index).info.image_id for index in range(4)] == none.image_ids.tolist()
    some = TiledDataset(arrays, (25, 25), 0.0, keep_empty=0.3, seed=1)
    assert 40 < len(some) < 120
    assert some.image_ids.tolist() == TiledDataset(arrays, (25, 25), 0.0, keep_empty=0.3, seed=1).image_ids.tolist()
    assert some.image_ids.tolist() != TiledDataset(arrays, (25, 25), 0.0, keep_empty=0.3, seed=2).image_ids.tolist()
    assert set(none.image_ids.tolist()) <= set(some.image_ids.tolist())


@pytest.mark.parametrize(("names", "left"), [(("background", "cell"), 1), (("cell",), 1), (("sky", "cell"), 4)])
def test_a_tile_of_background_is_empty(names: tuple[str, ...], left: int) -> None:
    label_map = np.zeros((40, 40), np.uint8)
    label_map[:20, :20] = 1
    label_map[30:, 30:] = 255
    arrays = Arrays([_noise((40, 40))], [{"label_map": label_map}], "segmentation", names)
    assert len(TiledDataset(arrays, (20, 20), 0.0, keep_empty=0.0)) == left


def test_points_without_boxes_count_where_they_are() -> None:
    points = np.array([[[5, 5, 2], [35, 35, 0]]], np.float32)
    arrays = Arrays(
        [_noise((40, 40))], [{"keypoints": points, "labels": np.zeros(1, np.int64)}], "keypoints", ("a", "b")
    )
    data = TiledDataset(arrays, (20, 20), 0.0, keep_empty=0.0)
    assert [data.origin(index) for index in range(len(data))] == [(0, 0, 0)]
    empty = Arrays(
        [_noise((40, 40))], [{"keypoints": points * 0, "labels": np.zeros(1, np.int64)}], "keypoints", ("a", "b")
    )
    with pytest.raises(DataError, match="no tile of split 'train' holds any ground truth"):
        TiledDataset(empty, (20, 20), 0.0, keep_empty=0.0)


def _table(root: Path, sizes: list[tuple[int, int]]) -> TableDataset:
    builder = TableBuilder(["thing"])
    for index, size in enumerate(sizes):
        builder.add_image(f"{index}.png", size=size)
        builder.add_object("thing", (2, 2, 12, 12))
    return TableDataset(DatasetInfo("table", "detection", ("thing",), "train"), root, builder.build())


def test_sizes_come_from_annotations_or_headers_not_from_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), _noise((50, 90)))
    part = _table(tmp_path, [(50, 90), (0, 0)])
    with monkeypatch.context() as patched:
        patched.setattr(TableDataset, "pixels", TableDataset.pixels)
        patched.setattr("saccade.data.tables.table_dataset.read_image", None)  # nothing may be decoded
        data = TiledDataset(ConcatDataset([part, part]), (50, 50), 0.0)
    assert len(data) == 8
    assert len(set(data.image_ids.tolist())) == 8
    assert data.read(7).image.shape == (50, 50, 3)
    assert data.path(7) == str(tmp_path / "1.png")
    wrong = TiledDataset(_table(tmp_path, [(50, 60)]), (50, 50))
    with pytest.raises(DataError, match=r"0.png: size: 60x50 .* has 90x50 pixels. Correct the annotated size"):
        wrong.read(0)


def test_generated_scenes_can_be_tiled() -> None:
    data = TiledDataset(DigitScenes("segmentation", "train", count=2, size=(96, 96)), (64, 64), 0.25)
    assert len(data) == 8
    for index in range(8):
        sample = data.read(index)
        assert sample.image.shape == (64, 64, 3)
        assert sample.target["label_map"].shape == (64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 10)}, "a tile of 10x0 pixels is empty"),
        ({"size": (10, 10), "overlap": 1.0}, "overlap is a share of the tile, 0 to below 1; got 1.0"),
        ({"size": (10, 10), "keep_empty": 2.0}, "keep_empty is a share, 0 to 1; got 2.0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    arrays = Arrays([_noise((20, 20))], [{"labels": np.array(0)}], "classification", ("a",))
    with pytest.raises(ConfigError, match=message):
        TiledDataset(arrays, **options)  # type: ignore[arg-type]


def test_a_run_is_configured_with_tiles(tmp_path: Path) -> None:
    config = TrainConfig(
        model="yolox_nano", data=DataConfig(source="digit_scenes", val="val", tile=TileConfig((64, 96), 0.1, 0.5))
    )
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(config))
    assert load_config(file) == config
    # What was written before there were tiles means no tiles.
    old = "\n".join(line for line in file.read_text().splitlines() if "tile" not in line)
    old = old.replace("    size:\n    - 64\n    - 96\n    overlap: 0.1\n    keep_empty: 0.5", "")
    file.write_text(old)
    assert load_config(file).data.tile == TileConfig()


def test_only_training_passes_over_empty_tiles(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    lines = []
    for split in ("train", "val"):
        cv2.imwrite(str(tmp_path / split / "a.png"), _noise((80, 80)))
        lines.append(
            '{"images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 80}], '
            '"categories": [{"id": 1, "name": "thing"}], "annotations": '
            '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}]}'
        )
    (tmp_path / "annotations").mkdir()
    for split, text in zip(("train", "val"), lines, strict=True):
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(text)
    tile = TileConfig((40, 40), overlap=0.0, keep_empty=0.0)
    data = open_datasets(TrainConfig(model="yolox_nano", data=DataConfig(source=str(tmp_path), tile=tile)))
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (1, 4)
    assert "train 1, val 4" in data.describe()


@pytest.mark.data("bccd")
def test_tiles_of_real_images_lie_where_they_should(data_root: Path) -> None:
    data = open_dataset("bccd", "val", bad_labels="drop")
    tiles = TiledDataset(data, (200, 260), overlap=0.2)
    assert len(tiles) == 9 * len(data)
    for index in range(9):
        image, top, left = tiles.origin(index)
        sample, whole = tiles.read(index), data.read(image)
        np.testing.assert_array_equal(sample.image, whole.image[top : top + 200, left : left + 260])
        # Each box of the tile is a true one of its class, clipped.
        moved = whole.target["boxes"] - np.array([left, top, left, top])
        clipped = np.clip(moved, 0, np.array([260, 200, 260, 200]))
        for box, label in zip(sample.target["boxes"], sample.target["labels"], strict=True):
            assert ((np.abs(clipped - box).max(axis=1) < 1e-3) & (whole.target["labels"] == label)).any()
