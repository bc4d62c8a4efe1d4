"""DeepLabV3 on PASCAL VOC: the paper's own settings."""

from __future__ import annotations

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, ScheduleConfig, Step, TrainConfig
from saccade.recipes import recipe

__all__ = ["deeplabv3_voc"]


@recipe
def deeplabv3_voc() -> TrainConfig:
    """DeepLabV3 over ResNet-101 as the paper trains it on PASCAL VOC 2012 (section 4.1); not run by us.

    Two steps of 30,000 batches of 16 crops: at output stride 16 on the 10,582 images of the augmented set (VOC's own
    and those of Hariharan et al. 2011, whose list is to lie in ``ImageSets/Segmentation/trainaug.txt``), then at stride
    8 with all BatchNorm frozen on the 2,913 of trainval, after which no labelled image is left to score. Reported: mIoU
    79.77 % on val without the second step, at stride 8, averaged over six scales and mirrored images.

    The paper prints no weight decay; this is ResNet's. Its crops are of images scaled by 0.5 to 2; here the scale comes
    on top of a resize to the canvas, which VOC's 500 pixels nearly are. ``data.source`` is where the folder of VOC 2012
    lies.

    Example:
        >>> config = deeplabv3_voc()
        >>> [(step.name, step.changes["epochs"]) for step in config.steps], config.schedule.power
        ([('stride_16', 45), ('batch_norm_frozen', 165)], 0.9)
    """
    return TrainConfig(
        model="deeplabv3",
        model_args={"backbone": "resnet101", "output_stride": 16, "multi_grid": (1, 2, 4), "norm_momentum": 3e-4},
        weights="resnet101/imagenet",
        data=DataConfig(
            source="VOCdevkit/VOC2012", format="voc", train="trainaug", val="val", size=(513, 513), batch_size=16
        ),
        augment=AugmentConfig(scale=(0.5, 2.0), flip=0.5),
        optimizer=OptimizerConfig(name="sgd", lr=0.007, momentum=0.9, weight_decay=1e-4),
        schedule=ScheduleConfig(name="poly", power=0.9),
        steps=(
            Step("stride_16", {"epochs": 45}),
            Step(
                "batch_norm_frozen",
                {
                    "epochs": 165,
                    "data.train": "trainval",
                    "data.val": None,
                    "optimizer.lr": 0.001,
                    "freeze.batch_norm": "frozen_all",
                    "phases": ({"from_epoch": 0, "model": {"output_stride": 8}},),
                },
            ),
        ),
    )
