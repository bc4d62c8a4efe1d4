from __future__ import annotations

import json
import math
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.open import open_raw
from saccade.data.tables.table_dataset import TableDataset
from saccade.metrics.detection import DetectionEvaluator
from saccade.metrics.voc import VocEvaluator
from saccade.results.detections import Detections

CLASSES = ("cat", "dog", "newt")
Scene = tuple[dict[str, Any], Detections]


def detections(image_id: int, boxes: Any, scores: Any, labels: Any, names: tuple[str, ...] = CLASSES) -> Detections:
    about = {"path": f"{image_id}.jpg", "image_id": image_id, "image_size": (480, 640), "class_names": names}
    return Detections(**about, boxes_xyxy=np.asarray(boxes, float).reshape(-1, 4), scores=scores, labels=labels)


def iou(first: Any, second: Any) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(width * height / (areas - width * height))


def plain_definition(scenes: list[Scene], label: int) -> tuple[float, float]:
    """AP of 2007 and of 2012 of one class, as the development kit describes them, one detection at a time."""
    scenes = sorted(scenes, key=lambda scene: scene[1].image_id)
    ground_truths, found = {}, []
    for target, result in scenes:
        mine = [i for i, other in enumerate(target["labels"]) if other == label]
        ground_truths[result.image_id] = [(target["boxes"][i], bool(target["difficult"][i])) for i in mine]
        for box, score, other in zip(result.boxes_xyxy, result.scores, result.labels, strict=True):
            if other == label:
                found.append((float(score), result.image_id, box))
    objects = sum(not difficult for boxes in ground_truths.values() for _, difficult in boxes)
    if not objects:
        return math.nan, math.nan
    taken = set()
    right = 0
    curve: list[tuple[Fraction, Fraction]] = []
    for _, image_id, box in sorted(found, key=lambda entry: -entry[0]):
        best, which = 0.0, -1
        for i, (ground_truth, _) in enumerate(ground_truths[image_id]):
            if iou(box, ground_truth) > best:
                best, which = iou(box, ground_truth), i
        if best >= 0.5:
            if ground_truths[image_id][which][1]:
                continue
            if (image_id, which) not in taken:
                taken.add((image_id, which))
                right += 1
        curve.append((Fraction(right, objects), Fraction(right, len(curve) + 1)))
    eleven = sum(
        max([precision for recall, precision in curve if recall >= Fraction(k, 10)], default=Fraction(0))
        for k in range(11)
    ) / Fraction(11)
    area, before = Fraction(0), Fraction(0)
    for position, (recall, _) in enumerate(curve):
        area += (recall - before) * max(precision for _, precision in curve[position:])
        before = recall
    return float(eleven), float(area)


def random_scenes(seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    scenes: list[Scene] = []
    for image in range(12):
        count = int(rng.integers(0, 6))
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 200, (count, 2))], axis=1)
        labels = rng.integers(0, 2, count)
        target = {"boxes": boxes, "labels": labels, "difficult": rng.random(count) < 0.25}
        copies = np.repeat(np.arange(count), rng.integers(0, 4, count))
        guesses = boxes[copies] + rng.normal(0, 12, (len(copies), 4))
        scores = np.round(rng.random(len(copies)), 1)
        named = np.where(rng.random(len(copies)) < 0.85, labels[copies], 1 - labels[copies])
        scenes.append((target, detections(20 - image, guesses, scores, named)))
    return scenes


@pytest.mark.parametrize("seed", range(20))
def test_both_averages_equal_the_plain_definition(seed: int) -> None:
    scenes = random_scenes(seed)
    evaluator = VocEvaluator(CLASSES)
    for target, result in scenes:
        evaluator.update([result], [target])
    report = evaluator.compute()
    expected = [plain_definition(scenes, label) for label in range(3)]
    for row, (eleven, area) in zip(report.per_class, expected, strict=True):
        assert row["VOC07_AP"] == pytest.approx(eleven, abs=1e-12, nan_ok=True)
        assert row["VOC12_AP"] == pytest.approx(area, abs=1e-12, nan_ok=True)
    assert math.isnan(expected[2][0])  # no newts
    assert report.values["VOC07_mAP"] == pytest.approx(np.mean([e[0] for e in expected[:2]]), abs=1e-12)
    assert report.values["VOC12_mAP"] == report.score == pytest.approx(np.mean([e[1] for e in expected[:2]]), abs=1e-12)
    assert 0 < report.score < 1


def test_known_curve() -> None:
    """Right, wrong, right of four: recalls 1/4 and 1/2, precisions 1 and 2/3."""
    ground_truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]])
    target = {"boxes": ground_truth, "labels": np.zeros(4, int), "difficult": np.zeros(4, bool)}
    found = [ground_truth[0], [90, 90, 99, 99], ground_truth[1]]
    evaluator = VocEvaluator(CLASSES)
    evaluator.update([detections(1, found, [0.9, 0.8, 0.7], [0, 0, 0])], [target])
    values = evaluator.compute().values
    assert values["VOC12_mAP"] == pytest.approx(1 / 4 + 1 / 4 * 2 / 3)
    assert values["VOC07_mAP"] == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)  # 0, .1, .2 and .3, .4, .5


