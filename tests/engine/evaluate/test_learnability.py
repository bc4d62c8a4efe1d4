"""What can be told of a network and a data set without training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.evaluate.learnability import check_learnability
from saccade.engine.evaluate.object_fit import assignable
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.detection.base import Detector
from saccade.models.registry import create_model
from saccade.ops.iou import pairwise_iou
from saccade.ops.nms import NmsSettings
from saccade.structures.dataset import DatasetInfo
from saccade.structures.input_spec import InputSpec


class Bare(Model):
    """A network's settings without a network."""

    def __init__(
        self, task: str, num_classes: int, size: tuple[int, int] = (96, 96), resize: Any = "letterbox", **more: Any
    ) -> None:
        super().__init__()
        self.task, self.num_classes, self.builder_name = task, num_classes, "bare"
        self.input_spec = InputSpec(size, resize=resize)
        for name, value in more.items():
            setattr(self, name, value)


class Anchored(Detector):
    """A detector with four square anchors of 16 pixels, positive for what they overlap by half."""

    def __init__(self, size: tuple[int, int] = (96, 96), resize: Any = "letterbox", score: float = 0.01) -> None:
        super().__init__(1, NmsSettings(score_threshold=score))
        self.input_spec = InputSpec(size, resize=resize)

    def assignable(self, boxes_xyxy: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        corners = torch.tensor([[0.0, 0], [size[1] - 16, 0], [0, size[0] - 16], [size[1] - 16, size[0] - 16]])
        anchors = torch.cat([corners, corners + 16], dim=1)
        return (pairwise_iou(boxes_xyxy[None], anchors[None])[0] >= 0.5).any(dim=1)


class Boxes(TableDataset):
    """Boxes on black images of 100 x 100 that are no files."""

    def pixels(self, index: int) -> Any:
        return np.zeros((100, 100, 3), np.uint8)


def boxes(images: Sequence[Sequence[Sequence[float]]], names: tuple[str, ...] = ("cat",), crowd: bool = False) -> Boxes:
    builder = TableBuilder(names)
    for number, rows in enumerate(images):
        builder.add_image(f"{number}.png", size=(100, 100))
        for row in rows:
            builder.add_object(names[0], row, iscrowd=crowd)
    return Boxes(DatasetInfo("set", "detection", names, "train"), Path("folder"), builder.build())


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation", "keypoints"])
def test_ground_truth_gets_the_best_score_in_every_task(task: str) -> None:
    data = DigitScenes(task, "val", count=6, size=(96, 96))
    report = check_learnability(Bare(task, len(data.info.class_names)), data)
    assert report.ground_truth == pytest.approx(report.perfect, abs=1e-9)
    assert report.resized == pytest.approx(report.perfect, abs=1e-5)  # the canvas is the image here
    assert report.ok
    assert report.reasons == report.spoilers == []
    assert report.images == 6


def test_objects_are_counted_by_size() -> None:
    report = check_learnability(
        Bare("detection", 1, (100, 100), feature_strides=(8, 16)),
        boxes([[(10, 10, 15, 40), (50, 50, 90, 90)], [(0, 0, 100, 100)]]),
    )
    assert [(row["size"].split()[0], row["objects"], row["below the stride of 8"]) for row in report.sizes] == [
        ("small", 1, 1),
        ("medium", 1, 0),
        ("large", 1, 0),
    ]
    assert all("best possible recall" not in row for row in report.sizes)  # this network does not say where it looks


def test_what_the_resize_rule_loses_is_said() -> None:
    data = boxes([[(10, 10, 14, 14), (50, 50, 90, 90)]])
    assert check_learnability(Bare("detection", 1, (100, 100)), data).ok
    report = check_learnability(Bare("detection", 1, (32, 32)), data)
    assert report.ground_truth == 1.0
    assert report.resized < 1.0
    assert [row["lost by the resize rule"] for row in report.sizes] == [1, 0]
    (reason,) = report.reasons
    assert "'letterbox' to 32x32 loses 1 of 2 objects (50.0 %)" in reason
    assert not report.ok


def test_boxes_without_area_spoil_the_ground_truth_and_are_named() -> None:
    report = check_learnability(
        Bare("detection", 1, (100, 100)), boxes([[(10, 10, 40, 40)], [(10, 10, 10, 40), (1, 1, 9, 9)]])
    )
    assert report.ground_truth < 1
    (line,) = report.spoilers
    assert line.startswith("folder/1.png: AP")
    assert "1 boxes have no area" in line
    assert any("not even the ground truth" in reason for reason in report.reasons)


def test_more_objects_than_are_counted_spoil_the_ground_truth() -> None:
    crowd = [(x, y, x + 5, y + 5) for x in range(0, 100, 8) for y in range(0, 100, 8)]
    report = check_learnability(Bare("detection", 1, (100, 100)), boxes([crowd]))
    assert len(crowd) == 169
    assert "it has 169 objects" in report.spoilers[0]


@pytest.mark.parametrize(
    ("rows", "crowd", "words"),
    [([(1, 1, 9, 9)], True, "all 1 objects are crowds or difficult"), ([], False, "no object")],
)
def test_nothing_to_find_is_said(rows: list[tuple[float, ...]], crowd: bool, words: str) -> None:
    report = check_learnability(Bare("detection", 1), boxes([rows], crowd=crowd))
    assert np.isnan(report.ground_truth)
    assert any(words in reason and "undefined" in reason for reason in report.reasons)
    assert not report.ok
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ground_truth"] is None


@pytest.mark.parametrize(
    ("known", "count", "words"),
    [
        (("dog", "cat"), 2, "they stand in another order"),
        (("cat", "cow"), 2, "it does not know dog"),
        ((), 80, "has 80 classes, the data 2"),
        (("cat", "dog"), 2, ""),
    ],
)
def test_classes_that_differ_are_said(known: tuple[str, ...], count: int, words: str) -> None:
    model = Bare("detection", count, class_names=known)
    report = check_learnability(model, boxes([[(1, 1, 40, 40)]], ("cat", "dog")))
    assert bool(report.reasons) == bool(words)
    assert all(words in reason for reason in report.reasons)


def test_threshold_and_stretched_images_are_said() -> None:
    model = Anchored((64, 256), "stretch", score=0.3)
    reasons = "\n".join(check_learnability(model, boxes([[(1, 1, 60, 60)]])).reasons)
    assert "nms.score_threshold=0.3" in reasons
    assert "by a factor of 4.0" in reasons


def test_unknown_classes_cannot_be_scored() -> None:
    data = boxes([[(1, 1, 40, 40)]])
    data.table.labels[:] = 5
    report = check_learnability(Bare("detection", 1), data)
    assert any("cannot be scored" in reason for reason in report.reasons)


def test_another_task_is_an_error() -> None:
    with pytest.raises(ConfigError, match="solves segmentation"):
        check_learnability(Bare("segmentation", 1), boxes([[(1, 1, 40, 40)]]))


def test_anchors_are_positive_for_what_they_overlap_by_half() -> None:
    wanted = torch.tensor([[0.0, 0, 16, 16], [2, 2, 18, 18], [30, 30, 46, 46], [80, 84, 96, 100], [0, 0, 100, 100]])
    found = assignable(Anchored(), wanted, (100, 100))
    assert found is not None
    assert found.tolist() == [True, True, False, True, False]
    report = check_learnability(Anchored((100, 100)), boxes([wanted.tolist()]))
    assert [row["best possible recall"] for row in report.sizes] == [pytest.approx(3 / 4), 0.0]


def test_anchor_points_of_yolox_run_out_where_objects_crowd() -> None:
    model = create_model("yolox_nano", num_classes=1)
    apart = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60], [30, 0, 34, 4]])
    found = assignable(model, apart, (64, 64))
    assert found is not None
    assert found.all()
    same = torch.tensor([[30.0, 30, 34, 34]]).repeat(200, 1)
    found = assignable(model, same, (64, 64))
    assert found is not None
    near = 0
    for stride in (8, 16, 32):
        centres = np.arange(stride / 2, 64, stride)
        near += int((np.abs(centres - 32) < 2.5 * stride).sum()) ** 2
    assert int(found.sum()) == near < 200  # each of them can be positive for one
    assert assignable(Bare("detection", 1), same, (64, 64)) is None


