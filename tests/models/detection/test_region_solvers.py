"""Support vector machines with hard negatives, ridge regression of boxes, and the cache of features."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from saccade.errors import SaccadeError
from saccade.models.detection.region_cache import RegionCache, RegionFeatures, hash_tensors
from saccade.models.detection.region_solvers import SvmSettings, feature_scale, train_box_regressors, train_svms
from saccade.ops.box_coding import encode_anchors

RNG = np.random.default_rng(0)


def image_of(features: NDArray[np.float32], label: int, near: int = 0) -> RegionFeatures:
    """The last region is an object; the ``near`` first ones overlap it by half, all others lie apart."""
    boxes = np.float32([[0, 0, 10, 10]]) + 20 * np.arange(len(features), dtype=np.float32)[:, None]
    boxes[:near] = boxes[-1] + np.float32([0, 0, 0, 8])
    return RegionFeatures(features, boxes, np.array([label]))


def random_image(label: int, count: int = 30, near: int = 0, width: int = 6) -> RegionFeatures:
    features = RNG.normal(size=(count, width)).astype(np.float32)
    features[-1, label] += 3
    features[:near] = features[-1]  # they look like the object, and are neither positive nor negative
    return image_of(features, label, near)


# --- Support vector machines.


def wanted_of(image: RegionFeatures, label: int, near: int = 4) -> NDArray[np.int64]:
    """1 for objects of a class, 0 for its negatives, -1 for regions near an object of the class."""
    own = int(image.labels[0] == label)
    wanted = np.zeros(len(image.features), np.int64)
    wanted[:near], wanted[-1] = -own, own
    return wanted


def test_machines_are_those_of_scikit_learn_where_nothing_is_left_out() -> None:
    images = [random_image(label, near=4) for label in (0, 1, 0, 1, 0)]
    settings = SvmSettings(hard=-np.inf, easy=-np.inf)
    found = train_svms(lambda: images, num_classes=2, settings=settings)
    scale = feature_scale(lambda: images)
    features = np.concatenate([image.features for image in images]) * np.float32(scale)
    assert np.linalg.norm(features, axis=1).mean() == pytest.approx(20, rel=1e-5)
    for label in (0, 1):
        # Objects of the class are positive; all else that is not near one, objects of other classes too, is negative.
        wanted = np.concatenate([wanted_of(image, label) for image in images])
        solver = LinearSVC(
            C=1e-3, loss="hinge", class_weight={1: 2.0}, intercept_scaling=10.0, max_iter=100_000, random_state=0
        )
        order = np.argsort(-wanted[wanted >= 0], kind="stable")  # positives first, as mining has them
        solver.fit(features[wanted >= 0][order], wanted[wanted >= 0][order])
        margins = features @ (found.weight[label] / scale) + found.bias[label]
        assert np.allclose(margins, solver.decision_function(features), atol=0.02)
    assert found.figures["positives"] == 5
    assert found.figures["classes"] == 2


def test_hard_negatives_of_later_images_move_the_machine() -> None:
    first = random_image(0)
    trap = random_image(0)
    trap.features[:10] = first.features[-1] * 0.9  # background that looks like the object
    margins = []
    for hard in (np.inf, -1.0001):  # without mining, and with it
        found = train_svms(lambda: [first, trap], 1, SvmSettings(hard=hard, easy=-np.inf))
        margins.append(float((trap.features[:10] @ found.weight[0] + found.bias[0]).mean()))
    assert margins[1] < margins[0] - 0.1


def test_the_machine_is_trained_anew_and_forgets_what_is_easy(monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.models.detection import region_solvers

    fits: list[int] = []
    train = region_solvers._Machine.train

    def watched(self: object) -> None:
        train(self)  # type: ignore[arg-type]
        fits.append(sum(len(rows) for rows in self.negatives))  # type: ignore[attr-defined]

    monkeypatch.setattr(region_solvers._Machine, "train", watched)
    images = [random_image(0, count=60) for _ in range(6)]
    found = train_svms(lambda: images, 1, SvmSettings(cost=1.0, retrain=10))
    assert len(fits) >= 2
    assert found.figures["hard_negatives"] == fits[-1] < 6 * 59


def test_classes_without_objects_or_background_keep_zeros(caplog: pytest.LogCaptureFixture) -> None:
    alone = image_of(RNG.normal(size=(1, 6)).astype(np.float32), label=2)  # an object and nothing else
    with caplog.at_level(logging.WARNING, "saccade"):
        found = train_svms(lambda: [random_image(0), alone], num_classes=3)
        only = train_svms(lambda: [alone], num_classes=3)
    assert found.weight[0].any()
    assert not found.weight[1].any()
    assert found.weight[2].any()  # the other image is its background
    assert not only.weight.any()
    assert "no support vector machine for the classes [1]" in caplog.text
    assert "no support vector machine for the classes [0, 1, 2]" in caplog.text


# --- Box regression.


def pairs_image(label: int, count: int = 40) -> RegionFeatures:
    """Proposals around an object, features that tell how far they are off, and one proposal far away."""
    target = np.float32([50, 40, 90, 100])
    boxes = target + RNG.uniform(-4, 4, (count, 4)).astype(np.float32)
    boxes = np.concatenate((boxes, np.float32([[0, 0, 9, 9]]), target[None]))
    features = np.concatenate((boxes - target, RNG.normal(size=(len(boxes), 3))), axis=1).astype(np.float32)
    return RegionFeatures(features, boxes, np.array([label]))


def test_regressors_are_those_of_scikit_learn_and_move_boxes_onto_objects() -> None:
    images = [pairs_image(label) for label in (1, 0, 1)]
    found = train_box_regressors(lambda: images, num_classes=3, ridge=1000.0)
    scale = feature_scale(lambda: images)
    for label in (0, 1):
        own = [image for image in images if image.labels[0] == label]
        features = np.concatenate([image.features[:-2] for image in own]).astype(np.float64) * scale
        codes = np.concatenate(
            [
                encode_anchors(torch.from_numpy(image.boxes_xyxy[-1]), torch.from_numpy(image.boxes_xyxy[:-2])).numpy()
                for image in own
            ]
        )
        ridge = Ridge(alpha=1000.0).fit(features, codes)
        assert np.allclose(found.weight.reshape(3, 4, -1)[label], ridge.coef_ * scale, atol=1e-6)
        assert np.allclose(found.bias.reshape(3, 4)[label], ridge.intercept_, atol=1e-6)
    assert not found.weight.reshape(3, 4, -1)[2].any()
    assert found.figures["pairs"] == 120
    assert found.figures["iou_after"] > found.figures["iou_before"] + 0.05


def test_without_a_proposal_that_is_near_boxes_stay_where_they_are() -> None:
    found = train_box_regressors(lambda: [random_image(0)], num_classes=1)
    assert not found.weight.any()
    assert not found.bias.any()
    assert found.figures == {"pairs": 0.0, "iou_before": 0.0, "iou_after": 0.0}


# --- Cache.


def test_the_cache_gives_back_what_it_holds_as_halves(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path / "regions", "a1")
    regions = random_image(3, width=8)
    large = RegionFeatures(regions.features * 1e6, regions.boxes_xyxy, regions.labels)  # beyond float16
    empty = RegionFeatures(np.zeros((0, 8), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    for key, value in (("one", regions), ("large", large), ("empty", empty)):
        cache.save(key, value)
        found = RegionCache(tmp_path / "regions", "a1").load(key)
        assert found is not None
        assert np.allclose(found.features, value.features, atol=1e-3 * np.abs(value.features).max(initial=1e-9))
        assert np.array_equal(found.boxes_xyxy, value.boxes_xyxy)
        assert np.array_equal(found.labels, value.labels)
        assert found.features.dtype == np.float32


def test_a_cache_of_other_weights_is_named_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "regions"
    RegionCache(folder, "a1").save("one", random_image(0))
    with caplog.at_level(logging.WARNING, "saccade"):
        again = RegionCache(folder, "a1")
        assert again.load("one") is not None
        assert not caplog.text
        other = RegionCache(folder, "b2")
    assert other.load("one") is None
    assert f"{folder}: features of 1 images are of other weights (a1; now b2)" in caplog.text
    assert RegionCache(folder, "a1").load("one") is None


def test_a_broken_file_is_named_and_computed_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = RegionCache(tmp_path, "a1")
    cache.save("one", random_image(0))
    whole = cache.path("one").read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2]):
        cache.path("one").write_bytes(content)
        with caplog.at_level(logging.WARNING, "saccade"):
            assert cache.load("one") is None
        assert f"{cache.path('one')} is broken" in caplog.text
        with pytest.raises(SaccadeError, match="was removed or damaged while it was in use"):
            list(cache.load_all(["one"]))


def test_keys_tell_content_shape_type_and_settings_apart() -> None:
    tensor = torch.arange(6.0)
    keys = [
        hash_tensors(tensor),
        hash_tensors(tensor.view(2, 3)),
        hash_tensors(tensor.int()),
        hash_tensors(tensor + 1),
        hash_tensors(tensor, text="crops of 64"),
    ]
    assert len(set(keys)) == 5
    assert hash_tensors(tensor.view(1, 2, 3, 1)) == hash_tensors(
        tensor.view(1, 2, 3, 1).to(memory_format=torch.channels_last)
    )
