"""Top-down prediction: boxes of a detector or a file, then the keypoints in each; several people a photograph."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.derived.test_object_crops import BOXES, ONE, TWO, People
from torch import Tensor

import saccade
from saccade.engine.predict.sources import Skips
from saccade.engine.predict.top_down import DetectorBoxes, FileBoxes, crops_of_boxes, predict_top_down
from saccade.errors import ConfigError, DataError
from saccade.metrics.oks import OksEvaluator
from saccade.models.base import Decoded
from saccade.results.images import write_image
from saccade.results.keypoints import Keypoints
from saccade.structures.input_spec import InputSpec
from saccade.structures.point_layout import PointLayout

LAYOUT = PointLayout(("left", "middle", "right"), ((0, 2),), ((0, 1), (1, 2)), "person")


class Brightest:
    """Finds three points at the brightest pixel of each colour."""

    task, class_names, name, point_layout = "keypoints", LAYOUT.names, "brightest", LAYOUT
    input_spec, input_names = InputSpec((128, 96), resize="letterbox", object_crops=1.25), ()
    decoded_keys = ("keypoints", "point_scores", "scores", "count")

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        flat = images.flatten(2).float().argmax(dim=2)
        width = images.shape[3]
        points = torch.stack([flat % width, flat // width], dim=-1).float() + 0.5
        B = len(images)
        return {
            "keypoints": points[:, None],
            "point_scores": torch.full((B, 1, 3), 0.5),
            "scores": torch.full((B, 1), 0.5),
            "count": torch.ones(B, dtype=torch.int64),
        }


class TwoBoxes:
    """A detector that finds two persons and a dog."""

    task, class_names, name = "detection", ("dog", "person"), "two boxes"
    input_spec, input_names = InputSpec((200, 300), resize="letterbox"), ()
    decoded_keys = ("boxes", "scores", "labels", "count")

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        boxes = torch.tensor([[*BOXES, [0.0, 0, 50, 50], [20, 20, 60, 60]]])
        return {
            "boxes": boxes,
            "scores": torch.tensor([[0.9, 0.6, 0.8, 0.01]]),
            "labels": torch.tensor([[1, 1, 0, 1]]),
            "count": torch.tensor([4]),
        }


def _photograph() -> np.ndarray:
    """Squares in red, green and blue where the points of the two people of ``BOXES`` are."""
    image = np.zeros((200, 300, 3), np.uint8)
    for person in (ONE, [(200.0, 60.0, 2), (225.0, 80.0, 2), (240.0, 120.0, 2)]):
        for channel, (x, y, _) in enumerate(person):
            image[int(y) - 2 : int(y) + 2, int(x) - 2 : int(x) + 2, channel] = 255
    return image


def _check_two_people(result: object) -> None:
    assert isinstance(result, Keypoints)
    assert len(result) == 2
    assert result.describe() == "2 objects of 3 points"
    np.testing.assert_allclose(result.scores, [0.45, 0.3], atol=1e-6)  # box times points
    np.testing.assert_allclose(result.boxes_xyxy, BOXES, atol=1e-3)
    np.testing.assert_allclose(result.keypoints[0], [point[:2] for point in ONE], atol=2.5)
    np.testing.assert_allclose(result.keypoints[1], [[200, 60], [225, 80], [240, 120]], atol=2.5)
    assert result.skeleton == LAYOUT.skeleton


def test_a_detector_says_where_the_people_are() -> None:
    (result,) = predict_top_down(Brightest(), _photograph(), TwoBoxes(), batch_size=1)
    _check_two_people(result)
    assert isinstance(result, Keypoints)
    drawn = result.plot()
    assert (drawn[:200, :300] != _photograph()).any()
    entry = result.to_json()["objects"][0]
    assert entry["box_xyxy"] == pytest.approx(BOXES[0])
    assert [point["name"] for point in entry["keypoints"]] == list(LAYOUT.names)
    first = result.to_coco([1])[0]
    assert (first["category_id"], len(first["keypoints"])) == (1, 9)
    assert first["keypoints"][0] == pytest.approx(result.keypoints[0, 0, 0] - 0.5)


def _file(folder: Path, **changes: object) -> Path:
    entries = [
        {"image_id": 42, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for (x1, y1, x2, y2), score in zip(BOXES, (0.9, 0.6), strict=True)
    ]
    path = folder / "boxes.json"
    path.write_text(json.dumps([{**entry, **changes} for entry in entries]))
    return path


@pytest.mark.parametrize("image", [42, "42", "000042.png", "000042"])
def test_a_file_says_where_the_people_are(tmp_path: Path, image: int | str) -> None:
    write_image(tmp_path / "000042.png", _photograph())
    write_image(tmp_path / "000043.png", _photograph())
    boxes = _file(tmp_path, image_id=image)
    first, second = predict_top_down(Brightest(), [tmp_path / "000042.png", tmp_path / "000043.png"], boxes)
    _check_two_people(first)
    assert second.describe() == "nothing"  # the file names no box of it
    assert second.plot().shape[2] == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [1, 2, 3]}, r"\[0\]: no image_id with a bbox of four numbers"),
        ({"bbox": [1, 2, 0, 3]}, r"\[0\]: bbox \[1, 2, 0, 3\] with score 0\.9 is no box"),
        ({"bbox": "no"}, r"\[0\]: no image_id with a bbox"),
        ({"score": 7}, "with score 7.0 is no box"),
        ({"image_id": None, "bbox": None}, "no image_id with a bbox"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        FileBoxes(_file(tmp_path, **change))


def test_boxes_of_several_categories_are_not_mixed_up(tmp_path: Path) -> None:
    path = _file(tmp_path)
    entries = json.loads(path.read_text())
    entries[1]["category_id"] = 18
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"category_id: 2 categories.* Keep the entries of that category alone"):
        FileBoxes(path)
    assert len(FileBoxes(path, categories=[1]).find("42.png", None, _photograph())) == 1
    path.write_text("{}")
    with pytest.raises(DataError, match="boxes are a list of entries"):
        FileBoxes(path)


def test_a_detector_without_the_class_is_refused() -> None:
    assert len(DetectorBoxes(TwoBoxes(), "person").find("", None, _photograph())) == 2
    assert len(DetectorBoxes(TwoBoxes(), "dog").find("", None, _photograph())) == 1
    with pytest.raises(ConfigError, match=r"two boxes has 2 classes \(dog, person\) and none is 'cat'"):
        DetectorBoxes(TwoBoxes(), "cat")
    with pytest.raises(ConfigError, match="which of them has the keypoints is not known"):
        DetectorBoxes(TwoBoxes())
    with pytest.raises(ConfigError, match=r"brightest solves keypoints\. Name a detector"):
        DetectorBoxes(Brightest(), "left")


def test_evaluation_takes_the_boxes_of_the_data_or_of_a_detector(tmp_path: Path) -> None:
    data = People([ONE, TWO], BOXES)
    truth = crops_of_boxes(data, Brightest.input_spec)
    assert [truth.box(index).score for index in range(len(truth))] == [1, 1]
    for boxes in (TwoBoxes(), _file(tmp_path, image_id="people.jpg", category_id=0)):
        found = crops_of_boxes(data, Brightest.input_spec, boxes)
        assert [round(found.box(index).score, 3) for index in range(len(found))] == [0.9, 0.6]
        assert found.read(1).original is not None
    nowhere = crops_of_boxes(data, Brightest.input_spec, _file(tmp_path, image_id="other.jpg"))
    assert [nowhere.box(index).score for index in range(len(nowhere))] == [0]
    # ... which is an image where nothing was found.
    from saccade.engine.evaluate.evaluate import evaluate

    assert evaluate(Brightest(), nowhere).values["AR"] == 0


def test_the_verb_refuses_boxes_and_tiles_that_have_no_use(caplog: pytest.LogCaptureFixture) -> None:
    whole = saccade.create_model("dsnt", num_classes=3)
    with pytest.raises(ConfigError, match=r"dsnt .* takes whole images\. Leave boxes out"):
        saccade.predict(whole, _photograph(), boxes="boxes.json")
    pose = saccade.create_model("hrnet_pose", num_classes=3)
    with pytest.raises(ConfigError, match=r"there is nothing left to cut\. Leave tile out"):
        saccade.predict(pose, _photograph(), boxes="boxes.json", tile=64)
    with caplog.at_level(logging.WARNING, "saccade"):
        (result,) = saccade.predict(pose, _photograph())
    assert isinstance(result, Keypoints)
    assert len(result) == 1
    assert "finds the keypoints of one object and takes each image for one" in caplog.text


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    write_image(tmp_path / "000042.png", _photograph())
    (tmp_path / "000041.png").write_bytes(b"nothing")
    skips = Skips("skip")
    results = list(predict_top_down(Brightest(), tmp_path, _file(tmp_path), skips=skips))
    assert len(results) == 1
    assert Path(skips.images[0].path).name == "000041.png"


def test_the_similarity_of_the_two_people_is_scored_together() -> None:
    (result,) = predict_top_down(Brightest(), _photograph(), TwoBoxes())
    evaluator = OksEvaluator(LAYOUT.names, sigmas=(0.3, 0.3, 0.3))
    evaluator.update([result], [People([ONE, TWO], BOXES).target(0)])
    assert evaluator.compute().values["AP"] > 0.9
