"""What each kind of result shows of its errors, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.metrics.classification import ClassificationEvaluator
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.detection_errors import DetectionErrors, find_errors
from saccade.metrics.keypoints import KeypointEvaluator
from saccade.metrics.segmentation import SegmentationEvaluator
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.findings import FOUND_COLOR, TRUTH_COLOR, Fault, ImageFindings, draw_crop
from saccade.results.images import Image
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap
from saccade.structures.sample import IGNORE_LABEL, Target

__all__ = ["class_findings", "object_findings", "pixel_findings", "point_findings"]

_SHOWN_CONFUSIONS = 6  # in the legend of an image of errors


def class_findings(result: Classification, target: Target, class_names: Sequence[str]) -> ImageFindings:
    """Findings of a classifier: is it right, and how probable were its class and the true one.

    Args:
        result: Probabilities.
        target: With ``labels``.
        class_names: Names of labels 0..C-1.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(4, 4), class_names=("cat", "dog"))
        >>> result = Classification(**about, probabilities=np.array([0.2, 0.8]))
        >>> class_findings(result, {"labels": np.array(0)}, ("cat", "dog")).faults[0].caption
        'cat, predicted dog 0.80 (cat 0.20)'
    """
    evaluator = ClassificationEvaluator(class_names)
    evaluator.update([result], [target])
    verdict = evaluator.state()[int(result.image_id)]
    truth, guess = result.name_of(verdict.ground_truth), result.name_of(verdict.predicted)
    probability = float(result.probabilities[verdict.ground_truth])
    figures: dict[str, float | int | str] = {
        "class": truth,
        "predicted": guess,
        "correct": int(verdict.predicted == verdict.ground_truth),
        "confidence": verdict.confidence,
        "probability_of_class": probability,
    }
    faults = []
    if not figures["correct"]:
        caption = f"{truth}, predicted {guess} {verdict.confidence:.2f} ({truth} {probability:.2f})"
        faults.append(Fault("misclassified", verdict.confidence, caption, partial(_drawn, result)))
    return ImageFindings(figures, "probability_of_class", faults=faults)


def _drawn(result: Any, image: NDArray[Any]) -> Image:
    drawn: Image = replace(result, image=image).plot()
    return drawn


def object_findings(result: Detections, target: Target, class_names: Sequence[str]) -> ImageFindings:
    """Findings of a detector: objects found and missed, false and mislocated detections, at IoU 0.5.

    The kinds are those of :func:`saccade.metrics.detection_errors.error_breakdown`; crowds do not count.

    Args:
        result: Detections that count, that is, those that the user sees.
        target: With ``boxes``, ``labels``, and ``iscrowd`` if there are any.
        class_names: Names of labels 0..C-1.

    Example:
        >>> about = dict(path="a.jpg", image_id=0, image_size=(60, 80), class_names=("cat",))
        >>> result = Detections(**about, boxes_xyxy=np.array([[0, 0, 10, 10.0]]), scores=[0.9], labels=[0])
        >>> target = {"boxes": np.array([[40, 40, 60, 60.0]]), "labels": np.array([0])}
        >>> found = object_findings(result, target, ("cat",))
        >>> [(fault.kind, fault.caption) for fault in found.faults], found.figures["F1"]
        ([('false', 'cat 0.90'), ('missed', 'cat, 20 x 20 pixels')], 0.0)
    """
    evaluator = CocoEvaluator(class_names, max_detections=max(1, len(result)))
    evaluator.update([result], [target])
    table = evaluator.table()
    errors = find_errors(table, evaluator.max_detections)
    boxes = np.asarray(target.get("boxes", np.zeros((0, 4))), np.float64).reshape(-1, 4)
    hits, wrong, objects = int(errors.hit.sum()), int(errors.wrong.sum()), int((~table.ignore).sum())
    figures: dict[str, float | int | str] = {
        "objects": objects,
        "found": hits,
        "not_found": objects - hits,
        "false": wrong,
        "mislocated": int(errors.localisation.sum()),
        "wrong_class": int(errors.classification.sum()),
        "precision": hits / (hits + wrong) if hits + wrong else float("nan"),
        "recall": hits / objects if objects else float("nan"),
        # Nothing there and nothing found is right.
        "F1": 2 * hits / (hits + wrong + objects) if wrong + objects else 1.0,
    }
    return ImageFindings(figures, "F1", faults=_object_faults(result, boxes, target, errors))


def _object_faults(
    result: Detections, boxes: NDArray[np.float64], target: Target, errors: DetectionErrors
) -> list[Fault]:
    labels = np.asarray(target.get("labels", np.zeros(0))).reshape(-1).astype(int)
    kinds = (
        ("mislocated", errors.localisation, errors.own),
        ("wrong class", errors.classification, errors.other),
        ("duplicate", errors.duplicate, errors.own),
        ("false", errors.background | errors.both, np.full(len(result), -1)),
    )
    faults = []
    for kind, flags, partners in kinds:
        for row in np.flatnonzero(flags).tolist():
            partner, score = int(partners[row]), float(result.scores[row])
            name = result.names[row]
            caption = f"{name} {score:.2f}"
            if kind == "mislocated":
                caption += f", IoU {errors.overlap[row]:.2f}"
            elif kind == "wrong class":
                caption += f", is {result.name_of(int(labels[partner]))}"
            own = result.boxes_xyxy[row]
            about = own[None] if partner < 0 else np.stack([own, boxes[partner]])
            names = ["" for _ in boxes]
            if partner >= 0:
                names[partner] = result.name_of(int(labels[partner]))
            colors = [TRUTH_COLOR] * len(boxes) + [FOUND_COLOR]
            draw = _crop(np.concatenate([boxes, own[None]]), [*names, f"{name} {score:.2f}"], colors, about)
            faults.append(Fault(kind, score, caption, draw))
    area = float(result.image_size[0] * result.image_size[1])
    for row in np.flatnonzero(errors.missed).tolist():
        width, height = (boxes[row, 2:] - boxes[row, :2]).tolist()
        name = result.name_of(int(labels[row]))
        every = np.concatenate([result.boxes_xyxy, boxes[row][None]])
        colors = [FOUND_COLOR] * len(result) + [TRUTH_COLOR]
        draw = _crop(every, ["" for _ in result.names] + [name], colors, boxes[row][None])
        caption = f"{name}, {width:.0f} x {height:.0f} pixels"
        faults.append(Fault("missed", width * height / area, caption, draw))
    return faults


def _crop(
    boxes: NDArray[Any], names: Sequence[str], colors: Sequence[tuple[int, int, int]], about: NDArray[Any]
) -> Callable[[NDArray[Any]], Image]:
    return lambda image: draw_crop(image, boxes, names, colors, about)


def pixel_findings(result: SegmentationMap, target: Target, class_names: Sequence[str]) -> ImageFindings:
    """Findings of a segmenter: IoU of the classes of the image, and a drawing of the pixels that are wrong.

    Args:
        result: Label map.
        target: With ``label_map``, 255 = ignore.
        class_names: Names of the labels; a single one is the foreground, against ``background``.

    Example:
        >>> about = dict(path="1.png", image_id=1, image_size=(2, 3), class_names=("sky", "road"))
        >>> result = SegmentationMap(**about, label_map=np.array([[0, 0, 0], [1, 1, 1]], np.uint8))
        >>> found = pixel_findings(result, {"label_map": np.array([[0, 0, 255], [0, 1, 1]])}, ("sky", "road"))
        >>> round(found.figures["mIoU"], 3), found.faults[0].caption
        (0.667, 'IoU 0.67: sky 0.67, road 0.67; wrong: 20.0 % of the pixels')
    """
    evaluator = SegmentationEvaluator(class_names)
    evaluator.update([result], [target])
    report = evaluator.compute()
    by_class = {row["class"]: row["IoU"] for row in report.per_class if row["IoU"] == row["IoU"]}  # NaN: does not occur
    mean, accuracy = report.values["mIoU"], report.values["pixel_accuracy"]
    figures: dict[str, float | int | str] = {"mIoU": mean, "pixel_accuracy": accuracy}
    figures |= {f"IoU_{row['class']}": row["IoU"] for row in report.per_class}
    worst = ", ".join(f"{name} {value:.2f}" for name, value in sorted(by_class.items(), key=lambda item: item[1])[:4])
    caption = f"IoU {mean:.2f}: {worst}; wrong: {100 * (1 - accuracy):.1f} % of the pixels"
    faults = []
    if accuracy < 1:
        draw = partial(_draw_wrong_pixels, result.label_map, np.asarray(target["label_map"]), evaluator.class_names)
        faults.append(Fault("lowest IoU", 1 - mean, caption, draw))
    return ImageFindings(figures, "mIoU", faults=faults)


def _draw_wrong_pixels(
    found: NDArray[Any], truth: NDArray[Any], class_names: Sequence[str], image: NDArray[Any]
) -> Image:
    """Tint the pixels that are wrong by what was taken for what; the largest confusions have a colour each."""
    from saccade.results.drawing import draw_label_map

    classes = len(class_names)
    wrong = (truth != IGNORE_LABEL) & (truth != found)
    codes = truth.astype(np.int64) * classes + found
    kinds, counts = np.unique(codes[wrong], return_counts=True)
    order = kinds[np.argsort(-counts, kind="stable")][:_SHOWN_CONFUSIONS]
    names = [f"{class_names[code // classes]}, predicted {class_names[code % classes]}" for code in order.tolist()]
    shown = np.full(truth.shape, IGNORE_LABEL, np.uint8)  # which the drawing leaves as it is
    shown[wrong] = len(order)
    for number, code in enumerate(order.tolist()):
        shown[wrong & (codes == code)] = number
    return draw_label_map(image, shown, [*names, "other errors"], opacity=0.65)


def point_findings(
    result: Keypoints, target: Target, point_names: Sequence[str], evaluator: KeypointEvaluator
) -> ImageFindings:
    """Findings of keypoints: their mean error in sizes of the object, and a drawing beside the ground truth.

    Args:
        result: Points of the objects.
        target: With ``keypoints`` (M, K, 3).
        point_names: K names.
        evaluator: Empty; decides what an error is.

    Example:
        >>> about = dict(path="1.png", image_id=1, image_size=(200, 200), class_names=("a", "b"))
        >>> points = np.array([[[10.0, 10], [110, 110]]])
        >>> result = Keypoints(**about, keypoints=points + 3, point_scores=np.ones((1, 2)))
        >>> target = {"keypoints": np.concatenate([points, np.full((1, 2, 1), 2.0)], axis=-1)}
        >>> found = point_findings(result, target, ("a", "b"), KeypointEvaluator())
        >>> round(found.figures["NME"], 4), found.faults[0].caption
        (0.0424, 'NME 0.042; largest error a 0.042')
    """
    evaluator.update([result], [target])
    errors = evaluator.state()[int(result.image_id)].of_object
    values = evaluator.compute().values
    figures: dict[str, float | int | str] = {"objects": len(errors), "predicted": len(result)}
    figures |= {name: values[name] for name in ("NME", "PCK@0.1")}
    faults = []
    if not np.isnan(errors).all():
        point = int(np.unravel_index(np.nanargmax(errors), errors.shape)[1])
        name = point_names[point] if point < len(point_names) else str(point)
        caption = f"NME {values['NME']:.3f}; largest error {name} {np.nanmax(errors):.3f}"
        draw = partial(_draw_points, result, np.asarray(target["keypoints"], np.float64))
        faults.append(Fault("largest error", values["NME"], caption, draw))
    return ImageFindings(figures, "NME", higher_is_better=False, faults=faults)


def _draw_points(result: Keypoints, truth: NDArray[np.float64], image: NDArray[Any]) -> Image:
    from saccade.results.drawing import draw_keypoints

    count = truth.shape[1]
    drawn = draw_keypoints(image, truth[..., :2], truth[..., 2] > 0, colors=[TRUTH_COLOR] * count)
    gain = drawn.shape[1] / image.shape[1]  # small images are drawn larger
    return draw_keypoints(drawn, result.keypoints * gain, result.point_scores, colors=[FOUND_COLOR] * count)
