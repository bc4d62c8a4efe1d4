"""The YOLOs with anchors: prediction, loss and assignment, reading Darknet's files.

*Prediction* as in ``prediction.py``, on a canvas of 640 pixels: the default path from the JPEG to the boxes against our
own eager float32, and against the bare compiled network plus reading the file.

*Loss and assignment.* What matching and losses, their share of the backward pass included, add to a step of four images
with 50 boxes each: the step against one whose loss is the mean of the raw outputs. ``anchor_sizes`` are the network's
own, sides of boxes are spread evenly, on a logarithmic scale, over 1/16 to 1/2 of the canvas.

*Darknet's files.* A ``.cfg`` and ``.weights`` of YOLOv3 (248 MB, random numbers, in the page cache), as a model.
"""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import torch

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.detection import OutputsAlone, scene
from benchmarks.prediction import measure, write_photo
from benchmarks.training_step import step
from saccade.deploy.precision import has_bf16
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.darknet.open import load_darknet
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
        figures = [loads(Path(folder))]
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name in NETWORKS:
            figures += measure(name, path, rounds, promise=3.0 if has_bf16() else 1.4, above=10.0, side=SIDE)
            figures.append(learns(name, max(5, rounds // 2)))
    return figures
