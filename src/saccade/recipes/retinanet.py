"""RetinaNet on COCO: the paper's own settings; and a run for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import (
    DataConfig,
    FreezeConfig,
    OptimizerConfig,
    Phase,
    ScheduleConfig,
    TrainConfig,
)
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["retinanet_r18_bccd", "retinanet_resnet50_fpn_coco"]


@recipe
def retinanet_resnet50_fpn_coco() -> TrainConfig:
    """RetinaNet over ResNet-50 as the paper trains it on COCO (Lin et al. 2017, section 4.1); not run by us.

    90,000 steps of 16 images, a tenth of the learning rate from step 60,000 and again from 80,000; mirrored images are
    the only augmentation. The backbone begins with ImageNet's weights: give a file of ``resnet50_v1`` as ``weights``.
    Its stem, first stage and BatchNorm stay as they are. With eight processes set ``data.batch_size`` to 2. Anchors are
    positive by overlap alone and boxes learn by smooth L1, as in the paper.

    Example:
        >>> config = retinanet_resnet50_fpn_coco()
        >>> config.epochs, config.schedule.milestones, config.optimizer.lr
        (12, (8.0, 11.0), 0.01)
    """
    return TrainConfig(
        model="retinanet_resnet50_fpn_c5",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=16),
        augment=AugmentConfig(flip=0.5),
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", warmup_epochs=0.07, milestones=(8.0, 11.0), gamma=0.1),
        freeze=FreezeConfig(trainable="last:3", batch_norm="frozen_all"),
        phases=(Phase(from_epoch=0, model={"forced": "none", "smooth_l1_beta": 1.0}),),
        epochs=12,
    )


@recipe
def retinanet_r18_bccd() -> TrainConfig:
    """RetinaNet over ResNet-18 on blood cells (BCCD), from scratch, with the images and epochs of ``yolox_tiny_bccd``.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Pyramid and subnets have 96
    channels, as many as the head of YOLOX-Tiny, and the subnets GroupNorm: without weights of ImageNet plain ones learn
    late (AP50 0.879, AP 0.527 in an earlier run without it).

    On a canvas of 256 x 320 pixels platelets have sides of 15 to 28 pixels, red cells of 42 to 60, white ones of 61 to
    121 (square root of the area, nine tenths of each). The paper's anchors begin at 32 pixels, and 94 % of the
    platelets of the first 60 images overlap none of them by 0.5; here they begin at 16, and 2.5 % overlap none.

    Measured: ``saccade train --recipe retinanet_r18_bccd --data.workers 0`` on one thread of an Intel Xeon at 2.5 GHz
    without bf16 that other programs loaded as well: AP50 0.902, AP 0.579. Again in bf16 on one thread of an AMD EPYC
    with AVX-512 BF16, loaded as well, in 31 minutes: AP50 0.905, AP 0.585. On two threads of that machine with nothing
    beside, an epoch takes 0.43 minutes, all 36 about 16.

    Example:
        >>> config = retinanet_r18_bccd()
        >>> config.data.size, config.epochs, config.model_args["anchor_size"]
        ((256, 320), 36, 16)
    """
    return bccd("retinanet", model_args={"backbone": "resnet18", "channels": 96, "anchor_size": 16, "normalized": True})
