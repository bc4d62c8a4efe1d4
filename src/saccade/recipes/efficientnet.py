"""EfficientNets on ImageNet: the papers' own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet
from saccade.recipes.progressive import progressive_phases

__all__ = ["efficientnet_b0_imagenet", "efficientnet_v2_s_imagenet"]


def _optimizer() -> OptimizerConfig:
    """RMSProp for the authors' batches of 4096; their eps of 0.001 stands inside the root, torch's outside."""
    return OptimizerConfig(name="rmsprop", lr=0.256, alpha=0.9, momentum=0.9, eps=0.001**0.5, weight_decay=1e-5)


def _schedule() -> ScheduleConfig:
    """Exponential decay: three per cent less every 2.4 epochs."""
    return ScheduleConfig(name="exponential", gamma=0.97, gamma_epochs=2.4, warmup_epochs=5.0)


@recipe
def efficientnet_b0_imagenet() -> TrainConfig:
    """EfficientNet-B0 on ImageNet (Tan and Le 2019, section 5.2); not run by us.

    RMSProp with decay and momentum 0.9, weight decay 0.00001, a rate of 0.256 (for the authors' batches of 4096) that
    falls by 3 % every 2.4 epochs, AutoAugment, stochastic depth 0.2, dropout 0.2; label smoothing 0.1, warm-up and the
    average with decay 0.9999 are those of the authors' code. Reported: 77.1 % (table 2).
    """
    return imagenet(
        "efficientnet_b0",
        epochs=350,
        batch_size=4096,
        optimizer=_optimizer(),
        schedule=_schedule(),
        augment=AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5, policy="autoaugment"),
        label_smoothing=0.1,
        ema=EmaConfig(decay=0.9999),
    )


@recipe
def efficientnet_v2_s_imagenet() -> TrainConfig:
    """EfficientNetV2-S with progressive learning on ImageNet (Tan and Le 2021, section 5.1, table 6); not run by us.

    EfficientNet's optimiser over 350 epochs in four phases: images of 128 to 300 pixels, RandAugment of magnitude 5
    to 15, dropout 0.1 to 0.3, no mixup; stochastic depth 0.2. M and L take ``sizes=(128, 380)``, magnitudes 5 to 20 and
    25, mixup up to 0.2 and 0.5, dropout up to 0.4 and 0.5. Reported: 83.9 % (table 7).

    Example:
        >>> config = efficientnet_v2_s_imagenet()
        >>> [(phase.from_epoch, phase.size) for phase in config.phases if phase.size]
        [(0, (128, 128)), (87, (185, 185)), (175, (243, 243)), (262, (300, 300))]
    """
    return imagenet(
        "efficientnet_v2_s",
        epochs=350,
        batch_size=4096,
        optimizer=_optimizer(),
        schedule=_schedule(),
        augment=AugmentConfig(resized_crop=(0.08, 1.0), flip=0.5, policy="randaugment"),
        label_smoothing=0.1,
        ema=EmaConfig(decay=0.9999),
        phases=progressive_phases(350, sizes=(128, 300), magnitude=(5, 15), dropout=(0.1, 0.3)),
    )
