"""Metrics of COCO dictionaries by pycocotools and faster-coco-eval, and random sets to compare with them."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from typing import Any

import faster_coco_eval
import numpy as np
from pycocotools import mask as codec
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Dataset = dict[str, Any]
Entries = list[dict[str, Any]]
IDS = [3, 7, 8, 90]


def pycocotools_evaluation(dataset: Dataset, found: Entries, iou_type: str = "bbox") -> COCOeval:
    """The finished evaluation of the reference tool."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = copy.deepcopy(dataset)
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(copy.deepcopy(found)), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def pycocotools_figures(dataset: Dataset, found: Entries, iou_type: str = "bbox") -> list[float]:
    """Twelve figures, or ten of keypoints; NaN where they are undefined."""
    return _figures(pycocotools_evaluation(dataset, found, iou_type).stats)


def faster_figures(dataset: Dataset, found: Entries, iou_type: str = "bbox") -> list[float]:
    """The same of faster-coco-eval."""
    ground_truth = faster_coco_eval.COCO(copy.deepcopy(dataset))
    found_there = ground_truth.loadRes(copy.deepcopy(found))
    evaluation = faster_coco_eval.COCOeval_faster(ground_truth, found_there, iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return _figures(evaluation.stats)[: 10 if iou_type == "keypoints" else 12]


def _figures(stats: Any) -> list[float]:
    return [math.nan if value == -1 else float(value) for value in stats]


def random_set(seed: int, images: int = 30) -> tuple[Dataset, Entries]:
    """Jittered detections of random boxes: crowds, ties of scores, empty images, unused categories, ids with gaps."""
    rng = np.random.default_rng(seed)
    ground_truths: Entries = []
    found: Entries = []
    for image in range(images):
        for _ in range(int(rng.integers(0, 9)) if image % 5 else 0):
            size = rng.uniform(8, 250, 2)
            box = [*rng.uniform(0, 400, 2).tolist(), *size.tolist()]
            category, crowd = int(rng.choice(IDS[:3])), int(rng.random() < 0.15)
            area = float(size.prod() * rng.uniform(0.4, 1))
            ground_truth = {"image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            ground_truths.append({"id": len(ground_truths) + 1, **ground_truth})
            for _ in range(int(rng.integers(0, 4))):
                jittered = [float(value + rng.normal(0, 0.12) * size[i % 2]) for i, value in enumerate(box)]
                jittered[2:] = [max(1.0, value) for value in jittered[2:]]
                guess = category if rng.random() < 0.8 else int(rng.choice(IDS))
                score = round(float(rng.random()), 1)
                found.append({"image_id": image, "category_id": guess, "bbox": jittered, "score": score})
    return {
        "images": [{"id": i} for i in range(images)],
        "categories": _categories(),
        "annotations": ground_truths,
    }, found


def random_masks(seed: int, images: int = 12, size: tuple[int, int] = (120, 160)) -> tuple[Dataset, Entries]:
    """The same with masks: ellipses, moved and cut for the detections."""
    rng = np.random.default_rng(seed)
    ground_truths: Entries = []
    found: Entries = []
    rows, columns = np.mgrid[: size[0], : size[1]]

    def ellipse(x: float, y: float, a: float, b: float) -> Any:
        return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1

    for image in range(images):
        for _ in range(int(rng.integers(0, 7)) if image % 4 else 0):
            x, y = rng.uniform(0, size[1]), rng.uniform(0, size[0])
            a, b = rng.uniform(4, 70, 2)
            mask = ellipse(x, y, a, b)
            if not mask.any():
                continue
            category, crowd = int(rng.choice(IDS[:3])), int(rng.random() < 0.15)
            ground_truth = {
                "image_id": image,
                "category_id": category,
                "segmentation": run_lengths(mask),
                "iscrowd": crowd,
            }
            box = codec.toBbox(codec.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()
            ground_truths.append({"id": len(ground_truths) + 1, **ground_truth, "area": float(mask.sum()), "bbox": box})
            for _ in range(int(rng.integers(0, 4))):
                guess = ellipse(x + rng.normal(0, 0.15) * a, y + rng.normal(0, 0.15) * b, a * rng.uniform(0.7, 1.3), b)
                if guess.any():
                    entry = {"image_id": image, "category_id": category, "segmentation": run_lengths(guess)}
                    found.append({**entry, "score": round(float(rng.random()), 1)})
    entries = [{"id": i, "height": size[0], "width": size[1], "file_name": f"{i}.jpg"} for i in range(images)]
    return {"images": entries, "categories": _categories(), "annotations": ground_truths}, found


def run_lengths(mask: Any) -> dict[str, Any]:
    """COCO's compressed code as it stands in a file."""
    encoded = codec.encode(np.asfortranarray(np.asarray(mask, np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def _categories() -> Entries:
    return [{"id": i, "name": str(i)} for i in IDS]
