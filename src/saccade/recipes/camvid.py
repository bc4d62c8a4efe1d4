"""Street scenes (CamVid, eleven classes): what a network of the line learns from 53 photographs, from scratch.

Runs train on ``train`` (53 photographs of 360 x 480) and are scored on ``val`` (12), once, with the last averaged
weights; pixels of no class are neither learnt nor scored. Settings are the same for every network unless a recipe
states others; none was chosen by a score on the 12.
"""

from __future__ import annotations

from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig

__all__ = ["BACKBONE", "camvid"]

BACKBONE = "mobilenet_v3_large"
"""The classifier under the networks that take any; it begins without weights."""


def camvid(model: str, *, lr: float = 2e-3, epochs: int = 100, batch_size: int = 4, **fields: Any) -> TrainConfig:
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
        ((192, 256), 'poly', 100)
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
