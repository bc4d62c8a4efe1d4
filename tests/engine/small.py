"""Small data and networks for the engine's tests: real handwriting, seconds on one core."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.engine.train.setup import Datasets
from saccade.models.base import Decoded, Model, Outputs, Targets
from saccade.models.registry import register_model
from saccade.structures.batch import pad_targets
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample, Target


class Digits:
    """Scikit-learn's 8x8 digit scans as a data set for classification."""

    def __init__(self, split: str, count: int) -> None:
        scans = load_digits()
        start = 0 if split == "train" else 1000
        self.images = np.round(scans.images[start : start + count] * 255 / 16).astype(np.uint8)
        self.labels = scans.target[start : start + count].astype(np.int64)
        self.info = DatasetInfo("digits", "classification", tuple("0123456789"), split)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Sample:
        image = self.images[index][..., None]
        return Sample(image, self.target(index), ImageInfo(index, self.path(index), Geometry.identity((8, 8))))

    def target(self, index: int) -> Target:
        return {"labels": np.asarray(self.labels[index])}

    def path(self, index: int) -> str:
        return f"digit-{index}"


class SmallNet(Model):
    """Convolution, BatchNorm and dropout: everything that makes resuming hard."""

    task = "classification"
    target_names = ("labels",)
    decoded_keys = ("probabilities",)

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_names = tuple("0123456789")
        self.input_spec = InputSpec((8, 8), channels=1, mean=(80.0,), std=(96.0,))
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.stage = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(16, num_classes)
        self.stage_names, self.head_names = ("stem", "stage"), ("head",)
        self.poison = False
        self.builder_name, self.builder_args = "tests.engine.small:small_net", {"num_classes": num_classes}

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.stage(self.stem(images))]

    def forward(self, images: Tensor) -> Outputs:
        return {"logits": self.head(self.features(images)[-1].mean((2, 3)))}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        logits = self.forward(images)["logits"].float()
        value = nn.functional.cross_entropy(logits, pad_targets(targets)["labels"])
        return {"cross_entropy": value * torch.nan if self.poison else value}

    def decode(self, outputs: Outputs) -> Decoded:
        return {"probabilities": outputs["logits"].softmax(1)}


@register_model("classification", "a network of the tests")
def small_net(num_classes: int = 10) -> SmallNet:
    """What a checkpoint of a :class:`SmallNet` builds."""
    return SmallNet(num_classes)


class SmallGan(Model):
    """A generator and a discriminator of 8x8 digits (Goodfellow et al. 2014), two optimisers under the one loop."""

    task = "classification"
    loss_groups = ("generator", "discriminator")

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 1
        self.input_spec = InputSpec((8, 8), channels=1, mean=(127.5,), std=(127.5,))
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        self.generated = 0  # batches of fakes
        self.builder_name, self.builder_args = "small_gan", {}

    def group_parameters(self, group: str) -> Iterable[nn.Parameter]:
        return getattr(self, group).parameters()

    def loss(
        self,
        images: Tensor,
        targets: Targets,
        group: str = "generator",
        shared: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        shared = {} if shared is None else shared
        if "fake" not in shared:
            self.generated += 1
            shared["fake"] = self.generator(torch.randn(len(images), 16, device=images.device))
        fake = shared["fake"]
        if group == "generator":
            return {"generator": nn.functional.softplus(-self.discriminator(fake)).mean()}
        real = nn.functional.softplus(-self.discriminator(images.flatten(1))).mean()
        return {"real": real, "fake": nn.functional.softplus(self.discriminator(fake.detach())).mean()}


def small_config(out: str, **changes: object) -> TrainConfig:
    """A run of seconds; ``changes`` replace its fields."""
    config = TrainConfig(
        name="small",
        model="tests.engine.small:small_net",
        data=DataConfig(source="digits", batch_size=32, workers=0),
        augment=AugmentConfig(translate=0.1, degrees=10.0),
        optimizer=OptimizerConfig(name="adamw", lr=2e-2, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=0.5),
        ema=EmaConfig(decay=0.98, warmup_steps=10.0),
        epochs=4,
        precision="32",
        out=out,
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def small_data(train: int = 320, val: int = 100) -> Datasets:
    return Datasets(Digits("train", train), Digits("val", val))