def retinanet(anchor_size: int = 32, size: tuple[int, int] = (96, 96)) -> Model:
    """RetinaNet as in the paper: an object that no anchor overlaps by half has none."""
    model = create_model("retinanet", num_classes=1, channels=16, anchor_size=anchor_size)
    model.forced = "none"
    model.input_spec = replace(model.input_spec.with_size(size), resize="letterbox")
    return model


def said(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    assert found is not None, text
    return [int(number) for number in found.groups()]


def unowned_objects(model: Model, data: Boxes) -> int:
    return sum(row["objects"] - row["assignable"] for row in check_learnability(model, data).sizes)


def test_objects_that_no_anchor_owns_are_named_with_a_remedy_that_was_tried() -> None:
    data = boxes([[(10, 10, 80, 80), (4, 4, 12, 12)], [(20, 20, 29, 28), (50, 50, 58, 60)]])
    report = check_learnability(retinanet(size=(128, 128)), data)
    small, medium = report.sizes
    assert (small["objects"], small["assignable"], small["best possible recall"]) == (3, 0, 0.0)
    assert (medium["assignable"], medium["best anchor below 0.5"]) == (1, 0.0)
    assert small["best anchor below 0.5"] == 1.0
    assert small["median IoU of the best anchor"] < 0.2
    assert report.unowned[0] == "folder/0.png: box 4, 4, 12, 12 can have no positive"
    assert len(report.unowned) == 3
    assert all(line in report.to_text() for line in report.unowned)
    unowned, unfit = report.reasons
    assert "3 of 4 objects (75.0 %; small 3) can have no positive" in unowned
    assert "for 75 % the best anchor overlaps by less than 0.5" in unfit
    # What it says is true.
    side, helped, tried = said(r"anchor_size (\d+)\) help (\d) of (\d)", unowned)
    assert tried == 3
    assert unowned_objects(retinanet(side, (128, 128)), data) == 3 - helped == 1
    height, width, helped, _ = said(r"--data.size (\d+) (\d+)\) helps (\d) of (\d)", unowned)
    assert unowned_objects(retinanet(size=(height, width)), data) == 3 - helped == 2


def test_a_larger_canvas_is_named_where_it_helps() -> None:
    data = boxes([[(10, 10, 34, 34), (50, 50, 74, 74)], [(20, 20, 44, 44)]])
    (reason, unfit) = check_learnability(retinanet(size=(64, 64)), data).reasons
    height, width, helped, _ = said(r"--data.size (\d+) (\d+)\) helps (\d) of (\d)", reason)
    assert helped == 3
    assert unowned_objects(retinanet(size=(height, width)), data) == 0
    assert f"(--data.size {height} {width}) 3 of 3 fit" in unfit


def test_shapes_that_no_size_of_anchors_fits_are_said() -> None:
    report = check_learnability(retinanet(size=(100, 100)), boxes([[(2, 50, 98, 53), (2, 70, 98, 74)]]))
    unowned, unfit = report.reasons
    assert "No canvas up to twice as large and no size of anchors helps any of 2" in unowned
    assert "aspect ratios are not those of the anchors" in unfit


def test_copies_of_an_object_are_named() -> None:
    model = create_model("ssd", num_classes=1, levels=4, size=64)
    report = check_learnability(model, boxes([[(10, 10, 17, 17), (10, 10, 17, 17), (30, 30, 90, 90)]]))
    reason = report.reasons[0]
    assert "1 of 3 objects (33.3 %; small 1) can have no positive" in reason
    assert "1 are exact copies of another object: leave them out" in reason


def test_objects_between_the_points_of_a_detector_without_anchors() -> None:
    model = create_model("fcos", num_classes=1, channels=64)
    model.input_spec = replace(model.input_spec.with_size((96, 96)), resize="letterbox")
    report = check_learnability(model, boxes([[(13.5, 13.5, 19, 19), (30, 30, 80, 80)]]))
    assert "median IoU of the best anchor" not in report.sizes[0]
    assert [row["best possible recall"] for row in report.sizes] == [0.0, 1.0]
    (reason,) = report.reasons
    assert "1 of 2 objects (50.0 %; small 1) can have no positive" in reason
    assert "times as large (--data.size " in reason
    assert "helps 1 of 1, as does a stride smaller by that factor" in reason


def test_difficult_objects_need_no_anchor() -> None:
    data = boxes([[(10, 10, 80, 80), (4, 4, 6, 7)]])
    data.table.extras["difficult"] = np.array([0, 1])
    report = check_learnability(retinanet(size=(100, 100)), data)
    assert report.ok, report.to_text()
    assert [row["objects"] for row in report.sizes] == [1]


def test_yolox_can_find_every_digit() -> None:
    model = create_model("yolox_nano", num_classes=10)
    model.input_spec = model.input_spec.with_size((96, 96))
    report = check_learnability(model, DigitScenes("detection", "val", count=8, size=(96, 96)))
    assert report.ok, report.to_text()
    assert all(row["best possible recall"] == 1.0 for row in report.sizes)
    text = report.to_text()
    assert "the ground truth itself scores AP 1.0000" in text
    assert "best possible recall: 1.000" in text
