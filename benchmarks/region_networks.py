"""Faster and Mask R-CNN against torchvision, with equal weights: a training step, its sampling, and prediction.

*Training step.* As in ``benchmarks.detection``, four images with 8 boxes each; Mask R-CNN learns the ellipses in them.
Both sample 256 anchors and 512 regions an image by chance, so that their losses agree by a tenth, not by digits.

*Sampling and assignment* with 100 boxes an image: the seconds within the functions that do it, inside that very step.

*Prediction* as in ``benchmarks.detection``; to the bare network of Mask R-CNN belongs its branch on the final boxes.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.detection import BATCH, UNCHANGED, pair, predicts, scene, torchvision_detector
from benchmarks.prediction import write_photo
from benchmarks.training_step import step
from saccade.deploy.precision import has_bf16
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.detection import box_branch, rpn
from saccade.structures.batch import pad_targets

DETECTORS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
SIDE = 320


def ellipses(boxes_xyxy: Tensor) -> Tensor:
    """Masks (N, SIDE, SIDE) uint8 of the ellipses in boxes (N, 4)."""
    x1, y1, x2, y2 = boxes_xyxy[:, :, None, None].unbind(1)
    y, x = torch.arange(SIDE)[:, None] + 0.5, torch.arange(SIDE) + 0.5
    across, down = (2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1)
    return (across.square() + down.square() <= 1).to(torch.uint8)


@contextmanager
def timed_sampling() -> Iterator[list[float]]:
    """Seconds of each call of what assigns and samples anchors and regions."""
    seconds: list[float] = []

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = original(*arguments, **named)
            seconds.append(time.perf_counter() - start)
            return result

        return call

    parts = ((rpn, "match_by_iou"), (rpn, "sample_balanced"), (box_branch, "sample_regions"))
    with ExitStack() as stack:
        for module, name in parts:
            stack.enter_context(mock.patch.object(module, name, timed(getattr(module, name))))
        yield seconds


def learns(name: str, rounds: int) -> list[Figure]:
    """Steps of both, and the share of sampling."""
    ours, state = pair(name, SIDE)
    theirs = torchvision_detector(name, SIDE, **UNCHANGED).train()
    theirs.load_state_dict(state)
    images, targets = scene(SIDE, boxes=8)
    listed = [{"boxes": boxes, "labels": labels} for boxes, labels in zip(*targets.values(), strict=True)]
    if "masks" in ours.target_names:
        listed = [{**target, "masks": ellipses(target["boxes"])} for target in listed]
    shifted = [{**target, "labels": target["labels"] + 1} for target in listed]
    given = pad_targets(listed)
    laid_out = images.contiguous(memory_format=torch.channels_last)
    plain, tuned = (copy.deepcopy(ours).to(memory_format=torch.channels_last).train() for _ in range(2))
    with torch.no_grad():
        expected = sum(map(float, theirs(list(images), copy.deepcopy(shifted)).values()))
        found = sum(map(float, plain.loss(laid_out, given).values()))
    assert abs(found / expected - 1) < 0.1, f"{name}: loss {found:.4f} against {expected:.4f}; the work is not equal"
    optimizers = {id(model): torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True) for model in (plain, tuned)}
    their_optimizer = torch.optim.SGD(theirs.parameters(), 1e-6, 0.9)

    def their_step() -> None:
        sum(theirs(list(images), copy.deepcopy(shifted)).values()).backward()
        their_optimizer.step()
        their_optimizer.zero_grad()

    seconds = alternate(
        {
            "default": lambda: step(tuned, optimizers[id(tuned)], laid_out, given),
            "theirs": their_step,
            "equal": lambda: step(plain, optimizers[id(plain)], laid_out, given, bf16=False),
        },
        rounds,
        warmup=1,
    )
    _, many = scene(SIDE, boxes=100)
    if "masks" in ours.target_names:
        rows = zip(*many.values(), strict=True)
        many = pad_targets([{"boxes": boxes, "labels": labels, "masks": ellipses(boxes)} for boxes, labels in rows])
    shares = []
    for _ in range(rounds):
        with timed_sampling() as inside:
            start = time.perf_counter()
            step(tuned, optimizers[id(tuned)], laid_out, many)
            shares.append(sum(inside) / (time.perf_counter() - start))
    default, theirs_ms, equal = (1e3 * seconds[key] for key in ("default", "theirs", "equal"))
    note = f"{SIDE} px, batch {BATCH}, 8 boxes: {default:.0f} ms against {theirs_ms:.0f} ms"
    promised = 2.2 if has_bf16() else None
    share = 100 * sorted(shares)[len(shares) // 2]
    return [
        Figure(f"{name}: default step against theirs", theirs_ms / default, "x", promised, True, note),
        Figure(f"{name}: step at equal precision", theirs_ms / equal, "x", 1.3, True, f"float32: {equal:.0f} ms"),
        Figure(f"{name}: sampling and assignment of the step", share, "%", 8.0, note="100 boxes an image"),
    ]


def run(rounds: int = 8) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    keep_freed_memory()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name in DETECTORS:
            figures += learns(name, max(3, rounds // 2))
            figures += predicts(name, SIDE, path, rounds, without_bf16=1.8)
    return figures
