"""COCO's figures of 5,000 images with 100 detections each in 80 classes, beside pycocotools and faster-coco-eval.

About seven objects an image, as in COCO; half of the detections lie about an object, the others anywhere. Timed is the
way from results as a network gives them (arrays), or as a result file holds them (dictionaries, decoded already), to
the twelve figures. Saccade's time includes what the others do not compute: the best confidence, the confusion matrix
and the breakdown of errors. ``python -m benchmarks.coco_evaluation 500`` does it with fewer images.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.common import Figure, print_machine
from saccade.metrics.coco import COCO_FIGURES, CocoEvaluator
from saccade.results.detections import Detections
from saccade.structures.sample import Target

IMAGES, DETECTIONS, CLASSES = 5_000, 100, 80
NAMES = tuple(f"class {label}" for label in range(CLASSES))

MEMORY = """
import json, sys
from pathlib import Path
from benchmarks.coco_evaluation import NAMES, scenes
from saccade.metrics.coco import CocoEvaluator
def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far, of the imports
idle = kilobytes("VmRSS")
evaluator = CocoEvaluator(NAMES)
for result, target in scenes(int(sys.argv[1])):
    evaluator.update([result], [target])
evaluator.compute()
print(json.dumps((kilobytes("VmHWM") - idle) * 1024 / 1e6))
"""


def scenes(images: int) -> Iterator[tuple[Detections, Target]]:
    """Detections and ground truth of one image after the other, 640 x 480; the same every time."""
    rng = np.random.default_rng(0)
    for number in range(images):
        count = int(rng.poisson(7))
        sides = np.exp(rng.uniform(np.log(10), np.log(300), (count, 2)))
        corners = rng.uniform(0, 1, (count, 2)) * (np.array([640.0, 480.0]) - sides)
        ground_truth = np.concatenate([corners, corners + sides], axis=1)
        labels = rng.integers(0, CLASSES, count)
        found = np.zeros((DETECTIONS, 4))
        found[:, :2] = rng.uniform(0, 400, (DETECTIONS, 2))
        found[:, 2:] = found[:, :2] + np.exp(rng.uniform(np.log(10), np.log(200), (DETECTIONS, 2)))
        named = rng.integers(0, CLASSES, DETECTIONS)
        if count:
            about = rng.integers(0, count, DETECTIONS // 2)
            found[: len(about)] = ground_truth[about] + rng.normal(0, 0.08, (len(about), 4)) * np.tile(sides[about], 2)
            named[: len(about)] = np.where(rng.random(len(about)) < 0.8, labels[about], named[: len(about)])
        # A step sideways must not turn a box inside out.
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        result = Detections(
            path=f"{number}.jpg",
            image_id=number,
            image_size=(480, 640),
            class_names=NAMES,
            boxes_xyxy=found.astype(np.float32),
            scores=rng.random(DETECTIONS).astype(np.float32),
            labels=named,
        )
        target: Target = {
            "boxes": ground_truth,
            "labels": labels,
            "area": sides.prod(axis=1),
            "iscrowd": rng.random(count) < 0.01,
        }
        yield result, target


def run(images: int = IMAGES) -> list[Figure]:
    """Seconds of all three one after the other, the ratio, and the memory of ours."""
    everything = list(scenes(images))
    dataset, found = _dictionaries(everything)

    start = time.perf_counter()
    evaluator = CocoEvaluator(NAMES)
    for result, target in everything:
        evaluator.update([result], [target])
    values = evaluator.compute().values
    ours = time.perf_counter() - start
    del everything, evaluator

    faster, stats_faster = _faster_coco_eval(dataset, found)
    theirs, stats = _pycocotools(dataset, found)
    difference = float(np.nanmax(np.abs(np.array([values[name] for name in COCO_FIGURES]) - stats)))
    between_them = float(np.nanmax(np.abs(stats_faster - stats)))
    assert max(difference, between_them) < 1e-9, f"figures differ by {difference} and {between_them}"

    done = subprocess.run([sys.executable, "-c", MEMORY, str(images)], check=True, capture_output=True, text=True)
    megabytes = json.loads(done.stdout.splitlines()[-1])
    note = f"{images:,} images x {DETECTIONS} detections, {CLASSES} classes"
    return [
        Figure("COCO figures against pycocotools", theirs / ours, "x", 4.0, True, f"{note}; one run of each"),
        Figure("COCO figures", ours, "s", note=note),
        Figure("COCO figures, pycocotools", theirs, "s", note=note),
        Figure("COCO figures, faster-coco-eval", faster, "s", note=note),
        Figure("largest difference of a figure to pycocotools", difference, "", 1e-12, note=note),
        Figure("memory above idle, records and figures", megabytes, "MB", 400.0, note=note),
    ]


def _dictionaries(everything: list[tuple[Detections, Target]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the reference tools take."""
    ground_truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for result, target in everything:
        found += result.to_coco()
        boxes = target["boxes"].copy()
        boxes[:, 2:] -= boxes[:, :2]
        rows = zip(boxes.tolist(), target["labels"].tolist(), target["area"].tolist(), target["iscrowd"], strict=True)
        for box, label, area, crowd in rows:
            ground_truth = {
                "id": len(ground_truths) + 1,
                "image_id": result.image_id,
                "category_id": label,
                "bbox": box,
            }
            ground_truths.append({**ground_truth, "area": area, "iscrowd": int(crowd)})
    dataset = {
        "images": [{"id": result.image_id, "height": 480, "width": 640} for result, _ in everything],
        "categories": [{"id": label, "name": name} for label, name in enumerate(NAMES)],
        "annotations": ground_truths,
    }
    return dataset, found


def _pycocotools(dataset: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = [dict(entry) for entry in found]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = dataset
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return time.perf_counter() - start, evaluation.stats


def _faster_coco_eval(dataset: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, Any]:
    from faster_coco_eval import COCO, COCOeval_faster

    found = [dict(entry) for entry in found]
    start = time.perf_counter()
    ground_truth = COCO(dataset)
    evaluation = COCOeval_faster(ground_truth, ground_truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return time.perf_counter() - start, evaluation.stats


if __name__ == "__main__":
    print_machine()
    for figure in run(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES):
        print(f"{figure.name:<46} {figure.value:10.3g} {figure.unit:<3} {figure.note}")
