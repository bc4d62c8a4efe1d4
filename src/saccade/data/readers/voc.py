"""PASCAL VOC: ``JPEGImages/``, ``Annotations/<id>.xml``, ``ImageSets/Main/<split>.txt``.

Also read: XML files directly in the data folder, or in folders named as splits (``train/``, ``valid/``, ...), beside
their images or with the images elsewhere (``images``); ``images/`` and ``annotations/`` for the two folders.

*Coordinates.* VOC counts pixels from 1 and its boxes include both end pixels (development kit of VOC2012, "Annotation
files"). In continuous coordinates pixel ``n`` covers ``[n - 1, n]``, so a box becomes ``xmin - 1, ymin - 1, xmax,
ymax``: one around the whole image is ``0, 0, width, height``. Where the two written corners coincide in an axis,
nothing is subtracted in that axis: annotation tools write a click without a drag in this way, and the box is reported
as one without area instead of being read as a single pixel. Swapped corners are kept, and reported too. Files with
continuous coordinates in this format are read with ``one_based=False``: numbers as they are.

*Classes* are those of ``class_names.txt`` (one a line, as labelme writes it), else the names in all annotation files,
sorted. Label maps hold indices, whose names are not in the XML files: without that list they are VOC's own twenty.

*Difficult* objects keep their mark in ``table.extras["difficult"]``; they are ordinary objects in the target, as
training on VOC takes them. Pose, truncated, difficult, occluded and all other fields of an object or an image are its
attributes; ``part`` elements (heads, hands and feet of persons) are not read.

*Masks.* ``SegmentationClass`` holds palette images: the index is the class, 255 the border, which is ignored.
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
    SPLIT_NAMES,
    UNSPLIT,
    check_name,
    check_task,
    choose,
    list_images,
    natural_key,
    resolve_split,
)
from saccade.data.readers._images import find_image_root
from saccade.data.readers._label_maps import LabelMapDataset, instance_masks, label_lookup, map_table
from saccade.data.readers._xml_files import begins_with, children, image_size, number, parse_xml
from saccade.data.tables.annotations import AnnotationTable
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
_NO_CLASS = ("background", "_background_", "__ignore__")
_SAMPLED_FILES = 20  # annotation files that are searched for classes which are not VOC's own


class VocDataset(TableDataset):
    """Images with an XML file of boxes each.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Images and objects; an image's number is its index in ``ids``.
        folder: Folder of the annotations.
        ids: File of each image's annotation below that folder, without suffix.
        image_root: Folder that the images' names are relative to.
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
    """Images with XML files, and masks from ``SegmentationObject``; ``extras["instance"]`` is each object's value."""

    def object_masks(self, index: int) -> NDArray[np.uint8]:
        """One mask an object of image ``index``, (N, H, W) of 0 and 1; VOC's border belongs to none.

        Raises:
            DataError: If the instance map is missing or broken, or differs in size from the XML file.
        """
        values = read_label_map(self.root / self.table.map_path(index))
        size = tuple(self.table.sizes[index].tolist())
        if size != (0, 0) and size != values.shape:
            raise DataError(
                f"{self.root / self.table.map_path(index)}: the map is {values.shape[1]}x{values.shape[0]}, "
                f"the size in {self.annotation_path(index)} {size[1]}x{size[0]}. Correct one of them."
            )
        return instance_masks(values, self.table, index)


def matches(root: Path) -> bool:
    """Whether there are XML annotations where VOC has them, or lists of images with label maps."""
    folders = [root / name for name in (*_ANNOTATIONS, "", *SPLIT_NAMES)]
    files = (next(folder.glob("*.xml"), None) for folder in folders)
    if any(file is not None and begins_with(file, "annotation") for file in files):
        return True
    listed = any((root / "ImageSets" / "Segmentation").glob("*.txt")) or (root / CLASS_FILE).is_file()
    return listed and _class_maps(root) is not None


