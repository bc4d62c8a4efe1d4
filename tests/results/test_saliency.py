"""The foreground of an image: soft map, drawings, cut-out, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from saccade.errors import ConfigError, DataError
from saccade.results.images import write_image
from saccade.results.saliency import SaliencyMap

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
SOFT = np.zeros((48, 64), np.float32)
SOFT[:24, :32], SOFT[:24, 32:40] = 1.0, 0.25


@pytest.fixture
def result() -> SaliencyMap:
    about = {"path": "a.jpg", "image_id": 7, "image_size": (48, 64), "class_names": ("background", "person")}
    return SaliencyMap(**about, image=IMAGE, label_map=(SOFT >= 0.5).astype(np.uint8), probabilities=SOFT)


def test_a_cutout_has_the_pixels_of_the_original(result: SaliencyMap, tmp_path: Path) -> None:
    cutout = result.cutout()
    assert np.array_equal(cutout[..., :3], IMAGE)
    assert cutout[0, 0, 3] == 255
    assert cutout[0, 35, 3] == 64
    assert cutout[40, 0, 3] == 0
    assert set(np.unique(result.cutout(threshold=0.2)[..., 3])) == {0, 255}
    assert np.count_nonzero(result.cutout(threshold=0.2)[..., 3]) == 24 * 40
    written = Image.open(result.save_cutout(tmp_path / "new" / "cut.png"))
    assert written.mode == "RGBA"
    assert np.array_equal(np.asarray(written), cutout)
    result.image, result.path = None, str(write_image(tmp_path / "a.png", IMAGE))
    assert np.array_equal(result.cutout(), cutout), "the file is read again"
    result.image = IMAGE[:40]
    with pytest.raises(DataError, match="40x64 pixels, its saliency map 48x64"):
        result.cutout()


def test_a_grey_and_a_16_bit_image_are_cut_out_too(result: SaliencyMap) -> None:
    for image in (IMAGE[..., :1], IMAGE[..., 0], IMAGE.astype(np.uint16) * 257):
        cutout = replace(result, image=image).cutout()
        assert cutout.shape == (48, 64, 4)
        assert cutout.dtype == np.uint8


def test_the_soft_map_is_a_grey_png(result: SaliencyMap, tmp_path: Path) -> None:
    written = Image.open(result.save_map(tmp_path / "map.png"))
    assert written.mode == "L"
    assert np.array_equal(np.asarray(written), np.rint(255 * SOFT))
    for save in (result.save_map, result.save_cutout, result.save_labels):
        with pytest.raises(ConfigError, match=r"a\.jpg: .*\.png"):
            save(tmp_path / "a.jpg")


def test_drawings_show_heat_or_a_checkerboard(result: SaliencyMap) -> None:
    drawn, cut = result.plot(), result.plot_cutout()
    for image in (drawn, cut):
        assert image.dtype == np.uint8
        assert image.shape[1] == 512, "an image of 64 pixels is enlarged"
    assert np.array_equal(np.unique(cut[-100:]), [153, 204]), "nothing but the board where nothing is foreground"
    enlarged = drawn[:384].astype(int)
    assert np.abs(enlarged[-100:] - replace(result, probabilities=0 * SOFT).plot()[:384][-100:]).max() == 0
    assert np.abs(enlarged[:150, :200] - replace(result, probabilities=0 * SOFT).plot()[:150, :200]).max() > 50


def test_values_and_coco_entries_have_the_foregrounds_run_lengths(result: SaliencyMap, tmp_path: Path) -> None:
    assert result.describe() == "person 25.0%"
    assert replace(result, label_map=0 * result.label_map).describe() == "nothing"
    values = json.loads(result.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert values == result.to_json()
    assert (values["task"], values["name"], values["share"]) == ("saliency", "person", 0.25)
    assert values["mean_saliency"] == pytest.approx(0.25 + 0.25 * 24 * 8 / (48 * 64))
    (entry,) = result.to_coco(category_ids=[0, 9])
    assert entry["category_id"] == 9
    for runs in (entry["segmentation"], values["mask_rle"]):
        assert coco_mask.area(runs) == 24 * 32


def test_a_ground_truth_without_a_soft_map_stands_for_itself(result: SaliencyMap) -> None:
    labels = result.label_map.copy()
    labels[40:] = 255
    truth = replace(result, label_map=labels, probabilities=None)
    assert np.array_equal(truth.soft_map, (labels == 1).astype(np.float32))
    assert not truth.cutout()[40:, :, 3].any()
    hurt = replace(result, probabilities=np.full_like(SOFT, np.nan))
    assert (hurt.soft_map == 0).all()
