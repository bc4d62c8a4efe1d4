"""PASCAL VOC: ``JPEGImages/``, ``Annotations/<id>.xml``, ``ImageSets/Main/<split>.txt``.

Also read: XML files lying flat in the data folder, or in ``train/``, ``val/`` (``valid/``) and ``test/``, beside their
images or with the images elsewhere (``images``); ``images/`` and ``annotations/`` for the two folders.

*Coordinates.* VOC counts pixels from 1 and its boxes include both end pixels (development kit of VOC2012, "Annotation
files"). In continuous coordinates pixel ``n`` covers ``[n - 1, n]``, so a box becomes ``xmin - 1, ymin - 1, xmax,
ymax``: one around the whole image is ``0, 0, width, height``. Where the two written corners coincide in an axis,
nothing is subtracted in that axis: annotation tools write a click without a drag so, and the box is reported as one
without area instead of being taken for a single pixel. Corners the wrong way round stay so, and are reported too.
Tools that write continuous coordinates into this format are read with ``one_based=False``: numbers as they are.

*Classes* are those of ``class_names.txt`` (one a line, as labelme writes it), else the names in all annotation files,
sorted. Label maps hold indices, whose names XML files do not tell: without that list they are VOC's own twenty.

*Difficult* objects keep their mark in ``table.extras["difficult"]``; they are ordinary objects in the target, as
training on VOC takes them. Pose, truncated, difficult, occluded and whatever else an object or an image says is kept
as its attributes; ``part`` elements (heads, hands and feet of persons) are not.

*Masks.* ``SegmentationClass`` holds palette images: the index is the class, 255 the border that counts for nothing.
Index k of ``SegmentationObject`` is the k-th object of the XML file. ``ImageSets/Segmentation`` lists the images
that have them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_label_map
from saccade.data.readers._collector import AnnotationCollector
from saccade.data.readers._common import (
    UNSPLIT,
    check_name,
    check_task,
    choose,
    list_images,
    natural_key,
    resolve_split,
)
from saccade.data.readers._images import find_image_root
from saccade.data.readers._xml_files import begins_with, children, image_size, number, parse_xml
from saccade.data.readers.masks import LabelMapDataset, label_lookup
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["CLASS_FILE", "VOC_CLASSES", "VocDataset", "VocMaskDataset", "matches", "read", "splits"]

logger = logging.getLogger("saccade")

CLASS_FILE = "class_names.txt"
VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_TASKS = ("detection", "segmentation")
_ANNOTATIONS, _IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")
_CLASS_MAPS, _OBJECT_MAPS = ("SegmentationClassPNG", "SegmentationClass"), "SegmentationObject"
_SPLIT_FOLDERS = ("train", "val", "valid", "test")
_NO_CLASS = ("background", "_background_", "__ignore__")
_LOOKED_AT = 20  # annotation files that tell whether label maps may have VOC's own classes


class VocDataset(TableDataset):
    """Boxes out of XML files.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Images and objects; an image's number is its place in ``ids``.
        folder: Folder of the annotations.
        ids: File of each image's annotation below that folder, without suffix.
        image_root: Folder that the images' names start from.
        masks: Give each object's mask as well.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        folder: Path,
        ids: Sequence[str],
        image_root: Path,
        masks: bool = False,
    ) -> None:
        super().__init__(info, root, table, image_root=image_root, masks=masks)
        self._folder = folder
        self._ids = np.array([identifier.encode() for identifier in ids], np.bytes_)

    def annotation_path(self, index: int) -> str:
        """XML file of image ``index``."""
        return str(self._folder / f"{bytes(self._ids[self.image_ids[index]]).decode()}.xml")


