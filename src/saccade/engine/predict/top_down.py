"""Top-down prediction: boxes of objects first, then a network that finds the keypoints of one object in each.

The boxes come from a detector, or from a file of them in COCO's result format, whatever made it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.object_crops import ObjectCrops, cut_out, object_window
from saccade.data.transforms.resize import resize_image
from saccade.deploy.base import Runtime, points_of
from saccade.engine.predict.prepare import Prepared, predict_batch, prepare
from saccade.engine.predict.sources import AS_GIVEN, Skips, SourceOptions, iter_images
from saccade.errors import ConfigError, DataError
from saccade.results.base import Result
from saccade.structures.dataset import VisionDataset
from saccade.structures.input_spec import InputSpec
from saccade.structures.reading import read_bytes
from saccade.structures.sample import ImageInfo, ObjectBox
from saccade.structures.text import printable
from saccade.tasks import get_task

__all__ = ["BoxSource", "DetectorBoxes", "FileBoxes", "crops_of_boxes", "open_boxes", "predict_top_down"]

LEAST_SCORE = 0.05  # boxes of detectors that score less are hardly ever objects, and each costs a prediction


class BoxSource(Protocol):
    """Gives the boxes of the objects in an image, (N, 5) float64: x1, y1, x2, y2 in its pixels, score."""

    def find(self, name: str, image_id: int | None, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes of an image.

        Args:
            name: Its file.
            image_id: The data set's number for it, where there is one.
            pixels: (H, W, C).
        """
        ...


