"""CycleGAN on photographs of Yosemite in summer and winter."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe

__all__ = ["cyclegan_summer2winter"]


@recipe
def cyclegan_summer2winter() -> TrainConfig:
    """CycleGAN of half the paper's width at 128 pixels: six residual blocks, batches of one pair.

    The paper's optimiser, weights and augmentation (a crop of 128 from 143 pixels, mirrored half of the time), an epoch
    as many pairs as the larger domain has images. Of the paper's 100 epochs at the full rate and 100 to zero there are
    9, and as many more to zero as fit into 20 minutes. ``samples/`` in the run folder shows test images after each
    epoch: A, A to B, A to B to A, and likewise B.

    Measured by ``examples/cycle_or_not.py``, which trains with these settings, on one thread of an Intel Xeon with AMX
    beside other programs: 16 epochs, what comes back of test images differs by 0.082 (A) and 0.091 (B) of the range of
    values.

    Example:
        >>> config = cyclegan_summer2winter()
        >>> config.schedule.name, config.schedule.constant_epochs, config.max_minutes
        ('linear', 9.0, 20.0)
    """
    return TrainConfig(
        model="cyclegan_resnet6",
        model_args={"base_channels": 32, "discriminator_channels": 32},
        data=DataConfig(source="summer2winter", train="train", val=None, test="test", size=(128, 128), batch_size=1),
        augment=AugmentConfig(flip=0.5, scale=(143 / 128, 143 / 128), translate=7.5 / 128),
        optimizer=OptimizerConfig(name="adam", lr=2e-4, betas=(0.5, 0.999)),
        schedule=ScheduleConfig(name="linear", constant_epochs=9.0),
        epochs=40,
        max_minutes=20.0,
        channels_last=False,  # instance normalisation copies maps that lie so
    )
