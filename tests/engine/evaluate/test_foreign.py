"""What others made: models without class names, limits of detections, result files of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import saccade
from saccade.api._open import with_suppression
from saccade.cli import main
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.derived.combine import subset
from saccade.deploy.base import max_detections_of
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.predict.predict import predict
from saccade.errors import ConfigError, DataError
from saccade.metrics.coco_results import result_evaluator
from saccade.models.base import Decoded, Outputs
from saccade.models.detection.base import Detector
from saccade.models.registry import create_model
from saccade.ops.nms import NmsSettings, batched_nms
from saccade.structures.dataset import DatasetInfo
from saccade.structures.input_spec import InputSpec

SIDE = 20  # objects in a row and a column of the dense image


def crowd(root: Path, **image: Any) -> list[dict[str, Any]]:
    """A COCO folder of one image full of objects; returns the ground truth as predictions."""
    (root / "val").mkdir(parents=True)
    (root / "annotations").mkdir()
    pixels = np.full((10 * SIDE, 10 * SIDE, 3), 90, np.uint8)
    cv2.imwrite(str(root / "val" / "0.jpg"), pixels)
    boxes = [[10 * x + 1, 10 * y + 1, 8, 8] for y in range(SIDE) for x in range(SIDE)]
    objects = [
        {"id": number + 1, "image_id": 7, "category_id": 3, "bbox": box, "area": 64, "iscrowd": 0}
        for number, box in enumerate(boxes)
    ]
    for one in objects:
        x, y, width, height = one["bbox"]
        one["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    images = [{"id": 7, "file_name": "0.jpg", "width": 10 * SIDE, "height": 10 * SIDE, **image}]
    truth = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "pig"}]}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(truth))
    return [{"image_id": 7, "category_id": 3, "bbox": box, "score": 0.9} for box in boxes]


def test_the_limit_of_detections_is_said_and_can_be_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps(crowd(tmp_path / "data")))
    report = saccade.evaluate(predictions=file, data=tmp_path / "data")
    assert report.values["AP"] < 0.3
    assert "AR100" in report.values
    (note,) = report.notes
    assert note.startswith(
        "at most 100 detections of a class count in an image: 300 of 400, in 1 image, did not. Raise"
    )
    report = saccade.evaluate(predictions=file, data=tmp_path / "data", max_detections=400)
    assert report.values["AP"] == report.values["AR400"] == report.values["F1"] == pytest.approx(1)
    assert report.breakdown[-1]["count"] == 0
    assert report.notes == ["at most 400 detections of a class count in an image."]
    few = saccade.evaluate(predictions=file, data=tmp_path / "data", max_detections=5)
    assert few.values["AR5"] == few.values["AR10"] == 5 / 400
    words = ["evaluate", "--predictions", str(file), "--data", str(tmp_path / "data")]
    assert main(words) == 0
    assert "300 of 400" in capsys.readouterr().out.replace("\n", " ")
    assert main([*words, "--max-detections", "0"]) == 2
    with pytest.raises(ConfigError, match="of keypoints 20 count"):
        result_evaluator(DatasetInfo("people", "keypoints", ("nose",)), max_detections=7)


def test_json_of_figures_is_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps(crowd(tmp_path / "data")))
    assert main(["evaluate", "--predictions", str(file), "--data", str(tmp_path / "data"), "--json"]) == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    values = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert values["values"]["AP_large"] is None
    assert "at most 100" in values["notes"][0]


class Crowd(Detector):
    """Finds 400 objects in every image."""

    class_names = ("pig",)
    input_spec = InputSpec((200, 200))

    def __init__(self) -> None:
        super().__init__(1, NmsSettings())
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        corner = 10.0 * torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
        return {"boxes": torch.cat((corner, corner + 8), 1).expand(len(images), -1, -1)}

    def decode(self, outputs: Outputs) -> Decoded:
        boxes = outputs["boxes"]
        return batched_nms(boxes, torch.full(boxes.shape[:2], 0.9), torch.zeros(boxes.shape[:2]).long(), self.nms)


def test_decoding_keeps_as_many_as_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    model, image = Crowd(), np.zeros((200, 200, 3), np.uint8)
    for number in (5, 100, 150):
        limited = with_suppression(model, max_detections=number)
        runtime = EagerRuntime(limited)
        assert max_detections_of(runtime) == number
        (found,) = predict(runtime, image)
        assert len(found.scores) == number  # type: ignore[attr-defined]
        assert f"array-0: {number} detections, the most that the model outputs" in caplog.text
    assert model.nms.max_detections == 100
    caplog.clear()
    (found,) = predict(EagerRuntime(with_suppression(model, max_detections=5)), image, score_threshold=0.95)
    assert not caplog.text  # nothing that scores as much was cut off
    with pytest.raises(ConfigError, match="lenet5 has no such limit"):
        with_suppression(create_model("lenet5"), max_detections=5)
    with pytest.raises(ConfigError, match="max_detections is 0"):
        with_suppression(model, max_detections=0)


def test_a_raised_limit_of_the_model_counts_in_its_evaluation() -> None:
    data = DigitScenes("detection", "val", count=2, size=(96, 96))
    model = create_model("yolox_nano", num_classes=10).eval()
    assert "AR100" in evaluate(EagerRuntime(with_suppression(model, max_detections=7)), data).values
    report = evaluate(EagerRuntime(with_suppression(model, max_detections=130)), data)
    assert "AR130" in report.values
    assert "at most 130 detections of a class count in an image." in report.notes
    report = evaluate(EagerRuntime(with_suppression(model, max_detections=1)), data)
    assert any("more objects than the 1 detections" in note for note in report.notes)


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_a_model_without_names_takes_those_of_the_data(task: str) -> None:
    names = {"detection": "yolox_nano", "segmentation": "unet", "classification": "lenet5"}
    data = DigitScenes(task, "val", count=2, size=(96, 96))
    number = len(data.info.class_names)
    report = evaluate(EagerRuntime(create_model(names[task], num_classes=number)), data)
    assert [row["class"] for row in report.per_class] == list(data.info.class_names)
    assert any("no class names" in note for note in report.notes)
    with pytest.raises(ConfigError, match=rf"has {number + 2} classes without names, data set '.*' has {number} \("):
        evaluate(EagerRuntime(create_model(names[task], num_classes=number + 2)), data)


def test_nothing_to_evaluate_is_an_error() -> None:
    data = subset(DigitScenes("classification", "val", count=2), [])
    with pytest.raises(DataError, match="no images to evaluate on"):
        evaluate(EagerRuntime(create_model("lenet5", num_classes=10)), data)


def entries(change: Callable[[dict[str, Any]], dict[str, Any]], found: list[dict[str, Any]]) -> str:
    return json.dumps([change(entry) for entry in found[:50]])


FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "numbers as text": lambda entry: {**entry, "image_id": "7", "category_id": "3", "score": "0.9"},
    "zeros in front": lambda entry: {**entry, "image_id": "000007"},
    "whole fractions": lambda entry: {**entry, "image_id": 7.0, "category_id": 3.0},
    "name of the file": lambda entry: {**entry, "image_id": "0.jpg"},
    "name without suffix": lambda entry: {**entry, "image_id": "0"},
    "path of another machine": lambda entry: {**entry, "image_id": "C:\\sets\\val\\0.jpg"},
    "name of the class": lambda entry: {**entry, "category_id": "pig"},
    "more fields": lambda entry: {**entry, "id": "x", "area": None, "segmentation": None},
}


@pytest.mark.parametrize("form", FORMS)
def test_result_files_of_other_tools_are_understood(form: str, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.json", tmp_path / "other.json"
    found = crowd(tmp_path / "data")
    plain.write_text(entries(lambda entry: entry, found))
    other.write_bytes(b"\xef\xbb\xbf" + entries(FORMS[form], found).encode())
    expected = saccade.evaluate(predictions=plain, data=tmp_path / "data").values
    assert expected["AR100"] == 50 / 400
    values = saccade.evaluate(predictions=other, data=tmp_path / "data").values
    assert values == pytest.approx(expected, nan_ok=True)


def test_a_file_of_masks_alone_is_scored_as_masks(tmp_path: Path) -> None:
    found = crowd(tmp_path / "data")
    side = 10 * SIDE
    for entry in found:
        x, y, width, height = entry.pop("bbox")
        mask = np.zeros((side, side), np.uint8)
        mask[y : y + height, x : x + width] = 1
        flat = mask.T.ravel()
        bounds = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
        entry["segmentation"] = {"size": [side, side], "counts": np.diff(bounds).tolist()}
    file = tmp_path / "masks.json"
    file.write_text(json.dumps(found[:100]))
    values = saccade.evaluate(predictions=file, data=tmp_path / "data").values
    assert values["AR100"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("image_id", "message"),
    [
        ("nothing.jpg", r"\[0\]\.image_id: 'nothing\.jpg' is not in the data set; it has .*0\.jpg"),
        ("a\x1b[31mb", r"'a\\x1b\[31mb' is not in the data set"),
        (7.5, r"7\.5 is not in the data set"),
        (None, r"\[0\]\.image_id: expected"),
        (1e300, "is not in the data set"),
    ],
)
def test_an_unknown_image_is_named(image_id: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps([{**crowd(tmp_path / "data")[0], "image_id": image_id}]))
    with pytest.raises(DataError, match=message):
        saccade.evaluate(predictions=file, data=tmp_path / "data")
