"""COCO: ``annotations/instances_<split>.json`` or ``person_keypoints_<split>.json`` beside folders of pictures.

Also read: ``<split>/_annotations.coco.json`` (pictures beside it), ``annotations/<split>.json`` and a single
``annotations.json``. Category ids, which have gaps, become labels 0..N-1 in the order of the ids;
``info.category_ids`` keeps the ids. Pictures without objects stay in the data set.

*Coordinates.* Boxes (x, y, width, height) and polygons are continuous already. Keypoints are indices of pixels, counted
from 0 (COCO, "data format"), so half a pixel is added to reach the pixel's centre; unlabelled points stay 0, 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.annotations import AnnotationTable, TableBuilder, TableDataset
from saccade.data.dataset import DatasetInfo
from saccade.data.images import MAX_PIXELS
from saccade.data.readers.coco_masks import decode_outline
from saccade.data.readers.common import UNSPLIT, check_name, check_task, choose, flip_pairs_by_name, resolve_split
from saccade.data.sample import Target
from saccade.errors import DataError

__all__ = ["CocoDataset", "matches", "read", "splits"]

_TASKS = ("detection", "segmentation", "keypoints")
_PREFIX = {"detection": "instances_", "segmentation": "instances_", "keypoints": "person_keypoints_"}
_OTHER = ("captions_", "image_info_", "panoptic_", "stuff_")


class CocoDataset(TableDataset):
    """A table whose outlines stay packed until they are asked for.

    Args:
        info: Name, task and classes.
        root: Data folder.
        table: Objects; ``extras["segment_start"]`` and ``["segment_end"]`` point into ``segments``.
        segments: The JSON texts of all outlines one after another, uint8.
        annotations: The JSON file below ``root``.
        masks: Give one mask an object, ``target["masks"]``.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        segments: NDArray[np.uint8],
        annotations: str,
        masks: bool = False,
    ) -> None:
        super().__init__(info, root, table, annotations=annotations)
        self.masks = masks
        self._segments = segments

    def target(self, index: int) -> Target:
        """Boxes and labels, with masks if they were asked for; for segmentation the label map."""
        if self.info.task == "segmentation":
            return {"label_map": self._label_map(index)}
        target = super().target(index)
        if self.masks:
            target["masks"] = self._masks(index)
        return target

    def _label_map(self, index: int) -> NDArray[np.uint8]:
        """Objects painted from the largest to the smallest over background 0."""
        rows = self.table.objects(index)
        masks, labels, areas = self._masks(index), self.table.labels[rows], self.table.area[rows]
        label_map = np.zeros(self.table.sizes[index], np.uint8)
        for position in np.argsort(-areas, kind="stable"):
            label_map[masks[position] > 0] = labels[position] + 1 if labels[position] >= 0 else 255
        return label_map

    def _masks(self, index: int) -> NDArray[np.uint8]:
        height, width = (int(side) for side in self.table.sizes[index])
        rows = range(*self.table.objects(index).indices(len(self.table.labels)))
        masks = np.zeros((len(rows), height, width), np.uint8)
        for position, row in enumerate(rows):
            start, end = self.table.extras["segment_start"][row], self.table.extras["segment_end"][row]
            try:
                masks[position] = decode_outline(json.loads(self._segments[start:end].tobytes()), height, width)
            except (TypeError, ValueError, KeyError) as error:
                raise DataError(
                    f"{self.annotation_path(index)}: the segmentation of object {position} of {self.table.path(index)} "
                    f"is malformed ({error}). Correct it, or remove the object."
                ) from error
        return masks


def matches(root: Path) -> bool:
    """Whether there is an annotation file where COCO has it."""
    return bool(_files(root, "detection") or _files(root, "keypoints"))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the parts that have an annotation file."""
    names = dict.fromkeys([*_files(root, "detection"), *_files(root, "keypoints")])
    return UNSPLIT if list(names) == ["all"] else tuple(names)


def read(root: Path, split: str, task: str | None = None, masks: bool = False) -> CocoDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: ``train`` also finds ``train2017``.
        task: ``detection``, ``keypoints``, or ``segmentation``: outlines painted as a label map, class 0 being
            ``background``.
        masks: Give each object's mask as well.

    Raises:
        DataError: If the file or one of its fields is missing or malformed, or names a picture outside ``root``.
    """
    task = check_task(task, _TASKS, "coco")
    files = _files(root, task)
    if not files:
        raise DataError(
            f"{root}: there is no annotations/{_PREFIX[task]}*.json for task '{task}'. Choose another task."
        )
    whole = list(files) == ["all"]
    own = "all" if whole else resolve_split(split, files, root)
    source = files[own]
    content = _load(source)
    categories = sorted(
        _entries(content, "categories", source), key=lambda entry: _field(entry, "id", int, source, "categories")
    )
    names = {category["id"]: str(_field(category, "name", str, source, "categories")) for category in categories}
    if len(set(names.values())) < len(names):
        raise DataError(f"{source}: two categories have the same name. Rename one of them.")
    points: list[str] = []
    if task == "keypoints":
        with_points = [category for category in categories if category.get("keypoints")]
        if len(with_points) != 1:
            raise DataError(f"{source}: categories: {len(with_points)} have keypoints, one must. Choose another task.")
        points = [str(point) for point in with_points[0]["keypoints"]]
        names = {with_points[0]["id"]: names[with_points[0]["id"]]}
    try:
        table, segments = _build_table(content, names, len(points), source, root, own)
    except OverflowError as error:
        raise DataError(f"{source}: a number is out of range ({error}). Correct or remove it.") from error
    if (masks or task == "segmentation") and not table.sizes.all():
        raise DataError(f"{source}: images lack height or width, without which no mask can be drawn. Add them.")
    if whole:
        table = table.select_images(choose(len(table), split, None, root))
    class_names = tuple(points) or tuple(names.values())
    if task == "segmentation":
        class_names = ("background", *class_names)
    info = DatasetInfo(
        root.name, task, class_names, split, flip_pairs=flip_pairs_by_name(points), category_ids=tuple(names)
    )
    return CocoDataset(info, root, table, segments, source.relative_to(root).as_posix(), masks)


