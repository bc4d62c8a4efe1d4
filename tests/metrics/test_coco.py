from __future__ import annotations

import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as codec
from tests.metrics.references import (
    faster_figures,
    pycocotools_evaluation,
    pycocotools_figures,
    random_masks,
    random_set,
)

from saccade.errors import ConfigError, DataError
from saccade.metrics.coco import COCO_FIGURES, CocoEvaluator, confusion_counts
from saccade.metrics.confidence import confidence_curves
from saccade.metrics.detection import DetectionEvaluator
from saccade.results.detections import Detections

CLASSES = ("cat", "dog", "newt")


def detections(
    image_id: int, boxes: Any, scores: Any, labels: Any, names: tuple[str, ...] = CLASSES, masks: Any = None
) -> Detections:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return Detections(
        path=f"{image_id}.jpg",
        image_id=image_id,
        image_size=(480, 640),
        class_names=names,
        boxes_xyxy=boxes,
        scores=np.asarray(scores, np.float64),
        labels=np.asarray(labels, np.int64),
        masks=masks,
    )


def evaluator_of(dataset: dict[str, Any], found: list[dict[str, Any]], iou_type: str = "bbox") -> CocoEvaluator:
    """Feed COCO dictionaries, whose category ids may have gaps, through results and targets."""
    ids = sorted(category["id"] for category in dataset["categories"])
    evaluator = CocoEvaluator([str(i) for i in ids], iou_type=iou_type)
    for image in dataset["images"]:
        mine = [entry for entry in found if entry["image_id"] == image["id"]]
        true = [entry for entry in dataset["annotations"] if entry["image_id"] == image["id"]]
        boxes, ground_truths = (
            np.array([entry.get("bbox", (0, 0, 1, 1)) for entry in part], float).reshape(-1, 4) for part in (mine, true)
        )
        for part in (boxes, ground_truths):
            part[:, 2:] += part[:, :2]
        target = {
            "boxes": ground_truths,
            "labels": np.array([ids.index(entry["category_id"]) for entry in true], np.int64),
            "area": np.array([entry["area"] for entry in true]),
            "iscrowd": np.array([entry["iscrowd"] for entry in true], bool),
        }
        masks = None
        if iou_type == "segm":
            size = image["height"], image["width"]
            masks, target["masks"] = (
                np.array([codec.decode(entry["segmentation"]) for entry in part], bool).reshape(-1, *size)
                for part in (mine, true)
            )
        scores = [entry["score"] for entry in mine]
        labels = [ids.index(entry["category_id"]) for entry in mine]
        evaluator.update([detections(image["id"], boxes, scores, labels, evaluator.class_names, masks)], [target])
    return evaluator


def same(ours: dict[str, float], theirs: list[float]) -> None:
    assert len(theirs) == len(COCO_FIGURES) == 12
    for name, value in zip(COCO_FIGURES, theirs, strict=True):
        assert ours[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_those_of_both_tools_on_random_sets_with_crowds(seed: int) -> None:
    dataset, found = random_set(seed)
    values = evaluator_of(dataset, found).compute().values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, found))
    same(values, faster_figures(dataset, found))


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_masks_equal_those_of_both_tools(seed: int) -> None:
    dataset, found = random_masks(seed)
    values = evaluator_of(dataset, found, "segm").compute().values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, found, "segm"))
    same(values, faster_figures(dataset, found, "segm"))


def test_figures_of_each_class_equal_the_tables_of_pycocotools() -> None:
    dataset, found = random_set(11)
    theirs = pycocotools_evaluation(dataset, found).eval

    def mean(table: Any) -> float:
        return float(table[table > -1].mean()) if (table > -1).any() else math.nan

    rows = evaluator_of(dataset, found).compute().per_class
    assert [row["class"] for row in rows] == ["3", "7", "8", "90"]
    for label, row in enumerate(rows):
        precision, recall = theirs["precision"][:, :, label], theirs["recall"][:, label]
        expected = {
            "AP": precision[..., 0, 2],
            "AP50": precision[0, :, 0, 2],
            "AP75": precision[5, :, 0, 2],
            "AR": recall[..., 0, 2],
            "AP_small": precision[..., 1, 2],
            "AP_medium": precision[..., 2, 2],
            "AP_large": precision[..., 3, 2],
        }
        for name, table in expected.items():
            assert row[name] == pytest.approx(mean(table), abs=1e-12, nan_ok=True), (row["class"], name)
    curve = evaluator_of(dataset, found).compute().curves["precision_recall"]
    assert np.allclose(curve["y"]["7"], theirs["precision"][0, :, 1, 0, 2], atol=1e-12, rtol=0)


