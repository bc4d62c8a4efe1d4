"""Segmenters against torchvision, with equal weights: a training step, prediction, and what comes after the network.

*Training step.* Four images of 320 x 320: forward, loss of both heads, backward, a step of SGD with momentum. Theirs is
torchvision's network, eager, float32, channels first, with the cross entropy of its reference script. Ours as the
engine runs it without being told anything (bfloat16 where the processor computes in it, channels last), and in float32
and channels last: the same precision. Dropout is off and both weigh the auxiliary head alike; the losses in float32
must agree, or the benchmark breaks.

*Prediction.* From a JPEG to a label map of its size, canvas of 520 x 520, batch 1. Ours with the runtime that a
checkpoint gets by default. Theirs: the file decoded by Pillow, made a tensor, resized, normalised; the network; its
logits resized to the photograph, and the best class of each pixel.

*After the network.* Upsampling, softmax and argmax of a 2048 x 1024 image with 19 classes, against the rest of such a
prediction, eager.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision.models.segmentation as tv
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import normalize, resize, to_tensor

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.prediction import one, write_photo
from benchmarks.training_step import step
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import best_cpu_runtime
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.registry import create_model
from saccade.models.segmentation.base import Segmenter
from saccade.results.segmentation import SegmentationMap
from saccade.weights.layouts import layouts

BATCH, CLASSES = 4, 21
LEARNT, PREDICTED = 320, 520  # sides of the canvas
STREET, STREET_CLASSES = (1024, 2048), 19
# Stride of the logits of each before they are upsampled.
SEGMENTERS = {"fcn_resnet50": 8, "deeplabv3_resnet50": 8, "lraspp_mobilenet_v3_large": 8}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
AUXILIARY = 0.5  # weight in torchvision's script


def pair(name: str, side: int) -> tuple[Segmenter, nn.Module]:
    """Ours and theirs with the same weights and no dropout; BatchNorm holds the statistics of noise."""
    torch.manual_seed(0)
    options = {"aux_loss": True} if "resnet" in name else {}
    theirs = getattr(tv, name)(weights=None, weights_backbone=None, num_classes=CLASSES, **options)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        theirs.train()(torch.randn(BATCH, 3, side, side))
    state = theirs.state_dict()
    ours = create_model(name, num_classes=CLASSES)
    assert isinstance(ours, Segmenter)
    layout = next(found for found in layouts() if found.matches(set(state)))
    ours.load_state_dict(layout.convert(dict(state), ours))
    ours.input_spec = replace(ours.input_spec, size=(side, side), resize="stretch")
    ours.output_weights = {"auxiliary": AUXILIARY}
    for module in (*ours.modules(), *theirs.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return ours, theirs


def learns(name: str, rounds: int, side: int = LEARNT) -> list[Figure]:
    """Steps of both."""
    ours, theirs = pair(name, side)
    theirs.train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, side, side, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH, side, side), generator=generator)
    labels[:, :8] = 255
    targets = {"label_map": labels}
    laid_out = images.contiguous(memory_format=torch.channels_last)
    plain, tuned = (copy.deepcopy(ours).to(memory_format=torch.channels_last).train() for _ in range(2))

    def their_loss() -> Tensor:
        outputs = theirs(images)
        loss = F.cross_entropy(outputs["out"], labels, ignore_index=255)
        if "aux" in outputs:
            loss = loss + AUXILIARY * F.cross_entropy(outputs["aux"], labels, ignore_index=255)
        return loss

    with torch.no_grad():
        expected, found = float(their_loss()), sum(map(float, plain.loss(laid_out, targets).values()))
    assert abs(found / expected - 1) < 1e-3, f"{name}: loss {found:.5f} against {expected:.5f}; the work is not equal"
    optimizers = {id(model): torch.optim.SGD(model.parameters(), 1e-6, 0.9, fused=True) for model in (plain, tuned)}
    their_optimizer = torch.optim.SGD(theirs.parameters(), 1e-6, 0.9)

    def their_step() -> None:
        their_loss().backward()
        their_optimizer.step()
        their_optimizer.zero_grad()

    seconds = alternate(
        {
            "default": lambda: step(tuned, optimizers[id(tuned)], laid_out, targets),
            "theirs": their_step,
            "equal": lambda: step(plain, optimizers[id(plain)], laid_out, targets, bf16=False),
        },
        rounds,
        warmup=1,
    )
    default, theirs_ms, equal = (1e3 * seconds[key] for key in ("default", "theirs", "equal"))
    note = f"{side} px, batch {BATCH}: {default:.0f} ms against {theirs_ms:.0f} ms"
    promised = 1.8 if has_bf16() else None
    return [
        Figure(f"{name}: default step against theirs", theirs_ms / default, "x", promised, True, note),
        Figure(f"{name}: step at equal precision", theirs_ms / equal, "x", 1.0, True, f"float32: {equal:.0f} ms"),
    ]


def predicts(name: str, path: Path, rounds: int, side: int = PREDICTED) -> Figure:
    """From the file to the label map, both."""
    ours, theirs = pair(name, side)
    theirs.eval()
    sample = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(sample)["logits"], theirs(sample)["out"], rtol=1e-3, atol=1e-3)
    runtime = best_cpu_runtime(ours)

    def their_prediction() -> Tensor:
        with torch.inference_mode(), Image.open(path) as photo:
            whole = to_tensor(photo.convert("RGB"))
            images = normalize(resize(whole, [side, side], antialias=True), MEAN, STD)[None]
            logits = theirs(images)["out"]
            full = F.interpolate(logits, size=whole.shape[1:], mode="bilinear", align_corners=False)
            return full.argmax(dim=1)[0]

    result = one(runtime, path)
    assert isinstance(result, SegmentationMap)
    equal = (torch.from_numpy(result.label_map.astype("int64")) == their_prediction()).float().mean()
    seconds = alternate({"default": lambda: one(runtime, path), "theirs": their_prediction}, rounds)
    default, theirs_ms = (1e3 * seconds[key] for key in ("default", "theirs"))
    return Figure(
        f"{name}: default prediction against theirs",
        theirs_ms / default,
        "x",
        2.5 if has_bf16() else 1.4,
        True,
        f"{runtime.name}, {side} px: {default:.0f} ms against {theirs_ms:.0f} ms; {100 * equal:.0f} % of labels equal",
    )


def finishes(name: str, rounds: int, size: tuple[int, int] = STREET) -> Figure:
    """Upsampling, softmax and argmax of a street scene, against the rest of its prediction."""
    model = create_model(name, num_classes=STREET_CLASSES).eval().to(memory_format=torch.channels_last)
    assert isinstance(model, Segmenter)
    images = torch.randn(1, 3, *size).contiguous(memory_format=torch.channels_last)
    stride = SEGMENTERS[name]
    scores = torch.randn(1, STREET_CLASSES, size[0] // stride, size[1] // stride)
    if has_bf16():
        scores = scores.to(torch.bfloat16)

    def whole() -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            return model.predict(images)["probabilities"].argmax(dim=1)

    def after() -> Tensor:
        with torch.inference_mode():
            logits = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
            return model.decode({"logits": logits})["probabilities"].argmax(dim=1)

    seconds = alternate({"whole": whole, "after": after}, rounds, warmup=1)
    network = seconds["whole"] - seconds["after"]
    note = f"{1e3 * seconds['after']:.0f} ms against {1e3 * network:.0f} ms; {size[1]} x {size[0]}, eager"
    return Figure(f"{name}: upsampling, softmax and argmax", 100 * seconds["after"] / network, "%", 10.0, False, note)


def run(rounds: int = 8) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    keep_freed_memory()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_photo(folder)
        for name in SEGMENTERS:
            figures += learns(name, max(3, rounds // 2))
            figures.append(predicts(name, path, rounds))
            figures.append(finishes(name, 3))
    return figures