def test_recall_of_exactly_three_tenths_reaches_the_point_of_three_tenths() -> None:
    ground_truth = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(10)])
    target = {"boxes": ground_truth, "labels": np.zeros(10, int)}
    evaluator = VocEvaluator(CLASSES)
    evaluator.update([detections(1, ground_truth[:3], [0.9, 0.8, 0.7], [0, 0, 0])], [target])
    assert evaluator.compute().values["VOC07_mAP"] == pytest.approx(4 / 11)


def test_a_second_detection_of_an_object_is_wrong_even_if_it_could_have_had_another() -> None:
    """VOC compares with the best object only; COCO would give the second detection the free object."""
    ground_truth = np.array([[0.0, 0, 100, 100], [0, 40, 100, 140]])
    found = np.array([[0.0, 0, 100, 100], [0, 15, 100, 115]])  # IoU of the second: 0.74 and 0.6
    target = {"boxes": ground_truth, "labels": np.zeros(2, int), "difficult": np.zeros(2, bool)}
    evaluator = DetectionEvaluator(CLASSES)
    evaluator.update([detections(1, found, [0.9, 0.8], [0, 0])], [target])
    values = evaluator.compute().values
    assert values["AP50"] == 1.0
    assert values["VOC12_mAP"] == 0.5


def test_difficult_objects_count_neither_way() -> None:
    ground_truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    target = {"boxes": ground_truth, "labels": np.zeros(2, int), "difficult": np.array([True, False])}
    both, one = VocEvaluator(CLASSES), VocEvaluator(CLASSES)
    both.update(
        [detections(1, [ground_truth[0], ground_truth[0], ground_truth[1]], [0.9, 0.8, 0.7], [0, 0, 0])], [target]
    )
    one.update([detections(1, [ground_truth[1]], [0.7], [0])], [target])
    for evaluator in (both, one):
        report = evaluator.compute()
        assert report.values == {"VOC07_mAP": 1.0, "VOC12_mAP": 1.0}
        assert report.per_class[0]["objects"] == 1


def test_nothing_at_all_is_undefined_and_nothing_found_is_zero() -> None:
    evaluator = VocEvaluator(CLASSES)
    assert all(math.isnan(value) for value in evaluator.compute().values.values())
    evaluator.update([detections(1, [], [], [])], [{"boxes": np.array([[0.0, 0, 9, 9]]), "labels": np.array([1])}])
    assert evaluator.compute().values == {"VOC07_mAP": 0.0, "VOC12_mAP": 0.0}
    with pytest.raises(TypeError, match="Detections"):
        evaluator.update([object()], [{}])  # type: ignore[list-item]


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    scenes = random_scenes(3)
    whole = VocEvaluator(CLASSES)
    parts = [VocEvaluator(CLASSES) for _ in range(3)]
    for number, (target, result) in enumerate(scenes):
        whole.update([result], [target])
        parts[number % 3].update([result], [target])
    parts[0].update([scenes[1][1]], [scenes[1][0]])  # seen twice, as a padded sampler does
    states = [pickle.loads(pickle.dumps(part.state())) for part in parts]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = VocEvaluator(CLASSES)
        merged.merge([states[i] for i in order])
        assert merged.compute().values == whole.compute().values


def test_the_voc_reader_marks_difficult_objects_for_evaluators(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    box = "<bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>10</ymax></bndbox>"
    objects = "".join(
        f"<object><name>cat</name><difficult>{difficult}</difficult>{box.format(first, first + 9)}</object>"
        for difficult, first in ((1, 1), (0, 21))
    )
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{objects}</annotation>")
    data = open_raw(tmp_path, "all", format="voc")
    target = data.target(0)
    assert target["difficult"].tolist() == [True, False]
    evaluator = DetectionEvaluator(data.info.class_names)
    evaluator.update([detections(0, target["boxes"][1:], [0.5], [0], ("cat",))], [target])
    values = evaluator.compute().values
    assert values["VOC12_mAP"] == 1.0
    assert values["AR100"] == 0.5  # COCO knows no difficult objects


@pytest.mark.data("voc100_multiformat")
def test_real_detections_on_voc_images_equal_the_plain_definition(data_root: Path) -> None:
    folder = data_root / "voc100_multiformat"
    data = open_raw(folder / "gts" / "coco_format_v2", "all", task="detection")
    assert isinstance(data, TableDataset)
    names = data.info.class_names
    results = json.loads((folder / "dets" / "coco_format" / "coco_dets.json").read_text())
    named = {category["id"]: category["name"] for category in results["categories"]}
    files = {image["id"]: Path(image["file_name"]).stem for image in results["images"]}
    scenes: list[Scene] = []
    evaluator = VocEvaluator(names)
    for index in range(len(data)):
        mine = [e for e in results["annotations"] if files[e["image_id"]] == Path(data.path(index)).stem]
        boxes = np.array([e["bbox"] for e in mine], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [names.index(named[e["category_id"]]) for e in mine]
        target = {**data.target(index), "difficult": np.zeros(len(data.target(index)["labels"]), bool)}
        scenes.append((target, detections(index, boxes, [e["score"] for e in mine], labels, names)))
        evaluator.update([scenes[-1][1]], [target])
    report = evaluator.compute()
    assert 0.2 < report.values["VOC12_mAP"] < 1
    for label, row in enumerate(report.per_class):
        eleven, area = plain_definition(scenes, label)
        assert (row["VOC07_AP"], row["VOC12_AP"]) == pytest.approx((eleven, area), abs=1e-12, nan_ok=True)