class VocMaskDataset(VocDataset):
    """Boxes, and masks out of ``SegmentationObject``; ``extras["instance"]`` is each object's value in its map."""

    def object_masks(self, index: int) -> NDArray[np.uint8]:
        """One mask an object of image ``index``, (N, H, W) of 0 and 1; the border of VOC belongs to none.

        Raises:
            DataError: If the map is missing or broken, or has another size than the XML file says.
        """
        values = read_label_map(self.root / self.table.map_path(index))
        size = tuple(self.table.sizes[index].tolist())
        if size != (0, 0) and size != values.shape:
            raise DataError(
                f"{self.root / self.table.map_path(index)}: the map is {values.shape[1]}x{values.shape[0]}, "
                f"{self.annotation_path(index)} says {size[1]}x{size[0]}. Correct one of them."
            )
        numbers = self.table.extras["instance"][self.table.objects(index)]
        return (values == numbers[:, None, None]).astype(np.uint8)


def matches(root: Path) -> bool:
    """Whether there are XML annotations where VOC has them, or lists of images with label maps."""
    folders = [root / name for name in (*_ANNOTATIONS, "", *_SPLIT_FOLDERS)]
    files = (next(folder.glob("*.xml"), None) for folder in folders)
    if any(file is not None and begins_with(file, "annotation") for file in files):
        return True
    listed = any((root / "ImageSets" / "Segmentation").glob("*.txt")) or (root / CLASS_FILE).is_file()
    return listed and _class_maps(root) is not None


def splits(root: Path) -> tuple[str, ...]:
    """Names of the lists in ``ImageSets/Main`` (those of single classes left out), or ``all``, ``train``, ``val``."""
    names = _lists(root, "Main") or _lists(root, "Segmentation")
    if not names and _annotation_folder(root) == root:
        names = _split_folders(root)
    return UNSPLIT if list(names) in ([], ["all"]) else names


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    masks: bool = False,
    images: str | None = None,
    one_based: bool = True,
) -> TableDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``detection``, or ``segmentation``: label maps of ``SegmentationClass``.
        class_names: Names of labels 0..N-1, with background in front for ``segmentation``.
        masks: Give each object's mask as well, from ``SegmentationObject``.
        images: Folder of the images, if it is not where VOC has it; relative to ``root``.
        one_based: Coordinates count pixels from 1, as VOC's do; False takes them as they are.

    Raises:
        DataError: If a list, an annotation or one of its fields is missing or malformed, or names a file outside
            ``root``.
    """
    folder = _annotation_folder(root)
    if task is None and _class_maps(root) is not None and next(folder.rglob("*.xml"), None) is None:
        task = "segmentation"
    task = check_task(task, _TASKS, "voc")
    if task == "segmentation":
        return _read_label_maps(root, folder, split, class_names, images)
    ids = _ids(root, folder, split, "Segmentation" if masks and _lists(root, "Segmentation") else "Main")
    if class_names is None:
        listed = _listed_classes(root)
        class_names = None if listed is None else [name for name in listed if name not in _NO_CLASS]
    # Labels must not depend on the split: without a list of the classes, all files have their say.
    sources = ids if class_names is not None else list(dict.fromkeys([*_all_ids(folder), *ids]))
    finder = _Images(root, images, any("/" in identifier for identifier in sources))
    gathered, parts = AnnotationCollector(), 0
    for identifier in dict.fromkeys(sources):
        path = folder / f"{identifier}.xml"
        tree = parse_xml(path, "annotation")
        name = finder.name(identifier, tree, path)
        parts += _add(gathered, tree, path, name, identifier if masks else "", one_based)
    if parts:
        logger.warning("%s: %d part elements (of objects) are not read", folder, parts)
    row_of = {identifier: row for row, identifier in enumerate(dict.fromkeys(sources))}
    class_names = gathered.class_names if class_names is None else tuple(class_names)
    table = gathered.build(class_names).select_images([row_of[identifier] for identifier in ids])
    table = replace(table, image_ids=np.arange(len(ids), dtype=np.int64))
    info = DatasetInfo(root.name, task, class_names, split)
    kind = VocMaskDataset if masks else VocDataset
    return kind(info, root, table, folder, ids, finder.root, masks)


def _annotation_folder(root: Path) -> Path:
    """Where the XML files lie; the data folder itself if they lie flat."""
    named = [root / name for name in _ANNOTATIONS]
    return next((folder for folder in named if next(folder.rglob("*.xml"), None) is not None), root)


def _class_maps(root: Path) -> str | None:
    """Name of the folder of label maps."""
    return next((name for name in _CLASS_MAPS if (root / name).is_dir()), None)


def _lists(root: Path, kind: str) -> tuple[str, ...]:
    names = sorted(file.stem for file in (root / "ImageSets" / kind).glob("*.txt"))
    return tuple(name for name in names if name.rpartition("_")[2] not in names or "_" not in name)


def _split_folders(root: Path) -> tuple[str, ...]:
    if next(root.glob("*.xml"), None) is not None:
        return ()
    return tuple(name for name in _SPLIT_FOLDERS if next((root / name).glob("*.xml"), None) is not None)


def _all_ids(folder: Path) -> list[str]:
    """Annotation files, without suffix, in natural order."""
    files = (file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.xml"))
    return sorted((check_name(name, folder, "an annotation's name") for name in files), key=natural_key)


def _ids(root: Path, folder: Path, split: str, kind: str) -> list[str]:
    """Image ids of a split; the second column of a class's list is not read."""
    names = _lists(root, kind)
    if names in ((), ("all",)):
        by_folder = _split_folders(root) if folder == root and not names else ()
        if by_folder:
            own = resolve_split(split, by_folder, root)
            return [identifier for identifier in _all_ids(root) if identifier.startswith(f"{own}/")]
        ids = _listed(root, kind, "all") if names else _all_ids(folder)
        return [ids[index] for index in choose(len(ids), split, None, root)]
    return _listed(root, kind, resolve_split(split, names, root))


