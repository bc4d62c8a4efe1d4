from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from saccade.errors import DataError
from saccade.metrics.coco import COCO_FIGURES, CocoEvaluator, ImageRecord, confusion_counts
from saccade.results.detections import Detections

CLASSES = ("cat", "dog", "newt")


def detections(image_id: int, boxes: Any, scores: Any, labels: Any, names: tuple[str, ...] = CLASSES) -> Detections:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return Detections(
        path=f"{image_id}.jpg",
        image_id=image_id,
        image_size=(480, 640),
        class_names=names,
        boxes_xyxy=boxes,
        scores=np.asarray(scores, np.float64),
        labels=np.asarray(labels, np.int64),
    )


def evaluator_of(dataset: dict[str, Any], found: list[dict[str, Any]]) -> CocoEvaluator:
    """Feed COCO dictionaries, whose category ids may have gaps, through results and targets."""
    ids = sorted(category["id"] for category in dataset["categories"])
    evaluator = CocoEvaluator([str(i) for i in ids])
    for image in dataset["images"]:
        mine = [entry for entry in found if entry["image_id"] == image["id"]]
        true = [entry for entry in dataset["annotations"] if entry["image_id"] == image["id"]]
        boxes, truths = (np.array([entry["bbox"] for entry in part], float).reshape(-1, 4) for part in (mine, true))
        for part in (boxes, truths):
            part[:, 2:] += part[:, :2]
        target = {
            "boxes": truths,
            "labels": np.array([ids.index(entry["category_id"]) for entry in true], np.int64),
            "area": np.array([entry["area"] for entry in true]),
            "iscrowd": np.array([entry["iscrowd"] for entry in true], bool),
        }
        scores = [entry["score"] for entry in mine]
        labels = [ids.index(entry["category_id"]) for entry in mine]
        evaluator.update([detections(image["id"], boxes, scores, labels, evaluator.class_names)], [target])
    return evaluator


