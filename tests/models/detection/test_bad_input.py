"""Ground truth and canvases that break detectors: a finite loss, or one message that names the remedy; nothing is lost.

Readers refuse, drop or repair faulty boxes (``data.bad_labels``, tests/data); what is tested here is what a detector
does with those that reach it all the same, and that readers and checker name the rest.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.contract.members import MEMBERS
from torch import Tensor

from saccade.data.check import check_source
from saccade.data.open import open_dataset
from saccade.engine.train.messages import explain_small_batches
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.detection.base import Detector
from saccade.models.detection.yolo_grid import GridYOLO
from saccade.models.registry import get_builder
from saccade.ops.matching import NEGATIVE
from saccade.testing import Subject
from saccade.testing.examples import inputs_for
from saccade.testing.loss_checks import run_loss
from saccade.weights import load_weights

DETECTORS = [member for member in MEMBERS if member.exported and get_builder(str(member.builder)).task == "detection"]
every_detector = pytest.mark.parametrize("member", DETECTORS, ids=lambda member: member.name)


@functools.cache
def detector(name: str) -> Detector:
    torch.manual_seed(0)
    model = next(member for member in DETECTORS if member.name == name).create()
    assert isinstance(model, Detector)
    return model


def given(model: Model, size: tuple[int, int], boxes_xyxy: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Ground truth of an image; a mask, where the network wants them, is what its box holds of the canvas."""
    target = {"boxes": boxes_xyxy, "labels": labels}
    if "masks" in model.target_names:
        y, x = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
        x1, y1, x2, y2 = boxes_xyxy[:, :, None, None].unbind(1)
        target["masks"] = ((x >= x1) & (x < x2) & (y >= y1) & (y < y2)).to(torch.uint8)
    return target


def many(count: int, side: int) -> Tensor:
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * (side - 9)
    return torch.cat((corners, corners + 3 + 0.001 * torch.arange(count)[:, None] % 6), dim=1)


# Boxes beside a sound one, for a canvas of so many pixels.
BAD: dict[str, Callable[[int], Tensor]] = {
    "zero area": lambda side: torch.tensor([[20.0, 20, 20, 40], [20, 20, 40, 20], [30, 30, 30, 30]]),
    "thinner than a pixel": lambda side: torch.tensor([[20.0, 20, 20.01, 60], [10, 30, 50, 30.001]]),
    "reversed": lambda side: torch.tensor([[50.0, 50, 20, 20], [20, 50, 50, 20], [50, 20, 20, 50]]),
    "outside": lambda side: torch.tensor([[-90.0, -90, -40, -50], [side, 0, side + 50, 40], [1e4, 1e4, 2e4, 2e4]]),
    "over every edge": lambda side: torch.tensor([[-50.0, -50, side + 50, side + 50], [-1e5, -1e5, 1e5, 1e5]]),
    "duplicates": lambda side: torch.tensor([[8.0, 8, 20, 20]]).repeat(60, 1),
    "ten thousand": lambda side: many(10_000, side),
}


@every_detector
@pytest.mark.parametrize("kind", BAD)
def test_bad_boxes_give_a_finite_loss_and_take_nothing_from_sound_objects(member: Subject, kind: str) -> None:
    model, side = detector(member.name), member.size[0]
    sound = torch.tensor([[0.4, 0.45, 0.9, 0.95]]) * side
    bad = BAD[kind](side)
    targets = [
        given(model, member.size, torch.cat((bad, sound)), torch.arange(len(bad) + 1) % 2),
        given(model, member.size, sound, torch.tensor([1])),
    ]
    outcome = run_loss(model, member.size, targets, training=True)
    assert all(np.isfinite(value) for value in outcome.terms.values()), outcome.terms
    assert outcome.nonfinite == ()
    if kind == "ten thousand":
        return  # smaller objects may have all of its anchors; which do is the checker's question
    if "proposals" in model.input_names:
        return  # assigns nothing by itself: what its regions train depends on those it is given
    owners = model.eval().assign(torch.zeros(2, 3, *member.size), targets).owners
    assert (owners[1] == 0).any()
    if isinstance(model, GridYOLO) and kind == "over every edge":
        assert (owners[0] == 0).any()  # their centres lie in one cell, which has one object: the first
        return
    assert (owners[0] == len(bad)).any()


@every_detector
def test_a_class_without_objects_trains_nothing_but_background(member: Subject) -> None:
    model, side = detector(member.name), member.size[0]
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.5, 0.9, 0.9]]) * side
    labels = torch.zeros(2, dtype=torch.int64)  # class 1 never occurs
    targets = [given(model, member.size, boxes, labels)] * 2
    outcome = run_loss(model, member.size, targets, training=True)
    assert all(np.isfinite(value) for value in outcome.terms.values())
    assert outcome.nonfinite == outcome.missing == ()


