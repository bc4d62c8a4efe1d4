"""Predictions written for annotation tools come back through our own readers, with their scores."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli import main
from saccade.data.open import open_raw
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers._common import LossReport
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.predict.labels import write_labels
from saccade.engine.predict.predict import Predictions
from saccade.engine.predict.sources import Skipped
from saccade.errors import ConfigError, DataError
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model
from saccade.results.base import Result
from saccade.results.classification import Classification
from saccade.results.detections import Detections
from saccade.results.keypoints import Keypoints
from saccade.results.segmentation import SegmentationMap
from saccade.structures.point_layout import PointLayout

NAMES = ("cat", "dog")
BOXES = [[10.0, 5.5, 30.25, 35.0], [40.0, 8.0, 58.0, 20.0], [2.0, 2.0, 9.0, 9.0]]
SCORES = [0.91, 0.62, 0.4]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch predicts: nothing is converted for each of many calls."""
    monkeypatch.setattr("saccade.deploy.runtime.best_cpu_runtime", lambda model, cached: FusedRuntime(model))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (60, 40), "red").save(folder / f"{name}.png")
    return folder


def _about(photos: Path, name: str, class_names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {
        "path": str(photos / f"{name}.png"),
        "image_id": "abc".index(name),
        "image_size": (40, 60),
        "class_names": class_names,
    }


def _detections(photos: Path, masks: bool = False) -> list[Result]:
    drawn = np.zeros((3, 40, 60), bool)
    for mask, box in zip(drawn, np.array(BOXES).round().astype(int).tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    drawn[0, 10:14, 14:20] = False  # a hole
    more = {"masks": drawn} if masks else {}
    first = Detections(**_about(photos, "a"), boxes_xyxy=np.array(BOXES), scores=SCORES, labels=[1, 0, 1], **more)
    less = {key: value[:0] for key, value in more.items()}
    empty = Detections(**_about(photos, "b"), boxes_xyxy=np.zeros((0, 4)), scores=[], labels=[], **less)
    return [first, empty, replace(first[:1], **_about(photos, "c"))]


def _write(results: list[Result], task: str, out: Path, to: str, **options: Any) -> LossReport:
    names = results[0].class_names
    return write_labels(Predictions(iter(results), []), "photos", task, names, out, to, **options)


def _read(out: Path, **options: Any) -> TableDataset:
    data = open_raw(out, "all", **options)
    assert isinstance(data, TableDataset)
    return data


def _by_name(data: TableDataset) -> dict[str, int]:
    return {Path(data.path(index)).stem: index for index in range(len(data))}


@pytest.mark.parametrize("to", ["labelme", "cvat", "coco", "voc", "yolo"])
def test_boxes_and_scores_come_back(photos: Path, tmp_path: Path, to: str) -> None:
    report = _write(_detections(photos), "detection", tmp_path / "out", to)
    data = _read(tmp_path / "out")
    assert data.info.class_names == NAMES
    index = _by_name(data)
    assert sorted(index) == ["a", "b", "c"]
    assert all(Path(data.path(number)).is_file() for number in index.values())
    target = data.target(index["a"])
    assert np.allclose(target["boxes"], BOXES, atol=1e-5)
    assert target["labels"].tolist() == [1, 0, 1]
    assert len(data.target(index["b"])["labels"]) == 0
    if to == "yolo":  # has no attributes: said in the account, and kept in the table beside it
        assert report.dropped == {("attribute score", "YOLO has no attributes"): 4}
    else:
        assert report.lossless
        assert data.table.attributes is not None
        rows = range(*data.table.objects(index["a"]).indices(99))
        assert [data.table.attributes.get(row)["score"] for row in rows] == SCORES
    with (tmp_path / "out" / "uncertainty.csv").open() as stream:
        listed = list(csv.DictReader(stream))
    assert listed[0] == {
        "image": "a.png",
        "source": str(photos / "a.png"),
        "frame": "",
        "uncertainty": "0.8000",
        "objects": "3",
        "scores": "0.9100 0.6200 0.4000",
    }


@pytest.mark.parametrize("to", ["labelme", "cvat", "coco"])
def test_masks_come_back(photos: Path, tmp_path: Path, to: str) -> None:
    results = _detections(photos, masks=True)
    _write(results, "detection", tmp_path / "out", to)
    data = _read(tmp_path / "out", masks=True)
    masks = data.target(_by_name(data)["a"])["masks"]
    assert isinstance(results[0], Detections)
    assert results[0].masks is not None
    for found, wanted in zip(masks > 0, results[0].masks, strict=True):
        assert (found & wanted).sum() / (found | wanted).sum() > 0.97


@pytest.mark.parametrize("to", ["labelme", "cvat", "coco"])
def test_regions_of_a_label_map_come_back(photos: Path, tmp_path: Path, to: str) -> None:
    label_map = np.zeros((40, 60), np.uint8)
    cv2.circle(label_map, (20, 20), 12, 1, -1)
    label_map[5:15, 40:55] = 2
    label_map[25:35, 40:55] = 2
    names = ("background", *NAMES)
    _write([SegmentationMap(**_about(photos, "a", names), label_map=label_map)], "segmentation", tmp_path / "out", to)
    data = _read(tmp_path / "out", task="segmentation")
    assert data.info.class_names == names
    found = data.target(0)["label_map"]
    assert (found == label_map).mean() > 0.98
    assert len(data.table.labels) == 3


@pytest.mark.parametrize("to", ["labelme", "cvat", "folder"])
def test_classes_of_images_come_back(photos: Path, tmp_path: Path, to: str) -> None:
    shares = {"a": [0.9, 0.1], "b": [0.2, 0.8], "c": [0.45, 0.55]}
    results: list[Result] = [
        Classification(**_about(photos, name), probabilities=np.array(share)) for name, share in shares.items()
    ]
    _write(results, "classification", tmp_path / "out", to)
    data = _read(tmp_path / "out", task="classification")
    found = {name: data.info.class_names[int(data.target(row)["labels"])] for name, row in _by_name(data).items()}
    assert found == {"a": "cat", "b": "dog", "c": "dog"}


@pytest.mark.parametrize("to", ["labelme", "coco", "yolo"])
def test_keypoints_come_back(photos: Path, tmp_path: Path, to: str) -> None:
    points = np.array([[[10.0, 5.0], [20.0, 30.0]], [[40.0, 8.0], [50.5, 20.0]]])
    scores = np.array([[0.9, 0.1], [0.8, 0.7]])
    one = Keypoints(**_about(photos, "a", ("left", "right")), keypoints=points, point_scores=scores)
    _write([one], "keypoints", tmp_path / "out", to)
    data = _read(tmp_path / "out", task="keypoints")
    found = data.target(0)["keypoints"]
    assert np.allclose(found[..., :2], points, atol=1e-4)
    assert found[..., 2].tolist() == [[2, 1], [2, 2]]
    assert data.info.class_names == ("left", "right")


@pytest.mark.parametrize("to", ["labelme", "coco", "yolo", "label_studio", "csv", "cvat", "voc"])
def test_keypoints_of_detections_come_back_or_are_counted(photos: Path, tmp_path: Path, to: str) -> None:
    layout = PointLayout(("left", "right"), flip_pairs=((0, 1),), skeleton=((0, 1),))
    points = np.array([[[10.0, 5.0], [20.0, 30.0]]])
    one = Detections(
        **_about(photos, "a"),
        boxes_xyxy=[[5, 2, 30, 35]],
        scores=[0.9],
        labels=[1],
        keypoints=points,
        point_scores=np.array([[0.9, 0.1]]),
        point_names=layout.names,
    )
    report = _write([one], "detection", tmp_path / "out", to, points=layout)
    with_points = to in {"labelme", "coco", "yolo", "label_studio"}
    assert ("keypoints" in report.kept) == with_points
    dropped = {kind: count for (kind, _), count in report.dropped.items()}
    assert dropped.get("keypoints", 0) == (0 if with_points else 2)
    assert dropped.get("limbs of the skeleton", 0) == (0 if to == "coco" else 1)
    if to == "label_studio":
        config = (tmp_path / "out" / "label_config.xml").read_text()
        assert '<KeyPointLabels name="point" toName="image"><Label value="left"/><Label value="right"/>' in config
    elif with_points:
        data = _read(tmp_path / "out", task="keypoints")
        assert np.allclose(data.target(0)["keypoints"], [[[10.0, 5.0, 2.0], [20.0, 30.0, 1.0]]], atol=1e-4)
        assert data.info.class_names == ("left", "right")
        assert data.info.skeleton == (layout.skeleton if to == "coco" else ())


def test_label_studio_gets_drafts_in_percent(photos: Path, tmp_path: Path) -> None:
    _write(_detections(photos), "detection", tmp_path / "out", "label_studio")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d=images/{n}.png" for n in "abc"]
    assert (tmp_path / "out" / "images" / "a.png").is_file()
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.4
    for region, (x1, y1, x2, y2), score in zip(prediction["result"], BOXES, SCORES, strict=True):
        value = region["value"]
        left, top = value["x"] * 0.6, value["y"] * 0.4
        box = [left, top, left + value["width"] * 0.6, top + value["height"] * 0.4]
        assert np.allclose(box, [x1, y1, x2, y2])
        assert (region["type"], region["score"], region["original_width"]) == ("rectanglelabels", score, 60)
    assert [one["value"]["rectanglelabels"] for one in prediction["result"]] == [["dog"], ["cat"], ["dog"]]
    config = (tmp_path / "out" / "label_config.xml").read_text()
    assert '<RectangleLabels name="box" toName="image"><Label value="cat"/><Label value="dog"/>' in config
    masks = tmp_path / "masks"
    _write(_detections(photos, masks=True), "detection", masks, "label_studio")
    region = json.loads((masks / "tasks.json").read_text())[0]["predictions"][0]["result"][1]
    assert np.array(region["value"]["points"]).min(axis=0).tolist() == [40 / 0.6, 8 / 0.4]


def test_the_most_uncertain_come_first(photos: Path, tmp_path: Path) -> None:
    results: list[Result] = [
        Classification(**_about(photos, name), probabilities=np.array(share))
        for name, share in {"a": [0.9, 0.1], "b": [0.51, 0.49], "c": [0.3, 0.7]}.items()
    ]
    _write(results, "classification", tmp_path / "out", "labelme", sort="uncertain")
    assert sorted(file.name for file in (tmp_path / "out").glob("*.png")) == ["1_b.png", "2_c.png", "3_a.png"]
    with (tmp_path / "out" / "uncertainty.csv").open() as stream:
        assert [float(row["uncertainty"]) for row in csv.DictReader(stream)] == [0.98, 0.6, 0.2]
    maps: list[Result] = [SegmentationMap(**_about(photos, "a"), label_map=np.zeros((40, 60), np.uint8))]
    with pytest.raises(ConfigError, match="no scores to sort by"):
        _write(maps, "segmentation", tmp_path / "maps", "coco", sort="uncertain")
    with pytest.raises(ConfigError, match=r"sort is 'uncertian'.*uncertain"):
        _write(results, "classification", tmp_path / "other", "labelme", sort="uncertian")


def test_the_verb_labels_images_and_frames(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = create_model("lenet5", num_classes=2).eval()
    network.class_names = NAMES
    run = str(save_model(network, tmp_path / "run" / "best.safetensors"))
    (photos / "broken.png").write_bytes(b"no image")
    writer = cv2.VideoWriter(str(photos / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for grey in (0, 100, 200):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    out = tmp_path / "labels"
    assert main(["label", run, str(photos), "--to", "labelme", "--out", str(out), "--every", "2"]) == 1
    said = capsys.readouterr()
    assert "they cannot be read" in said.out
    assert "broken.png" in said.err
    assert sorted(file.name for file in out.glob("*.json")) == [
        *("a.json", "b.json", "c.json", "clip-000000.json", "clip-000002.json")
    ]
    assert (out / "a.png").read_bytes() == (photos / "a.png").read_bytes()
    assert abs(float(np.asarray(Image.open(out / "clip-000002.jpg")).mean()) - 200) < 3
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
    assert main(["label", run, str(photos), "--to", "labelme", "--out", str(out)]) == 3
    assert "this is not an empty folder" in capsys.readouterr().err
    assert main(["label", run, str(photos), "--to", "labelmee", "--out", "new"]) == 2
    assert "Did you mean 'labelme'" in capsys.readouterr().err
    assert main(["label", run, str(photos), "--to", "voc", "--out", str(tmp_path / "new")]) == 2
    assert "format 'voc' cannot hold labels of classification" in capsys.readouterr().err


def test_what_has_no_labels_is_refused(photos: Path, tmp_path: Path) -> None:
    network = create_model("protonet_conv4", in_channels=3, width=4)
    with pytest.raises(ConfigError, match="embedding predicts no labels that could be corrected"):
        saccade.label(network, photos, to="labelme", out=tmp_path / "out")
    skipped = [Skipped("gone.jpg", "gone.jpg: there is no such file.")]
    with pytest.raises(DataError, match=r"no image to label\. gone\.jpg: there is no such file"):
        write_labels(Predictions(iter(()), skipped), "x", "detection", NAMES, tmp_path / "none", "coco")
