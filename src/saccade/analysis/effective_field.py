"""Receptive field of a layer, theoretical and effective, side by side.

The theoretical field is the square of pixels that one location can depend on at all; the effective field is where its
gradient really is. It is much smaller, and fades from its centre like a Gaussian: more ways lead from a location to the
pixels in the middle than to those at the border.

Paper: Wenjie Luo, Yujia Li, Raquel Urtasun, Richard Zemel, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NeurIPS 2016, arXiv 1701.04128, section 3.

*Differences from the paper*: of a layer with many channels a random mixture is differentiated, drawn anew for every
input. A plain sum would be constant behind a LayerNorm, and its gradient zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.analysis.activations import as_feature_map, find_module, watch_outputs
from saccade.analysis.receptive_field import Field
from saccade.analysis.summary import receptive_fields
from saccade.data.transforms.resize import resize_image
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.classification.base import Classifier
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.results.images import montage, to_rgb8, write_image

__all__ = ["EFFECTIVE_SHARE", "ReceptiveField", "measure_receptive_field"]

EFFECTIVE_SHARE = 0.95
"""Share of the gradient that the effective field holds, in as few pixels as possible."""

_SIDE = 560  # longer side of a panel, pixels
_FIELD = (90, 170, 255)  # colour of the theoretical field


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """Theoretical and effective receptive field of the middle location of a layer.

    Args:
        layer: Path of the layer inside the network.
        map_size: (height, width) of its feature map.
        location: (row, column) of the location.
        field: Theoretical field of the layer: side, stride, centre of the first location.
        gradient: (H, W) float32, absolute gradient at each pixel of the canvas, summed over colours, mean over the
            inputs; adds up to 1.
        image: (H, W, 3) uint8, canvas of the first input; None if the inputs were random.
        inputs: How many inputs the gradient was averaged over.

    Example:
        >>> measured = measure_receptive_field(saccade.create_model("resnet18", num_classes=2), "layer1", count=1)
        >>> measured.field.side, measured.box_xyxy
        (43.0, (91.0, 91.0, 134.0, 134.0))
        >>> measured.effective_pixels < 43 * 43
        True
    """

    layer: str
    map_size: tuple[int, int]
    location: tuple[int, int]
    field: Field
    gradient: NDArray[np.float32]
    image: NDArray[np.uint8] | None
    inputs: int

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Theoretical field of the location in pixels of the canvas, beyond which it may reach."""
        height, width = self.gradient.shape
        if math.isinf(self.field.side):
            return 0.0, 0.0, float(width), float(height)
        half = self.field.side / 2
        y, x = (self.field.centre(place) for place in self.location)
        return x - half, y - half, x + half, y + half

    @property
    def effective(self) -> NDArray[np.bool_]:
        """(H, W), the fewest pixels that hold 95 % of the gradient."""
        order = np.argsort(-self.gradient, axis=None, kind="stable")
        held = np.cumsum(self.gradient.ravel()[order], dtype=np.float64)
        count = int(np.searchsorted(held, EFFECTIVE_SHARE * held[-1])) + 1
        inside = np.zeros(self.gradient.size, bool)
        inside[order[:count]] = True
        return inside.reshape(self.gradient.shape)

    @property
    def effective_pixels(self) -> int:
        """How many pixels that is."""
        return int(self.effective.sum())

    def numbers(self) -> dict[str, Any]:
        """Sides of both fields (of the effective one: of a square as large), and its shares of the canvas."""
        count, (height, width) = self.effective_pixels, self.gradient.shape
        x1, y1, x2, y2 = self.box_xyxy
        seen = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
        return {
            "layer": self.layer,
            "stride": self.field.stride,
            "theoretical side": "whole image" if math.isinf(self.field.side) else self.field.side,
            "effective side": round(math.sqrt(count), 1),
            "effective share of the canvas": round(count / self.gradient.size, 4),
            "effective share of the field": round(count / max(seen, 1.0), 4),
        }

    def plot(self) -> NDArray[Any]:
        """Draw the theoretical field on the left, the gradient on the right, their numbers below."""
        from saccade.results.drawing import draw_caption

        numbers, (height, width) = self.numbers(), self.gradient.shape
        side = numbers["theoretical side"]
        x1, y1, x2, y2 = self.box_xyxy
        beyond = ", which the field reaches beyond" if min(x1, y1) < 0 or x2 > width or y2 > height else ""
        theory = (
            f"theoretical field: {side if isinstance(side, str) else f'{side:g} x {side:g} pixels'}",
            f"canvas: {height} x {width} pixels{beyond}",
            f"{self.layer}: {self.map_size[0]} x {self.map_size[1]} locations, stride {self.field.stride:g}",
        )
        root, kind = numbers["effective side"], "random inputs" if self.image is None else "images"
        shares = [f"{100 * numbers[f'effective share of the {whole}']:.1f} %" for whole in ("canvas", "field")]
        measured = (
            f"effective field: {root:g} x {root:g} pixels, if it were square",
            f"{100 * EFFECTIVE_SHARE:.0f} % of the gradient in {shares[0]} of the canvas, {shares[1]} of the field",
            f"of the middle location, over {self.inputs} {kind if self.inputs > 1 else kind[:-1]}",
        )
        left, right = self._panels()
        panels = [draw_caption(left, theory), draw_caption(right, measured)]
        return montage(panels, columns=2, cell=max(panels[0].shape[:2]))

    def save(self, path: str | Path) -> Path:
        """Write :meth:`plot`; the suffix decides the format."""
        return write_image(path, self.plot())

    def _panels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        import cv2

        from saccade.results.drawing import draw_heat

        height, width = self.gradient.shape
        scale = _SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.full((height, width, 3), 70, np.uint8) if self.image is None else self.image
        base = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
        grey = np.repeat(np.rint(0.6 * base.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        x1, y1, x2, y2 = (round(np.clip(edge * scale, -4, 10_000)) for edge in self.box_xyxy)
        left = grey.copy()
        inside = (slice(max(0, y1), max(0, y2)), slice(max(0, x1), max(0, x2)))
        left[inside] = np.rint(0.5 * base[inside] + 0.5 * np.array(_FIELD)).astype(np.uint8)
        # Gradients fade fast; their root shows where they end.
        heat = np.sqrt(self.gradient / max(float(self.gradient.max()), 1e-30))
        right = draw_heat(grey, cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), opacity=1.0)
        for panel in (left, right):
            cv2.rectangle(panel, (x1, y1), (x2 - 1, y2 - 1), _FIELD, 2)
        centre = [round(self.field.centre(place) * scale) for place in self.location]
        cv2.drawMarker(left, (centre[1], centre[0]), (255, 255, 255), cv2.MARKER_CROSS, 14, 2)
        return left, right


def measure_receptive_field(
    model: Model,
    layer: str | None = None,
    images: Sequence[NDArray[Any]] = (),
    count: int = 8,
    seed: int = 0,
) -> ReceptiveField:
    """Receptive field of the middle location of a layer: the theoretical one, and where its gradient is.

    Args:
        model: Any network whose stages give feature maps; it is put into eval mode.
        layer: Path of the layer; the last stage with more than one location if not given.
        images: Real inputs, pixels as read; each is resized to the network's canvas, aspect or not. Random numbers
            (standard normal, after normalisation) if there are none.
        count: How many random inputs.
        seed: Of random inputs, and of the mixtures of channels.

    Raises:
        ConfigError: If there is no such layer, it gives no feature map, or no gradient of it reaches the input.

    Example:
        >>> model = saccade.create_model("resnet20_cifar", num_classes=2)
        >>> measured = measure_receptive_field(model, "layer1", [np.full((40, 50, 3), 90, np.uint8)])
        >>> measured.gradient.shape, measured.field.side, measured.inputs
        ((32, 32), 15.0, 1)
    """
    if layer is not None:
        find_module(model, layer)
    if not images and count < 1:
        raise ConfigError(f"count={count}; give 1 random input or more.")
    model.eval()
    height, width = model.input_spec.canvas
    device = next(model.parameters()).device
    normalize, generator = Normalize(model.input_spec).to(device), torch.Generator().manual_seed(seed)
    # The aspect changes nothing here, and all gradients are of one canvas.
    canvases = [resize_image(image, replace(model.input_spec, resize="stretch"))[0] for image in images]
    examples = example_inputs(model, (height, width), batch=1)
    inputs = normalize_inputs(normalize, {name: value.to(device) for name, value in examples.items()})
    shape = (1, model.input_spec.channels, height, width)
    total = np.zeros((height, width))
    for index in range(len(canvases) or count):
        if canvases:
            pixels = torch.from_numpy(np.ascontiguousarray(canvases[index]))[None].permute(0, 3, 1, 2)
            batch = normalize(pixels.to(device))
        else:
            batch = torch.randn(shape, generator=generator).to(device)
        layer, activation = _run(model, layer, batch.requires_grad_(True), inputs)
        map_size = activation.shape[2], activation.shape[3]
        location = map_size[0] // 2, map_size[1] // 2
        there = activation[0, :, location[0], location[1]]
        mixture = torch.randn(len(there), generator=generator).to(there)
        (gradient,) = torch.autograd.grad(there @ mixture, batch, allow_unused=True)
        if gradient is not None:
            found = gradient[0].double().abs().sum(0)
            total += (found / found.sum().clamp_min(1e-300)).cpu().numpy()  # each input counts as much
    if layer is None or not np.isfinite(total).all() or not total.any():
        raise ConfigError(
            f"no gradient of the middle location of '{layer}' reaches the input of '{model.builder_name}'. Name an "
            "earlier layer, or take a trained network."
        )
    field = receptive_fields(model, (height, width)).get(layer)
    if field is None:
        raise ConfigError(f"'{layer}' of '{model.builder_name}' has no receptive field. Name another layer.")
    shown = to_rgb8(canvases[0]) if canvases else None
    averaged = (total / total.sum()).astype(np.float32)
    return ReceptiveField(layer, map_size, location, field, averaged, shown, len(canvases) or count)


def _run(model: Model, layer: str | None, images: Tensor, inputs: Mapping[str, Tensor]) -> tuple[str, Tensor]:
    """The layer and its feature map; the last stage with more than one location if no layer is named."""
    modules = dict(model.named_modules())  # a stage may be a parameter, such as a class token
    watched = [layer] if layer is not None else [name for name in model.stage_names if name in modules]
    with torch.enable_grad(), watch_outputs(model, watched) as outputs:
        model(images, **inputs)
    size = (images.shape[2], images.shape[3])
    for name in reversed(watched):
        # Tokens are arranged by the classifier that they are of: the network itself, or its backbone.
        paths = [name.rsplit(".", cut)[0] for cut in range(1, name.count(".") + 1)]
        owners = [modules[path] for path in paths if isinstance(modules[path], Classifier)]
        owner = owners[0] if owners else model
        activation = outputs.get(name)
        arranged = None if activation is None else as_feature_map(owner, activation, size)
        if arranged is not None and arranged.requires_grad:
            return name, arranged
    if layer is not None:
        raise ConfigError(f"'{layer}' of '{model.builder_name}' outputs no feature map. Name an earlier layer.")
    raise ConfigError(f"no stage of '{model.builder_name}' outputs a feature map. Name a layer (--layer).")
