"""Saliency as a task: the soft map is the result, the maximum F-measure decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saccade.errors import ConfigError
from saccade.results.saliency import SaliencyMap
from saccade.results.segmentation import SegmentationMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample
from saccade.tasks import get_task

TASK = get_task("saliency")
PAIR = ("background", "person")


def info_of(size: tuple[int, int], number: int = 0) -> ImageInfo:
    return ImageInfo(number, f"{number}.png", Geometry.identity(size))


def test_the_soft_map_is_kept_at_the_size_of_the_original() -> None:
    matrix = np.array([[0.5, 0, 14], [0, 0.5, 7], [0, 0, 1]])
    info = ImageInfo(3, "a.jpg", Geometry.identity((100, 200)).then(matrix, (64, 128)))
    canvas = torch.zeros(1, 1, 64, 128)
    canvas[0, 0, 17:32, 24:64] = 0.75
    for decoded in (canvas, canvas.bfloat16(), canvas.numpy()):
        (result,) = TASK.results({"probabilities": decoded}, [info], ("person",))
        assert isinstance(result, SaliencyMap)
        assert result.class_names == PAIR
        assert result.soft_map.dtype == np.float32
        assert result.soft_map.shape == (100, 200)
        assert (result.soft_map[21:49, 21:99] == 0.75).all()
        assert (result.label_map == (result.soft_map >= 0.5)).all()
    (unnamed,) = TASK.results({"probabilities": canvas}, [info], ())
    assert unnamed.name_of(1) == "foreground"


def test_it_reads_the_ground_truth_of_segmentation_and_its_f_measure_decides() -> None:
    assert TASK.ground_truth_task == "segmentation"
    label_map = np.zeros((20, 30), np.uint8)
    label_map[5:15, 5:20], label_map[0] = 1, 255
    result = TASK.from_target({"label_map": label_map}, info_of((20, 30)), PAIR)
    assert isinstance(result, SaliencyMap)
    evaluator = TASK.evaluator(DatasetInfo("set", "segmentation", PAIR))
    evaluator.update([result], [{"label_map": label_map}])
    report = evaluator.compute()
    assert report.primary == "max_F" == TASK.fitness[0][0]
    assert (report.values["max_F"], report.values["MAE"]) == (1.0, 0.0)
    plain = get_task("segmentation").from_target({"label_map": label_map}, info_of((20, 30)), PAIR)
    assert type(plain) is SegmentationMap


@pytest.mark.parametrize("names", [("cat", "dog"), ("background", "cat", "dog"), ()])
def test_other_classes_than_one_foreground_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"{len(names)} classes.*named 'background'.*segmentation"):
        TASK.network_classes(names)
    with pytest.raises(ConfigError, match="one foreground"):
        TASK.evaluator(DatasetInfo("set", "segmentation", names))
    assert get_task("segmentation").network_classes(names) == len(names)


def test_one_class_or_background_and_one_make_a_network_with_one_class() -> None:
    assert TASK.network_classes(("person",)) == TASK.network_classes(PAIR) == 1


def test_the_constant_baseline_is_the_mean_mask() -> None:
    samples = []
    for number, size in enumerate([(40, 60), (64, 64)]):
        label_map = np.zeros(size, np.uint8)
        label_map[size[0] // 2 :] = 1  # the lower half
        if number:
            label_map[:, : size[1] // 4] = 255  # what is not scored does not count
        samples.append(Sample(np.zeros((*size, 3), np.uint8), {"label_map": label_map}, info_of(size, number)))
    predict = TASK.constant_baseline(samples, DatasetInfo("set", "segmentation", PAIR))
    result = predict(info_of((80, 100)))
    assert isinstance(result, SaliencyMap)
    assert result.soft_map.shape == (80, 100)
    assert result.soft_map[45:].min() > 0.9
    assert result.soft_map[:35].max() < 0.1
    ignored = Sample(np.zeros((8, 8, 3), np.uint8), {"label_map": np.full((8, 8), 255, np.uint8)}, info_of((8, 8)))
    nothing = TASK.constant_baseline([ignored], DatasetInfo("set", "segmentation", PAIR))(info_of((8, 8)))
    assert (nothing.soft_map == 0).all()


def test_tiles_of_a_large_image_keep_the_soft_map_or_the_labels() -> None:
    (example,) = TASK.results({"probabilities": torch.full((1, 1, 8, 8), 0.7)}, [info_of((8, 8))], PAIR)
    assert TASK.has_pixel_scores(example)
    labels = np.eye(16, dtype=np.uint8)
    soft = (0.9 * labels).astype(np.float32)
    whole = TASK.from_pixels(example, labels, soft)
    assert isinstance(whole, SaliencyMap)
    assert np.array_equal(whole.soft_map, soft)
    assert np.array_equal(TASK.from_pixels(example, labels, None).soft_map, labels)
