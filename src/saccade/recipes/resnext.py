"""ResNeXt on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["resnext50_imagenet"]


@recipe
def resnext50_imagenet() -> TrainConfig:
    """ResNeXt-50 as its authors train it on ImageNet (Xie et al. 2017, section 4); not run by us.

    Batches of 256, momentum 0.9, weight decay 0.0001, a rate of 0.1 divided by ten three times, Inception's crop.
    Reported: 77.8 % (table 3).
    """
    return imagenet(
        "resnext50_32x4d",
        epochs=100,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(30.0, 60.0, 90.0), gamma=0.1),
    )
