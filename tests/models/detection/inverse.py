"""Outputs that a perfect detector would give: the inverse of each detector's decoding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from saccade.models.base import Model, Outputs, Targets
from saccade.models.detection import yolov2, yolov3, yolov4
from saccade.models.detection.anchor_yolo import Anchors, AnchorYOLO
from saccade.models.detection.base import unpack_targets
from saccade.models.detection.box_branch import CODE_WEIGHTS as REGION_CODE_WEIGHTS
from saccade.models.detection.cascade_branch import CascadeBranch
from saccade.models.detection.centernet import center_targets
from saccade.models.detection.fast_rcnn import FastRCNN
from saccade.models.detection.faster_rcnn import FasterRCNN
from saccade.models.detection.fcos import FCOS, centerness_targets
from saccade.models.detection.region_svm import RegionDetector
from saccade.models.detection.retinanet import RetinaNet
from saccade.models.detection.ssd import CODE_WEIGHTS, SSD
from saccade.models.detection.yolov1 import YOLOv1
from saccade.models.detection.yolov1_loss import encode_grid
from saccade.models.detection.yolov5 import ANCHORS_P5, ANCHORS_P6
from saccade.ops.anchors import canvas_size, default_boxes, grid_points
from saccade.ops.box_coding import decode_cells, encode_anchors, encode_cells, encode_distances, encode_points
from saccade.ops.iou import pairwise_iou
from saccade.structures.batch import pad_targets


def yolox_outputs_from_targets(model: Model, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each box sits at the free anchor point nearest to its centre; all other points are sure that there is nothing.

    Args:
        model: For its strides and number of classes.
        targets: Boxes and labels, a list of dicts or padded; canvas pixels.
        image_size: (height, width) of the canvas.
    """
    padded = pad_targets(targets)
    boxes, labels = padded["boxes"].float(), padded["labels"]
    strides = model.feature_strides
    levels = [torch.empty(1, 1, -(-image_size[0] // stride), -(-image_size[1] // stride)) for stride in strides]
    points, steps = grid_points(levels, strides)
    B, A = len(boxes), len(points)
    raw = torch.zeros(B, A, 4)
    objectness = torch.full((B, A), -12.0)
    logits = torch.full((B, A, model.num_classes), -12.0)
    centres = (points + 0.5) * steps[:, None]
    for image in range(B):
        free = torch.ones(A, dtype=torch.bool)
        for box, label in zip(boxes[image], labels[image].tolist(), strict=True):
            if label < 0:
                continue
            distance = (centres - (box[:2] + box[2:]) / 2).norm(dim=1)
            nearest = int(distance.where(free, torch.inf).argmin())
            free[nearest] = False
            raw[image, nearest] = _code(box, points[nearest], steps[nearest])
            objectness[image, nearest] = 12.0
            logits[image, nearest, label] = 12.0
    return {"boxes": raw, "objectness": objectness, "logits": logits, "points": points, "strides": steps}


def fcos_outputs_from_targets(model: FCOS, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each location that owns an object predicts its box, class and centre-ness; all others, that there is nothing."""
    boxes, labels = unpack_targets(targets)
    images = torch.empty(1, 3, *image_size)
    maps = [images.new_empty(1, 1, *(-(-side // stride) for side in image_size)) for stride in model.feature_strides]
    points, strides = model._grid(images, maps)
    owners = model._owners(points, strides, boxes, labels >= 0)
    B, A = owners.shape
    image, location = (owners >= 0).nonzero(as_tuple=True)
    own = owners[image, location]
    exact = encode_distances(boxes[image, own], points[location])
    distances, centerness = torch.zeros(B, A, 4), torch.full((B, A), -12.0)
    logits = torch.full((B, A, model.num_classes), -12.0)
    distances[image, location] = exact / strides[location, None]
    logits[image, location, labels[image, own]] = 12.0
    centerness[image, location] = centerness_targets(exact).logit(eps=1e-6)
    found = {"logits": logits, "distances": distances, "centerness": centerness, "points": points, "strides": strides}
    return {**found, "canvas": canvas_size(images)}


def retinanet_outputs_from_targets(model: RetinaNet, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each object has the free anchor that it overlaps most, which the matcher may give to another; all others are sure
    that there is nothing.
    """
    boxes, labels = unpack_targets(targets)
    images = torch.empty(1, 3, *image_size)
    maps = [images.new_empty(1, 1, *(-(-side // stride) for side in image_size)) for stride in model.feature_strides]
    anchors = model._anchors(images, maps)
    B, A = len(boxes), len(anchors)
    codes, logits = torch.zeros(B, A, 4), torch.full((B, A, model.num_classes), -12.0)
    for image, row in (labels >= 0).nonzero().tolist():
        free = logits[image].amax(dim=1) < 0
        overlaps = pairwise_iou(boxes[image, row][None], anchors)[0]
        best = int(overlaps.where(free, -1.0).argmax())
        codes[image, best] = encode_anchors(boxes[image, row], anchors[best])
        logits[image, best, labels[image, row]] = 12.0
    return {"logits": logits, "codes": codes, "anchors": anchors, "canvas": canvas_size(images)}


def _code(box_xyxy: Tensor, point: Tensor, stride: Tensor) -> Tensor:
    return encode_points(box_xyxy[None], point[None], stride[None])[0]


def centernet_outputs_from_targets(model: Model, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Heatmaps as the loss wants them, and at each centre the size and offset of its object.

    Args:
        model: For its number of classes.
        targets: Boxes and labels, a list of dicts or padded; canvas pixels.
        image_size: (height, width) of the canvas.
    """
    padded = pad_targets(targets)
    grid = (-(-image_size[0] // 4), -(-image_size[1] // 4))
    encoded = center_targets(padded["boxes"].float(), padded["labels"], model.num_classes, grid)

    def at_centres(values: Tensor) -> Tensor:
        maps = torch.zeros(len(values), 2, grid[0] * grid[1])
        index = encoded.cells[:, None].expand(-1, 2, -1)
        return maps.scatter_add_(2, index, (values * encoded.valid[..., None]).transpose(1, 2)).unflatten(2, grid)

    return {
        "heatmap": encoded.heatmaps.clamp(1e-4, 1 - 1e-4).logit(),
        "sizes": at_centres(encoded.sizes),
        "offsets": at_centres(encoded.offsets),
    }


def ssd_outputs_from_targets(model: SSD, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each object has the free default box that it overlaps most; all others are sure of background."""
    boxes, labels = unpack_targets(targets)
    images = torch.empty(1, 3, *image_size)
    maps = model.features(images.to(next(model.parameters()).device))
    anchors = default_boxes(images, maps, *model.boxes)
    B, A = len(boxes), len(anchors)
    codes, logits = torch.zeros(B, A, 4), torch.zeros(B, A, 1 + model.num_classes)
    logits[..., 0] = 15.0
    for image, row in (labels >= 0).nonzero().tolist():
        free = logits[image, :, 0] > 0
        overlaps = pairwise_iou(boxes[image, row][None], anchors)[0]
        best = int(overlaps.where(free, -1.0).argmax())
        codes[image, best] = encode_anchors(boxes[image, row], anchors[best], CODE_WEIGHTS)
        logits[image, best, 0] = 0.0
        logits[image, best, 1 + labels[image, row]] = 15.0
    return {"codes": codes, "logits": logits, "anchors": anchors, "canvas": canvas_size(images)}


def yolov1_outputs_from_targets(model: YOLOv1, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each object has the free cell nearest to its centre, whose first box predicts it; all others have confidence 0.

    Centres are linear, so that a neighbouring cell predicts an object just as well, which training never asks for.
    """
    boxes, labels = unpack_targets(targets)
    regions = model.grid.regions(boxes.device)
    middles = (regions[:, :2] + regions[:, 2:]) / 2
    B, S = len(boxes), len(regions)
    classes, confidence, codes = torch.zeros(B, S, model.num_classes), torch.zeros(B, S, 2), torch.zeros(B, S, 2, 4)
    for image, row in (labels >= 0).nonzero().tolist():
        distance = (middles - (boxes[image, row, :2] + boxes[image, row, 2:]) / 2).norm(dim=1)
        cell = int(distance.where(confidence[image, :, 0] == 0, torch.inf).argmin())
        codes[image, cell, 0] = encode_grid(boxes[image, row].expand(S, 4), model.grid)[cell]
        confidence[image, cell, 0] = classes[image, cell, labels[image, row]] = 1.0
    return {"classes": classes, "confidence": confidence, "boxes": codes}


def yolov2_outputs_from_targets(model: AnchorYOLO, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """See :func:`cell_outputs_from_targets`."""
    return cell_outputs_from_targets(model, yolov2.ANCHORS, targets, image_size)


def yolov5_outputs_from_targets(model: AnchorYOLO, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """See :func:`cell_outputs_from_targets`."""
    anchors = ANCHORS_P5 if len(model.feature_strides) == 3 else ANCHORS_P6
    return cell_outputs_from_targets(model, anchors, targets, image_size)


def yolov3_outputs_from_targets(model: AnchorYOLO, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """See :func:`cell_outputs_from_targets`."""
    anchors = yolov3.ANCHORS if len(model.feature_strides) == 3 else yolov3.ANCHORS_TINY
    return cell_outputs_from_targets(model, anchors, targets, image_size)


def yolov4_outputs_from_targets(model: AnchorYOLO, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """See :func:`cell_outputs_from_targets`."""
    anchors = yolov4.ANCHORS if len(model.feature_strides) == 3 else yolov3.ANCHORS_TINY
    return cell_outputs_from_targets(model, anchors, targets, image_size)


def cell_outputs_from_targets(
    model: AnchorYOLO, anchors: Anchors, targets: Targets, image_size: tuple[int, int]
) -> Outputs:
    """Each object has the free row that can come nearest to it; all others are sure that there is nothing.

    Args:
        model: Perhaps without memory, so that it has to be told its anchors.
        anchors: Of each level.
        targets: Boxes and labels, a list of dicts or padded; canvas pixels.
        image_size: (height, width) of the canvas.
    """
    boxes, labels = unpack_targets(targets)
    model.anchor_sizes = torch.tensor([anchor for level in anchors for anchor in level])
    maps = [torch.empty(1, 0, *(-(-side // stride) for side in image_size)) for stride in model.feature_strides]
    points, strides, sizes, levels = model.grid(maps).rows()
    rows = points, strides, sizes, sizes.new_tensor(model.xy_scales)[levels]
    B, N = len(boxes), len(points)
    codes, objectness = torch.zeros(B, N, 4), torch.full((B, N), -12.0)
    logits = torch.full((B, N, model.num_classes), -12.0)
    for image, row in (labels >= 0).nonzero().tolist():
        nearest = encode_cells(boxes[image, row].expand(N, 4), *rows, model.size_coding)
        overlaps = pairwise_iou(boxes[image, row][None], decode_cells(nearest, *rows, model.size_coding))[0]
        best = int(overlaps.where(objectness[image] < 0, -1.0).argmax())
        codes[image, best], objectness[image, best] = nearest[best], 12.0
        logits[image, best, labels[image, row]] = 12.0
    return {
        "boxes": codes,
        "objectness": objectness,
        "logits": logits,
        "points": points,
        "strides": strides,
        "anchors": sizes,
        "xy_scales": rows[3],
        "canvas": canvas_size(torch.empty(1, 3, *image_size)),
    }


def fasterrcnn_outputs_from_targets(model: FasterRCNN, targets: Targets, image_size: tuple[int, int]) -> Outputs:
    """Each object has a proposal near it that is moved onto it; all others are rows of padding; further maps are 0."""
    boxes, labels = unpack_targets(targets)
    anchors_of = len(model.rpn.ratios) * len(model.rpn.sizes[0])
    settings = model.rpn.settings
    locations = [math.prod(-(-side // stride) for side in image_size) for stride in model.feature_strides]
    K = min(settings.count, sum(min(settings.candidates, count * anchors_of) for count in locations))
    cascade = isinstance(model.box_branch, CascadeBranch)
    weights = model.box_branch.stages[-1].code_weights if cascade else REGION_CODE_WEIGHTS
    proposals, logits, codes = _regions(boxes, labels, model.num_classes, K, weights, class_wise=not cascade)
    found = {"roi_scores": logits.softmax(dim=2)} if cascade else {"roi_logits": logits}
    images = torch.empty(len(boxes), 3, *image_size)
    with torch.device("meta"):
        levels = model.features(images.to("meta")) if len(model.branches) else ()
    maps = {f"map{level}": torch.zeros(values.shape).permute(0, 2, 3, 1) for level, values in enumerate(levels)}
    canvas = canvas_size(images)
    return {**found, "proposals": proposals, "roi_codes": codes.flatten(2), "canvas": canvas, **maps}


def region_outputs_from_targets(
    model: FastRCNN | RegionDetector, targets: Targets, image_size: tuple[int, int], count: int = 24
) -> Outputs:
    """The same for networks that are given their proposals, ``count`` of them an image."""
    boxes, labels = unpack_targets(targets)
    solved = isinstance(model, RegionDetector)
    weights = (1.0, 1.0, 1.0, 1.0) if solved else REGION_CODE_WEIGHTS
    proposals, logits, codes = _regions(boxes, labels, model.num_classes, count, weights)
    scores = {"roi_scores": logits.softmax(dim=2)} if solved else {}
    canvas = canvas_size(torch.empty(1, 3, *image_size))
    return {"proposals": proposals, "roi_logits": logits, **scores, "roi_codes": codes.flatten(2), "canvas": canvas}


def _regions(
    boxes: Tensor,
    labels: Tensor,
    num_classes: int,
    count: int,
    weights: tuple[float, float, float, float],
    class_wise: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Proposals, logits and codes: each object has a proposal near it that is moved onto it."""
    B = len(boxes)
    proposals, codes = torch.zeros(B, count, 4), torch.zeros(B, count, 1 + num_classes if class_wise else 1, 4)
    logits = torch.zeros(B, count, 1 + num_classes)
    shift = torch.tensor([-2.0, 3.0, 5.0, 4.0])
    for image, row in (labels >= 0).nonzero().tolist():
        proposals[image, row] = boxes[image, row] + shift
        code = encode_anchors(boxes[image, row], proposals[image, row], weights)
        codes[image, row, 1 + labels[image, row] if class_wise else 0] = code
        logits[image, row, 1 + labels[image, row]] = 15.0
    return proposals, logits, codes
