from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saccade.errors import ConfigError
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task, list_tasks

NAMES = ("cat", "dog")
KINDS = ["torch", "bfloat16", "numpy"]


def as_kind(values: Any, kind: str) -> Any:
    array = np.asarray(values)
    array = array.astype(np.float32) if array.dtype.kind == "f" else array
    if kind == "numpy":
        return array
    tensor = torch.from_numpy(array)
    return tensor.bfloat16() if kind == "bfloat16" and tensor.is_floating_point() else tensor


def letterboxed(image_id: int = 3) -> ImageInfo:
    """100 x 200 pixels, halved and centred on a canvas of 64 x 128: x' = x / 2 + 14, y' = y / 2 + 7."""
    matrix = np.array([[0.5, 0, 14], [0, 0.5, 7], [0, 0, 1]])
    return ImageInfo(image_id, "a.jpg", Geometry.identity((100, 200)).then(matrix, (64, 128)))


def untouched(size: tuple[int, int], image_id: int = 0) -> ImageInfo:
    return ImageInfo(image_id, "b.jpg", Geometry.identity(size))


def test_every_file_is_a_task_by_its_name() -> None:
    assert set(list_tasks()) >= {"classification", "detection", "keypoints", "segmentation"}
    for name in list_tasks():
        task = get_task(name)
        assert task.name == name
        assert task.decoded_keys
    with pytest.raises(ConfigError, match="'detection'"):
        get_task("detecton")


@pytest.mark.parametrize("kind", KINDS)
def test_classification(kind: str) -> None:
    task = get_task("classification")
    decoded = {"probabilities": as_kind([[0.25, 0.75], [1.0, 0.0]], kind)}
    first, second = task.results(decoded, [letterboxed(3), untouched((5, 6), 4)], NAMES)
    assert isinstance(first, Classification)
    assert (first.name, first.image_id, first.image_size, first.path) == ("dog", 3, (100, 200), "a.jpg")
    assert first.score == 0.75
    assert second.image_size == (5, 6)
    ground_truth = task.from_target({"labels": np.array(1)}, untouched((5, 6)), NAMES)
    assert isinstance(ground_truth, Classification)
    assert ground_truth.top(2) == [("dog", 1.0), ("cat", 0.0)]
    mixed = task.from_target({"labels": np.array([0.3, 0.7], np.float32)}, untouched((5, 6)), NAMES)
    assert isinstance(mixed, Classification)
    assert mixed.score == pytest.approx(0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_detection_maps_boxes_back_and_leaves_out_the_padding(kind: str) -> None:
    task = get_task("detection")
    boxes = np.zeros((1, 5, 4), np.float32)
    boxes[0, 0] = (24, 17, 64, 32)  # original (20, 20, 100, 50)
    boxes[0, 1] = (0, 0, 128, 64)  # more than the image
    boxes[0, 2] = (0, 0, 10, 10)  # padding alone
    decoded = {
        "boxes": as_kind(boxes, kind),
        "scores": as_kind([[0.75, 0.5, 0.25, 0.0, 0.0]], kind),
        "labels": as_kind(np.array([[1, 0, 1, 0, 0]]), kind),
        "count": as_kind(np.array([3]), kind),
    }
    (result,) = task.results(decoded, [letterboxed()], NAMES)
    assert isinstance(result, Detections)
    assert result.boxes_xyxy.tolist() == [[20, 20, 100, 50], [0, 0, 200, 100]]
    assert result.scores.tolist() == [0.75, 0.5]
    assert result.names == ["dog", "cat"]


def test_detection_ground_truth_keeps_or_maps_boxes_and_masks() -> None:
    task = get_task("detection")
    mask = np.zeros((1, 64, 128), np.uint8)
    mask[0, 17:32, 24:64] = 1
    target = {"boxes": np.array([[24.0, 17, 64, 32]], np.float32), "labels": np.array([1]), "masks": mask}
    ground_truth = task.from_target(target, letterboxed(), NAMES)
    assert isinstance(ground_truth, Detections)
    assert ground_truth.boxes_xyxy.tolist() == [[20, 20, 100, 50]]
    assert ground_truth.scores.tolist() == [1.0]
    assert ground_truth.masks is not None
    assert ground_truth.masks.shape == (1, 100, 200)
    rows, columns = np.nonzero(ground_truth.masks[0])
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (20, 20, 100, 50)
    original = {"boxes": np.array([[0.1, 0.2, 3.3, 4.4]]), "labels": np.array([0])}
    kept = task.from_target(original, untouched((10, 10)), NAMES)
    assert isinstance(kept, Detections)
    assert kept.boxes_xyxy.tolist() == original["boxes"].tolist()
    none = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64), "masks": np.zeros((0, 10, 10), np.uint8)}
    empty = task.from_target(none, letterboxed(), NAMES)
    assert isinstance(empty, Detections)
    assert len(empty) == 0
    assert empty.masks is not None
    assert empty.masks.shape == (0, 100, 200)


