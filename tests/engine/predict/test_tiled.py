"""An image looked at in tiles gives the answer of the image looked at whole, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.engine.toys import Brightness, Corners, Rectangles, Smooth, paint, scatter

from saccade.data.derived.tiles import tile_grid
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.predict.large_images import LargeImage, open_images
from saccade.engine.predict.predict import predict
from saccade.engine.predict.tiled import Tiling, predict_tiled
from saccade.errors import ConfigError, DataError
from saccade.results.detections import Detections
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks import get_task


def _sorted(result: Any) -> NDArray[np.float32]:
    rows = np.concatenate([result.boxes_xyxy, result.scores[:, None], result.labels[:, None]], axis=1)
    return rows[np.lexsort(rows.T)]


def _noise(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, so that classes form regions."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("merge", ["nms", "wbf"])
@pytest.mark.parametrize("seed", range(6))
def test_tiles_find_what_the_whole_finds(seed: int, merge: Any) -> None:
    """Objects up to the overlap: every one is seen whole by some tile."""
    size = (int(150 + 17 * seed), 233)
    boxes, labels = scatter(size, largest=18, number=120, seed=seed)
    image = paint(size, boxes, labels)
    whole = next(predict(Rectangles(), image))
    tiled = next(predict(Rectangles(), image, 3, tiling=Tiling((64, 64), 0.3125, merge=merge)))
    assert len(boxes) > 40
    np.testing.assert_array_equal(_sorted(tiled), _sorted(whole))
    assert (np.diff(tiled.scores) <= 0).all()
    assert (tiled.path, tiled.image_id, tiled.image_size) == ("array-0", 0, size)
    assert tiled.image is image


@pytest.mark.parametrize("seed", range(6))
def test_objects_larger_than_any_tile_are_joined(seed: int) -> None:
    """Neighbours agree about the strip that both see, so pieces find together; their score is that of a piece."""
    rng = np.random.default_rng(seed)
    boxes = []
    for band in range(5):  # long bars, one below the other, lying and standing
        start, length = int(rng.integers(0, 60)), int(rng.integers(70, 170))
        boxes.append([start, 40 * band + 3, start + length, 40 * band + 3 + int(rng.integers(4, 34))])
    boxes.append([235, 5, 245, 195])
    image = paint((200, 250), boxes, [0, 1, 0, 1, 0, 1])
    whole = next(predict(Rectangles(), image))
    tiled = next(predict(Rectangles(), image, tiling=Tiling((64, 64), 0.25)))
    found, expected = (
        sorted(zip(result.boxes_xyxy.tolist(), result.labels.tolist(), strict=True)) for result in (tiled, whole)
    )
    assert len(expected) == 6
    assert found == expected


def test_masks_of_tiles_become_masks_of_the_image() -> None:
    """With masks beside the boxes, each mask of the whole is the union of what its tiles saw."""
    size = (120, 150)
    boxes, labels = scatter(size, largest=70, number=60, seed=3)
    ground_truth = np.zeros((len(boxes), *size), np.bool_)
    for mask, (x1, y1, x2, y2) in zip(ground_truth, boxes.tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
        mask[y1, x1] = y2 - y1 < 6  # not a rectangle
    grid, tiling = tile_grid(size, (64, 64), 0.3), Tiling((64, 64), 0.3)

    def results() -> Any:
        for index in range(len(grid)):
            top, left = grid.origin(index)
            seen = ground_truth[:, top : top + 64, left : left + 64]
            keep = seen.any(axis=(1, 2))
            tight = [cv2.boundingRect(mask.astype(np.uint8)) for mask in seen[keep]]
            yield Detections(
                path="", image_id=0, image_size=(64, 64), class_names=("red", "green"),
                boxes_xyxy=np.array([(x, y, x + width, y + height) for x, y, width, height in tight], np.float32),
                scores=np.full(keep.sum(), 0.5), labels=labels[keep], masks=seen[keep],
            )  # fmt: skip

    joined = get_task("detection").join_tiles(results(), grid, tiling.merge_options)
    assert isinstance(joined, Detections)
    assert len(joined) == len(boxes)
    order = [int(np.flatnonzero((joined.boxes_xyxy == box).all(axis=1))[0]) for box in boxes]
    np.testing.assert_array_equal(np.asarray(joined.masks)[order], ground_truth)
    assert np.asarray(joined.masks).shape == (len(boxes), *size)
    assert {entry["mask_rle"]["size"][1] for entry in joined.to_json()["objects"]} == {150}
    fused = get_task("detection").join_tiles(results(), grid, Tiling((64, 64), 0.3, merge="wbf").merge_options)
    assert isinstance(fused, Detections)
    assert sorted(mask.sum() for mask in np.asarray(fused.masks)) == sorted(mask.sum() for mask in ground_truth)


def test_two_close_objects_of_one_tile_are_left_to_the_network() -> None:
    """What a network gives as two boxes, however much they overlap, tiles do not make one."""
    grid = tile_grid((64, 100), (64, 64), 0.5)
    pair = np.array([[40, 10, 60, 30], [42, 10, 62, 30]], np.float32)

    def results() -> Any:
        for index in range(len(grid)):
            _, left = grid.origin(index)
            boxes = pair - np.array([left, 0, left, 0], np.float32)
            seen = (boxes[:, 0] >= 0) & (boxes[:, 2] <= 64)
            yield Detections(
                path="", image_id=0, image_size=(64, 64), class_names=("a",), boxes_xyxy=boxes[seen],
                scores=np.array([0.9, 0.8])[seen], labels=np.zeros(seen.sum()),
            )  # fmt: skip

    for merge in ("nms", "wbf"):
        joined = get_task("detection").join_tiles(results(), grid, Tiling((64, 64), 0.5, merge=merge).merge_options)  # type: ignore[arg-type]
        assert isinstance(joined, Detections)
        np.testing.assert_allclose(joined.boxes_xyxy, pair)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("options", [{"blend": "core"}, {"blend": "core", "mirror": True}, {"blend": "tent"}])
@pytest.mark.parametrize("size", [(100, 170), (64, 64), (40, 90), (131, 65)])
def test_class_maps_of_tiles_are_that_of_the_whole(size: tuple[int, int], options: Any, classes: int) -> None:
    """The network sees two pixels around each; the core of a tile lies farther than that from its edges."""
    image = _noise(size)
    image = image[:, :, :1].repeat(3, 2) if classes == 1 else image
    whole = next(predict(Smooth(classes), image))
    tiled = next(predict(Smooth(classes), image, 2, tiling=Tiling((64, 64), 0.25, **options)))
    assert isinstance(whole, SegmentationMap)
    assert isinstance(tiled, SegmentationMap)
    assert tiled.class_names == whole.class_names
    assert tiled.label_map.dtype == np.uint8
    assert len(np.unique(whole.label_map)) == max(classes, 2)
    agree = tiled.label_map == whole.label_map
    if options["blend"] == "tent":
        # The tile's own edge has a little weight, which decides where two classes are almost equal.
        assert agree.mean() > 0.995
        return
    # Beyond the image the whole sees black, and so do tiles unless they see a mirror.
    known = (slice(2, -2), slice(2, -2)) if options.get("mirror") else (slice(None), slice(None))
    assert agree[known].all()
    if classes == 1:
        assert whole.probabilities is not None
        assert tiled.probabilities is not None
        np.testing.assert_array_equal(tiled.probabilities[known], whole.probabilities[known])


def test_a_tent_weighs_each_pixel_by_its_distance_from_the_edge() -> None:
    """The runtime says of each pixel how far right it lies in its tile; between tiles that must change evenly."""

    class Place(Smooth):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            _, _, height, width = images.shape
            ramp = (torch.arange(width) + 0.5) / width
            return {"probabilities": ramp.expand(len(images), 1, height, width)}

    result = next(predict(Place(1), np.zeros((64, 112, 3), np.uint8), tiling=Tiling((64, 64), 0.25)))
    assert isinstance(result, SegmentationMap)
    assert result.probabilities is not None
    row = result.probabilities[0]
    ramp = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(row[:48], ramp[:48], rtol=1e-6)
    np.testing.assert_allclose(row[64:], ramp[16:], rtol=1e-6)
    share = (np.arange(16) + 0.5) / 16  # of the right tile
    np.testing.assert_allclose(row[48:64], (1 - share) * ramp[48:] + share * ramp[:16], rtol=1e-5)
    assert (result.probabilities == row).all()


def test_mirrored_borders_show_the_image_reflected() -> None:
    pixels = _noise((30, 20))
    image = LargeImage("image", pixels, 3)
    expected = cv2.copyMakeBorder(pixels, 7, 12, 9, 40, cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(image.window(-7, -9, (49, 69), mirror=True), expected)
    np.testing.assert_array_equal(image.window(3, 4, (5, 6), mirror=True), pixels[3:8, 4:10])
    padded = cv2.copyMakeBorder(pixels, 7, 12, 9, 40, cv2.BORDER_CONSTANT, value=(9, 9, 9))
    np.testing.assert_array_equal(image.window(-7, -9, (49, 69), fill=9), padded)


def test_points_of_tiles_are_those_of_the_whole() -> None:
    image = np.zeros((140, 200, 3), np.uint8)
    for x, y, width in ((5, 10, 15), (50, 60, 16), (120, 62, 12), (60, 100, 18), (186, 130, 14)):
        image[y : y + 8, x : x + width] = 255
    whole = next(predict(Corners(), image))
    tiled = next(predict(Corners(), image, tiling=Tiling((64, 64), 0.35)))
    assert len(whole) == 5
    flat = [np.array(sorted(result.keypoints.reshape(-1, 4).tolist())) for result in (whole, tiled)]
    np.testing.assert_array_equal(*flat)
    nothing = next(predict(Corners(), image * 0, tiling=Tiling((64, 64))))
    assert len(nothing) == 0


def test_classes_are_the_mean_of_the_tiles() -> None:
    image = _noise((128, 192))
    tiled = next(predict(Brightness(), image, tiling=Tiling((64, 64), 0.0)))
    whole = next(predict(Brightness(), image))
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-6)
    assert tiled.class_names == ("dark", "bright")


def test_tiles_go_through_the_resize_rule_of_the_model() -> None:
    """Tiles of 64 pixels on a canvas of 128: the network sees everything twice as large, the answer is in place."""
    boxes, labels = scatter((100, 100), largest=14, number=20, seed=1)
    image = paint((100, 100), boxes, labels)
    enlarged = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    runtime = Rectangles(InputSpec((128, 128), resize="letterbox", pad_value=0))
    tiled = next(predict(runtime, enlarged, 4, tiling=Tiling((256, 256), 0.5)))
    assert runtime.batches == [(1, 3, 128, 128)]
    np.testing.assert_allclose(_sorted(tiled)[:, :4], _sorted(next(predict(Rectangles(), enlarged)))[:, :4])
    small = Rectangles(InputSpec((32, 32), resize="stretch", pad_value=0))
    list(predict(small, image, 4, tiling=Tiling((64, 64), 0.25)))
    assert small.batches == [(4, 3, 32, 32)]


class _Painted:
    """Images of rectangles with their ground truth."""

    def __init__(self) -> None:
        self.info = DatasetInfo("painted", "detection", ("red", "green"), "test")
        self.ground_truths = [scatter((130, 150 + 9 * index), largest=16, number=40, seed=index) for index in range(3)]

    def __len__(self) -> int:
        return len(self.ground_truths)

    def path(self, index: int) -> str:
        return f"painted-{index}"

    def target(self, index: int) -> Target:
        boxes, labels = self.ground_truths[index]
        return {"boxes": boxes.astype(np.float64), "labels": labels}

    def read(self, index: int) -> Sample:
        size = (130, 150 + 9 * index)
        return Sample(
            paint(size, *self.ground_truths[index]),
            self.target(index),
            ImageInfo(10 + index, self.path(index), Geometry.identity(size)),
        )


def test_evaluation_over_tiles_scores_whole_images() -> None:
    """A canvas of 64 cannot show these images; tiles of 64 find everything."""
    runtime = Rectangles(InputSpec((64, 64), resize="letterbox", pad_value=0))
    report = evaluate(runtime, _Painted(), batch_size=4, tiling=Tiling((64, 64), 0.3))
    assert report.values["AP"] == pytest.approx(1.0)
    assert sum(row["objects"] for row in report.per_class) == sum(
        len(ground_truth[0]) for ground_truth in _Painted().ground_truths
    )
    assert evaluate(runtime, _Painted(), batch_size=4).values["AP"] < 0.5
    assert max(shape[0] for shape in runtime.batches) == 4
    with pytest.raises(ConfigError, match="a loss is one of whole canvases"):
        evaluate(runtime, _Painted(), tiling=Tiling((64, 64)), loss=lambda batch: {})


def _peak(run: Any) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 6,000 x 6,000 pixels in bands of 500 rows, in a file that can be mapped."""
    file = tmp_path_factory.mktemp("huge") / "huge.npy"
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(6000, 6000, 3))
    for row in range(0, 6000, 500):
        pixels[row : row + 500, ..., (row // 500) % 3] = 200
    pixels.flush()
    return file


@pytest.mark.parametrize("options", [{"blend": "core"}, {"blend": "tent"}, {"blend": "core", "mirror": True}])
def test_memory_does_not_grow_with_the_height_of_the_image(huge: Path, tmp_path: Path, options: Any) -> None:
    """A mapped image of 6,000 x 6,000 is 108 MB, its probabilities would be 432 MB; a band of tiles is 18 MB."""

    class Ramps(Smooth):
        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"probabilities": images.float() / 765}

    found = []
    tiling = Tiling((256, 256), 0.125, **options)

    def run() -> None:
        found.extend(predict_tiled(Ramps(), huge, tiling, 8, keep_images=False, map_folder=tmp_path / "maps"))

    band = 3 * 256 * 6000 * 4
    assert _peak(run) < 30e6 + (band if options["blend"] == "tent" else 0)
    (result,) = found
    assert isinstance(result.label_map, np.memmap)
    assert Path(tmp_path / "maps" / "huge.npy").is_file()
    assert result.label_map.dtype == np.uint8
    np.testing.assert_array_equal(result.label_map[250::500, 77], np.arange(12) % 3)
    np.testing.assert_array_equal(np.load(tmp_path / "maps" / "huge.npy")[::500, 5999], np.arange(12) % 3)


def test_masks_of_a_large_image_stay_small() -> None:
    """A hundred objects, each with a mask; as arrays of the image they would be 1.6 GB."""
    grid, tiling = tile_grid((4000, 4000), (400, 400), 0.0), Tiling((400, 400), 0.0)
    mask = np.zeros((1, 400, 400), np.bool_)
    mask[0, 100:200, 150:300] = True

    def results() -> Any:
        for _ in range(len(grid)):
            yield Detections(
                path="", image_id=0, image_size=(400, 400), class_names=("a",), masks=mask,
                boxes_xyxy=np.array([[150, 100, 300, 200]], np.float32), scores=np.ones(1), labels=np.zeros(1),
            )  # fmt: skip

    kept: list[Any] = []
    assert _peak(lambda: kept.append(get_task("detection").join_tiles(results(), grid, tiling.merge_options))) < 10e6
    (joined,) = kept
    assert joined.masks.shape == (100, 4000, 4000)
    assert joined.masks[57].sum() == 100 * 150


def test_files_are_read_in_parts_where_they_can_be(tmp_path: Path) -> None:
    pixels = _noise((90, 120))
    Image.fromarray(pixels).save(tmp_path / "plain.tif")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.tif")
    Image.fromarray(pixels).save(tmp_path / "packed.tif", compression="tiff_lzw")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    np.save(tmp_path / "array.npy", pixels)
    kinds = {}
    for name in ("plain.tif", "grey.tif", "packed.tif", "photo.png", "array.npy"):
        (image,) = open_images(tmp_path / name, 3)
        kinds[name] = isinstance(image.pixels, np.memmap)
        expected = pixels[..., :1].repeat(3, 2) if name == "grey.tif" else pixels
        np.testing.assert_array_equal(image.window(0, 0, (90, 120)), expected)
        np.testing.assert_array_equal(image.window(20, 30, (40, 50)), expected[20:60, 30:80])
    assert kinds == {"plain.tif": True, "grey.tif": True, "packed.tif": False, "photo.png": False, "array.npy": True}
    cut = (tmp_path / "plain.tif").read_bytes()
    (tmp_path / "short.tif").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(DataError, match=r"short\.tif"):
        list(open_images(tmp_path / "short.tif", 3))


def test_every_kind_of_source_can_be_tiled() -> None:
    boxes, labels = scatter((100, 120), largest=12, number=30, seed=0)
    image = paint((100, 120), boxes, labels)
    sources = [image, image / 255, Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1), image[..., :3]]
    results = list(predict(Rectangles(), sources, tiling=Tiling((64, 64), 0.25)))
    assert [result.path for result in results] == [f"array-{index}" for index in range(5)]
    for result in results:
        np.testing.assert_array_equal(_sorted(result), _sorted(results[0]))
    mixed = list(predict(Smooth(3), [image[..., 0]], tiling=Tiling((64, 64))))
    assert mixed[0].image_size == (100, 120)


