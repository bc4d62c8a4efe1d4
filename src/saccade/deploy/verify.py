"""Parity of an exported file with the network it was made from: the same images, the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.deploy.openvino_file import OpenVinoFileRuntime
from saccade.deploy.runtime import EagerRuntime, open_runtime
from saccade.models.base import Decoded, Model
from saccade.models.inputs import example_inputs
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec

__all__ = ["ParityReport", "canvases", "compare", "file_spec", "verify_export"]

# Rows of two predictions may be paired up to this distance, as a share of the output's scale; farther apart they are
# different rows.
_PAIRING = 0.02
# Rows that one side alone has. Suppression and top-k are not continuous: where two scores or overlaps are equal but for
# rounding, either may win.
_UNMATCHED = 0.01
# Rules of resizing by which the canvas follows the image, where a file has one.
_CANVAS_BY_IMAGE = ("shorter_side", "multiple", "none", "rectangle")


@dataclass(frozen=True)
class ParityReport:
    """Result of comparing an exported file with its network; ``str()`` is one line.

    Args:
        runtime: What ran the file.
        batch_sizes: Numbers of images it was given at a time.
        max_abs: Largest difference by output.
        max_relative: The same as a share of the output's scale (its largest value).
        rows: Valid rows compared (boxes, poses), for tasks that predict a number of them; None for others. With 0
            of them nothing was compared, which does not pass.
        unmatched: Rows that only one side has.
        tolerance: Largest ``max_relative`` that passes.
        passed: Whether the file gives the same numbers.

    Example:
        >>> print(ParityReport("ONNX Runtime", (1, 3), {"logits": 1e-4}, {"logits": 2e-6}, None, 0, 1e-3, True))
        ONNX Runtime: same numbers, largest difference 2.0e-06 of the scale (logits), batches of 1 and 3.
    """

    runtime: str
    batch_sizes: tuple[int, ...]
    max_abs: dict[str, float]
    max_relative: dict[str, float]
    rows: int | None
    unmatched: int
    tolerance: float
    passed: bool

    def __str__(self) -> str:
        if self.rows == 0:
            return (
                f"{self.runtime}: NOTHING to compare, the network found nothing in these images. "
                "Verify with images it was trained for, or lower its score_threshold before the export."
            )
        worst = max(self.max_relative, key=lambda name: self.max_relative[name], default="")
        difference = f"largest difference {self.max_relative.get(worst, 0.0):.1e} of the scale ({worst})"
        rows = f", {self.unmatched} of {self.rows} rows unmatched" if self.rows else ""
        verdict = "same numbers" if self.passed else "DIFFERENT numbers"
        return f"{self.runtime}: {verdict}, {difference}{rows}, batches of {' and '.join(map(str, self.batch_sizes))}."


def verify_export(
    model: Model,
    path: str | Path,
    images: Tensor | None = None,
    batch_sizes: tuple[int, ...] = (1, 3),
    tolerance: float = 1e-3,
    trust: bool = False,
) -> ParityReport:
    """Compare an exported file with its network on the same images.

    Both compute in float32. Predictions with a number of rows are compared row by row after pairing each row with the
    nearest of the other side that has the same labels.

    Args:
        model: The network the file was made from.
        path: File written by :func:`saccade.deploy.export.export_model`.
        images: (N, C, H, W) uint8 at the file's canvas, used as often as a batch needs; generated scenes if not given.
        batch_sizes: Numbers of images at a time.
        tolerance: Largest difference that passes, as a share of the output's scale.
        trust: Open a ``.pt2`` program, which can run any code: of a file that you wrote yourself.

    Example:
        >>> from saccade.deploy.export import export_model
        >>> model = saccade.create_model("lenet5")
        >>> report = verify_export(model, export_model(model, "lenet", format="onnx"), batch_sizes=(1, 2))
        >>> report.passed, report.runtime
        (True, 'lenet.onnx (ONNX Runtime)')
    """
    path = Path(path)
    exported = OpenVinoFileRuntime(path, "32") if path.suffix == ".xml" else open_runtime(path, trust=trust)
    if images is None:
        images = _images(exported.input_spec.channels, exported.input_spec.size, max(batch_sizes))
    images = images.repeat(-(-max(batch_sizes) // len(images)), 1, 1, 1)
    eager = EagerRuntime(model)
    report = ParityReport(exported.name, batch_sizes, {}, {}, None, 0, tolerance, True)
    for size in batch_sizes:
        inputs = example_inputs(model, exported.input_spec.size, size)
        report = compare(eager(images[:size], **inputs), exported(images[:size], **inputs), report)
    return report


def file_spec(spec: InputSpec) -> InputSpec:
    """The rule by which any image gets the one canvas of a file, also where the network's canvas follows the image.

    Example:
        >>> file_spec(InputSpec((64, 96), resize="shorter_side")).resize
        'letterbox'
    """
    return replace(spec, resize="letterbox") if spec.resize in _CANVAS_BY_IMAGE else spec


def canvases(dataset: VisionDataset, spec: InputSpec, count: int = 3) -> Tensor:
    """Read the first images of a data set on the network's canvas, (N, C, H, W) uint8, for :func:`verify_export`.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> canvases(DigitScenes("detection", "val"), InputSpec((64, 64))).shape
        torch.Size([3, 3, 64, 64])
    """
    pipeline = EvalPipeline(dataset, file_spec(spec))
    samples = [pipeline[SampleKey(0, index)] for index in range(min(count, len(dataset)))]
    return torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples])


def _images(channels: int, size: tuple[int, int], count: int) -> Tensor:
    from saccade.data.catalogue.digit_scenes import DigitScenes

    scenes = DigitScenes("detection", "test", count, size)
    images = torch.stack([torch.from_numpy(scenes.read(index).image).permute(2, 0, 1) for index in range(count)])
    return images if channels == 3 else images.float().mean(1, keepdim=True).round().to(torch.uint8)


def compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], report: ParityReport) -> ParityReport:
    """Add one more pair of predictions to a parity report.

    Args:
        expected: Decoded tensors of the network.
        found: Decoded tensors of the file.
        report: What was found so far.

    Example:
        >>> report = ParityReport("ONNX Runtime", (1,), {}, {}, None, 0, 1e-3, True)
        >>> expected, found = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.3, 0.7]])
        >>> report = compare({"probabilities": expected}, {"probabilities": found}, report)
        >>> report.passed, round(report.max_relative["probabilities"], 3)
        (False, 0.125)
    """
    max_abs, max_relative = dict(report.max_abs), dict(report.max_relative)
    rows, unmatched = report.rows, report.unmatched
    if "count" in expected:
        rows = rows or 0
        for image in range(len(expected["count"])):
            first, second = _valid(expected, image), _valid(found, image)
            pairs = _pair(first, second)
            rows += max(len(next(iter(first.values()))), len(next(iter(second.values()))))
            unmatched += sum(len(next(iter(side.values()))) - len(pairs) for side in (first, second))
            left, right = pairs.unbind(1)
            for name in first:
                _widen(max_abs, max_relative, name, first[name][left], second[name][right], expected[name])
    else:
        for name, tensor in expected.items():
            _widen(max_abs, max_relative, name, tensor, found[name], tensor)
    passed = all(value <= report.tolerance for value in max_relative.values())
    if rows is not None:
        passed = passed and rows > 0 and unmatched <= _UNMATCHED * rows
    return ParityReport(
        report.runtime, report.batch_sizes, max_abs, max_relative, rows, unmatched, report.tolerance, passed
    )


def _widen(
    max_abs: dict[str, float], max_relative: dict[str, float], name: str, a: Tensor, b: Tensor, scale: Tensor
) -> None:
    if a.shape != b.shape:
        raise ValueError(f"output '{name}' has shape {tuple(b.shape)}, expected {tuple(a.shape)}")
    difference = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
    if difference != difference:  # NaN on one side
        difference = float("inf")
    max_abs[name] = max(max_abs.get(name, 0.0), difference)
    max_relative[name] = max(max_relative.get(name, 0.0), difference / _scale(scale))


def _scale(tensor: Tensor) -> float:
    return max(float(tensor.abs().max()) if tensor.numel() else 0.0, 1e-12)


def _valid(decoded: Mapping[str, Tensor], image: int) -> Decoded:
    count = int(decoded["count"][image])
    return {name: tensor[image, :count] for name, tensor in decoded.items() if name != "count"}


def _pair(first: Decoded, second: Decoded) -> Tensor:
    """Nearest rows of equal labels, each used once, (P, 2) int64."""
    count = tuple(len(next(iter(side.values()))) for side in (first, second))
    distance = torch.zeros(count, dtype=torch.float64)
    for name in first:
        a, b = (
            first[name].flatten(1).double() if first[name].ndim > 1 else first[name][:, None].double(),
            second[name].double(),
        )
        b = b.flatten(1) if b.ndim > 1 else b[:, None]
        apart = (a[:, None] - b[None]).abs().amax(2) if 0 not in count else distance
        labels = not first[name].is_floating_point()
        distance = torch.maximum(distance, torch.where(apart > 0, torch.inf, 0.0) if labels else apart / _scale(a))
    pairs = []
    for row in range(count[0]):  # by falling score, as rows are
        if count[1] and float(distance[row].min()) <= _PAIRING:
            column = int(distance[row].argmin())
            pairs.append((row, column))
            distance[:, column] = torch.inf
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
