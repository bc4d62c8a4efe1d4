"""One published file of weights: where it is, how it is verified, what its publisher says of it.

Rows stand in ``saccade.weights.tables``, one file a family of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["PublishedWeights", "timm_imagenet", "torchvision_imagenet"]


@dataclass(frozen=True)
class PublishedWeights:
    """One published file.

    Args:
        builder: Builder it is for.
        name: What ``weights=`` takes: ``imagenet``, ``coco``.
        url: Where it is.
        layout: Name of the layout it comes in.
        licence: SPDX identifier of the project that publishes it, and what else binds its use.
        num_classes: Classes of its head.
        class_names_source: List its classes are named by.
        claimed: Metrics its publisher states.
        sha256: Full hash, where the publisher gives one.
        sha256_prefix: First digits of it, where that is all the publisher gives.
        preprocessing: Fields of the input spec in which it differs from its builder.
        arguments: Options of the builder that it was trained with, where they are not the default ones.
    """

    builder: str
    name: str
    url: str
    layout: str
    licence: str
    num_classes: int
    class_names_source: Literal["imagenet", "coco"]
    claimed: Mapping[str, float]
    sha256: str | None = None
    sha256_prefix: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Name in the cache; that of two publishers never clashes because the builder stands before it."""
        return f"{self.builder}-{self.name}-{self.url.rsplit('/', 1)[1]}"

    def class_names(self) -> tuple[str, ...]:
        """Names of classes 0..N-1, from the lists that torchvision carries."""
        from torchvision.models import ResNet18_Weights
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        if self.class_names_source == "imagenet":
            return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
        # 91 columns there: the background and ten ids that COCO never used.
        names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
        return tuple(name for name in names if name not in ("__background__", "N/A"))


def torchvision_imagenet(
    builder: str,
    file: str,
    top1: float,
    top5: float,
    layout: str,
    name: str = "imagenet",
    arguments: Mapping[str, Any] | None = None,
    licence: str = "BSD-3-Clause (torchvision); trained on ImageNet-1K, whose own terms apply",
    **preprocessing: Any,
) -> PublishedWeights:
    """A row for a classifier that torchvision publishes.

    Args:
        builder: Builder it is for.
        file: Its name on the server; the digits before ``.pth`` are the first of its sha256.
        top1: Accuracy on ImageNet-1K's validation images that torchvision states, per cent.
        top5: Likewise.
        layout: Name of the layout it comes in.
        name: What ``weights=`` takes.
        arguments: Options of the builder that it was trained with, where they are not the default ones.
        licence: Where it is not torchvision's own.
        **preprocessing: Fields of the input spec in which it differs from its builder.
    """
    return PublishedWeights(
        builder=builder,
        name=name,
        url=f"https://download.pytorch.org/models/{file}",
        layout=layout,
        licence=licence,
        num_classes=1000,
        class_names_source="imagenet",
        claimed={"ImageNet-1K val top-1": top1, "ImageNet-1K val top-5": top5},
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        preprocessing=preprocessing,
        arguments=arguments or {},
    )


def timm_imagenet(
    builder: str,
    model: str,
    layout: str,
    top1: float | None = None,
    name: str = "imagenet",
    arguments: Mapping[str, Any] | None = None,
    **preprocessing: Any,
) -> PublishedWeights:
    """A row for a classifier that timm publishes on the Hugging Face hub, which gives no hash beside the file.

    Args:
        builder: Builder it is for.
        model: Repository under ``timm/``, which is timm's name of the model with its tag.
        layout: Name of the layout it comes in.
        top1: Accuracy on ImageNet-1K's validation images that timm states, per cent; None where we do not know it.
        name: What ``weights=`` takes.
        arguments: Options of the builder that it was trained with, where they are not the default ones.
        **preprocessing: Fields of the input spec in which it differs from its builder.
    """
    return PublishedWeights(
        builder=builder,
        name=name,
        url=f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors",
        layout=layout,
        licence="see the model card at the address (most are Apache-2.0); trained on ImageNet, whose own terms apply",
        num_classes=1000,
        class_names_source="imagenet",
        claimed={} if top1 is None else {"ImageNet-1K val top-1": top1},
        preprocessing=preprocessing,
        arguments=arguments or {},
    )
