"""R-CNN on the hundred photographs of PASCAL VOC: three steps, one command."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, Step, TrainConfig
from saccade.recipes import recipe

__all__ = ["rcnn_voc100"]


@recipe
def rcnn_voc100() -> TrainConfig:
    """R-CNN over ResNet-18 on 80 photographs of VOC, scored on 20, with the proposals of selective search.

    Fine-tuning of the network on warped proposals of 64 pixels, a support vector machine a class with hard negatives,
    box regression: one run, which goes on after a kill between or inside the steps (``--resume``). Eighty photographs
    from scratch teach little; the recipe is there to show what the three steps cost. ``--weights`` starts from a
    classifier.

    Measured: ``saccade train --recipe rcnn_voc100`` on one thread of an AMD EPYC with AVX-512 BF16 that other programs
    loaded as well, in 9 minutes and 2 for the proposals: AP50 0.004; regression moves boxes of training from an overlap
    of 0.731 to 0.774.

    Example:
        >>> [(step.name, step.solver) for step in rcnn_voc100().steps]
        [('finetune', 'gradient'), ('svm', 'model'), ('boxes', 'model')]
    """
    still = {"augment.flip": 0.0}  # features are cached of the images as they are
    return TrainConfig(
        model="rcnn",
        model_args={"backbone": "resnet18", "region_size": 64, "context": 4},
        data=DataConfig(source="voc100_multiformat", train="train", val="val", size=(320, 320), batch_size=2),
        augment=AugmentConfig(flip=0.5),
        # Section 2.3: SGD, a tenth of the rate of pre-training.
        optimizer=OptimizerConfig(name="sgd", lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(name="constant"),
        clip_norm=10.0,
        epochs=4,
        evaluate_every=4,
        steps=(Step("finetune"), Step("svm", still, solver="model"), Step("boxes", still, solver="model")),
    )
