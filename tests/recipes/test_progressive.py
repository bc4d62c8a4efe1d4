"""Progressive learning: the paper's phases, and that a run really goes through them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.engine.small import Digits, SmallNet

from saccade.data.transforms.config import AugmentConfig
from saccade.engine.train.config import DataConfig, OptimizerConfig, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.phases import resolve_phases, settings_at
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier
from saccade.models.registry import create_model
from saccade.recipes.progressive import progressive_phases


def test_values_are_those_of_table_6() -> None:
    phases = progressive_phases(
        350, (128, 380), magnitude=(5, 20), mixup_alpha=(0.0, 0.2), dropout=(0.1, 0.4)
    )  # EfficientNetV2-M
    assert [phase.from_epoch for phase in phases] == [0, 87, 175, 262]
    assert [phase.size for phase in phases] == [(128, 128), (212, 212), (296, 296), (380, 380)]
    assert [phase.augment["policy_magnitude"] for phase in phases] == [5, 10, 15, 20]
    assert [phase.augment["mixup"] for phase in phases] == [0.0, 1.0, 1.0, 1.0]
    assert [phase.augment["mixup_alpha"] for phase in phases[1:]] == pytest.approx([0.2 / 3, 0.4 / 3, 0.2])
    assert [phase.model["dropout_rate"] for phase in phases] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_settings_not_given_stay_those_of_the_run() -> None:
    phases = progressive_phases(8, (32, 61), count=2, multiple=8)
    assert [phase.size for phase in phases] == [(32, 32), (64, 64)]
    assert all(not phase.augment and not phase.model for phase in phases)
    for wrong in (1, 9):
        with pytest.raises(ConfigError, match="an epoch each"):
            progressive_phases(8, (32, 64), count=wrong)


def test_the_engine_holds_each_phase_in_its_epochs() -> None:
    config = TrainConfig(
        model="efficientnet_v2_s",
        augment=AugmentConfig(policy="randaugment"),
        epochs=8,
        phases=progressive_phases(8, (128, 300), magnitude=(5, 15), dropout=(0.1, 0.3)),
    )
    with torch.device("meta"):
        model = create_model(config.model)
    phases = resolve_phases(config, model)
    found = [settings_at(config, phases, epoch, 8) for epoch in (0, 2, 7)]
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
        phases=progressive_phases(4, (8, 14), dropout=(0.0, 0.3), multiple=2),
        out=str(tmp_path),
    )
    fit(config, model=model, data=Datasets(Digits("train", 32)))
    assert [size for size, _ in model.seen] == [8, 8, 10, 10, 12, 12, 14, 14]
    assert [rate for _, rate in model.seen[::2]] == pytest.approx([0.0, 0.1, 0.2, 0.3])
