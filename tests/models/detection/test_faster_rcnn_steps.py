"""Faster R-CNN in the paper's four steps: what trains in each, what they hand on, a run that is stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.engine.train.callbacks import OnEpoch
from saccade.engine.train.config import DataConfig, EmaConfig, OptimizerConfig, Step, TrainConfig
from saccade.engine.train.fit import fit
from saccade.engine.train.seeding import seed_step
from saccade.engine.train.setup import Datasets
from saccade.errors import ConfigError
from saccade.models.detection.alternating import STEPS
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.registry import create_model
from saccade.recipes import get_recipe
from saccade.structures.batch import pad_targets

SIZE = (64, 64)
STEP_CHANGES = ({}, {}, {"freeze.trainable": "head"}, {"freeze.trainable": "head"})


def build() -> FasterRCNN:
    seed_step(0, -1)
    model = create_model(
        "fasterrcnn",
        num_classes=10,
        backbone="mobilenet_v3_small",
        channels=8,
        hidden=16,
        anchor_size=8,
        proposals=40,
    )
    assert isinstance(model, FasterRCNN)
    return model


@pytest.fixture(scope="module")
def data() -> Datasets:
    return Datasets(DigitScenes("detection", "crowded", count=4, size=SIZE), None)


def settings(out: Path, epochs: int = 1) -> TrainConfig:
    return TrainConfig(
        name="run",
        model="fasterrcnn",
        data=DataConfig(source="digit_scenes", size=SIZE, batch_size=4, workers=0),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05),
        ema=EmaConfig(decay=0.9),
        epochs=epochs,
        steps=tuple(Step(name, dict(changes)) for name, changes in zip(STEPS, STEP_CHANGES, strict=True)),
        out=str(out),
    )


def state_of(model: FasterRCNN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def parts_that_differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name, value in first.items() if not torch.equal(value, second[name])}


class Stopped(Exception):
    pass


def stop_after(epochs: int) -> Callable[[dict[str, float]], None]:
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == epochs:
            raise Stopped

    return on_epoch


def test_each_step_trains_its_own_parts_from_its_own_start(tmp_path: Path, data: Datasets) -> None:
    model = build()
    start = state_of(model)
    begun: dict[str, dict[str, Tensor]] = {}
    proposed: list[bool] = []
    begin, alternation = model.begin, model.alternation

    def watched(step: str, dataset: object) -> None:
        before = state_of(model)
        begin(step, dataset)  # type: ignore[arg-type]
        begun[f"before {step}"], begun[step] = before, state_of(model)
        proposed.append(alternation.proposer is not None)

    model.begin = watched  # type: ignore[method-assign]
    result = fit(settings(tmp_path), model=model, data=data)
    end = state_of(model)
    assert parts_that_differ(start, begun["before fast_rcnn"]) == {"backbone", "neck", "rpn"}
    # The second step: shared layers from their start once more, proposals of the network that the first step left.
    assert parts_that_differ(start, begun["fast_rcnn"]) == {"rpn"}
    assert parts_that_differ(begun["fast_rcnn"], begun["before rpn_shared"]) == {"backbone", "neck", "box_branch"}
    assert proposed == [False, True, False, False]
    assert parts_that_differ(begun["rpn_shared"], begun["before fast_rcnn_shared"]) == {"rpn"}
    assert parts_that_differ(begun["fast_rcnn_shared"], end) == {"box_branch"}
    terms = [
        sorted(name for name in row if name.startswith("train/") and name != "train/loss") for row in result.history
    ]
    first, second = ["train/objectness", "train/rpn_box"], ["train/box", "train/classification"]
    for row, own in zip(terms, (first, second, first, second), strict=True):
        assert {*row} & {*first, *second} == {*own}
    assert model.head_names == build().head_names
    assert model.neck_names == build().neck_names


def test_the_second_step_uses_the_proposals_of_the_first_network(data: Datasets) -> None:
    model = build()
    model.begin("rpn", data.train)
    with torch.no_grad():
        for parameter in model.rpn.parameters():
            parameter.add_(0.1)
        for parameter in model.backbone.parameters():
            parameter.mul_(1.1)
    images = torch.randn(1, 3, *SIZE)
    maps = model.eval().features(images)
    expected = model(images)["proposals"]
    model.begin("fast_rcnn", data.train)
    found = model(images)["proposals"]
    assert not torch.equal(model.features(images)[0], maps[0])  # shared layers start again
    count = expected.shape[1]
    assert found.shape[1] == 2 * count  # as many as training looks at
    assert torch.allclose(found[:, 0], expected[:, 0])
    model.begin("rpn_shared", data.train)
    assert model.alternation.proposer is None


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_four_steps_resume_bit_for_bit(
    tmp_path: Path, data: Datasets, stop: int, unbroken: tuple[Path, list[float]]
) -> None:
    """Stopped after 1: between the steps; after 2: inside of the second; after 3: between it and the third."""
    broken = _uneven(tmp_path)
    with pytest.raises(Stopped):
        fit(broken, model=build(), data=data, callbacks=[OnEpoch(stop_after(stop))])
    resumed = fit(broken, resume=True, model=build(), data=data)
    folder, losses = unbroken
    assert (folder / "best.safetensors").read_bytes() == (resumed.folder / "best.safetensors").read_bytes()
    assert [row["train/loss"] for row in resumed.history] == losses


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, data: Datasets) -> tuple[Path, list[float]]:
    result = fit(_uneven(tmp_path_factory.mktemp("whole")), model=build(), data=data)
    return result.folder, [row["train/loss"] for row in result.history]


def _uneven(out: Path) -> TrainConfig:
    """Two epochs in the second step, one in the others."""
    config = settings(out)
    config.steps = tuple(
        Step(step.name, {**step.changes, "epochs": 1 + (step.name == "fast_rcnn")}) for step in config.steps
    )
    return config


def test_a_step_of_another_name_is_refused(data: Datasets) -> None:
    with pytest.raises(ConfigError, match=r"step 'fast_rcn' of fasterrcnn: its steps are rpn, fast_rcnn.*fast_rcnn"):
        build().begin("fast_rcn", data.train)


def test_vgg16_is_read_at_its_last_convolution() -> None:
    with torch.device("meta"):
        model = create_model("fasterrcnn_vgg16", num_classes=3)
        images = torch.zeros(1, 3, 600, 800)
        (level,) = model.features(images)
        *_, last = model.backbone.features(images)
    assert level.shape == last.shape == (1, 512, 38, 50)
    assert not isinstance(model.backbone.trunk[-1][-1], torch.nn.MaxPool2d)


def test_without_steps_both_stages_train(data: Datasets) -> None:
    model = build()
    model.begin("", data.train)
    targets = pad_targets([{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}] * 2)
    assert set(model.loss(torch.randn(2, 3, *SIZE), targets)) == {"objectness", "rpn_box", "classification", "box"}
    assert not model.training_state()


def test_recipes_see_the_same_images() -> None:
    joint, steps = get_recipe("fasterrcnn_r18_bccd"), get_recipe("fasterrcnn_r18_bccd_steps")
    assert sum(step.changes["epochs"] for step in steps.steps) == joint.epochs
    assert tuple(step.name for step in steps.steps) == STEPS
    assert joint.model_args == steps.model_args == get_recipe("cascade_r18_bccd").model_args
