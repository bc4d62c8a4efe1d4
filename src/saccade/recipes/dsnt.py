"""DSNT on faces."""

from __future__ import annotations

from saccade.data.augment import AugmentConfig
from saccade.engine.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe

__all__ = ["dsnt_faces"]


@recipe
def dsnt_faces() -> TrainConfig:
    """DSNT over ResNet-18 on 80 faces with 68 points, scored once on 20 faces.

    A mean face in the same box is printed beside it.
    """
    return TrainConfig(
        model="dsnt",
        model_args={"backbone": "resnet18"},
        data=DataConfig(
            source="facial_keypoints_68", train="training", val=None, test="test", size=(64, 64), batch_size=8
        ),
        augment=AugmentConfig(
            flip=0.5, degrees=30.0, translate=0.15, scale=(0.7, 1.4), hsv=(0.02, 0.6, 0.4), brightness=0.3, contrast=0.4
        ),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=2.0),
        ema=EmaConfig(decay=0.995, warmup_steps=100.0),
        epochs=110,
    )
