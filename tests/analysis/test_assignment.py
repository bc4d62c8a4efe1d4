"""The assignment viewer: numbers equal the detector's own, the drawing shows them, and the ground truth is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.contract.members import MEMBERS
from torch import Tensor

import saccade
from saccade.analysis.assignment import AssignedObjects, explain_assignment
from saccade.analysis.assignment_drawing import object_colors
from saccade.cli import main
from saccade.errors import ConfigError, DataError
from saccade.models.base import Targets
from saccade.models.checkpoint import save_model
from saccade.models.detection.base import Assignment
from saccade.models.detection.yolox import YOLOX
from saccade.models.registry import create_model, get_builder
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.testing import Subject

EVERY = [member for member in MEMBERS if member.exported and get_builder(str(member.builder)).task == "detection"]
# Those that are given their proposals have nothing to assign.
GIVEN = [member for member in EVERY if "proposals" in member.on_meta.input_names]
DETECTORS = [member for member in EVERY if member not in GIVEN]


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3)).astype(np.uint8)


def ground_truth(side: int) -> dict[str, np.ndarray]:
    boxes = side * np.array(
        [[0.05, 0.1, 0.4, 0.5], [0.5, 0.45, 0.95, 0.9], [0.3, 0.05, 0.6, 0.3], [0.2, 0.6, 0.4, 0.8]]
    )
    return {"boxes": boxes, "labels": np.array([1, 0, 1, 0])}


@pytest.mark.parametrize("member", DETECTORS, ids=lambda member: member.name)
def test_every_detector_is_drawn_with_the_numbers_of_its_assignment(member: Subject, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = member.create()
    model.input_spec = model.input_spec.with_size(member.size)
    found = explain_assignment(model, photograph(*member.size), ground_truth(member.size[0]))
    owners, levels = found.assignment.owners[0], found.assignment.levels
    assert len(found.assignment.regions_xyxy) == len(owners) == len(levels)
    assert [row["level"] for row in found.levels()] == list(found.assignment.level_names)
    assert sum(row["positive"] + row["ignored"] + row["negative"] for row in found.levels()) == len(owners)
    for number, row in enumerate(found.levels()):
        here = owners[levels == number]
        assert row["positive"] == sum(owner >= 0 for owner in here.tolist())
        assert row["ignored"] == here.tolist().count(IGNORED)
        assert row["negative"] == here.tolist().count(NEGATIVE)
        assert row["objects"] == len({owner for owner in here.tolist() if owner >= 0})
    for number, row in enumerate(found.objects()):
        assert (
            row["positive"] == owners.tolist().count(number) == sum(row[name] for name in found.assignment.level_names)
        )
    assert found.counts().sum() > 0
    drawn = cv2.imread(str(found.save(tmp_path / "a.png")))[..., ::-1]
    for number in np.flatnonzero(found.counts().sum(axis=1)):
        assert (drawn == object_colors(4)[number]).all(axis=2).sum() > 100  # outline, label and swatch


class Fixed(YOLOX):
    """Assigns what it is told, on 8 cells of two levels."""

    owners: Tensor

    def assign(self, images: Tensor, targets: Targets) -> Assignment:
        corners = torch.tensor([[0.0, 0], [32, 0], [0, 32], [32, 32], [0, 0]])
        sides = torch.tensor([32.0, 32, 32, 32, 64])[:, None]
        return Assignment(
            torch.cat((corners, corners + sides), dim=1), torch.tensor([0, 0, 0, 0, 1]), ("fine", "coarse"), self.owners
        )


def fixed(owners: list[int]) -> YOLOX:
    model = create_model("yolox_nano", num_classes=2)
    model.__class__ = Fixed
    model.owners = torch.tensor([owners])
    model.input_spec = model.input_spec.with_size((64, 64))
    return model


def test_cells_have_the_colour_of_their_object_and_ignored_ones_are_hatched() -> None:
    target = {"boxes": np.array([[2.0, 2, 12, 12], [34, 2, 60, 30]]), "labels": np.array([0, 1])}
    found = explain_assignment(fixed([0, 1, IGNORED, NEGATIVE, NEGATIVE]), np.zeros((64, 64, 3), np.uint8), target)
    assert found.counts().tolist() == [[1, 0], [1, 0]]
    assert found.levels()[0] == {"level": "fine", "positive": 2, "ignored": 1, "negative": 1, "objects": 2}
    assert found.levels()[1] == {"level": "coarse", "positive": 0, "ignored": 0, "negative": 1, "objects": 0}
    drawn = found.plot().astype(int)
    side, top = 860, 35  # of a panel, of its title

    def at(x: float, y: float) -> list[int]:
        return drawn[top + round(y / 64 * side), 10 + round(x / 64 * side)].tolist()

    first, second = object_colors(2)
    for (x, y), color in (((25, 25), first), ((36.5, 31), second)):
        assert np.abs(np.array(at(x, y)) - 0.7 * np.array(color)).max() < 12, (x, y)
    cell = drawn[top + 450 : top + 840, 20:400].reshape(-1, 3)
    assert 0.3 < (cell == 205).mean() + (cell == 210).mean() / 3 < 0.6  # stripes
    assert (drawn[top + 450 : top + 840, 460:840] < 100).mean() > 0.95  # a dot in the dark


def test_what_trains_not_and_what_is_lost_is_told() -> None:
    target = {
        "boxes": np.array([[2.0, 2, 30, 30], [2, 2, 40, 40], [50, 50, 50, 60], [5, 5, 20, 20]]),
        "labels": np.array([0, 1, 1, 0]),
        "iscrowd": np.array([False, True, False, False]),
    }
    found = explain_assignment(fixed([0, 0, -1, -1, -1]), np.zeros((64, 64, 3), np.uint8), target)
    assert found.lost == 1
    assert found.trains.tolist() == [True, False, True]
    assert found.objects()[1]["class"] == "class 1 (no target)"
    assert found.notes() == [
        "nothing is positive for object 3",
        "1 crowds or difficult objects are not targets",
        "of 1 objects the resize rule leaves too little: they are not on the canvas",
    ]


def test_no_objects_and_a_hundred() -> None:
    nothing = explain_assignment(
        fixed([-1] * 5), np.zeros((64, 64, 3), np.uint8), {"boxes": np.zeros((0, 4)), "labels": np.zeros(0)}
    )
    assert nothing.objects() == []
    assert nothing.counts().shape == (0, 2)
    assert nothing.plot().ndim == 3
    corners = np.random.default_rng(0).uniform(0, 50, (100, 2))
    target = {"boxes": np.concatenate([corners, corners + 12], axis=1), "labels": np.zeros(100, np.int64)}
    crowd = explain_assignment(fixed([3, 99, 5, 7, 11]), np.zeros((64, 64, 3), np.uint8), target)
    assert len(crowd.objects()) == 100
    assert crowd.notes()[0].startswith("nothing is positive for objects 1, 2, 3, 5")
    assert crowd.plot().shape[1] > nothing.plot().shape[1]  # larger panels for more objects


@pytest.mark.parametrize("member", GIVEN, ids=lambda member: member.name)
def test_detectors_of_given_proposals_say_that_they_assign_nothing(member: Subject) -> None:
    with pytest.raises(ConfigError, match=f"{member.name} has no anchors to assign.*--proposals"):
        explain_assignment(member.create(), photograph(*member.size), ground_truth(member.size[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0])}, "one box and one label an object"),
        ({"labels": np.array([0, 2])}, "label of object 1 is 2; the classes of the network are 0 to 1"),
        ({"boxes": np.array([[0, 0, 5, 5], [np.nan, 0, 5, 5]])}, "boxes of object 1 hold a value that is no number"),
        ({"labels": None}, "has no 'labels'"),
    ],
)
def test_a_malformed_target_is_named(change: dict[str, Any], message: str) -> None:
    target = {"boxes": np.array([[0.0, 0, 9, 9], [5, 5, 20, 20]]), "labels": np.array([0, 1]), **change}
    target = {key: value for key, value in target.items() if value is not None}
    with pytest.raises(DataError, match=message):
        explain_assignment(fixed([-1] * 5), np.zeros((64, 64, 3), np.uint8), target, "photo.jpg")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """COCO: two images, classes in another order than the network's, one faulty box."""
    root = tmp_path / "scenes"
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        cv2.imwrite(str(root / f"images/{number}.png"), photograph(64, 64))
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        for category, box in ((1, [10, 10, 20, 30]), (2, [30, 5, 25, 25]), (1, [5, 5, 0, 10])):
            shared = {"image_id": number, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "category_id": category, "bbox": box, **shared})
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    (root / "annotations").mkdir()
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(truth))
    return root


