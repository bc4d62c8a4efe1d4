"""YOLOv2: the paper's own settings, of its classifier too; and the tiny network on a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, Step, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.darknet import darknet19_imagenet
from saccade.recipes.defaults import bccd

__all__ = ["darknet19_448_imagenet", "yolov2_tiny_bccd", "yolov2_voc"]

# K-means (k = 5) on the boxes of BCCD's train + val, found on a canvas of 256 x 320 (mean best IoU 0.85, of COCO's
# 0.66) and scaled by 1.3 with the pictures.
_ANCHORS_BCCD = (((26.5, 25.7), (58.0, 64.6), (70.7, 57.3), (75.7, 73.1), (139.5, 126.0)),)


@recipe
def darknet19_448_imagenet() -> TrainConfig:
    """Darknet-19 for YOLOv2, in two steps: 160 epochs at 224 pixels, then 10 at 448; not run by us.

    Redmon and Farhadi 2017, sections 2 ("high resolution classifier") and 3. The second step has a rate of 0.001. The
    backbone of ``yolov2`` takes the weights: ``--weights runs/darknet19_448_imagenet/best.safetensors``.

    Example:
        >>> config = darknet19_448_imagenet()
        >>> [(step.name, step.changes.get("data.size")) for step in config.steps]
        [('224', None), ('448', (448, 448))]
    """
    config = darknet19_imagenet()
    config.steps = (
        Step("224"),
        Step("448", {"data.size": (448, 448), "optimizer.lr": 1e-3, "epochs": 10}),
    )
    return config


@recipe
def yolov2_voc() -> TrainConfig:
    """YOLOv2 as its authors train it on PASCAL VOC (Redmon and Farhadi 2017, sections 2 and 3); not run by us.

    160 epochs at a rate of 0.001 that falls tenfold after 60 and after 90 epochs. Every ten batches another canvas is
    drawn, a multiple of 32 from 320 to 608 (``augment.multiscale`` and ``multiscale_every``). The backbone starts from
    ``darknet19_448_imagenet`` (``--weights``).

    Example:
        >>> config = yolov2_voc()
        >>> config.augment.multiscale[0], config.augment.multiscale[-1], config.augment.multiscale_every
        (320, 608, 10)
    """
    return TrainConfig(
        model="yolov2",
        data=DataConfig(
            source="VOCdevkit/VOC2007", format="voc", train="trainval", val=None, test="test", batch_size=64
        ),
        augment=AugmentConfig(
            flip=0.5,
            translate=0.2,
            scale=(0.8, 1.2),
            hsv=(0.1, 0.5, 0.5),
            multiscale=tuple(range(320, 609, 32)),
            multiscale_every=10,
        ),
        optimizer=OptimizerConfig(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", warmup_epochs=2.0, milestones=(60.0, 90.0)),
        epochs=160,
    )


@recipe
def yolov2_tiny_bccd() -> TrainConfig:
    """Tiny YOLOv2 on blood cells (BCCD), from scratch, with anchors by k-means on its boxes: AP50 0.845.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Its only map has a stride of
    32 pixels, larger than a platelet of the 256 x 320 pixels that the other networks of the line are given. There it
    reached an AP50 of 0.684 (platelets 0.31, red cells 0.76, white ones 0.98), AP 0.386, in float32 on one thread of
    an Intel Xeon at 2.5 GHz; so it has a larger canvas, of the paper's 416 pixels.

    Measured: ``saccade train --recipe yolov2_tiny_bccd`` on one thread of an AMD EPYC with AVX-512 BF16, loaded by
    other programs, 21 minutes in bf16: AP50 0.845, AP 0.473.

    Example:
        >>> config = yolov2_tiny_bccd()
        >>> config.model, config.data.size, config.model_args["prior_images"]
        ('yolov2_tiny', (320, 416), 1000)
    """
    return bccd(
        "yolov2_tiny",
        size=(320, 416),
        lr=1e-3,
        epochs=45,
        last_epochs=(18, 8),
        # The paper's 12,800 images would be nearly the whole run.
        model_args={"anchors": _ANCHORS_BCCD, "prior_images": 1000},
    )
