"""YOLOv4 on COCO: the paper's own settings; and YOLOv4-tiny for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.yolov3 import tiny_yolo_bccd

__all__ = ["yolov4_coco", "yolov4_tiny_bccd"]


@recipe
def yolov4_coco() -> TrainConfig:
    """YOLOv4 on COCO as the paper trains it (Bochkovskiy et al. 2020, sections 3.4 and 4.1); not run by us.

    500,500 updates of 64 images, with mosaic and a cosine schedule, at the rate and momentum that the authors found by
    genetic search; in epochs of the 117,266 images with objects. Self-adversarial training, DropBlock and
    cross-mini-batch normalisation are left out. They begin with a CSPDarknet-53 trained on ImageNet: ``weights`` takes
    a checkpoint of one.

    Example:
        >>> config = yolov4_coco()
        >>> config.epochs, config.schedule.name, config.augment.mosaic
        (273, 'cosine', 0.5)
    """
    return TrainConfig(
        model="yolov4",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=8, size=(512, 512)),
        augment=AugmentConfig(
            mosaic=0.5,
            flip=0.5,
            translate=0.15,
            scale=(0.7, 1.3),
            hsv=(0.1, 0.5, 0.5),
            multiscale=tuple(range(320, 609, 32)),
            multiscale_every=80,  # steps, eight an update
        ),
        optimizer=OptimizerConfig(name="sgd", lr=2.61e-3, momentum=0.949, weight_decay=5e-4),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.55, warmup_power=4.0),
        nominal_batch=64,
        epochs=273,
        evaluate_every=10,
    )


@recipe
def yolov4_tiny_bccd() -> TrainConfig:
    """YOLOv4-tiny on blood cells (BCCD), from scratch, with the loss and anchors of its authors.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72); as many epochs as
    ``yolov3_tiny_bccd``. AP50 0.874, AP 0.532, AP75 0.595, in float32 on one thread of an Intel Xeon at 2.5 GHz.

    Example:
        >>> config = yolov4_tiny_bccd()
        >>> config.model, config.epochs
        ('yolov4_tiny', 45)
    """
    return tiny_yolo_bccd("yolov4_tiny")
