"""ResNets on CIFAR-10: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe

__all__ = ["preact_resnet164_cifar10", "resnet110_cifar10"]


def _cifar(model: str) -> TrainConfig:
    """Shared settings: 164 epochs of 390 batches are the 64,000 iterations of both papers."""
    return TrainConfig(
        model=model,
        data=DataConfig(source="cifar10", train="train", val=None, test="test", batch_size=128),
        # Four pixels of padding and a crop of 32 are a shift of up to an eighth of the side.
        augment=AugmentConfig(flip=0.5, translate=0.125, fill=0),
        optimizer=OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, decay_norm_and_bias=True),
        schedule=ScheduleConfig(name="step", milestones=(82.0, 123.0), gamma=0.1, warmup_epochs=1.0),
        epochs=164,
    )


@recipe
def resnet110_cifar10() -> TrainConfig:
    """ResNet-110 on CIFAR-10 (He et al. 2016, section 4.2); not run by us.

    Batches of 128, a rate of 0.1 divided by ten after 32,000 and 48,000 of 64,000 iterations, weight decay 0.0001,
    shifts of up to four pixels and mirrors. The paper trains the first 400 iterations at a rate of 0.01; here the rate
    rises linearly over that time. Reported: 93.57 %.

    Example:
        >>> config = resnet110_cifar10()
        >>> config.model_args, config.schedule.milestones
        ({'shortcut': 'padding'}, (82.0, 123.0))
    """
    config = _cifar("resnet110_cifar")
    config.model_args = {"shortcut": "padding"}
    return config


@recipe
def preact_resnet164_cifar10() -> TrainConfig:
    """Pre-activation ResNet-164 on CIFAR-10 (He et al. 2016, Identity Mappings, appendix); not run by us.

    The settings of ResNet-110, with a lower rate in the first 400 iterations. Reported: 94.54 %.
    """
    return _cifar("preact_resnet164_cifar")
