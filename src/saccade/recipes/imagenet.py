"""Shared settings of recipes on ImageNet. The recipes themselves stand in the file of their network."""

from __future__ import annotations

from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig

__all__ = ["imagenet", "transformer_augment"]


def transformer_augment() -> AugmentConfig:
    """Augmentation of Swin and ConvNeXt (after Touvron et al. 2021, DeiT, table 9).

    RandAugment 9, random erasing, and for every image mixup (alpha 0.8) or CutMix (alpha 1), half of the time each.
    The spread of 0.5 that the authors give RandAugment's magnitude is not expressed here.

    Example:
        >>> augment = transformer_augment()
        >>> augment.policy, augment.mixup, augment.erase
        ('randaugment', 0.5, 0.25)
    """
    return AugmentConfig(
        resized_crop=(0.08, 1.0), flip=0.5, policy="randaugment", mixup=0.5, mixup_alpha=0.8, cutmix=1.0, erase=0.25
    )


def imagenet(
    model: str,
    epochs: int,
    batch_size: int,
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    augment: AugmentConfig | None = None,
    label_smoothing: float = 0.0,
    **fields: Any,
) -> TrainConfig:
    """Configuration of a run on ImageNet-1K, with the crop and mirror that all papers after 2014 train with.

    Args:
        model: Builder name.
        epochs: Passes over the 1.28 million images.
        batch_size: Images a batch and process; the learning rate is for this batch in one process.
        optimizer: Optimiser, with the paper's rate.
        schedule: Schedule of the rate, with the paper's warm-up.
        augment: Augmentation, in place of Inception's crop (Szegedy et al. 2015, section 6) and mirror.
        label_smoothing: Share of the target spread over all classes (Szegedy et al. 2016, section 7).
        **fields: Further fields of the configuration.

    Example:
        >>> sgd = OptimizerConfig(name="sgd", lr=0.1, momentum=0.9)
        >>> config = imagenet("resnet18", 90, 256, sgd, ScheduleConfig(name="cosine"), label_smoothing=0.1)
        >>> config.data.source, config.phases[0].model
        ('imagenet', {'label_smoothing': 0.1})
    """
    config = TrainConfig(
        model=model,
        data=DataConfig(source="imagenet", train="train", val="val", batch_size=batch_size),
        augment=augment or AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5),
        optimizer=optimizer,
        schedule=schedule,
        epochs=epochs,
        **fields,
    )
    if label_smoothing > 0:
        config.phases = (Phase(from_epoch=0, model={"label_smoothing": label_smoothing}), *config.phases)
    return config
