"""ShuffleNets on ImageNet: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["shufflenet_v1_imagenet", "shufflenet_v2_imagenet"]


def _shufflenet(model: str) -> TrainConfig:
    """Shared settings: 300,000 iterations of 1024 images are 240 epochs."""
    return imagenet(
        model,
        epochs=240,
        batch_size=1024,
        optimizer=OptimizerConfig(name="sgd", lr=0.5, momentum=0.9, weight_decay=4e-5, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="linear"),
        augment=AugmentConfig(resized_crop=(0.35, 1.0), flip=0.5),
    )


@recipe
def shufflenet_v1_imagenet() -> TrainConfig:
    """ShuffleNet with three groups on ImageNet (Zhang et al. 2018, section 4); not run by us.

    Batches of 1024, a rate of 0.5 that falls linearly to 0 over 300,000 iterations, weight decay 0.00004, milder crops
    than usual. Reported: 67.4 % (table 2).

    Example:
        >>> config = shufflenet_v1_imagenet()
        >>> config.optimizer.lr, config.schedule.name
        (0.5, 'linear')
    """
    return _shufflenet("shufflenet_v1_g3")


@recipe
def shufflenet_v2_imagenet() -> TrainConfig:
    """ShuffleNetV2 x1 on ImageNet with the settings of the first paper (Ma et al. 2018, section 4); not run by us.

    Reported: 69.4 % (table 8).
    """
    return _shufflenet("shufflenet_v2_x1_0")
