"""Views of a canvas, merged: what is symmetric stays as it is, what is not is averaged in the right place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.engine.toys import Brightness, Corners, Rectangles, Smooth, paint, scatter
from torch import Tensor

from saccade.engine.predict.predict import predict
from saccade.engine.predict.test_time_augmentation import AugmentedRuntime
from saccade.engine.predict.tiled import Tiling
from saccade.errors import ConfigError
from saccade.models.base import Decoded
from saccade.structures.input_spec import InputSpec


def _image(seed: int = 0, size: tuple[int, int] = (96, 128)) -> Any:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def _batch(*images: Any) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("merge", ["wbf", "nms"])
def test_the_mirror_changes_nothing_for_a_symmetric_detector(merge: Any) -> None:
    images = [paint((96, 128), *scatter((96, 128), 30, 40, seed)) for seed in range(3)]
    images.append(np.zeros_like(images[0]))
    plain = Rectangles()(_batch(*images))
    views = AugmentedRuntime(Rectangles(), merge=merge)(_batch(*images))
    assert views["count"].tolist() == plain["count"].tolist()
    assert views["count"][-1] == 0
    assert {key: value.dtype for key, value in views.items()} == {key: value.dtype for key, value in plain.items()}
    for image, number in enumerate(plain["count"].tolist()):
        rows = [
            np.concatenate(
                [
                    found["boxes"][image, :number],
                    found["scores"][image, :number, None],
                    found["labels"][image, :number, None],
                ],
                axis=1,
            )
            for found in (plain, views)
        ]
        np.testing.assert_array_equal(*(each[np.lexsort(each.T)] for each in rows))
        assert (views["scores"][image].diff() <= 0).all()
        assert not views["boxes"][image, number:].any()


def test_scales_bring_boxes_back_in_place() -> None:
    """Only pixels of the full colour are found, so a box at another scale is off by what is blended at its edge."""
    boxes = [[24 * i + 4, 24 * j + 4, 24 * i + 20, 24 * j + 18] for i in range(5) for j in range(4)]
    image = paint((96, 120), boxes, [index % 2 for index in range(20)])
    runtime = Rectangles()
    views = AugmentedRuntime(runtime, scales=(1.5, 1.0, 2.0))
    found = views(_batch(image))
    assert [shape[2:] for shape in runtime.batches[::2]] == [(144, 180), (96, 120), (192, 240)]
    assert views.name == "rectangles, 6 views"
    assert found["count"].tolist() == [20]
    np.testing.assert_allclose(np.array(sorted(found["boxes"][0].tolist())), sorted(boxes), atol=1)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_mirror_changes_nothing_for_a_symmetric_segmenter(classes: int) -> None:
    image = _image()
    plain = Smooth(classes)(_batch(image))["probabilities"]
    mirrored = AugmentedRuntime(Smooth(classes))(_batch(image))["probabilities"]
    np.testing.assert_array_equal(mirrored, plain)
    scaled = AugmentedRuntime(Smooth(classes), scales=(0.75, 1.0, 1.5))(_batch(image))["probabilities"]
    assert scaled.shape == plain.shape
    assert (scaled - plain).abs().mean() < 0.03


def test_probabilities_of_a_image_are_averaged() -> None:
    class Half(Brightness):
        """Looks at the left half only."""

        def __call__(self, images: Tensor) -> Decoded:
            return super().__call__(images[..., : images.shape[-1] // 2])

    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :32] = 255
    assert Half()(_batch(image))["probabilities"].tolist() == [[0, 1]]
    assert AugmentedRuntime(Half())(_batch(image))["probabilities"].tolist() == [[0.5, 0.5]]
    result = next(predict(AugmentedRuntime(Brightness()), image))
    np.testing.assert_array_equal(result.probabilities, next(predict(Brightness(), image)).probabilities)


class _LeftEye(Corners):
    """One object an image: the ends of the white bar, called left and right as they lie, two pixels too far right."""

    def __call__(self, images: Tensor) -> Decoded:
        found = super().__call__(images)
        found["keypoints"][..., 0] += 2
        return found


def test_points_are_averaged_with_left_and_right_exchanged() -> None:
    image = np.zeros((64, 80, 3), np.uint8)
    image[20:30, 15:45] = 255
    image[40:50, 30:70] = 255
    pairs = [(0, 1)]
    plain = next(predict(Corners(), image)).keypoints
    same = next(predict(AugmentedRuntime(Corners(), flip_pairs=pairs), image)).keypoints
    np.testing.assert_array_equal(same, plain)
    # What lies too far right in the image lies too far left in the mirror, so the mean is right.
    shifted = next(predict(AugmentedRuntime(_LeftEye(), flip_pairs=pairs), image)).keypoints
    np.testing.assert_array_equal(shifted, plain)
    # With the names left as they are, each point of an only object is averaged with its opposite.
    single = image.copy()
    single[40:] = 0
    wrong = next(predict(AugmentedRuntime(Corners(), flip_pairs=[(0, 0)]), single)).keypoints
    np.testing.assert_array_equal(wrong, [[[30, 20], [30, 20]]])
    halves = next(predict(AugmentedRuntime(Corners(), flip_pairs=pairs, scales=(1.0, 0.5)), image)).keypoints
    np.testing.assert_allclose(halves, plain, atol=1)


def test_an_object_that_a_view_lacks_keeps_its_points() -> None:
    class Blind(Corners):
        """Sees nothing in the right half."""

        def __call__(self, images: Tensor) -> Decoded:
            seen = images.clone()
            seen[..., images.shape[-1] // 2 :] = 0
            return super().__call__(seen)

    image = np.zeros((40, 80, 3), np.uint8)
    image[5:9, 5:25] = 255
    found = AugmentedRuntime(Blind(), flip_pairs=[(0, 1)])(_batch(image))
    assert found["keypoints"][0, 0].tolist() == [[5, 5], [25, 5]]


def test_tiles_of_views_and_views_of_tiles_compose() -> None:
    boxes, labels = scatter((150, 180), largest=16, number=60, seed=2)
    image = paint((150, 180), boxes, labels)
    whole = next(predict(Rectangles(), image))
    both = next(predict(AugmentedRuntime(Rectangles()), image, 2, tiling=Tiling((64, 64), 0.3)))
    for result in (whole, both):
        assert sorted(result.boxes_xyxy.tolist()) == sorted(boxes.astype(float).tolist())
    np.testing.assert_array_equal(np.sort(both.scores), np.sort(whole.scores))


def test_scales_keep_to_what_the_network_takes() -> None:
    runtime = Rectangles(InputSpec((64, 96), resize="letterbox", pad_multiple=32, pad_value=0))
    list(predict(AugmentedRuntime(runtime, flip=False, scales=(0.4, 0.83, 1.2)), np.zeros((64, 96, 3), np.uint8)))
    assert [shape[2:] for shape in runtime.batches] == [(32, 32), (64, 64), (64, 128)]


def test_a_network_of_one_size_refuses_scales() -> None:
    runtime = Rectangles(InputSpec((64, 96), resize="letterbox", pad_multiple=32, pad_value=0, fixed=True))
    with pytest.raises(ConfigError, match=r"takes images of 64x96 pixels .* only, and 96x128 was asked for"):
        AugmentedRuntime(runtime, scales=(1.0, 1.4))
    assert AugmentedRuntime(runtime, scales=(1.0,)).flips == (False, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, "scales are factors above 0, at least one"),
        ({"scales": (1.0, -1.0)}, "scales are factors above 0"),
        ({"merge": "mean"}, "merge is 'mean'. Choose from: nms, wbf"),
        ({"iou_threshold": 1.5}, "iou_threshold is a share"),
    ],
)
def test_views_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentedRuntime(Rectangles(), **options)


def test_who_exchanges_points_has_to_be_said() -> None:
    with pytest.raises(ConfigError, match=r"corners does not hold which\. Pass flip_pairs, .*or flip=False"):
        AugmentedRuntime(Corners())
    with pytest.raises(ConfigError, match=r"\(0, 2\) names a point outside of 0..1"):
        AugmentedRuntime(Corners(), flip_pairs=[(0, 2)])
    assert AugmentedRuntime(Corners(), flip=False, scales=(1.0, 0.5)).flips == (False,)
