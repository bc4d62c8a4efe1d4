"""PASCAL VOC: ``JPEGImages/``, ``Annotations/<id>.xml``, ``ImageSets/Main/<split>.txt``.

Also read: XML files directly in the data folder, or in folders named as splits (``train/``, ``valid/``, ...), beside
their images or with the images elsewhere (``images``); ``annotations/``, ``annots/``, ``labels/`` and ``xml/`` for the
folder of XML files, and images in any folder; all that one or two folders down, as in ``VOCdevkit/VOC2012``.

*Images* have the annotation's name. Where none has, ``<filename>`` names it
(:mod:`saccade.data.readers._find_images`), which is often stale.

*Lists* hold one id a line, which may have blanks, be quoted, or be a path. A number behind it (-1, 0, 1, in the lists
of single classes) is left out where only the id without it exists.

*Coordinates.* VOC counts pixels from 1 and its boxes include both end pixels (development kit of VOC2012, "Annotation
files"). In continuous coordinates pixel ``n`` covers ``[n - 1, n]``, so a box becomes ``xmin - 1, ymin - 1, xmax,
ymax``: one around the whole image is ``0, 0, width, height``. Where the two written corners coincide in an axis,
nothing is subtracted in that axis: annotation tools write a click without a drag in this way, and the box is reported
as one without area instead of being read as a single pixel. Swapped corners are kept, and reported too. Files with
continuous coordinates in this format are read with ``one_based=False``: numbers as they are.

*Classes* are those of ``class_names.txt`` (one a line, as labelme writes it), else the names in all annotation files,
sorted. Label maps hold indices, whose names are not in the XML files: without that list they are VOC's own twenty, if
the XML files name some of these or the values have the gaps of a part of VOC; else the values that occur.

*Difficult* objects keep their mark in ``table.extras["difficult"]``; they are ordinary objects in the target, as
training on VOC takes them. Pose, truncated, difficult, occluded and all other fields of an object or an image are its
attributes; ``part`` elements (heads, hands and feet of persons) are not read.

*Masks.* ``SegmentationClass`` holds palette images: the index is the class, 255 the border, which is ignored.
Index k of ``SegmentationObject`` is the k-th object of the XML file. ``ImageSets/Segmentation`` lists the images
that have them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_label_map
from saccade.data.notices import say_once
from saccade.data.readers._collector import AnnotationCollector, outside_error
from saccade.data.readers._common import (
    UNSPLIT,
    check_class_count,
    check_name,
    check_task,
    choose,
    is_split_name,
    list_files,
    list_images,
    resolve_split,
    subfolders,
)
from saccade.data.readers._faults import FieldError
from saccade.data.readers._find_images import ImageFinder, find_image_root, last_parts
from saccade.data.readers._label_maps import LabelMapDataset, instance_masks, label_lookup, map_table
from saccade.data.readers._map_values import CLASS_FILE, infer_classes, scan_maps
from saccade.data.readers._xml_files import begins_with, children, image_size, number, parse_xml
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import read_text
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["CLASS_FILE", "VOC_CLASSES", "VocDataset", "VocMaskDataset", "matches", "read", "splits"]

logger = logging.getLogger("saccade")

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
# Names of folders, in lower case and in the order in which they are tried.
_ANNOTATIONS = ("annotations", "annotation", "annots", "annot", "labels", "label", "xml", "xmls")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img", "photos", "data")
_MOST_FOLDERS = 50  # in a folder that is searched for VOCdevkit's
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
        return str(_file_of(self._folder, bytes(self._ids[self.image_ids[index]]).decode()))


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
    return bool(_devkits(root)) or _is_voc(root)


def _is_voc(root: Path) -> bool:
    direct = [root, *(root / name for name in subfolders(root) if is_split_name(name))]
    named = [inner for folder in direct for inner in _named(folder, _ANNOTATIONS)]
    firsts = [folder / name for folder in direct for name in _xml_files(folder, recursive=False)[:1]]
    firsts += [folder / name for folder in named for name in _xml_files(folder)[:1]]
    if any(begins_with(file, "annotation") for file in firsts):
        return True
    listed = bool(list_files(root / "ImageSets" / "Segmentation", [".txt"], False)) or (root / CLASS_FILE).is_file()
    return listed and _class_maps(root) is not None


def _devkits(root: Path) -> list[Path]:
    """Folders one or two levels down that are VOC's, such as ``VOCdevkit/VOC2012``; none if the folder itself is."""
    if _has_parts(root) or _is_voc(root):
        return []
    below = [root / name for name in subfolders(root)[:_MOST_FOLDERS]]
    deeper = [folder / name for folder in below for name in subfolders(folder)[:_MOST_FOLDERS]]
    return [folder for folder in below if _has_parts(folder)] or [folder for folder in deeper if _has_parts(folder)]