def test_equal_overlaps_and_equal_scores_are_settled_as_by_pycocotools() -> None:
    """Whole numbers on a coarse grid: most overlaps and scores occur several times, many are exactly a threshold."""
    rng = np.random.default_rng(0)
    dataset, _ = random_set(0, images=8)
    dataset["annotations"], found = [], []
    for image in range(8):
        for _ in range(25):
            box = [*(4.0 * rng.integers(0, 4, 2)).tolist(), *(4.0 * rng.integers(1, 4, 2)).tolist()]
            entry = {"image_id": image, "category_id": int(rng.choice([3, 7])), "bbox": box}
            found.append({**entry, "score": float(rng.integers(1, 4)) / 4})
            if rng.random() < 0.5:
                more = {"id": len(dataset["annotations"]) + 1, "iscrowd": int(rng.random() < 0.2)}
                dataset["annotations"].append({**entry, **more, "area": box[2] * box[3]})
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
def test_no_ground_truth_at_all_is_undefined_and_no_crash(images: int) -> None:
    evaluator = CocoEvaluator(CLASSES)
    for image in range(images):
        boxes = [[0, 0, 10, 10]] if image == 1 else []
        evaluator.update([detections(image, boxes, [0.5] * len(boxes), [1] * len(boxes))], [{}])
    report = evaluator.compute()
    assert set(report.values) == {*COCO_FIGURES, "F1", "F1_confidence"}
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
        assert json.dumps(vars(report)) == json.dumps(vars(expected))  # as text, because NaN differs from itself


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    dataset, found = random_set(1, images=6)
    evaluator_of(dataset, found).compute()
    assert capfd.readouterr() == ("", "")


def test_confusion_counts_hits_mistakes_misses_and_inventions() -> None:
    ground_truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [100, 0, 200, 100]])
    target = {"boxes": ground_truth, "labels": np.array([0, 1, 0, 1]), "iscrowd": np.array([False, False, False, True])}
    found = np.array(
        [[0.0, 0, 10, 9], [20, 0, 30, 11], [60, 0, 70, 10], [110, 10, 130, 30], [40, 0, 50, 10], [0, 0, 10, 10]]
    )
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update([detections(1, found, [0.9, 0.8, 0.7, 0.9, 0.1, 0.6], [0, 2, 1, 1, 0, 0])], [target])
    matrix = confusion_counts(evaluator.state().values(), 3)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # found, by the better of two boxes
    expected[1, 2] = 1  # a dog taken for a newt
    expected[0, 3] = 1  # missed: its detection scores too little
    expected[3, 1] = 1  # nothing there (the one inside the crowd does not count)
    expected[3, 0] = 1  # the second box on the first object
    assert matrix.tolist() == expected.tolist()
    assert evaluator.compute().confusion["matrix"] == expected.tolist()


def test_f1_is_that_of_the_detections_above_a_confidence() -> None:
    target = {"boxes": np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), "labels": np.array([0, 0])}
    found = [[0.0, 0, 10, 10], [50, 0, 60, 10], [20, 0, 30, 10]]  # right, wrong, right
    evaluator = CocoEvaluator(CLASSES)
    evaluator.update([detections(1, found, [0.9, 0.5, 0.2], [0, 0, 0])], [target])
    curve = evaluator.compute().curves["F1_confidence"]
    f1 = dict(zip(np.round(curve["x"], 2).tolist(), curve["y"]["cat"], strict=True))
    assert set(curve["y"]) == {"cat"}
    assert [f1[x] for x in (0.0, 0.2, 0.21, 0.5, 0.51, 0.9, 0.91)] == pytest.approx(
        [4 / 5, 4 / 5, 1 / 2, 1 / 2, 2 / 3, 2 / 3, 0]
    )
    values = evaluator.compute().values
    assert values["F1"] == pytest.approx(4 / 5)
    assert values["F1_confidence"] == pytest.approx(0.1, abs=1e-3)  # the middle of 0 to 0.2
    assert curve["mark"] == values["F1_confidence"]


def test_f1_equals_a_slow_count_on_a_random_set() -> None:
    dataset, found = random_set(3)
    evaluator = evaluator_of(dataset, found)
    curves = confidence_curves(evaluator.table(), thresholds=20)
    evaluation = pycocotools_evaluation(dataset, found)
    of_all_sizes = [e for e in evaluation.evalImgs if e is not None and e["aRng"] == [0, 1e10]]
    for label, category in enumerate([3, 7, 8]):
        mine = [e for e in of_all_sizes if e["category_id"] == category]
        objects = sum(int((np.asarray(e["gtIgnore"]) == 0).sum()) for e in mine)
        for position, confidence in enumerate(curves.confidence):
            right = count = 0
            for e in mine:
                for score, match, ignored in zip(e["dtScores"], e["dtMatches"][0], e["dtIgnore"][0], strict=True):
                    if score >= confidence and not ignored:
                        count += 1
                        right += match > 0
            assert curves.f1[label, position] == pytest.approx(2 * right / (count + objects), abs=1e-12)
    assert np.isnan(curves.f1[3]).all()


