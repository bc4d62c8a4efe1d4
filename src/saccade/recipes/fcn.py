"""FCN on PASCAL VOC, in the paper's three stages; and these stages on a small machine."""

from __future__ import annotations

from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, Step, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.camvid import BACKBONE, camvid

__all__ = ["fcn8s_camvid_steps", "fcn_voc"]

_PIXELS = 500 * 375  # of an image of VOC


@recipe
def fcn_voc() -> TrainConfig:
    """FCN-32s, -16s and -8s over VGG-16, one after another, as their authors' files were trained; not run by us.

    One image a step, momentum 0.99, and 100,000 steps for each of the three nets at rates of 1e-10, 1e-12 and 1e-14 of
    a loss that is summed over pixels (Shelhamer et al. 2017, arXiv 1605.06211; Long et al. 2015, section 4.2: a
    hundredth of the rate for each new skip). The loss here is their mean, so the rates are these times 187,500, and
    weight decay, 0.0005 beside the sum, is nothing beside the mean. The last upsampling stays bilinear. The authors
    train on 8,498 images of SBD, this on the 1,464 of VOC 2012, in as many steps; their biases learn twice as fast,
    here they learn as all else.

    Example:
        >>> [(step.name, f"{step.changes['optimizer.lr']:.1e}") for step in fcn_voc().steps]
        [('fcn32s', '1.9e-05'), ('fcn16s', '1.9e-07'), ('fcn8s', '1.9e-09')]
    """
    rates = {"fcn32s": 1e-10, "fcn16s": 1e-12, "fcn8s": 1e-14}
    return TrainConfig(
        model="fcn8s_vgg16",
        weights="vgg16/imagenet",
        data=DataConfig(
            source="VOCdevkit/VOC2012", format="voc", train="train", val="val", batch_size=1, val_batch_size=1
        ),
        optimizer=OptimizerConfig(name="sgd", momentum=0.99, lr_scale={"last_upsampling": 0.0}),
        schedule=ScheduleConfig(name="constant"),
        epochs=68,
        steps=tuple(Step(name, {"optimizer.lr": rate * _PIXELS}) for name, rate in rates.items()),
    )


@recipe
def fcn8s_camvid_steps() -> TrainConfig:
    """FCN-8s over MobileNetV3-Large on CamVid in the paper's three stages, 100 epochs in all.

    Rates fall by the poly rule within each step; those of the second and the third begin at a half and a quarter.
    Measured: mIoU 0.483, boundary F 0.361, in seven minutes of one thread of an AMD EPYC with AVX-512 BF16 beside
    another training. Learnt at once (``saccade train --recipe fcn8s_camvid --epochs 100``) they are 0.502 and 0.430, in
    3.4 minutes.

    Example:
        >>> config = fcn8s_camvid_steps()
        >>> [(step.name, step.changes["epochs"]) for step in config.steps], config.augment.flip
        ([('fcn32s', 50), ('fcn16s', 25), ('fcn8s', 25)], 0.5)
    """
    lr = camvid("fcn8s").optimizer.lr
    return camvid(
        "fcn8s",
        model_args={"backbone": BACKBONE},
        steps=(
            Step("fcn32s", {"epochs": 50}),
            Step("fcn16s", {"epochs": 25, "optimizer.lr": lr / 2}),
            Step("fcn8s", {"epochs": 25, "optimizer.lr": lr / 4}),
        ),
    )
