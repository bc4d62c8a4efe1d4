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

    Measured: ``saccade train --recipe dsnt_faces`` with OMP_NUM_THREADS=1 on a loaded machine: NME 0.132, the mean face
    0.174, 9 minutes; on the training faces about 0.05. The aim, half of the mean face's error, is missed: eighty faces
    are learnt but not enough is known of others. Stronger augmentation on a 64-pixel canvas over 110 epochs gave 0.145.
    """
    return TrainConfig(
        model="dsnt",
        model_args={"backbone": "resnet18", "output_stride": 16},
        data=DataConfig(
            source="facial_keypoints_68", train="training", val=None, test="test", size=(160, 160), batch_size=8
        ),
        augment=AugmentConfig(
            flip=0.5,
            degrees=30.0,
            translate=0.1,
            scale=(0.75, 1.35),
            hsv=(0.015, 0.4, 0.3),
            brightness=0.2,
            contrast=0.3,
        ),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=2.0),
        ema=EmaConfig(decay=0.995, warmup_steps=100.0),
        epochs=240,
    )
