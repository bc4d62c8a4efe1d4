"""MobileNets on ImageNet: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["mobilenet_v1_imagenet", "mobilenet_v2_imagenet", "mobilenet_v3_large_imagenet"]


@recipe
def mobilenet_v1_imagenet() -> TrainConfig:
    """MobileNet on ImageNet (Howard et al. 2017, section 3.2); not run by us.

    The paper names RMSProp, little augmentation and hardly any weight decay, and prints no numbers; these are
    MobileNetV2's.
    """
    return imagenet(
        "mobilenet_v1",
        epochs=200,
        batch_size=96,
        optimizer=OptimizerConfig(name="rmsprop", lr=0.045, alpha=0.9, momentum=0.9, eps=1.0, weight_decay=4e-5),
        schedule=ScheduleConfig(name="exponential", gamma=0.98),
        augment=AugmentConfig(resized_crop=(0.35, 1.0), flip=0.5),
    )


@recipe
def mobilenet_v2_imagenet() -> TrainConfig:
    """MobileNetV2 on ImageNet (Sandler et al. 2018, section 6.1); not run by us.

    RMSProp with decay and momentum 0.9, weight decay 0.00004, a rate of 0.045 that falls by 2 % an epoch, batches of 96
    (in each of the paper's 16 asynchronous workers). Reported: 72.0 % (table 4).

    Example:
        >>> config = mobilenet_v2_imagenet()
        >>> config.optimizer.name, config.optimizer.lr
        ('rmsprop', 0.045)
    """
    # An eps of 1 is that of the authors' code.
    return imagenet(
        "mobilenet_v2",
        epochs=300,
        batch_size=96,
        optimizer=OptimizerConfig(name="rmsprop", lr=0.045, alpha=0.9, momentum=0.9, eps=1.0, weight_decay=4e-5),
        schedule=ScheduleConfig(name="exponential", gamma=0.98),
    )


@recipe
def mobilenet_v3_large_imagenet() -> TrainConfig:
    """MobileNetV3-Large on ImageNet (Howard et al. 2019, section 6.1.1); not run by us.

    RMSProp with decay and momentum 0.9, batches of 4096, a rate of 0.1 that falls by 1 % every 3 epochs, dropout 0.2,
    weight decay 0.00001, an average of the weights with decay 0.9999. Reported: 75.2 % (table 3).
    """
    return imagenet(
        "mobilenet_v3_large",
        epochs=600,
        batch_size=4096,
        optimizer=OptimizerConfig(name="rmsprop", lr=0.1, alpha=0.9, momentum=0.9, eps=0.001**0.5, weight_decay=1e-5),
        schedule=ScheduleConfig(name="exponential", gamma=0.99, gamma_epochs=3.0, warmup_epochs=5.0),
        ema=EmaConfig(decay=0.9999),
    )
