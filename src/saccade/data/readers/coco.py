"""COCO: ``annotations/instances_<split>.json`` or ``person_keypoints_<split>.json`` beside folders of images.

Also read: ``<split>/_annotations.coco.json`` (images beside it), ``annotations/<split>.json``, and a single JSON file
in the folder itself. Category ids, which have gaps, become labels 0..N-1 in the order of the ids;
``info.category_ids`` keeps the ids. Images without objects stay in the data set. Polygons, masks (run lengths, plain
or compressed) and ``attributes`` are kept for conversion; other fields of an annotation are not.

*Coordinates.* Boxes (x, y, width, height) and polygons are continuous already. Keypoints are indices of pixels, counted
from 0 (COCO, "data format"), so half a pixel is added to reach the pixel's centre; unlabelled points stay 0, 0.

*Speed.* A million annotations as dictionaries are gigabytes. They are decoded into typed records, some thousands at a
time, which are put into arrays at once.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from saccade.data.images.decode import MAX_PIXELS
from saccade.data.readers._common import UNSPLIT, check_name, check_task, choose, flip_pairs_by_name, resolve_split
from saccade.data.tables._rows import group_by_row
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.outlines import OutlineBuilder, TextBuilder
from saccade.data.tables.run_lengths import EncodedMask
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["matches", "read", "splits"]

_TASKS = ("detection", "segmentation", "keypoints")
_PREFIX = {"detection": "instances_", "segmentation": "instances_", "keypoints": "person_keypoints_"}
_OTHER = ("captions_", "image_info_", "panoptic_", "stuff_")
_AT_A_TIME = 20_000
_OWN_IMAGE_FIELDS = frozenset({"id", "file_name", "height", "width"})


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: bool | int = 0
    segmentation: list[list[float]] | EncodedMask | None = None
    keypoints: list[float] = []
    attributes: dict[str, Any] | None = None


class _File(msgspec.Struct, gc=False):
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[msgspec.Raw]


def matches(root: Path) -> bool:
    """Whether there is an annotation file where COCO has it."""
    return bool(_files(root, "detection") or _files(root, "keypoints"))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that have an annotation file.

    Example:
        >>> Path("annotations").mkdir()
        >>> for split in ("train2017", "val2017"):
        ...     Path(f"annotations/instances_{split}.json").touch()
        >>> splits(Path())
        ('train2017', 'val2017')
    """
    names = dict.fromkeys([*_files(root, "detection"), *_files(root, "keypoints")])
    return UNSPLIT if list(names) == ["all"] else tuple(names)


def read(
    root: Path, split: str, task: str | None = None, masks: bool = False, images: str | None = None
) -> TableDataset:
    """Read one split of a COCO data set.

    Args:
        root: Data folder.
        split: ``train`` also finds ``train2017``.
        task: ``detection``, ``keypoints``, or ``segmentation``: outlines painted as a label map, class 0 being
            ``background``.
        masks: Give each object's mask as well.
        images: Folder of the images, if it is not where COCO has it; relative to ``root``.

    Raises:
        DataError: If the file or one of its fields is missing or malformed, or names an image outside ``root``.

    Example:
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "a.jpg", "height": 40, "width": 60}],
        ...     "categories": [{"id": 18, "name": "dog"}],
        ...     "annotations": [{"image_id": 7, "category_id": 18, "bbox": [10, 5, 20, 30]}],
        ... }
        >>> _ = Path("train.json").write_text(json.dumps(content))
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('dog',), array([[10.,  5., 30., 35.]]))
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
    categories = sorted(content.categories, key=lambda entry: _field(entry, "id", int, source, "categories"))
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
    image_root = root if images is None else root / images
    try:
        table = _Tables(source, names, len(points)).build(content, _image_folder(image_root, source, own, images))
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
        root.name,
        task,
        class_names,
        split,
        flip_pairs=flip_pairs_by_name(points),
        category_ids=tuple(names),
        object_names=tuple(names.values()) if points else (),
    )
    return TableDataset(info, root, table, source.relative_to(root).as_posix(), image_root=image_root, masks=masks)


def _files(root: Path, task: str) -> dict[str, Path]:
    """Annotation file of each split, for a task."""
    prefix = _PREFIX[task]
    found: dict[str, Path] = {}
    for file in sorted((root / "annotations").glob("*.json")):
        if file.stem.startswith(prefix):
            found[file.stem.removeprefix(prefix)] = file
        elif _is_coco(file, prefix):
            found.setdefault(file.stem, file)
    for file in sorted(root.glob("*/_annotations.coco.json")):
        found.setdefault(file.parent.name, file)
    if not found:
        single = [file for file in sorted(root.glob("*.json")) if _is_coco(file, prefix)]
        found = {"all": single[0]} if len(single) == 1 else {file.stem.removeprefix(prefix): file for file in single}
    return found


def _is_coco(file: Path, prefix: str) -> bool:
    """Whether a JSON file of another name is COCO's, by its first key: labelme and others write JSON as well."""
    if not file.is_file():
        return False
    if file.stem.startswith((*_OTHER, *_PREFIX.values())):
        return file.stem.startswith(prefix)
    with file.open("rb") as stream:
        start = stream.read(4096)
    return re.match(rb'\s*\{\s*"(info|licenses|images|annotations|categories|type)"\s*:', start) is not None


