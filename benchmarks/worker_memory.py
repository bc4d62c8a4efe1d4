"""Memory of an extra loader worker on a data set of 200,000 boxes: what the process has for itself alone."""

from __future__ import annotations

import tempfile
from multiprocessing import active_children
from pathlib import Path

import cv2
import numpy as np
import torch._dynamo
import torch.utils.tensorboard  # noqa: F401 - a training run has these loaded, and workers inherit all of it

from benchmarks.common import Figure
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.config import AugmentConfig
from saccade.structures.dataset import DatasetInfo
from saccade.structures.input_spec import InputSpec

IMAGES, BOXES = 20_000, 10


def make_dataset(root: Path) -> TableDataset:
    """20,000 images (names of one file) with ten boxes each."""
    rng = np.random.default_rng(0)
    cv2.imwrite(str(root / "photo.png"), rng.integers(0, 256, (240, 320, 3)).astype(np.uint8))
    builder = TableBuilder(["a", "b", "c"])
    for number in range(IMAGES):
        builder.add_image("photo.png", image_id=number, size=(240, 320))
        corners = rng.uniform(0, 200, (BOXES, 2))
        for x, y in corners.tolist():
            builder.add_object("b", (x, y, x + 30, y + 30))
    return TableDataset(DatasetInfo("bench", "detection", ("a", "b", "c")), root, builder.build())


def private_megabytes(process: int) -> float:
    """Resident pages that belong to this process alone (USS)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def run() -> list[Figure]:
    """Private memory of each of two workers, at the end of 640 images and at the end of 3,200."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        config = AugmentConfig(mosaic=1.0, scale=(0.5, 1.5), degrees=10.0, flip=0.5, hsv=(0.015, 0.7, 0.4))
        pipeline = TrainPipeline(dataset, InputSpec((320, 320), resize="letterbox"), [config])
        sampler = EpochSampler(len(pipeline), 16)
        loader = make_train_loader(pipeline, sampler, workers=2)
        sizes = {}
        for step, _ in enumerate(loader, start=1):
            if step in (40, 200):
                sizes[step] = max(private_megabytes(child.pid) for child in active_children() if child.pid)
            if step == 200:
                break
    note = f"{len(dataset.table.labels):,} boxes; the larger of two workers"
    return [
        Figure("private memory of a worker, 640 images", sizes[40], "MB", 40.0, note=note),
        Figure("private memory of a worker, 3,200 images", sizes[200], "MB", 40.0, note=note),
    ]