def test_masks_are_not_kept() -> None:
    size = (600, 800)
    masks = np.zeros((20, *size), bool)
    masks[:, 100:300, 200:500] = True
    target = {"labels": np.zeros(20, np.int64), "masks": masks.astype(np.uint8)}
    evaluator = CocoEvaluator(CLASSES, iou_type="segm")
    evaluator.update([detections(1, np.zeros((20, 4)), np.full(20, 0.5), np.zeros(20), masks=masks)], [target])
    record = evaluator.state()[1]
    assert sum(sys.getsizeof(part) for part in record) < 20_000
    assert record.ground_truth_area.tolist() == record.area.tolist() == [200 * 300] * 20
    assert evaluator.compute().values["AP"] == 1.0


def test_faulty_masks_are_named() -> None:
    evaluator = CocoEvaluator(CLASSES, iou_type="segm")
    masks = np.ones((1, 4, 4), bool)
    one = detections(8, [[0, 0, 1, 1]], [0.5], [0], masks=masks)
    with pytest.raises(DataError, match=r"8\.jpg: the ground truth has no masks\. Open .* masks=True"):
        evaluator.update([one], [{"boxes": np.zeros((0, 4))}])
    with pytest.raises(DataError, match=r"8\.jpg: masks have the sizes .*\(4, 4\), \(5, 4\)"):
        evaluator.update([one], [{"masks": np.ones((1, 5, 4), np.uint8), "labels": np.array([0])}])
    with pytest.raises(DataError, match=r"8\.jpg: the detections have no masks"):
        evaluator.update([detections(8, [], [], [])], [{"masks": np.ones((0, 5, 4), np.uint8)}])
    with pytest.raises(ConfigError, match="iou_type is 'mask'"):
        CocoEvaluator(CLASSES, iou_type="mask")
    with pytest.raises(ConfigError, match=r"confusion_iou must be 0\.1 to 1"):
        CocoEvaluator(CLASSES, confusion_iou=0.05)


def test_a_model_with_masks_gets_figures_of_both_and_one_without_only_of_boxes() -> None:
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[0, :20, :20] = masks[1, 20:, 20:] = 1
    target = {"boxes": np.array([[0.0, 0, 20, 20], [20, 20, 40, 40]]), "labels": np.array([0, 1]), "masks": masks}
    worse = masks.copy()
    worse[1, :, :30] = 0  # half of the second
    results = [detections(1, target["boxes"], [0.9, 0.8], [0, 1], masks=worse.astype(bool))]
    parts = [DetectionEvaluator(CLASSES), DetectionEvaluator(CLASSES)]
    parts[0].update(results, [target])
    empty = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64), "masks": np.zeros((0, 40, 40), np.uint8)}
    parts[1].update([detections(2, [], [], [], masks=np.zeros((0, 40, 40), bool))], [empty])
    whole = DetectionEvaluator(CLASSES)
    whole.merge([pickle.loads(pickle.dumps(part.state())) for part in parts])
    values = whole.compute().values
    assert values["AP"] == 1.0
    assert values["mask_AP50"] == 1.0
    assert values["mask_AP75"] == 0.5
    assert "VOC12_mAP" not in values
    whole.update([detections(0, [], [], [])], [empty])
    with pytest.raises(DataError, match="image 0 and 0 others have no masks"):
        whole.compute()
    only_boxes = DetectionEvaluator(CLASSES)
    only_boxes.update([detections(1, target["boxes"], [0.9, 0.8], [0, 1])], [target])
    assert not [name for name in only_boxes.compute().values if name.startswith("mask")]


def test_scores_that_are_no_numbers_are_named() -> None:
    with pytest.raises(DataError, match=r"8\.jpg: a detection's score is not a finite number"):
        CocoEvaluator(CLASSES).update([detections(8, [[0, 0, 1, 1]], [math.nan], [0])], [{}])


def test_labels_the_classes_do_not_have_are_named() -> None:
    evaluator = CocoEvaluator(CLASSES)
    with pytest.raises(DataError, match=r"8\.jpg.*label 5.*3 classes"):
        evaluator.update([detections(8, [[0, 0, 1, 1]], [0.5], [5])], [{}])
    with pytest.raises(DataError, match=r"8\.jpg: the ground truth holds label -1"):
        evaluator.update([detections(8, [], [], [])], [{"boxes": np.ones((1, 4)), "labels": np.array([-1])}])


def test_float32_boxes_of_results_keep_their_precision_in_coco_entries() -> None:
    boxes = np.array([[0.1, 0.2, 33.3, 44.4]], np.float32)
    entry = detections(1, boxes, [0.5], [0]).to_coco()[0]
    x, y, width, height = entry["bbox"]
    assert (x, y) == (float(boxes[0, 0]), float(boxes[0, 1]))
    assert x + width == float(boxes[0, 2])
    assert y + height == float(boxes[0, 3])
