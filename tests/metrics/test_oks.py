from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.metrics.references import faster_figures, pycocotools_figures

from saccade.data.readers import coco
from saccade.errors import ConfigError, DataError
from saccade.metrics.keypoints import KeypointEvaluator
from saccade.metrics.oks import COCO_SIGMAS, OKS_FIGURES, UNIFORM_SIGMA, OksEvaluator, object_similarity, sigmas_of
from saccade.results.keypoints import Keypoints
from saccade.structures.dataset import DatasetInfo
from saccade.tasks import get_task

PERSON = tuple(COCO_SIGMAS)


def keypoints(image_id: int, points: Any, scores: Any = None, names: tuple[str, ...] = PERSON) -> Keypoints:
    points = np.asarray(points, float).reshape(-1, len(names), 2)
    scores = np.ones(len(points)) if scores is None else np.asarray(scores, float)
    about = {"path": f"{image_id}.png", "image_id": image_id, "image_size": (480, 640), "class_names": names}
    return Keypoints(**about, keypoints=points, point_scores=np.repeat(scores[:, None], len(names), axis=1))


def random_people(seed: int, images: int = 15) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO dictionaries: crowds, persons without a labelled point, ties of scores, more than 20 detections."""
    rng = np.random.default_rng(seed)
    ground_truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(int(rng.integers(0, 7)) if image % 4 else 0):
            width, height = rng.uniform(20, 250, 2)
            x, y = rng.uniform(0, 300, 2)
            points = np.round(rng.uniform(0, 1, (17, 2)) * [width, height] + [x, y])
            visible = rng.integers(0, 3, 17) * int(rng.random() < 0.8)
            crowd = int(rng.random() < 0.1)
            area = float(width * height * rng.uniform(0.3, 0.9))
            written = np.where(visible[:, None] > 0, points, 0)
            ground_truths.append(
                {
                    "id": len(ground_truths) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": crowd,
                    "area": area,
                    "bbox": [float(x), float(y), float(width), float(height)],
                    "num_keypoints": int((visible > 0).sum()),
                    "keypoints": np.concatenate([written, visible[:, None]], axis=1).ravel().tolist(),
                }
            )
            for _ in range(int(rng.integers(0, 9))):
                guess = points + rng.normal(0, rng.uniform(0, 0.1) * math.sqrt(area), (17, 2))
                values = np.concatenate([guess, np.ones((17, 1))], axis=1).ravel().tolist()
                score = round(float(rng.random()), 1)
                found.append({"image_id": image, "category_id": 1, "keypoints": values, "score": score})
    entries = [{"id": i, "height": 480, "width": 640, "file_name": f"{i}.jpg"} for i in range(images)]
    category = {"id": 1, "name": "person", "keypoints": list(PERSON), "skeleton": []}
    return {"images": entries, "categories": [category], "annotations": ground_truths}, found


def evaluator_of(dataset: dict[str, Any], found: list[dict[str, Any]]) -> OksEvaluator:
    """Feed COCO dictionaries through results and targets."""
    evaluator = OksEvaluator(PERSON)
    for image in dataset["images"]:
        mine = [entry for entry in found if entry["image_id"] == image["id"]]
        true = [entry for entry in dataset["annotations"] if entry["image_id"] == image["id"]]
        boxes = np.array([entry["bbox"] for entry in true], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        ground_truth = np.array([entry["keypoints"] for entry in true], float).reshape(-1, 17, 3)
        ground_truth[..., :2] += 0.5
        target = {
            "keypoints": ground_truth,
            "boxes": boxes,
            "area": np.array([entry["area"] for entry in true]),
            "iscrowd": np.array([entry["iscrowd"] for entry in true], bool),
        }
        points = np.array([entry["keypoints"] for entry in mine], float).reshape(-1, 17, 3)[..., :2] + 0.5
        evaluator.update([keypoints(image["id"], points, [entry["score"] for entry in mine])], [target])
    return evaluator


def same(ours: dict[str, float], theirs: list[float]) -> None:
    assert list(ours) == list(OKS_FIGURES)
    assert len(theirs) == 10
    for name, value in zip(OKS_FIGURES, theirs, strict=True):
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_those_of_both_tools_on_random_people(seed: int) -> None:
    dataset, found = random_people(seed)
    values = evaluator_of(dataset, found).compute().values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(dataset, found, "keypoints"))
    same(values, faster_figures(dataset, found, "keypoints"))


@pytest.mark.data("tiny_coco")
def test_figures_of_jittered_coco_people_equal_those_of_pycocotools(data_root: Path) -> None:
    root = data_root / "tiny_coco"
    data = coco.read(root, "val", "keypoints")
    file = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    rng = np.random.default_rng(0)
    evaluator = OksEvaluator(data.info.class_names)
    found: list[dict[str, Any]] = []
    for index in range(len(data)):
        target = data.target(index)
        # Also about people without labelled points, which neither help nor hurt.
        points = np.where(
            target["keypoints"][..., 2:] > 0, target["keypoints"][..., :2], rng.uniform(0, 400, (1, 17, 2))
        )
        points = points + rng.normal(0, 0.04, points.shape) * np.sqrt(target["area"])[:, None, None]
        result = keypoints(int(data.image_ids[index]), points, np.round(rng.random(len(points)), 2))
        evaluator.update([result], [target])
        found += [{**entry, "category_id": 1} for entry in result.to_coco()]
    values = evaluator.compute().values
    assert 0 < values["AP"] < 1
    same(values, pycocotools_figures(file, found, "keypoints"))


def test_similarity_by_hand() -> None:
    ground_truth = np.array([[[10.0, 10, 2], [50, 10, 1], [0, 0, 0]]])
    found = np.array([[[10.0, 10], [53, 14], [999, 999]]])
    similarity = object_similarity(found, ground_truth, np.zeros((1, 4)), np.array([400.0]), np.full(3, 0.1))
    assert similarity == pytest.approx(np.array([[(1 + math.exp(-25 / (2 * 400 * 0.2**2))) / 2]]))


def test_sigmas_go_by_name_and_are_uniform_otherwise() -> None:
    assert sigmas_of(PERSON[::-1]).tolist() == list(COCO_SIGMAS.values())[::-1]
    assert sigmas_of(("tip", "root")).tolist() == [UNIFORM_SIGMA] * 2
    assert OksEvaluator(("tip", "root"), [0.1, 0.2]).sigmas.tolist() == [0.1, 0.2]
    for wrong in ([0.1], [0.1, 0.0]):
        with pytest.raises(ConfigError, match="sigmas must be 2 numbers above 0"):
            OksEvaluator(("tip", "root"), wrong)


def test_perfect_people_score_one() -> None:
    dataset, _ = random_people(1)
    dataset["annotations"] = [a for a in dataset["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    found = [{**a, "score": 0.5} for a in dataset["annotations"]]
    report = evaluator_of(dataset, found).compute()
    assert report.score == report.values["AR75"] == 1.0
    assert min(report.curves["precision_recall"]["y"]["objects"]) == 1.0


def test_processes_merge_in_any_order_to_the_figures_of_one() -> None:
    dataset, found = random_people(2)
    whole = evaluator_of(dataset, found)
    state = whole.state()
    ids = sorted(state)
    parts = [{i: state[i] for i in part} for part in (ids[0::3], ids[1::3], [*ids[2::3], ids[0]])]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = OksEvaluator(PERSON)
        merged.merge([pickle.loads(pickle.dumps(parts[i])) for i in order])
        assert merged.compute().values == whole.compute().values


def test_nothing_and_no_areas_are_undefined_and_other_points_are_named() -> None:
    evaluator = OksEvaluator(("tip", "root"))
    assert all(math.isnan(value) for value in evaluator.compute().values.values())
    ground_truth = np.array([[[10.0, 10, 2], [50, 10, 1]]])
    result = keypoints(4, ground_truth[..., :2], names=("tip", "root"))
    evaluator.update([result], [{"keypoints": ground_truth}])
    assert all(math.isnan(value) for value in evaluator.compute().values.values())
    with pytest.raises(DataError, match=r"4\.png: the ground truth has no areas"):
        evaluator.add_points("4.png", 4, np.ones(1), {"keypoints": ground_truth}, ground_truth[..., :2])
    with pytest.raises(DataError, match=r"4\.png: the prediction has 2 points, expected were 17"):
        OksEvaluator(PERSON).update([result], [{"keypoints": np.zeros((1, 17, 3)), "area": np.ones(1)}])
    with pytest.raises(TypeError, match="Keypoints"):
        evaluator.update([object()], [{}])  # type: ignore[list-item]


def test_the_task_judges_people_by_similarity_and_other_objects_by_error() -> None:
    target = {
        "keypoints": np.full((1, 17, 3), 20.0),
        "boxes": np.array([[0.0, 0, 50, 50]]),
        "area": np.array([2000.0]),
    }
    people = get_task("keypoints").evaluator(DatasetInfo("set", "keypoints", PERSON))
    people.update([keypoints(1, np.full((1, 17, 2), 20.0))], [target])
    report = people.compute()
    assert (report.primary, report.score) == ("AP", 1.0)
    assert report.values["NME"] == 0.0
    assert set(report.curves) == {"precision_recall", "cumulative_error"}
    assert report.per_class[0]["class"] == "nose"
    faces = get_task("keypoints").evaluator(DatasetInfo("set", "keypoints", ("a", "b")))
    faces.update([keypoints(1, np.ones((1, 2, 2)), names=("a", "b"))], [{"keypoints": np.full((1, 2, 3), 20.0)}])
    report = faces.compute()
    assert report.primary == "NME"
    assert "AP" not in report.values
    merged = get_task("keypoints").evaluator(DatasetInfo("set", "keypoints", PERSON))
    merged.merge([pickle.loads(pickle.dumps(people.state()))])
    assert merged.compute().values["AP"] == 1.0


def test_pckh_by_head_boxes_by_head_points_or_not_at_all() -> None:
    """Errors of 5 and 12 pixels. Head box 30 x 40: its size is 0.6 of 50, so half of it is 15; head segment: 20."""
    ground_truth = np.array([[[100.0, 100, 2], [100, 120, 2], [50, 50, 0]]])
    guess = ground_truth[..., :2] + np.array([[[3.0, 4], [12, 0], [0, 0]]])
    names = ("top", "neck", "hand")
    plain, segment = KeypointEvaluator(names, pck=(0.2,)), KeypointEvaluator(names, head=(0, 1))
    boxes = {"keypoints": ground_truth, "boxes": np.array([[50.0, 50, 150, 150]])}
    plain.update([keypoints(1, guess, names=names)], [boxes])
    assert plain.compute().values == {
        "NME": pytest.approx(0.085),
        "PCK@0.2": 1.0,
        "failure_rate@0.1": 0.0,
    }
    plain.update([keypoints(1, guess, names=names)], [{**boxes, "head_boxes": np.array([[0.0, 0, 30, 40]])}])
    assert plain.compute().values["PCKh@0.5"] == 1.0
    segment.update([keypoints(1, guess, names=names)], [boxes])
    assert segment.compute().values["PCKh@0.5"] == 0.5
    segment.update([keypoints(2, np.zeros((0, 3, 2)), names=names)], [boxes])
    assert segment.compute().values["PCKh@0.5"] == 0.25  # a missing person has no correct point
