"""ResNets for CIFAR, of two public replications, each with the normalisation that its authors trained with.

``cifar10`` and ``cifar100``: https://github.com/chenyaofo/pytorch-cifar-models (BSD-3-Clause), projections in the
shortcuts. Figures and addresses: the table of its README; mean and deviation: the training logs beside it.
``cifar10_padding``: https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause), padded
shortcuts as in the paper. Figures: the errors in the table of its README; mean and deviation: its ``trainer.py``, which
has ImageNet's. Neither project states what the digits in its file names are, so no hash is known: a file is recorded
when it is first downloaded.
"""

from __future__ import annotations

from typing import Literal

from saccade.weights.entry import PublishedWeights

__all__ = ["ROWS"]

_TERMS = "trained on CIFAR, whose terms are not stated"
_PROJECTION = {"mean": (125.307, 122.961, 113.8575), "std": (51.5865, 50.847, 51.255)}
_PADDING = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def _projection(
    layers: int, data: Literal["cifar10", "cifar100"], digits: str, top1: float, top5: float
) -> PublishedWeights:
    site = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet"
    title = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}[data]
    return PublishedWeights(
        builder=f"resnet{layers}_cifar",
        name=data,
        url=f"{site}/{data}_resnet{layers}-{digits}.pt",
        layout="ResNet for CIFAR",
        licence=f"BSD-3-Clause (chenyaofo/pytorch-cifar-models); {_TERMS}",
        num_classes={"cifar10": 10, "cifar100": 100}[data],
        class_names_source=data,
        claimed={f"{title} test top-1": top1, f"{title} test top-5": top5},
        preprocessing=_PROJECTION,
    )


def _padding(layers: int, digits: str, error: float) -> PublishedWeights:
    site = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
    return PublishedWeights(
        builder=f"resnet{layers}_cifar",
        name="cifar10_padding",
        url=f"{site}/resnet{layers}-{digits}.th",
        layout="ResNet for CIFAR",
        licence=f"BSD-2-Clause (akamaster/pytorch_resnet_cifar10); {_TERMS}",
        num_classes=10,
        class_names_source="cifar10",
        claimed={"CIFAR-10 test top-1": round(100 - error, 2)},
        preprocessing=_PADDING,
        arguments={"shortcut": "padding"},
    )


ROWS = (
    _projection(20, "cifar10", "4118986f", 92.60, 99.81),
    _projection(32, "cifar10", "ef93fc4d", 93.53, 99.77),
    _projection(44, "cifar10", "2a3cabcb", 94.01, 99.77),
    _projection(56, "cifar10", "187c023a", 94.37, 99.83),
    _projection(20, "cifar100", "23dac2f1", 68.83, 91.01),
    _projection(32, "cifar100", "84213ce6", 70.16, 90.89),
    _projection(44, "cifar100", "ffe32858", 71.63, 91.58),
    _projection(56, "cifar100", "f2eff4c8", 72.63, 91.94),
    _padding(20, "12fca82f", 8.27),
    _padding(32, "d509ac18", 7.37),
    _padding(44, "014dd654", 6.90),
    _padding(56, "4bfd9763", 6.61),
    _padding(110, "1d1ed7c2", 6.32),
    _padding(1202, "f3b1deed", 6.18),
)