@every_detector
def test_a_canvas_smaller_than_the_largest_stride(member: Subject) -> None:
    model = detector(member.name)
    multiple = model.input_spec.pad_multiple
    side = max(model.feature_strides) // 2
    side = max(multiple, -(-side // multiple) * multiple)
    boxes = torch.tensor([[0.1, 0.1, 0.8, 0.9]]) * side
    targets = [given(model, (side, side), boxes, torch.tensor([1]))] * 4
    try:
        with explain_small_batches(torch.zeros(4, 3, side, side)):  # as the loop does
            outcome = run_loss(model, (side, side), targets, training=True)
    except ConfigError as error:
        assert "Take a larger --data.size." in str(error)  # noqa: PT017 - either outcome is sound, nothing else is
        return
    assert all(np.isfinite(value) for value in outcome.terms.values())
    assert outcome.nonfinite == ()
    decoded = model.eval().predict(torch.zeros(1, 3, side, side), **inputs_for(model, (side, side), 1))
    assert torch.isfinite(decoded["boxes"]).all()
    assert model.assignable(boxes, (side, side)).shape == (1,)


@every_detector
def test_a_checkpoint_with_other_classes_gives_its_rows_by_name(member: Subject, tmp_path: Path) -> None:
    source, target = member.create(num_classes=3), member.create(num_classes=2)
    source.class_names, target.class_names = ("cat", "dog", "cow"), ("sheep", "dog")
    report = load_weights(target, save_model(source, tmp_path / "a.safetensors"))
    assert "head: 1 of 2 classes taken by name, as initialised sheep" in str(report)
    assert (report.missing, report.unexpected) == ((), ())
    mine, theirs = target.state_dict(), source.state_dict()
    others = [name for name in mine if name not in target.class_rows]
    assert all(torch.equal(mine[name], theirs[name]) for name in others)
    boxes = torch.tensor([[0.1, 0.1, 0.8, 0.9]]) * member.size[0]
    targets = [given(target, member.size, boxes, torch.tensor([1]))] * 2
    assert all(np.isfinite(value) for value in run_loss(target, member.size, targets, training=True).terms.values())


@every_detector
def test_objects_that_nothing_fits_train_as_background(member: Subject) -> None:
    """Far outside there is no anchor, point or cell."""
    model = detector(member.name)
    targets = [given(model, member.size, torch.tensor([[9000.0, 9000, 9050, 9040]]), torch.tensor([0]))] * 2
    outcome = run_loss(model, member.size, targets, training=True)
    assert all(np.isfinite(value) for value in outcome.terms.values())
    assert outcome.nonfinite == ()
    assert not model.assignable(targets[0]["boxes"], member.size).any()
    if model.anchors(member.size) is not None:
        assert (model.eval().assign(torch.zeros(2, 3, *member.size), targets).owners == NEGATIVE).all()


FAULTS: dict[str, list[float]] = {
    "zero area": [10, 10, 0, 20],
    "inverted": [40, 40, -20, -20],
    "outside": [70, 50, 40, 40],
}


def write_coco(root: Path, boxes: list[list[float]], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(root / f"images/{number}.png"), pixels)
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        for box in [[5, 5, 30, 30], *(boxes if number == 1 else [])]:
            shared = {"image_id": number, "category_id": 1, "area": abs(box[2] * box[3]), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "bbox": box, **shared})
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(truth))
    return root


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_boxes_are_refused_with_the_remedy_or_left_out_by_name(fault: str, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", [FAULTS[fault]])
    with pytest.raises(DataError, match=rf"object 1 \(cat\).*{fault}") as caught:
        open_dataset(root)
    assert "bad_labels to 'drop'" in str(caught.value)
    data = open_dataset(root, bad_labels="drop")
    assert [len(data.target(index)["boxes"]) for index in range(2)] == [1, 1]
    assert data.repairs == {f"dropped {fault}": 1}
    assert fault in data.left_out[0][1]


def test_copies_and_a_class_without_objects_are_named_by_the_checker(tmp_path: Path) -> None:
    report = check_source(write_coco(tmp_path / "data", [[5, 5, 30, 30]]))
    assert sorted(issue.code for issue in report.issues) == ["boxes.repeated", "classes.unseen"]
    text = report.to_text()
    assert "1.png: object 1 (cat): box and class repeat object 0 (train). Remove one of the two." in text
    assert "class 'dog': it never occurs. Add examples, or remove the class from the list." in text
