"""The geometry record: exact inverses, half-pixel centres, no drift."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.transforms.resize import _plan, resize_image
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec

SIDES = st.integers(8, 5000)


def _letterbox(height: int, width: int, canvas: int) -> Geometry:
    # The plan alone: resizing thousands of large images would take minutes, and tests/data/test_fit.py looks at
    # pixels.
    plan = _plan((height, width), InputSpec(size=(canvas, canvas), resize="letterbox"))
    return Geometry.identity((height, width)).then(plan.matrix((height, width)), plan.canvas)


def test_letterbox_of_the_size_that_shifted_boxes_elsewhere() -> None:
    image = np.full((1571, 3775, 3), 255, np.uint8)
    canvas, geometry = resize_image(image, InputSpec(size=(1280, 1280), resize="letterbox", pad_value=0))
    rows = np.flatnonzero(canvas[:, 640, 0])
    assert (rows[0], len(rows)) == (373, 533)
    box = np.array([[0, 0, 3775, 1571]], np.float32)
    np.testing.assert_allclose(geometry.map_boxes(box), [[0, 373, 1280, 906]], atol=1e-3)
    np.testing.assert_allclose(geometry.invert_boxes(geometry.map_boxes(box)), box, atol=1e-2)


def test_ten_thousand_letterboxes_come_back_without_drift() -> None:
    rng = np.random.default_rng(0)
    drift = np.zeros(4)
    for _ in range(10_000):
        height, width = (int(side) for side in rng.integers(32, 5000, 2))
        canvas = int(rng.choice([224, 416, 640, 1280]))
        geometry = _letterbox(height, width, canvas)
        x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        box = np.array([[x[0], y[0], x[1], y[1]]], np.float32)
        error = geometry.invert_boxes(geometry.map_boxes(box)) - box
        assert np.abs(error).max() < 0.5
        drift += error[0]
    assert np.abs(drift / 10_000).max() < 1e-3


@settings(max_examples=300, deadline=None)
@given(height=SIDES, width=SIDES, canvas=st.integers(8, 1500))
def test_letterboxed_image_fills_its_canvas_in_one_direction(height: int, width: int, canvas: int) -> None:
    """The image's corners land on whole pixels of the canvas: what is drawn is what the record says."""
    left, top, right, bottom = _letterbox(height, width, canvas).map_boxes(
        np.array([[0, 0, width, height]], np.float32)
    )[0]
    assert max(right - left, bottom - top) == pytest.approx(canvas, abs=1e-2)
    for edge in (left, top, right, bottom):
        assert edge == pytest.approx(round(float(edge)), abs=1e-2)
    assert left >= -1e-2
    assert right <= canvas + 1e-2
    assert abs(left - (canvas - right)) <= 1 + 1e-2


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(0.1, 10),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    st.tuples(st.floats(0, 2000), st.floats(0, 2000)),
)
def test_any_affine_inverts(
    degrees: float, zoom: float, shift: tuple[float, float], point: tuple[float, float]
) -> None:
    angle = np.radians(degrees)
    matrix = np.array(
        [
            [zoom * np.cos(angle), -zoom * np.sin(angle), shift[0]],
            [zoom * np.sin(angle), zoom * np.cos(angle), shift[1]],
        ]
    )
    geometry = Geometry.identity((2000, 2000)).then(matrix, (600, 600)).then(np.diag([2.0, 0.5, 1.0]), (300, 1200))
    points = np.array([point], np.float32)
    np.testing.assert_allclose(geometry.invert_points(geometry.map_points(points)), points, atol=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, bool, np.uint16])
def test_label_maps_come_back_to_the_pixel(dtype: type) -> None:
    """Enlarged three times and back by the nearest value: every pixel is its own again."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (37, 53)).astype(dtype)
    large = np.repeat(np.repeat(labels, 3, 0), 3, 1)
    geometry = Geometry.identity((37, 53)).then(np.diag([3.0, 3.0, 1.0]), (111, 159))
    back = geometry.invert_map(large)
    assert back.dtype == labels.dtype
    np.testing.assert_array_equal(back, labels)


def test_score_maps_are_interpolated_at_half_pixel_centres() -> None:
    """A ramp of the canvas' x must read, in the original, as the x that the record gives for each pixel's centre."""
    geometry = Geometry.identity((40, 60)).then(np.array([[2.5, 0, 7], [0, 2.5, 11]]), (120, 170))
    ramp = np.broadcast_to(np.arange(170, dtype=np.float32) + 0.5, (120, 170))
    centres = np.stack([np.arange(60) + 0.5, np.full(60, 20.5)], axis=1).astype(np.float32)
    back = geometry.invert_map(np.ascontiguousarray(np.stack([ramp, ramp], axis=2)), linear=True)
    assert back.shape == (40, 60, 2)
    np.testing.assert_allclose(back[20, :, 1], geometry.map_points(centres)[:, 0], atol=0.05)


def test_a_map_of_one_channel_keeps_its_channel() -> None:
    geometry = Geometry.identity((10, 10)).then(np.diag([2.0, 2.0, 1.0]), (20, 20))
    assert geometry.invert_map(np.zeros((20, 20, 1), np.float32), linear=True).shape == (10, 10, 1)


def test_a_geometry_from_a_worker_is_the_same() -> None:
    geometry = Geometry.identity((30, 40)).then(np.array([[0.5, 0, 3], [0.1, 0.7, 4]]), (20, 24))
    found = pickle.loads(pickle.dumps(geometry))
    assert (found.original_size, found.size) == ((30, 40), (20, 24))
    np.testing.assert_array_equal(found.matrix, geometry.matrix)
    assert found.matrix.flags.writeable