def explain(model: Any, image: Any, **options: Any) -> AssignedObjects:
    return saccade.explain(model, image, assign=True, **options)


def test_the_ground_truth_is_found_by_the_path(scenes: Path) -> None:
    model = create_model("yolox_nano", num_classes=2)
    model.input_spec = model.input_spec.with_size((64, 64))
    found = explain(model, scenes / "images" / "2.png", data=scenes)
    assert found.names == ("class 0", "class 1")
    np.testing.assert_allclose(found.boxes_xyxy, [[10, 10, 30, 40], [30, 5, 55, 30]])
    assert len(found.left_out) == 1
    assert "object 2 (dog): box 5, 5, 5, 15: zero area" in found.notes()[-1]
    model.class_names = ("cat", "dog")
    assert explain(model, scenes / "images" / "2.png", data=scenes).names == ("dog", "cat")
    model.class_names = ("cat", "bird")
    with pytest.raises(ConfigError, match="does not know the classes dog"):
        explain(model, scenes / "images" / "2.png", data=scenes)


def test_a_name_alone_has_the_classes_of_the_data_and_always_the_same_weights(scenes: Path) -> None:
    first, again = (explain("yolox_nano", str(scenes / "images" / "1.png"), data=scenes) for _ in range(2))
    assert first.names == ("dog", "cat")
    assert torch.equal(first.assignment.owners, again.assignment.owners)


