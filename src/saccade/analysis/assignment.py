"""Assignment of one image: which anchors, or anchor points, a detector makes positive for which object, by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saccade.data.transforms.move import require_finite
from saccade.data.transforms.resize import Resize
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.detection.base import Assignment, Detector, unpack_targets
from saccade.models.normalize import Normalize
from saccade.ops.matching import IGNORED, NEGATIVE
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["AssignedObjects", "explain_assignment", "no_detector"]


@dataclass(frozen=True, eq=False)
class AssignedObjects:
    """What a detector assigns in one image, with its ground truth on the canvas: numbers, and a drawing of them.

    Args:
        path: Name of the image.
        canvas: (H, W, 3) uint8 RGB: the image as the network sees it, before normalisation.
        boxes_xyxy: (M, 4) float32: the objects, pixels of the canvas.
        names: M names of classes.
        trains: (M,) bool: false for crowds and difficult objects, which are not targets.
        lost: Objects of the image of which the resize rule leaves too little; they are not among the M.
        assignment: Of a batch of this image alone; an owner is a row of ``boxes_xyxy``.
        left_out: Objects of the data that are left out because their labels are faulty: where, and what is wrong.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> target = {"boxes": np.array([[8.0, 8, 40, 40]]), "labels": np.array([1])}
        >>> found = explain_assignment(model, np.zeros((64, 64, 3), np.uint8), target)
        >>> [row["level"] for row in found.levels()]
        ['stride 8', 'stride 16', 'stride 32']
        >>> found.objects()[0]["positive"] == sum(row["positive"] for row in found.levels()) > 0
        True
        >>> found.save("assign.png").name
        'assign.png'
    """

    path: str
    canvas: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float32]
    names: tuple[str, ...]
    trains: NDArray[np.bool_]
    lost: int
    assignment: Assignment
    left_out: tuple[str, ...] = ()

    def counts(self) -> NDArray[np.int64]:
        """Positives of every object by level, (M, number of levels)."""
        names, owners = self.assignment.level_names, self.assignment.owners[0]
        positive = owners >= 0
        cells = owners[positive] * len(names) + self.assignment.levels[positive]
        found = np.bincount(cells.cpu().numpy(), minlength=len(self.names) * len(names))
        return found.reshape(len(self.names), len(names)).astype(np.int64)

    def levels(self) -> list[dict[str, Any]]:
        """One row a level: anchors or points that are positive, ignored and negative, and objects with a positive."""
        owners, own = self.assignment.owners[0], self.assignment.levels
        objects = (self.counts() > 0).sum(axis=0)
        rows = []
        for number, name in enumerate(self.assignment.level_names):
            here = owners[own == number]
            rows.append(
                {
                    "level": name,
                    "positive": int((here >= 0).sum()),
                    "ignored": int((here == IGNORED).sum()),
                    "negative": int((here == NEGATIVE).sum()),
                    "objects": int(objects[number]),
                }
            )
        return rows

    def objects(self) -> list[dict[str, Any]]:
        """One row an object: number from 1, class, width and height on the canvas, positives in all and by level."""
        rows = []
        sides = self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]
        for number, (name, side, trains, counts) in enumerate(
            zip(self.names, sides.tolist(), self.trains.tolist(), self.counts().tolist(), strict=True)
        ):
            rows.append(
                {
                    "object": number + 1,
                    "class": name if trains else f"{name} (no target)",
                    "width": round(side[0], 1),
                    "height": round(side[1], 1),
                    "positive": sum(counts),
                    **dict(zip(self.assignment.level_names, counts, strict=True)),
                }
            )
        return rows

    def notes(self) -> list[str]:
        """What else is to be known: objects without a positive, objects that do not train, objects left out."""
        none = self.trains & (self.counts().sum(axis=1) == 0)
        notes = []
        if none.any():
            numbers = ", ".join(str(number + 1) for number in np.flatnonzero(none)[:20])
            more = ", ..." if none.sum() > 20 else ""
            notes.append(f"nothing is positive for object{'s' if none.sum() > 1 else ''} {numbers}{more}")
        if not self.trains.all():
            notes.append(f"{int((~self.trains).sum())} crowds or difficult objects are not targets")
        if self.lost:
            notes.append(f"of {self.lost} objects the resize rule leaves too little: they are not on the canvas")
        notes += [f"left out as faulty: {entry}" for entry in self.left_out]
        return notes

    def plot(self) -> NDArray[np.uint8]:
        """Draw one panel a level over the canvas as the network sees it, and a table of the objects below.

        Positive anchors, or the cells of positive points, have the colour of the object to which they belong; ignored
        ones are grey, negatives are dots, where there are not too many.
        """
        from saccade.analysis.assignment_drawing import draw_assignment

        height, width = self.canvas.shape[:2]
        return draw_assignment(
            self.canvas,
            self.boxes_xyxy,
            self.assignment,
            self.levels(),
            self.objects(),
            [f"{Path(self.path).name}, canvas {width} x {height}, {len(self.names)} objects", *self.notes()],
        )

    def save(self, path: str | Path) -> Path:
        """Write :meth:`plot`; the suffix decides the format."""
        from saccade.results.drawing import write_image

        return write_image(path, self.plot())


def explain_assignment(
    model: Model, image: NDArray[Any], target: Mapping[str, Any], path: str = "array"
) -> AssignedObjects:
    """Find which anchors, or anchor points, of an image a detector assigns to which object, as its loss does.

    Args:
        model: The detector; it is put into eval mode. Where the paper lets predictions decide (YOLOX), they are those
            of the weights that it has now.
        image: Pixels as read, (H, W, C).
        target: ``boxes`` (N, 4) xyxy, pixels of the image, and ``labels`` (N,); ``iscrowd`` and ``difficult`` where the
            data has them.
        path: Name of the image, for results.

    Raises:
        ConfigError: If the model is no detector.
        DataError: If boxes or labels are malformed, or a label is none of the network's.

    Example:
        >>> model = saccade.create_model("yolox_nano", num_classes=2)
        >>> target = {"boxes": np.array([[8.0, 8, 40, 40], [20, 20, 60, 50]]), "labels": np.array([1, 0])}
        >>> found = explain_assignment(model, np.zeros((64, 64, 3), np.uint8), target)
        >>> found.counts().shape, int(found.assignment.owners.max())
        ((2, 3), 1)
    """
    if not isinstance(model, Detector):
        raise no_detector(model.builder_name, model.task)
    model.eval()
    given = _check_target(target, model, path)
    info = ImageInfo(0, path, Geometry.identity((image.shape[0], image.shape[1])), image)
    numbered: Target = {**given, "labels": np.arange(len(given["labels"]))}  # which of them the canvas still shows
    sample = Resize(model.input_spec)(Sample(image, numbered, info))
    kept = sample.target["labels"]
    labels = given["labels"][kept]
    device = next(model.parameters()).device
    tensors = {
        key: torch.from_numpy(np.ascontiguousarray(value)).to(device)
        for key, value in {**sample.target, "labels": labels}.items()
    }
    pixels = torch.from_numpy(np.ascontiguousarray(sample.image))[None].permute(0, 3, 1, 2).to(device)
    with torch.no_grad():
        assignment = model.assign(Normalize(model.input_spec).to(device)(pixels), [tensors])
    _, trained = unpack_targets([tensors])
    names = model.class_names or tuple(f"class {label}" for label in range(model.num_classes))
    from saccade.results.images import to_rgb8

    return AssignedObjects(
        path=path,
        canvas=to_rgb8(sample.image),
        boxes_xyxy=np.asarray(sample.target["boxes"], np.float32),
        names=tuple(names[label] for label in labels),
        trains=(trained[0, : len(labels)] >= 0).cpu().numpy(),
        lost=len(given["labels"]) - len(labels),
        assignment=assignment,
    )


def no_detector(name: str, task: str) -> ConfigError:
    """The error for a network that assigns nothing.

    Example:
        >>> str(no_detector("resnet50", "classification"))
        "a detector assigns anchors to objects, and 'resnet50' solves classification. Leave --assign (assign=True) out."
    """
    return ConfigError(
        f"a detector assigns anchors to objects, and '{name}' solves {task}. Leave --assign (assign=True) out."
    )


def _check_target(target: Mapping[str, Any], model: Model, path: str) -> Target:
    """Boxes and labels of one image, and what decides whether they train, as arrays."""
    missing = [key for key in ("boxes", "labels") if key not in target]
    if missing:
        raise DataError(f"{path}: its ground truth has no '{missing[0]}'. Give 'boxes' (N, 4) and 'labels' (N,).")
    chosen = {key: np.asarray(target[key]) for key in ("boxes", "labels", "iscrowd", "difficult") if key in target}
    given: Target = {
        key: value.reshape(-1, 4).astype(np.float32) if key == "boxes" and value.size % 4 == 0 else value
        for key, value in chosen.items()
    }
    given["labels"] = given["labels"].reshape(-1).astype(np.int64)
    shapes = {key: tuple(value.shape) for key, value in given.items()}
    count = len(given["labels"])
    if shapes["boxes"] != (count, 4) or any(shape[:1] != (count,) for shape in shapes.values()):
        raise DataError(f"{path}: the shapes of its ground truth are {shapes}. Give one box and one label an object.")
    require_finite(given, path)
    wrong = (given["labels"] < 0) | (given["labels"] >= model.num_classes)
    if wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: label of object {number} is {given['labels'][number]}; the classes of the network are 0 to "
            f"{model.num_classes - 1}. Name a network with the classes of the data."
        )
    return given
