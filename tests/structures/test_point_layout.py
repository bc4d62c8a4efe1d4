"""The layout of keypoints travels from a data set through checkpoints into results, drawings and COCO files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import saccade
from saccade.data.open import open_raw
from saccade.data.writers.convert import convert
from saccade.deploy.runtime import EagerRuntime
from saccade.engine.predict.predict import predict
from saccade.engine.predict.test_time_augmentation import AugmentedRuntime
from saccade.errors import DataError, WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.results.keypoints import Keypoints
from saccade.structures.point_layout import PointLayout

EYES = PointLayout(("left_eye", "right_eye"), flip_pairs=((0, 1),), skeleton=((0, 1),))


def _coco(folder: Path, skeleton: object) -> Path:
    category = {"id": 1, "name": "face", "keypoints": ["left_eye", "right_eye", "nose"], "skeleton": skeleton}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 30, 30], "area": 900, "iscrowd": 0}
    annotation |= {"keypoints": [5, 6, 2, 20, 6, 2, 0, 0, 0], "num_keypoints": 2}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "categories": [category],
        "annotations": [annotation],
    }
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "person_keypoints_train.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(("given", "expected"), [([[1, 3], [2, 3]], ((0, 2), (1, 2))), ([], ()), (None, ())])
def test_coco_counts_limbs_from_one_and_data_without_a_skeleton_are_read(
    tmp_path: Path, given: object, expected: tuple[tuple[int, int], ...]
) -> None:
    info = open_raw(_coco(tmp_path, given), "train", task="keypoints").info
    assert info.skeleton == expected
    assert info.points == PointLayout(("left_eye", "right_eye", "nose"), ((0, 1),), expected, "face")


@pytest.mark.parametrize("wrong", [[[0, 1]], [[1, 4]], [[1]], "limbs", [["a", "b"]]])
def test_a_skeleton_of_other_points_is_named(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(DataError, match=r"person_keypoints_train\.json: categories: skeleton is no list of pairs"):
        open_raw(_coco(tmp_path, wrong), "train", task="keypoints")


def test_the_skeleton_survives_a_conversion(tmp_path: Path) -> None:
    convert(_coco(tmp_path / "from", [[1, 3]]), tmp_path / "to", to="coco", task="keypoints", image_files="none")
    written = json.loads((tmp_path / "to" / "annotations" / "person_keypoints_train.json").read_text())
    assert written["categories"][0]["skeleton"] == [[1, 3]]


def _model() -> Model:
    model = saccade.create_model("dsnt", num_classes=2)
    model.class_names, model.point_layout = EYES.names, EYES
    return model


def test_checkpoints_results_and_test_time_augmentation_know_the_layout(tmp_path: Path) -> None:
    model = load_model(save_model(_model(), tmp_path / "eyes.safetensors"))
    assert model.point_layout == EYES
    image = np.zeros((64, 64, 3), np.uint8)
    (result,) = predict(AugmentedRuntime(EagerRuntime(model)), image, size=(64, 64))  # needs no flip_pairs
    assert isinstance(result, Keypoints)
    assert result.skeleton == EYES.skeleton


def test_exported_files_know_the_layout(tmp_path: Path) -> None:
    from saccade.deploy.export import export_model
    from saccade.deploy.runtime import open_runtime

    runtime = open_runtime(export_model(_model(), tmp_path / "eyes", format="torch", size=(64, 64)), trust=True)
    assert runtime.point_layout == EYES  # type: ignore[attr-defined]


def test_a_checkpoint_whose_skeleton_has_other_points_is_refused(tmp_path: Path) -> None:
    model = _model()
    path = save_model(model, tmp_path / "eyes.safetensors")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"skeleton\\": [[0, 1]]', b'\\"skeleton\\": [[0, 7]]'))
    assert path.read_bytes() != content
    with pytest.raises(WeightsError, match="skeleton"):
        load_model(path)


def test_limbs_are_coloured_and_boxes_drawn() -> None:
    about = {"path": "a.jpg", "image_id": 0, "image_size": (400, 400), "class_names": EYES.names}
    points = np.array([[[50.5, 200.5], [350.5, 200.5]]])
    scores = np.array([[0.9, 0.8]])
    image = np.zeros((400, 400, 3), np.uint8)
    plain = Keypoints(**about, image=image, keypoints=points, point_scores=scores)
    joined = Keypoints(**about, image=image, keypoints=points, point_scores=scores, skeleton=((0, 1),))
    boxes = np.array([[20.0, 100, 380, 300]])
    boxed = Keypoints(**about, image=image, keypoints=points, point_scores=scores, boxes_xyxy=boxes)
    assert not plain.plot()[200, 200].any()
    assert len(set(joined.plot()[200, 200].tolist())) > 1  # a colour, not a grey
    assert boxed.plot()[200, 20].any()
    assert not plain.plot()[200, 20].any()


def test_a_hidden_end_has_no_limb() -> None:
    about = {"path": "a.jpg", "image_id": 0, "image_size": (400, 400), "class_names": EYES.names}
    points, scores = np.array([[[50.5, 200.5], [350.5, 200.5]]]), np.array([[1.0, 0.0]])
    image = np.zeros((400, 400, 3), np.uint8)
    drawn = Keypoints(**about, image=image, keypoints=points, point_scores=scores, skeleton=((0, 1),)).plot()
    assert not drawn[200, 200].any()
