from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from saccade.errors import DataError
from saccade.metrics.segmentation import SegmentationEvaluator, confusion_matrix
from saccade.results.segmentation import SegmentationMap

NAMES = ("sky", "road", "car", "never")


def label_map(image_id: int, labels: np.ndarray, names: tuple[str, ...] = NAMES) -> SegmentationMap:
    about = {"path": f"{image_id}.png", "image_id": image_id, "image_size": labels.shape, "class_names": names}
    return SegmentationMap(**about, label_map=labels)


def random_evaluator() -> tuple[SegmentationEvaluator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    evaluator = SegmentationEvaluator(NAMES)
    ground_truths, guesses = [], []
    for image in range(6):
        ground_truth = rng.integers(0, 3, (20 + image, 30)).astype(np.uint8)
        guess = np.where(
            rng.random(ground_truth.shape) < 0.7, ground_truth, rng.integers(0, 3, ground_truth.shape)
        ).astype(np.uint8)
        ground_truth[rng.random(ground_truth.shape) < 0.1] = 255
        evaluator.update([label_map(image, guess)], [{"label_map": ground_truth}])
        ground_truths.append(ground_truth[ground_truth != 255])
        guesses.append(guess[ground_truth != 255])
    return evaluator, np.concatenate(ground_truths), np.concatenate(guesses)


def test_figures_equal_those_of_scikit_learn() -> None:
    evaluator, ground_truth, guess = random_evaluator()
    report = evaluator.compute()
    iou = jaccard_score(ground_truth, guess, average=None, labels=[0, 1, 2])
    dice = f1_score(ground_truth, guess, average=None, labels=[0, 1, 2])
    assert report.primary == "mIoU"
    assert report.values["mIoU"] == pytest.approx(iou.mean())
    assert report.values["mean_Dice"] == pytest.approx(dice.mean())
    assert report.values["frequency_weighted_IoU"] == pytest.approx(
        jaccard_score(ground_truth, guess, average="weighted")
    )
    assert report.values["pixel_accuracy"] == pytest.approx(accuracy_score(ground_truth, guess))
    recalls = [(guess[ground_truth == label] == label).mean() for label in range(3)]
    assert report.values["mean_accuracy"] == pytest.approx(np.mean(recalls))
    for label in range(3):
        assert report.per_class[label]["IoU"] == pytest.approx(iou[label])
        assert report.per_class[label]["pixels"] == (ground_truth == label).sum()
    assert math.isnan(report.per_class[3]["IoU"])
    assert np.sum(report.confusion["matrix"]) == len(ground_truth)


@pytest.mark.parametrize("names", [("cell",), ("background", "cell")])
def test_one_class_nets_also_report_their_foreground(names: tuple[str, ...]) -> None:
    ground_truth = np.zeros((10, 10), np.uint8)
    ground_truth[:5] = 1
    guess = np.zeros((10, 10), np.uint8)
    guess[2:6] = 1
    evaluator = SegmentationEvaluator(names)
    evaluator.update([label_map(0, guess, names)], [{"label_map": ground_truth}])
    report = evaluator.compute()
    assert report.values["foreground_IoU"] == pytest.approx(30 / 60)
    assert report.values["foreground_Dice"] == pytest.approx(60 / 90)
    assert report.confusion["labels"] == ["background", "cell"]


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    whole, _, _ = random_evaluator()
    state = whole.state()
    parts = [{i: state[i] for i in part} for part in ([0, 3], [1, 4, 0], [2, 5, 1])]
    for order in ((0, 1, 2), (1, 2, 0)):
        merged = SegmentationEvaluator(NAMES)
        merged.merge([parts[i] for i in order])
        assert merged.compute().values == whole.compute().values
        assert merged.compute().confusion == whole.compute().confusion


def test_faults_are_named() -> None:
    evaluator = SegmentationEvaluator(NAMES)
    flat = np.zeros((4, 4), np.uint8)
    with pytest.raises(DataError, match=r"1\.png.*4x4.*8x8"):
        evaluator.update([label_map(1, flat)], [{"label_map": np.zeros((8, 8), np.uint8)}])
    with pytest.raises(DataError, match=r"2\.png: the ground truth holds label 7.*255"):
        evaluator.update([label_map(2, flat)], [{"label_map": np.full((4, 4), 7, np.uint8)}])


def test_a_class_that_is_predicted_but_not_there_counts_in_the_means() -> None:
    evaluator = SegmentationEvaluator(NAMES)
    guess = np.array([[0, 0, 1, 2]], np.uint8)
    evaluator.update([label_map(0, guess)], [{"label_map": np.array([[0, 0, 1, 1]], np.uint8)}])
    report = evaluator.compute()
    assert [row["IoU"] for row in report.per_class[:3]] == [1.0, 0.5, 0.0]
    assert report.values["mIoU"] == pytest.approx(0.5)  # "never", which is in neither, is left out
    assert report.values["mean_accuracy"] == pytest.approx(0.75)  # of the two classes that are there
    assert report.values["frequency_weighted_IoU"] == pytest.approx(0.75)


def test_nothing_but_ignored_pixels_is_undefined() -> None:
    evaluator = SegmentationEvaluator(NAMES)
    evaluator.update([label_map(1, np.zeros((4, 4), np.uint8))], [{"label_map": np.full((4, 4), 255, np.uint8)}])
    assert all(math.isnan(value) for value in evaluator.compute().values.values())


def test_boundary_f_is_the_mean_over_images_then_over_classes() -> None:
    flat, square = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    square[10:30, 10:30] = 1
    evaluator = SegmentationEvaluator(NAMES)
    pairs = [(square, square), (flat, square), (flat, flat)]  # right, missed, nothing to find
    for number, (guess, ground_truth) in enumerate(pairs):
        evaluator.update([label_map(number, guess)], [{"label_map": ground_truth}])
    report = evaluator.compute()
    assert [row["boundary_F"] for row in report.per_class[:2]] == [0.5, 0.5]
    assert all(math.isnan(row["boundary_F"]) for row in report.per_class[2:])
    assert report.values["mean_boundary_F"] == 0.5
    nothing = SegmentationEvaluator(NAMES)
    nothing.update([label_map(0, flat)], [{"label_map": np.full((40, 40), 255, np.uint8)}])
    assert math.isnan(nothing.compute().values["mean_boundary_F"])


@pytest.mark.parametrize("types", [(np.uint8, np.uint8), (np.int64, np.uint8), (np.int16, np.int16)])
def test_the_confusion_matrix_counts_every_pair(types: tuple[type, type], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.metrics.segmentation._EXACT", 200)  # a large image is counted in parts
    rng = np.random.default_rng(3)
    ground_truth, guess = rng.integers(0, 4, (2, 31, 47))
    ground_truth[rng.random((31, 47)) < 0.2] = 255
    guess[ground_truth == 255] = 200  # what is not scored may hold anything
    matrix = confusion_matrix(ground_truth.astype(types[0]), guess.astype(types[1]), NAMES, "1.png")
    for row, column in np.ndindex(4, 4):
        assert matrix[row, column] == ((ground_truth == row) & (guess == column)).sum()
    for wrong, whose in (((7, 0), "ground truth holds label 7"), ((0, 9), "prediction holds label 9")):
        pair = [np.full((2, 2), value, dtype) for value, dtype in zip(wrong, types, strict=True)]
        with pytest.raises(DataError, match=rf"1\.png: the {whose}, but there are 4 classes"):
            confusion_matrix(*pair, NAMES, "1.png")
