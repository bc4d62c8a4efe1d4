"""ConvNeXt on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet, transformer_augment

__all__ = ["convnext_base_finetune_384", "convnext_tiny_imagenet"]


@recipe
def convnext_tiny_imagenet() -> TrainConfig:
    """ConvNeXt-T as its authors train it on ImageNet (Liu et al. 2022, table 5); not run by us.

    AdamW, 300 epochs, 20 of warm-up, batches of 4096, a rate of 0.004, weight decay 0.05, RandAugment 9, mixup or
    CutMix, random erasing, label smoothing 0.1, stochastic depth 0.1, layer scale 1e-6, an average of the weights with
    decay 0.9999. Reported: 82.1 % (table 1). Not expressed here: the spread 0.5 of RandAugment's magnitude.
    """
    return imagenet(
        "convnext_tiny",
        epochs=300,
        batch_size=4096,
        optimizer=OptimizerConfig(name="adamw", lr=4e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=20.0),
        augment=transformer_augment(),
        label_smoothing=0.1,
        ema=EmaConfig(decay=0.9999),
    )


@recipe
def convnext_base_finetune_384() -> TrainConfig:
    """ConvNeXt-B at 384 pixels from its weights of 224 (Liu et al. 2022, table 6, ImageNet-1K); not run by us.

    AdamW, 30 epochs, batches of 512, a rate of 0.00005 that falls by a cosine, weight decay 1e-8, stochastic depth 0.8,
    no mixup, an average of the weights. The rate falls by a factor of 0.7 from each layer to the one below; of the
    third stage three blocks count as one layer. Reported: 85.1 % (table 1). Not expressed here: the spread 0.5 of
    RandAugment's magnitude, and that the authors' code evaluates at 384 without a crop.

    Example:
        >>> config = convnext_base_finetune_384()
        >>> config.data.size, config.optimizer.layer_decay
        ((384, 384), 0.7)
    """
    config = imagenet(
        "convnext_base",
        epochs=30,
        batch_size=512,
        optimizer=OptimizerConfig(name="adamw", lr=5e-5, weight_decay=1e-8, layer_decay=0.7),
        schedule=ScheduleConfig(name="cosine"),
        augment=AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5, policy="randaugment", erase=0.25),
        label_smoothing=0.1,
        ema=EmaConfig(decay=0.9999),
        weights="imagenet",
    )
    config.model_args = {"stochastic_depth": 0.8}
    config.data.size = (384, 384)
    return config
