"""Heads follow the names of classes: cut, joined and reordered rows of files of every layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saccade.errors import WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.structures.class_rows import ClassRows, linear_rows
from saccade.structures.input_spec import InputSpec
from saccade.weights import load_weights, save_file
from saccade.weights.entry import PublishedWeights


class Heads(Model):
    """A body and heads of any layout, one channel wide; every row of a file's head holds its own number."""

    task = "detection"
    head_names = ("scores", "boxes")
    stage_names = ("body",)

    def __init__(self, layouts: Mapping[str, ClassRows], names: tuple[str, ...] = (), num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes or len(names)
        self.class_names = names
        self.input_spec = InputSpec((8, 8))
        self.body = nn.Linear(1, 2)
        self.class_rows = {f"{name}.weight": rows for name, rows in layouts.items()}
        for name, rows in layouts.items():
            layer = nn.Linear(1, rows.length(self.num_classes), bias=False)
            nn.init.constant_(layer.weight, -1.0)
            self.add_module(name, layer)

    def rows(self, name: str) -> list[int]:
        return self.get_parameter(f"{name}.weight").flatten().int().tolist()


def write(path: Path, layouts: Mapping[str, ClassRows], classes: int, names: Any = (), **metadata: Any) -> Path:
    """A file whose heads hold 0, 1, 2, ... from the first row on."""
    state = {"body.weight": torch.ones(2, 1), "body.bias": torch.ones(2)}
    for name, rows in layouts.items():
        state[f"{name}.weight"] = torch.arange(float(rows.length(classes)))[:, None]
    save_file(path, state, {"class_names": list(names), **metadata})
    return path


LINEAR = {"scores": ClassRows()}


def test_rows_follow_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", LINEAR, 3, ("cat", "dog", "cow"))
    model = Heads(LINEAR, ("dog", "cow", "cat"))
    report = load_weights(model, path)
    assert model.rows("scores") == [1, 2, 0]
    assert (report.taken, report.new, report.head, report.loaded) == (("dog", "cow", "cat"), (), (), 3)
    assert report.file_head is None  # the classes are the same
    assert "head: 3 of 3 classes taken by name; missing none" in str(report)
    assert model.class_names == ("dog", "cow", "cat")


def test_new_classes_stay_as_initialised_and_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", LINEAR, 3, ("cat", "dog", "cow"))
    model = Heads(LINEAR, ("sheep", "cow", "goat", "cat"))
    report = load_weights(model, path)
    assert model.rows("scores") == [-1, 2, -1, 0]
    assert "head: 2 of 4 classes taken by name, as initialised 2: sheep, goat;" in str(report)
    assert report.head == ("scores.weight",)
    assert report.file_head is not None
    assert (report.file_head.num_classes, report.file_head.class_names) == (3, ("cat", "dog", "cow"))
    assert report.file_head.tensors["scores.weight"].flatten().tolist() == [0, 1, 2]


def test_as_many_classes_of_other_names_do_not_keep_the_files_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", LINEAR, 2, ("cat", "dog"))
    model = Heads(LINEAR, ("cow", "sheep"))
    report = load_weights(model, path)
    assert model.rows("scores") == [-1, -1]
    assert report.taken == ()
    assert "head of other classes left as it was (scores.weight)" in str(report)
    with pytest.raises(WeightsError, match="has other classes than Heads: it does not know 2: cow, sheep"):
        load_weights(model, path, strict_head=True)


def test_the_same_name_twice_goes_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", LINEAR, 4, ("crane", "dog", "crane", "cat"))
    model = Heads(LINEAR, ("crane", "crane", "crane"))
    load_weights(model, path)
    assert model.rows("scores") == [0, 2, -1]


@pytest.mark.parametrize(
    ("names", "own"),
    [((), ("x", "y", "z")), (("cat", "dog", "cow"), ()), (("cat", "dog"), ("x", "y", "z"))],
    ids=["file unknown", "model unknown", "a list of another length is not trusted"],
)
def test_unknown_names_and_equal_numbers_are_copied_as_they_are(
    tmp_path: Path, names: tuple[str, ...], own: tuple[str, ...]
) -> None:
    model = Heads(LINEAR, own, 3)
    report = load_weights(model, write(tmp_path / "a.safetensors", LINEAR, 3, names))
    assert model.rows("scores") == [0, 1, 2]
    assert report.taken is None
    assert model.class_names == (own or names)


def test_unknown_names_and_other_numbers_are_left(tmp_path: Path) -> None:
    model = Heads(LINEAR, ("cat", "dog"))
    report = load_weights(model, write(tmp_path / "a.safetensors", LINEAR, 3))
    assert model.rows("scores") == [-1, -1]
    assert "head of another size left as it was (scores.weight)" in str(report)
    assert report.file_head is not None
    assert (report.file_head.num_classes, report.file_head.class_names) == (3, ())


COCO91 = PublishedWeights(
    "made_up", "coco", "https://example.org/x.pth", "none", "none", 80, "coco91", {}
).class_names()


def test_names_of_91_rows() -> None:
    assert len(COCO91) == 91
    assert COCO91[0] == COCO91[12] == ""
    assert (COCO91[1], COCO91[13], COCO91[90]) == ("person", "stop sign", "toothbrush")
    assert len([name for name in COCO91 if name]) == 80


# Rows of "person" (id 1), "stop sign" (13) and "toothbrush" (90) in files of 91 columns, by layout.
@pytest.mark.parametrize(
    ("layouts", "classes", "expected"),
    [
        # RetinaNet: nine anchors, 91 rows each, the first of which is never used
        ({"scores": ClassRows(groups=9)}, 91, [91 * a + row for a in range(9) for row in (13, 1, 90)]),
        # Faster R-CNN: background first, then 90
        ({"scores": ClassRows(fixed=1)}, 90, [0, 13, 1, 90]),
    ],
    ids=["nine anchors", "background first"],
)
def test_files_of_91_columns_give_their_80_classes(
    tmp_path: Path, layouts: Mapping[str, ClassRows], classes: int, expected: list[int]
) -> None:
    path = write(tmp_path / "a.safetensors", layouts, classes, COCO91)
    model = Heads(layouts, ("stop sign", "person", "toothbrush"))
    report = load_weights(model, path)
    assert model.rows("scores") == expected
    assert report.file_head is not None
    assert report.file_head.num_classes == 80
    whole = Heads(layouts, num_classes=80)
    assert load_weights(whole, path).head == ()
    assert whole.class_names == tuple(name for name in COCO91 if name)
    (layout,) = layouts.values()
    assert whole.rows("scores")[layout.fixed] == 1
    assert whole.rows("scores")[-1] == layout.length(classes) - 1


def test_boxes_of_each_class_move_with_it(tmp_path: Path) -> None:
    layouts = {"scores": ClassRows(fixed=1), "boxes": ClassRows(fixed=4, per_class=4)}
    path = write(tmp_path / "a.safetensors", layouts, 2, ("cat", "dog"))
    model = Heads(layouts, ("dog", "cow"))
    report = load_weights(model, path)
    assert model.rows("scores") == [0, 2, -1]
    assert model.rows("boxes") == [0, 1, 2, 3, 8, 9, 10, 11, -1, -1, -1, -1]
    assert set(report.head) == {"scores.weight", "boxes.weight"}


@pytest.mark.parametrize("names", [("cat", "dog"), ()], ids=["named", "unnamed"])
def test_anchors_keep_boxes_and_objectness(tmp_path: Path, names: tuple[str, ...]) -> None:
    layouts = {"scores": ClassRows(groups=3, fixed=5)}  # YOLOv3: x, y, w, h, objectness, then the classes
    path = write(tmp_path / "a.safetensors", layouts, 2, names)
    model = Heads(layouts, ("sheep", "cow", "dog"))
    load_weights(model, path)
    dog = {0: 6, 1: 13, 2: 20} if names else dict.fromkeys(range(3), -1)
    assert model.rows("scores") == [
        row for anchor in range(3) for row in [*range(7 * anchor, 7 * anchor + 5), -1, -1, dog[anchor]]
    ]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"scores.weight": torch.zeros(3, 2)}, r"scores\.weight: \(3, 2\) in the file, \(2, 1\) in the model"),
        ({"body.bias": torch.zeros(3)}, r"body\.bias: \(3,\) in the file, \(2,\) in the model"),
        ({"boxes.weight": torch.zeros(7, 1)}, r"boxes\.weight: \(7, 1\) in the file, \(12, 1\) in the model"),
        ({"boxes.weight": torch.zeros(24, 1)}, r"boxes\.weight: \(24, 1\) in the file"),  # 5 classes, and 3 scores
    ],
    ids=["width of the head", "body", "no number of classes", "heads disagree"],
)
def test_other_shapes_are_errors_and_change_nothing(
    tmp_path: Path, state: Mapping[str, torch.Tensor], message: str
) -> None:
    layouts = {"scores": ClassRows(), "boxes": ClassRows(fixed=4, per_class=4)}
    whole = {
        "body.weight": torch.ones(2, 1),
        "body.bias": torch.ones(2),
        "scores.weight": torch.ones(3, 1),
        "boxes.weight": torch.ones(16, 1),
    }
    save_file(tmp_path / "a.safetensors", {**whole, **state}, {})
    model = Heads(layouts, ("a", "b"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_weights(model, tmp_path / "a.safetensors")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_file_without_a_head_leaves_it(tmp_path: Path) -> None:
    body = {"body.weight": torch.ones(2, 1), "body.bias": torch.ones(2)}
    save_file(tmp_path / "a.safetensors", body, {"class_names": ["a", "b"]})
    model = Heads(LINEAR, num_classes=2)
    report = load_weights(model, tmp_path / "a.safetensors")
    assert report.missing == ("scores.weight",)
    assert (report.head, report.file_head, model.class_names) == ((), None, ())


@pytest.mark.parametrize("name", ["yolox_nano", "googlenet_bn", "unet", "dsnt"])
def test_networks_of_every_task_follow_names(tmp_path: Path, name: str) -> None:
    options = {"base_channels": 2} if name == "unet" else {}
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **options)
    model.class_names = ("red", "green", "blue")
    path = save_model(model, tmp_path / "m.safetensors")
    other = create_model(name, num_classes=2, **options)
    other.class_names = ("blue", "grey")
    fresh = {key: value.clone() for key, value in other.state_dict().items()}
    report = load_weights(other, path)
    assert (report.taken, report.new) == (("blue",), ("grey",))
    own, theirs = other.state_dict(), model.state_dict()
    assert set(report.head) == set(other.class_rows)
    for key in own:
        if key in other.class_rows:
            assert torch.equal(own[key][0], theirs[key][2])
            assert torch.equal(own[key][1], fresh[key][1])
        else:
            assert torch.equal(own[key], theirs[key])


def test_a_run_on_classes_in_another_order_starts_from_the_right_rows(tmp_path: Path) -> None:
    from saccade.engine.train.config import TrainConfig
    from saccade.engine.train.setup import build_model
    from saccade.structures.dataset import DatasetInfo

    model = create_model("lenet5", num_classes=3)
    model.class_names = ("red", "green", "blue")
    path = save_model(model, tmp_path / "m.safetensors")
    info = DatasetInfo("colours", "classification", ("blue", "red", "pink"))
    trained = build_model(TrainConfig(model="lenet5", weights=str(path)), info)
    assert trained.class_names == ("blue", "red", "pink")
    assert torch.equal(trained.output.weight[:2], model.output.weight[[2, 0]])
    assert not torch.equal(trained.output.weight[2], model.output.weight[1])


def test_linear_rows_name_real_tensors() -> None:
    assert set(linear_rows("output")) <= set(create_model("lenet5").state_dict())
