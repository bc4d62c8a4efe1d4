"""The resize rules: the geometry record must match the real motion of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tvf

from saccade.data.transforms.resize import Resize, _plan, resize_image
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample


def _centre_of_light(image: np.ndarray) -> np.ndarray:
    """(x, y) of the mean brightness, half-pixel centres."""
    weights = image[..., 0].astype(np.float64)
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(40, 400),
    st.integers(40, 400),
    st.integers(32, 300),
    st.sampled_from(["letterbox", "stretch", "shorter_side", "multiple", "none"]),
    st.sampled_from(["center", "top_left"]),
    st.integers(0, 10**6),
)
def test_light_lands_where_the_record_maps_it(
    height: int, width: int, side: int, rule: str, align: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 1), np.uint8)
    x, y = int(rng.integers(8, width - 24)), int(rng.integers(8, height - 24))
    image[y : y + 16, x : x + 16] = 255
    spec = InputSpec(
        (side, side), channels=1, mean=(0.0,), std=(1.0,), resize=rule, align=align, pad_value=0, pad_multiple=32
    )
    canvas, geometry = resize_image(image, spec)
    assert canvas.shape[:2] == geometry.size
    assert all(length % 32 == 0 for length in geometry.size)
    expected = geometry.map_points(np.array([x + 8, y + 8], np.float32))
    # A hard edge sampled bilinearly is off by up to a quarter of a pixel; the next test shows that this averages out.
    np.testing.assert_allclose(_centre_of_light(canvas), expected, atol=0.3)


def test_no_rule_shifts_to_one_side() -> None:
    """Over many sizes the errors of the light's position must cancel, not add up."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        height, width = (int(side) for side in rng.integers(60, 400, 2))
        x, y = int(rng.integers(8, width - 24)), int(rng.integers(8, height - 24))
        image = np.zeros((height, width, 3), np.uint8)
        image[y : y + 16, x : x + 16] = 255
        canvas, geometry = resize_image(image, InputSpec((160, 160), resize="letterbox", pad_value=0))
        errors.append(geometry.invert_points(_centre_of_light(canvas)) - [x + 8, y + 8])
    assert np.abs(np.mean(errors, axis=0)).max() < 0.02


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (333, 500), (281, 282), (224, 224), (100, 90)])
@pytest.mark.parametrize(("canvas", "fraction"), [(224, 0.875), (224, 224 / 232), (64, 0.5)])
def test_centre_crop_takes_torchvisions_window(size: tuple[int, int], canvas: int, fraction: float) -> None:
    """Coordinates as channels: the window of torchvision's Resize + CenterCrop starts and ends at the same pixels."""
    spec = InputSpec((canvas, canvas), resize="center_crop", crop_fraction=fraction)
    geometry = resize_image(np.zeros((*size, 3), np.uint8), spec)[1]
    rows, columns = np.indices(size, dtype=np.float32) + 0.5
    grid = torch.from_numpy(np.stack([columns, rows]))
    resized = tvf.resize(grid, [round(canvas / fraction)], antialias=True)
    window = tvf.center_crop(resized, [canvas, canvas])
    middle = canvas // 2
    ours = geometry.invert_points(np.array([[middle + 0.5, middle + 0.5]], np.float32))[0]
    np.testing.assert_allclose(ours, window[:, middle, middle].numpy(), atol=0.1)


def test_padding_is_labelled_ignore_and_hidden_in_masks() -> None:
    target = {
        "label_map": np.full((20, 40), 3, np.uint8),
        "masks": np.ones((1, 20, 40), np.uint8),
        "boxes": np.array([[0, 0, 40, 20]], np.float32),
    }
    sample = Sample(np.full((20, 40, 3), 9, np.uint8), target, ImageInfo(0, "x", Geometry.identity((20, 40))))
    resized = Resize(InputSpec((64, 64), resize="letterbox", pad_value=114))(sample)
    assert (resized.image[0] == 114).all()
    assert (resized.image[32] == 9).all()
    expected = np.full((64, 64), 255)
    expected[16:48] = 3
    np.testing.assert_array_equal(resized.target["label_map"], expected)
    np.testing.assert_array_equal(resized.target["masks"][0], expected == 3)
    np.testing.assert_array_equal(resized.target["boxes"], [[0, 16, 64, 48]])
    np.testing.assert_array_equal(target["boxes"], [[0, 0, 40, 20]])


