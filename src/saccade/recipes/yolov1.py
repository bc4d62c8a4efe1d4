"""YOLOv1 on PASCAL VOC: the paper's own settings; and the fast network on a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["yolov1_fast_bccd", "yolov1_voc"]


@recipe
def yolov1_voc() -> TrainConfig:
    """YOLOv1 as its authors train it on PASCAL VOC 2007 (Redmon et al. 2016, section 2.2); not run by us.

    135 epochs with batches of 64: the rate rises slowly to 0.01, and falls to 0.001 after 75 epochs and to 0.0001 after
    105. Images are scaled and moved by up to 20 %, exposure and saturation changed by a factor of up to 1.5. The
    convolutions should come from a classifier (``--weights``); the paper trains their first twenty on ImageNet.

    Example:
        >>> config = yolov1_voc()
        >>> config.epochs, config.schedule.milestones
        (135, (75.0, 105.0))
    """
    return TrainConfig(
        model="yolov1",
        data=DataConfig(
            source="VOCdevkit/VOC2007", format="voc", train="trainval", val=None, test="test", batch_size=64
        ),
        augment=AugmentConfig(flip=0.5, translate=0.2, scale=(0.8, 1.2), hsv=(0.0, 0.5, 0.5)),
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", warmup_epochs=2.0, milestones=(75.0, 105.0)),
        epochs=135,
    )


@recipe
def yolov1_fast_bccd() -> TrainConfig:
    """Fast YOLOv1 with one small hidden layer and BatchNorm on blood cells (BCCD), from scratch: AP50 0.223.

    The grid has 5 x 7 cells. Of the 3,941 objects in train + val 235 share a cell with another, so that no training
    could teach it more than 94 %: crowds are the weakness that the paper names (section 2.4).

    Trains on train + val (292 images); the last EMA weights are scored once on test (72).

    Measured: ``saccade train --recipe yolov1_fast_bccd`` on one thread of an AMD EPYC with AVX-512 BF16, loaded by
    other programs, 24 minutes in bf16: AP50 0.223, AP 0.069; it guesses red cells where they often are.

    Example:
        >>> config = yolov1_fast_bccd()
        >>> config.model, config.model_args["size"], config.model_args["hidden"]
        ('yolov1_fast', (320, 448), (256,))
    """
    config = bccd(
        "yolov1_fast",
        lr=1e-3,
        epochs=45,
        size=(320, 448),
        model_args={"size": (320, 448), "hidden": (256,), "batch_norm": True, "dropout": 0.3},
        # The fully connected layers take one size alone.
        phases=(Phase(from_epoch=-8, augment={"mosaic": 0.0}),),
    )
    # A unit has 35,840 inputs, so that a small step of each adds up to a large one.
    config.optimizer.lr_scale = {"hidden": 0.1}
    return config
