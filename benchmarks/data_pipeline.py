"""Training images a second on one core: mosaic + affine + HSV to 640 x 640, from four 1280 x 960 JPEGs each.

The JPEGs are scikit-learn's two photographs, enlarged, at quality 90; decoding is part of the time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_images

from benchmarks.common import Figure
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.reduced_decode import read_at_least
from saccade.data.loading.sampler import EpochSampler, SampleKey
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.config import AugmentConfig
from saccade.data.transforms.move import warp_pixels
from saccade.structures.dataset import DatasetInfo
from saccade.structures.input_spec import InputSpec

SIZE = (640, 640)


def make_dataset(root: Path, count: int = 16) -> TableDataset:
    """``count`` photographs of 1280 x 960 with 20 boxes each."""
    rng = np.random.default_rng(0)
    builder = TableBuilder(["a", "b"])
    sources = load_sample_images().images
    for number in range(count):
        photo = sources[number % len(sources)]
        enlarged = cv2.resize(photo, (1480, 988), interpolation=cv2.INTER_CUBIC)
        top, left = int(rng.integers(0, 28)), int(rng.integers(0, 200))
        image = enlarged[top : top + 960, left : left + 1280, ::-1]
        cv2.imwrite(str(root / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        builder.add_image(f"{number}.jpg", size=(960, 1280))
        for _ in range(20):
            x, y = rng.uniform(0, 1100), rng.uniform(0, 800)
            builder.add_object("a", (x, y, x + rng.uniform(20, 180), y + rng.uniform(20, 160)))
    return TableDataset(DatasetInfo("bench", "detection", ("a", "b")), root, builder.build())


def per_second(step: Callable[[int], object], count: int = 64, rounds: int = 6) -> float:
    """Calls a second of processor time, each at its best of several rounds: a busy machine only slows them down."""
    step(0)
    best = np.full(count, np.inf)
    for _ in range(rounds):
        for number in range(count):
            start = time.process_time()
            step(number)
            best[number] = min(best[number], time.process_time() - start)
    return count / float(best.sum())


def run() -> list[Figure]:
    """Images a second of one core, and where the time goes."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        kilobytes = np.mean([file.stat().st_size for file in Path(folder).glob("*.jpg")]) / 1e3
        spec = InputSpec(SIZE, resize="letterbox")
        # A zoom of at most 1, so that all four images of every mosaic are seen and decoded.
        config = AugmentConfig(
            mosaic=1.0, degrees=10.0, translate=0.1, scale=(0.6, 1.0), shear=2.0, hsv=(0.015, 0.7, 0.4), flip=0.5
        )
        train, evaluated = TrainPipeline(dataset, spec, [config]), EvalPipeline(dataset, spec)
        canvas = np.zeros((1280, 1280, 4), np.uint8)
        three = np.ascontiguousarray(canvas[..., :3])
        matrix = np.array([[0.8, -0.1, 30], [0.1, 0.8, 20]])
        rates = {
            "mosaic + affine + HSV to 640": per_second(lambda number: train[SampleKey(number, number % len(dataset))]),
            "decode a whole JPEG": per_second(lambda number: dataset.read(number % len(dataset))),
            "decode a JPEG at one half": per_second(lambda number: read_at_least(dataset, number % len(dataset), SIZE)),
            "affine warp to 640, 4 channels": per_second(lambda _: warp_pixels(canvas, matrix, SIZE, 114, True)),
            "affine warp to 640, 3 channels": per_second(lambda _: cv2.warpAffine(three, matrix, SIZE)),
            "letterbox to 640 (evaluation)": per_second(lambda number: evaluated[SampleKey(0, number % len(dataset))]),
        }
        batched = _loader_rate(train)
    files = f"1 thread, OpenCV {cv2.__version__}; JPEGs of 1280x960 with {kilobytes:.0f} kB"
    figures = [
        Figure(name, rate, "images/s", note=f"processor time, each call's best of 6 rounds; {files}")
        for name, rate in rates.items()
    ]
    wall = f"wall clock, best of 6 epochs; {files}"
    figures.append(Figure("mosaic + affine + HSV, in batches of 8", batched, "images/s", note=wall))
    figures[0].bound, figures[0].at_least = 45.0, True
    return figures


def _loader_rate(pipeline: TrainPipeline, epochs: int = 6) -> float:
    """Wall-clock images a second of the loader without workers, the best epoch."""
    sampler = EpochSampler(len(pipeline), 8)
    loader = make_train_loader(pipeline, sampler)
    best = 0.0
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        start = time.perf_counter()
        count = sum(len(batch.infos) for batch in loader)
        best = max(best, count / (time.perf_counter() - start))
    return best