@pytest.mark.parametrize("size", [(31, 47), (62, 94), (93, 141), (124, 188)])
def test_label_maps_are_resized_about_the_centres_of_pixels(size: tuple[int, int]) -> None:
    """Against the definition: pixel i of the result shows the pixel under its centre, (i + 0.5) * w / w'.

    Where that falls between two pixels, either will do.
    """
    labels = np.random.default_rng(0).integers(0, 200, (62, 94)).astype(np.uint8)
    sample = Sample(
        np.zeros((62, 94, 3), np.uint8), {"label_map": labels}, ImageInfo(0, "x", Geometry.identity((62, 94)))
    )
    resized = Resize(InputSpec(size, resize="stretch"))(sample).target["label_map"]
    rows, columns = (np.arange(size[0]) + 0.5) * 62 / size[0], (np.arange(size[1]) + 0.5) * 94 / size[1]
    allowed = [
        labels[(rows + down).astype(int)][:, (columns + right).astype(int)]
        for down in (-1e-6, 1e-6)
        for right in (-1e-6, 1e-6)
    ]
    assert np.any([resized == choice for choice in allowed], axis=0).all()


@pytest.mark.parametrize("shape", [(50, 70, 1), (50, 70, 4), (300, 400, 7), (3, 900, 3), (1, 1, 3)])
@pytest.mark.parametrize("rule", ["letterbox", "stretch", "center_crop", "shorter_side", "multiple"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_shape_and_depth_is_resized(shape: tuple[int, int, int], rule: str, dtype: type) -> None:
    channels = shape[2]
    spec = InputSpec((64, 96), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels, resize=rule)
    canvas, geometry = resize_image(np.ones(shape, dtype), spec)
    assert canvas.shape == (*geometry.size, channels)
    if rule not in ("shorter_side", "multiple"):
        assert geometry.size == (64, 96)
    assert canvas.dtype == dtype
    assert geometry.original_size == shape[:2]


def test_size_overrides_the_spec_and_is_rounded_up() -> None:
    canvas, _ = resize_image(np.zeros((50, 70, 3), np.uint8), InputSpec((64, 64), pad_multiple=32), size=(100, 130))
    assert canvas.shape == (128, 160, 3)


RULES = ["letterbox", "stretch", "center_crop", "shorter_side", "multiple", "none"]


@pytest.mark.parametrize("rule", RULES)
def test_ten_thousand_sizes_come_back_without_drift(rule: str) -> None:
    """By every rule: there and back is exact to less than half a pixel, without a bias."""
    rng = np.random.default_rng(0)
    errors, edges = [], []
    for number, (height, width) in enumerate(rng.integers(16, 5000, (10_000, 2)).tolist()):
        side = (224, 416, 640, 1280)[number % 4]
        align = ("center", "top_left")[number // 4 % 2]
        spec = InputSpec((side, 2 * side), resize=rule, align=align, pad_multiple=32)  # type: ignore[arg-type]
        plan = _plan((height, width), spec)
        geometry = Geometry.identity((height, width)).then(plan.matrix((height, width)), plan.canvas)
        point = (rng.random(2) * (width, height)).astype(np.float32)
        errors.append(geometry.invert_points(geometry.map_points(point)) - point)
        edges.append(geometry.map_points(np.array([[0, 0], [width, height]], np.float32)))
    assert np.abs(errors).max() < 0.5
    assert np.abs(np.mean(errors, axis=0)).max() < 1e-3
    # The record is that of the rounded size: the edges of the image land on whole pixels.
    np.testing.assert_allclose(edges, np.rint(edges), atol=2e-3)


def test_letterbox_of_3775_by_1571_pads_373_rows() -> None:
    canvas, geometry = resize_image(
        np.full((1571, 3775, 1), 255, np.uint8),
        InputSpec((1280, 1280), channels=1, mean=(0.0,), std=(1.0,), resize="letterbox", pad_value=0),
    )
    assert np.flatnonzero(canvas[:, 0, 0])[[0, -1]].tolist() == [373, 905]
    assert geometry.matrix[1, 2] == 373


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(800, 1333), (600, 1000), (320, 320)]))
def test_shorter_side_is_that_of_torchvisions_detectors(height: int, width: int, limits: tuple[int, int]) -> None:
    plan = _plan((height, width), InputSpec(limits, resize="shorter_side", pad_multiple=32, align="top_left"))
    gain = min(min(limits) / min(height, width), max(limits) / max(height, width))
    for resized, canvas, original in zip(plan.resized, plan.canvas, (height, width), strict=True):
        assert resized == max(int(original * gain + 1e-9), 1)
        assert canvas == -(-resized // 32) * 32
    assert min(plan.resized) == min(limits) or max(plan.resized) == max(limits)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([1, 14, 16, 32]))
def test_multiple_takes_the_nearest(height: int, width: int, multiple: int) -> None:
    plan = _plan((height, width), InputSpec((64, 64), resize="multiple", pad_multiple=multiple))
    for side, resized in zip((height, width), plan.resized, strict=True):
        assert resized % multiple == 0
        assert resized >= multiple
        assert abs(side - resized) <= multiple / 2 or side < multiple
    assert plan.canvas == plan.resized
    assert (plan.top, plan.left) == (0, 0)