def _load(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {_where(str(error))}. Write it as in COCO's data format.") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: this is not valid JSON ({error}). Write or copy the file again.") from error


def _where(message: str, prefix: str = "") -> str:
    """``Expected `int`, got `str` - at `$.image_id``` as ``annotations[3].image_id: expected int, got str``."""
    problem, _, field = message.replace("`", "").partition(" - at $")
    field = f"{prefix}{field}".lstrip(".")
    problem = problem[:1].lower() + problem[1:]
    return f"{field}: {problem}" if field else problem


class _Tables:
    """Arrays of all annotations, filled in the file's order and then sorted by image."""

    def __init__(self, source: Path, names: dict[int, str], num_keypoints: int) -> None:
        self.source = source
        self.class_names = names
        self.num_keypoints = num_keypoints
        self._labels_of = {number: label for label, number in enumerate(names)}
        self._unknown: list[str] = []
        self._outlines, self._attributes = OutlineBuilder(), TextBuilder()
        self._position = 0
        self._images, self._labels = array("q"), array("q")
        self._boxes, self._areas, self._keypoints = array("d"), array("d"), array("f")
        self._crowd = array("b")

    def build(self, content: _File, folder: Callable[[str], str]) -> AnnotationTable:
        """Table of a file; ``folder`` finds the images' folder from the name of the first."""
        paths, image_ids, sizes, more = self._read_images(content.images, folder)
        index_of = {int(number): index for index, number in enumerate(image_ids)}
        if len(index_of) < len(image_ids):
            twice = next(number for index, number in enumerate(image_ids) if number in image_ids[:index])
            raise DataError(f"{self.source}: two images have the id {twice}. Give each its own.")
        for start in range(0, len(content.annotations), _AT_A_TIME):
            self._add(self._decode(content.annotations[start : start + _AT_A_TIME]), index_of)
        content.annotations.clear()  # half of the memory
        images = np.array(self._images, np.int64)
        order, offsets = group_by_row(images, len(paths))
        attributes = self._attributes.build()
        return AnnotationTable(
            paths=np.array(paths, np.bytes_),
            image_ids=np.array(image_ids, np.int64),
            sizes=np.array(sizes, np.int32).reshape(-1, 2),
            offsets=offsets,
            labels=np.array(self._labels, np.int64)[order],
            boxes=np.array(self._boxes, np.float64).reshape(-1, 4)[order],
            iscrowd=np.array(self._crowd, np.bool_)[order],
            area=np.array(self._areas, np.float64)[order],
            keypoints=np.array(self._keypoints, np.float32).reshape(len(images), self.num_keypoints, 3)[order],
            unknown_classes=tuple(self._unknown),
            outlines=self._outlines.build().take(order),
            attributes=None if attributes is None else attributes.take(order),
            image_attributes=more.build(),
        )

    def _read_images(
        self, images: list[dict[str, Any]], folder: Callable[[str], str]
    ) -> tuple[list[bytes], list[int], list[tuple[int, int]], TextBuilder]:
        if not images:
            raise DataError(f"{self.source}: images is empty. Add the images, or name another split.")
        paths, image_ids, sizes, more = [], [], [], TextBuilder()
        beside: str | None = None
        for number, image in enumerate(images):
            where = f"images[{number}]"
            name = check_name(_field(image, "file_name", str, self.source, where), self.source, f"{where}.file_name")
            beside = folder(name) if beside is None else beside
            paths.append((beside + name).encode())
            image_ids.append(_field(image, "id", int, self.source, where))
            sizes.append(_size(image, self.source, where))
            more.add({key: value for key, value in image.items() if key not in _OWN_IMAGE_FIELDS})
        return paths, image_ids, sizes, more

    def _decode(self, chunk: list[msgspec.Raw]) -> list[_Annotation]:
        """Typed records; an error names the annotation and field that is malformed."""
        try:
            return msgspec.json.decode(b"[" + b",".join(chunk) + b"]", type=list[_Annotation])
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.source}: annotations: a text is not UTF-8 ({error}). Write or copy the file again."
            ) from error
        except msgspec.ValidationError as error:
            match = re.search(r"\$\[(\d+)\]", str(error))
            number = self._position + (int(match[1]) if match else 0)
            message = re.sub(r"\$\[\d+\]", "$", str(error))
            raise DataError(
                f"{self.source}: {_where(message, f'annotations[{number}]')}. Correct or remove it."
            ) from error

    def _add(self, entries: Sequence[_Annotation], index_of: dict[int, int]) -> None:
        images = [index_of.get(entry.image_id, -1) for entry in entries]
        if -1 in images:
            self._position += images.index(-1)
            number = entries[images.index(-1)].image_id
            raise DataError(
                f"{self.source}: annotations[{self._position}].image_id is {number}, which no image has. "
                "Add or remove it."
            )
        self._images.extend(images)
        self._labels.extend([self._label(entry.category_id) for entry in entries])
        self._crowd.extend([bool(entry.iscrowd) for entry in entries])
        boxes = np.array([entry.bbox for entry in entries], np.float64).reshape(-1, 4)
        with np.errstate(over="ignore", invalid="ignore"):  # faulty boxes are for the checker
            sides = np.maximum(boxes[:, 2:], 0.0).prod(axis=1)
            boxes[:, 2:] += boxes[:, :2]
        self._boxes.frombytes(boxes.tobytes())
        self._areas.extend(
            [side if entry.area is None else entry.area for entry, side in zip(entries, sides.tolist(), strict=True)]
        )
        for entry in entries:
            self._add_outline(entry.segmentation)
            self._attributes.add(entry.attributes)
            if self.num_keypoints:
                self._add_keypoints(entry.keypoints)
            self._position += 1

    def _label(self, category: int) -> int:
        label = self._labels_of.get(category)
        if label is None:
            self._unknown.append(f"category_id {category}")
            label = self._labels_of[category] = -len(self._unknown)
        return label

    def _add_outline(self, outline: list[list[float]] | EncodedMask | None) -> None:
        if not isinstance(outline, EncodedMask):
            for ring in outline or ():
                if len(ring) % 2:
                    raise self._fault("segmentation", f"a polygon has {len(ring)} numbers, which are not pairs")
            self._outlines.add(outline or ())
            return
        try:
            self._outlines.add(runs=outline.run_lengths().tolist(), run_size=outline.size)
        except (ValueError, OverflowError) as error:
            raise self._fault("segmentation.counts", str(error)) from error

    def _add_keypoints(self, values: list[float]) -> None:
        values = values or [0.0] * (3 * self.num_keypoints)
        if len(values) != 3 * self.num_keypoints:
            raise self._fault("keypoints", f"there are {len(values)} numbers, not {3 * self.num_keypoints}")
        for start in range(0, len(values), 3):
            labelled = values[start + 2] > 0
            self._keypoints.extend(
                (values[start] + 0.5, values[start + 1] + 0.5, values[start + 2]) if labelled else (0.0, 0.0, 0.0)
            )

    def _fault(self, field: str, problem: str) -> DataError:
        return DataError(f"{self.source}: annotations[{self._position}].{field}: {problem}. Correct or remove it.")


def _image_folder(image_root: Path, source: Path, split: str, images: str | None) -> Callable[[str], str]:
    """Function from the first image's name to the images' folder below ``image_root``, with a slash at its end."""

    def find(name: str) -> str:
        if images is not None:
            return ""
        beside = "" if source.parent == image_root else f"{source.parent.relative_to(image_root).as_posix()}/"
        candidates = [f"{split}/", f"images/{split}/", "images/", "JPEGImages/", "", beside]
        return next((folder for folder in candidates if (image_root / folder / name).is_file()), candidates[0])

    return find


def _field(entry: dict[str, Any], key: str, kind: type, source: Path, where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(
            f"{source}: {where}.{key} is {json.dumps(value)[:80]}, not {kind.__name__}. Correct or remove it."
        )
    return value


def _size(image: dict[str, Any], source: Path, where: str) -> tuple[int, int]:
    """(height, width), 0 where they are not given."""
    height, width = (_field({key: 0, **image}, key, int, source, where) for key in ("height", "width"))
    if height < 0 or width < 0 or height * width > MAX_PIXELS:
        raise DataError(f"{source}: {where} is {width}x{height} pixels. Correct its height and width.")
    return height, width
