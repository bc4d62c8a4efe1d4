"""Translated images: size of the original, views, tiles, files and values."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from saccade.data.derived.tiles import tile_grid
from saccade.data.transforms.resize import resize_image
from saccade.errors import ConfigError
from saccade.ops.views import View
from saccade.results.translated_image import TranslatedImage
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo
from saccade.tasks.base import MergeOptions
from saccade.tasks.translation import TASK


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 / height, columns * 255 / width, rows * 0 + 90], axis=2).astype(np.uint8)


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_outputs_come_back_in_the_size_of_the_original(rule: str) -> None:
    image = gradient(90, 131)
    canvas, geometry = resize_image(image, InputSpec((64, 64), resize=rule))
    info = ImageInfo(3, "a.png", geometry, image)
    decoded = {"image": torch.from_numpy(canvas.transpose(2, 0, 1)[None]).float()}
    (result,) = TASK.results(decoded, [info], ())
    assert result.output.shape == image.shape
    assert np.abs(result.output.astype(int) - image)[3:-3, 3:-3].max() <= 6  # of the way there and back
    perfect = TASK.from_target({"target_image": canvas, "paired": np.array(True)}, info, ())
    assert np.abs(perfect.output.astype(int) - image)[3:-3, 3:-3].max() <= 6
    other = TASK.from_target({"target_image": gradient(20, 30), "paired": np.array(False)}, info, ())
    assert other.output.shape == image.shape


def test_very_dark_outputs_stay_dark() -> None:
    info = ImageInfo(0, "a.png", resize_image(gradient(8, 8), InputSpec((8, 8)))[1])
    (result,) = TASK.results({"image": torch.full((1, 3, 8, 8), 1.0)}, [info], ())
    assert result.output.max() == 1


def test_the_mirror_image_is_turned_back() -> None:
    image = torch.from_numpy(gradient(8, 12).transpose(2, 0, 1)[None].copy()).float()
    views = [View((8, 12), (8, 12)), View((8, 12), (8, 12), mirrored=True)]
    merged = TASK.merge_views([{"image": image}, {"image": image.flip(-1)}], views, MergeOptions())
    torch.testing.assert_close(merged["image"], image)


def test_tiles_join_without_seams() -> None:
    image = gradient(70, 100)
    grid = tile_grid((70, 100), (40, 40), overlap=0.25, margin=True)
    tiles = []
    for index in range(len(grid)):
        top, left = grid.origin(index)
        rows, columns = (np.clip(np.arange(start, start + 40), 0, side - 1) for start, side in ((top, 70), (left, 100)))
        about = {"path": "a.png", "image_id": 0, "image_size": (40, 40), "class_names": ()}
        tiles.append(TranslatedImage(**about, output=image[rows][:, columns]))
    joined = TASK.join_tiles(tiles, grid, MergeOptions())
    assert joined.image_size == (70, 100)
    np.testing.assert_array_equal(joined.output, image)
    brighter = [
        TranslatedImage(**{**vars(one), "output": one.output // 2 + 10 * number}) for number, one in enumerate(tiles)
    ]
    steps = np.abs(np.diff(TASK.join_tiles(brighter, grid, MergeOptions()).output.astype(int), axis=1))
    assert steps.max() < 10  # neighbours differ by 10, and pass into each other


def test_files_hold_the_drawing_the_output_and_the_values(tmp_path: Path) -> None:
    image, output = gradient(40, 60), 255 - gradient(40, 60)
    about = {"path": "a.png", "image_id": 7, "image_size": (40, 60), "class_names": (), "image": image}
    result = TranslatedImage(**about, output=output)
    drawn = cv2.imread(str(result.save(tmp_path / "drawing.png")), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape[1] > 2 * 60
    plain = cv2.imread(str(result.save_image(tmp_path / "plain.png")), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(plain, output)
    assert result.save_as("image", tmp_path / "again.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    values = json.loads(result.save(tmp_path / "a.json").read_text())
    assert (values["task"], values["image_id"]) == ("translation", 7)
    assert values["mean_change"] == pytest.approx(np.abs(image.astype(float) - output).mean() / 255)
    packed = np.frombuffer(base64.b64decode(result.to_coco()[0]["png"]), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB), output)
    with pytest.raises(ConfigError, match="save_image"):
        result.to_supervision()


def test_the_constant_baseline_changes_nothing(tmp_path: Path) -> None:
    image = gradient(8, 9)
    info = ImageInfo(0, "pair.png", resize_image(image, InputSpec((8, 9)))[1], image)
    baseline = TASK.constant_baseline([], None)
    np.testing.assert_array_equal(baseline(info).output, image)