@dataclass
class DetectorBoxes:
    """Boxes that a detector finds, of the class that has the keypoints.

    Args:
        runtime: The detector.
        object_name: Name of the class, such as ``person``; a detector with one class needs none.
        least_score: Boxes that score less are left out.

    Raises:
        ConfigError: If it is no detector, or has several classes and none of that name.
    """

    runtime: Runtime
    object_name: str = ""
    least_score: float = LEAST_SCORE

    def __post_init__(self) -> None:
        names = tuple(self.runtime.class_names)
        if not {"boxes", "labels"} <= set(self.runtime.decoded_keys):
            raise ConfigError(f"boxes: {self.runtime.name} solves {self.runtime.task}. Name a detector.")
        if self.object_name not in names and len(names) != 1:
            wanted = f"'{self.object_name}'" if self.object_name else "which of them has the keypoints is not known"
            raise ConfigError(
                f"boxes: {self.runtime.name} has {len(names)} classes ({printable(', '.join(names[:8]))}) and none is "
                f"{wanted}. Name a detector with that class, or with one class."
            )
        self._label = names.index(self.object_name) if self.object_name in names else 0

    def find(self, name: str, image_id: int | None, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes that the detector finds in ``pixels``, by falling score."""
        (found,) = predict_batch(self.runtime, [prepare(pixels, self.runtime.input_spec, keep_image=False)])
        boxes, scores, labels = (np.asarray(getattr(found, key)) for key in ("boxes_xyxy", "scores", "labels"))
        keep = (labels == self._label) & (scores >= self.least_score)
        return np.concatenate([boxes[keep], scores[keep, None]], axis=1).astype(np.float64)


class FileBoxes:
    """Boxes of a file in COCO's result format: ``image_id``, ``bbox`` (x, y, width, height), ``score``.

    An image is found by its number in the data set or, where it has none, by its file name, by the name without suffix,
    or by the number that the name is (``000000000139.jpg`` is 139). Images that the file does not name have no boxes.

    Args:
        path: The file.
        categories: Ids of categories that are taken; all if empty.

    Raises:
        DataError: If it is no such file, or holds several categories and none is chosen.

    Example:
        >>> _ = Path("boxes.json").write_text('[{"image_id": 139, "bbox": [10, 20, 30, 40], "score": 0.9}]')
        >>> FileBoxes("boxes.json").find("val/000000000139.jpg", None, np.zeros((99, 99, 3))).tolist()
        [[10.0, 20.0, 40.0, 60.0, 0.9]]
    """

    def __init__(self, path: str | Path, categories: Iterable[int] = ()) -> None:
        self.path = Path(path)
        chosen, seen = set(categories), set()
        self._boxes: dict[str, list[list[float]]] = {}
        for number, entry in enumerate(_entries(self.path)):
            image, category, row = self._read(number, entry)
            if chosen and category is not None and category not in chosen:
                continue
            seen.add(category)
            self._boxes.setdefault(image, []).append(row)
        if len(seen) > 1:
            raise DataError(
                f"{self.path}: category_id: {len(seen)} categories, and which of them has the keypoints is not known. "
                "Keep the entries of that category alone."
            )

    def _read(self, number: int, entry: Any) -> tuple[str, Any, list[float]]:
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            row = [x, y, x + width, y + height, float(entry.get("score", 1.0))]
            image, category = str(entry["image_id"]), entry.get("category_id")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{self.path}: [{number}]: no image_id with a bbox of four numbers ({type(error).__name__}: {error}). "
                "Write it as in COCO's results format."
            ) from error
        if not np.isfinite(row).all() or not 0 <= row[4] <= 1 or width <= 0 or height <= 0:
            raise DataError(
                f"{self.path}: [{number}]: bbox {entry['bbox']} with score {row[4]} is no box with an extent and a "
                "score of 0 to 1. Correct or remove the entry."
            )
        return image, category, row

    def find(self, name: str, image_id: int | None, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes of the image, by falling score, without those that lie outside of it."""
        file = PurePosixPath(name.replace("\\", "/"))
        keys = [file.name, file.stem, *([str(int(file.stem))] if file.stem.isascii() and file.stem.isdigit() else [])]
        keys = keys if image_id is None else [str(image_id), *keys]
        rows = next((self._boxes[key] for key in keys if key in self._boxes), [])
        boxes = np.array(rows, np.float64).reshape(-1, 5)
        height, width = pixels.shape[:2]
        inside = (boxes[:, 0] < width) & (boxes[:, 1] < height) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        boxes = boxes[inside]
        return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: this is not valid JSON ({error}). Write or copy the file again.") from error
    if not isinstance(entries, list):
        raise DataError(f"{path}: boxes are a list of entries. Write it as in COCO's results format.")
    return entries


def open_boxes(boxes: str | Path | Runtime, object_name: str = "", categories: Iterable[int] = ()) -> BoxSource:
    """Open a source of boxes: a detector, or a JSON file.

    Args:
        boxes: Detector (runtime, checkpoint, folder of a run, exported file), or JSON file in COCO's result format.
        object_name: Class of a detector that has the keypoints.
        categories: Category ids of a file that have the keypoints; all if empty.
    """
    if isinstance(boxes, str | Path) and Path(boxes).suffix.lower() == ".json":
        return FileBoxes(boxes, categories)
    from saccade.deploy.runtime import open_runtime

    return DetectorBoxes(open_runtime(boxes) if isinstance(boxes, str | Path) else boxes, object_name)


def crops_of_boxes(
    dataset: VisionDataset,
    spec: InputSpec,
    boxes: str | Path | Runtime | None = None,
    progress: Any = None,
) -> ObjectCrops:
    """Crops of a data set for the evaluation of a network that finds one object: by its boxes, or by others.

    Args:
        dataset: Images with keypoints.
        spec: Of the network; its ``object_crops`` says how much larger than its box a crop is.
        boxes: Detector or file of boxes (:func:`open_boxes`); the ground truth's if not given.
        progress: Wraps the images, given their number, while a detector runs.
    """
    height, width = spec.canvas
    if boxes is None:
        return ObjectCrops(dataset, width / height, spec.object_crops)
    info = dataset.info
    source = open_boxes(boxes, info.points.object_name, info.category_ids)
    known = getattr(dataset, "image_ids", None)
    indices: Iterable[int] = range(len(dataset))
    found: dict[int, NDArray[Any]] = {}
    for index in indices if progress is None else progress(indices, len(dataset)):
        image_id = None if known is None else int(known[index])
        found[index] = source.find(dataset.path(index), image_id, dataset.read(index).image)
    return ObjectCrops(dataset, width / height, spec.object_crops, found)


def predict_top_down(
    runtime: Runtime,
    source: Any,
    boxes: str | Path | Runtime,
    batch_size: int = 16,
    keep_images: bool = True,
    skips: Skips | None = None,
    options: SourceOptions = AS_GIVEN,
) -> Iterator[Result]:
    """Predict the objects of every image of a source: boxes, then the keypoints in each.

    Args:
        runtime: Of a network that finds one object and learnt from crops (``input_spec.object_crops``).
        source: Anything ``engine.predict.sources.iter_source`` takes.
        boxes: Detector or file of boxes (:func:`open_boxes`).
        batch_size: Crops at a time.
        keep_images: Keep the pixels on the result.
        skips: What happens to images that cannot be read; an error if not given.
        options: How the source is searched.

    Yields:
        One result an image, with as many objects as were found; none where there is no box.
    """
    found = open_boxes(boxes, points_of(runtime).object_name)
    skips = skips or Skips()
    task = get_task(runtime.task)
    for number, (image, pixels) in enumerate(iter_images(source, runtime.input_spec.channels, skips, options)):
        about = {"path": image.name, "image_id": number + len(skips.images)}
        rows = found.find(image.name, None, pixels)
        crops = [_prepare(pixels, ObjectBox(row[:4], float(row[4])), runtime.input_spec, about) for row in rows]
        if not crops:  # a prediction that is thrown away tells what an empty result is
            crops = [_prepare(pixels, ObjectBox(np.array([0.0, 0, 1, 1]), 0.0), runtime.input_spec, about)]
        starts = range(0, len(crops), batch_size)
        results = [one for start in starts for one in predict_batch(runtime, crops[start : start + batch_size])]
        joined = replace(task.join_parts(results), image=pixels if keep_images else None)
        joined.frame, joined.seconds = image.frame, image.seconds
        yield joined


def _prepare(pixels: NDArray[Any], box: ObjectBox, spec: InputSpec, about: Mapping[str, Any]) -> Prepared:
    height, width = spec.canvas
    window = object_window(box.box_xyxy, width / height, spec.object_crops)
    crop, geometry = cut_out(pixels, window, spec.pad_value)
    canvas, onto = resize_image(crop, spec)
    return Prepared(canvas, ImageInfo(**about, geometry=geometry.then(onto.matrix, onto.size), crop=box))
