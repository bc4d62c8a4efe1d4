"""ResNet on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["resnet50_imagenet"]


@recipe
def resnet50_imagenet() -> TrainConfig:
    """ResNet-50 as its authors train it on ImageNet (He et al. 2016, section 3.4); not run by us.

    Batches of 256, a rate of 0.1 divided by ten where the error stops falling, which at 600,000 steps in all means
    every 30 epochs. Reported: top-1 77.15 % with ten crops (table 3).

    Example:
        >>> config = resnet50_imagenet()
        >>> config.model, config.data.batch_size, config.optimizer.lr
        ('resnet50_v1', 256, 0.1)
    """
    return imagenet(
        "resnet50_v1",
        epochs=120,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(30.0, 60.0, 90.0), gamma=0.1),
        # The paper crops after a resize of the shorter side to 256..480; Inception's crop came to replace that.
        augment=AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5, pca=0.1),
    )
