"""Progressive learning: the paper's stages, and that a run really goes through them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.engine.small import Digits, SmallNet

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.phases import resolve_stages, settings_at
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier
from saccade.models.registry import create_model
from saccade.recipes.progressive import progressive_stages


def test_values_are_those_of_table_6() -> None:
    stages = progressive_stages(
        350, (128, 380), magnitude=(5, 20), mixup_alpha=(0.0, 0.2), dropout=(0.1, 0.4)
    )  # EfficientNetV2-M
    assert [stage.from_epoch for stage in stages] == [0, 87, 175, 262]
    assert [stage.size for stage in stages] == [(128, 128), (212, 212), (296, 296), (380, 380)]
    assert [stage.augment["policy_magnitude"] for stage in stages] == [5, 10, 15, 20]
    assert [stage.augment["mixup"] for stage in stages] == [0.0, 1.0, 1.0, 1.0]
    assert [stage.augment["mixup_alpha"] for stage in stages[1:]] == pytest.approx([0.2 / 3, 0.4 / 3, 0.2])
    assert [stage.model["dropout_rate"] for stage in stages] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_what_is_not_asked_for_stays_as_the_run_has_it() -> None:
    stages = progressive_stages(8, (32, 61), steps=2, multiple=8)
    assert [stage.size for stage in stages] == [(32, 32), (64, 64)]
    assert all(not stage.augment and not stage.model for stage in stages)
    for wrong in (1, 9):
        with pytest.raises(ConfigError, match="an epoch each"):
            progressive_stages(8, (32, 64), steps=wrong)


def test_the_engine_holds_each_stage_in_its_epochs() -> None:
    config = TrainConfig(
        model="efficientnet_v2_s",
        augment=AugmentConfig(policy="randaugment"),
        epochs=8,
        stages=progressive_stages(8, (128, 300), magnitude=(5, 15), dropout=(0.1, 0.3)),
    )
    with torch.device("meta"):
        model = create_model(config.model)
    stages = resolve_stages(config, model)
    found = [settings_at(config, stages, epoch, 8) for epoch in (0, 2, 7)]
    assert [one.size for one in found] == [(128, 128), (185, 185), (300, 300)]
    assert [one.augment.policy_magnitude for one in found] == [5, 8, 15]
    assert [one.model["dropout_rate"] for one in found] == pytest.approx([0.1, 0.1 + 0.2 / 3, 0.3])
    assert all(one.augment.policy == "randaugment" for one in found)


class Watching(SmallNet):
    """Remembers the canvases it was fed while training, and how much it left out."""

    dropout_rate = Classifier.dropout_rate

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, float]] = []

    def loss(self, images: torch.Tensor, targets: object) -> dict[str, torch.Tensor]:
        self.seen.append((images.shape[2], self.dropout_rate))
        return super().loss(images, targets)  # type: ignore[arg-type]


def test_a_run_sees_growing_images(tmp_path: Path) -> None:
    model = Watching()
    config = TrainConfig(
        data=DataConfig(val=None, batch_size=16, workers=0),
        optimizer=OptimizerConfig(lr=0.01),
        epochs=4,
        stages=progressive_stages(4, (8, 14), dropout=(0.0, 0.3), multiple=2),
        out=str(tmp_path),
    )
    fit(config, model=model, data=Datasets(Digits("train", 32)))
    assert [size for size, _ in model.seen] == [8, 8, 10, 10, 12, 12, 14, 14]
    assert [rate for _, rate in model.seen[::2]] == pytest.approx([0.0, 0.1, 0.2, 0.3])