def _listed(root: Path, kind: str, name: str) -> list[str]:
    file = root / "ImageSets" / kind / f"{name}.txt"
    lines = _lines(file)
    ids = [check_name(line.split()[0], file, f"line {place}") for place, line in enumerate(lines, 1) if line.strip()]
    if not ids:
        raise DataError(f"{file}: the list is empty. Write one image id a line.")
    return ids


def _listed_classes(root: Path) -> list[str] | None:
    """Names in the data set's own list, by index."""
    file = root / CLASS_FILE
    return [line.strip() for line in _lines(file) if line.strip()] if file.is_file() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the list cannot be read ({error}). Save it as UTF-8 text.") from error


class _Images:
    """Finds the image of an annotation.

    Args:
        root: Data folder.
        images: Folder of the images below ``root``, or None to look for it.
        recursive: Whether images lie in folders of that folder.
    """

    def __init__(self, root: Path, images: str | None, recursive: bool) -> None:
        prefix = next((f"{name}/" for name in _IMAGES if (root / name).is_dir()), "")
        self.root, self._prefix = find_image_root(root, images), prefix if images is None else ""
        names = list_images(self.root / self._prefix, recursive)
        self._by_id = {Path(name).with_suffix("").as_posix(): name for name in names}

    def name(self, identifier: str, tree: Element | None = None, path: Path | None = None) -> str:
        """File of the image below ``root``.

        The id decides: ``<filename>`` is often stale, it is only asked where no image bears the id.
        """
        written = "" if tree is None else (tree.findtext("filename") or "").strip()
        if written and path is not None:
            check_name(written, path, "filename")
        return self._prefix + (self._by_id.get(identifier) or written or f"{identifier}.jpg")


