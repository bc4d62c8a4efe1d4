"""Scenes of digits with proposals around their objects and elsewhere: small data for detectors that learn from them."""

from __future__ import annotations

import numpy as np

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import Sample, Target

SIZE = (64, 64)


class ScenesWithProposals:
    """Scenes whose proposals are boxes near each object and boxes anywhere, seeded by the image."""

    def __init__(self, split: str, count: int, near: int = 6, far: int = 12) -> None:
        self.scenes: VisionDataset = DigitScenes("detection", split, count=count, size=SIZE)
        self.info = self.scenes.info
        self.near, self.far = near, far

    def __len__(self) -> int:
        return len(self.scenes)

    def path(self, index: int) -> str:
        return self.scenes.path(index)

    def target(self, index: int) -> Target:
        return self.scenes.target(index)

    def read(self, index: int) -> Sample:
        sample = self.scenes.read(index)
        rng = np.random.default_rng(index)
        objects = sample.target["boxes"].repeat(self.near, axis=0)
        sides = np.tile(objects[:, 2:] - objects[:, :2], 2)
        near = objects + rng.uniform(-0.15, 0.15, objects.shape) * sides
        corner, side = rng.uniform(0, 44, (self.far, 2)), rng.uniform(8, 20, (self.far, 2))
        boxes = np.concatenate((near, np.concatenate((corner, corner + side), axis=1)))
        sample.inputs["proposals"] = boxes.clip(0, 64).astype(np.float32)
        return sample


def small_run(model: str, out: str, **changes: object) -> TrainConfig:
    """A run of seconds; ``changes`` replace its fields."""
    config = TrainConfig(
        name="small",
        model=model,
        data=DataConfig(source="scenes", size=SIZE, batch_size=2, workers=0),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine"),
        ema=EmaConfig(),
        epochs=1,
        precision="32",
        out=out,
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config
