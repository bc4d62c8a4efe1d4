"""CenterNet on COCO: the paper's own settings; and a run for a small machine."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["centernet_r18_bccd", "centernet_resnet18_coco"]


@recipe
def centernet_resnet18_coco() -> TrainConfig:
    """CenterNet over ResNet-18 as the paper trains it on COCO (Zhou et al. 2019, section 5); not run by us.

    The backbone begins with ImageNet's weights. A step has 128 images: with eight processes set ``data.batch_size`` to
    16.

    Example:
        >>> config = centernet_resnet18_coco()
        >>> config.epochs, config.schedule.milestones
        (140, (90.0, 120.0))
    """
    return TrainConfig(
        model="centernet_resnet18",
        weights="resnet18/imagenet",
        data=DataConfig(source="coco", train="train2017", val="val2017", batch_size=128),
        augment=AugmentConfig(flip=0.5, translate=0.25, scale=(0.77, 1.67), hsv=(0.0, 0.4, 0.4), contrast=0.4, fill=0),
        optimizer=OptimizerConfig(name="adam", lr=5e-4, weight_decay=0.0),
        schedule=ScheduleConfig(name="step", milestones=(90.0, 120.0), gamma=0.1),
        epochs=140,
        evaluate_every=5,
    )


@recipe
def centernet_r18_bccd() -> TrainConfig:
    """CenterNet over ResNet-18 on blood cells (BCCD), from scratch, with the images and epochs of ``yolox_tiny_bccd``.

    Trains on train + val (292 images); the last EMA weights are scored once on test (72). Transposed convolutions have
    64 channels instead of 256: three classes in images of 256 x 320 pixels need no more, and the run takes its time in
    the backbone. AP50 0.811, AP 0.464, AP75 0.487 (``docs/results/compare_detectors.md``), in float32 on one thread of
    an Intel Xeon at 2.5 GHz.

    Example:
        >>> config = centernet_r18_bccd()
        >>> config.data.size, config.epochs
        ((256, 320), 36)
    """
    return bccd("centernet", model_args={"backbone": "resnet18", "neck_channels": 64})
