"""Settings for data of one's own: what ``train --model NAME --data PATH`` starts from; and those shared by recipes.

They are looked up by builder, then by family (the file of the paper), then by task; a task without a row gets the
plain configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig

__all__ = ["BUILDERS", "DEFAULTS", "FAMILIES", "bccd", "default_settings"]

_SIDE = 32  # of which the sides of a smaller canvas are multiples


def _classification() -> TrainConfig:
    return TrainConfig(
        data=DataConfig(batch_size=32),
        augment=AugmentConfig(flip=0.5, degrees=10.0, translate=0.1, scale=(0.8, 1.25), hsv=(0.01, 0.4, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=1.0),
        ema=EmaConfig(decay=0.999, warmup_steps=200.0),
        epochs=30,
    )


def _detection() -> TrainConfig:
    return TrainConfig(
        data=DataConfig(batch_size=8),
        augment=AugmentConfig(flip=0.5, translate=0.1, scale=(0.6, 1.5), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=1.0, final_factor=0.02),
        ema=EmaConfig(decay=0.9995, warmup_steps=500.0),
        clip_norm=10.0,
        epochs=60,
    )


def _yolox() -> TrainConfig:
    """With mosaic until the last ten epochs, as the paper's one-stage detectors are trained."""
    config = _detection()
    config.augment.mosaic = 0.7
    config.phases = (Phase(from_epoch=-10, augment={"mosaic": 0.0, "mixup": 0.0}),)
    return config


def _ssd_vgg16() -> TrainConfig:
    """With the paper's optimiser: VGG-16 has no BatchNorm, and sees pixels of 0..255."""
    config = _detection()
    config.optimizer = OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4)
    return config


def _segmentation() -> TrainConfig:
    return TrainConfig(
        data=DataConfig(batch_size=4),
        augment=AugmentConfig(flip=0.5, degrees=10.0, scale=(0.7, 1.4), hsv=(0.015, 0.4, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=5e-4, weight_decay=0.01),
        schedule=ScheduleConfig(name="poly", warmup_epochs=1.0),
        ema=EmaConfig(decay=0.999, warmup_steps=200.0),
        epochs=60,
    )


def _saliency() -> TrainConfig:
    """As for segmentation, without rotation: saliency sets mirror, resize and crop (U2-Net, section 4.2)."""
    config = _segmentation()
    config.augment.degrees = 0.0
    return config


def _keypoints() -> TrainConfig:
    return TrainConfig(
        data=DataConfig(batch_size=16),
        augment=AugmentConfig(degrees=20.0, translate=0.1, scale=(0.8, 1.25), hsv=(0.015, 0.4, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=1.0),
        ema=EmaConfig(decay=0.999, warmup_steps=200.0),
        epochs=60,
    )


def _translation() -> TrainConfig:
    """CycleGAN's optimiser and batches of one (section 7.1); constant, then a line to zero."""
    return TrainConfig(
        data=DataConfig(batch_size=1),
        augment=AugmentConfig(flip=0.5, scale=(1.117, 1.117), translate=0.0586),
        optimizer=OptimizerConfig(name="adam", lr=2e-4, betas=(0.5, 0.999)),
        schedule=ScheduleConfig(name="linear", constant_epochs=100.0),
        epochs=200,
        channels_last=False,  # instance normalisation copies maps that lie so
    )


DEFAULTS: dict[str, Callable[[], TrainConfig]] = {
    "classification": _classification,
    "detection": _detection,
    "segmentation": _segmentation,
    "saliency": _saliency,
    "keypoints": _keypoints,
    "translation": _translation,
}
FAMILIES: dict[str, Callable[[], TrainConfig]] = {
    "yolov3": _yolox,
    "yolov4": _yolox,
    "yolov5": _yolox,
    "yolox": _yolox,
}
BUILDERS: dict[str, Callable[[], TrainConfig]] = {"ssd300_vgg16": _ssd_vgg16, "ssd512_vgg16": _ssd_vgg16}


def default_settings(task: str, family: str = "", builder: str = "") -> TrainConfig:
    """A fresh configuration for a network of that name, family and task.

    Example:
        >>> default_settings("detection", "yolox").augment.mosaic, default_settings("detection").augment.mosaic
        (0.7, 0.0)
    """
    make = BUILDERS.get(builder) or FAMILIES.get(family) or DEFAULTS.get(task) or TrainConfig
    return make()


def bccd(
    model: str,
    *,
    size: tuple[int, int] = (256, 320),
    lr: float = 1e-3,
    epochs: int = 36,
    batch_size: int = 8,
    augment: Mapping[str, Any] | None = None,
    last_epochs: tuple[int, int] = (14, 8),
    **fields: Any,
) -> TrainConfig:
    """Configuration of a detector on blood cells (BCCD) from scratch, as the recipes of that data share it.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Small images come first, of
    three quarters of the side, where an epoch costs 0.6 of a full one; the last epochs are as the network is used.

    Args:
        model: Builder name.
        size: Height and width of the canvas.
        lr: Learning rate of AdamW.
        epochs: Epochs.
        batch_size: Images of a step.
        augment: Fields of the augmentation in place of those here.
        last_epochs: How many epochs have the full canvas, and how many of these no mosaic.
        **fields: Further fields of the configuration, ``model_args`` above all, in place of those here.

    Example:
        >>> config = bccd("retinanet", augment={"mosaic": 0.0}, model_args={"backbone": "resnet18"})
        >>> config.augment.mosaic, config.augment.flip, [phase.size for phase in config.phases]
        (0.0, 0.5, [(192, 256), (256, 320), None])
    """
    transforms: dict[str, Any] = {
        "mosaic": 0.5,
        "flip": 0.5,
        "flip_vertical": 0.5,
        "translate": 0.1,
        "scale": (0.75, 1.3),
        "hsv": (0.01, 0.3, 0.2),
    }
    height, width = (-(-side * 3 // 4) for side in size)  # rounded up
    small = (-(-height // _SIDE) * _SIDE, -(-width // _SIDE) * _SIDE)
    settings: dict[str, Any] = {
        "model": model,
        "data": DataConfig(
            source="bccd",
            train="train+val",
            val=None,
            test="test",
            size=size,
            batch_size=batch_size,
            bad_labels="drop",
        ),
        "augment": AugmentConfig(**(transforms | dict(augment or {}))),
        "optimizer": OptimizerConfig(name="adamw", lr=lr, weight_decay=0.05),
        "schedule": ScheduleConfig(name="cosine", warmup_epochs=1.0, final_factor=0.02),
        "ema": EmaConfig(decay=0.998, warmup_steps=300.0),
        "phases": (
            Phase(from_epoch=0, size=small),
            Phase(from_epoch=-last_epochs[0], size=size),
            Phase(from_epoch=-last_epochs[1], augment={"mosaic": 0.0}),
        ),
        "clip_norm": 10.0,
        "epochs": epochs,
    }
    return TrainConfig(**(settings | fields))
