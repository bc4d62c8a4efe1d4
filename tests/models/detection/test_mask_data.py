"""Masks on their way: from files of four formats into the loss, and from a prediction into drawings and files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import saccade
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.loading.collate import collate
from saccade.data.loading.pipeline import EvalPipeline, TrainPipeline
from saccade.data.loading.sampler import SampleKey
from saccade.data.open import open_dataset
from saccade.data.transforms.config import AugmentConfig
from saccade.deploy.runtime import Runtime, open_runtime
from saccade.engine.evaluate.evaluate import evaluate
from saccade.metrics.coco import CocoEvaluator
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.keypoint_rcnn import keypointrcnn
from saccade.models.detection.mask_rcnn import maskrcnn
from saccade.models.normalize import Normalize
from saccade.ops.packed_masks import PackedMasks
from saccade.results.detections import Detections
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo
from saccade.tasks import get_task

SIZE = (96, 128)


def shapes() -> tuple[np.ndarray, list[np.ndarray]]:
    """A grey image of an ellipse and a triangle, and their masks."""
    image = np.full((*SIZE, 3), 90, np.uint8)
    masks = [np.zeros(SIZE, np.uint8) for _ in range(2)]
    cv2.ellipse(masks[0], (40, 40), (24, 30), 0, 0, 360, 1, -1)
    cv2.fillPoly(masks[1], [np.array([[70, 80], [120, 84], [96, 30]], np.int32)], 1)
    for mask, colour in zip(masks, ((200, 60, 40), (30, 90, 220)), strict=True):
        image[mask > 0] = colour
    return image, masks


def box_of(mask: np.ndarray) -> list[int]:
    x, y, width, height = cv2.boundingRect(mask)
    return [x, y, x + width, y + height]


def write_coco(root: Path, image: np.ndarray, masks: list[np.ndarray]) -> None:
    (root / "train").mkdir()
    (root / "annotations").mkdir()
    cv2.imwrite(str(root / "train" / "a.png"), image)
    objects = []
    for number, mask in enumerate(masks):
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        x1, y1, x2, y2 = box_of(mask)
        objects.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": 0,
                "area": int(mask.sum()),
                "segmentation": [contours[0].flatten().tolist()],
            }
        )
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "shape"}],
        "annotations": objects,
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))


def write_labelme(root: Path, image: np.ndarray, masks: list[np.ndarray]) -> None:
    cv2.imwrite(str(root / "a.png"), image)
    drawn = []
    for mask in masks:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        drawn.append({"label": "shape", "points": contours[0][:, 0].tolist(), "shape_type": "polygon"})
    content = {"shapes": drawn, "imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (root / "a.json").write_text(json.dumps(content))


def write_voc(root: Path, image: np.ndarray, masks: list[np.ndarray]) -> None:
    for folder in ("JPEGImages", "Annotations", "SegmentationObject", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    cv2.imwrite(str(root / "JPEGImages" / "a.jpg"), image)
    objects = ""
    for mask in masks:
        x1, y1, x2, y2 = box_of(mask)
        box = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        objects += f"<object><name>shape</name><bndbox>{box}</bndbox></object>"
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    cv2.imwrite(str(root / "SegmentationObject" / "a.png"), masks[0] + 2 * masks[1])


def write_instance_maps(root: Path, image: np.ndarray, masks: list[np.ndarray]) -> None:
    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir()
    cv2.imwrite(str(root / "PNGImages" / "a.png"), image)
    cv2.imwrite(str(root / "PedMasks" / "a_mask.png"), masks[0] + 2 * masks[1])


WRITERS = {
    "coco": write_coco,
    "labelme": write_labelme,
    "voc": write_voc,
    "instance_masks": write_instance_maps,
}


@pytest.fixture(scope="module")
def small() -> FasterRCNN:
    torch.manual_seed(0)
    model = maskrcnn(num_classes=1, channels=16, anchor_size=16, proposals=50)
    model.class_names = ("shape",)
    return model.eval()


@pytest.mark.parametrize("name", WRITERS)
def test_masks_of_a_file_reach_the_loss(name: str, tmp_path: Path, small: FasterRCNN) -> None:
    image, masks = shapes()
    WRITERS[name](tmp_path, image, masks)
    split = "train" if name in ("coco", "voc") else "all"
    data = open_dataset(tmp_path, split, format=name, task="detection", masks=True)
    found = data.target(0)["masks"]
    order = np.argsort(data.target(0)["boxes"][:, 0])
    iou = [(found[row] & mask).sum() / (found[row] | mask).sum() for row, mask in zip(order, masks, strict=True)]
    assert min(iou) > 0.9  # outlines run through the middles of pixels
    spec = replace(small.input_spec, size=(128, 128))
    batch = collate([TrainPipeline(data, spec, [AugmentConfig(flip=0.5)])[SampleKey(0, 0)]])
    assert {"masks", "mask_origins", "image_size"} <= set(batch.targets)
    images = Normalize(spec)(batch.images)
    terms = small.loss(images, batch.targets)
    assert torch.isfinite(terms["mask"])
    assert terms["mask"] > 0.1


def scripted(model: FasterRCNN, boxes: list[list[float]]) -> Runtime:
    """A runtime whose boxes are known, so that its masks can be told."""
    rows = torch.tensor([boxes])

    def decode(outputs: Any) -> dict[str, torch.Tensor]:
        B = len(outputs["proposals"])
        return {
            "boxes": rows.expand(B, -1, -1).clone(),
            "scores": torch.linspace(0.9, 0.8, len(boxes)).expand(B, -1).clone(),
            "labels": torch.zeros(B, len(boxes), dtype=torch.int64),
            "count": torch.full((B,), len(boxes)),
        }

    model.decode = decode  # type: ignore[method-assign]
    return open_runtime(model)


def test_masks_survive_drawing_saving_test_time_augmentation_and_tiles(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = maskrcnn(num_classes=1, channels=16, anchor_size=16, proposals=50).eval()
    model.class_names, model.input_spec = ("shape",), model.input_spec.with_size((128, 128))
    # A mask that fills its box, whatever the features.
    torch.nn.init.constant_(model.branches["mask"].predictor.mask_fcn_logits.bias, 50.0)
    image, _ = shapes()
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    scripted(model, [[30.0, 40.0, 60.0, 90.0], [64.0, 10.0, 100.0, 50.0]])
    plain = next(iter(saccade.predict(model, path)))
    assert isinstance(plain, Detections)
    assert plain.masks.shape == (2, *SIZE)
    filled = np.zeros(SIZE, bool)
    x1, y1, x2, y2 = plain.boxes_xyxy[0].round().astype(int)
    filled[y1:y2, x1:x2] = True
    assert (plain.masks[0] == filled).mean() > 0.995
    assert (plain.plot() != replace(plain, masks=None).plot()).any()

    entries = plain.to_coco()
    assert entries[0]["segmentation"]["size"] == list(SIZE)
    rings = plain.to_coco(polygons=True)[0]["segmentation"]
    canvas = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(canvas, [np.round(np.reshape(rings[0], (-1, 2)) - 0.5).astype(np.int32)], 1)
    assert abs(int(canvas.sum()) - int(plain.masks[0].sum())) < 0.1 * plain.masks[0].sum()
    evaluator = CocoEvaluator(("shape",), iou_type="segm")
    target = {"boxes": plain.boxes_xyxy, "labels": plain.labels, "masks": np.asarray(plain.masks)}
    evaluator.update([plain], [target])
    assert evaluator.compute().values["AP"] == pytest.approx(1.0)

    for options in ({"tta": True, "tta_scales": (1.0,)}, {"tile": 64}):
        result = next(iter(saccade.predict(model, path, **options)))
        assert isinstance(result, Detections)
        assert result.masks is not None
        assert len(result.masks) == len(result.boxes_xyxy) > 0
        assert all(mask.any() for mask in result.masks)


def test_masks_of_large_images_are_packed() -> None:
    grids = np.ones((1, 3, 28, 28), np.float32)
    boxes = np.array([[[10.0, 10, 60, 50], [20, 20, 90, 90], [5, 5, 30, 80]]])
    info = ImageInfo(0, "a.png", Geometry.identity((6000, 6000)))
    decoded = {"boxes": boxes, "scores": np.ones((1, 3)), "labels": np.zeros((1, 3), np.int64), "count": np.array([3])}
    (result,) = get_task("detection").results({**decoded, "masks": grids}, [info], ("cat",))
    assert isinstance(result, Detections)
    assert isinstance(result.masks, PackedMasks)
    assert int(result.masks[0].sum()) == 50 * 40
    assert result.masks.bits.nbytes < 2000
    assert result[[1]].to_coco()[0]["segmentation"]["size"] == [6000, 6000]


def test_mask_and_keypoint_precision_of_a_network() -> None:
    data = DigitScenes("detection", "val", count=2, size=(96, 96), masks=True)
    torch.manual_seed(0)
    model = maskrcnn(num_classes=10, channels=16, anchor_size=16, proposals=30).eval()
    model.class_names, model.input_spec = data.info.class_names, model.input_spec.with_size((96, 96))
    report = evaluate(open_runtime(model), data, batch_size=2)
    assert report.primary == "mask_AP"
    assert {"AP", "mask_AP", "mask_AP50"} <= set(report.values)


def write_persons(root: Path, image: np.ndarray) -> None:
    """One person with two points, and a dog, which has none."""
    for folder in ("train", "annotations"):
        (root / folder).mkdir()
    cv2.imwrite(str(root / "train" / "a.png"), image)
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 60, 70], "area": 3000, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["left_eye", "right_eye"]}],
        "annotations": [{**person, "keypoints": [20, 20, 2, 40, 22, 1], "num_keypoints": 2}],
    }
    (root / "annotations" / "person_keypoints_train.json").write_text(json.dumps(content))


def test_keypoints_of_persons_reach_loss_and_score(tmp_path: Path) -> None:
    image, _ = shapes()
    write_persons(tmp_path, image)
    data = open_dataset(tmp_path, "train", task="detection", keypoints=True)
    assert data.info.class_names == ("person",)
    assert (data.info.point_names, data.info.flip_pairs) == (("left_eye", "right_eye"), ((0, 1),))
    torch.manual_seed(0)
    model = keypointrcnn(num_keypoints=2, channels=16, anchor_size=16, proposals=30).eval()
    model.class_names, model.input_spec = ("person",), model.input_spec.with_size((96, 128))
    batch = collate([EvalPipeline(data, model.input_spec)[SampleKey(0, 0)]])
    terms = model.loss(Normalize(model.input_spec)(batch.images), batch.targets)
    assert torch.isfinite(terms["keypoints"])
    assert terms["keypoints"] > 1

    branch = model.branches["keypoints"]
    branch.predict = lambda maps, decoded: {  # type: ignore[method-assign]
        "keypoints": torch.tensor([[[[20.5, 20.5], [40.5, 22.5]]]]),
        "point_scores": torch.ones(1, 1, 2),
    }
    report = evaluate(scripted(model, [[10.0, 10.0, 70.0, 80.0]]), data, batch_size=1)
    assert report.primary == "keypoint_AP"
    assert report.values["keypoint_AP"] == pytest.approx(1.0)
