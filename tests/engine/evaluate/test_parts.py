"""Several canvases that show one image are joined before the evaluator sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from saccade.engine.evaluate.evaluate import evaluate
from saccade.errors import DataError
from saccade.metrics.oks import COCO_SIGMAS
from saccade.models.base import Decoded
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.input_spec import InputSpec
from saccade.structures.sample import ImageInfo, Sample, Target

NAMES = tuple(COCO_SIGMAS)
SIZE = (64, 128)  # of the image; each of its two people fills one half


class TwoCrops:
    """Two people an image, each seen in a crop of 64 x 64; the ground truth is that of the whole image."""

    def __init__(self, images: int = 3, crops: int = 2) -> None:
        self.info = DatasetInfo("crops", "keypoints", NAMES, object_names=("person",))
        self.images, self.crops = images, crops
        self.image_of = np.repeat(np.arange(images), crops)

    def __len__(self) -> int:
        return self.images * self.crops

    def target(self, index: int) -> Target:
        rng = np.random.default_rng(int(self.image_of[index]))
        points = rng.uniform(4, 60, (2, len(NAMES), 2)).astype(np.float32)
        points[1, :, 0] += 64
        visible = np.full((2, len(NAMES), 1), 2, np.float32)
        boxes = np.array([[0, 0, 64, 64], [64, 0, 128, 64]], np.float32)
        area = np.full(2, 64.0 * 64, np.float32)
        return {
            "keypoints": np.concatenate([points, visible], axis=2),
            "boxes": boxes,
            "labels": np.zeros(2, np.int64),
            "area": area,
            "iscrowd": np.zeros(2, bool),
        }

    def read(self, index: int) -> Sample:
        crop = index % self.crops
        shift = np.array([[1.0, 0, -64.0 * crop], [0, 1, 0], [0, 0, 1]])
        geometry = Geometry.identity(SIZE).then(shift, (64, 64))
        image = np.full((64, 64, 3), int(self.image_of[index]) * 2 + crop, np.uint8)
        info = ImageInfo(int(self.image_of[index]), f"{index}", geometry, part=crop, parts=2)
        return Sample(image, self.target(index), info)

    def path(self, index: int) -> str:
        return f"crop-{index}"


class Perfect:
    """Knows where the person of each crop stands."""

    task, class_names, name = "keypoints", NAMES, "perfect"
    input_spec, input_names = InputSpec((64, 64), resize="none"), ()
    decoded_keys = ("keypoints", "point_scores", "scores", "count")

    def __init__(self, data: TwoCrops) -> None:
        self.data = data

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        points = []
        for image in images:
            index = int(image[0, 0, 0])
            person = self.data.target(index)["keypoints"][index % 2, :, :2] - [64.0 * (index % 2), 0]
            points.append(torch.from_numpy(person.astype(np.float32)))
        B, K = len(images), len(NAMES)
        return {
            "keypoints": torch.stack(points)[:, None],
            "point_scores": torch.ones(B, 1, K),
            "scores": torch.ones(B, 1),
            "count": torch.ones(B, dtype=torch.int64),
        }


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_two_perfect_crops_of_one_image_are_a_perfect_score(batch_size: int) -> None:
    data = TwoCrops()
    report = evaluate(Perfect(data), data, batch_size)
    assert report.values["AP"] == pytest.approx(1.0)


def test_an_image_of_which_a_part_never_comes_is_named() -> None:
    data = TwoCrops(images=2, crops=1)
    with pytest.raises(DataError, match="image 0: 1 of its canvases were predicted and not all"):
        evaluate(Perfect(TwoCrops()), data)


def test_parts_survive_the_pipeline() -> None:
    info = replace(TwoCrops().read(1).info, image=None)
    assert (info.part, info.parts) == (1, 2)