@pytest.mark.parametrize("kind", KINDS)
def test_segmentation_warps_probabilities_before_it_decides(kind: str) -> None:
    task = get_task("segmentation")
    canvas = np.zeros((1, 3, 64, 128), np.float32)
    canvas[0, 0] = 0.2
    canvas[0, 2, 17:32, 24:64] = 1.0
    (result,) = task.results({"probabilities": as_kind(canvas, kind)}, [letterboxed()], ("a", "b", "c"))
    assert isinstance(result, SegmentationMap)
    assert result.label_map.shape == (100, 200)
    assert result.label_map.dtype == np.uint8
    assert set(np.unique(result.label_map)) == {0, 2}
    # Half a pixel of the original outside its border, the class still has a quarter of the probability: more than 0.2.
    rows, columns = np.nonzero(result.label_map == 2)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (19, 19, 101, 51)
    inside = result.label_map[20:50, 20:100]
    assert (inside == 2).all()


@pytest.mark.parametrize("names", [("cell",), ("background", "cell")])
def test_one_class_is_a_threshold(names: tuple[str, ...]) -> None:
    task = get_task("segmentation")
    canvas = np.zeros((1, 1, 6, 8), np.float32)
    canvas[0, 0, :3] = 0.5
    canvas[0, 0, 3:] = 0.49
    (result,) = task.results({"probabilities": torch.from_numpy(canvas)}, [untouched((6, 8))], names)
    assert isinstance(result, SegmentationMap)
    assert result.class_names == ("background", "cell")
    assert result.class_share() == {"background": 0.5, "cell": 0.5}
    assert result.probabilities is not None
    assert np.array_equal(result.probabilities, canvas[0, 0])
    ground_truth = task.from_target({"label_map": result.label_map}, untouched((6, 8)), names)
    assert isinstance(ground_truth, SegmentationMap)
    assert np.array_equal(ground_truth.label_map, result.label_map)


