"""VGG on ImageNet: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["vgg16_imagenet"]


@recipe
def vgg16_imagenet() -> TrainConfig:
    """VGG-16 as its authors train it on ImageNet (Simonyan and Zisserman 2015, section 3.1); not run by us.

    Batches of 256, momentum 0.9, weight decay 0.0005, a rate of 0.01 divided by ten three times in 74 epochs. The crop
    of 224 comes from an image whose shorter side is drawn from 256 to 512 ("scale jittering"): a share of the area of
    (224 / 512)^2 to (224 / 256)^2.
    """
    return imagenet(
        "vgg16",
        epochs=74,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(25.0, 45.0, 60.0), gamma=0.1),
        augment=AugmentConfig(
            resized_crop=((224 / 512) ** 2, (224 / 256) ** 2), resized_crop_aspect=(1.0, 1.0), flip=0.5, pca=0.1
        ),
    )
