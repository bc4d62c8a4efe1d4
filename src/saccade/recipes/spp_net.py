"""SPP-Net on the hundred photographs of PASCAL VOC: multi-size training, then the three steps of R-CNN."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, Phase, ScheduleConfig, Step, TrainConfig
from saccade.recipes import recipe

__all__ = ["alternating_sizes", "spp_net_voc100"]


def alternating_sizes(first: tuple[int, int], second: tuple[int, int], epochs: int) -> tuple[Phase, ...]:
    """Multi-size training: whole epochs on one canvas and on another in turn (He et al. 2014, section 2.3).

    Args:
        first: Canvas (height, width) of the first epoch, the third, and so on.
        second: Of the others.
        epochs: How many.

    Example:
        >>> [phase.size for phase in alternating_sizes((224, 224), (192, 192), epochs=3)]
        [(224, 224), (192, 192), (224, 224)]
    """
    return tuple(Phase(from_epoch=epoch, size=second if epoch % 2 else first) for epoch in range(epochs))


@recipe
def spp_net_voc100() -> TrainConfig:
    """SPP-Net over ResNet-18 on 80 photographs of VOC, scored on 20, with the proposals of selective search.

    The first step takes the place of the pre-training that nobody can download here: all layers train, on canvases of
    320 and 256 pixels in turn. Then what lies below the pooling is fixed and the fully connected layers are fine-tuned;
    support vector machines and box regression follow as in R-CNN.

    Measured: ``saccade train --recipe spp_net_voc100`` on one thread of an AMD EPYC with AVX-512 BF16 that other
    programs loaded as well, in 5 minutes, and 2 for the proposals: AP50 0.008; regression moves boxes of training from
    an overlap of 0.655 to 0.698.

    Example:
        >>> config = spp_net_voc100()
        >>> [step.name for step in config.steps], config.steps[1].changes["freeze.trainable"]
        (['layers', 'finetune', 'svm', 'boxes'], 'head')
    """
    fixed = {"freeze.trainable": "head", "freeze.batch_norm": "frozen_all", "phases": (), "epochs": 2}
    still = {"augment.flip": 0.0, "phases": ()}
    return TrainConfig(
        model="spp_net",
        model_args={"backbone": "resnet18", "hidden": 512},
        data=DataConfig(source="voc100_multiformat", train="train", val="val", size=(320, 320), batch_size=2),
        augment=AugmentConfig(flip=0.5),
        optimizer=OptimizerConfig(name="sgd", lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(name="constant"),
        phases=alternating_sizes((320, 320), (256, 256), epochs=4),
        clip_norm=10.0,
        epochs=4,
        evaluate_every=4,
        steps=(
            Step("layers"),
            Step("finetune", fixed),
            Step("svm", still, solver="model"),
            Step("boxes", still, solver="model"),
        ),
    )
