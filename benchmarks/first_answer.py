"""Time to the first answer: processor time of ``saccade predict`` for one image, as a multiple of ``import torch``.

A checkpoint seen before at most 1.2x, one seen for the first time 2.2x, an exported file 0.35x.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import saccade
from benchmarks.common import Figure
from saccade.models.checkpoint import save_model

_ROUNDS = 5


def run() -> list[Figure]:
    """Median of five processes each, in turn."""
    figures = []
    for name in ("resnet50", "yolox_tiny"):
        with tempfile.TemporaryDirectory() as folder:
            figures += _of_network(name, Path(folder))
    return figures


def _of_network(name: str, folder: Path) -> list[Figure]:
    checkpoint = save_model(saccade.create_model(name).eval(), folder / f"{name}.safetensors")
    onnx = saccade.export(checkpoint, format="onnx", path=folder / f"{name}.onnx").path
    openvino = saccade.export(checkpoint, format="openvino", path=folder / f"{name}.xml").path
    image = folder / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(image)

    def predict(model: Path, *more: str) -> list[str]:
        return ["-m", "saccade", "predict", "--model", str(model), "--source", str(image), *more]

    commands = {
        "import torch": ["-c", "import torch"],
        "a checkpoint, the first time": predict(checkpoint, "--no-cache"),
        "a checkpoint seen before": predict(checkpoint),
        "an ONNX file": predict(onnx),
        "an OpenVINO file": predict(openvino),
    }
    environment = os.environ | {"SACCADE_CACHE": str(folder / "cache")}
    _seconds(commands["a checkpoint seen before"], environment)  # now it is
    times: dict[str, list[float]] = {what: [] for what in commands}
    for _ in range(_ROUNDS):
        for what, words in commands.items():
            times[what].append(_seconds(words, environment))
    seconds = {what: statistics.median(values) for what, values in times.items()}
    unit = seconds.pop("import torch")
    bounds = {"a checkpoint, the first time": 2.2, "a checkpoint seen before": 1.2}
    return [
        Figure(
            f"{name}: {what}", value / unit, "x", bounds.get(what, 0.35), note=f"{value:.2f} s; import torch {unit:.2f}"
        )
        for what, value in seconds.items()
    ]


def _seconds(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Processor time of a Python process and what it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, env=dict(environment), capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
