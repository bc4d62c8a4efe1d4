"""Layers of the configuration files of YOLOv3 and v4, and a plain forward that reads them one by one.

A list holds one entry a section: ``("conv", filters, size, stride, activation)``, ``("shortcut", from)``,
``("route", layers...)``, ``("half", layer)`` for the second of two groups, ``("max", size, stride)``, ``("up",)`` and
``("yolo",)``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = tuple[Any, ...]


def conv(filters: int, size: int = 1, stride: int = 1, activation: str = "leaky") -> Layer:
    return ("conv", filters, size, stride, activation)


def five(channels: int) -> list[Layer]:
    return [conv(channels), conv(2 * channels, 3), conv(channels), conv(2 * channels, 3), conv(channels)]


def predict(channels: int, outputs: int) -> list[Layer]:
    return [conv(channels, 3), conv(outputs, activation="linear"), ("yolo",)]


SPP: list[Layer] = [
    ("max", 5, 1),
    ("route", -2),
    ("max", 9, 1),
    ("route", -4),
    ("max", 13, 1),
    ("route", -1, -3, -5, -6),
]
DEPTHS = (1, 2, 8, 8, 4)


def yolov3(outputs: int, spp: bool = False) -> list[Layer]:
    layers = [conv(32, 3)]
    for number, depth in enumerate(DEPTHS):
        channels = 64 * 2**number
        layers.append(conv(channels, 3, 2))
        layers += [conv(channels // 2), conv(channels, 3), ("shortcut", -3)] * depth
    joint = five(512)
    layers += [*joint[:3], *SPP, conv(512), *joint[3:]] if spp else joint
    layers += predict(1024, outputs)
    layers += [("route", -4), conv(256), ("up",), ("route", -1, 61), *five(256), *predict(512, outputs)]
    layers += [("route", -4), conv(128), ("up",), ("route", -1, 36), *five(128), *predict(256, outputs)]
    return layers


def tiny_end(outputs: int, fine: int) -> list[Layer]:
    end = [conv(256), *predict(512, outputs), ("route", -4), conv(128), ("up",), ("route", -1, fine)]
    return [*end, *predict(256, outputs)]


def yolov3_tiny(outputs: int) -> list[Layer]:
    layers: list[Layer] = []
    for channels in (16, 32, 64, 128, 256, 512):
        layers += [conv(channels, 3), ("max", 2, 1 if channels == 512 else 2)]
    return [*layers, conv(1024, 3), *tiny_end(outputs, 8)]


def yolov4(outputs: int) -> list[Layer]:
    layers = [conv(32, 3, activation="mish")]
    for number, depth in enumerate(DEPTHS):
        channels = 64 * 2**number
        half = channels if depth == 1 else channels // 2
        layers += [conv(channels, 3, 2, "mish"), conv(half, activation="mish"), ("route", -2)]
        layers.append(conv(half, activation="mish"))
        unit = [conv(channels // 2, activation="mish"), conv(half, 3, activation="mish"), ("shortcut", -3)]
        layers += [*(unit * depth), conv(half, activation="mish"), ("route", -1, -(3 * depth + 4))]
        layers.append(conv(channels, activation="mish"))
    joint = five(512)
    layers += [*joint[:3], *SPP, conv(512), *joint[3:]]
    layers += [conv(256), ("up",), ("route", 85), conv(256), ("route", -1, -3), *five(256)]
    layers += [conv(128), ("up",), ("route", 54), conv(128), ("route", -1, -3), *five(128), *predict(256, outputs)]
    layers += [("route", -4), conv(256, 3, 2), ("route", -1, -16), *five(256), *predict(512, outputs)]
    layers += [("route", -4), conv(512, 3, 2), ("route", -1, -37), *five(512), *predict(1024, outputs)]
    return layers


def yolov4_tiny(outputs: int) -> list[Layer]:
    layers = [conv(32, 3, 2), conv(64, 3, 2)]
    for channels in (64, 128, 256):
        layers += [conv(channels, 3), ("half", -1), conv(channels // 2, 3), conv(channels // 2, 3)]
        layers += [("route", -1, -2), conv(channels), ("route", -6, -1), ("max", 2, 2)]
    return [*layers, conv(512, 3), *tiny_end(outputs, 23)]


def convolutions(model: nn.Module) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Kernel of every convolution of the file, in the order of the state dict, and its bias or its normalisation.

    A cross-stage partial stage makes its halves by one convolution, where the file has two, the one that by-passes
    first; and it joins them in this order, where the file joins them in the other.
    """
    state = model.state_dict()
    found = []
    for name in (name.removesuffix(".weight") for name in state if name.endswith(".weight") and ".bn." not in name):
        kernel, norm = state[f"{name}.weight"], name.removesuffix("conv") + "bn"
        rest = {"bias": state[f"{name}.bias"]} if f"{name}.bias" in state else {}
        rest |= {key.removeprefix(f"{norm}."): value for key, value in state.items() if key.startswith(f"{norm}.")}
        rest.pop("num_batches_tracked", None)
        if kernel.ndim != 4:
            continue
        if name.endswith(".conv_transition.conv"):
            kernel = torch.cat(kernel.chunk(2, dim=1)[::-1], dim=1)
        parts = 2 if name.endswith(".conv_exp.conv") else 1
        for part in range(parts):
            found.append((kernel.chunk(parts)[part], {key: value.chunk(parts)[part] for key, value in rest.items()}))
    return found


def run(layers: list[Layer], model: nn.Module, images: Tensor) -> list[Tensor]:
    """Inputs of the yolo sections, in the order of the file, with the weights of a model taken one after the other."""
    weights = iter(convolutions(model))
    outputs: list[Tensor] = []
    x, found = images, []
    for layer in layers:
        kind = layer[0]
        if kind == "conv":
            _, filters, size, stride, activation = layer
            kernel, rest = next(weights)
            assert kernel.shape == (filters, x.shape[1], size, size)
            assert ("running_mean" in rest) == (activation != "linear")
            if activation == "linear":
                x = F.conv2d(x, kernel, rest["bias"], stride, size // 2)
            else:
                x = F.conv2d(x, kernel, None, stride, size // 2)
                mean, var = rest["running_mean"], rest["running_var"]
                x = F.batch_norm(x, mean, var, rest["weight"], rest["bias"], eps=1e-5)
                x = x * F.softplus(x).tanh() if activation == "mish" else torch.where(x > 0, x, 0.1 * x)
        elif kind == "shortcut":
            x = x + outputs[layer[1]]
        elif kind == "route":
            x = torch.cat([outputs[index] for index in layer[1:]], dim=1)
        elif kind == "half":
            x = outputs[layer[1]][:, x.shape[1] // 2 :]
        elif kind == "max":
            _, size, stride = layer
            padded = F.pad(x, ((size - 1) // 2, size // 2) * 2, value=-torch.inf)
            x = F.max_pool2d(padded, size, stride)
        elif kind == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        else:
            found.append(x)
        outputs.append(x)
    assert next(weights, None) is None
    return found
