"""Images, ground truth and further inputs made up for any network, from what its attributes declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Model
from saccade.models.inputs import example_inputs, normalize_inputs
from saccade.models.normalize import Normalize
from saccade.structures.kinds import IGNORE_LABEL, row_keys
from saccade.tasks import get_task

__all__ = ["TARGET_EXAMPLES", "TargetExample", "images_for", "inputs_for", "pixels_for", "targets_for"]

TargetExample = Callable[[Model, tuple[int, int], int], Tensor]
"""Ground truth of one kind for one image: (network, canvas (height, width), number of objects) to a tensor."""


def pixels_for(model: Model, size: tuple[int, int], batch: int, seed: int = 0) -> Tensor:
    """Pixels, (B, C, H, W) uint8: patches of colour under noise, which large strides tell apart too.

    Args:
        model: Gives the channels.
        size: Canvas (height, width).
        batch: B.
        seed: Of the pixels.

    Example:
        >>> pixels_for(saccade.create_model("lenet5"), (32, 48), batch=2).shape
        torch.Size([2, 1, 32, 48])
    """
    generator = torch.Generator().manual_seed(seed)
    channels = model.input_spec.channels
    patches = F.interpolate(torch.rand(batch, channels, 5, 5, generator=generator), size=size, mode="bilinear")
    noise = torch.rand(batch, channels, *size, generator=generator)
    return ((0.8 * patches + 0.2 * noise) * 255).to(torch.uint8)


def images_for(model: Model, size: tuple[int, int], batch: int = 2, seed: int = 0) -> Tensor:
    """The pixels of :func:`pixels_for`, normalised: what ``forward`` takes.

    Args:
        model: Gives channels, mean and standard deviation.
        size: Canvas (height, width).
        batch: B.
        seed: Of the pixels.

    Example:
        >>> images_for(saccade.create_model("resnet18"), (32, 48)).shape
        torch.Size([2, 3, 32, 48])
    """
    spec = model.input_spec
    pixels = pixels_for(model, size, batch, seed).float()
    return (pixels - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)


def inputs_for(model: Model, size: tuple[int, int], batch: int = 2) -> dict[str, Tensor]:
    """Further inputs of the network by name, normalised where they are images.

    Args:
        model: Declares them in ``input_names``.
        size: Canvas (height, width).
        batch: B.
    """
    return normalize_inputs(Normalize(model.input_spec), example_inputs(model, size, batch))


def targets_for(
    model: Model,
    size: tuple[int, int],
    objects: Sequence[int],
    examples: Mapping[str, TargetExample] | None = None,
) -> list[dict[str, Tensor]]:
    """Ground truth of the kinds that ``model.target_names`` declares, one mapping an image.

    Args:
        model: Declares the kinds.
        size: Canvas (height, width).
        objects: Number of objects of each image; 0 gives the emptiest ground truth of the kind.
        examples: Functions for further kinds, or in place of those of ``TARGET_EXAMPLES``.

    Raises:
        ConfigError: If there is no example of a kind.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> [target["labels"].tolist() for target in targets_for(model, (64, 64), (3, 0))]
        [[0, 1, 0], []]
    """
    known = {**TARGET_EXAMPLES, **(examples or {})}
    for kind in model.target_names:
        if kind not in known:
            raise ConfigError(
                f"the network learns from '{kind}', of which there is no example.{did_you_mean(kind, known)} Pass one: "
                f"targets={{'{kind}': function of (model, size, objects) that gives a tensor}}."
            )
    return [{kind: known[kind](model, size, count) for kind in model.target_names} for count in objects]


def _boxes(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    height, width = size
    corner = torch.tensor([[0.1, 0.1], [0.5, 0.4], [0.2, 0.6]])[:objects] * torch.tensor([width, height])
    return torch.cat([corner, corner + torch.tensor([width * 0.35, height * 0.35])], dim=1).reshape(-1, 4)


def _labels(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    if set(model.target_names) & set(row_keys()) - {"labels"}:  # one an object
        return torch.arange(len(_boxes(model, size, objects))) % model.num_classes
    return torch.tensor(objects % model.num_classes if model.num_classes else objects)


def _masks(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    """Ellipses that fill their boxes, (N, H, W) uint8."""
    x1, y1, x2, y2 = _boxes(model, size, objects)[:, :, None, None].unbind(1)
    y, x = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    across, down = (2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1)
    return (across.square() + down.square() <= 1).to(torch.uint8)


def _keypoints(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    steps = torch.linspace(0.2, 0.8, _points(model))
    if "boxes" in model.target_names:  # along a diagonal of each box
        boxes = _boxes(model, size, objects)[:, None]
        along = boxes[..., :2] + steps[:, None] * (boxes[..., 2:] - boxes[..., :2])
        return torch.cat([along, torch.full_like(along[..., :1], 2.0)], dim=2)
    visible = torch.full_like(steps, 2.0 if objects else 0.0)
    return torch.stack([steps * size[1], steps.flip(0) * size[0], visible], dim=1)[None]


def _points(model: Model) -> int:
    """Points an object: the classes where the task counts them so, else as many as the network predicts."""
    shapes = {key.removesuffix("?"): shape for key, shape in get_task(model.task).decoded.items()}
    if "C" in shapes.get("keypoints", "C"):
        return model.num_classes
    size = model.input_spec.size
    with torch.no_grad():
        return model.predict(images_for(model, size, 1), **inputs_for(model, size, 1))["keypoints"].shape[2]


def _label_map(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    label_map = torch.arange(size[0] * size[1]).reshape(size) // 97 % max(model.num_classes, 2)
    label_map[:8] = IGNORE_LABEL
    return label_map if objects else torch.full(size, IGNORE_LABEL)


def _target_image(model: Model, size: tuple[int, int], objects: int) -> Tensor:
    return pixels_for(model, size, 1, seed=3 + objects)[0].permute(1, 2, 0)


# By kind of ground truth, so that a new task needs no row here.
TARGET_EXAMPLES: dict[str, TargetExample] = {
    "boxes": _boxes,
    "labels": _labels,
    "masks": _masks,
    "keypoints": _keypoints,
    "label_map": _label_map,
    "target_image": _target_image,
}
