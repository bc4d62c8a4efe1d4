"""Dense detectors against torchvision, with equal weights: a training step, prediction, and decoding alone.

*Training step.* Four images with 8 boxes each: forward, assignment, loss, backward, a step of SGD with momentum.
Theirs is torchvision's detector, eager, float32, channels first, given images of the canvas's size, which it does not
resize. Ours as the engine runs it without being told anything (bfloat16 where the processor computes in it, channels
last), and in float32 and channels last: the same precision. The losses in float32 must agree, or the benchmark breaks.

*Loss and assignment.* What matching and losses, their share of the backward pass included, add to the default step
with 100 boxes an image: the step against one whose loss is the mean of the raw outputs.

*Prediction.* From a JPEG to a result, batch 1. Ours with the runtime that a checkpoint gets by default. Theirs: the
file decoded by Pillow, made a tensor, torchvision's detector with its own resizing, decoding and suppression. Biases
of the last layer are such that 300 pairs of an anchor and a class pass the score threshold.

*Pipeline.* What ``predict`` costs above reading the file and one call of the compiled network.

*Decoding and suppression* of 100,000 anchors with 80 classes, without a network, eager.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision.models.detection as tv
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.prediction import CANDIDATES, bare_network, one, write_photo
from benchmarks.training_step import step
from saccade.data.images.decode import read_image
from saccade.data.loading.pipeline import resize_image
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import best_cpu_runtime
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.base import Model
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.normalize import Normalize
from saccade.models.registry import create_model
from saccade.ops.box_coding import decode_anchors
from saccade.ops.candidates import top_candidates
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.results.detections import Detections
from saccade.weights.layouts import layouts

BATCH, CLASSES = 4, 80
NO_WEIGHTS: dict[str, Any] = {"weights": None, "weights_backbone": None}
UNCHANGED: dict[str, Any] = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "_skip_resize": True}


def torchvision_detector(name: str, side: int, **options: Any) -> nn.Module:
    """torchvision's detector of that name for a canvas of that side."""
    if name == "ssd300_vgg16":
        return tv.ssd300_vgg16(num_classes=CLASSES + 1, **NO_WEIGHTS, **options)
    sides = {"min_size": side, "max_size": side}
    if "rcnn" in name:  # a column of the background
        return getattr(tv, name)(num_classes=CLASSES + 1, **sides, **NO_WEIGHTS, **options)
    return getattr(tv, name)(num_classes=CLASSES, score_thresh=0.05, **sides, **NO_WEIGHTS, **options)


# Side of the canvas of each.
DETECTORS = {"retinanet_resnet50_fpn": 320, "fcos_resnet50_fpn": 320, "ssd300_vgg16": 300}