def test_images_without_ground_truth_are_named_with_the_remedy(scenes: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "1.png"
    copy.parent.mkdir()
    copy.write_bytes((scenes / "images" / "1.png").read_bytes())
    with pytest.raises(DataError, match=r"none of the 2 images of .* Did you mean .*images/1\.png\? .*--data"):
        explain("yolox_nano", copy, data=scenes)
    with pytest.raises(DataError, match="there is no such image"):
        explain("yolox_nano", tmp_path / "gone.png", data=scenes)
    with pytest.raises(ConfigError, match=r"--data PATH.*target="):
        explain("yolox_nano", copy)
    with pytest.raises(ConfigError, match="target="):
        explain("yolox_nano", photograph(64, 64), data=scenes)
    with pytest.raises(ConfigError, match="Leave data out"):
        explain("yolox_nano", copy, data=scenes, target={"boxes": [[1, 1, 9, 9]], "labels": [0]})
    found = explain("yolox_nano", copy, target={"boxes": [[1, 1, 9, 9]], "labels": [79]})
    assert found.names == ("class 79",)


def test_a_run_folder_names_the_data(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model("yolox_nano", num_classes=2)
    model.class_names = ("dog", "cat")
    run = tmp_path / "run"
    file = save_model(model, run / "best.safetensors")
    (run / "config.yaml").write_text(f"name: run\nmodel: yolox_nano\ndata:\n  source: {scenes}\n")
    out = tmp_path / "a.png"
    assert main(["explain", str(file), str(scenes / "images" / "1.png"), "--assign", "--save", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "stride 32" in printed
    assert "dog" in printed
    assert "zero area" in printed
    assert cv2.imread(str(out)) is not None
    assert main(["explain", str(file), str(scenes / "images" / "1.png")]) == 2
    assert "With --assign" in capsys.readouterr().err
    classifier = save_model(create_model("resnet20_cifar", num_classes=2), tmp_path / "c.safetensors")
    words = ["explain", str(classifier), str(scenes / "images" / "1.png"), "--assign", "--data", str(scenes)]
    assert main(words) == 2
    assert "'resnet20_cifar' solves classification" in capsys.readouterr().err


def test_options_of_the_other_kind_are_refused() -> None:
    image, target = photograph(64, 64), {"boxes": [[1, 1, 9, 9]], "labels": [0]}
    with pytest.raises(ConfigError, match="explain a class"):
        explain("yolox_nano", image, target=target, layer="head")
    with pytest.raises(ConfigError, match="belong to the assignment"):
        saccade.explain(create_model("lenet5"), image, data="digit_scenes")


def test_generated_scenes_have_no_files_but_names() -> None:
    assert len(explain("yolox_nano", "digit_scenes/val/00003", data="digit_scenes").objects()) > 0
