"""Every family of the classification line against torchvision or timm, with equal weights.

*Prediction.* One image at 224 pixels. Theirs: the network as torch has it, in evaluation mode, float32, channels
first, given normalised floats. Ours: the runtime that a checkpoint gets by default, given bytes; normalisation, softmax
and the way there and back are in. The same path told to compute in float32 is the one of equal precision; our network
eager, in float32 and channels last, is measured besides. Answers in float32 must be equal and those of the default path
nearly parallel, or the benchmark breaks.

*Training step.* Sixteen images (the engine's default batch) at 128 pixels (ViT: 224): forward, cross entropy,
backward, a step of SGD with momentum. Theirs in float32, channels first. Ours as the engine runs it without being told
anything (bfloat16 where the processor computes in it, channels last), and in float32, the same precision, in the
layout that the engine's trial finds faster. The engine keeps freed memory in the process; here that serves theirs too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import timm
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.training_step import step
from saccade.deploy.openvino_runtime import OpenVinoRuntime
from saccade.deploy.precision import has_bf16
from saccade.deploy.runtime import best_cpu_runtime
from saccade.engine.train.layout import faster_layout
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.base import Model
from saccade.models.registry import create_model
from saccade.weights.layouts import layouts

SIDE, BATCH, TRAIN_SIDE = 224, 16, 128


def _timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name)


# Ours, theirs, and the options with which ours computes what theirs does.
FAMILIES: tuple[tuple[str, Callable[[], nn.Module], dict[str, object]], ...] = (
    ("alexnet", tv.alexnet, {}),
    ("vgg11", tv.vgg11, {}),
    ("googlenet_bn", lambda: tv.googlenet(transform_input=False, init_weights=False), {}),
    ("resnet50", tv.resnet50, {}),
    ("resnext50_32x4d", tv.resnext50_32x4d, {}),
    ("mobilenet_v1", _timm("mobilenetv1_100"), {"activation": "relu6"}),
    ("mobilenet_v2", tv.mobilenet_v2, {}),
    ("mobilenet_v3_large", tv.mobilenet_v3_large, {}),
    ("shufflenet_v2_x1_0", tv.shufflenet_v2_x1_0, {}),
    ("efficientnet_b0", tv.efficientnet_b0, {}),
    ("efficientnet_v2_s", tv.efficientnet_v2_s, {}),
    ("darknet53", _timm("darknet53"), {"negative_slope": 0.01}),
    ("cspdarknet53", _timm("cspdarknet53"), {"negative_slope": 0.01}),
    ("hrnet_w18", _timm("hrnet_w18"), {}),
    ("vit_ti_16", _timm("vit_tiny_patch16_224"), {}),
    ("swin_t", tv.swin_t, {}),
    ("convnext_tiny", tv.convnext_tiny, {}),
    ("mobilevit_xs", _timm("mobilevit_xs"), {}),
)


def noise(images: int) -> Tensor:
    """Random bytes as images (N, 3, SIDE, SIDE)."""
    return torch.randint(0, 256, (images, 3, SIDE, SIDE), dtype=torch.uint8)


def pair(name: str, reference: Callable[[], nn.Module], options: dict[str, object]) -> tuple[Model, nn.Module]:
    """Both networks with the same weights; BatchNorm holds the statistics of noise, so that signals live."""
    torch.manual_seed(0)
    theirs = reference()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        theirs.train()(noise(8).float() / 58 - 2.2)
        for parameter in theirs.parameters():
            if not parameter.any():  # heads that start at zero
                nn.init.normal_(parameter, std=0.02)
    ours = create_model(name, **options)
    ours.input_spec = replace(ours.input_spec, size=(SIDE, SIDE), crop_fraction=1.0)
    layout = next(one for one in layouts() if one.matches(set(theirs.state_dict())))
    ours.load_state_dict(layout.convert(theirs.state_dict(), ours))
    return ours.eval(), theirs.eval()


def predicts(ours: Model, theirs: nn.Module, rounds: int) -> dict[str, float]:
    """Seconds an image of each, and of ours in float32: by the same runtime, and eager."""
    runtime, exact = best_cpu_runtime(ours), OpenVinoRuntime(ours, "32")
    pixels = noise(1)
    spec = ours.input_spec
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    images = (pixels.float() - mean) / std
    laid_out = images.contiguous(memory_format=torch.channels_last)
    eager = create_like(ours).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = theirs(images)
        difference = (eager(laid_out)["logits"] - expected).abs().max() / expected.abs().max()
        assert difference <= 1e-3, f"{ours.builder_name}: the answers differ by {difference:.1e} of their scale"
        wanted = expected.softmax(1)
        difference = (exact(pixels)["probabilities"] - wanted).abs().max() / wanted.max()
        assert difference <= 1e-2, f"{ours.builder_name}: the runtime's differ by {difference:.1e} of their scale"
        # Random weights make much of bfloat16's rounding; the answers must still be those of the same network.
        found = runtime(pixels)["probabilities"].log()
        alike = F.cosine_similarity(found - found.mean(), expected - expected.mean()).item()
        assert alike >= 0.98, f"{ours.builder_name}: the default answers are others (cosine {alike:.3f})"
        return alternate(
            {
                "default": lambda: runtime(pixels),
                "theirs": lambda: theirs(images),
                "equal": lambda: exact(pixels),
                "eager": lambda: eager(laid_out),
            },
            rounds,
        )


def create_like(model: Model) -> Model:
    """A copy with the same weights, as the registry builds it."""
    again = create_model(model.builder_name, **dict(model.builder_args))
    again.load_state_dict(model.state_dict())
    return again.eval()


def learns(ours: Model, theirs: nn.Module, side: int, rounds: int) -> dict[str, float]:
    """Seconds a step of each, and of ours in float32."""
    images = torch.randn(BATCH, 3, side, side)
    labels = torch.randint(0, 1000, (BATCH,))
    laid_out = images.contiguous(memory_format=torch.channels_last)
    # As in a long run without bf16: a trial of three steps chooses the layout.
    in_float32 = torch.channels_last if faster_layout(ours, (side, side), BATCH)[0] else torch.contiguous_format
    plain = create_like(ours).to(memory_format=in_float32).train()
    plain_images = images.contiguous(memory_format=in_float32)
    ours = create_like(ours).to(memory_format=torch.channels_last).train()
    if hasattr(ours, "auxiliary_heads") and ours.auxiliary_heads:
        for model in (ours, plain):
            model.loss = lambda x, t, model=model: {"main": F.cross_entropy(model(x)["logits"].float(), t["labels"])}
    optimizers = {
        id(model): torch.optim.SGD(model.parameters(), 1e-5, momentum=0.9, fused=True) for model in (ours, plain)
    }
    their_optimizer = torch.optim.SGD(theirs.train().parameters(), 1e-5, momentum=0.9)

    def their_step() -> None:
        outputs = theirs(images)
        logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits
        F.cross_entropy(logits, labels).backward()
        their_optimizer.step()
        their_optimizer.zero_grad()

    targets = {"labels": labels}
    return alternate(
        {
            "default": lambda: step(ours, optimizers[id(ours)], laid_out, targets),
            "theirs": their_step,
            "equal": lambda: step(plain, optimizers[id(plain)], plain_images, targets, bf16=False),
        },
        rounds,
        warmup=1,
    )


def run(rounds: int = 8) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    keep_freed_memory()
    figures: list[Figure] = []
    ratios: dict[str, list[float]] = {"predict": [], "train": [], "equal predict": [], "equal train": []}
    for name, reference, options in FAMILIES:
        ours, theirs = pair(name, reference, options)
        predicted = predicts(ours, theirs, rounds)
        # timm's ViT takes images of its own size only.
        learnt = learns(ours, theirs, SIDE if name == "vit_ti_16" else TRAIN_SIDE, max(3, rounds // 2))
        ratios["predict"].append(predicted["theirs"] / predicted["default"])
        ratios["equal predict"].append(predicted["theirs"] / predicted["equal"])
        note = f"{1e3 * predicted['default']:.1f} ms against {1e3 * predicted['theirs']:.1f} ms"
        figures.append(Figure(f"{name}: default prediction against theirs", ratios["predict"][-1], "x", note=note))
        note = f"float32: {1e3 * predicted['equal']:.1f} ms"
        figures.append(
            Figure(f"{name}: prediction at equal precision", ratios["equal predict"][-1], "x", 0.97, True, note)
        )
        note = f"float32, channels last: {1e3 * predicted['eager']:.1f} ms"
        figures.append(
            Figure(f"{name}: eager prediction against theirs", predicted["theirs"] / predicted["eager"], "x", note=note)
        )
        ratios["train"].append(learnt["theirs"] / learnt["default"])
        ratios["equal train"].append(learnt["theirs"] / learnt["equal"])
        note = f"{1e3 * learnt['default']:.0f} ms against {1e3 * learnt['theirs']:.0f} ms"
        bound = 1.15 if has_bf16() else None
        figures.append(Figure(f"{name}: default step against theirs", ratios["train"][-1], "x", bound, True, note))
        note = f"float32: {1e3 * learnt['equal']:.0f} ms"
        figures.append(Figure(f"{name}: step at equal precision", ratios["equal train"][-1], "x", 0.97, True, note))
    note = f"{len(FAMILIES)} families; {'bfloat16' if has_bf16() else 'float32'}"
    predict, train = (statistics.median(ratios[kind]) for kind in ("predict", "train"))
    return [
        Figure("median: default prediction against theirs", predict, "x", 2.5, True, note),
        Figure("median: default step against theirs", train, "x", 1.7 if has_bf16() else None, True, note),
        *figures,
    ]