def _has_parts(folder: Path) -> bool:
    """Whether a folder has annotations, and images or lists, in folders of their own."""
    if not _named(folder, (*_IMAGES, "imagesets")):
        return False
    files = ((inner, _xml_files(inner)[:1]) for inner in _named(folder, _ANNOTATIONS))
    return any(begins_with(inner / name, "annotation") for inner, names in files for name in names)


def _base(root: Path) -> Path:
    """The folder of the data set itself, which may be one or two levels down."""
    found = _devkits(root)
    if len(found) > 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in found[:5])
        raise DataError(f"{root}: there are several data sets in it: {names}. Open one of them.")
    return found[0] if found else root


def _named(root: Path, names: Sequence[str]) -> list[Path]:
    """Folders of some names, which are in lower case, in any case and in the order of the names."""
    there = [name for name in subfolders(root) if name.lower() in names]
    return [root / name for name in sorted(there, key=lambda name: names.index(name.lower()))]


def _xml_files(folder: Path, recursive: bool = True) -> list[str]:
    """XML files of a folder, without those that tools for maps write beside images."""
    return [name for name in list_files(folder, [".xml"], recursive) if not name.endswith(".aux.xml")]


def splits(root: Path) -> tuple[str, ...]:
    """Names of the lists in ``ImageSets/Main`` (without those of single classes), or ``all``.

    Example:
        >>> Path("ImageSets/Main").mkdir(parents=True)
        >>> for name in ("train", "val", "cat_train", "cat_val"):
        ...     Path(f"ImageSets/Main/{name}.txt").touch()
        >>> splits(Path())
        ('train', 'val')
    """
    root = _base(root)
    names = _lists(root, "Main") or _lists(root, "Segmentation")
    if not names:
        names = _split_folders(_annotation_folder(root))
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
    root = _base(root)
    folder = _annotation_folder(root)
    every = _all_ids(folder)
    if task is None and _class_maps(root) is not None and not every:
        task = "segmentation"
    task = check_task(task, _TASKS, "voc")
    if task == "segmentation":
        return _read_label_maps(root, folder, split, class_names, images)
    if not every:
        names = ", ".join(f"{name}/" for name in ("Annotations", *_ANNOTATIONS[2:]))
        raise DataError(f"{root}: there are no XML files, in it or in {names}. Put them there, or name another format.")
    ids = list(
        dict.fromkeys(_ids(root, folder, split, "Segmentation" if masks and _lists(root, "Segmentation") else "Main"))
    )
    if class_names is None:
        listed = _listed_classes(root)
        class_names = None if listed is None else [name for name in listed if name not in _NO_CLASS]
    collector, parts = AnnotationCollector(source=folder), 0
    written: list[str] = []
    for identifier in ids:
        file = _file_of(folder, identifier)
        tree = _parse(file, collector)
        map_path = f"{_OBJECT_MAPS}/{identifier}.png" if masks else ""
        written.append("" if tree is None else (tree.findtext("filename") or "").strip())
        if tree is None:
            collector.add_image(identifier, map_path=map_path)
        else:
            parts += _add(collector, tree, file, identifier, map_path, one_based)
    if parts:
        logger.warning("%s: %d part elements (of objects) are not read", folder, parts)
    if class_names is None:
        # Labels must not depend on the split: without a list of the classes, all files are scanned.
        chosen = set(ids)
        others = {name for other in every if other not in chosen for name in _names_in(_file_of(folder, other))}
        class_names = sorted(others.union(collector.class_names))
    check_class_count(len(class_names), folder, "object.name")
    images_of = _Images(root, images, folder, split)
    errors = [
        outside_error(name, _file_of(folder, identifier), images_of.root)
        for identifier, name in zip(ids, written, strict=True)
    ]
    collector.place_images(images_of.find(ids, written), errors)
    table = collector.build(class_names)
    if not len(table):
        faults = "".join(f"\n  {fault}" for fault in table.faults[:5])
        raise DataError(f"{folder}: none of the {len(ids)} annotations of '{split}' can be read:{faults}")
    left = [ids[number] for number in table.image_ids.tolist()]
    table = replace(table, image_ids=np.arange(len(left), dtype=np.int64))
    info = DatasetInfo(root.name, task, tuple(class_names), split)
    kind = VocMaskDataset if masks else VocDataset
    return kind(info, root, table, folder, left, images_of.root, masks)


