from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as codec
from tests.metrics.references import pycocotools_figures, random_masks, random_set

from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.open import open_raw
from saccade.data.readers import coco
from saccade.data.tables.table_dataset import TableDataset
from saccade.engine.evaluate.result_files import evaluate_predictions
from saccade.errors import ConfigError, DataError
from saccade.metrics.coco import COCO_FIGURES
from saccade.metrics.oks import OKS_FIGURES

IMAGE = {"height": 500, "width": 700}


def write_coco(root: Path, dataset: dict[str, Any], prefix: str = "instances") -> None:
    (root / "annotations").mkdir(parents=True)
    images = [{"file_name": f"{image['id']}.jpg", **IMAGE, **image} for image in dataset["images"]]
    (root / "annotations" / f"{prefix}_val.json").write_text(json.dumps({**dataset, "images": images}))


def write(path: Path, found: Any) -> Path:
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    return path


def same(ours: dict[str, float], theirs: list[float], names: tuple[str, ...], tolerance: float) -> None:
    for name, value in zip(names, theirs, strict=True):
        assert ours[name] == pytest.approx(value, abs=tolerance, nan_ok=True), name


@pytest.mark.parametrize("seed", range(3))
def test_boxes_equal_pycocotools(seed: int, tmp_path: Path) -> None:
    dataset, found = random_set(seed)
    write_coco(tmp_path, dataset)
    values = evaluate_predictions(write(tmp_path / "found.json", found), coco.read(tmp_path, "val")).values
    same(values, pycocotools_figures(dataset, found), COCO_FIGURES, 1e-12)


@pytest.mark.parametrize("plain", [False, True], ids=["compressed", "plain"])
def test_masks_equal_pycocotools_whatever_the_code_of_their_runs(plain: bool, tmp_path: Path) -> None:
    dataset, found = random_masks(4)
    write_coco(tmp_path, dataset)
    entries = [{**entry, "segmentation": plain_runs(entry["segmentation"])} for entry in found] if plain else found
    data = coco.read(tmp_path, "val", masks=True)
    report = evaluate_predictions(write(tmp_path / "found.json", entries), data, "segm")
    same(report.values, pycocotools_figures(dataset, found, "segm"), COCO_FIGURES, 1e-12)


def plain_runs(code: dict[str, Any]) -> dict[str, Any]:
    flat = codec.decode(code).T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *changes.tolist(), flat.size]).tolist()
    return {"size": code["size"], "counts": [0, *lengths] if flat[0] else lengths}


@pytest.mark.data("voc100_multiformat")
def test_the_toy_set_equals_pycocotools(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "voc100_multiformat" / "coco_eval_toy"
    dataset = json.loads((folder / "gts" / "sampled_gts_bbox_area.json").read_text())
    results = folder / "cocoapi_results.json"
    data = open_raw(folder / "gts", "all", task="detection")
    values = evaluate_predictions(results, data).values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, json.loads(results.read_text())), COCO_FIGURES, 1e-12)


@pytest.mark.data("tiny_coco")
@pytest.mark.parametrize("split", ["train", "val"])
def test_moved_masks_of_real_images_equal_pycocotools(split: str, data_root: Path, tmp_path: Path) -> None:
    """Polygons and crowds as COCO has them, against themselves moved by some pixels."""
    root = data_root / "tiny_coco"
    dataset = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
    data = coco.read(root, split, "detection", masks=True)
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for index in range(len(data)):
        target = data.target(index)
        for mask, label in zip(target["masks"], target["labels"], strict=True):
            moved = np.roll(mask, rng.integers(-12, 13, 2).tolist(), axis=(0, 1))
            code = codec.encode(np.asfortranarray(moved))
            entry = {"image_id": int(data.image_ids[index]), "category_id": data.info.category_ids[label]}
            runs = {"size": code["size"], "counts": code["counts"].decode()}
            found.append({**entry, "segmentation": runs, "score": round(float(rng.random()), 2)})
    values = evaluate_predictions(write(tmp_path / "found.json", found), data, "segm").values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, found, "segm"), COCO_FIGURES, 1e-12)


