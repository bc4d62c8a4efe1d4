"""Speed of int8 over float32 in OpenVINO, at batch 1: exported files, from a canvas of pixels to decoded predictions.

Both files hold the same network and are opened as every exported file is. The float32 file is told to compute in
float32, also where the processor computes in bfloat16; what int8 gains over bfloat16 there is measured beside it. What
int8 can gain depends on the processor's instructions: VNNI multiplies and adds eight-bit numbers in one.

Weights are random with the statistics of a photograph, so that detectors leave as many candidates as trained ones
(``benchmarks/prediction.py``); int8 is calibrated on scenes of digits over photographs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.common import Figure, alternate, machine, use_threads
from benchmarks.prediction import enliven, write_photo
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.images.decode import read_image
from saccade.data.loading.pipeline import resize_image
from saccade.deploy.export import export_model
from saccade.deploy.export_form import ExportForm
from saccade.deploy.int8 import CalibrationImages, quantize_file
from saccade.deploy.openvino_file import OpenVinoFileRuntime
from saccade.deploy.precision import has_bf16
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model

PROMISES = {"resnet50": 1.9, "yolox_tiny": 1.3}
CALIBRATION_IMAGES = 32


def measure(name: str, photo: Path, folder: Path, rounds: int) -> list[Figure]:
    """The figures of one network."""
    torch.manual_seed(0)
    model = create_model(name)
    spec = model.input_spec
    canvas, _ = resize_image(read_image(photo, spec.channels), spec)
    pixels = torch.from_numpy(canvas)[None].permute(0, 3, 1, 2).contiguous()
    enliven(model, Normalize(spec)(pixels))
    source = export_model(model, folder / name, "openvino")
    path = folder / f"{name}_int8.xml"
    images = CalibrationImages(DigitScenes("detection", "train", CALIBRATION_IMAGES, spec.size), spec)
    report = quantize_file(source, path, ExportForm(model, spec.size, decode=True).model, images)
    runtimes = {"float32": OpenVinoFileRuntime(source, "32"), "int8": OpenVinoFileRuntime(path)}
    if has_bf16():
        runtimes["bfloat16"] = OpenVinoFileRuntime(source, "bf16")
    seconds = alternate({key: lambda one=one: one(pixels) for key, one in runtimes.items()}, rounds)
    ms = {key: f"{1e3 * value:.1f} ms" for key, value in seconds.items()}
    size = [f"{one / 1e6:.1f} MB" for one in report.size]
    instructions = ", ".join(machine()["computes_in"]) or "none that are known"
    about = f"{'x'.join(map(str, spec.size))}, {size[1]} against {size[0]}; instructions: {instructions}"
    figures = []
    for key in ("float32", "bfloat16"):
        if key in seconds:
            promise = PROMISES[name] if key == "float32" else None
            note = f"{ms['int8']} against {ms[key]}; {about}"
            ratio = seconds[key] / seconds["int8"]
            figures.append(Figure(f"{name}: int8 against {key}", ratio, "x", promise, True, note))
    return figures


def run(rounds: int = 20) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        photo = write_photo(folder)
        for name in PROMISES:
            figures += measure(name, photo, Path(folder), rounds)
    return figures
