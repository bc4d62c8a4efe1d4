"""RoIAlign as one embedding bag against torchvision's operator, forward and backward.

Boxes of four images over four levels of a pyramid at 320 pixels, 256 channels, 7 x 7 cells of 2 x 2 samples, float32.
Theirs gets the boxes of each level apart, as its detectors do. Values and gradients must agree, or it breaks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align as their_roi_align

from benchmarks.common import Figure, alternate, use_threads
from saccade.ops.roi import pyramid_levels, roi_align

BATCH, REGIONS, CHANNELS, SIDE, SIZE, SAMPLES = 4, 512, 256, 320, 7, 2
STRIDES = (4, 8, 16, 32)


def _scene() -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(BATCH, CHANNELS, SIDE // s, SIDE // s, generator=generator) for s in STRIDES]
    sides = SIDE * 2.0 ** (-1 - 3 * torch.rand(BATCH, REGIONS, 2, generator=generator))
    corners = torch.rand(BATCH, REGIONS, 2, generator=generator) * (SIDE - sides)
    return maps, torch.cat((corners, corners + sides), dim=2)


def _theirs(maps: list[Tensor], boxes: Tensor) -> Tensor:
    levels = pyramid_levels(boxes, len(maps))
    pooled = boxes.new_zeros(*boxes.shape[:2], CHANNELS, SIZE, SIZE)
    for number, (level, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        own = levels == number
        image = own.nonzero()[:, :1].to(boxes.dtype)
        pooled[own] = their_roi_align(level, torch.cat((image, boxes[own]), dim=1), SIZE, 1 / stride, SAMPLES)
    return pooled


def _ours(maps: list[Tensor], boxes: Tensor) -> Tensor:
    return roi_align(maps, boxes, STRIDES, SIZE, SAMPLES)


def run(rounds: int = 8) -> list[Figure]:
    """All figures of this file."""
    use_threads()
    plain, boxes = _scene()
    forms = {
        "ours": (_ours, [level.contiguous(memory_format=torch.channels_last).requires_grad_() for level in plain]),
        "theirs": (_theirs, [level.clone().requires_grad_() for level in plain]),
    }
    made, gradients = {}, {}
    for name, (function, maps) in forms.items():
        made[name] = function(maps, boxes)
        gradients[name] = torch.autograd.grad(made[name].square().mean(), maps, retain_graph=True)
    assert torch.allclose(made["ours"], made["theirs"], atol=1e-3), "the values are not equal"
    for own, other in zip(gradients["ours"], gradients["theirs"], strict=True):
        assert torch.allclose(own, other, atol=1e-3 * float(other.abs().max())), "the gradients are not equal"
    upstream = torch.randn(made["ours"].shape)

    def forward(name: str) -> None:
        function, maps = forms[name]
        with torch.no_grad():
            function(maps, boxes)

    def backward(name: str) -> None:
        torch.autograd.grad(made[name], forms[name][1], upstream, retain_graph=True)

    seconds = alternate(
        {
            "ours": lambda: forward("ours"),
            "theirs": lambda: forward("theirs"),
            "ours back": lambda: backward("ours"),
            "theirs back": lambda: backward("theirs"),
        },
        rounds,
        warmup=1,
    )
    figures = []
    for title, suffix in (("forward", ""), ("backward", " back")):
        ours, theirs = seconds[f"ours{suffix}"], seconds[f"theirs{suffix}"]
        note = f"{BATCH} x {REGIONS} boxes: {1e3 * ours:.0f} ms against {1e3 * theirs:.0f} ms"
        figures.append(Figure(f"RoIAlign {title} against torchvision's", theirs / ours, "x", 1.0, True, note))
    return figures
