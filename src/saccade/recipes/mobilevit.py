"""MobileViT on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["mobilevit_s_imagenet"]


@recipe
def mobilevit_s_imagenet() -> TrainConfig:
    """MobileViT-S as its authors train it on ImageNet (Mehta and Rastegari 2022, section 4.1); not run by us.

    AdamW, 300 epochs, batches of 1024, weight decay 0.01, a rate that rises to 0.002 in 3,000 iterations and falls to
    0.0002 by a cosine, label smoothing 0.1, Inception's crop and mirrors, an average of the weights with decay 0.9995,
    canvases of 160 to 320 pixels (section 3.2). The paper makes batches of small images larger; here all are of one
    size. Reported: 78.4 %.

    Example:
        >>> config = mobilevit_s_imagenet()
        >>> config.augment.multiscale, config.augment.multiscale_every
        ((160, 192, 256, 288, 320), 1)
    """
    return imagenet(
        "mobilevit_s",
        epochs=300,
        batch_size=1024,
        optimizer=OptimizerConfig(name="adamw", lr=2e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=2.4, final_factor=0.1),
        augment=AugmentConfig(
            resized_crop=(0.08, 1.0), flip=0.5, multiscale=(160, 192, 256, 288, 320), multiscale_every=1
        ),
        label_smoothing=0.1,
        ema=EmaConfig(decay=0.9995),
    )
