"""Explanation of one image: predicted classes with Grad-CAM, attention roll-out or feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.analysis.activations import as_feature_map, find_module, require_classifier, watch_outputs
from saccade.analysis.cam import default_layer, grad_cam
from saccade.analysis.rollout import attention_rollout
from saccade.data.transforms.resize import resize_image
from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.models.detection.base import Detector
from saccade.models.normalize import Normalize
from saccade.results.classification import Classification
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

__all__ = ["Explanation", "Method", "explain_image"]

Method = Literal["cam", "rollout", "features"]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of one image: heat maps of classes, or the strongest feature maps of a layer.

    Args:
        result: The classes and their probabilities.
        method: ``cam``, ``rollout`` or ``features``.
        layer: Submodule that was used; empty for ``rollout``, which uses all layers.
        labels: Classes that were explained (``cam``).
        heat: (N, H, W) float32 0..1 in pixels of the image as read: one a class, or a single one for ``rollout``; N = 0
            for ``features``.
        maps: (K, h, w) float32, the strongest feature maps of the layer (``features``), else empty.
        channels: Channels of ``maps``.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=10)
        >>> explanation = explain_image(model, np.zeros((48, 64, 3), np.uint8), method="features", top=2)
        >>> explanation.layer, explanation.maps.shape
        ('layer4', (2, 7, 7))
        >>> explanation.save("features.png").name
        'features.png'
    """

    result: Classification
    method: Method
    layer: str
    labels: tuple[int, ...]
    heat: NDArray[np.float32]
    maps: NDArray[np.float32]
    channels: tuple[int, ...]

    def plot(self) -> NDArray[Any]:
        """Draw the image with its most probable classes, and the heat maps or feature maps beside it."""
        from saccade.results.drawing import draw_caption, draw_heat, heat_colors, montage

        image = self.result.pixels()
        if self.method == "features":
            tiles = [
                draw_caption(heat_colors(_enlarged(values)), [f"{self.layer}, channel {channel}"])
                for values, channel in zip(self.maps, self.channels, strict=True)
            ]
            return montage([self.result.plot(), *tiles], columns=min(4, 1 + len(tiles)))
        if self.method == "rollout":
            return montage([self.result.plot(), draw_caption(draw_heat(image, self.heat[0]), ["attention"])], 2)
        panels = [self.result.plot()]
        for label, heat in zip(self.labels, self.heat, strict=True):
            share = float(self.result.probabilities[label])
            panels.append(draw_caption(draw_heat(image, heat), [self.result.name_of(label)], [share]))
        return montage(panels, columns=min(4, len(panels)))

    def save(self, path: str | Path) -> Path:
        """Write :meth:`plot`; the suffix decides the format."""
        from saccade.results.drawing import write_image

        return write_image(path, self.plot())


