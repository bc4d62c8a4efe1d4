"""YOLOv5 on COCO: the release's own settings; and runs for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd
from saccade.recipes.yolox import demo

__all__ = ["yolov5n_bccd", "yolov5n_digits", "yolov5s_coco"]


@recipe
def yolov5s_coco() -> TrainConfig:
    """YOLOv5s on COCO with the public settings of release 6.1 (from scratch, low augmentation); not run by us.

    An update is of 64 images: whatever the size of a batch, as many are accumulated as come nearest to that. The
    canvas is one size; the release's ``--multi-scale`` is ``augment.multiscale_range 0.5 1.5`` with
    ``augment.multiscale_every 1``.

    Example:
        >>> config = yolov5s_coco()
        >>> config.nominal_batch, config.optimizer.warmup_bias_lr, config.optimizer.warmup_momentum
        (64, 0.1, 0.8)
    """
    return TrainConfig(
        model="yolov5s",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=16, rectangular=True),
        augment=AugmentConfig(mosaic=1.0, flip=0.5, translate=0.1, scale=(0.5, 1.5), hsv=(0.015, 0.7, 0.4)),
        optimizer=OptimizerConfig(
            name="sgd",
            lr=0.01,
            momentum=0.937,
            nesterov=True,
            weight_decay=5e-4,
            warmup_bias_lr=0.1,
            warmup_momentum=0.8,
        ),
        schedule=ScheduleConfig(name="linear", warmup_epochs=3.0, final_factor=0.01),
        ema=EmaConfig(decay=0.9999, warmup_steps=2000.0),
        nominal_batch=64,
        auto_anchor=True,
        epochs=300,
    )


@recipe
def yolov5n_bccd() -> TrainConfig:
    """YOLOv5n on blood cells (BCCD), from scratch, with the settings of ``yolox_tiny_bccd`` but for what is v5's own.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72); as many epochs as
    ``yolov3_tiny_bccd``. AP50 0.897, AP 0.578, AP75 0.659, in float32 on one thread of an Intel Xeon at 2.5 GHz; in
    bf16 on one thread of an AMD EPYC, in 6 minutes, AP50 0.906, AP 0.591, AP75 0.663, and with anchors by k-means on
    the training boxes in place of COCO's 0.893, 0.577, 0.651. On a canvas of 320 x 416: 0.897, 0.557, 0.625, in bf16 on
    one thread of an Intel Xeon with AMX in 8.4 minutes.

    Example:
        >>> config = yolov5n_bccd()
        >>> config.model, config.data.size, config.augment.mosaic
        ('yolov5n', (256, 320), 0.5)
    """
    return bccd("yolov5n", lr=2e-3, epochs=45, last_epochs=(18, 8))


@recipe
def yolov5n_digits() -> TrainConfig:
    """YOLOv5n on crowded scenes of handwritten digits: short, a start for ``saccade tune``.

    Scored on ordinary scenes. Measured by ``examples/tune_digits.py``: fitness 0.072, and 0.128 by the best of 20
    trials.

    Example:
        >>> config = yolov5n_digits()
        >>> config.model, config.data.source, config.epochs
        ('yolov5n', 'digit_scenes', 3)
    """
    config = demo()
    config.model, config.model_args = "yolov5n", {}
    config.optimizer.lr = 1e-3
    config.epochs, config.evaluate_every = 3, 1
    return config