def _add(gathered: AnnotationCollector, tree: Element, path: Path, name: str, map_id: str, one_based: bool) -> int:
    """Add an image with its objects; tells how many ``part`` elements were passed over."""
    size = tree.find("size")
    about: dict[str, Any] = children(tree, ("filename", "size", "object"))
    height_width = (0, 0)
    if size is not None:
        height_width = image_size(size.findtext("height"), size.findtext("width"), path, "size")
        about |= children(size, ("height", "width"))
    map_path = f"{_OBJECT_MAPS}/{map_id}.png" if map_id else ""
    image = gathered.add_image(name, height_width, map_path=map_path, attributes=about)
    parts = 0
    for place, item in enumerate(tree.findall("object")):
        class_name, box = _parse_object(item, path, f"object[{place}]", one_based)
        attributes = children(item, ("name", "bndbox", "part"))
        extras: dict[str, Any] = {"instance": place + 1} if map_id else {}
        difficult = attributes.get("difficult") == 1
        gathered.add_object(image, class_name, box, attributes=attributes, difficult=difficult, **extras)
        parts += len(item.findall("part"))
    return parts


def _parse_object(item: Element, path: Path, field: str, one_based: bool) -> tuple[str, tuple[float, ...]]:
    name = (item.findtext("name") or "").strip()
    box = item.find("bndbox")
    if not name or box is None:
        missing = "bndbox" if name else "name"
        raise DataError(f"{path}: {field}.{missing} is missing. Add it, or remove the object.")
    xmin, ymin, xmax, ymax = (
        number(box.findtext(key), path, f"{field}.bndbox.{key}") for key in ("xmin", "ymin", "xmax", "ymax")
    )
    if not one_based:
        return name, (xmin, ymin, xmax, ymax)
    (x1, x2), (y1, y2) = _to_continuous(xmin, xmax), _to_continuous(ymin, ymax)
    return name, (x1, y1, x2, y2)


def _to_continuous(first: float, last: float) -> tuple[float, float]:
    """One axis of a box: 1 is taken off the smaller end, off none if they coincide."""
    return first - (first < last), last - (last < first)


def _read_label_maps(
    root: Path, folder: Path, split: str, class_names: Sequence[str] | None, images: str | None
) -> LabelMapDataset:
    """The split's label maps, by id."""
    maps = _class_maps(root)
    if maps is None:
        raise DataError(f"{root}: there is no folder {_CLASS_MAPS[-1]} for task 'segmentation'. Choose another task.")
    kind = next((kind for kind in ("Segmentation", "Main") if _lists(root, kind)), None)
    if kind is None:
        stems = [Path(name).stem for name in list_images(root / maps)]
        ids = [stems[index] for index in choose(len(stems), split, None, root)]
    else:
        ids = _ids(root, folder, split, kind)
    if class_names is None:
        class_names = _label_names(root, folder, ids)
    finder = _Images(root, images, any("/" in identifier for identifier in ids))
    builder = TableBuilder((), boxes=False)
    for identifier in ids:
        builder.add_image(finder.name(identifier), map_path=f"{maps}/{identifier}.png")
    info = DatasetInfo(root.name, "segmentation", tuple(class_names), split)
    dataset = LabelMapDataset(info, root, builder.build(), label_lookup(len(class_names)))
    dataset.image_root = finder.root
    return dataset


def _label_names(root: Path, folder: Path, ids: Sequence[str]) -> list[str]:
    """Names by index: the data set's own list, or VOC's classes where the annotation files have no others."""
    listed = _listed_classes(root)
    if listed is not None:
        return ["background" if name == "_background_" else name for name in listed if name != "__ignore__"]
    files = [folder / f"{identifier}.xml" for identifier in ids[:_LOOKED_AT]]
    names = {
        (item.findtext("name") or "").strip()
        for file in files
        if file.is_file()
        for item in parse_xml(file, "annotation").findall("object")
    }
    if names - set(VOC_CLASSES):
        raise DataError(
            f"{root}: the label maps' classes have no names, and {sorted(names - set(VOC_CLASSES))[0]!r} is none of "
            f"VOC's. Write them into {CLASS_FILE}, one a line in the order of the values, or give class_names."
        )
    return ["background", *VOC_CLASSES]
