from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.errors import ConfigError, DataError
from saccade.results.drawing import (
    class_color,
    draw_boxes,
    draw_caption,
    draw_keypoints,
    draw_label_map,
    montage,
    write_image,
)
from saccade.results.fonts import font_file, render_text, render_text_within
from saccade.results.images import read_rgb, to_rgb8
from saccade.results.palette import ink_on

COCO_LIKE = ("person", "bicycle", "car", "dog", "cat", "horse", "truck", "sheep", "bus", "chair")


def luminance(color: tuple[int, int, int]) -> float:
    linear = [value / 3294.6 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in color]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def label_area(image: np.ndarray, name: str) -> np.ndarray:
    """Pixels of exactly the class's colour."""
    return (image == np.array(class_color(name))).all(axis=-1)


def test_colours_belong_to_names() -> None:
    # Written down: a change would recolour every report that exists.
    assert class_color("person") == (223, 97, 192)
    assert class_color("dog") == (255, 194, 198)
    assert class_color("红细胞") == class_color("红细胞")
    assert len({class_color(name) for name in COCO_LIKE}) == len(COCO_LIKE)


@pytest.mark.parametrize("names", [("RBC", "WBC", "Platelets"), tuple("0123456789"), COCO_LIKE])
def test_colours_of_a_set_are_far_apart(names: tuple[str, ...]) -> None:
    pairs = itertools.combinations([np.array(class_color(name), float) for name in names], 2)
    assert min(np.linalg.norm(first - second) for first, second in pairs) > 18


def test_labels_contrast_with_their_ground() -> None:
    for index in range(300):
        color = class_color(f"class {index}")
        high, low = sorted((luminance(color), luminance(ink_on(color))), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 3  # WCAG AA for graphics


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (3000, 4000), (200, 3000), (2500, 150)])
@pytest.mark.parametrize("position", ["top left", "bottom right", "whole", "outside"])
def test_a_label_is_inside_the_image_at_any_size(size: tuple[int, int], position: str) -> None:
    height, width = size
    boxes = {
        "top left": [0, 0, width / 4, height / 4],
        "bottom right": [width * 0.75, height * 0.75, width, height],
        "whole": [0, 0, width, height],
        "outside": [-width, -height, width * 2, height * 2],
    }
    black = np.zeros((height, width, 3), np.uint8)
    bare = draw_boxes(black, np.array([boxes[position]]), [""], colors=[class_color("person")])
    drawn = draw_boxes(black, np.array([boxes[position]]), ["person"], np.array([0.87]))
    assert drawn.shape == bare.shape
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(height / width)
    changed = np.argwhere((drawn != bare).any(axis=-1))
    assert len(changed) > 0
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    # Ground on both sides: no letter was cut. Its height is readable beside that of the image.
    ground = class_color("person")
    assert (drawn[top : bottom + 1, left] == ground).all(axis=-1).mean() > 0.9
    assert (drawn[top : bottom + 1, right] == ground).all(axis=-1).mean() > 0.9
    assert bottom - top + 1 >= (drawn.shape[0] * drawn.shape[1]) ** 0.5 / 45
    assert right - left + 1 >= min(3 * (bottom - top), 0.6 * drawn.shape[1])
    ink = (drawn == np.array(ink_on(class_color("person")))).all(axis=-1)
    assert ink.any(), "letters"


def test_text_and_lines_grow_with_the_image() -> None:
    sides = {}
    for side in (512, 1024, 4096):
        image = np.full((side, side, 3), 127, np.uint8)
        drawn = draw_boxes(
            image, np.array([[side * 0.3, side * 0.3, side * 0.7, side * 0.7]]), ["dog"], np.array([0.5])
        )
        column = drawn[:, side // 2]
        sides[side] = (int((column != 127).any(axis=-1).sum()), int(label_area(drawn, "dog").sum()))
    assert sides[512][0] < sides[1024][0] < sides[4096][0]
    assert sides[4096][1] > 20 * sides[512][1]


def test_labels_of_a_crowd_do_not_hide_each_other() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(40, 130, (12, 2))], axis=1)
    names = [f"{name}" for name in (*COCO_LIKE, "eagle", "zebra")]
    drawn = draw_boxes(np.zeros((640, 640, 3), np.uint8), boxes, names, rng.uniform(0.3, 1, 12))
    for name in names:  # every label shows at least the ground of a whole word
        assert label_area(drawn, name).sum() > 250, name


def test_without_boxes_the_image_is_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    before = image.copy()
    assert np.array_equal(draw_boxes(image, np.zeros((0, 4)), [], np.zeros(0)), image)
    drawn = draw_boxes(image, np.array([[10.0, 10, 90, 90]]), ["dog"], np.array([0.9]), np.ones((1, 400, 500), bool))
    assert (drawn != image).any()
    assert np.array_equal(image, before), "the caller's pixels stay as they are"


