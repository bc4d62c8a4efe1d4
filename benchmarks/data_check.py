"""Seconds of ``saccade check`` on 100,000 annotations, and images a second once they are decoded and compared.

The annotations are a COCO file of 20,000 images in two splits, five boxes with polygons each; one in a hundred is
faulty. The images of the last figure are scikit-learn's two photographs, cut at random to 640 x 400, at quality 90.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from benchmarks.common import Figure
from saccade.data.check import CheckReport, check_source
from saccade.data.check.page import write_page

IMAGES, BOXES, FAULTY = 20_000, 5, 0.01
FILES = 400


def write_annotations(root: Path) -> None:
    """``annotations/instances_train.json`` and ``instances_val.json``; there are no images."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", IMAGES * 4 // 5), ("val", IMAGES // 5)):
        images = [{"id": i, "file_name": f"{split}/{i:06d}.jpg", "width": 640, "height": 480} for i in range(count)]
        corners = rng.uniform(0, (500, 360), (count * BOXES, 2)).round(2)
        sides = rng.uniform(2, 120, (count * BOXES, 2)).round(2)
        sides[rng.random(len(sides)) < FAULTY] = 0
        labels = rng.integers(1, 21, len(sides))
        annotations: list[dict[str, Any]] = [
            {
                "id": row,
                "image_id": row // BOXES,
                "category_id": label,
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
                "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
            }
            for row, (label, (x, y), (width, height)) in enumerate(
                zip(labels.tolist(), corners.tolist(), sides.tolist(), strict=True)
            )
        ]
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, 21)]
        content = {"images": images, "categories": categories, "annotations": annotations}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def write_images(root: Path) -> None:
    """One folder a class, half of the images in each."""
    rng = np.random.default_rng(0)
    sources = load_sample_images().images
    for number in range(FILES):
        folder = root / ("train" if number % 4 else "val") / ("a" if number % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        photo = cv2.resize(sources[number % 2], None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
        top, left = int(rng.integers(photo.shape[0] - 400)), int(rng.integers(photo.shape[1] - 640))
        image = photo[top : top + 400, left : left + 640, ::-1]
        cv2.imwrite(str(folder / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _timed(root: Path, images: bool) -> tuple[float, CheckReport]:
    start = time.perf_counter()
    report = check_source(root, images=images)
    return time.perf_counter() - start, report


def run() -> list[Figure]:
    """From the file to the report; the page is timed alone."""
    with tempfile.TemporaryDirectory() as folder:
        annotated, decoded = Path(folder) / "annotated", Path(folder) / "decoded"
        write_annotations(annotated)
        write_images(decoded)
        seconds, report = min((_timed(annotated, images=False) for _ in range(3)), key=lambda pair: pair[0])
        start = time.perf_counter()
        write_page(report, Path(folder) / "page.html")
        page = time.perf_counter() - start
        looking = min(_timed(decoded, images=True)[0] for _ in range(3))
    objects = f"{report.objects:,} boxes of {report.images:,} images, {len(report.issues):,} faults; best of 3"
    threads = f"{IMAGES} JPEGs of 640x400, {min(os.cpu_count() or 1, 16)} threads; best of 3"
    return [
        Figure("check of 100,000 annotations", seconds, "s", 20.0, note=objects),
        Figure("its HTML page", page, "s", note=objects),
        Figure("decode and compare images", FILES / looking, "images/s", note=threads),
    ]
