"""Memory layout of images and weights: channels last, or, on a CPU without bf16, whatever a short trial finds faster.

Channels last suits bf16 and GPUs throughout. In float32 on a CPU it depends on the network and the processor: plain
convolutions of large kernels and transformers may lose a tenth by it, where others gain half.
"""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor, nn

from saccade.models.base import Model
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize

__all__ = ["LONG_RUN", "faster_layout", "seconds_of_step"]

LONG_RUN = 500
"""Steps of a run from which on a trial is worth its own."""

_CLEAR = 1.03  # what plain channels have to gain: below it two trials may not agree
_STEPS = 3  # of each layout, the first of which warms up
_MOST_IMAGES = 8


def faster_layout(model: Model, size: tuple[int, int], batch_size: int) -> tuple[bool, str]:
    """Try both layouts on copies of the network.

    Args:
        model: The network, in float32 on the CPU; neither its weights nor its random numbers change.
        size: Canvas (height, width).
        batch_size: Images of a step; eight at most are tried.

    Returns:
        Whether channels last is faster, and a line that says what was found; empty where the network could not be
        tried.

    Example:
        >>> last, line = faster_layout(saccade.create_model("lenet5"), (32, 32), 4)
        >>> line.startswith("channels_last: ")
        True
    """
    try:
        last, first = (seconds_of_step(model, size, batch_size, channels_last) for channels_last in (True, False))
    except Exception:  # a network may ask in training for more than images, and raise whatever it likes without
        return True, ""
    chosen = last <= first * _CLEAR
    times = f"a step takes {1e3 * last:.0f} ms so, {1e3 * first:.0f} ms with the channels first"
    return chosen, f"channels_last: {chosen} ({times}; --channels-last sets it)"


def seconds_of_step(model: Model, size: tuple[int, int], batch_size: int, channels_last: bool) -> float:
    """Seconds of a pass forward and backward in a layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    spec, images = model.input_spec, min(batch_size, _MOST_IMAGES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = copy.deepcopy(model).train().to(memory_format=layout)
        normalize = Normalize(spec)
        pixels = torch.randint(0, 256, (images, spec.channels, *size), dtype=torch.uint8)
        inputs = normalize_inputs(normalize, example_inputs(model, size, images))
        times = []
        for _ in range(_STEPS):
            laid_out = normalize(pixels).contiguous(memory_format=layout)
            started = time.perf_counter()
            _backward(network(laid_out, **inputs))
            times.append(time.perf_counter() - started)
            _forget(network)
    return min(times[1:])


def _backward(outputs: dict[str, Tensor]) -> None:
    learnt = [one.float().square().mean() for one in outputs.values() if one.requires_grad]
    torch.stack(learnt).sum().backward()


def _forget(network: nn.Module) -> None:
    for parameter in network.parameters():
        parameter.grad = None