def explain_image(
    model: Model,
    image: NDArray[Any],
    path: str = "array",
    method: Method = "cam",
    layer: str | None = None,
    classes: Sequence[str] = (),
    top: int = 3,
) -> Explanation:
    """Explain a classifier's prediction for an image.

    Args:
        model: The classifier; it is put into eval mode.
        image: Pixels as read, (H, W, C).
        path: Name of the image, for results.
        method: ``cam``: Grad-CAM of the classes; ``rollout``: attention followed from the output back to the image;
            ``features``: the strongest feature maps of a layer.
        layer: Submodule (``cam``, ``features``), usually one of the stages; :func:`default_layer` if not given.
        classes: Names of classes to explain instead of the ``top`` most probable (``cam``).
        top: How many classes (``cam``) or feature maps (``features``).

    Raises:
        ConfigError: If the model is no classifier, has no such layer or class, or no attention to follow.

    Example:
        >>> model = saccade.create_model("resnet18", num_classes=10)
        >>> explanation = explain_image(model, np.zeros((48, 64, 3), np.uint8), top=3)
        >>> explanation.heat.shape
        (3, 48, 64)
    """
    if method not in get_args(Method):
        raise ConfigError(f"unknown method '{method}'.{did_you_mean(method, get_args(Method))}")
    if top < 1:
        raise ConfigError(f"top is the number of classes or feature maps to show, at least 1; got {top}.")
    if isinstance(model, Detector):
        raise ConfigError(
            f"{method} explains a class, and '{model.builder_name}' is a detector. With --assign (assign=True) explain "
            "draws which anchors or points it assigns to which object."
        )
    classifier = require_classifier(model, "explain").eval()
    canvas, geometry = resize_image(image, model.input_spec)
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(canvas))[None].permute(0, 3, 1, 2).to(device)
    images = Normalize(model.input_spec).to(device)(pixels)
    with torch.no_grad():
        decoded = classifier.predict(images)
    info = ImageInfo(0, path, geometry, image)
    (result,) = get_task(model.task).results(decoded, [info], model.class_names)
    assert isinstance(result, Classification)
    nothing = np.zeros((0, *image.shape[:2]), np.float32)
    if method == "features":
        layer = default_layer(model, images) if layer is None else find_module(model, layer)
        maps, channels = _strongest_maps(model, images, layer, top)
        return Explanation(result, method, layer, (), nothing, maps, channels)
    if method == "rollout":
        heat = attention_rollout(model, images)
        return Explanation(result, method, "", (), _on_image(heat, geometry), nothing, ())
    labels = _labels(result, classes, top)
    layer = default_layer(model, images) if layer is None else layer
    repeated = images.expand(len(labels), -1, -1, -1)
    heat = grad_cam(model, repeated, torch.tensor(labels, device=device), layer)
    return Explanation(result, method, layer, labels, _on_image(heat, geometry), nothing, ())


def _labels(result: Classification, classes: Sequence[str], top: int) -> tuple[int, ...]:
    if not classes:
        return tuple(int(label) for label in np.argsort(-result.probabilities, kind="stable")[:top])
    names = list(result.class_names)
    for name in classes:
        if name not in names:
            raise ConfigError(f"the model has no class '{name}'.{did_you_mean(name, names)}")
    return tuple(names.index(name) for name in classes)


def _strongest_maps(
    model: Model, images: Tensor, layer: str, count: int
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Feature maps with the largest range of values, each stretched to 0..1, and their channels."""
    with torch.no_grad(), watch_outputs(model, (layer,)) as outputs:
        model(images)
    activation = outputs.get(layer)
    maps = None if activation is None else as_feature_map(model, activation, (images.shape[2], images.shape[3]))
    if maps is None:
        raise ConfigError(f"'{layer}' of '{model.builder_name}' outputs no feature map. Name an earlier layer.")
    values = maps[0].float()
    lowest, highest = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    strongest = (highest - lowest).flatten().topk(min(count, len(values))).indices
    stretched = (values - lowest) / (highest - lowest).clamp_min(1e-12)
    return stretched[strongest].cpu().numpy(), tuple(strongest.tolist())


def _on_image(heat: Tensor, geometry: Geometry) -> NDArray[np.float32]:
    """Map heat of the canvas to pixels of the image; pixels outside the canvas are 0."""
    height, width = geometry.size
    (left, top), (right, bottom) = geometry.invert_points(np.array([[0.0, 0.0], [width, height]]))
    rows, columns = (np.arange(side) + 0.5 for side in geometry.original_size)
    seen = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
    maps = (np.asarray(geometry.invert_map(one, linear=True), np.float32) for one in heat.cpu().numpy())
    return np.stack([one * seen for one in maps]).astype(np.float32)


def _enlarged(values: NDArray[np.float32], side: int = 448) -> NDArray[np.float32]:
    """Enlarge a small feature map so that each location is a visible square."""
    import cv2

    factor = max(1, side // max(values.shape))
    return np.asarray(cv2.resize(values, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.float32)
