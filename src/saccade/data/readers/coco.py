"""COCO: ``annotations/instances_<split>.json`` or ``person_keypoints_<split>.json`` beside folders of images.

Also read: ``<split>/_annotations.coco.json`` (images beside it), ``annotations/<split>.json``, a single JSON file of
any name in the folder itself, and one in each folder of a split. A file of another name is COCO's if it has ``images``
and ``annotations``. Category ids, which have gaps, become labels 0..N-1 in the order of the ids; ``info.category_ids``
keeps the ids. Images without objects stay in the data set. Polygons, masks (run lengths, plain or compressed) and
``attributes`` are kept for conversion; other fields of an annotation are not.

*Fields of other tools*: null is what a missing field is, whole numbers may be written as ``3.0`` or ``"3"``, ids may be
texts, and a ``bbox`` that is missing or all zeros is made of the outline (:mod:`saccade.data.readers._coco_fields`).
Of two categories of the same name the one that no annotation uses is left out, as Roboflow's first.

*Coordinates.* Boxes (x, y, width, height) and polygons are continuous already. Keypoints are indices of pixels, counted
from 0 (COCO, "data format"), so half a pixel is added to reach the pixel's centre; unlabelled points stay 0, 0.

*Speed.* A million annotations as dictionaries are gigabytes. They are decoded into typed records, some thousands at a
time, which are put into arrays at once.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from saccade.data.readers._coco_fields import (
    Annotation,
    Content,
    box_of_outline,
    image_size_of,
    number_of_id,
    read_patiently,
    text_of,
)
from saccade.data.readers._collector import outside_error
from saccade.data.readers._common import (
    UNSPLIT,
    check_class_count,
    check_task,
    choose,
    flip_pairs_by_name,
    is_split_name,
    list_files,
    resolve_split,
    split_of_file,
    subfolders,
)
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, fill_sizes, find_image_root, usual_folders
from saccade.data.readers._json_files import describe_error, read_json
from saccade.data.tables._rows import group_by_row
from saccade.data.tables.annotations import AnnotationTable, ReadFault
from saccade.data.tables.outlines import OutlineBuilder, TextBuilder, ring_area
from saccade.data.tables.run_lengths import EncodedMask
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.text import printable

__all__ = ["matches", "read", "splits"]

_TASKS = ("detection", "segmentation", "keypoints")
_PREFIX = {"detection": "instances_", "segmentation": "instances_", "keypoints": "person_keypoints_"}
_OTHER = ("captions_", "image_info_", "panoptic_", "stuff_")
_AT_A_TIME = 20_000
_OWN_IMAGE_FIELDS = frozenset({"id", "file_name", "height", "width"})


class _Peek(msgspec.Struct):
    images: msgspec.Raw
    annotations: msgspec.Raw


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
    root: Path,
    split: str,
    task: str | None = None,
    masks: bool = False,
    images: str | None = None,
    keypoints: bool = False,
) -> TableDataset:
    """Read one split of a COCO data set.

    Args:
        root: Data folder.
        split: ``train`` also finds ``train2017``.
        task: ``detection``, ``keypoints``, or ``segmentation``: outlines painted as a label map, class 0 being
            ``background``.
        masks: Give each object's mask as well.
        images: Folder of the images, if it is not where COCO has it; relative to ``root``.
        keypoints: Give the keypoints of each object as well, for ``detection``: objects of the category that has
            some, from the file of the task ``keypoints``.

    Raises:
        DataError: If the file or one of its fields is missing or malformed, or names an image outside ``root``.

    Example:
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "a.jpg", "height": 40, "width": 60}],
        ...     "categories": [{"id": 18, "name": "dog"}],
        ...     "annotations": [{"image_id": 7, "category_id": 18, "bbox": [10, 5, 20, 30]}],
        ... }
        >>> _ = Path("train.json").write_bytes(msgspec.json.encode(content))
        >>> data = read(Path(), "train")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('dog',), array([[10.,  5., 30., 35.]]))
    """
    task = check_task(task, _TASKS, "coco")
    kind = "keypoints" if keypoints else task
    files = _files(root, kind)
    if not files:
        raise DataError(
            f"{root}: there is no annotations/{_PREFIX[kind]}*.json for task '{kind}', nor another JSON file with "
            f"'images' and 'annotations'{_others(root)}. Put it there, or choose another task or format."
        )
    whole = list(files) == ["all"]
    own = "all" if whole else resolve_split(split, files, root)
    source = files[own]
    content = _load(source)
    categories = _categories(content, source)
    points: list[str] = []
    if kind == "keypoints":
        with_points = [category for category in categories if category.get("keypoints")]
        if len(with_points) != 1:
            raise DataError(f"{source}: categories: {len(with_points)} have keypoints, one must. Choose another task.")
        given = with_points[0]["keypoints"]
        if not isinstance(given, list) or not all(isinstance(point, str) for point in given):
            raise DataError(f"{source}: categories: keypoints is not a list of names. Write the name of every point.")
        points = given
        categories = with_points
    image_root = find_image_root(root, images)
    beside = source.parent.relative_to(root).as_posix().removeprefix(".")
    finder = ImageFinder(image_root, source, [""] if images else usual_folders(own, beside), own)
    try:
        builder = _Tables(source, categories, len(points))
        table = builder.build(content, finder)
    except OverflowError as error:
        raise DataError(f"{source}: a number is out of range ({error}). Correct or remove it.") from error
    if not len(table):
        faults = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{source}: none of its {len(content.images)} images can be read:{faults}")
    if (masks or task == "segmentation") and not table.sizes.all():
        fill_sizes(table, image_root)
        if not table.sizes.all():
            raise DataError(f"{source}: images lack height or width, without which no mask can be drawn. Add them.")
    if whole:
        table = table.select_images(choose(len(table), split, None, root))
    names = builder.class_names
    class_names = tuple(points) if task == "keypoints" else names
    if task == "segmentation":
        class_names = ("background", *class_names)
    info = DatasetInfo(
        root.name,
        task,
        class_names,
        split,
        flip_pairs=flip_pairs_by_name(points),
        skeleton=_skeleton(categories[0].get("skeleton"), len(points), source) if points else (),
        category_ids=builder.category_numbers,
        object_names=names if task == "keypoints" else (),
        point_names=tuple(points) if task == "detection" else (),
    )
    name = source.relative_to(root).as_posix().replace("{", "{{").replace("}", "}}")
    return TableDataset(info, root, table, name, image_root=image_root, masks=masks)


def _skeleton(limbs: Any, number: int, source: Path) -> tuple[tuple[int, int], ...]:
    """Pairs of points from 0, which COCO counts from 1; none where the file has no skeleton."""
    try:
        found = tuple((int(first) - 1, int(second) - 1) for first, second in limbs or ())
    except (TypeError, ValueError):
        found = ((-1, -1),)
    if any(not 0 <= point < number for limb in found for point in limb):
        raise DataError(
            f"{source}: categories: skeleton is no list of pairs of points 1 to {number}. Correct it, or leave it out."
        )
    return found


def _files(root: Path, task: str) -> dict[str, Path]:
    """Annotation file of each split, for a task."""
    prefix = _PREFIX[task]
    found: dict[str, Path] = {}
    for file in _json_files(root / "annotations"):
        if file.stem.startswith(prefix):
            found[_split_name(file, prefix, found)] = file
        elif _is_coco(file, prefix):
            found.setdefault(_split_name(file, prefix, found), file)
    folders = subfolders(root)
    for folder in folders:
        file = root / folder / "_annotations.coco.json"
        if file.is_file():
            found.setdefault(folder, file)
    if not found:
        single = [file for file in _json_files(root) if _is_coco(file, prefix)]
        found = {split_of_file(file.stem.removeprefix(prefix)): file for file in single}
        if len(found) < len(single):
            found = {file.stem: file for file in single}
    if not found:
        found = _in_folders(root, folders, prefix)
    if len(found) == 1:
        name, file = next(iter(found.items()))
        named = file.parent == root / "annotations" and file.stem.startswith(tuple(_PREFIX.values()))
        if not is_split_name(name.rstrip("0123456789")) and not named:
            return {"all": file}
    return found


def _in_folders(root: Path, folders: Sequence[str], prefix: str) -> dict[str, Path]:
    """Files in folders of splits, or all in one other folder; several other folders are several data sets."""
    inside = {folder: [file for file in _json_files(root / folder) if _is_coco(file, prefix)] for folder in folders}
    inside = {folder: files for folder, files in inside.items() if files}
    if len(inside) > 1 and not all(is_split_name(folder.rstrip("0123456789")) for folder in inside):
        return {}
    found: dict[str, Path] = {}
    for folder, files in inside.items():
        found |= {folder: files[0]} if len(files) == 1 else {file.stem: file for file in files}
    return found


def _split_name(file: Path, prefix: str, found: dict[str, Path]) -> str:
    """Split of an annotation file; its own name where another file has that split already."""
    stem = file.stem.removeprefix(prefix)
    name = split_of_file(stem)
    return stem if name in found and name == "all" else name


def _json_files(folder: Path) -> list[Path]:
    return [folder / name for name in list_files(folder, [".json"], recursive=False)]


def _is_coco(file: Path, prefix: str) -> bool:
    """Whether a JSON file of another name is COCO's: one of labelme, and many more, are JSON as well."""
    if file.stem.startswith((*_OTHER, *_PREFIX.values())):
        return file.stem.startswith(prefix)
    try:
        status = file.stat()
    except OSError:
        return False
    return _has_images(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _has_images(file: Path, size: int, changed: int) -> bool:
    """Whether a file has ``images`` and ``annotations``; its size and date are those for which the answer holds."""
    try:
        with file.open("rb") as stream:
            if b'"shapes"' in stream.read(4096):
                return False  # labelme's files are many, and may hold images
        found = read_json(file, _Peek)
    except (OSError, DataError, msgspec.ValidationError):
        return False
    return all(bytes(part).lstrip()[:1] == b"[" for part in (found.images, found.annotations))


def _others(root: Path) -> str:
    """The JSON files that are there and are not COCO's, for a message."""
    names = [
        *list_files(root, [".json"], False),
        *(f"annotations/{name}" for name in list_files(root / "annotations", [".json"], False)),
    ]
    shown = ", ".join(printable(name, limit=60) for name in names[:3])
    return f" (found: {shown}{', ...' if len(names) > 3 else ''})" if names else ""


def _load(path: Path) -> Content:
    try:
        content = read_json(path, Content)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {describe_error(str(error))}. Write it as in COCO's data format.") from error
    if not content.images:
        raise DataError(f"{path}: images is empty. Add the images, or name another split.")
    check_class_count(len(content.categories), path, "categories")
    return content


def _categories(content: Content, source: Path) -> list[dict[str, Any]]:
    """Categories with ids and names as they should be, in the order of their ids."""
    found = []
    for position, category in enumerate(content.categories):
        where = f"{source}: categories[{position}]"
        name = text_of(category, "name", where, "the name of the class")
        found.append({**category, "id": number_of_id(category.get("id"), where, "id"), "name": name})
    return sorted(found, key=lambda category: (isinstance(category["id"], str), category["id"]))


class _Tables:
    """Arrays of all annotations, filled in the file's order and then sorted by image.

    Args:
        source: The file.
        categories: Categories that are read, in order.
        num_keypoints: Points of an object.
    """

    def __init__(self, source: Path, categories: Sequence[dict[str, Any]], num_keypoints: int) -> None:
        self.source = source
        self.num_keypoints = num_keypoints
        self.class_names = tuple(dict.fromkeys(category["name"] for category in categories))
        label_of = {name: label for label, name in enumerate(self.class_names)}
        self._labels_of: dict[int | str, int] = {category["id"]: label_of[category["name"]] for category in categories}
        if len(self._labels_of) < len(categories):
            raise DataError(f"{source}: categories: two of them have the same id. Give each its own.")
        self._used: set[int | str] = set()
        self._unknown: list[str] = []
        self._faults: list[ReadFault] = []
        self._left_out: set[int | str] = set()  # ids of images that cannot be read
        self._outlines, self._attributes = OutlineBuilder(), TextBuilder()
        self._position = 0
        self._images, self._labels = array("q"), array("q")
        self._boxes, self._areas, self._keypoints = array("d"), array("d"), array("f")
        self._crowd = array("b")

    @property
    def category_numbers(self) -> tuple[int, ...]:
        """Id of each class: of several categories of one name the one in use. An id that is a text has no number."""
        numbers: dict[int, int] = {}
        for category, label in self._labels_of.items():
            if label >= 0 and isinstance(category, int) and (label not in numbers or category in self._used):
                numbers[label] = category
        if len(numbers) < len(self.class_names):
            return tuple(range(1, len(self.class_names) + 1))
        return tuple(numbers[label] for label in range(len(numbers)))

    def build(self, content: Content, finder: ImageFinder) -> AnnotationTable:
        """Table of a file, with the images that the finder finds."""
        paths, keys, sizes, more = self._read_images(content.images, finder)
        index_of: dict[int | str, int] = {key: index for index, key in enumerate(keys)}
        annotations = content.annotations or []
        for start in range(0, len(annotations), _AT_A_TIME):
            self._add(self._decode(annotations[start : start + _AT_A_TIME]), index_of)
        annotations.clear()  # half of the memory
        self._check_names()
        images = np.array(self._images, np.int64)
        order, offsets = group_by_row(images, len(paths))
        attributes = self._attributes.build()
        return AnnotationTable(
            paths=np.array(paths, np.bytes_),
            image_ids=_numbers_of(keys),
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
            faults=tuple(self._faults),
        )

    def _read_images(
        self, images: list[dict[str, Any]], finder: ImageFinder
    ) -> tuple[list[bytes], list[int | str], list[tuple[int, int]], TextBuilder]:
        entries: dict[int | str, tuple[str, tuple[int, int], dict[str, Any]]] = {}
        for position, image in enumerate(images):
            where = f"{self.source}: images[{position}]"
            try:
                key = number_of_id(image.get("id"), where, "id")
                if key in entries:
                    raise FieldError("labels.repeated", where, f"another image has the id {key}. Give each its own.")
                self._left_out.add(key)
                name = text_of(image, "file_name", where, "the name of the image's file")
                entries[key] = (name, self._size(image, where), image)
                self._left_out.remove(key)
            except FieldError as error:
                self._note(error)
        paths: list[bytes] = []
        keys: list[int | str] = []
        sizes, more = [], TextBuilder()
        found = finder.find([name for name, _, _ in entries.values()])
        for (key, (name, size, image)), path in zip(entries.items(), found, strict=True):
            if path is None:
                self._left_out.add(key)
                self._note(outside_error(name, self.source, finder.root))
                continue
            paths.append(path.encode(errors="replace"))
            keys.append(key)
            sizes.append(size)
            own = {name: value for name, value in image.items() if name not in _OWN_IMAGE_FIELDS}
            more.add(own | ({"coco_id": key} if isinstance(key, str) else {}))
        return paths, keys, sizes, more

    def _size(self, image: dict[str, Any], where: str) -> tuple[int, int]:
        try:
            return image_size_of(image, where)
        except FieldError as error:  # the image itself knows its size
            self._note(error)
            return 0, 0

    def _note(self, error: FieldError) -> None:
        self._faults.append(ReadFault(error.code, error.where, error.message))

    def _decode(self, chunk: list[msgspec.Raw]) -> list[Annotation | None]:
        """Typed records; None for an annotation that cannot be read."""
        try:
            return msgspec.json.decode(b"[" + b",".join(chunk) + b"]", type=list[Annotation | None])
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.source}: annotations: a text is not UTF-8 ({error}). Write or copy the file again."
            ) from error
        except msgspec.ValidationError:
            return [self._decode_one(raw, self._position + number) for number, raw in enumerate(chunk)]

    def _decode_one(self, raw: msgspec.Raw, position: int) -> Annotation | None:
        try:
            return msgspec.json.decode(raw, type=Annotation)
        except (msgspec.ValidationError, UnicodeError):
            try:
                return read_patiently(raw, f"{self.source}: annotations[{position}]")
            except FieldError as error:
                self._note(error)
                return None

    def _add(self, entries: Sequence[Annotation | None], index_of: dict[int | str, int]) -> None:
        for entry in entries:
            if entry is not None:
                try:
                    self._add_one(entry, index_of)
                except FieldError as error:
                    self._note(error)
            self._position += 1

    def _add_one(self, entry: Annotation, index_of: dict[int | str, int]) -> None:
        where = f"{self.source}: annotations[{self._position}]"
        image = index_of.get(entry.image_id)
        if image is None:
            key = number_of_id(entry.image_id, where, "image_id")
            image = index_of.get(key)
            if image is None and key in self._left_out:
                return  # with its image
            if image is None:
                shown = printable(str(entry.image_id), limit=80)
                raise FieldError("labels.image", f"{where}.image_id", f"it is {shown}, which no image has. Correct it.")
        rings, runs, run_size = self._outline(entry.segmentation, where)
        points = self._points(entry.keypoints, where) if self.num_keypoints else []
        label = self._label(entry.category_id, where)
        x, y, width, height = entry.bbox
        area = max(width, 0.0) * max(height, 0.0) if entry.area is None else entry.area
        if rings and not any(entry.bbox):  # EISeg writes zeros for box and area
            x, y, width, height = box_of_outline([*map(list, rings)], where)
            area = area or sum(ring_area(np.array(ring).reshape(-1, 2)) for ring in rings)
        self._outlines.add(rings, (), runs, run_size)
        self._images.append(image)
        self._labels.append(label)
        self._crowd.append(bool(entry.iscrowd))
        self._boxes.extend((x, y, x + width, y + height))
        self._areas.append(area)
        self._keypoints.extend(points)
        self._attributes.add(entry.attributes)

    def _label(self, category: int | str, where: str) -> int:
        if category not in self._labels_of:
            category = number_of_id(category, where, "category_id")
        self._used.add(category)
        label = self._labels_of.get(category)
        if label is None:
            self._unknown.append(f"category_id {category}")
            label = self._labels_of[category] = -len(self._unknown)
            check_class_count(len(self._unknown), self.source, "category_id")
        return label

    def _outline(
        self, outline: list[list[float]] | EncodedMask | None, where: str
    ) -> tuple[Sequence[Sequence[float]], Sequence[int], tuple[int, int]]:
        """Rings, run lengths and the size they are of; a ring that is none is left out."""
        if isinstance(outline, EncodedMask):
            try:
                runs = outline.run_lengths().tolist()
                if any(not 0 <= run < 2**32 for run in runs) or any(not 0 < side < 2**31 for side in outline.size):
                    raise ValueError("a run length or the size is out of range")
                return (), runs, outline.size
            except (ValueError, OverflowError) as error:
                message = f"{error}. Correct or remove it."
                raise FieldError("labels.outline", f"{where}.segmentation.counts", message) from error
        good = [ring for ring in outline or () if ring and not len(ring) % 2]
        odd = [ring for ring in outline or () if len(ring) % 2]
        if odd:
            message = f"a polygon has {len(odd[0])} numbers, which are not pairs. Correct or remove it."
            self._note(FieldError("labels.outline", f"{where}.segmentation", message))
        return good, (), (0, 0)

    def _points(self, values: list[float], where: str) -> list[float]:
        """x, y, visibility of every point, moved to the pixels' centres."""
        values = values or [0.0] * (3 * self.num_keypoints)
        if len(values) != 3 * self.num_keypoints:
            message = (
                f"there are {len(values)} numbers, not {3 * self.num_keypoints}. Write x, y, visibility of each point."
            )
            raise FieldError("labels.keypoints", f"{where}.keypoints", message)
        moved: list[float] = []
        for x, y, visible in zip(values[::3], values[1::3], values[2::3], strict=True):
            moved += (x + 0.5, y + 0.5, visible) if visible > 0 else (0.0, 0.0, 0.0)
        return moved

    def _check_names(self) -> None:
        """Refuse two categories of one name that annotations use both."""
        in_use: dict[int, int | str] = {}
        for category in self._used:
            label = self._labels_of[category]
            if label >= 0 and in_use.setdefault(label, category) != category:
                name = printable(self.class_names[label], limit=80)
                raise DataError(
                    f"{self.source}: categories: {in_use[label]} and {category} are both called '{name}'. Rename one."
                )


def _numbers_of(keys: Sequence[int | str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of each image: its id where that is one, else the next that none has."""
    taken = {key for key in keys if isinstance(key, int)}
    numbers, following = [], 0
    for key in keys:
        if isinstance(key, int):
            numbers.append(key)
            continue
        while following in taken:
            following += 1
        numbers.append(following)
        following += 1
    return np.array(numbers, np.int64)
