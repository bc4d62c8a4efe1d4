"""Thresholds of classes: chosen on validation data, kept in files of models, applied when predicting."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.testing.networks import TinyDetector

import saccade
from saccade.cli import main
from saccade.errors import ConfigError, WeightsError
from saccade.metrics.coco import CocoEvaluator
from saccade.metrics.detection_errors import find_errors
from saccade.models.checkpoint import keep_fields, load_model, read_metadata, save_model
from saccade.results.detections import Detections
from saccade.results.images import write_image

NAMES = ("cat", "dog", "newt")


@pytest.fixture(scope="module")
def model() -> TinyDetector:
    """A detector that finds much in anything."""
    torch.manual_seed(8)
    model = saccade.create_model("tests.testing.networks:tiny_detector", num_classes=3).eval()
    assert isinstance(model, TinyDetector)
    model.nms = replace(model.nms, score_threshold=0.0, max_detections=60)
    model.class_names = NAMES
    with torch.no_grad():
        model.head.weight *= 8
    return model


@pytest.fixture(scope="module")
def data(model: TinyDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO data whose objects are what the model finds, from a score on that differs by class."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(4):
        blocks = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1)))
        write_image(folder / "val" / f"{number}.png", blocks.astype(np.uint8))
    found = [result for result in saccade.predict(model, folder / "val") if isinstance(result, Detections)]
    scores, labels = (np.concatenate([getattr(result, name) for result in found]) for name in ("scores", "labels"))
    limits = [float(np.quantile(scores[labels == label], share)) for label, share in enumerate((0.3, 0.6, 0.8))]
    entries = [entry for result in found for entry in result.above(limits).to_coco()]
    values = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in range(4)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
        "annotations": [
            {key: entry[key] for key in ("image_id", "category_id", "bbox")}
            | {"id": number, "iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3]}
            for number, entry in enumerate(entries, 1)
        ],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def checkpoint(model: TinyDetector, tmp_path: Path) -> Path:
    return save_model(model, tmp_path / "tiny.safetensors", metrics={"AP": 0.5})


def f1(found: list[Detections], targets: list[dict[str, np.ndarray]], label: int, limit: float) -> float:
    """F1 of a class, if all that scores less is left out: counted anew."""
    evaluator = CocoEvaluator(NAMES)
    for number, (result, target) in enumerate(zip(found, targets, strict=True)):
        kept = result[(result.labels == label) & (result.scores >= limit)]
        evaluator.update([replace(kept, image_id=number)], [target])
    table = evaluator.table()
    hits = int(find_errors(table).hit.sum())
    return 2 * hits / (len(table.score) + int((table.ground_truth_label == label).sum()))


def test_the_threshold_of_each_class_has_its_greatest_f1() -> None:
    rng = np.random.default_rng(2)
    evaluator = CocoEvaluator(NAMES)
    found, targets = [], []
    for number in range(12):
        corner = rng.uniform(0, 300, (9, 2))
        boxes, labels = np.concatenate([corner, corner + 40], axis=1), np.arange(9) % 2
        is_hit = rng.uniform(size=9) < 0.6
        moved = np.where(is_hit[:, None], boxes, boxes + 35)
        scores = np.clip(rng.normal(np.where(is_hit, 0.6, 0.4) + 0.15 * labels, 0.1), 0, 1)
        about = {"path": "", "image_id": number, "image_size": (400, 400), "class_names": NAMES}
        found.append(Detections(**about, boxes_xyxy=moved, scores=scores, labels=labels))
        targets.append({"boxes": boxes, "labels": labels})
        evaluator.update([found[-1]], [targets[-1]])
    thresholds = evaluator.best_thresholds()
    assert thresholds[1] > thresholds[0] + 0.05
    for label in (0, 1):
        tried = [f1(found, targets, label, limit) for limit in np.linspace(0, 1, 501)]
        assert f1(found, targets, label, thresholds[label]) == pytest.approx(max(tried), abs=1e-9)
    assert thresholds[2] == evaluator.compute().values["F1_confidence"]  # no newts: as all classes together


def test_they_are_chosen_kept_and_applied(model: TinyDetector, data: Path, checkpoint: Path) -> None:
    before = list(saccade.predict(checkpoint, data / "val"))
    report = saccade.evaluate(checkpoint, data, workers=0, choose_thresholds=True)
    metadata = read_metadata(checkpoint)
    thresholds = metadata["score_thresholds"]
    assert [row["threshold"] for row in report.per_class] == thresholds
    assert len(set(thresholds)) == 3
    assert metadata["metrics"] == {"AP": 0.5}  # all else stays
    assert "chosen on 'val'" in report.notes[-1]
    restored = load_model(checkpoint)
    for name, value in model.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
    after = list(saccade.predict(checkpoint, data / "val"))
    for old, new in zip(before, after, strict=True):
        assert isinstance(old, Detections)
        assert isinstance(new, Detections)
        kept = old.scores >= np.array(thresholds)[old.labels]
        assert 0 < kept.sum() < len(old)
        assert np.array_equal(new.boxes_xyxy, old.boxes_xyxy[kept])
    # One threshold for all overrides them; 0 switches them off. Metrics are those of everything.
    every = saccade.predict(checkpoint, data / "val", score_threshold=0.0)
    assert [len(one) for one in every] == [len(one) for one in before]  # type: ignore[arg-type]
    few = saccade.predict(checkpoint, data / "val", score_threshold=0.2)
    assert [len(one) for one in few] == [len(one.above(0.2)) for one in before]  # type: ignore[arg-type]
    again = saccade.evaluate(checkpoint, data, "val", workers=0)
    assert again.values == pytest.approx(report.values, nan_ok=True)


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_exported_files_keep_them(checkpoint: Path, data: Path, format: str, tmp_path: Path) -> None:
    keep_fields(checkpoint, {"score_thresholds": [0.9, 0.2, 0.22]})
    file = saccade.export(checkpoint, format, tmp_path / "exported").path
    (result,) = saccade.predict(file, data / "val" / "0.png", trust=True)
    assert isinstance(result, Detections)
    assert (result.scores >= np.array([0.9, 0.2, 0.22])[result.labels]).all()
    saccade.evaluate(file, data, workers=0, choose_thresholds=True, trust=True)
    (chosen,) = saccade.predict(file, data / "val" / "0.png", trust=True)
    expected = saccade.evaluate(checkpoint, data, workers=0, choose_thresholds=True)
    limits = np.array([row["threshold"] for row in expected.per_class])
    assert isinstance(chosen, Detections)
    (every,) = saccade.predict(checkpoint, data / "val" / "0.png", score_threshold=0.0)
    assert len(chosen) == len(every.above(limits.tolist()))  # type: ignore[arg-type]


def test_the_shell_prints_what_passes_them(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_fields(checkpoint, {"score_thresholds": [1.0, 1.0, 0.0]})
    image = str(data / "val" / "0.png")
    assert main(["predict", "--model", str(checkpoint), "--source", image]) == 0
    (every,) = saccade.predict(checkpoint, image, score_threshold=0.0)
    assert isinstance(every, Detections)
    newts = int((every.labels == 2).sum())
    assert capsys.readouterr().out == f"{image}: {newts} newt\n"


def test_a_model_in_memory_keeps_them(model: TinyDetector, data: Path) -> None:
    try:
        report = saccade.evaluate(model, data, workers=0, choose_thresholds=True)
        assert list(model.score_thresholds) == [row["threshold"] for row in report.per_class]
    finally:
        model.score_thresholds = ()


def test_labels_to_be_corrected_pass_them(model: TinyDetector, data: Path, tmp_path: Path) -> None:
    own = copy.deepcopy(model)
    own.score_thresholds = (0.9, 0.05, 0.5)
    counts = {}
    for name, threshold in (("own", None), ("given", 0.02)):
        report = saccade.label(own, data / "val", to="csv", out=tmp_path / name, score_threshold=threshold)
        found = saccade.predict(own, data / "val", score_threshold=threshold)
        counts[name] = report.kept["objects"]
        assert counts[name] == sum(len(result) for result in found if isinstance(result, Detections))
    assert 0 < counts["own"] < counts["given"]


def test_files_with_others_and_tasks_without_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    keep_fields(checkpoint, {"score_thresholds": [0.5, 0.5]})
    with pytest.raises(WeightsError, match="field score_thresholds: 2 thresholds for 3 classes"):
        load_model(checkpoint)
    classifier = save_model(saccade.create_model("lenet5"), tmp_path / "lenet.safetensors")
    with pytest.raises(ConfigError, match="classification has no objects with scores to choose thresholds for"):
        saccade.evaluate(classifier, "digit_scenes", "val", workers=0, choose_thresholds=True)
