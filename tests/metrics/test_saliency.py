from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import py_sod_metrics as tool
import pytest
from sklearn.metrics import jaccard_score

from saccade.errors import DataError
from saccade.metrics.base import Evaluator
from saccade.metrics.boundary import relaxed_boundary_scores
from saccade.metrics.plots import plot_curves
from saccade.metrics.saliency import SaliencyEvaluator
from saccade.metrics.segmentation import SegmentationEvaluator
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

NAMES = ("background", "person")
FIGURES = [
    "max_F",
    "mean_F",
    "adaptive_F",
    "weighted_F",
    "MAE",
    "S_measure",
    "max_E",
    "mean_E",
    "adaptive_E",
    "boundary_F",
]


def saliency_map(image_id: int, probabilities: np.ndarray, keep: bool = True) -> SegmentationMap:
    about = {"path": f"{image_id}.png", "image_id": image_id, "image_size": probabilities.shape, "class_names": NAMES}
    label_map = (probabilities >= 0.5).astype(np.uint8)
    return SegmentationMap(**about, label_map=label_map, probabilities=probabilities if keep else None)


def scenes(count: int = 6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Probabilities, float32, and label maps of several sizes."""
    maps, ground_truths = [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: 50 + 8 * seed, : 80 - 6 * seed]
        ground_truth = np.hypot(y - rng.uniform(10, 40), x - rng.uniform(10, 40)) < rng.uniform(4, 15)
        maps.append(
            np.clip(0.7 * ground_truth + rng.normal(0.15, 0.12, ground_truth.shape), 0.02, 0.97).astype(np.float32)
        )
        ground_truths.append(ground_truth.astype(np.uint8))
    return maps, ground_truths


def evaluated(maps: list[np.ndarray], ground_truths: list[np.ndarray]) -> SaliencyEvaluator:
    evaluator = SaliencyEvaluator()
    for image, (prediction, ground_truth) in enumerate(zip(maps, ground_truths, strict=True)):
        evaluator.update([saliency_map(image, prediction)], [{"label_map": ground_truth}])
    return evaluator


def test_figures_of_a_data_set_equal_those_of_the_tool_on_saved_images() -> None:
    maps, ground_truths = scenes()
    maps.append(np.full((20, 30), 0.25, np.float32))  # nothing stands out
    ground_truths.append(np.zeros((20, 30), np.uint8))  # nothing is there
    with pytest.warns(UserWarning, match="FmeasureV2"):
        fm = tool.Fmeasure()
    wfm, mae, sm, em = tool.WeightedFmeasure(), tool.MAE(), tool.Smeasure(), tool.Emeasure()
    for prediction, ground_truth in zip(maps, ground_truths, strict=True):
        for measure in (fm, wfm, mae, sm, em):
            measure.step(pred=np.rint(prediction * 255).astype(np.uint8), gt=ground_truth * 255)
    f, e = fm.get_results()["fm"], em.get_results()["em"]
    report = evaluated(maps, ground_truths).compute()
    assert list(report.values) == FIGURES
    expected = {
        "max_F": f["curve"].max(),
        "mean_F": f["curve"].mean(),
        "adaptive_F": f["adp"],
        "weighted_F": wfm.get_results()["wfm"],
        "MAE": mae.get_results()["mae"],
        "S_measure": sm.get_results()["sm"],
        "max_E": e["curve"].max(),
        "mean_E": e["curve"].mean(),
        "adaptive_E": e["adp"],
    }
    for name, value in expected.items():
        assert report.values[name] == pytest.approx(value, abs=1e-6), name
    pr = fm.get_results()["pr"]
    assert report.curves["precision_recall"]["x"] == pytest.approx(pr["r"][::-1])
    assert report.curves["precision_recall"]["y"]["foreground"] == pytest.approx(pr["p"][::-1])
    assert report.curves["F_measure"]["y"]["foreground"] == pytest.approx(f["curve"][::-1])
    assert report.curves["E_measure"]["y"]["foreground"] == pytest.approx(e["curve"][::-1])
    assert report.curves["F_measure"]["x"] == pytest.approx(np.linspace(0, 1, 256))


def test_boundary_f_is_the_mean_over_images_that_have_a_boundary() -> None:
    maps, ground_truths = scenes(3)
    scores = []
    for prediction, ground_truth in zip(maps, ground_truths, strict=True):
        stored = np.rint(prediction * 255)
        stretched = (stored - stored.min()) / (stored.max() - stored.min())
        scores.append(relaxed_boundary_scores(stretched >= 0.5, ground_truth == 1, 3, 0.3).f_measure)
    maps.append(np.zeros((5, 5), np.float32))
    ground_truths.append(np.zeros((5, 5), np.uint8))
    assert evaluated(maps, ground_truths).compute().values["boundary_F"] == pytest.approx(np.mean(scores))


def test_a_perfect_map_scores_best_and_its_opposite_worst() -> None:
    _, ground_truths = scenes()
    best = (
        evaluated([ground_truth.astype(np.float32) for ground_truth in ground_truths], ground_truths).compute().values
    )
    worst = (
        evaluated([1 - ground_truth.astype(np.float32) for ground_truth in ground_truths], ground_truths)
        .compute()
        .values
    )
    for name in FIGURES:
        if name == "MAE":
            assert (best[name], worst[name]) == (0.0, 1.0)
        elif name not in ("mean_F", "mean_E"):  # at threshold 0 everything is found
            assert best[name] == pytest.approx(1.0, abs=1e-3), name
        if name not in ("MAE", "boundary_F"):  # the opposite has the same boundary
            assert worst[name] < best[name] - 0.4, name


def test_ignored_pixels_are_left_out() -> None:
    maps, ground_truths = scenes(1)
    ignored = np.zeros(ground_truths[0].shape, bool)
    ignored[:, 60:] = True
    ground_truth = np.where(ignored, 255, ground_truths[0]).astype(np.uint8)
    without = evaluated([maps[0][:, :60]], [ground_truths[0][:, :60]]).compute().values
    worse = np.where(ignored, 1 - maps[0], maps[0])
    for prediction in (maps[0], worse):
        values = evaluated([prediction], [ground_truth]).compute().values
        for name in ("max_F", "mean_F", "adaptive_F", "MAE", "max_E", "mean_E", "adaptive_E"):
            assert values[name] == pytest.approx(without[name]), name
    same = evaluated([worse], [ground_truth]).compute().values
    assert same["S_measure"] == evaluated([maps[0]], [ground_truth]).compute().values["S_measure"]
    nothing = evaluated([maps[0]], [np.full(ground_truth.shape, 255, np.uint8)]).compute()
    assert all(math.isnan(value) for value in nothing.values.values())


def test_a_map_that_is_not_a_number_is_wrong() -> None:
    maps, ground_truths = scenes(1)
    values = evaluated([np.full(maps[0].shape, np.nan, np.float32)], ground_truths).compute().values
    assert values["MAE"] == 1.0
    assert values["weighted_F"] == pytest.approx(0.0)


def test_without_probabilities_the_label_map_is_the_map() -> None:
    maps, ground_truths = scenes(1)
    evaluator = SaliencyEvaluator()
    evaluator.update([saliency_map(0, maps[0], keep=False)], [{"label_map": ground_truths[0]}])
    hard = evaluated([(maps[0] >= 0.5).astype(np.float32)], ground_truths)
    assert evaluator.compute().values == hard.compute().values


def of_the_task() -> Evaluator:
    return get_task("segmentation").evaluator(DatasetInfo("x", "segmentation", NAMES))


@pytest.mark.parametrize("kind", [SaliencyEvaluator, of_the_task])
def test_processes_merge_in_any_order_to_the_figures_of_one(kind: Callable[[], Evaluator]) -> None:
    maps, ground_truths = scenes()
    pairs = [(saliency_map(i, maps[i]), {"label_map": ground_truths[i]}) for i in range(6)]
    whole = kind()
    whole.update([result for result, _ in pairs], [target for _, target in pairs])
    states = []
    for part in ([0, 3], [1, 4, 0], [2, 5, 1]):  # 0 and 1 are there twice, as padding makes them
        evaluator = kind()
        for image in part:
            evaluator.update([pairs[image][0]], [pairs[image][1]])
        states.append(pickle.loads(pickle.dumps(evaluator.state())))
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = kind()
        merged.merge([states[i] for i in order])
        assert merged.compute() == whole.compute()


def test_nothing_seen_is_undefined() -> None:
    report = SaliencyEvaluator().compute()
    assert list(report.values) == FIGURES
    assert all(math.isnan(value) for value in report.values.values())
    assert report.curves == {}


def test_faults_are_named() -> None:
    evaluator = SaliencyEvaluator()
    with pytest.raises(DataError, match=r"1\.png.*4x4.*8x8"):
        evaluator.update([saliency_map(1, np.zeros((4, 4)))], [{"label_map": np.zeros((8, 8), np.uint8)}])
    with pytest.raises(DataError, match=r"2\.png: the ground truth holds label 7"):
        evaluator.update([saliency_map(2, np.zeros((4, 4)))], [{"label_map": np.full((4, 4), 7, np.uint8)}])


@pytest.mark.parametrize("names", [("person",), NAMES])
def test_the_task_gives_saliency_for_one_foreground_class(names: tuple[str, ...]) -> None:
    maps, ground_truths = scenes()
    evaluator = get_task("segmentation").evaluator(DatasetInfo("x", "segmentation", names))
    results = [saliency_map(image, prediction) for image, prediction in enumerate(maps)]
    evaluator.update(results, [{"label_map": ground_truth} for ground_truth in ground_truths])
    report = evaluator.compute()
    assert report.primary == "mIoU"
    assert set(FIGURES) < set(report.values)
    assert report.values["max_F"] == evaluated(maps, ground_truths).compute().values["max_F"]
    flat = [np.concatenate([array.ravel() for array in arrays]) for arrays in (ground_truths, [m >= 0.5 for m in maps])]
    assert report.values["foreground_IoU"] == pytest.approx(jaccard_score(*flat))
    assert list(plot_curves(report)) == ["precision_recall", "F_measure", "E_measure"]


def test_a_network_with_two_outputs_keeps_the_probabilities_of_its_foreground() -> None:
    maps, ground_truths = scenes(1)
    info = ImageInfo(0, "0.png", Geometry.identity(maps[0].shape))
    task = get_task("segmentation")
    both = task.results({"probabilities": np.stack([1 - maps[0], maps[0]])[None]}, [info], NAMES)
    single = task.results({"probabilities": maps[0][None, None]}, [info], NAMES)
    figures = []
    for results in (both, single):
        evaluator = task.evaluator(DatasetInfo("x", "segmentation", NAMES))
        evaluator.update(results, [{"label_map": ground_truths[0]}])
        figures.append(evaluator.compute().values)
    assert figures[0] == figures[1]
    (several,) = task.results({"probabilities": np.stack([maps[0]] * 3)[None]}, [info], ("sky", "car", "road"))
    assert isinstance(several, SegmentationMap)
    assert several.probabilities is None


def test_the_task_gives_overlap_alone_for_several_classes() -> None:
    for names in (("cell", "membrane"), ("background", "cat", "dog")):
        evaluator = get_task("segmentation").evaluator(DatasetInfo("x", "segmentation", names))
        assert type(evaluator) is SegmentationEvaluator
