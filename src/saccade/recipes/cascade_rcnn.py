"""Cascade R-CNN on a small machine."""

from __future__ import annotations

from saccade.engine.train.config import TrainConfig
from saccade.recipes import recipe
from saccade.recipes.defaults import bccd
from saccade.recipes.faster_rcnn import EPOCHS, SMALL

__all__ = ["cascade_r18_bccd"]


@recipe
def cascade_r18_bccd() -> TrainConfig:
    """Cascade R-CNN over ResNet-18 and a pyramid on blood cells (BCCD), from scratch. Not run yet.

    Everything but the second stage is that of ``fasterrcnn_r18_bccd``, so that the two can be compared: the cascade is
    meant to gain in AP75.

    Example:
        >>> config = cascade_r18_bccd()
        >>> config.model, config.epochs, config.model_args["hidden"]
        ('cascade_rcnn', 24, 256)
    """
    return bccd("cascade_rcnn", epochs=EPOCHS, model_args=dict(SMALL))
