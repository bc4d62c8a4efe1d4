"""Who sees which images when several processes train."""

from __future__ import annotations

from types import SimpleNamespace

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.config import DataConfig, TrainConfig
from saccade.engine.train.phases import resolve_phases
from saccade.engine.train.samplers import build_sampler
from saccade.models.registry import create_model


def images_of(rank: int, divided: bool) -> list[int]:
    config = TrainConfig(model="lenet5", data=DataConfig(source="digit_scenes", batch_size=2))
    model = create_model("lenet5")
    data = DigitScenes("classification", "train", count=8, size=(32, 32))
    fabric = SimpleNamespace(global_rank=rank, world_size=2)
    sampler = build_sampler(config, data, resolve_phases(config, model), fabric, model.input_spec, divided=divided)
    sampler.set_epoch(0)
    return [key.index for batch in sampler for key in batch]


def test_processes_divide_the_images_of_a_step_by_gradients() -> None:
    first, second = images_of(0, divided=True), images_of(1, divided=True)
    assert sorted(first + second) == list(range(8))


def test_every_process_sees_all_images_of_a_solved_step_in_one_order() -> None:
    first, second = images_of(0, divided=False), images_of(1, divided=False)
    assert first == second
    assert sorted(first) == list(range(8))
