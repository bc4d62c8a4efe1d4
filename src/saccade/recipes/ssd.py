"""SSD on PASCAL VOC: the paper's own settings; and SSDLite for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["ssd300_voc", "ssdlite_bccd"]


@recipe
def ssd300_voc() -> TrainConfig:
    """SSD300 as the paper trains it on PASCAL VOC 2007 (Liu et al. 2016, sections 2.2, 3.1 and 3.6); not run by us.

    With expansion, 120,000 steps of 32 images, twice as many as without: 80,000 at the full rate, 20,000 at a tenth,
    20,000 at a hundredth; in epochs of the 5,011 images of trainval. The paper begins with VGG-16 as the Caffe model
    zoo has it, this with torchvision's; fc6 and fc7 are thinned out in the same way. ``data.source`` is where the
    folder of VOC 2007 lies.

    Example:
        >>> config = ssd300_voc()
        >>> config.epochs, config.schedule.milestones
        (766, (511.0, 639.0))
    """
    return TrainConfig(
        model="ssd300_vgg16",
        model_args={"boxes": "voc"},
        weights="vgg16/imagenet",
        data=DataConfig(
            source="VOCdevkit/VOC2007", format="voc", train="trainval", val=None, test="test", batch_size=32
        ),
        augment=AugmentConfig(expand=0.5, iou_crop=1.0, flip=0.5, hsv=(0.05, 0.5, 0.0), brightness=0.125, contrast=0.5),
        optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(name="step", milestones=(511.0, 639.0), gamma=0.1),
        epochs=766,
    )


@recipe
def ssdlite_bccd() -> TrainConfig:
    """SSDLite over MobileNetV3-Small on blood cells (BCCD), from scratch, with the epochs of ``yolox_tiny_bccd``.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Platelets are 20 pixels wide
    on this canvas, so the finest map has stride 8 and default boxes begin at 0.07 of the canvas; four levels to stride
    64 hold the largest cells.

    Measured: ``saccade train --recipe ssdlite_bccd --data.workers 0`` on one thread of an Intel Xeon at 2.5 GHz
    without bf16 that other programs loaded as well: AP50 0.888, AP 0.578.

    Example:
        >>> config = ssdlite_bccd()
        >>> config.data.size, config.epochs, config.model_args["finest_stride"]
        ((256, 320), 36, 8)
    """
    own = {"backbone": "mobilenet_v3_small", "levels": 4, "finest_stride": 8, "scales": (0.07, 0.5)}
    return bccd("ssdlite", lr=2e-3, model_args=own)
