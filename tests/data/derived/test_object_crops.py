"""Crops of objects: where they lie, what they hold, what is left out; nothing trains on the first in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.data.derived.object_crops import ObjectCrops, has_several_objects, object_window
from saccade.data.loading.pipeline import EvalPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.open import open_dataset
from saccade.engine.evaluate.baseline import evaluate_constant_baseline
from saccade.engine.evaluate.evaluate import evaluate
from saccade.engine.train.classes import check_objects
from saccade.engine.train.config import CropConfig, DataConfig, TrainConfig
from saccade.engine.train.setup import Datasets, build_model, open_datasets
from saccade.errors import ConfigError, DataError
from saccade.models.base import Decoded
from saccade.models.keypoints.base import PeakReader
from saccade.models.registry import create_model
from saccade.ops.heatmaps import gaussian
from saccade.structures.dataset import DatasetInfo, VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample, Target

NAMES = ("left", "middle", "right")


class People:
    """One image, as many people as there are rows: x and y of three points, and whether they are labelled."""

    def __init__(self, points: list[list[tuple[float, float, int]]], boxes: list[list[float]] | None) -> None:
        self.info = DatasetInfo("people", "keypoints", NAMES, "train", ((0, 2),), object_names=("person",))
        self.points, self.boxes = points, boxes

    def __len__(self) -> int:
        return 1

    def path(self, index: int) -> str:
        return "people.jpg"

    def target(self, index: int) -> Target:
        target: Target = {"keypoints": np.array(self.points, np.float32).reshape(-1, 3, 3)}
        target["labels"] = np.zeros(len(self.points), np.int64)
        if self.boxes is not None:
            target["boxes"] = np.array(self.boxes, np.float64)
            target["area"] = (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(axis=1)
            target["iscrowd"] = np.zeros(len(self.points), bool)
        return target

    def read(self, index: int) -> Sample:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
        return Sample(image, self.target(index), ImageInfo(7, "people.jpg", Geometry.identity((200, 300))))


ONE = [(100.0, 60.0, 2), (120.0, 90.0, 2), (140.0, 120.0, 1)]
TWO = [(200.0, 60.0, 2), (0.0, 0.0, 0), (240.0, 120.0, 2)]
UNSEEN = [(0.0, 0.0, 0)] * 3
BOXES = [[90.0, 40, 150, 140], [190.0, 50, 260, 130]]


@pytest.mark.parametrize("aspect", [0.75, 1.0, 2.0])
def test_a_window_holds_its_box_at_the_aspect_about_the_same_centre(aspect: float) -> None:
    for x1, y1, x2, y2 in np.random.default_rng(0).uniform(0, 200, (50, 4)):
        box = [min(x1, x2), min(y1, y2), max(x1, x2) + 8, max(y1, y2) + 8]
        top, left, height, width = object_window(box, aspect, enlarge=1.25)
        assert abs(width - height * aspect) <= 1 + aspect
        assert abs(left + width / 2 - (box[0] + box[2]) / 2) <= 0.5
        assert abs(top + height / 2 - (box[1] + box[3]) / 2) <= 0.5
        assert width >= 1.2 * (box[2] - box[0]) - 1
        assert height >= 1.2 * (box[3] - box[1]) - 1
        touches = np.isclose(width, 1.25 * (box[2] - box[0]), atol=1) | np.isclose(
            height, 1.25 * (box[3] - box[1]), atol=1
        )
        assert touches  # and it is no larger than that


def test_a_crop_shows_the_pixels_of_its_object_and_its_points_move_along() -> None:
    data = People([ONE, TWO], BOXES)
    crops = ObjectCrops(data, aspect=0.75)
    whole = data.read(0)
    assert len(crops) == 2
    for index, points in enumerate((ONE, TWO)):
        sample = crops.read(index)
        assert (sample.info.image_id, sample.info.part, sample.info.parts) == (7, index, 2)
        assert sample.info.crop is not None
        assert sample.info.crop.box_xyxy.tolist() == BOXES[index]
        assert sample.original is not None
        assert len(sample.original["keypoints"]) == 2  # all of the image, for the score
        assert sample.target["keypoints"].shape == (1, 3, 3)
        for (x, y, seen), moved in zip(points, sample.target["keypoints"][0], strict=True):
            assert moved[2] == seen
            if seen:
                assert sample.info.geometry.map_points(np.array([[x, y]]))[0].tolist() == moved[:2].tolist()
                assert sample.image[int(moved[1]), int(moved[0])].tolist() == whole.image[int(y), int(x)].tolist()


def test_people_without_visible_points_are_left_out_and_counted() -> None:
    crops = ObjectCrops(People([UNSEEN, TWO], BOXES), aspect=0.75)
    assert len(crops) == 1
    assert crops.read(0).target["keypoints"][0, 0, 2] == 2
    assert crops.repairs == {"objects without a labelled point left out": 1}
    assert "objects without a labelled point left out 1" in Datasets(crops).describe()
    with pytest.raises(DataError, match="people: no object of split 'train' has a labelled keypoint"):
        ObjectCrops(People([UNSEEN], BOXES[:1]), aspect=0.75)


def test_data_without_boxes_are_cut_out_around_their_points() -> None:
    crops = ObjectCrops(People([ONE], None), aspect=1.0, enlarge=1.5)
    assert crops.box(0).box_xyxy.tolist() == [100, 60, 140, 120]
    assert crops.read(0).size == (90, 90)


def test_a_point_outside_of_the_image_and_of_its_crop_is_not_learnt() -> None:
    far = [(100.0, 60.0, 2), (120.0, 90.0, 2), (-400.0, 120.0, 2)]
    target = ObjectCrops(People([far], BOXES[:1]), aspect=0.75).target(0)
    assert target["keypoints"][0, :, 2].tolist() == [2, 2, 0]


@pytest.mark.parametrize("enlarge", [0, -1, 1e9, float("nan")])
def test_a_factor_out_of_range_is_refused(enlarge: float) -> None:
    with pytest.raises(ConfigError, match="crop: enlarge is a factor above 0"):
        ObjectCrops(People([ONE], BOXES[:1]), 0.75, enlarge)


def test_a_network_of_one_object_refuses_whole_images_of_several() -> None:
    model = create_model("dsnt", num_classes=3)
    several, single = People([ONE, TWO], BOXES), People([ONE, UNSEEN], BOXES)
    assert has_several_objects(several)
    assert not has_several_objects(single)
    with pytest.raises(ConfigError, match=r"dsnt finds one object an image.*have several.*data\.crop\.use auto"):
        check_objects(model, Datasets(several))
    check_objects(model, Datasets(single))
    check_objects(model, Datasets(ObjectCrops(several, 1.0)))


def _config(model: str, use: str) -> TrainConfig:
    data = DataConfig(source="tiny_coco", val="val", size=(128, 96), bad_labels="drop")
    data.crop = CropConfig(use=use, enlarge=1.3)  # type: ignore[arg-type]
    return TrainConfig(model=model, data=data)


@pytest.mark.data("tiny_coco")
def test_a_run_crops_where_images_have_several_objects_and_its_network_knows_it(data_root: Path) -> None:
    config = _config("dsnt", "auto")
    data = open_datasets(config)
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (57, 46)
    assert data.train.info.object_crops == 1.3
    height, width = data.train.read(3).size
    assert abs(width - 0.75 * height) <= 2
    assert build_model(config, data.train.info).input_spec.object_crops == 1.3
    whole = open_datasets(_config("dsnt", "never"))
    assert len(whole.train) == 50
    with pytest.raises(ConfigError, match="finds one object an image"):
        check_objects(create_model("dsnt", num_classes=17), whole)


class Oracle:
    """Encodes the ground truth of each crop as heatmaps, and reads it from them: a network without errors."""

    task, name, input_names = "keypoints", "oracle", ()
    decoded_keys = ("keypoints", "point_scores", "scores", "count")

    def __init__(self, crops: ObjectCrops, spec: InputSpec, stride: int, refine: str) -> None:
        self.class_names = crops.info.class_names
        self.input_spec, self.stride = spec, stride
        self.read_peaks = PeakReader(refine, sigma=2.0, output_stride=stride)
        pipeline = EvalPipeline(crops, spec)
        # By the pixels of the canvas, which are all that a network sees.
        self.points = {}
        for index in range(len(crops)):
            sample = pipeline[SampleKey(0, index)]
            self.points[sample.image.tobytes()] = torch.from_numpy(sample.target["keypoints"][0])

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        points = torch.stack([self.points[one.tobytes()] for one in pixels])
        height, width = (side // self.stride for side in images.shape[-2:])
        extent = torch.tensor([width, height]) * self.stride
        heatmaps = gaussian(points[..., :2] * 2 / extent - 1, (height, width), 2.0, peak_one=True)
        return self.read_peaks(heatmaps * (points[..., 2] > 0)[..., None, None])


@pytest.fixture
def persons(data_root: Path) -> VisionDataset:
    return open_dataset("tiny_coco", "train+val", task="keypoints", bad_labels="drop")


@pytest.mark.data("tiny_coco")
@pytest.mark.parametrize(
    ("size", "stride", "refine", "least"),
    [
        ((256, 192), 4, "quarter", 0.97),
        ((256, 192), 4, "dark", 0.985),
        ((128, 96), 4, "quarter", 0.97),
        ((128, 96), 4, "dark", 0.97),
    ],
)
def test_ground_truth_through_crops_and_heatmaps_is_a_perfect_score(
    persons: VisionDataset, size: tuple[int, int], stride: int, refine: str, least: float
) -> None:
    spec = InputSpec(size, resize="letterbox", object_crops=1.25)
    crops = ObjectCrops(persons, size[1] / size[0])
    report = evaluate(Oracle(crops, spec, stride, refine), crops, batch_size=8)
    assert report.values["AP"] >= least
    assert report.values["NME"] < 0.03


@pytest.mark.data("tiny_coco")
def test_the_boxes_of_a_detector_count_in_the_score_and_missing_ones_are_missed(persons: VisionDataset) -> None:
    boxes = {}
    for index in range(len(persons)):
        target = persons.target(index)
        keep = (target["keypoints"][..., 2] > 0).any(axis=1) & ~target["iscrowd"]
        boxes[index] = np.concatenate([target["boxes"][keep], np.full((int(keep.sum()), 1), 0.8)], axis=1)
    spec = InputSpec((256, 192), resize="letterbox")
    truth = ObjectCrops(persons, 0.75)
    oracle = Oracle(truth, spec, 4, "quarter")
    oracle.points = _Nearest(oracle.points)
    found = ObjectCrops(persons, 0.75, boxes=boxes)
    full = evaluate(oracle, found, batch_size=8).values["AP"]
    assert full >= 0.97
    half = {index: rows if index % 2 else rows[:0] for index, rows in boxes.items()}
    assert evaluate(oracle, ObjectCrops(persons, 0.75, boxes=half), batch_size=8).values["AR"] < 0.8


class _Nearest(dict):  # type: ignore[type-arg]
    """The same windows give the same pixels, apart from images of which nothing was found."""

    def __missing__(self, key: bytes) -> Tensor:
        return torch.zeros(17, 3)


def test_the_mean_shape_is_scored_in_pixels_of_the_image() -> None:
    crops = ObjectCrops(People([ONE, TWO], BOXES), aspect=0.75)
    report = evaluate_constant_baseline(crops, crops)
    assert report is not None
    assert report.values["NME"] < 0.2


def test_data_of_another_task_have_no_crops() -> None:
    boxes = People([ONE], BOXES[:1])
    boxes.info = replace(boxes.info, task="detection", class_names=("person",))
    with pytest.raises(ConfigError, match="data set 'people' is read for detection"):
        ObjectCrops(boxes, 0.75)
