"""Faster R-CNN on a small machine: both stages at once, and in the paper's four steps."""

from __future__ import annotations

from typing import Any

from saccade.engine.train.config import Step, TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd

__all__ = ["EPOCHS", "SMALL", "fasterrcnn_r18_bccd", "fasterrcnn_r18_bccd_steps"]

EPOCHS = 24

# Anchors as in ``retinanet_r18_bccd``, for the same reason. A scene has 12 cells on average: 128 regions hold more of
# them than there are.
SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "channels": 64,
    "hidden": 256,
    "anchor_size": 16,
    "proposals": 300,
    "regions": 128,
}


@recipe
def fasterrcnn_r18_bccd() -> TrainConfig:
    """Faster R-CNN over ResNet-18 and a pyramid on blood cells (BCCD), from scratch, both stages at once.

    Data are those of ``retinanet_r18_bccd``; 24 epochs, as the finest map, of stride 4, costs more than all of that
    network's.

    Measured: ``python examples/cascade.py --choices "faster 0.5"``, which trains this recipe, on one thread of an AMD
    EPYC with AVX-512 BF16, loaded by other programs and paused for some minutes: AP50 0.906, AP 0.584, AP75 0.685. On
    two threads of that machine with nothing beside, an epoch takes 0.40 minutes, all 24 about 10.

    Example:
        >>> config = fasterrcnn_r18_bccd()
        >>> config.data.size, config.epochs, config.model_args["anchor_size"]
        ((256, 320), 24, 16)
    """
    return bccd("fasterrcnn", epochs=EPOCHS, model_args=dict(SMALL))


@recipe
def fasterrcnn_r18_bccd_steps() -> TrainConfig:
    """The same detector in the four steps of the paper (Ren et al. 2015, section 3.2), 24 epochs in all.

    Features learn in the first and the second step, each from its own start; in the third and the fourth they are
    fixed. Only the network that the last step leaves is whole: scores of earlier ones say nothing, so that a step is
    scored at its end alone.

    Measured: ``python examples/joint_or_steps.py`` on one thread of an AMD EPYC with AVX-512 BF16 in 11 minutes: AP50
    0.812, AP 0.478, AP75 0.501 (joint 0.906, 0.584, 0.685).

    Example:
        >>> config = fasterrcnn_r18_bccd_steps()
        >>> [(step.name, step.changes["epochs"]) for step in config.steps]
        [('rpn', 8), ('fast_rcnn', 8), ('rpn_shared', 4), ('fast_rcnn_shared', 4)]
    """
    shared = {"epochs": 4, "freeze.trainable": "head"}
    return bccd(
        "fasterrcnn",
        model_args=dict(SMALL),
        last_epochs=(3, 2),
        steps=(
            Step("rpn", {"epochs": 8}),
            Step("fast_rcnn", {"epochs": 8}),
            Step("rpn_shared", shared),
            Step("fast_rcnn_shared", dict(shared)),
        ),
        evaluate_every=8,
    )