@pytest.mark.data("tiny_coco")
def test_moved_people_of_real_images_equal_pycocotools(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "tiny_coco"
    dataset = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    rng = np.random.default_rng(0)
    found = []
    for person in dataset["annotations"]:
        points = np.array(person["keypoints"], float).reshape(-1, 3)
        points[:, :2] += rng.normal(0, 0.05 * person["area"] ** 0.5, (17, 2))
        entry = {"image_id": person["image_id"], "category_id": 1, "keypoints": points.ravel().tolist()}
        found.append({**entry, "score": round(float(rng.random()), 2)})
    data = coco.read(root, "val", "keypoints")
    report = evaluate_predictions(write(tmp_path / "found.json", found), data)
    assert 0 < report.score < 1
    same(report.values, pycocotools_figures(dataset, found, "keypoints"), OKS_FIGURES, 1e-9)


def test_a_data_set_without_ids_of_its_own_is_meant_by_its_labels(tmp_path: Path) -> None:
    data = DigitScenes("detection", "val", count=3)
    found = []
    for index in range(len(data)):
        target = data.target(index)
        for (x1, y1, x2, y2), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            found.append({"image_id": index, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 1})
    assert evaluate_predictions(write(tmp_path / "found.json", found), data).values["AP"] == 1.0
    assert evaluate_predictions(write(tmp_path / "found.json", []), data).values["AP"] == 0.0


BOX = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5], "score": 0.5}
FAULTS: dict[str, tuple[Any, str]] = {
    "unknown image": (
        [BOX, {**BOX, "image_id": 99}],
        r"found\.json: \[1\]\.image_id: 99 is not in the data set; it has",
    ),
    "unknown category": (
        [{**BOX, "category_id": 1}],
        r"\[0\]\.category_id: 1 is not in the data set; it has 3, 7, 8, 90",
    ),
    "no score": ([BOX, {key: value for key, value in BOX.items() if key != "score"}], r"\[1\]: .*score"),
    "no box": ([{key: value for key, value in BOX.items() if key != "bbox"}], r"\[0\]: .*bbox"),
    "three sides": ([{**BOX, "bbox": [1, 2, 3]}], r"\[0\]\.bbox: "),
    "a word": ([{**BOX, "score": "high"}], r"\[0\]\.score: expected float, got str"),
    "an object": ({"annotations": []}, r"found\.json: predictions are a list of entries"),
    "no JSON": ("[{", r"found\.json: this is not valid JSON"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named_with_their_place(name: str, tmp_path: Path) -> None:
    found, message = FAULTS[name]
    dataset, _ = random_set(0)
    write_coco(tmp_path, dataset)
    with pytest.raises(DataError, match=message):
        evaluate_predictions(write(tmp_path / "found.json", found), coco.read(tmp_path, "val"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.json: there is no such file"):
        evaluate_predictions(tmp_path / "nothing.json", DigitScenes("detection", "val", count=1))


def test_a_fault_far_down_a_long_file_is_named_by_its_place(tmp_path: Path) -> None:
    dataset, _ = random_set(0)
    write_coco(tmp_path, dataset)
    found = [BOX] * 20_003 + [{**BOX, "bbox": [1, 2, 3, "x"]}]
    with pytest.raises(DataError, match=r"\[20003\]\.bbox"):
        evaluate_predictions(write(tmp_path / "found.json", found), coco.read(tmp_path, "val"))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("P13700000`1", "sum to 120, not to 10 x 13"),
        ("o", "strange character or breaks off"),
        ([100, 31], "sum to 131, not to 10 x 13"),
        ([140, -10], "a run is negative"),
        ([], "sum to 0, not to 10 x 13"),
    ],
)
def test_run_lengths_that_lie_never_reach_compiled_code(counts: Any, message: str, tmp_path: Path) -> None:
    dataset, _ = random_masks(0)
    write_coco(tmp_path, dataset)
    entry = {"image_id": 0, "category_id": 7, "segmentation": {"size": [10, 13], "counts": counts}, "score": 1}
    with pytest.raises(DataError, match=rf"\[0\]\.segmentation: .*{message}"):
        evaluate_predictions(write(tmp_path / "found.json", [entry]), coco.read(tmp_path, "val", masks=True), "segm")


def test_what_does_not_fit_the_data_set_is_refused(tmp_path: Path) -> None:
    dataset, found = random_set(0)
    write_coco(tmp_path, dataset)
    file = write(tmp_path / "found.json", found)
    data = coco.read(tmp_path, "val")
    with pytest.raises(ConfigError, match=r"iou_type is 'keypoints'.*Choose bbox or segm"):
        evaluate_predictions(file, data, "keypoints")
    with pytest.raises(ConfigError, match="read for classification"):
        evaluate_predictions(file, DigitScenes("classification", "val", count=1))
    mask = {"size": [500, 700], "counts": [350_000]}
    entry = {"image_id": 0, "category_id": 7, "segmentation": mask, "score": 1}
    with pytest.raises(DataError, match=r"0\.jpg: the ground truth has no masks\. Open the data set with masks=True"):
        evaluate_predictions(write(file, [entry]), data, "segm")
    assert isinstance(data, TableDataset)


def test_keypoints_of_another_number_are_named(tmp_path: Path) -> None:
    points = {"keypoints": [1, 2, 2, 3, 4, 1], "num_keypoints": 2, "area": 50, "bbox": [0, 0, 9, 9], "iscrowd": 0}
    dataset = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "pin", "keypoints": ["tip", "root"]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **points}],
    }
    write_coco(tmp_path, dataset, "person_keypoints")
    data = coco.read(tmp_path, "val", "keypoints")
    entry = {"image_id": 1, "category_id": 1, "score": 0.5, "keypoints": points["keypoints"]}
    assert evaluate_predictions(write(tmp_path / "found.json", [entry]), data).values["AP"] == 1.0
    with pytest.raises(DataError, match=r"\[0\]\.keypoints: there are 3 numbers, not 6"):
        evaluate_predictions(write(tmp_path / "found.json", [{**entry, "keypoints": [1, 2, 3]}]), data)