def pair(name: str, side: int) -> tuple[Model, dict[str, Tensor]]:
    """Ours, and the weights of both in their names; BatchNorm holds the statistics of noise, so that signals live."""
    torch.manual_seed(0)
    theirs = torchvision_detector(name, side, **UNCHANGED)
    norms = [module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        theirs.train().backbone(torch.randn(BATCH, 3, side, side))
    state = theirs.state_dict()
    ours = create_model(name, num_classes=CLASSES)
    layout = next(one for one in layouts() if one.matches(set(state)))
    ours.load_state_dict(layout.convert(dict(state), ours))
    ours.input_spec = ours.input_spec.with_size((side, side))
    return ours, state


def scene(side: int, boxes: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Normalised images and their targets; sides from 1/16 to 1/2 of the canvas, evenly on a logarithmic scale."""
    generator = torch.Generator().manual_seed(0)
    sides = side * 2.0 ** (-1 - 3 * torch.rand(BATCH, boxes, 2, generator=generator))
    corners = torch.rand(BATCH, boxes, 2, generator=generator) * (side - sides)
    return torch.randn(BATCH, 3, side, side, generator=generator), {
        "boxes": torch.cat((corners, corners + sides), dim=2),
        "labels": torch.randint(0, CLASSES, (BATCH, boxes), generator=generator),
    }


class OutputsAlone:
    """A model whose loss is the mean of its raw outputs: the step without matching and losses."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def loss(self, images: Tensor, targets: object) -> dict[str, Tensor]:
        outputs = self.model(images).values()
        return {"mean": torch.stack([value.float().mean() for value in outputs if value.requires_grad]).sum()}


def learns(name: str, rounds: int) -> list[Figure]:
    """Steps of both, and the share of matching and losses."""
    side = DETECTORS[name]
    ours, state = pair(name, side)
    theirs = torchvision_detector(name, side, **UNCHANGED).train()
    theirs.load_state_dict(state)
    images, targets = scene(side, boxes=8)
    shift = 1 if name == "ssd300_vgg16" else 0  # its column of the background
    listed = [{"boxes": boxes, "labels": labels + shift} for boxes, labels in zip(*targets.values(), strict=True)]
    laid_out = images.contiguous(memory_format=torch.channels_last)
    plain, tuned = (copy.deepcopy(ours).to(memory_format=torch.channels_last).train() for _ in range(2))
    with torch.no_grad():
        expected = sum(map(float, theirs(list(images), copy.deepcopy(listed)).values()))
        found = sum(map(float, plain.loss(laid_out, targets).values()))
    assert abs(found / expected - 1) < 1e-3, f"{name}: loss {found:.5f} against {expected:.5f}; the work is not equal"
    optimizers = {id(model): torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True) for model in (plain, tuned)}
    their_optimizer = torch.optim.SGD(theirs.parameters(), 1e-6, 0.9)

    def their_step() -> None:
        sum(theirs(list(images), copy.deepcopy(listed)).values()).backward()
        their_optimizer.step()
        their_optimizer.zero_grad()

    _, many = scene(side, boxes=100)
    seconds = alternate(
        {
            "default": lambda: step(tuned, optimizers[id(tuned)], laid_out, targets),
            "theirs": their_step,
            "equal": lambda: step(plain, optimizers[id(plain)], laid_out, targets, bf16=False),
            "many": lambda: step(tuned, optimizers[id(tuned)], laid_out, many),
            "outputs": lambda: step(OutputsAlone(tuned), optimizers[id(tuned)], laid_out, many),
        },
        rounds,
        warmup=1,
    )
    note = f"{side} px, batch {BATCH}, 8 boxes: {1e3 * seconds['default']:.0f} ms"
    against = f"{note} against {1e3 * seconds['theirs']:.0f} ms"
    share = 100 * (1 - seconds["outputs"] / seconds["many"])
    return [
        Figure(
            f"{name}: default step against theirs",
            seconds["theirs"] / seconds["default"],
            "x",
            1.9 if has_bf16() else None,
            True,
            against,
        ),
        Figure(
            f"{name}: step at equal precision",
            seconds["theirs"] / seconds["equal"],
            "x",
            1.05,
            True,
            f"float32: {1e3 * seconds['equal']:.0f} ms",
        ),
        Figure(f"{name}: loss and assignment of the step", share, "%", 10.0, note="100 boxes an image"),
    ]


def predicts(name: str, side: int, path: Path, rounds: int, without_bf16: float = 1.5) -> list[Figure]:
    """Prediction of both, from the file on, and the pipeline around our compiled network.

    Args:
        name: Builder of both.
        side: Of the canvas, pixels.
        path: A photograph.
        rounds: Of timing.
        without_bf16: What is promised where the processor does not compute in bfloat16.
    """
    ours, state = pair(name, side)
    canvas, _ = resize_image(read_image(path, 3), ours.input_spec)
    images = Normalize(ours.input_spec)(torch.from_numpy(canvas)[None].permute(0, 3, 1, 2))
    theirs = torchvision_detector(name, side).eval()
    raise_scores(ours.eval(), images, state)
    theirs.load_state_dict(state)
    with torch.inference_mode():
        network = bare_network(ours, images)
        on_boxes = branches_on_boxes(ours, images)
    runtime = best_cpu_runtime(ours)

    def their_prediction() -> dict[str, Tensor]:
        with torch.inference_mode(), Image.open(path) as photo:
            return theirs([to_tensor(photo.convert("RGB"))])[0]

    result = one(runtime, path)
    assert isinstance(result, Detections)
    counts = len(result), len(their_prediction()["scores"])
    assert min(counts) >= 10, f"{name}: {counts} boxes; raise_scores() is out of date"
    seconds = alternate(
        {
            "default": lambda: one(runtime, path),
            "theirs": their_prediction,
            "bare": lambda: (read_image(path), network(), on_boxes()),
        },
        rounds,
    )
    ms = {key: f"{1e3 * value:.1f} ms" for key, value in seconds.items()}
    return [
        Figure(
            f"{name}: default prediction against theirs",
            seconds["theirs"] / seconds["default"],
            "x",
            3.0 if has_bf16() else without_bf16,
            True,
            f"{runtime.name}, {ms['default']} against {ms['theirs']}; {counts[0]} and {counts[1]} boxes",
        ),
        Figure(
            f"{name}: pipeline above network and file",
            100 * (seconds["default"] / seconds["bare"] - 1),
            "%",
            10.0,
            note=f"{ms['default']} against {ms['bare']}",
        ),
    ]


def branches_on_boxes(model: Model, images: Tensor) -> Callable[[], Any]:
    """One call of what the network has on final boxes (masks), outside of the compiled part; nothing for others."""
    if not isinstance(model, FasterRCNN) or not len(model.branches):
        return lambda: None
    maps, decoded = model.features(images), model.predict(images)

    def call() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            return model.predict_on_boxes(maps, decoded)

    return call


@torch.no_grad()
def raise_scores(model: Model, images: Tensor, state: dict[str, Tensor]) -> None:
    """Let 300 pairs of an anchor and a class pass the score threshold, in our network and in ``state``.

    Where classes have a sigmoid each, the last bias is shifted. A softmax over 81 classes with random weights gives
    each about 1 %, which is SSD's threshold: there the last weights are scaled up, until 300 pairs pass.
    """
    layout = next(one for one in layouts() if one.matches(set(state)))
    threshold = model.nms.score_threshold
    outputs = model(images)
    if "head.classification_head.cls_logits.bias" in state:
        needed = torch.full_like(outputs["logits"], threshold)
        if "centerness" in outputs:  # the root of the product has to pass
            needed = threshold**2 / outputs["centerness"].sigmoid()[..., None].expand_as(needed)
        shift = (torch.logit(needed) - outputs["logits"]).flatten().nan_to_num(torch.inf).sort().values[CANDIDATES]
        state["head.classification_head.cls_logits.bias"] += shift
        model.load_state_dict(layout.convert(dict(state), model))
        return
    columns = ("classification_head", "cls_score")
    weights = [key for key in state if any(column in key for column in columns) and key.endswith("weight")]
    logits = "roi_logits" if "roi_logits" in outputs else "logits"
    for _ in range(60):
        scores = model(images)[logits].softmax(dim=2)[..., 1:]
        if scores.max() > 0.5 and (scores > threshold).sum() >= CANDIDATES:
            return
        for key in weights:
            state[key] *= 1.2
        model.load_state_dict(layout.convert(dict(state), model))


def decoding(rounds: int = 30) -> list[Figure]:
    """Decoding and suppression of 100,000 anchors, about 1,000 of whose scores pass the threshold."""
    generator = torch.Generator().manual_seed(0)
    anchors_count = 100_000
    logits = torch.randn(1, anchors_count, CLASSES, generator=generator) * 1.5 - 9
    codes = torch.randn(1, anchors_count, 4, generator=generator) * 0.1
    corners = torch.rand(anchors_count, 2, generator=generator) * 800
    anchors = torch.cat((corners, corners + 10 + 200 * torch.rand(anchors_count, 2, generator=generator)), dim=1)
    settings = NmsSettings(0.5, score_threshold=0.05, pre_nms=1000, max_detections=300)

    def decode() -> int:
        scores, rows, labels = top_candidates(logits, settings.pre_nms)
        boxes = decode_anchors(codes.gather(1, rows[..., None].expand(-1, -1, 4)), anchors[rows])
        return int(batched_nms(boxes, scores, labels, settings)["count"])

    with torch.inference_mode():
        kept = decode()
        seconds = alternate({"decode": decode}, rounds, warmup=5)["decode"]
    note = f"{kept} boxes kept"
    return [Figure("decoding and suppression, 100,000 anchors, 80 classes", 1e3 * seconds, "ms", 6.0, note=note)]


def run(rounds: int = 8) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    keep_freed_memory()
    figures = decoding()
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name in DETECTORS:
            figures += learns(name, max(3, rounds // 2))
            figures += predicts(name, DETECTORS[name], path, rounds)
    return figures