def splits(root: Path) -> tuple[str, ...]:
    """Names of the lists in ``ImageSets/Main`` (without those of single classes), or ``all``, ``train``, ``val``.

    Example:
        >>> Path("ImageSets/Main").mkdir(parents=True)
        >>> for name in ("train", "val", "cat_train", "cat_val"):
        ...     Path(f"ImageSets/Main/{name}.txt").touch()
        >>> splits(Path())
        ('train', 'val')
    """
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
    """Read one split of a PASCAL VOC data set.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection``, or ``segmentation``: label maps of ``SegmentationClass``.
        class_names: Names of labels 0..N-1, with background in front for ``segmentation``.
        masks: Give each object's mask as well, from ``SegmentationObject``.
        images: Folder of the images, if it is not where VOC has it; relative to ``root``.
        one_based: Coordinates count pixels from 1, as VOC's do; False takes them as they are.

    Raises:
        DataError: If a list, an annotation or one of its fields is missing or malformed, or names a file outside
            ``root``.

    Example:
        >>> _ = Path("a.xml").write_text(
        ...     "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox>"
        ...     "<xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>35</ymax></bndbox></object></annotation>"
        ... )
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('cat',), array([[10.,  5., 30., 35.]]))
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
    # Labels must not depend on the split: without a list of the classes, all files are scanned.
    sources = ids if class_names is not None else list(dict.fromkeys([*_all_ids(folder), *ids]))
    finder = _Images(root, images, any("/" in identifier for identifier in sources))
    collector, parts = AnnotationCollector(), 0
    for identifier in dict.fromkeys(sources):
        path = folder / f"{identifier}.xml"
        tree = parse_xml(path, "annotation")
        name = finder.name(identifier, tree, path)
        parts += _add(collector, tree, path, name, identifier if masks else "", one_based)
    if parts:
        logger.warning("%s: %d part elements (of objects) are not read", folder, parts)
    row_of = {identifier: row for row, identifier in enumerate(dict.fromkeys(sources))}
    class_names = collector.class_names if class_names is None else tuple(class_names)
    table = collector.build(class_names).select_images([row_of[identifier] for identifier in ids])
    table = replace(table, image_ids=np.arange(len(ids), dtype=np.int64))
    info = DatasetInfo(root.name, task, class_names, split)
    kind = VocMaskDataset if masks else VocDataset
    return kind(info, root, table, folder, ids, finder.root, masks)


def _annotation_folder(root: Path) -> Path:
    """Folder of the XML files; the data folder itself if it holds them directly."""
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
    return tuple(name for name in SPLIT_NAMES if next((root / name).glob("*.xml"), None) is not None)


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
    ids = [check_name(line.split()[0], file, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not ids:
        raise DataError(f"{file}: the list is empty. Write one image id a line.")
    return ids


def _listed_classes(root: Path) -> list[str] | None:
    """Class names of the data set's own list, by index."""
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
        images: Folder of the images below ``root``; found automatically if not given.
        recursive: Whether images are in folders of that folder.
    """

    def __init__(self, root: Path, images: str | None, recursive: bool) -> None:
        prefix = next((f"{name}/" for name in _IMAGES if (root / name).is_dir()), "")
        self.root, self._prefix = find_image_root(root, images), prefix if images is None else ""
        names = list_images(self.root / self._prefix, recursive)
        self._by_id = {Path(name).with_suffix("").as_posix(): name for name in names}

    def name(self, identifier: str, tree: Element | None = None, path: Path | None = None) -> str:
        """File of the image below ``root``.

        The id decides: ``<filename>`` is often stale, so it is used only where no image has the id as its name.
        """
        written = "" if tree is None else (tree.findtext("filename") or "").strip()
        if written and path is not None:
            check_name(written, path, "filename")
        return self._prefix + (self._by_id.get(identifier) or written or f"{identifier}.jpg")


def _add(collector: AnnotationCollector, tree: Element, path: Path, name: str, map_id: str, one_based: bool) -> int:
    """Add an image with its objects, and return the number of ``part`` elements skipped."""
    size = tree.find("size")
    about: dict[str, Any] = children(tree, ("filename", "size", "object"))
    height_width = (0, 0)
    if size is not None:
        height_width = image_size(size.findtext("height"), size.findtext("width"), path, "size")
        about |= children(size, ("height", "width"))
    map_path = f"{_OBJECT_MAPS}/{map_id}.png" if map_id else ""
    image = collector.add_image(name, height_width, map_path=map_path, attributes=about)
    parts = 0
    for position, item in enumerate(tree.findall("object")):
        class_name, box = _parse_object(item, path, f"object[{position}]", one_based)
        attributes = children(item, ("name", "bndbox", "part"))
        extras: dict[str, Any] = {"instance": position + 1} if map_id else {}
        difficult = attributes.get("difficult") == 1
        collector.add_object(image, class_name, box, attributes=attributes, difficult=difficult, **extras)
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
    """Ends of a box along one axis: 1 is subtracted from the smaller one, from none if they coincide."""
    return first - (first < last), last - (last < first)


def _read_label_maps(
    root: Path, folder: Path, split: str, class_names: Sequence[str] | None, images: str | None
) -> LabelMapDataset:
    """Data set of a split's label maps, by id."""
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
    table = map_table([(finder.name(identifier), f"{maps}/{identifier}.png") for identifier in ids])
    info = DatasetInfo(root.name, "segmentation", tuple(class_names), split)
    dataset = LabelMapDataset(info, root, table, label_lookup(len(class_names)))
    dataset.image_root = finder.root
    return dataset


def _label_names(root: Path, folder: Path, ids: Sequence[str]) -> list[str]:
    """Class names by index: the data set's own list, or VOC's classes where the annotation files have no others."""
    listed = _listed_classes(root)
    if listed is not None:
        return ["background" if name == "_background_" else name for name in listed if name != "__ignore__"]
    files = [folder / f"{identifier}.xml" for identifier in ids[:_SAMPLED_FILES]]
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
