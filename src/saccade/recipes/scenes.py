"""Landscape photographs (``intel_scenes``): small runs that show what a network of the line learns in minutes.

Runs train on 600 photographs and are scored on 120, once, with the last averaged weights. Settings are the same for
every network unless a recipe states others; none was chosen by a score on the 120.
"""

from __future__ import annotations

from typing import Any

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, Phase, ScheduleConfig, TrainConfig
from saccade.recipes import recipe

__all__ = ["darknet19_scenes", "resnet18_scenes", "scenes"]


def scenes(model: str, size: int = 96, lr: float = 2e-3, minutes: float | None = 5.0, **fields: Any) -> TrainConfig:
    """Configuration of a run on ``intel_scenes`` from scratch, as long as ``minutes`` allow.

    Args:
        model: Builder name.
        size: Side of the canvas.
        lr: Learning rate of AdamW.
        minutes: Minutes of training; the cosine ends when they do. None trains all epochs.
        **fields: Further fields of the configuration, in place of those here.

    Example:
        >>> config = scenes("vgg11_bn", size=64, minutes=None)
        >>> config.name, config.max_minutes
        ('vgg11_bn_scenes', None)
    """
    settings: dict[str, Any] = {
        "name": f"{model}_scenes",
        "model": model,
        "data": DataConfig(
            source="intel_scenes", train="train", val=None, test="test", size=(size, size), batch_size=32
        ),
        "augment": AugmentConfig(resized_crop=(0.35, 1.0), flip=0.5, hsv=(0.02, 0.4, 0.3)),
        "optimizer": OptimizerConfig(name="adamw", lr=lr, weight_decay=0.05),
        "schedule": ScheduleConfig(name="cosine", warmup_epochs=2.0),
        "ema": EmaConfig(decay=0.995, warmup_steps=100.0),
        "phases": (Phase(from_epoch=0, model={"label_smoothing": 0.1}),),
        "epochs": 200,
        "max_minutes": minutes,
    }
    return TrainConfig(**(settings | fields))


@recipe
def resnet18_scenes() -> TrainConfig:
    """ResNet-18 on 600 landscape photographs at 96 pixels, for five minutes.

    80.8 % (``docs/results/compare_line.md``) on two cores of an AMD EPYC with bf16, 62 epochs. One photograph is 0.8
    points. ``examples/compare_line.py`` gives nine other networks the same time.

    Example:
        >>> config = resnet18_scenes()
        >>> config.data.source, config.max_minutes
        ('intel_scenes', 5.0)
    """
    return scenes("resnet18")


@recipe
def darknet19_scenes() -> TrainConfig:
    """Darknet-19 on 600 landscape photographs at 80 pixels, for five minutes.

    83.3 % on two cores of an AMD EPYC with bf16, 55 epochs: the best of the ten in ``docs/results/compare_line.md``,
    and as the best of ten on 120 photographs a little flattered.
    """
    return scenes("darknet19", size=80)
