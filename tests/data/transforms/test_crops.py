"""Crops and expansion: which windows are drawn, and which objects live on."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.data.transforms.crops import Expand, IoUCrop, RandomResizedCrop
from saccade.errors import ConfigError
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target


def _sample(size: tuple[int, int] = (120, 160), target: Target | None = None, channels: int = 3) -> Sample:
    rows, columns = np.indices(size)
    image = np.repeat((rows * 1 + columns)[..., None] % 251, channels, axis=2).astype(np.uint8)
    return Sample(image, target or {}, ImageInfo(0, "x", Geometry.identity(size)))


def _boxes(*rows: tuple[float, float, float, float], crowd: tuple[int, ...] = ()) -> Target:
    count = len(rows)
    return {
        "boxes": np.array(rows, np.float64).reshape(count, 4),
        "labels": np.arange(count),
        "iscrowd": np.isin(np.arange(count), crowd),
    }


def _window(sample: Sample) -> tuple[float, float, float, float]:
    """What of the original is shown, x1, y1, x2, y2."""
    height, width = sample.size
    corners = sample.info.geometry.invert_boxes(np.array([[0, 0, width, height]], np.float32), clip=False)[0]
    return tuple(corners.tolist())


def test_resized_windows_have_the_area_and_aspect_that_were_asked_for() -> None:
    transform = RandomResizedCrop((64, 64), area=(0.1, 0.6), aspect=(0.5, 2.0))
    shares, aspects = [], []
    sample = _sample((300, 400))
    for seed in range(400):
        cut = transform(sample, np.random.default_rng(seed))
        assert cut.image.shape == (64, 64, 3)
        x1, y1, x2, y2 = _window(cut)
        assert x1 >= -1e-3
        assert y1 >= -1e-3
        assert x2 <= 400.001
        assert y2 <= 300.001
        shares.append((x2 - x1) * (y2 - y1) / 120_000)
        aspects.append((x2 - x1) / (y2 - y1))
    assert 0.095 < min(shares) < 0.15
    assert 0.5 < max(shares) < 0.605
    assert 0.49 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.05
    assert np.mean(np.log(aspects)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("size", "window"), [((20, 1000), (486, 0, 513, 20)), ((1000, 20), (0, 486, 20, 513))])
def test_an_image_too_narrow_for_any_window_is_cut_in_its_middle(
    size: tuple[int, int], window: tuple[float, ...]
) -> None:
    cut = RandomResizedCrop((32, 32), area=(0.9, 1.0))(_sample(size), np.random.default_rng(0))
    np.testing.assert_allclose(_window(cut), window, atol=1.01)


def test_ssd_windows_overlap_an_object_as_much_as_wanted() -> None:
    target = _boxes((20, 20, 60, 70), (90, 30, 150, 110), (5, 90, 30, 115))
    whole = cut = 0
    for seed in range(300):
        wanted = (0.1, 0.5, 0.9)[seed % 3]
        after = IoUCrop(min_overlaps=(wanted,))(_sample(target=target), np.random.default_rng(seed))
        x1, y1, x2, y2 = _window(after)
        if (x1, y1, x2, y2) == (0, 0, 160, 120):
            whole += 1
            continue
        cut += 1
        scale = np.sqrt((x2 - x1) * (y2 - y1) / (160 * 120))
        aspect = (x2 - x1) / (y2 - y1) * 120 / 160
        assert 0.28 < scale < 1.0
        assert 0.48 < aspect < 2.1
        inside = [
            number
            for number, (a, b, c, d) in enumerate(target["boxes"])
            if x1 < (a + c) / 2 < x2 and y1 < (b + d) / 2 < y2
        ]
        assert inside
        assert after.target["labels"].tolist() == inside
        for box, number in zip(after.target["boxes"], inside, strict=True):
            original = target["boxes"][number]
            expected = np.clip(original - [x1, y1, x1, y1], 0, [x2 - x1, y2 - y1] * 2)
            np.testing.assert_allclose(box, expected, atol=1e-3)
    assert whole > 60  # a third of the choices, and more where windows are hard to find
    assert cut > 60


def test_the_wanted_overlap_is_reached_by_at_least_one_object() -> None:
    target = _boxes((20, 20, 140, 100))
    found = 0
    for seed in range(200):
        after = IoUCrop(min_overlaps=(0.7,) * 20)(_sample(target=target), np.random.default_rng(seed))
        x1, y1, x2, y2 = _window(after)
        shared = max(min(x2, 140) - max(x1, 20), 0) * max(min(y2, 100) - max(y1, 20), 0)
        overlap = shared / ((x2 - x1) * (y2 - y1) + 120 * 80 - shared)
        found += overlap >= 0.7
    assert found > 170  # but for those of 22 choices that want nothing: the whole image, and any window


def test_crowds_are_neither_searched_for_nor_dropped_by_their_centre() -> None:
    target = _boxes((60, 40, 80, 60), (60, 20, 150, 100), crowd=(1,))
    beside = 0
    for seed in range(100):
        after = IoUCrop(min_overlaps=(0.1,))(_sample(target=target), np.random.default_rng(seed))
        x1, y1, x2, y2 = _window(after)
        assert 0 in after.target["labels"]
        seen = max(min(x2, 150) - max(x1, 60), 0) * max(min(y2, 100) - max(y1, 20), 0) / (90 * 80)
        assert (1 in after.target["labels"]) == (seen > 0.1)
        beside += seen > 0.1 and not (x1 < 105 < x2 and y1 < 60 < y2)
    assert beside > 5


def test_images_without_objects_are_cropped_at_random_or_left() -> None:
    sizes = {IoUCrop()(_sample(target=_boxes()), np.random.default_rng(seed)).size for seed in range(40)}
    assert (120, 160) in sizes
    assert len(sizes) > 5


def test_cropping_around_objects_needs_boxes() -> None:
    with pytest.raises(ConfigError, match="iou_crop"):
        IoUCrop()(_sample(target={"label_map": np.zeros((120, 160), np.uint8)}), np.random.default_rng(0))


def test_expanded_images_lie_whole_on_a_canvas_of_the_mean() -> None:
    ratios = []
    for seed in range(100):
        sample = _sample((30, 50), _boxes((10, 5, 30, 25)))
        after = Expand(1.0, 4.0, fill=(10, 20, 30))(sample, np.random.default_rng(seed))
        left, top = (round(float(shift)) for shift in after.info.geometry.matrix[:2, 2])
        np.testing.assert_array_equal(after.image[top : top + 30, left : left + 50], sample.image)
        rest = np.ones(after.size, bool)
        rest[top : top + 30, left : left + 50] = False
        assert (after.image[rest] == [10, 20, 30]).all()
        np.testing.assert_allclose(after.target["boxes"], [[10 + left, 5 + top, 30 + left, 25 + top]])
        ratios.append(after.size[1] / 50)
    assert 1.0 <= min(ratios) < 1.2
    assert 3.8 < max(ratios) <= 4.0


def test_a_canvas_is_never_larger_than_memory_bears() -> None:
    sample = _sample((2000, 3000), _boxes((300, 500, 600, 900)), channels=1)
    after = Expand(1.0, 4.0, fill=0)(sample, np.random.default_rng(1))
    assert after.size[0] * after.size[1] <= 4096 * 4096 * 1.01
    assert after.info.geometry.matrix[0, 0] < 1
    np.testing.assert_allclose(
        after.info.geometry.invert_boxes(after.target["boxes"]), [[300, 500, 600, 900]], atol=0.05
    )
    assert (after.image > 0).any()


def test_how_often() -> None:
    sample = _sample(target=_boxes((20, 20, 60, 70)))
    assert Expand(0.0)(sample, np.random.default_rng(0)) is sample
    assert IoUCrop(0.0)(sample, np.random.default_rng(0)) is sample
    done = sum(Expand(0.5)(sample, np.random.default_rng(seed)) is not sample for seed in range(200))
    assert 70 < done < 130
