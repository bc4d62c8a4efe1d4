"""Vision Transformer and Swin on ImageNet: the papers' own settings."""

from __future__ import annotations

from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet, transformer_augment

__all__ = ["swin_t_imagenet", "vit_b_16_imagenet"]


@recipe
def vit_b_16_imagenet() -> TrainConfig:
    """ViT-B/16 on ImageNet alone (Dosovitskiy et al. 2021, table 3); not run by us.

    Adam with decoupled weight decay 0.3, batches of 4096, 300 epochs, a rate of 0.003 that rises for 10,000 steps (32
    epochs) and falls by a cosine, dropout 0.1, gradients clipped at norm 1. Reported: 77.91 % at 384 pixels (table 5).

    Example:
        >>> config = vit_b_16_imagenet()
        >>> config.optimizer.weight_decay, config.model_args
        (0.3, {'dropout': 0.1})
    """
    config = imagenet(
        "vit_b_16",
        epochs=300,
        batch_size=4096,
        optimizer=OptimizerConfig(name="adamw", lr=3e-3, weight_decay=0.3),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=32.0),
        clip_norm=1.0,
    )
    config.model_args = {"dropout": 0.1}
    return config


@recipe
def swin_t_imagenet() -> TrainConfig:
    """Swin-T as its authors train it on ImageNet (Liu et al. 2021, appendix A2.1); not run by us.

    AdamW, 300 epochs, 20 of warm-up, batches of 1024, a rate of 0.001, weight decay 0.05, RandAugment, mixup or CutMix,
    random erasing, stochastic depth 0.2, gradients clipped at norm 5. Tables of relative positions are decayed here and
    not there. Reported: 81.3 % (table 1a).

    Example:
        >>> config = swin_t_imagenet()
        >>> config.optimizer.lr, config.clip_norm
        (0.001, 5.0)
    """
    return imagenet(
        "swin_t",
        epochs=300,
        batch_size=1024,
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=20.0, final_factor=0.01),
        augment=transformer_augment(),
        label_smoothing=0.1,
        clip_norm=5.0,
    )
