"""DeepLab V1 and V2 on PASCAL VOC: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import (
    DataConfig,
    FreezeConfig,
    OptimizerConfig,
    Phase,
    ScheduleConfig,
    Step,
    TrainConfig,
)
from saccade.recipes import recipe

__all__ = ["deeplabv1_voc", "deeplabv2_voc"]

_IMAGES = 1464  # of VOC 2012's train


def _voc(batch_size: int) -> DataConfig:
    return DataConfig(
        source="VOCdevkit/VOC2012", format="voc", train="train", val="val", size=(513, 513), batch_size=batch_size
    )


def _epochs(steps: int, batch_size: int) -> float:
    return steps * batch_size / _IMAGES


@recipe
def deeplabv1_voc() -> TrainConfig:
    """DeepLab-MSc-LargeFOV over VGG-16 as its authors train it on PASCAL VOC 2012; not run by us.

    Batches of 20, momentum 0.9, weight decay 0.0005, a rate of 0.001 (0.01 in the classifier) divided by ten every
    2,000 steps (Chen et al. 2015, section 5.1), 6,000 steps, on crops of 321; then the branches alone (section 4.3),
    for as long. The authors train on 10,582 images (with SBD), this on 1,464 in as many steps.

    Example:
        >>> config = deeplabv1_voc()
        >>> config.epochs, config.schedule.milestones, [step.name for step in config.steps]
        (82, (27.0, 55.0), ['largefov', 'multi_scale'])
    """
    batch_size = 20
    return TrainConfig(
        model="deeplabv1_largefov",
        model_args={"multi_scale": True},
        weights="vgg16/imagenet",
        data=_voc(batch_size),
        augment=AugmentConfig(flip=0.5, crop=(321, 321)),
        optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4, lr_scale={"fc8": 10.0}),
        schedule=ScheduleConfig(
            name="step", milestones=tuple(float(round(_epochs(steps, batch_size))) for steps in (2000, 4000)), gamma=0.1
        ),
        phases=(Phase(from_epoch=0, size=(321, 321)),),
        epochs=round(_epochs(6000, batch_size)),
        steps=(Step("largefov"), Step("multi_scale", {"freeze.trainable": "head", "optimizer.lr_scale": {}})),
    )


@recipe
def deeplabv2_voc() -> TrainConfig:
    """DeepLabV2 over ResNet-101 with three image sizes as its authors train it on PASCAL VOC 2012; not run by us.

    Batches of 10, momentum 0.9, weight decay 0.0005, a rate of 0.00025 (ten times as much in ASPP) that falls by the
    poly rule of power 0.9 in 20,000 steps, images enlarged 0.5 to 1.5 times, crops of 321, BatchNorm frozen (Chen et
    al. 2018, section 4.1). The paper begins with weights trained on COCO: ``--weights`` should name the file. The
    authors train on 10,582 images (with SBD), this on 1,464 in as many steps; biases of ASPP learn at twenty times the
    rate there, at ten times here.

    Example:
        >>> config = deeplabv2_voc()
        >>> config.schedule.name, config.schedule.power, config.epochs, config.freeze.batch_norm
        ('poly', 0.9, 137, 'frozen_all')
    """
    return TrainConfig(
        model="deeplabv2_resnet101",
        model_args={"scales": (0.75, 0.5)},
        data=_voc(10),
        augment=AugmentConfig(flip=0.5, scale=(0.5, 1.5), crop=(321, 321)),
        optimizer=OptimizerConfig(name="sgd", lr=2.5e-4, momentum=0.9, weight_decay=5e-4, lr_scale={"aspp": 10.0}),
        schedule=ScheduleConfig(name="poly", power=0.9),
        freeze=FreezeConfig(batch_norm="frozen_all"),
        phases=(Phase(from_epoch=0, size=(321, 321)),),
        epochs=round(_epochs(20_000, 10)),
    )
