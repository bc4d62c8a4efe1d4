"""One published file of weights: its address, hash, licence, and what its publisher claims for it.

Rows stand in ``saccade.weights.tables``, one file a family of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.weights.class_lists import CIFAR10, CIFAR100, VOC

__all__ = ["PublishedWeights", "Variant", "timm_imagenet", "torchvision_imagenet"]

_OWN_LISTS = {"cifar10": CIFAR10, "cifar100": CIFAR100, "coco_person": ("", "person"), "voc": VOC}


@dataclass(frozen=True)
class PublishedWeights:
    """Published weights: address, hash, licence, claimed metrics and preprocessing of one file.

    Args:
        builder: Builder of the network.
        name: What ``weights=`` takes: ``imagenet``, ``coco``.
        url: Address of the file.
        layout: Name of its key layout (``saccade.weights.layouts``).
        licence: SPDX identifier of the project that publishes it, and what else binds its use.
        num_classes: Classes of its head that are real (80 of COCO, also where the file has 91 rows).
        class_names_source: List that names the rows of its head; ``coco91`` is COCO by its category ids,
            ``coco_person`` its persons alone, behind the background; ``voc`` VOC's 20 classes behind it.
        claimed: Metrics its publisher states.
        sha256: Full hash, where the publisher gives one.
        sha256_prefix: First digits of it, where that is all the publisher gives.
        preprocessing: Fields of the input spec in which it differs from its builder.
        arguments: Options of the builder that it was trained with, where they are not the default ones.

    Example:
        >>> from saccade.weights import PUBLISHED
        >>> row = PUBLISHED["resnet18/imagenet"]
        >>> row.claimed["ImageNet-1K val top-1"], row.num_classes
        (69.758, 1000)
    """

    builder: str
    name: str
    url: str
    layout: str
    licence: str
    num_classes: int
    class_names_source: Literal["imagenet", "coco", "coco91", "coco_person", "cifar10", "cifar100", "voc"]
    claimed: Mapping[str, float]
    sha256: str | None = None
    sha256_prefix: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """File name in the cache; the builder in front keeps files of two publishers apart."""
        return f"{self.builder}-{self.name}-{self.url.rsplit('/', 1)[1]}"

    def class_names(self) -> tuple[str, ...]:
        """Names of the rows of the file's head; those of ImageNet and COCO from the lists that torchvision carries.

        An empty name stands for a row of no class: the background and the ten ids that COCO never used.

        Example:
            >>> from saccade.weights import PUBLISHED
            >>> PUBLISHED["yolox_s/coco"].class_names()[:3]
            ('person', 'bicycle', 'car')
        """
        if self.class_names_source in _OWN_LISTS:
            return _OWN_LISTS[self.class_names_source]
        from torchvision.models import ResNet18_Weights
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        if self.class_names_source == "imagenet":
            return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
        categories = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
        rows = tuple("" if name in ("__background__", "N/A") else name for name in categories)
        return rows if self.class_names_source == "coco91" else tuple(name for name in rows if name)


@dataclass(frozen=True)
class Variant:
    """How a published file differs from its builder's default: name, options, preprocessing, licence.

    Args:
        name: What ``weights=`` takes.
        arguments: Options of the builder that the file was trained with, where they are not the default ones.
        preprocessing: Fields of the input spec in which the file differs from its builder.
        licence: Licence of the file, where it is not the publisher's usual one.

    Example:
        >>> Variant("imagenet_v2", preprocessing={"crop_fraction": 224 / 232}).arguments
        {}
    """

    name: str = "imagenet"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None


_USUAL = Variant()
_TORCHVISION = "BSD-3-Clause (torchvision); trained on ImageNet-1K, whose own terms apply"
_TIMM = "see the model card at the address (most are Apache-2.0); trained on ImageNet, whose own terms apply"


def torchvision_imagenet(
    builder: str, file: str, top1: float, top5: float, layout: str, variant: Variant = _USUAL
) -> PublishedWeights:
    """Table row of a classifier that torchvision publishes.

    Args:
        builder: Builder of the network.
        file: File name on the server; the digits before ``.pth`` are the first of its sha256.
        top1: Top-1 accuracy on ImageNet-1K's validation images that torchvision states, per cent.
        top5: Top-5 accuracy, likewise.
        layout: Name of the file's key layout.
        variant: How the file differs from the builder's default.

    Example:
        >>> row = torchvision_imagenet("resnet18", "resnet18-f37072fd.pth", 69.758, 89.078, "torchvision ResNet")
        >>> row.file_name, row.sha256_prefix
        ('resnet18-imagenet-resnet18-f37072fd.pth', 'f37072fd')
    """
    return PublishedWeights(
        builder=builder,
        name=variant.name,
        url=f"https://download.pytorch.org/models/{file}",
        layout=layout,
        licence=variant.licence or _TORCHVISION,
        num_classes=1000,
        class_names_source="imagenet",
        claimed={"ImageNet-1K val top-1": top1, "ImageNet-1K val top-5": top5},
        sha256_prefix=file.removesuffix(".pth").rsplit("-", 1)[1],
        preprocessing=variant.preprocessing,
        arguments=variant.arguments,
    )


def timm_imagenet(
    builder: str, model: str, layout: str, top1: float | None = None, variant: Variant = _USUAL
) -> PublishedWeights:
    """Table row of a classifier that timm publishes on the Hugging Face hub, which gives no hash beside the file.

    Args:
        builder: Builder of the network.
        model: Repository under ``timm/``, which is timm's name of the model with its tag.
        layout: Name of the file's key layout.
        top1: Top-1 accuracy on ImageNet-1K's validation images that timm states, per cent; None where we do not know
            it.
        variant: How the file differs from the builder's default.

    Example:
        >>> timm_imagenet("hrnet_w18", "hrnet_w18.ms_in1k", "timm, as named here").url
        'https://huggingface.co/timm/hrnet_w18.ms_in1k/resolve/main/model.safetensors'
    """
    return PublishedWeights(
        builder=builder,
        name=variant.name,
        url=f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors",
        layout=layout,
        licence=variant.licence or _TIMM,
        num_classes=1000,
        class_names_source="imagenet",
        claimed={} if top1 is None else {"ImageNet-1K val top-1": top1},
        preprocessing=variant.preprocessing,
        arguments=variant.arguments,
    )
