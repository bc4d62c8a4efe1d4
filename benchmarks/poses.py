"""Lightweight OpenPose at 368 pixels, from a JPEG file to people: the default path on a processor against eager torch.

As ``benchmarks.prediction``, whose photograph and whose three ways it takes. Weights are random; the last layers are
scaled so that a few hundred peaks pass the threshold, which is the work of a photograph of twenty people.
"""

from __future__ import annotations

import tempfile

import torch

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.prediction import ChannelsFirst, enliven, one, write_photo
from saccade.data.images.decode import read_image
from saccade.data.transforms.resize import resize_image
from saccade.deploy.openvino_runtime import OpenVinoRuntime
from saccade.deploy.runtime import EagerRuntime, best_cpu_runtime
from saccade.models.keypoints.lightweight_openpose import LightweightOpenPose, lightweight_openpose
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model

PEAKS = 300


@torch.no_grad()
def calm(model: LightweightOpenPose, images: torch.Tensor) -> None:
    """Fields of unit scale, and heatmaps of which ``PEAKS`` cells of each 10,000 pass the threshold."""
    outputs = model(images)
    branch = model.stages[-1]
    parts = outputs["heatmaps"][:, :-1]
    for output, maps in ((branch.heatmaps.output, parts), (branch.fields.output, outputs["fields"])):
        output.weight /= maps.std()
        output.bias.zero_()
    parts = model(images)["heatmaps"][:, :-1]
    highest = parts.flatten().sort(descending=True).values[parts.numel() * PEAKS // 10_000]
    branch.heatmaps.output.weight *= 0.1 / highest


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean difference, in shares of the mean size."""
    return float((found - expected).abs().mean() / expected.abs().mean())


def run(rounds: int = 15) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    torch.manual_seed(0)
    model = create_model(lightweight_openpose.__name__)
    assert isinstance(model, LightweightOpenPose)
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        canvas, _ = resize_image(read_image(path), model.input_spec)
        pixels = torch.from_numpy(canvas)[None].permute(0, 3, 1, 2)
        images = Normalize(model.input_spec)(pixels)
        enliven(model, images)
        calm(model, images)
        default, eager, last = best_cpu_runtime(model), ChannelsFirst(model), EagerRuntime(model)
        fields, exact, expected = (
            runtime.run_graph(pixels)["fields"]  # type: ignore[attr-defined]
            for runtime in (default, OpenVinoRuntime(model, "32"), last)
        )
        # Random weights enlarge every rounding. In float32 the fields must be equal; bfloat16 of OpenVINO may differ by
        # what that of torch does.
        assert _difference(exact, expected) < 0.01, "the two ways give other fields"
        half = "bfloat16" in default.name
        if half:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                rounded = model(images)["fields"].float()
            allowed = 1.2 * _difference(rounded, expected)
            assert _difference(fields, expected) < allowed, "bfloat16 gives other fields than torch's"
        seconds = alternate(
            {
                "default": lambda: one(default, path),
                "eager": lambda: one(eager, path),
                "last": lambda: one(last, path),
            },
            rounds,
        )
        people = len(one(default, path))  # type: ignore[arg-type]
    title, ms = "lightweight_openpose", {name: f"{1e3 * value:.1f} ms" for name, value in seconds.items()}
    note = f"{default.name}, 368x368, {ms['default']} against"
    return [
        Figure(
            f"{title}: default against eager",
            seconds["eager"] / seconds["default"],
            "x",
            3.0 if half else 1.5,
            at_least=True,
            note=f"{note} {ms['eager']}; {people} people",
        ),
        Figure(
            f"{title}: default against eager, channels last",
            seconds["last"] / seconds["default"],
            "x",
            note=f"{note} {ms['last']}",
        ),
    ]
