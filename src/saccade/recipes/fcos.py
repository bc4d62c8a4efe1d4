"""FCOS on COCO: the paper's own settings; and a run for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, FreezeConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["fcos_r18_bccd", "fcos_resnet50_fpn_coco"]


@recipe
def fcos_resnet50_fpn_coco() -> TrainConfig:
    """FCOS over ResNet-50 as the paper trains it on COCO (Tian et al. 2019, section 4); not run by us.

    90,000 steps of 16 images, a tenth of the learning rate from step 60,000 and again from 80,000. The backbone begins
    with ImageNet's weights: give a file of ``resnet50`` as ``weights``. Its stem, first stage and BatchNorm stay as
    they are. With eight processes set ``data.batch_size`` to 2. Points are the paper's; centre sampling, GIoU and the
    centre-ness beside the box branch are the improvements of its table 3.

    Example:
        >>> config = fcos_resnet50_fpn_coco()
        >>> config.epochs, config.schedule.milestones, config.model_args
        (12, (8.0, 11.0), {'points': 'middle'})
    """
    return TrainConfig(
        model="fcos_resnet50_fpn",
        model_args={"points": "middle"},
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=16),
        augment=AugmentConfig(flip=0.5),
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", warmup_epochs=0.07, milestones=(8.0, 11.0), gamma=0.1),
        freeze=FreezeConfig(trainable="last:3", batch_norm="frozen_all"),
        epochs=12,
    )


@recipe
def fcos_r18_bccd() -> TrainConfig:
    """FCOS over ResNet-18 on blood cells (BCCD), from scratch, with the images and epochs of ``yolox_tiny_bccd``.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Pyramid and head have 96
    channels, as many as the head of YOLOX-Tiny.

    On a canvas of 256 x 320 pixels half the longer side of red cells is 22 to 33 pixels, of white ones 31 to 65, and of
    platelets 8 to 15 (nine tenths of each). The paper's ranges would have nearly all of them on the finest level; with
    a first limit of 48 red cells and platelets stay there, and white cells belong to the next.

    Measured: ``saccade train --recipe fcos_r18_bccd`` on one thread of an AMD EPYC without bf16 that other programs
    loaded as well: AP50 0.900, AP 0.609 (0.898 and 0.600 when distances began at 0, not at two strides).

    Example:
        >>> config = fcos_r18_bccd()
        >>> config.data.size, config.epochs, config.model_args["ranges"]
        ((256, 320), 36, (48.0, 96.0, 192.0, 384.0))
    """
    return bccd("fcos", model_args={"backbone": "resnet18", "channels": 96, "ranges": (48.0, 96.0, 192.0, 384.0)})
