"""AlexNet on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["alexnet_2012_imagenet"]


@recipe
def alexnet_2012_imagenet() -> TrainConfig:
    """AlexNet as its authors train it on ImageNet (Krizhevsky et al. 2012, sections 4.1 and 5); not run by us.

    Batches of 128, momentum 0.9, weight decay 0.0005, a rate of 0.01 divided by ten three times in 90 epochs. Images
    are crops of 227 from 256 pixels, mirrored half of the time, and shifted along ImageNet's principal colours. The
    paper lowers the rate when the error stops falling; here that is at fixed epochs. Its crops come from the middle
    square of an image; here from all of it, with the same share of the area of a square of 256.

    Example:
        >>> config = alexnet_2012_imagenet()
        >>> config.model, config.epochs, config.optimizer.lr
        ('alexnet_2012', 90, 0.01)
    """
    share = (227 / 256) ** 2
    return imagenet(
        "alexnet_2012",
        epochs=90,
        batch_size=128,
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(30.0, 60.0, 80.0), gamma=0.1),
        augment=AugmentConfig(resized_crop=(share, share), resized_crop_aspect=(1.0, 1.0), flip=0.5, pca=0.1),
    )
