"""What two remedies for training on the CPU gain: depthwise gradients, and memory that stays with the process.

*Depthwise convolutions.* Forward and backward pass of ``DepthwiseConv2d`` against ``nn.Conv2d`` with equal weights,
16 maps, channels last, under the engine's default autocast; shapes are layers of the line at 128 pixels; dilated
ones under a segmenter.

*Freed memory.* Steps of AlexNet and ResNet-50, 16 images at 128 pixels, with ``keep_freed_memory`` and without, each
in a process of its own, as the setting cannot be taken back; the largest memory of both.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor, nn

from benchmarks.common import Figure, alternate, use_threads
from benchmarks.training_step import step
from saccade.blocks.depthwise_conv import DepthwiseConv2d
from saccade.deploy.precision import has_bf16
from saccade.engine.train.memory import keep_freed_memory
from saccade.models.registry import create_model

IMAGES = 16
# Channels, side of the map, kernel, stride, dilation.
LAYERS = {
    "MobileNetV2, 3x3 / 2": (96, 64, 3, 2, 1),
    "MobileNetV2, 3x3": (192, 16, 3, 1, 1),
    "MobileNetV3, 5x5 / 2": (72, 32, 5, 2, 1),
    "EfficientNet, 5x5": (1152, 4, 5, 1, 1),
    "ConvNeXt, 7x7": (96, 32, 7, 1, 1),
    "MobileNetV3 at stride 16, 5x5, every second cell": (960, 16, 5, 1, 2),
    "MobileNetV3 at stride 8, 5x5, every fourth cell": (960, 16, 5, 1, 4),
}


def depthwise() -> list[Figure]:
    """Every layer of the table."""
    figures = []
    for name, (channels, side, kernel, stride, dilation) in LAYERS.items():
        torch.manual_seed(0)
        shape = channels, channels, kernel, stride, kernel // 2 * dilation, dilation
        plain = nn.Conv2d(*shape, groups=channels, bias=False)
        own = DepthwiseConv2d(*shape, groups=channels, bias=False)
        own.load_state_dict(plain.state_dict())
        dtype = torch.bfloat16 if has_bf16() else torch.float32
        x = torch.randn(IMAGES, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            direction = torch.randn_like(plain(x))

        def learn(layer: nn.Module, x: Tensor = x, direction: Tensor = direction) -> None:
            leaf = x.detach().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
                out = layer(leaf)
            torch.autograd.grad(out, [leaf, *layer.parameters()], direction)

        seconds = alternate({"own": lambda: learn(own), "plain": lambda: learn(plain)}, 15)  # noqa: B023
        note = f"{channels} x {side} x {side}: {1e3 * seconds['own']:.2f} ms against {1e3 * seconds['plain']:.2f} ms"
        figures.append(Figure(f"{name}: forward and backward", seconds["plain"] / seconds["own"], "x", note=note))
    return figures


def steps(name: str, keep: bool) -> str:
    """Median seconds of a step and the process's largest memory in MB, as JSON."""
    use_threads()
    if keep:
        keep_freed_memory()
    model = create_model(name).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-5, momentum=0.9, fused=True)
    images = torch.randn(IMAGES, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    targets = {"labels": torch.randint(0, 1000, (IMAGES,))}
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        step(model, optimizer, images, targets)
        seconds.append(time.perf_counter() - start)
    return json.dumps([statistics.median(seconds[2:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024])


def freed_memory() -> list[Figure]:
    """Steps in processes of their own."""
    figures = []
    for name in ("alexnet", "resnet50"):
        runs = {}
        for keep in (True, False):
            code = f"from benchmarks.learning_on_cpu import steps; print(steps({name!r}, {keep}))"
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            runs[keep] = json.loads(done.stdout)
        (kept, peak), (plain, least) = runs[True], runs[False]
        note = f"{1e3 * kept:.0f} ms against {1e3 * plain:.0f} ms"
        figures.append(Figure(f"{name}: step with freed memory kept", plain / kept, "x", note=note))
        note = f"{peak:.0f} MB against {least:.0f} MB"
        figures.append(Figure(f"{name}: memory at the peak that this costs", 100 * (peak / least - 1), "%", note=note))
    return figures


def run() -> list[Figure]:
    """All figures of this file."""
    use_threads()
    return [*depthwise(), *freed_memory()]
