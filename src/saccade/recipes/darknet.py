"""Darknet-19 and Darknet-53 on ImageNet: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["darknet19_imagenet", "darknet53_imagenet"]


def _darknet(model: str) -> TrainConfig:
    return imagenet(
        model,
        epochs=160,
        batch_size=128,
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="poly", power=4.0),
        augment=AugmentConfig(resized_crop=(0.25, 1.0), flip=0.5, degrees=7.0, hsv=(0.1, 0.75, 0.75)),
    )


@recipe
def darknet19_imagenet() -> TrainConfig:
    """Darknet-19 as its authors train it on ImageNet (Redmon and Farhadi 2017, section 3); not run by us.

    160 epochs at 224 pixels, a rate of 0.1 that falls polynomially with power 4, weight decay 0.0005,
    momentum 0.9, crops, rotations and shifts of colour. Ten more epochs at 448 pixels and a rate of 0.001 make the
    network that YOLOv2 starts from: ``--weights runs/darknet19_imagenet/best.safetensors --data.size 448 448
    --optimizer.lr 0.001 --epochs 10``.

    Example:
        >>> config = darknet19_imagenet()
        >>> config.schedule.name, config.schedule.power
        ('poly', 4.0)
    """
    return _darknet("darknet19")


@recipe
def darknet53_imagenet() -> TrainConfig:
    """Darknet-53 on ImageNet: Darknet-19's settings at 256 pixels (Redmon and Farhadi 2018, 2.4); not run by us."""
    return _darknet("darknet53")
