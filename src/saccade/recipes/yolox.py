"""YOLOX on COCO: the paper's own settings; and runs for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["demo", "yolox_nano_bccd", "yolox_s_coco", "yolox_tiny_bccd"]


@recipe
def yolox_s_coco() -> TrainConfig:
    """YOLOX-S as its authors train it on COCO (Ge et al. 2021, section 2.1); not run by us.

    The learning rate is 0.01 / 64 for each image of the batch, over all processes: with eight processes leave
    ``batch_size`` at 8.

    Example:
        >>> config = yolox_s_coco()
        >>> config.epochs, config.phases[0].augment
        (300, {'mosaic': 0.0, 'mixup': 0.0})
    """
    return TrainConfig(
        model="yolox_s",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=8),
        augment=AugmentConfig(
            mosaic=1.0,
            mixup=1.0,
            flip=0.5,
            degrees=10.0,
            translate=0.1,
            scale=(0.1, 2.0),
            shear=2.0,
            hsv=(0.015, 0.7, 0.4),
            multiscale=tuple(range(480, 801, 32)),
        ),
        optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=ScheduleConfig(
            name="cosine", warmup_epochs=5.0, warmup_power=2.0, final_factor=0.05, flat_epochs=15.0
        ),
        ema=EmaConfig(decay=0.9998, warmup_steps=2000.0),
        phases=(Phase(from_epoch=-15, model={"use_l1": True}, augment={"mosaic": 0.0, "mixup": 0.0}),),
        epochs=300,
        evaluate_every=10,
    )


@recipe
def yolox_tiny_bccd() -> TrainConfig:
    """YOLOX-Tiny on blood cells (BCCD): AP50 0.913 in 5.6 minutes on two cores.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Settings were chosen by a
    run that learnt from train and was scored on val.

    Measured: ``saccade train --recipe yolox_tiny_bccd`` on 2 cores of an Intel Xeon with bf16: AP50 0.913, AP 0.588,
    5.6 minutes. On 2 cores (AVX2, no bf16) that other programs loaded as well: AP50 0.902, AP 0.592, 23.7 minutes.

    Example:
        >>> config = yolox_tiny_bccd()
        >>> config.data.size, config.epochs
        ((256, 320), 36)
    """
    config = bccd("yolox_tiny")
    config.phases[-1].model["use_l1"] = True
    return config


@recipe
def yolox_nano_bccd() -> TrainConfig:
    """YOLOX-Nano on blood cells (BCCD), from scratch; as many epochs as ``yolov3_tiny_bccd``.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72): AP50 0.873, AP 0.512, AP75
    0.536, in float32 on one thread of an Intel Xeon at 2.5 GHz.

    Example:
        >>> yolox_nano_bccd().epochs
        45
    """
    config = bccd("yolox_nano", epochs=45, last_epochs=(18, 8))
    config.phases[-1].model["use_l1"] = True
    return config


@recipe
def demo() -> TrainConfig:
    """YOLOX-Nano with plain instead of depthwise convolutions, on scenes of handwritten digits: ``make demo``.

    Scenes are generated from real handwritten digits; training takes the minutes it is given. It learns from crowded
    scenes, of which each shows more than twice as many digits for the same work, and is scored on ordinary ones.

    Measured: ``saccade demo`` on 2 cores of an Intel Xeon at 2.5 GHz held to AVX2 and float32
    (``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2``): AP50 0.862, AP 0.645 on held-out scenes after 4 epochs, 3.6
    minutes. With AVX-512 in float32 (``make demo``): AP50 0.913, AP 0.705, 5 epochs, 3.4 minutes. Not measured with
    bf16. A step of the depthwise network takes as long and gains less.

    Example:
        >>> config = demo()
        >>> config.model, config.data.source
        ('yolox_nano', 'digit_scenes')
    """
    return TrainConfig(
        model="yolox_nano",
        model_args={"depthwise": False},
        data=DataConfig(source="digit_scenes", train="crowded", val="val", size=(160, 160), batch_size=16),
        augment=AugmentConfig(translate=0.05, scale=(0.8, 1.25), hsv=(0.015, 0.5, 0.3)),
        optimizer=OptimizerConfig(name="adamw", lr=3e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.5, final_factor=0.02),
        ema=EmaConfig(decay=0.998, warmup_steps=300.0),
        clip_norm=10.0,
        epochs=100,
        evaluate_every=4,
    )
