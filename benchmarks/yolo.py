"""The YOLOs with anchors: prediction, loss and assignment, reading Darknet's files.

*Prediction* as in ``prediction.py``, on a canvas of 640 pixels: the default path from the JPEG to the boxes against our
own eager float32, and against the bare compiled network plus reading the file.

*Loss and assignment.* What matching and losses, their share of the backward pass included, add to a step of four images
with 50 boxes each: the step against one whose loss is the mean of the raw outputs. ``anchor_sizes`` are the network's
own, sides of boxes are spread evenly, on a logarithmic scale, over 1/16 to 1/2 of the canvas.

*Feeding.* Steps of YOLOv5n at 640 pixels on batches of eight mosaics, which one worker makes beside it from JPEGs of
1280 x 960: the share of the time in which a step waits for its batch.

*Darknet's files.* A ``.cfg`` and ``.weights`` of YOLOv3 (248 MB, random numbers, in the page cache), as a model.
"""

from __future__ import annotations

import runpy
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.data_pipeline import make_dataset
from benchmarks.detection import OutputsAlone, scene
from benchmarks.prediction import measure, write_photo
from benchmarks.training_step import BATCH, SETTLING, step
from saccade.data.loading.loader import make_train_loader
from saccade.data.loading.pipeline import TrainPipeline
from saccade.data.loading.sampler import EpochSampler
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.precision import has_bf16
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.darknet.open import load_darknet
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model
from saccade.weights.darknet import write_darknet

LINE_CFGS = Path(__file__).parents[1] / "tests" / "models" / "darknet" / "line_cfgs.py"
NETWORKS = ("yolov5n", "yolov5s", "yolov3_tiny", "yolov4_tiny")
SIDE = 640


def learns(name: str, rounds: int, side: int = 320) -> Figure:
    """Share of matching and losses in a step."""
    torch.manual_seed(0)
    model = create_model(name).to(memory_format=torch.channels_last).train()
    model.input_spec = model.input_spec.with_size((side, side))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True)
    images, targets = scene(side, boxes=50)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = alternate(
        {
            "step": lambda: step(model, optimizer, images, targets),
            "outputs": lambda: step(OutputsAlone(model), optimizer, images, targets),
        },
        rounds,
        warmup=2,
    )
    share = 100 * (1 - seconds["outputs"] / seconds["step"])
    note = f"{side} px, batch {len(images)}, 50 boxes an image: {1e3 * seconds['step']:.0f} ms"
    return Figure(f"{name}: loss and assignment of the step", share, "%", 8.0, note=note)


def waits(folder: Path, steps: int = 12) -> Figure:
    """Share of training that waits for batches."""
    torch.manual_seed(0)
    model = create_model("yolov5n", num_classes=2).to(memory_format=torch.channels_last).train()
    model.input_spec = model.input_spec.with_size((SIDE, SIDE))
    augment = AugmentConfig(mosaic=1.0, translate=0.1, scale=(0.6, 1.0), hsv=(0.015, 0.7, 0.4), flip=0.5)
    pipeline = TrainPipeline(make_dataset(folder, count=steps * BATCH), model.input_spec, [augment])
    normalize = Normalize(model.input_spec)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True)
    waiting, working = [], []
    start = time.perf_counter()
    for batch in make_train_loader(pipeline, EpochSampler(len(pipeline), BATCH), workers=1):
        ready = time.perf_counter()
        images = normalize(batch.images).contiguous(memory_format=torch.channels_last)
        step(model, optimizer, images, batch.targets)
        waiting.append(ready - start)
        start = time.perf_counter()
        working.append(start - ready)
    wait, work = sum(waiting[SETTLING:]), sum(working[SETTLING:])
    note = f"{SIDE} px, batch {BATCH}, one worker: {1e3 * work / (steps - SETTLING):.0f} ms a step"
    return Figure("yolov5n: waiting for mosaics", 100 * wait / (wait + work), "%", 5.0, note=note)


def loads(folder: Path, rounds: int = 3) -> Figure:
    """Seconds from the two files to a network that can predict."""
    cfg, weights = folder / "yolov3.cfg", folder / "yolov3.weights"
    text = runpy.run_path(str(LINE_CFGS))["yolov3"]()
    cfg.write_text(text)
    write_darknet(weights, create_model("darknet_detector", cfg=text))
    seconds = alternate({"load": lambda: load_darknet(cfg, weights)}, rounds, warmup=1)["load"]
    note = f"{weights.stat().st_size / 1e6:.0f} MB"
    return Figure("reading .cfg and .weights of YOLOv3", seconds, "s", 2.0, note=note)


def run(rounds: int = 15) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        figures = [loads(Path(folder)), waits(Path(folder))]
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name in NETWORKS:
            figures += measure(name, path, rounds, promise=3.0 if has_bf16() else 1.4, above=10.0, side=SIDE)
            figures.append(learns(name, max(5, rounds // 2)))
    return figures