def pycocotools_figures(dataset: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: math.nan if value == -1 else value for name, value in zip(COCO_FIGURES, evaluation.stats, strict=True)
    }


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def random_set(seed: int, images: int = 30) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Jittered detections of random truth: crowds, ties of scores, empty images, unused categories, ids with gaps."""
    rng = np.random.default_rng(seed)
    ids = [3, 7, 8, 90]
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(int(rng.integers(0, 9)) if image % 5 else 0):
            size = rng.uniform(8, 250, 2)
            box = [*rng.uniform(0, 400, 2), *size]
            category, crowd = int(rng.choice(ids[:3])), int(rng.random() < 0.15)
            area = float(size.prod() * rng.uniform(0.4, 1))
            truth = {"image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            truths.append({"id": len(truths) + 1, **truth})
            for _ in range(int(rng.integers(0, 4))):
                jittered = [value + rng.normal(0, 0.12) * size[i % 2] for i, value in enumerate(box)]
                jittered[2:] = [max(1.0, value) for value in jittered[2:]]
                guess = category if rng.random() < 0.8 else int(rng.choice(ids))
                score = round(float(rng.random()), 1)
                found.append({"image_id": image, "category_id": guess, "bbox": jittered, "score": score})
    categories = [{"id": i, "name": str(i)} for i in ids]
    return {"images": [{"id": i} for i in range(images)], "categories": categories, "annotations": truths}, found


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_those_of_pycocotools_on_random_sets_with_crowds(seed: int) -> None:
    dataset, found = random_set(seed)
    same(evaluator_of(dataset, found).compute().values, pycocotools_figures(dataset, found))


def test_at_most_100_detections_an_image_count() -> None:
    rng = np.random.default_rng(0)
    dataset, _ = random_set(9, images=3)
    found = [
        {"image_id": 1, "category_id": 3, "bbox": [*rng.uniform(0, 400, 2), 40.0, 40.0], "score": float(rng.random())}
        for _ in range(180)
    ]
    same(evaluator_of(dataset, found).compute().values, pycocotools_figures(dataset, found))


@pytest.mark.data("voc100_multiformat")
def test_figures_equal_those_of_pycocotools_on_real_detections(data_root: Path) -> None:
    folder = data_root / "voc100_multiformat" / "coco_eval_toy"
    dataset = json.loads((folder / "gts" / "sampled_gts_bbox_area.json").read_text())
    for annotation in dataset["annotations"]:
        annotation.setdefault("iscrowd", 0)
    known = {image["id"] for image in dataset["images"]}
    results = json.loads((folder / "cocoapi_results.json").read_text())
    found = [entry for entry in results if entry["image_id"] in known]
    assert len(found) > 50
    values = evaluator_of(dataset, found).compute().values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, found))


def test_perfect_detections_score_one_and_absent_classes_are_undefined() -> None:
    target = {"boxes": np.array([[10.0, 10, 60, 80], [100, 20, 300, 200]]), "labels": np.array([0, 2])}
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update([detections(1, target["boxes"], [0.9, 0.8], [0, 2]), detections(2, [], [], [])], [target, {}])
    report = evaluator.compute()
    assert report.primary == "AP"
    assert report.score == report.values["AP"] == report.values["AP50"] == report.values["AR100"] == 1.0
    assert math.isnan(report.values["AP_small"])
    rows = {row["class"]: row for row in report.per_class}
    assert rows["cat"]["AP"] == rows["newt"]["AP50"] == 1.0
    assert (rows["cat"]["objects"], rows["dog"]["objects"]) == (1, 0)
    assert math.isnan(rows["dog"]["AP"])
    assert math.isnan(rows["dog"]["AR"])
    curve = report.curves["precision_recall"]
    assert set(curve["y"]) == {"cat", "newt"}
    assert len(curve["x"]) == len(curve["y"]["cat"]) == 101
    assert min(curve["y"]["cat"]) == 1.0


@pytest.mark.parametrize("images", [0, 3])
def test_no_truth_at_all_is_undefined_and_no_crash(images: int) -> None:
    evaluator = CocoEvaluator(CLASSES)
    for image in range(images):
        boxes = [[0, 0, 10, 10]] if image == 1 else []
        evaluator.update([detections(image, boxes, [0.5] * len(boxes), [1] * len(boxes))], [{}])
    report = evaluator.compute()
    assert set(report.values) == set(COCO_FIGURES)
    assert all(math.isnan(value) for value in report.values.values())
    assert np.array(report.confusion["matrix"]).sum() == (1 if images else 0)


def test_no_detections_at_all_score_zero() -> None:
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update([detections(4, [], [], [])], [{"boxes": np.array([[0.0, 0, 50, 50]]), "labels": np.array([1])}])
    assert evaluator.compute().values["AP"] == 0.0


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    dataset, found = random_set(5)
    whole = evaluator_of(dataset, found)
    expected = whole.compute()
    everything = whole.state()
    ids = sorted(everything)
    # Three processes; the second and third both saw image 7, as a padded sampler does.
    parts = [{i: everything[i] for i in part} for part in (ids[0::3], ids[1::3], [*ids[2::3], 7])]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        merged = CocoEvaluator(whole.class_names)
        merged.merge([pickle.loads(pickle.dumps(parts[i])) for i in order])
        report = merged.compute()
        same(report.values, expected.values)
        assert report.confusion == expected.confusion


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    dataset, found = random_set(1, images=6)
    evaluator_of(dataset, found).compute()
    assert capfd.readouterr() == ("", "")


def test_confusion_counts_hits_mistakes_misses_and_inventions() -> None:
    truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [100, 0, 200, 100]])
    found = np.array(
        [[0.0, 0, 10, 9], [20, 0, 30, 11], [60, 0, 70, 10], [110, 10, 130, 30], [40, 0, 50, 10], [0, 0, 10, 10]]
    )
    record = ImageRecord(
        boxes=found,
        scores=np.array([0.9, 0.8, 0.7, 0.9, 0.1, 0.6]),
        labels=np.array([0, 2, 1, 1, 0, 0]),
        truth_boxes=truth,
        truth_labels=np.array([0, 1, 0, 1]),
        area=np.full(4, 100.0),
        crowd=np.array([False, False, False, True]),
    )
    matrix = confusion_counts([record], 3)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # found, by the better of two boxes
    expected[1, 2] = 1  # a dog taken for a newt
    expected[0, 3] = 1  # missed: its detection scores too little
    expected[3, 1] = 1  # nothing there (the one inside the crowd does not count)
    expected[3, 0] = 1  # the second box on the first object
    assert matrix.tolist() == expected.tolist()


def test_labels_the_classes_do_not_have_are_named() -> None:
    evaluator = CocoEvaluator(CLASSES)
    with pytest.raises(DataError, match=r"8\.jpg.*label 5.*3 classes"):
        evaluator.update([detections(8, [[0, 0, 1, 1]], [0.5], [5])], [{}])


def test_float32_boxes_of_results_keep_their_precision_in_coco_entries() -> None:
    boxes = np.array([[0.1, 0.2, 33.3, 44.4]], np.float32)
    entry = detections(1, boxes, [0.5], [0]).to_coco()[0]
    x, y, width, height = entry["bbox"]
    assert (x, y) == (float(boxes[0, 0]), float(boxes[0, 1]))
    assert x + width == float(boxes[0, 2])
    assert y + height == float(boxes[0, 3])