def _parse(path: Path, collector: AnnotationCollector) -> Element | None:
    """Root element of an annotation; None, and a fault, if it cannot be read: its image is then left out."""
    try:
        if not path.is_file():
            message = "there is no such annotation. Write it, or take the id off the list."
            raise FieldError("labels.missing", str(path), message)
        return parse_xml(path, "annotation")
    except FieldError as error:
        collector.leave_out(len(collector), error)
        return None


def _names_in(path: Path) -> list[str]:
    """Classes of another split's annotation; what cannot be read there is a fault there."""
    try:
        return [name for item in parse_xml(path, "annotation").findall("object") if (name := _name_of(item))]
    except DataError:
        return []


def _name_of(item: Element) -> str:
    return (item.findtext("name") or "").strip()


def _annotation_folder(root: Path) -> Path:
    """Folder of the XML files; the data folder itself if it holds them directly."""
    return next((folder for folder in _named(root, _ANNOTATIONS) if _xml_files(folder)), root)


def _class_maps(root: Path) -> str | None:
    """Name of the folder of label maps."""
    return next((name for name in _CLASS_MAPS if (root / name).is_dir()), None)


def _list_folder(root: Path, kind: str) -> Path:
    """Folder of the lists of a kind; those of boxes may be directly in ``ImageSets``."""
    folder = root / "ImageSets" / kind
    return folder.parent if kind == "Main" and not folder.is_dir() else folder


def _lists(root: Path, kind: str) -> tuple[str, ...]:
    names = sorted(Path(name).stem for name in list_files(_list_folder(root, kind), [".txt"], recursive=False))
    return tuple(name for name in names if name.rpartition("_")[2] not in names or "_" not in name)


def _split_folders(folder: Path) -> tuple[str, ...]:
    """Splits that are folders of annotations; none if there are other annotations too."""
    names = [name for name in subfolders(folder) if _xml_files(folder / name)]
    clear = not _xml_files(folder, recursive=False) and all(map(is_split_name, names))
    return tuple(names) if clear else ()


def _file_of(folder: Path, identifier: str) -> Path:
    """Annotation of an id, with its suffix in lower or upper case."""
    upper = folder / f"{identifier}.XML"
    lower = folder / f"{identifier}.xml"
    return upper if not lower.is_file() and upper.is_file() else lower


def _all_ids(folder: Path) -> list[str]:
    """Annotation files, without suffix, in natural order."""
    return [name[: -len(".xml")] for name in _xml_files(folder)]


def _ids(root: Path, folder: Path, split: str, kind: str) -> list[str]:
    """Image ids of a split."""
    names = _lists(root, kind)
    if names in ((), ("all",)):
        by_folder = () if names else _split_folders(folder)
        if by_folder:
            own = resolve_split(split, by_folder, root)
            return [identifier for identifier in _all_ids(folder) if identifier.startswith(f"{own}/")]
        ids = _listed(root, folder, kind, "all") if names else _all_ids(folder)
        return [ids[index] for index in choose(len(ids), split, None, root)]
    return _listed(root, folder, kind, resolve_split(split, names, root))


