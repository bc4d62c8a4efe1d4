"""Prediction at batch 1: the default path on a processor, from a JPEG file to a result in pixels of the original.

*Against eager.* ``predict`` with the runtime that a checkpoint gets by default (OpenVINO, bfloat16 where the processor
computes in it), against ``predict`` with the network as torch has it: float32, channels first, BatchNorm as it is. Same
file, same weights, same reading, resizing, decoding and results; only the network's way of running differs. Eager with
channels last, which is how ``predict`` lays images out, is measured beside them.

*Against the bare network.* What ``predict`` costs above reading the file and one call of the compiled network that is
given floats, normalised and laid out beforehand, and gives raw outputs.

The file is a photograph of scikit-learn, 640 x 427, quality 90. Weights are random, with two corrections that make the
work that of a trained network: statistics of BatchNorm are those of the photograph, so that signals neither die nor
explode, and a detector's last biases are such that 300 places pass the score threshold (100 boxes may leave decoding).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from benchmarks.common import Figure, alternate, use_threads
from saccade.data.images.decode import read_image
from saccade.data.loading.pipeline import resize_image
from saccade.deploy.fuse import fuse_batch_norm
from saccade.deploy.openvino_file import import_openvino, openvino_options
from saccade.deploy.openvino_runtime import convert_program
from saccade.deploy.runtime import EagerRuntime, Runtime, best_cpu_runtime
from saccade.engine.predict.predict import predict
from saccade.models.base import Decoded, Model
from saccade.models.detection.anchor_yolo import AnchorYOLO
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.results.detections import Detections

PROMISES = {"resnet50": 3.0, "yolox_s": 3.0, "yolox_nano": 5.0, "yolox_tiny": 2.4}
CANDIDATES = 300


class ChannelsFirst(EagerRuntime):
    """Eager torch with images laid out as torch does it by default."""

    def __call__(self, images: Tensor) -> Decoded:
        return super().__call__(images.contiguous())


class RawOutputs(nn.Module):
    """The network as a graph with a tuple at its end."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images).values())


@torch.no_grad()
def enliven(model: Any, images: Tensor) -> None:
    """Random weights that give the work of trained ones; see the top of the file."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(torch.cat((images, images.flip(3))))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.eval()
    if model.task != "detection":
        return
    objectness, classes = _last_biases(model)
    for bias in classes:
        bias.zero_()
    outputs = model(images)
    best = outputs["logits"].amax(dim=2).sigmoid().flatten()
    # Anchor point p passes once its objectness is shifted by more than logit(threshold / best) - objectness.
    needed = torch.logit(model.nms.score_threshold / best).flatten() - outputs["objectness"].flatten()
    shift = needed[best > model.nms.score_threshold].sort().values[CANDIDATES]
    for bias in objectness:
        bias += shift


def _last_biases(model: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Biases of the objectness and of the classes, at every level."""
    if isinstance(model, AnchorYOLO):
        layers = [model.get_submodule(name) for name in model.head_names]
        rows = [layer.bias.view(count, -1) for layer, count in zip(layers, model.anchor_counts, strict=True)]
        return [one[:, 4] for one in rows], [one[:, 5:] for one in rows]
    return [layer.bias for layer in model.head.obj_preds], [layer.bias for layer in model.head.cls_preds]


def bare_network(model: Model, images: Tensor) -> Callable[[], Any]:
    """One call of the compiled network on normalised floats."""
    form = RawOutputs(fuse_batch_norm(model, images).requires_grad_(False))
    program = torch.export.export(form, (images,))
    graph = convert_program(program, tuple(model(images)))
    compiled = import_openvino().Core().compile_model(graph, "CPU", openvino_options("auto"))
    pixels = images.contiguous().numpy()
    return lambda: compiled([pixels], share_outputs=True)


def one(runtime: Runtime, path: Path) -> Result:
    """From the file to the result."""
    return next(iter(predict(runtime, path)))


def measure(
    name: str, path: Path, rounds: int, promise: float, above: float = 15.0, side: int | None = None
) -> list[Figure]:
    """The figures of one network.

    Args:
        name: Its builder.
        path: The photograph.
        rounds: Times of each.
        promise: Least ratio of eager torch's time to the default's.
        above: Most that prediction may take above the bare network and reading the file, percent.
        side: Canvas, pixels; the network's own if not given.
    """
    torch.manual_seed(0)
    model = create_model(name)
    if side is not None:
        model.input_spec = model.input_spec.with_size((side, side))
    canvas, _ = resize_image(read_image(path, model.input_spec.channels), model.input_spec)
    images = Normalize(model.input_spec)(torch.from_numpy(canvas)[None].permute(0, 3, 1, 2))
    enliven(model, images)
    with torch.inference_mode():
        network = bare_network(model, images)
    default, eager = best_cpu_runtime(model), ChannelsFirst(model)
    last = EagerRuntime(model)
    words = _same_work(one(default, path), one(eager, path))
    seconds = alternate(
        {
            "default": lambda: one(default, path),
            "eager": lambda: one(eager, path),
            "last": lambda: one(last, path),
            "bare": lambda: (read_image(path), network()),
        },
        rounds,
    )
    ms = {key: f"{1e3 * value:.1f} ms" for key, value in seconds.items()}
    sides = "x".join(map(str, model.input_spec.size))
    note = f"{default.name}, {sides}, {ms['default']} against"
    return [
        Figure(
            f"{name}: default against eager",
            seconds["eager"] / seconds["default"],
            "x",
            promise,
            at_least=True,
            note=f"{note} {ms['eager']}; {words}",
        ),
        Figure(
            f"{name}: default against eager, channels last",
            seconds["last"] / seconds["default"],
            "x",
            note=f"{note} {ms['last']}",
        ),
        Figure(
            f"{name}: pipeline above network and file",
            100 * (seconds["default"] / seconds["bare"] - 1),
            "%",
            above,
            note=f"{note} {ms['bare']}",
        ),
    ]


def _same_work(default: Result, eager: Result) -> str:
    """What both found, in words; the benchmark breaks where they did not find the same."""
    if isinstance(default, Classification):
        assert isinstance(eager, Classification)
        np.testing.assert_allclose(default.probabilities, eager.probabilities, atol=0.02)
        return "same probabilities"
    assert isinstance(default, Detections)
    assert isinstance(eager, Detections)
    counts = len(default), len(eager)
    assert min(counts) >= 20, f"{counts} boxes; enliven() is out of date"
    assert abs(counts[0] - counts[1]) <= 0.2 * max(counts), f"{counts} boxes for the same weights"
    return f"{counts[0]} and {counts[1]} boxes"


def write_photo(folder: str) -> Path:
    """The photograph as a file."""
    path = Path(folder) / "photo.jpg"
    photo = np.ascontiguousarray(load_sample_images().images[0][..., ::-1])
    cv2.imwrite(str(path), photo, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def run(rounds: int = 15) -> list[Figure]:
    """All networks."""
    use_threads()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name, promise in PROMISES.items():
            figures += measure(name, path, rounds, promise)
    return figures
