"""Who goes through the whole suite.

One small member of each family. All other builders go through shapes, counts and names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Model
from saccade.models.registry import create_model


@dataclass(frozen=True)
class Member:
    """A builder with options that make it small.

    Args:
        builder: Name in the registry.
        options: Arguments that make it small.
        size: Canvas (height, width) of nearly all tests; a multiple of every stride.
        odd_size: Another canvas that it must take, no multiple of its largest stride.
        exported: Whether it is written for other runtimes too. A further member of a family that has one need not be.
    """

    builder: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    size: tuple[int, int] = (64, 64)
    odd_size: tuple[int, int] = (75, 101)
    exported: bool = True


MEMBERS = (
    Member("lenet5", {"num_classes": 10}, (32, 32), odd_size=(41, 57)),
    Member("lenet5_1998", {"num_classes": 10}, (32, 32), odd_size=(41, 57)),
    Member("resnet18", {"num_classes": 7}),
    Member("resnet50_v1", {"num_classes": 3}),
    # Narrow where the paper's fully connected layers would hold most of the weights; three poolings need the pixels.
    Member("alexnet", {"num_classes": 5, "fc_channels": 32}),
    Member("alexnet_2012", {"num_classes": 5, "fc_channels": 32}, (96, 96), odd_size=(107, 133)),
    Member("vgg11", {"num_classes": 5, "fc_channels": 32}),
    # Large enough that a 3x3 pooling of the last map does not give one value only.
    Member("googlenet", {"num_classes": 5}, (96, 96), exported=False),
    Member("googlenet_bn", {"num_classes": 5}, (96, 96)),
    Member("darknet19", {"num_classes": 4}),
    Member("darknet53", {"num_classes": 4}),
    Member("cspdarknet53", {"num_classes": 4}),
    Member("preact_resnet18", {"num_classes": 4}),
    Member("resnet20_cifar", {"num_classes": 4}, (32, 32), odd_size=(41, 57)),
    Member("resnext50_32x4d", {"num_classes": 4}, exported=False),
    Member("mobilenet_v1_0_25", {"num_classes": 4}),
    Member("mobilenet_v2", {"num_classes": 4}),
    Member("mobilenet_v3_small", {"num_classes": 4}),
    Member("shufflenet_v1_g3", {"num_classes": 4}),
    Member("shufflenet_v2_x0_5", {"num_classes": 4}),
    Member("efficientnet_b0", {"num_classes": 4}),
    Member("efficientnet_v2_b0", {"num_classes": 4}),
    Member("vit_ti_16", {"num_classes": 4, "image_size": 64}),
    Member("swin_t", {"num_classes": 4}),
    Member("convnext_tiny", {"num_classes": 4}),
    Member("mobilevit_xxs", {"num_classes": 4}),
    Member("hrnet_w18_small", {"num_classes": 4}),
    # Focus takes every second pixel, so sides are even.
    Member("yolox_nano", {"num_classes": 2}, odd_size=(70, 102)),
    # 64 million parameters under the same head and decoding: another neck, which compilation captures whole.
    Member("yolox_darknet53", {"num_classes": 2}, odd_size=(70, 102), exported=False),
    Member("unet", {"num_classes": 3, "base_channels": 4}),
    Member("unet_resnet34", {"num_classes": 1}),
    Member("dsnt", {"num_classes": 6, "backbone": "resnet18"}),
    Member("heatmap_regression", {"num_classes": 6, "backbone": "resnet18"}),
)


def build(member: Member) -> Model:
    """The member as if it had been trained: nothing is zero, one, or the identity, and its answers are not empty.

    A fresh network has BatchNorms that do nothing, residual branches that start at zero, flat heatmaps, and detectors
    that are sure to see nothing: comparisons of their answers would hold for nearly any mistake.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(member.builder, **member.options)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.normal_(module.bias, std=0.2)
            elif isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.xavier_uniform_(module.weight)
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):  # layer scale
                nn.init.uniform_(parameter, 0.5, 1.0)
    images = images_for(model, member.size, batch=8, seed=1)
    _take_statistics(model, images)
    _standardize(model, images)
    model.class_names = tuple(f"class {index}" for index in range(model.num_classes))
    return model.eval()


def _take_statistics(model: Model, images: Tensor) -> None:
    """Running statistics halfway to those of these images.

    Signals then neither die nor explode on their way, as they do with others; and halfway, because with exactly these
    a network of random weights makes much of the smallest difference, rounding included.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        model.train()(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def _standardize(model: Model, images: Tensor) -> None:
    """Mean and standard deviation one for what the head's last layers (those with a bias) say of these images.

    For detectors that means scores of all heights and boxes large enough to overlap.
    """

    def rescale(module: nn.Conv2d | nn.Linear, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        assert module.bias is not None
        std, mean = torch.std_mean(output)
        module.weight /= std
        module.bias.copy_((module.bias - mean) / std + 1.0)
        return (output - mean) / std + 1.0

    hooks = [
        module.register_forward_hook(rescale)
        for head in model.head_names
        for module in model.get_submodule(head).modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None
    ]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()


def pixels_for(model: Model, size: tuple[int, int], batch: int, seed: int = 0) -> Tensor:
    """Pixels, (B, C, H, W) uint8: patches of colour under noise, which large strides tell apart too."""
    generator = torch.Generator().manual_seed(seed)
    channels = model.input_spec.channels
    patches = F.interpolate(torch.rand(batch, channels, 5, 5, generator=generator), size=size, mode="bilinear")
    noise = torch.rand(batch, channels, *size, generator=generator)
    return ((0.8 * patches + 0.2 * noise) * 255).to(torch.uint8)


def images_for(model: Model, size: tuple[int, int], batch: int = 2, seed: int = 0) -> Tensor:
    """The same, normalised."""
    spec = model.input_spec
    pixels = pixels_for(model, size, batch, seed).float()
    return (pixels - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)


def _detection(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    height, width = size
    corner = torch.tensor([[0.1, 0.1], [0.5, 0.4], [0.2, 0.6]])[:objects] * torch.tensor([width, height])
    boxes = torch.cat([corner, corner + torch.tensor([width * 0.35, height * 0.35])], dim=1).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.arange(len(boxes)) % model.num_classes}


def _keypoints(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    steps = torch.linspace(0.2, 0.8, model.num_classes)
    visible = torch.full_like(steps, 2.0 if objects else 0.0)
    return {"keypoints": torch.stack([steps * size[1], steps.flip(0) * size[0], visible], dim=1)[None]}


def _segmentation(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    label_map = torch.arange(size[0] * size[1]).reshape(size) // 97 % max(model.num_classes, 2)
    label_map[:8] = 255
    return {"label_map": label_map if objects else torch.full(size, 255)}


def _classification(model: Model, size: tuple[int, int], objects: int) -> dict[str, Tensor]:
    return {"labels": torch.tensor(objects % model.num_classes)}


# A ground truth of each task with so many objects; 0 gives the emptiest ground truth the task knows.
TARGETS: dict[str, Callable[[Model, tuple[int, int], int], dict[str, Tensor]]] = {
    "classification": _classification,
    "detection": _detection,
    "keypoints": _keypoints,
    "segmentation": _segmentation,
}


def targets_for(model: Model, size: tuple[int, int], objects: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """One ground truth an image, with so many objects each."""
    return [TARGETS[model.task](model, size, count) for count in objects]
