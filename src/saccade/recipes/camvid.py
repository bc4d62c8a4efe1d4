"""Street scenes (CamVid, eleven classes): what a network of the line learns from 53 photographs, from scratch.

Runs train on ``train`` (53 photographs of 360 x 480) and are scored on ``val`` (12), once, with the last averaged
weights; pixels of no class are neither learnt nor scored. Settings are the same for every network unless a recipe
states others; none was chosen by a score on the 12. Figures are those of ``python examples/compare_segmenters.py``;
docs/results/compare_segmenters.md says where they were measured.
"""

from __future__ import annotations

from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe

__all__ = [
    "BACKBONE",
    "camvid",
    "deeplabv1_camvid",
    "deeplabv3_camvid",
    "fcn8s_camvid",
    "hrnet_w18_small_camvid",
    "lraspp_camvid",
    "unet_add_camvid",
    "unet_camvid",
    "unetpp_camvid",
]

BACKBONE = "mobilenet_v3_large"
"""The classifier under the networks that take any; it begins without weights."""


def camvid(model: str, *, lr: float = 2e-3, epochs: int = 60, batch_size: int = 4, **fields: Any) -> TrainConfig:
    """Configuration of a segmenter on CamVid from scratch, as the recipes of that data share it.

    Args:
        model: Builder name.
        lr: Learning rate of AdamW; it falls by the poly rule (power 0.9).
        epochs: Epochs; each shows the 53 photographs once.
        batch_size: Images of a step.
        **fields: Further fields of the configuration, ``model_args`` above all, in place of those here.

    Example:
        >>> config = camvid("unet_backbone", model_args={"backbone": "resnet18"})
        >>> config.data.size, config.schedule.name, config.epochs
        ((192, 256), 'poly', 60)
    """
    settings: dict[str, Any] = {
        "model": model,
        "data": DataConfig(
            source="camvid", train="train", val=None, test="val", size=(192, 256), batch_size=batch_size, cache=True
        ),
        "augment": AugmentConfig(flip=0.5, translate=0.1, scale=(0.75, 2.0), hsv=(0.015, 0.4, 0.3)),
        "optimizer": OptimizerConfig(name="adamw", lr=lr, weight_decay=0.01),
        "schedule": ScheduleConfig(name="poly", warmup_epochs=3.0),
        "ema": EmaConfig(decay=0.995, warmup_steps=100.0),
        "clip_norm": 10.0,
        "epochs": epochs,
    }
    return TrainConfig(**(settings | fields))


@recipe
def fcn8s_camvid() -> TrainConfig:
    """FCN-8s, learnt at once rather than in three steps, over MobileNetV3-Large on CamVid: mIoU 0.502.

    Example:
        >>> fcn8s_camvid().model
        'fcn8s'
    """
    return camvid("fcn8s", model_args={"backbone": BACKBONE})


@recipe
def deeplabv1_camvid() -> TrainConfig:
    """DeepLabV1 with a large field of view, over MobileNetV3-Large on CamVid: mIoU 0.393.

    Example:
        >>> deeplabv1_camvid().model
        'deeplabv1'
    """
    return camvid("deeplabv1", model_args={"backbone": BACKBONE, "fc_channels": 256})


@recipe
def deeplabv3_camvid() -> TrainConfig:
    """DeepLabV3 at an output stride of 16, over MobileNetV3-Large on CamVid: mIoU 0.450.

    Example:
        >>> deeplabv3_camvid().model
        'deeplabv3'
    """
    return camvid("deeplabv3", model_args={"backbone": BACKBONE})


@recipe
def lraspp_camvid() -> TrainConfig:
    """LR-ASPP, over MobileNetV3-Large on CamVid: mIoU 0.464.

    Example:
        >>> lraspp_camvid().model
        'lraspp'
    """
    return camvid("lraspp", model_args={"backbone": BACKBONE})


@recipe
def unet_camvid() -> TrainConfig:
    """U-Net, over MobileNetV3-Large on CamVid: mIoU 0.407.

    Example:
        >>> unet_camvid().model
        'unet_backbone'
    """
    return camvid("unet_backbone", model_args={"backbone": BACKBONE, "decoder_channels": (128, 64, 48, 32, 16)})


@recipe
def unet_add_camvid() -> TrainConfig:
    """The same U-Net on CamVid, whose skips are added instead of concatenated: mIoU 0.412.

    Example:
        >>> unet_add_camvid().model_args["merge"]
        'add'
    """
    config = unet_camvid()
    config.model_args["merge"] = "add"
    return config


@recipe
def unetpp_camvid() -> TrainConfig:
    """UNet++ with deep supervision, which can be pruned (``--prune``), over MobileNetV3-Large on CamVid: mIoU 0.530.

    Example:
        >>> unetpp_camvid().model
        'unetpp'
    """
    return camvid("unetpp", model_args={"backbone": BACKBONE, "decoder_channels": (128, 64, 48, 32)})


@recipe
def hrnet_w18_small_camvid() -> TrainConfig:
    """HRNet of the authors' small form on CamVid: mIoU 0.423.

    Example:
        >>> hrnet_w18_small_camvid().model
        'hrnet_w18_small_seg'
    """
    return camvid("hrnet_w18_small_seg")