def test_label_maps_tint_classes_and_leave_the_rest() -> None:
    grey = np.full((400, 600, 3), 100, np.uint8)
    labels = np.zeros((400, 600), np.uint8)
    labels[:200, :300] = 1
    labels[200:, 300:] = 255
    drawn = draw_label_map(grey, labels, ("background", "road"), legend=True, opacity=0.5)
    assert drawn.shape[0] > 400
    assert drawn.shape[1] == 600
    assert drawn[100, 100] == pytest.approx((np.array(class_color("road")) + 100) / 2, abs=1)
    assert drawn[100, 450].tolist() == [100, 100, 100]
    assert drawn[300, 450].tolist() == [100, 100, 100]
    assert label_area(drawn[400:], "road").sum() > 50, "swatch in the legend"
    assert draw_label_map(grey, labels, ("background", "road"), legend=False).shape == grey.shape


def test_keypoints_are_drawn_at_their_pixels_and_missing_ones_are_not() -> None:
    black = np.zeros((400, 400, 3), np.uint8)
    points = np.array([[[100.5, 50.5], [300.5, 350.5], [np.nan, 5], [200, 200]]])
    drawn = draw_keypoints(black, points, np.array([[0.9, 0.8, 0.9, 0.0]]), ["nose", "ear", "lip", "toe"])
    assert drawn[50, 100].tolist() == list(class_color("nose"))
    assert drawn[350, 300].tolist() == list(class_color("ear"))
    assert not drawn[200, 200].any()
    rows = np.argwhere(label_area(drawn[:400], "nose"))
    assert rows.mean(axis=0) == pytest.approx([50, 100], abs=0.6)
    enlarged = draw_keypoints(np.zeros((64, 64, 3), np.uint8), np.array([[[16.0, 32.0]]]))
    assert enlarged[256, 128].any()


def test_captions_and_sheets() -> None:
    image = np.full((64, 64), 50, np.uint8)
    drawn = draw_caption(image, ["seven", "one"], [0.9, 0.1])
    assert drawn.shape[0] > drawn.shape[1] == 512
    sheet = montage([image, np.zeros((100, 300, 3), np.uint8), drawn], columns=2)
    assert sheet.dtype == np.uint8
    assert max(sheet.shape) < 1100
    assert montage([], 3).ndim == 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 50), np.uint8),
        np.zeros((40, 50, 1), np.uint8),
        np.full((40, 50, 3), 60000, np.uint16),
        np.full((40, 50, 4), 0.5, np.float32),
        np.zeros((1, 1, 3), np.uint8),
        np.full((40, 50, 8), np.nan),
    ],
    ids=["grey", "one channel", "16 bit", "float", "one pixel", "nan"],
)
def test_any_image_can_be_drawn_on(image: np.ndarray) -> None:
    drawn = draw_boxes(image, np.array([[0.0, 0, 1, 1]]), ["dog"], np.array([0.9]))
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3


def test_values_beyond_a_byte_are_stretched() -> None:
    assert to_rgb8(np.array([[0, 1000], [2000, 4000]], np.uint16)).max() == 255
    assert to_rgb8(np.array([[0.0, 0.5]], np.float32))[0, 1].tolist() == [128, 128, 128]
    assert to_rgb8(np.array([[3, 200]], np.int64))[0, 1].tolist() == [200, 200, 200]


@pytest.mark.parametrize("text", ["Blutkörperchen", "эритроцит", "ερυθροκύτταρο", "תא דם"])
def test_names_in_other_alphabets_have_glyphs(text: str) -> None:
    assert font_file(text) is not None
    box = np.full((30, 14), 0, np.uint8)
    assert not np.array_equal(render_text(text, 20), render_text("\uffff" * len(text), 20)), box


def test_chinese_names_are_drawn_and_differ() -> None:
    first, second = render_text("红细胞", 24), render_text("血小板", 24)
    assert first.shape[0] == second.shape[0] == render_text("cell", 24).shape[0]
    assert first.any()
    assert first.shape != second.shape or (first != second).any()


def test_long_names_are_shortened_to_the_width_available() -> None:
    name = "a class name that is much too long for its image"
    for room in (10, 60, 200):
        assert render_text_within(name, 16, room).shape[1] <= room


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = write_image(tmp_path / "new folder" / "ä.png", rgb)
    assert np.array_equal(np.asarray(Image.open(path)), rgb)
    assert np.array_equal(read_rgb(path), rgb)
    write_image(tmp_path / "a.jpg", rgb)
    with pytest.raises(ConfigError, match=r"a\.xyz.*\.png"):
        write_image(tmp_path / "a.xyz", rgb)
    with pytest.raises(DataError, match=r"array-3.*image"):
        read_rgb("array-3")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        read_rgb(tmp_path / "broken.png")