def _listed(root: Path, folder: Path, kind: str, name: str) -> list[str]:
    """Ids of a list, as the annotations or label maps are called."""
    file = _list_folder(root, kind) / f"{name}.txt"
    there = set(_all_ids(folder))
    maps = _class_maps(root)
    if maps is not None:
        there.update(name.rpartition(".")[0] for name in list_images(root / maps, recursive=True))
    lines = [(number, line) for number, line in enumerate(_lines(file), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file}: the list is empty. Write one image id a line.")
    return [_id_of(line, there) or check_name(line.strip(), file, f"line {number}") for number, line in lines]


def _id_of(line: str, there: Collection[str]) -> str | None:
    """The id that a line of a list means, of those that are there."""
    line = line.strip()
    quoted = re.match(r"""(["'])(.+)\1""", line)
    texts = [line, quoted[2] if quoted else line, re.sub(r"\s+[+-]?[01]$", "", line)]
    for text in texts:
        if text in there:
            return text
    for text in texts:
        parts = last_parts(re.sub(r"\.\w{1,5}$", "", text))
        tails = ("/".join(parts[first:]) for first in range(len(parts)))
        found = next((tail for tail in tails if tail in there), None)
        if found is not None:
            return found
    return None


def _listed_classes(root: Path) -> list[str] | None:
    """Class names of the data set's own list, by index."""
    file = root / CLASS_FILE
    return [line.strip() for line in _lines(file) if line.strip()] if file.is_file() else None


def _lines(file: Path) -> list[str]:
    return read_text(file).splitlines()


class _Images:
    """Finds the images of annotations.

    Args:
        root: Data folder.
        images: Folder of the images below ``root``; found automatically if not given.
        folder: Folder of the annotations.
        split: Name of the split.
    """

    def __init__(self, root: Path, images: str | None, folder: Path, split: str) -> None:
        self.root = find_image_root(root, images)
        named = [] if images is not None else [f"{found.name}/" for found in _named(root, _IMAGES)]
        self._folders = [*named, ""]
        self._source, self._split = folder, split

    def find(self, ids: Sequence[str], written: Sequence[str] = ()) -> list[str | None]:
        """File of each image below ``root``, by its id, else by the name that is written; None for no name at all."""
        recursive = any("/" in identifier for identifier in ids)
        by_folder = {
            folder: {name.rpartition(".")[0]: name for name in list_images(self.root / folder, recursive)}
            for folder in self._folders
        }
        best = max(self._folders, key=lambda folder: sum(identifier in by_folder[folder] for identifier in ids))
        found = [by_folder[best].get(identifier) for identifier in ids]
        lacking = [index for index, name in enumerate(found) if name is None]
        finder = ImageFinder(self.root, self._source, list(dict.fromkeys([best, *self._folders])), self._split)
        names = [written[index] if written and written[index] else f"{ids[index]}.jpg" for index in lacking]
        others = finder.find(names, [ids[index] for index in lacking]) if lacking else []
        more = dict(zip(lacking, others, strict=True))
        return [more[index] if name is None else best + name for index, name in enumerate(found)]


def _add(collector: AnnotationCollector, tree: Element, path: Path, name: str, map_path: str, one_based: bool) -> int:
    """Add an image with its objects, and return the number of ``part`` elements skipped."""
    size = tree.find("size")
    about: dict[str, Any] = children(tree, ("filename", "size", "object"))
    height_width = (0, 0)
    if size is not None:
        about |= children(size, ("height", "width"))
        try:
            height_width = image_size(size.findtext("height"), size.findtext("width"), path, "size")
        except FieldError as error:  # the image itself knows its size
            collector.add_fault(error)
    image = collector.add_image(name, height_width, map_path=map_path, attributes=about)
    parts = 0
    for position, item in enumerate(tree.findall("object")):
        parts += len(item.findall("part"))
        try:
            class_name, box = _parse_object(item, path, f"object[{position}]", one_based)
        except FieldError as error:
            collector.add_fault(error)
            continue
        attributes = children(item, ("name", "bndbox", "part"))
        extras: dict[str, Any] = {"instance": position + 1} if map_path else {}
        difficult = attributes.get("difficult") == 1
        collector.add_object(image, class_name, box, attributes=attributes, difficult=difficult, **extras)
    return parts


def _parse_object(item: Element, path: Path, field: str, one_based: bool) -> tuple[str, tuple[float, ...]]:
    name, box = _name_of(item), item.find("bndbox")
    if not name or box is None:
        missing, code = ("bndbox", "labels.box") if name else ("name", "labels.class")
        raise FieldError(code, str(path), f"{field}.{missing} is missing. Add it, or remove the object.")
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
    values = None
    if class_names is None:
        class_names, values = _label_classes(root, folder, root / maps)
    finder = _Images(root, images, folder, split)
    found = finder.find(ids)
    table = map_table(
        [(name or f"{identifier}.jpg", f"{maps}/{identifier}.png") for name, identifier in zip(found, ids, strict=True)]
    )
    info = DatasetInfo(root.name, "segmentation", tuple(class_names), split)
    dataset = LabelMapDataset(info, root, table, label_lookup(len(class_names), values))
    dataset.image_root = finder.root
    return dataset


def _label_classes(root: Path, folder: Path, maps: Path) -> tuple[Sequence[str], Mapping[int, int] | None]:
    """Class names, and labels by value: the data set's own list, VOC's classes where they are, or the values."""
    listed = _listed_classes(root)
    if listed is not None:
        return ["background" if name == "_background_" else name for name in listed if name != "__ignore__"], None
    labelled = list_images(maps)  # of all splits
    files = [_file_of(folder, Path(name).stem) for name in labelled[:_SAMPLED_FILES]]
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
    voc = ["background", *VOC_CLASSES]
    if names:
        return voc, None
    found = scan_maps([maps / name for name in labelled])
    labels = [value for value in found.values if value != IGNORE_LABEL]
    if labels and len(labels) <= labels[-1] < len(voc):  # the gaps are the classes that a part of VOC does not show
        say_once(
            f"{root}: the label maps' classes have no names; their values {', '.join(map(str, labels))} are taken for "
            f"those of VOC's classes. Write the classes into {CLASS_FILE}, or class_names into saccade.yaml, if they "
            "are others."
        )
        return voc, None
    if len(labels) == len(voc):
        return voc, None
    inferred = infer_classes(found, root)
    return inferred.names, inferred.values
