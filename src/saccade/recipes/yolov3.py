"""YOLOv3 on COCO: the authors' own settings; and YOLOv3-tiny for a small machine."""

from __future__ import annotations

from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["tiny_yolo_bccd", "yolov3_coco", "yolov3_tiny_bccd", "yolov3_tiny_spp_bccd"]


@recipe
def yolov3_coco() -> TrainConfig:
    """YOLOv3 on COCO with the settings of the authors' configuration; not run by us.

    500,200 updates of 64 images, of which the rate falls to a tenth at 400,000 and 450,000, in epochs of the 117,266
    images with objects; every ten of them another canvas. They begin with a Darknet-53 trained on ImageNet:
    ``weights`` takes a checkpoint of one.

    Example:
        >>> config = yolov3_coco()
        >>> config.epochs, config.nominal_batch, config.augment.multiscale[-1]
        (273, 64, 608)
    """
    return TrainConfig(
        model="yolov3",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=16),
        augment=AugmentConfig(
            flip=0.5,
            translate=0.15,
            scale=(0.7, 1.3),
            hsv=(0.1, 0.5, 0.5),
            multiscale=tuple(range(320, 609, 32)),
            multiscale_every=40,  # steps, four an update
        ),
        optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(
            name="step", milestones=(218.3, 245.6), gamma=0.1, warmup_epochs=0.55, warmup_power=4.0
        ),
        nominal_batch=64,
        epochs=273,
        evaluate_every=10,
    )


def tiny_yolo_bccd(model: str, **options: Any) -> TrainConfig:
    """A tiny YOLO with anchors on blood cells: what recipes of that data share, and as many epochs for each network.

    Args:
        model: Builder name.
        options: Arguments of the builder.

    Example:
        >>> config = tiny_yolo_bccd("yolov3_tiny", spp=True)
        >>> config.model_args, config.epochs
        ({'spp': True}, 45)
    """
    return bccd(model, epochs=45, last_epochs=(18, 8), model_args=options)


@recipe
def yolov3_tiny_bccd() -> TrainConfig:
    """YOLOv3-tiny on blood cells (BCCD), from scratch, with the loss and anchors of its authors.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72): AP50 0.880,
    AP 0.497, AP75 0.522, in float32 on one thread of an Intel Xeon at 2.5 GHz.

    Example:
        >>> config = yolov3_tiny_bccd()
        >>> config.model, config.data.size, config.model_args
        ('yolov3_tiny', (256, 320), {})
    """
    return tiny_yolo_bccd("yolov3_tiny")


@recipe
def yolov3_tiny_spp_bccd() -> TrainConfig:
    """YOLOv3-tiny with pyramid pooling on blood cells (BCCD); all else as in ``yolov3_tiny_bccd``.

    AP50 0.874, AP 0.490, AP75 0.506, in float32 on one thread of an Intel Xeon at 2.5 GHz.

    Example:
        >>> yolov3_tiny_spp_bccd().model_args
        {'spp': True}
    """
    return tiny_yolo_bccd("yolov3_tiny", spp=True)
