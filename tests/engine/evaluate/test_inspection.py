"""Findings of single images: figures and kinds of errors, worst first, as a table and as a page."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.evaluate.inspection import Inspection
from saccade.engine.report.errors_page import write_errors_page
from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.embedding import Embedding
from saccade.results.findings import FOUND_COLOR, TRUTH_COLOR
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap
from saccade.results.translated_image import TranslatedImage
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import Target
from saccade.tasks import get_task

NAMES = ("cat", "dog")


def about(image_id: int = 0, size: tuple[int, int] = (200, 300), names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {"path": f"photos/{image_id}.jpg", "image_id": image_id, "image_size": size, "class_names": names}


def every_kind() -> tuple[Detections, Target]:
    """A hit, and one error of each kind."""
    truth = np.array([[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40], [0, 100, 80, 180], [250, 150, 290, 190.0]])
    found = [
        ([0, 0, 40, 40], 0, 0.9),  # hit
        ([2, 2, 42, 42], 0, 0.8),  # duplicate of it
        ([120, 0, 160, 40], 0, 0.7),  # mislocated: IoU 1/3
        ([200, 0, 240, 40], 1, 0.6),  # a cat taken for a dog
        ([150, 100, 190, 140], 1, 0.95),  # on background
        ([0, 0, 10, 10], 1, 0.1),  # below the threshold of the test
    ]
    boxes, labels, scores = (np.array(column) for column in zip(*found, strict=True))
    result = Detections(**about(), boxes_xyxy=boxes.astype(float), scores=scores, labels=labels)
    return result, {"boxes": truth, "labels": np.array([0, 0, 0, 1, 0]), "iscrowd": np.array([0, 0, 0, 0, 1])}


def test_every_error_of_a_detector_has_its_kind() -> None:
    result, target = every_kind()
    found = get_task("detection").inspect(result.above(0.25), target, DatasetInfo("pets", "detection", NAMES))
    assert found.figures == {
        "objects": 4,  # the crowd does not count
        "found": 1,
        "not_found": 3,
        "false": 4,
        "mislocated": 1,
        "wrong_class": 1,
        "precision": 1 / 5,
        "recall": 1 / 4,
        "F1": 2 / 9,
    }
    assert {fault.kind: (fault.caption, fault.weight) for fault in found.faults} == {
        "mislocated": ("cat 0.70, IoU 0.33", 0.7),
        "wrong class": ("dog 0.60, is cat", 0.6),
        "duplicate": ("cat 0.80", 0.8),
        "false": ("dog 0.95", 0.95),
        "missed": ("dog, 80 x 80 pixels", 80 * 80 / (200 * 300)),
    }
    image = np.full((200, 300, 3), 127, np.uint8)
    for fault in found.faults:
        colors = {tuple(color) for color in fault.draw(image).reshape(-1, 3).tolist()}
        expected = {"false": {FOUND_COLOR}, "missed": {TRUTH_COLOR}}.get(fault.kind, {FOUND_COLOR, TRUTH_COLOR})
        assert colors & {FOUND_COLOR, TRUTH_COLOR} == expected, fault.kind


def test_an_image_without_objects_is_right_if_nothing_is_found() -> None:
    nothing = Detections(**about(), boxes_xyxy=np.zeros((0, 4)), scores=[], labels=[])
    target = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    found = get_task("detection").inspect(nothing, target, DatasetInfo("pets", "detection", NAMES))
    assert (found.score, found.faults) == (1.0, [])


def test_wrong_pixels_are_tinted_and_right_and_ignored_ones_are_not() -> None:
    truth = np.zeros((100, 200), np.uint8)
    truth[:, 100:], truth[:10] = 1, 255
    predicted = truth.copy()
    predicted[50:, 100:], predicted[:10] = 0, 1
    result = SegmentationMap(**about(size=(100, 200)), label_map=predicted)
    found = get_task("segmentation").inspect(result, {"label_map": truth}, DatasetInfo("pets", "segmentation", NAMES))
    # 9,000 and 4,000 pixels of the classes are right of 14,000 and 9,000 in the union.
    assert found.figures["mIoU"] == pytest.approx((9000 / 14000 + 4000 / 9000) / 2)
    (fault,) = found.faults
    assert fault.caption == "IoU 0.54: dog 0.44, cat 0.64; wrong: 27.8 % of the pixels"
    image = np.full((100, 200, 3), 100, np.uint8)
    drawn = fault.draw(image)
    gain = drawn.shape[1] // 200
    assert (drawn[30 * gain, 150 * gain] == 100).all()  # right
    assert (drawn[5 * gain, 30 * gain] == 100).all()  # ignored
    assert (drawn[80 * gain, 150 * gain] != 100).any()  # wrong


def test_points_are_drawn_beside_their_ground_truth() -> None:
    points = np.array([[[20.0, 20], [220, 20], [20, 170], [220, 170]]])
    moved = points + np.array([[[0, 0], [30, 0], [0, 0], [0, 0]]])
    names = ("a", "b", "c", "d")
    result = Keypoints(**about(names=names), keypoints=moved, point_scores=np.ones((1, 4)))
    target = {"keypoints": np.concatenate([points, np.full((1, 4, 1), 2.0)], axis=-1)}
    found = get_task("keypoints").inspect(result, target, DatasetInfo("faces", "keypoints", names))
    size = np.sqrt(200 * 150)
    assert found.figures["NME"] == pytest.approx(30 / size / 4)
    assert found.score == -found.figures["NME"]
    assert found.faults[0].caption == f"NME {30 / size / 4:.3f}; largest error b {30 / size:.3f}"
    drawn = found.faults[0].draw(np.zeros((200, 300, 3), np.uint8))
    gain = drawn.shape[1] // 300
    assert tuple(drawn[20 * gain, 220 * gain]) == TRUTH_COLOR
    assert tuple(drawn[20 * gain, 250 * gain]) == FOUND_COLOR


def test_a_task_without_a_rule_shows_the_result_beside_its_ground_truth() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    result = TranslatedImage(**about(size=(64, 64), names=()), output=255 - image)
    task = get_task("translation")
    found = task.inspect(result, {"target_image": image, "paired": np.array(True)}, DatasetInfo("x", "translation", ()))
    assert found.figure == "SSIM"
    assert found.score < 0.5
    assert found.faults[0].draw(image).shape[1] > found.faults[0].draw(image).shape[0]


def test_a_vector_alone_has_no_figure() -> None:
    vector = Embedding(**about(), vector=np.zeros(4))
    with pytest.raises(ConfigError, match="embeddings have no figure of one image alone"):
        get_task("embedding").inspect(vector, {"labels": np.array(0)}, DatasetInfo("x", "classification", NAMES))


def seen(count: int, most: int = 48) -> Inspection:
    """A classifier that is wrong on every third image, the surer the higher its number."""
    inspection, task, data = (
        Inspection(most=most),
        get_task("classification"),
        DatasetInfo("x", "classification", NAMES),
    )
    inspection.begin(task.evaluator(data), task, data)
    for number in range(count):
        sure = 0.5 + 0.5 * (number + 1) / (count + 1)
        result: Result = Classification(**about(number), probabilities=np.array([1 - sure, sure]))
        inspection.add([result], [{"labels": np.array(int(number % 3 != 0))}])
    return inspection


def test_the_worst_are_kept_and_all_are_counted() -> None:
    inspection = seen(30, most=4)
    assert inspection.counts == {"misclassified": 10}
    assert [one.image_id for one in inspection.faults()["misclassified"]] == [27, 24, 21, 18]
    assert inspection.faults()["misclassified"][0].caption.startswith("27.jpg: cat, predicted dog 0.95")


def test_the_table_lists_all_images_worst_first(tmp_path: Path) -> None:
    path = seen(6).write_table(tmp_path / "out" / "images.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["image_id"] for row in rows] == ["3", "0", "1", "2", "4", "5"]
    assert rows[0].keys() == {"image_id", "path", "class", "predicted", "correct", "confidence", "probability_of_class"}
    assert (rows[0]["correct"], rows[0]["path"]) == ("0", "photos/3.jpg")


def test_evaluate_writes_the_table_and_the_page(tmp_path: Path) -> None:
    model = saccade.create_model("lenet5")
    report = saccade.evaluate(
        model, "digit_scenes", "test", workers=0, per_image=tmp_path / "x.csv", errors=tmp_path / "errors"
    )
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert len(rows) == 200
    assert np.mean([int(row["correct"]) for row in rows]) == pytest.approx(report.values["top1"])
    text = (tmp_path / "errors" / "errors.html").read_text()
    wrong = sum(row["correct"] == "0" for row in rows)
    assert f"Misclassified ({wrong:,})" in text
    assert text.count("data:image/jpeg") == 48
    assert f"48 of {wrong:,} are shown" in text
    assert not re.search(r'(src|href)="(?!data:)', text)  # the page is whole
    assert report.notes[-2:] == [
        f"the figures of each image are in {tmp_path / 'x.csv'}.",
        f"the errors are in {tmp_path / 'errors' / 'errors.html'}.",
    ]


def test_pages_quote_names_of_others(tmp_path: Path) -> None:
    names = ("<b>cat</b>", "dog")
    inspection, task = Inspection(), get_task("classification")
    scenes = DigitScenes("classification", "val", count=1)
    inspection.begin(task.evaluator(DatasetInfo("x", "classification", names)), task, scenes.info)
    inspection.data = DatasetInfo("x", "classification", names)
    result = Classification(
        path=scenes.path(0), image_id=0, image_size=(256, 256), class_names=names, probabilities=np.array([0.1, 0.9])
    )
    result.image_size = scenes.read(0).size
    inspection.add([result], [{"labels": np.array(0)}])
    report = inspection.evaluator.compute()
    text = write_errors_page(tmp_path, inspection, report, scenes, "<script>").read_text()
    assert "&lt;b&gt;cat&lt;/b&gt;, predicted dog 0.90" in text
    assert "<b>cat" not in text
    assert "<script>" not in text


@pytest.mark.parametrize("name", ["per_image", "errors", "choose_thresholds"])
def test_where_no_images_are_predicted_it_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} is for models that predict image by image, not with predictions"):
        saccade.evaluate(predictions=tmp_path / "x.json", data="digit_scenes", **{name: tmp_path / "x"})