def _files(root: Path, task: str) -> dict[str, Path]:
    """Annotation file by split name, for a task."""
    prefix = _PREFIX[task]
    found: dict[str, Path] = {}
    for file in sorted((root / "annotations").glob("*.json")):
        if file.stem.startswith(prefix):
            found[file.stem.removeprefix(prefix)] = file
        elif not file.stem.startswith((*_OTHER, *_PREFIX.values())):
            found.setdefault(file.stem, file)
    for file in sorted(root.glob("*/_annotations.coco.json")):
        found.setdefault(file.parent.name, file)
    if not found and (root / "annotations.json").is_file():
        found["all"] = root / "annotations.json"
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: this is not valid JSON ({error}). Write or copy the file again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: the file holds no object with 'images', 'annotations' and 'categories'.")
    return content


def _build_table(
    content: Mapping[str, Any], names: Mapping[int, str], num_keypoints: int, source: Path, root: Path, split: str
) -> tuple[AnnotationTable, NDArray[np.uint8]]:
    """All images with their annotations, in the file's order, and the packed outlines."""
    images = list(_entries(content, "images", source))
    by_image: dict[int, list[tuple[int, Mapping[str, Any]]]] = {}
    for position, entry in enumerate(_entries(content, "annotations", source)):
        by_image.setdefault(_field(entry, "image_id", int, source, f"annotations[{position}]"), []).append(
            (position, entry)
        )
    builder = TableBuilder(list(names.values()), num_keypoints)
    segments = bytearray()
    folder: str | None = None
    for number, image in enumerate(images):
        where = f"images[{number}]"
        name = check_name(_field(image, "file_name", str, source, where), source, f"{where}.file_name")
        folder = _image_folder(root, source, split, name) if folder is None else folder
        size = _size(image, source, where)
        image_id = _field(image, "id", int, source, where)
        builder.add_image(folder + name, image_id, size)
        for position, entry in by_image.pop(image_id, []):
            where = f"annotations[{position}]"
            category = _field(entry, "category_id", int, source, where)
            outline = json.dumps(entry.get("segmentation") or [], separators=(",", ":")).encode()
            builder.add_object(
                names.get(category, f"category_id {category}"),
                _box(entry, source, where),
                iscrowd=bool(entry.get("iscrowd", 0)),
                area=float(entry["area"]) if isinstance(entry.get("area"), (int, float)) else None,
                keypoints=_keypoints(entry, num_keypoints, source, where),
                segment_start=len(segments),
                segment_end=len(segments) + len(outline),
            )
            segments += outline
    if by_image:
        image_id, [(position, _), *_] = next(iter(by_image.items()))
        raise DataError(
            f"{source}: annotations[{position}].image_id is {image_id}, which no image has. Add or remove it."
        )
    if not images:
        raise DataError(f"{source}: images is empty. Add the pictures, or name another split.")
    return builder.build(), np.frombuffer(bytes(segments), np.uint8)


def _image_folder(root: Path, source: Path, split: str, name: str) -> str:
    """Folder below ``root``, with a slash at its end, in which the first picture lies, or would usually."""
    beside = "" if source.parent == root else f"{source.parent.relative_to(root).as_posix()}/"
    candidates = [f"{split}/", f"images/{split}/", "images/", "JPEGImages/", "", beside]
    return next((folder for folder in candidates if (root / folder / name).is_file()), candidates[0])


def _entries(content: Mapping[str, Any], key: str, source: Path) -> Iterator[Mapping[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{source}: '{key}' is missing or no list. Write it as in COCO's data format.")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{source}: {key}[{position}] is no object. Correct or remove it.")
        yield entry


def _field(entry: Mapping[str, Any], key: str, kind: type, source: Path, where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(
            f"{source}: {where}.{key} is {json.dumps(value)[:80]}, not {kind.__name__}. Correct or remove it."
        )
    return value


def _size(image: Mapping[str, Any], source: Path, where: str) -> tuple[int, int]:
    """(height, width), 0 where they are not given."""
    height, width = (_field({key: 0, **image}, key, int, source, where) for key in ("height", "width"))
    if height < 0 or width < 0 or height * width > MAX_PIXELS:
        raise DataError(f"{source}: {where} is {width}x{height} pixels. Correct its height and width.")
    return height, width


def _box(entry: Mapping[str, Any], source: Path, where: str) -> tuple[float, float, float, float]:
    x, y, width, height = _numbers(entry.get("bbox"), 4, source, f"{where}.bbox")
    return x, y, x + width, y + height


def _keypoints(entry: Mapping[str, Any], count: int, source: Path, where: str) -> Sequence[float]:
    if not count:
        return ()
    values = _numbers(entry.get("keypoints", [0] * (3 * count)), 3 * count, source, f"{where}.keypoints")
    for start in range(0, len(values), 3):
        if values[start + 2] > 0:
            values[start] += 0.5
            values[start + 1] += 0.5
    return values


def _numbers(values: Any, count: int, source: Path, field: str) -> list[float]:
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(isinstance(value, (int, float)) for value in values)
    ):
        raise DataError(f"{source}: {field} is {json.dumps(values)[:80]}, not {count} numbers. Correct or remove it.")
    return [float(value) for value in values]
