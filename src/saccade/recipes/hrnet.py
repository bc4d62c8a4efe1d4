"""HRNet on ImageNet: the authors' own settings."""

from __future__ import annotations

from saccade.engine.train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.imagenet import imagenet

__all__ = ["hrnet_w18_imagenet"]


@recipe
def hrnet_w18_imagenet() -> TrainConfig:
    """HRNet-W18 as its authors train it on ImageNet (Wang et al. 2020, appendix); not run by us.

    100 epochs, batches of 256, SGD with Nesterov momentum 0.9, weight decay 0.0001, a rate of 0.1 divided by ten after
    30, 60 and 90 epochs. Reported: 76.8 %.

    Example:
        >>> config = hrnet_w18_imagenet()
        >>> config.optimizer.nesterov, config.schedule.milestones
        (True, (30.0, 60.0, 90.0))
    """
    return imagenet(
        "hrnet_w18",
        epochs=100,
        batch_size=256,
        # The authors' code decays every parameter, norms and biases too.
        optimizer=OptimizerConfig(
            name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, decay_norm_and_bias=True
        ),
        schedule=ScheduleConfig(name="step", milestones=(30.0, 60.0, 90.0), gamma=0.1),
    )
