"""The same seed gives the losses it gave before the contracts and rooms were drawn anew (commit fb31826).

Measured there in float32 with one thread; another processor adds up in another order, so the last digits may differ.
The detector's validation loss is that of its BatchNorm statistics since they are warmed up; training does not see them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import subset
from saccade.data.open import open_dataset
from saccade.engine.train.config import TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.setup import Datasets
from saccade.recipes import get_recipe
from saccade.structures.dataset import VisionDataset


def losses(config: TrainConfig, data: VisionDataset, batch_size: int, out: Path) -> list[float]:
    config = replace(
        config,
        precision="32",
        epochs=2,
        out=str(out),
        max_minutes=None,
        data=replace(config.data, workers=0, batch_size=batch_size),
        schedule=replace(config.schedule, warmup_epochs=0.5),
    )
    history = fit(config, data=Datasets(train=data, val=data)).history
    return [row["train/loss"] for row in history] + [history[-1]["val/loss"]]


@pytest.mark.data("mnist")
def test_lenet_on_mnist(tmp_path: Path) -> None:
    found = losses(get_recipe("lenet5_mnist"), subset(open_dataset("mnist", "test"), range(256)), 64, tmp_path)
    assert found == pytest.approx([2.42515087, 1.91579437, 1.63181120], rel=1e-4)


def test_the_detector_of_the_demo(tmp_path: Path) -> None:
    data = DigitScenes("detection", "train", count=16, size=(192, 192))
    demo = get_recipe("demo")
    then = replace(demo, data=replace(demo.data, size=(128, 128)), optimizer=replace(demo.optimizer, lr=2e-3))
    assert losses(then, data, 8, tmp_path) == pytest.approx([11.1888161, 10.8860660, 12.2888], rel=1e-3)