def test_what_is_too_large_or_no_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(_noise((90, 120))).save(tmp_path / "photo.png")
    monkeypatch.setattr("saccade.engine.predict.large_images.MAX_PIXELS", 10_000)
    tiling = Tiling((64, 64))
    with pytest.raises(DataError, match=r"photo.png: 120x90 pixels exceed .* Save it as a .npy array or as an uncomp"):
        list(predict(Smooth(), tmp_path / "photo.png", tiling=tiling))
    np.save(tmp_path / "huge.npy", _noise((200, 300)))  # above the limit, but read in parts
    assert next(predict(Smooth(), tmp_path / "huge.npy", tiling=tiling)).image_size == (200, 300)
    np.save(tmp_path / "floats.npy", np.zeros((40, 40)))
    (tmp_path / "text.npy").write_text("nothing")
    for name, message in (("floats", r"as uint8, got float64 \(40, 40\)"), ("text", "this is no array file")):
        with pytest.raises(DataError, match=rf"{name}\.npy: .*{message}"):
            list(predict(Smooth(), tmp_path / f"{name}.npy", tiling=tiling))
    with pytest.raises(DataError, match="source 1: expected pixels"):
        list(predict(Smooth(), [_noise((40, 40)), np.zeros((1, 4, 4, 4, 4), np.uint8)], tiling=tiling))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": (0, 4)}, "a tile of 4x0 pixels is empty"),
        ({"tile": (4, 4), "overlap": 1.0}, "overlap is a share"),
        ({"tile": (4, 4), "merge": "mean"}, "merge is 'mean'. Choose from: nms, wbf"),
        ({"tile": (4, 4), "blend": "max"}, "blend is 'max'. Choose from: tent, core"),
        ({"tile": (4, 4), "iou_threshold": 0.0}, "iou_threshold is a share, above 0 to 1"),
    ],
)
def test_tilings_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tiling(**options)


def test_a_detector_is_not_asked_about_mirror_images() -> None:
    with pytest.raises(ConfigError, match="rectangles would find objects in the mirror"):
        list(predict(Rectangles(), _noise((40, 40)), tiling=Tiling((32, 32), mirror=True)))


def test_class_maps_of_equal_names_are_kept_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(_noise((50, 50))).save(tmp_path / folder / "photo.png")
    files = [tmp_path / "a" / "photo.png", tmp_path / "b" / "photo.png"]
    list(predict_tiled(Smooth(), files, Tiling((32, 32)), map_folder=tmp_path / "maps"))
    assert sorted(file.name for file in (tmp_path / "maps").iterdir()) == ["photo-2.npy", "photo.npy"]