def test_segmentation_with_many_classes_equals_argmax() -> None:
    probabilities = np.random.default_rng(0).random((1, 300, 8, 9)).astype(np.float32)
    (result,) = get_task("segmentation").results({"probabilities": probabilities}, [untouched((8, 9))], [""] * 300)
    assert isinstance(result, SegmentationMap)
    assert result.label_map.dtype == np.int16
    assert np.array_equal(result.label_map, probabilities[0].argmax(axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_keypoints(kind: str) -> None:
    task = get_task("keypoints")
    points = np.zeros((1, 2, 2, 2), np.float32)
    points[0, 0] = [[24, 17], [64, 32]]
    decoded = {
        "keypoints": as_kind(points, kind),
        "point_scores": as_kind([[[0.75, 0.5], [0, 0]]], kind),
        "scores": as_kind([[0.625, 0]], kind),
        "boxes": as_kind([[[14, 7, 64, 32], [0, 0, 0, 0]]], kind),
        "count": as_kind(np.array([1]), kind),
    }
    (result,) = task.results(decoded, [letterboxed()], ("eye", "ear"))
    assert isinstance(result, Keypoints)
    assert result.keypoints.tolist() == [[[20, 20], [100, 50]]]
    assert result.point_scores.tolist() == [[0.75, 0.5]]
    assert result.scores.tolist() == [0.625]
    assert result.boxes_xyxy.tolist() == [[0, 0, 100, 50]]
    target = {"keypoints": np.array([[[24, 17, 2], [0, 0, 0]]], np.float32)}
    ground_truth = task.from_target(target, letterboxed(), ("eye", "ear"))
    assert isinstance(ground_truth, Keypoints)
    assert ground_truth.keypoints[0, 0].tolist() == [20, 20]
    assert ground_truth.point_scores.tolist() == [[1, 0]]


TRUTHS: dict[str, Any] = {
    "classification": {"labels": np.array(1)},
    "detection": {
        "boxes": np.array([[2.0, 2, 30, 40], [10, 5, 50, 60]]),
        "labels": np.array([0, 1]),
        "iscrowd": np.zeros(2, bool),
    },
    "segmentation": {"label_map": np.pad(np.ones((20, 20), np.uint8), 22)},
    "keypoints": {"keypoints": np.array([[[5.0, 5, 2], [20, 30, 1]]])},
}


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_a_ground_truth_scores_perfectly_against_itself(name: str) -> None:
    task = get_task(name)
    evaluator = task.evaluator(DatasetInfo("set", name, NAMES))
    ground_truth = task.from_target(TRUTHS[name], untouched((64, 64), 1), NAMES)
    evaluator.update([ground_truth], [TRUTHS[name]])
    report = evaluator.compute()
    assert report.values[report.primary] == (0.0 if name == "keypoints" else 1.0)
    assert (
        report.primary
        == {"classification": "top1", "detection": "AP", "segmentation": "mIoU", "keypoints": "NME"}[name]
    )


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_a_result_of_another_task_is_refused(name: str) -> None:
    other = "detection" if name != "detection" else "keypoints"
    wrong = get_task(other).from_target(TRUTHS[other], untouched((64, 64)), NAMES)
    with pytest.raises(TypeError, match=type(wrong).__name__):
        get_task(name).evaluator(DatasetInfo("set", name, NAMES)).update([wrong], [TRUTHS[name]])


def test_masks_and_keypoints_of_detections_are_mapped_back() -> None:
    decoded = {
        "boxes": torch.tensor([[[24.0, 17, 34, 22], [0, 0, 0, 0]]]),
        "scores": torch.tensor([[0.9, 0]]),
        "labels": torch.tensor([[1, 0]]),
        "count": torch.tensor([1]),
        "masks": torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]),
        "keypoints": torch.tensor([[[[24.0, 17]], [[0, 0]]]]),
        "point_scores": torch.tensor([[[0.5], [0.0]]]),
    }
    (result,) = get_task("detection").results(decoded, [letterboxed()], NAMES)
    assert isinstance(result, Detections)
    assert result.boxes_xyxy.tolist() == [[20, 20, 40, 30]]
    assert result.keypoints.tolist() == [[[20, 20]]]
    rows, columns = np.nonzero(result.masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 29, 20, 29)  # the left half of the box


def test_which_figure_decides_follows_from_what_is_decoded() -> None:
    task = get_task("detection")
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 10:30, 10:30] = True
    target = {"boxes": np.array([[10.0, 10, 30, 30]]), "labels": np.array([0]), "masks": masks.astype(np.uint8)}
    for keys, primary in ((("boxes", "masks"), "mask_AP"), (("boxes",), "AP")):
        evaluator = task.evaluator(DatasetInfo("set", "detection", NAMES), keys)
        evaluator.update([task.from_target(target, untouched((64, 64), 1), NAMES)], [target])
        assert evaluator.compute().primary == primary


def test_parts_of_an_image_are_joined() -> None:
    for name in ("detection", "keypoints", "classification"):
        task = get_task(name)
        part = task.from_target(TRUTHS[name], untouched((64, 64), 1), NAMES)
        whole = task.join_parts([part, part])
        if name != "classification":
            assert len(whole) == 2 * len(part)
    with pytest.raises(ConfigError, match="no rule to join"):
        get_task("segmentation").join_parts([])


def test_a_task_is_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task in a file of its own merges, joins and scores by what it inherits, or says that it has no rule."""
    from saccade.tasks.base import MergeOptions, Task

    class Counting(Task):
        name = "counting"
        decoded = {"number": "B"}  # noqa: RUF012
        target_kinds = ("labels",)

        def results(self, decoded: Any, infos: Any, class_names: Any) -> list[Any]:
            return [float(value) for value in decoded["number"]]

        def from_target(self, target: Any, info: Any, class_names: Any) -> Any:
            return float(target["labels"])

        def evaluator(self, data: Any, decoded_keys: Any = ()) -> Any:
            raise NotImplementedError

    task = Counting()
    assert task.decoded_keys == ("number",)
    assert task.ground_truth_task == "counting"
    assert task.constant_baseline([], DatasetInfo("set", "counting", ())) is None
    with pytest.raises(ConfigError, match="counting has no rule to merge several views"):
        task.merge_views([], [], MergeOptions())
    with pytest.raises(ConfigError, match="counting has no rule to join the results of several tiles"):
        task.join_tiles([], None, MergeOptions())  # type: ignore[arg-type]
