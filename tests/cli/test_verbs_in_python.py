"""Verbs called from Python, where they do more than pass their options on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import saccade
from saccade.errors import ConfigError
from saccade.models.checkpoint import save_model


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A COCO folder of two images with a box each."""
    root = tmp_path / "scenes"
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        cv2.imwrite(str(root / f"images/{number}.png"), np.full((60, 80, 3), 90, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0}
        annotations.append(box)
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "digit"}]}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val.json").write_text(json.dumps(truth))
    return root


def test_a_file_of_predictions_is_scored(scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    rows = [{"image_id": number, "category_id": 1, "score": 0.9, "bbox": [10, 10, 20, 30]} for number in (1, 2)]
    file.write_text(json.dumps(rows))
    report = saccade.evaluate(predictions=file, data=scenes)
    assert report.values["AP"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="Did you mean 'bbox'"):
        saccade.evaluate(predictions=file, data=scenes, iou_type="box")
    for options in ({"data": None}, {"data": scenes, "model": "m.onnx"}):
        with pytest.raises(ConfigError, match="predictions are scored on data, without a model"):
            saccade.evaluate(predictions=file, **options)
    with pytest.raises(ConfigError, match="nothing to score"):
        saccade.evaluate(data=scenes)


def test_views_and_tiles_reach_the_model() -> None:
    """One shade everywhere: neither a mirror nor a tile changes what a classifier predicts of it."""
    model, image = saccade.create_model("resnet20_cifar"), np.full((64, 64, 3), 120, np.uint8)
    (plain,) = saccade.predict(model, image)
    for options in ({"tta": True}, {"tile": 32, "overlap": 0.0}, {"tile": (32, 64), "tta": True}):
        (other,) = saccade.predict(model, image, **options)
        np.testing.assert_allclose(other.probabilities, plain.probabilities, atol=1e-3)
    with pytest.raises(ConfigError, match="scales"):
        next(saccade.predict(model, image, tta=True, tta_scales=()))
    next(saccade.predict(model, image, tta_scales=()))  # of no use without tta


def test_pixels_are_kept_unless_told_otherwise() -> None:
    model, image = saccade.create_model("lenet5"), np.zeros((28, 28), np.uint8)
    assert next(saccade.predict(model, image)).image is not None
    assert next(saccade.predict(model, image, keep_images=False)).image is None


def test_a_model_is_checked_against_data() -> None:
    report = saccade.check("digit_scenes", "val", task="classification", model="lenet5", steps=0)
    assert report.overfit is None
    assert report.ok


def test_a_checkpoint_is_counted_like_its_network(tmp_path: Path) -> None:
    path = save_model(saccade.create_model("lenet5", num_classes=3), tmp_path / "m.safetensors")
    assert saccade.summary(path).params == saccade.summary("lenet5", num_classes=3).params
    assert saccade.summary(str(path), size=(64, 64)).input_shape == (1, 64, 64)


def test_rows_of_the_lists() -> None:
    row = next(row for row in saccade.models("classification") if row.name == "resnet18")
    assert (row.task, row.parameters, "imagenet" in row.published) == ("classification", 11_689_512, True)
    assert [row.name for row in saccade.models()] == saccade.list_models()
    assert {row.name: row.present for row in saccade.datasets()}["digit_scenes"]
    with pytest.raises(ConfigError, match="Did you mean 'keypoints'"):
        saccade.datasets(task="keypoint")


def test_drawings_are_written_only_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sheet = saccade.show("digit_scenes", count=1)
    assert list(tmp_path.iterdir()) == []
    saccade.show("digit_scenes", count=1, save="sheet.png")
    assert cv2.imread("sheet.png").shape == sheet.shape
