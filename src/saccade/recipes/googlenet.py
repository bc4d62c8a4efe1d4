"""GoogLeNet on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["googlenet_imagenet"]


@recipe
def googlenet_imagenet() -> TrainConfig:
    """GoogLeNet on ImageNet (Szegedy et al. 2015, sections 5 and 6); not run by us.

    Momentum 0.9, a rate that falls by 4 % every 8 epochs, crops of 8 to 100 % of the area at aspects of 3/4 to 4/3,
    photometric distortion; the auxiliary classifiers weigh 0.3. The paper prints neither batch size nor the first
    rate; 256 and 0.01 are those of the replication that Caffe publishes. Its asynchronous averaging is an average of
    the weights here.

    Example:
        >>> config = googlenet_imagenet()
        >>> config.schedule.gamma, config.schedule.gamma_epochs
        (0.96, 8.0)
    """
    return imagenet(
        "googlenet",
        epochs=250,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=2e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="exponential", gamma=0.96, gamma_epochs=8.0),
        augment=AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5, brightness=0.2, contrast=0.2, hsv=(0.02, 0.3, 0.0)),
        ema=EmaConfig(decay=0.9999),
    )
