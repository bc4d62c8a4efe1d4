"""Images and label maps of the same name in two folders, for segmentation.

Layouts that are found, the words in any case: ``train/`` + ``trainannot/`` (CamVid), ``train_images/`` +
``train_masks/``; ``train/image/`` + ``train/label/``; ``images/train/`` + ``masks/train/``; ``images/`` + ``masks/``;
``JPEGImages/`` + ``SegmentationClass/``; images in the data folder itself with EISeg's ``label/``. A folder of images
is also called ``img``, ``imgs``; one of label maps ``annotations``, ``annots``, ``gt``, ``seg`` and the like. Others
are named by ``image_dir`` and ``label_dir``, in which ``{split}`` stands for the split. A label map has the name of its
image, or that and a word (``0_mask.png``).

A pixel's value is its class (of a palette image: its index), unless ``values`` maps values to classes; pixels of 255,
and of the values that ``ignore`` lists, are ignored. Classes are named by ``class_names``, by a file
``class_names.txt`` in the data folder, or by EISeg's list of classes; without any they are those that occur in the maps
of all splits (:mod:`saccade.data.readers._map_values`). Two other codes are read if an option asks for it:

- ``palette``: colours stand for classes, ``{"#804080": "road", "#000000": 255}``.
- ``instance_divisor``: values are ``class * divisor + number of the object``, and below the divisor the class alone
  (Cityscapes: 1000). The task ``detection`` then gives each object, with its box and mask.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.data.readers._common import (
    UNSPLIT,
    check_task,
    choose,
    find_layout,
    is_split_name,
    layout_splits,
    list_images,
    options_from,
    resolve_split,
    subfolders,
)
from saccade.data.readers._eiseg import FOLDER, class_numbers, without_copies
from saccade.data.readers._formats import describe_folder
from saccade.data.readers._label_maps import (
    ColorMapDataset,
    LabelMapDataset,
    label_lookup,
    map_table,
    palette_table,
    read_objects,
)
from saccade.data.readers._map_values import CLASS_FILE, MapClasses, MapValues, binary_values, infer_classes, scan_maps
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import read_text
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["OPTIONS", "SPLITS_BY_OPTIONS", "LabelMapOptions", "matches", "prefers_maps", "read", "splits"]

_BINARY = 2  # classes of masks
_IMAGE_WORDS = ("image", "images", "img", "imgs", "jpegimages")
_LABEL_WORDS = (
    *("label", "labels", "mask", "masks", "annotation", "annotations", "annot", "annots", "gt", "groundtruth"),
    *("ground_truth", "seg", "segmentation", "segmentations", "labelmap", "labelmaps", "segmentationclass"),
    "segmentationclasspng",
)
_IMAGE_TAILS = ("", *_IMAGE_WORDS, *(f"_{word}" for word in _IMAGE_WORDS))
_LABEL_TAILS = (*_LABEL_WORDS, *(f"_{word}" for word in _LABEL_WORDS))
# Words in the names of files that tell an image from its label map.
_NAME_WORDS = frozenset((*_IMAGE_WORDS, *_LABEL_WORDS, "msk", "photo", "sat", "lab"))
_PARTS = re.compile(r"[ _.\-]+")


@dataclass(frozen=True)
class LabelMapOptions:
    """Options of :func:`read`, by the names under which it takes them.

    Args:
        class_names: Name of each label; if not given, those of ``class_names.txt``, or all label maps of all splits are
            scanned: values 0 and 1, or 0 and 255, are ``background`` and ``foreground``, else each value v that occurs
            is ``class_v``.
        values: Label of each stored value, such as ``{0: 0, 255: 1}``; values are labels if not given.
        ignore: Stored values that are ignored, beside 255 (which ``values`` may use).
        image_dir: Folder of the images below the data folder; ``{split}`` stands for the split.
        label_dir: Folder of the label maps.
        label_suffix: Part of a label map's name behind the image's, such as ``_mask``; found in the names if not given.
        ranges: Splits as index ranges in natural order of the names, such as ``{"train": "0-23", "val": "24-29"}``.
        palette: Label, or name of the class, by colour (``"#804080"`` or ``(128, 64, 128)``); 255 ignores it.
        instance_divisor: Values from this number on are class * divisor + number of the object.
        masks: Give each object's mask as well, for ``detection``.
        channels: Channels of the images: 3 for RGB, 1 for grey, or the number that the files have.
        allow_16bit: Give the pixels of 16-bit files as they are.
    """

    class_names: Sequence[str] | None = None
    values: Mapping[int, int] | None = None
    ignore: Sequence[int] = ()
    image_dir: str | None = None
    label_dir: str | None = None
    label_suffix: str | None = None
    ranges: Mapping[str, str] | None = None
    palette: Mapping[Any, int | str] | None = None
    instance_divisor: int = 0
    masks: bool = False
    channels: int = 3
    allow_16bit: bool = False


OPTIONS = LabelMapOptions
SPLITS_BY_OPTIONS = True


def matches(root: Path) -> bool:
    """Whether one of the known layouts of two folders is there."""
    return find_layout(root, _layouts(root)) is not None


def prefers_maps(root: Path) -> bool:
    """Whether there are label maps that a segmenter takes rather than the outlines of another format; not VOC's."""
    layout = find_layout(root, _layouts(root))
    return layout is not None and not layout[1].lower().startswith("segmentationclass")


def splits(root: Path, **options: Any) -> tuple[str, ...]:
    """Names of the splits that have both folders, or of ``ranges`` beside ``all``; ``all`` without either.

    Example:
        >>> for name in ("train", "trainannot", "val", "valannot"):
        ...     Path(name).mkdir()
        ...     Path(name, "1.png").touch()
        >>> splits(Path())
        ('train', 'val')
        >>> splits(Path(), image_dir="train", label_dir="trainannot", ranges={"test": "0"})
        ('all', 'test')
    """
    wanted = options_from(LabelMapOptions, options, "masks")
    layout: tuple[str, str] | None = (wanted.image_dir or "", wanted.label_dir or "")
    if wanted.image_dir is None or wanted.label_dir is None:
        layout = find_layout(root, _layouts(root))
    if layout is not None and "{split}" in layout[0]:
        return tuple(layout_splits(root, layout))
    return tuple(dict.fromkeys((*UNSPLIT, *(wanted.ranges or ()))))


def _layouts(root: Path) -> list[tuple[str, str]]:
    """Pairs of folders that are there by name, image folder and label folder.

    Those with {split} come first, because CamVid's train/ is also a folder of images.
    """
    top = subfolders(root)
    lower = {name.lower(): name for name in reversed(top)}
    tails = dict.fromkeys(
        ("{split}" + name[len(split) :], "{split}" + other[len(split) :])
        for name in top
        for tail in _IMAGE_TAILS
        if name.lower().endswith(tail)
        for split in (name[: len(name) - len(tail)],)
        if split and split.lower() not in (*_IMAGE_WORDS, *_LABEL_WORDS)
        for label in _LABEL_TAILS
        if (other := lower.get(split.lower() + label)) is not None and other != name
    )
    inner = [pairs for name in top if (pairs := _word_pairs(subfolders(root / name)))]
    # Folders of other names in a further split would be passed over in silence.
    shared = [pair for pair in inner[0] if all(pair in pairs for pairs in inner)] if inner else []
    below = [("{split}/" + images, "{split}/" + labels) for images, labels in shared]
    pairs = _word_pairs(top)
    flat = pairs or _lone_pair(top)
    beside = [("", FOLDER)] if FOLDER in top and class_numbers(root) else []
    return [*beside, *tails, *((images + "/{split}", labels + "/{split}") for images, labels in pairs), *flat, *below]


def _word_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Folders of images with folders of label maps, by the words for them."""
    images = [name for name in names if name.lower() in _IMAGE_WORDS]
    labels = sorted((name for name in names if name.lower() in _LABEL_WORDS), key=_label_order)
    return [(image, label) for image in images for label in labels]


def _lone_pair(names: Sequence[str]) -> list[tuple[str, str]]:
    """The only folders whose names hold these words beside that of a split: ``Training_Images``, ``Ground_Truth``."""
    cores = {
        name: "_".join(part for part in re.split(r"[ _-]+", name.lower()) if not is_split_name(part)) for name in names
    }
    images = [name for name, core in cores.items() if core in _IMAGE_WORDS]
    labels = [name for name, core in cores.items() if core in _LABEL_WORDS]
    return [(images[0], labels[0])] if len(images) == len(labels) == 1 else []


def _label_order(name: str) -> int:
    """Label maps are found in ``masks`` before ``annotations``."""
    return 0 if "mask" in name.lower() else 1 if "label" in name.lower() else 2


def read(root: Path, split: str, task: str | None = None, **options: Any) -> TableDataset:
    """Read one split of images and label maps in two folders.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``segmentation``, or ``detection`` with ``instance_divisor``.
        **options: Fields of :class:`LabelMapOptions`.

    Raises:
        DataError: If folders, images or label maps are missing, or options are unknown or contradict each other.

    Example:
        >>> import cv2
        >>> for folder, pixels in (("images", np.zeros((2, 3, 3))), ("masks", np.array([[0, 1, 1], [0, 0, 255]]))):
        ...     Path(folder).mkdir()
        ...     _ = cv2.imwrite(f"{folder}/a.png", pixels.astype(np.uint8))
        >>> data = read(Path(), "all", class_names=["sky", "road"])
        >>> data.target(0)["label_map"]
        array([[  0,   1,   1],
               [  0,   0, 255]], dtype=uint8)
    """
    wanted = options_from(LabelMapOptions, options, "masks")
    tasks = ("segmentation", "detection") if wanted.instance_divisor else ("segmentation",)
    task = check_task(task, tasks, "masks")
    if wanted.palette is not None and (wanted.values is not None or wanted.ignore or wanted.instance_divisor):
        raise DataError(
            f"{root}: 'palette' gives the class of every colour. Remove values, ignore and instance_divisor."
        )
    layout = _layout(root, wanted)
    files = _files_of_split(root, split, layout, wanted)
    names, values = wanted.class_names or _listed_names(root), wanted.values
    if wanted.palette is not None:
        names, colors = palette_table(wanted.palette, names)
        info = DatasetInfo(root.name, task, tuple(names), split)
        return ColorMapDataset(info, root, map_table(files), colors, wanted.channels, wanted.allow_16bit)
    if names is None and values is None and (numbers := class_numbers(root)):
        named = {0: "background", **numbers}
        names, values = list(named.values()), {value: label for label, value in enumerate(named)}
    if values is not None:
        names = names or [f"class_{label}" for label in range(max(values.values(), default=-1) + 1)]
    elif names is None:
        inferred = _infer_classes(root, layout, wanted)
        names, values = inferred.names, inferred.values
    elif len(names) == _BINARY and wanted.instance_divisor < _BINARY:  # 255 may be the second of them
        values = binary_values(_scan(root, layout, wanted), root, wanted.ignore, named=True)
    lookup = label_lookup(len(names), values, wanted.ignore, wanted.instance_divisor)
    info = DatasetInfo(root.name, task, tuple(names), split)
    if task == "detection":
        return read_objects(info, root, files, lookup, wanted.instance_divisor, wanted.masks)
    return LabelMapDataset(info, root, map_table(files), lookup, wanted.channels, wanted.allow_16bit)


def _layout(root: Path, wanted: LabelMapOptions) -> tuple[str, str]:
    """Folders of images and of label maps."""
    if wanted.image_dir is not None and wanted.label_dir is not None:
        return wanted.image_dir, wanted.label_dir
    layout = find_layout(root, _layouts(root))
    if layout is None:
        raise DataError(
            f"{root}: no pair of folders with images and label maps was found; {describe_folder(root)}. Name them by "
            "image_dir and label_dir (and label_suffix, if the maps' names have one) in saccade.yaml, such as "
            "'image_dir: photos'."
        )
    return layout


def _files_of_split(root: Path, split: str, layout: tuple[str, str], wanted: LabelMapOptions) -> list[tuple[str, str]]:
    """Images of a split with their label maps, below ``root``."""
    own = resolve_split(split, layout_splits(root, layout), root) if "{split}" in layout[0] else ""
    images, labels = (folder.format(split=own) for folder in layout)
    pairs = _pair(root, images, labels, wanted.label_suffix)
    if not own:
        pairs = [pairs[index] for index in choose(len(pairs), split, wanted.ranges, root)]
    return [(posixpath.join(images, image), posixpath.join(labels, label)) for image, label in pairs]


def _pair(root: Path, images: str, labels: str, label_suffix: str | None) -> list[tuple[str, str]]:
    """Images with their label maps, by the stems of their names, in natural order."""
    names = list_images(root / images)
    maps = {Path(name).stem: name for name in without_copies(list_images(root / labels))}
    if images == labels and label_suffix:  # both in one folder
        names = [name for name in names if not Path(name).stem.endswith(label_suffix)]
    if not names:
        raise DataError(
            f"{root / images}: there are no images. Put them there, or name another folder by image_dir in "
            "saccade.yaml."
        )
    found = _partners([Path(name).stem for name in names], list(maps), label_suffix)
    missing = [name for name, partner in zip(names, found, strict=True) if partner is None]
    if missing:
        raise DataError(
            f"{root / images}: {len(missing)} images have no label map of the same name in {root / labels}: "
            f"{', '.join(missing[:5])}. Add the maps, or remove the images; if the maps' names have a further part, "
            "name it by label_suffix in saccade.yaml, such as 'label_suffix: _mask'."
        )
    return [(name, maps[partner]) for name, partner in zip(names, found, strict=True) if partner is not None]


def _partners(stems: Sequence[str], maps: Sequence[str], label_suffix: str | None) -> list[str | None]:
    """Stem of the label map of each image: the same, with a suffix that all share, or the same but for words."""
    known = set(maps)
    if label_suffix is not None or all(stem in known for stem in stems):
        return [stem + (label_suffix or "") if stem + (label_suffix or "") in known else None for stem in stems]
    own = set(stems)
    tails = Counter(
        stem[cut:] for stem in maps for cut in range(1, len(stem)) if stem[:cut] in own and stem[cut] in " _-."
    )
    for tail, _ in tails.most_common(3):
        if all(stem + tail in known for stem in stems):
            return [stem + tail for stem in stems]
    by_key: dict[str, list[str]] = {}
    for stem in maps:
        by_key.setdefault(_key(stem), []).append(stem)
    keys = Counter(map(_key, stems))
    found = [by_key.get(_key(stem), []) for stem in stems]
    if all(keys[_key(stem)] == 1 and len(partners) == 1 for stem, partners in zip(stems, found, strict=True)):
        return [partners[0] for partners in found]
    return [stem if stem in known else None for stem in stems]


def _key(stem: str) -> str:
    """Name without the words that tell an image from its label map: ``7`` of ``img_7`` and of ``7_mask``."""
    return "_".join(part for part in _PARTS.split(stem.lower()) if part not in _NAME_WORDS)


def _listed_names(root: Path) -> list[str] | None:
    """Class names of ``class_names.txt``, by value; None without it."""
    file = root / CLASS_FILE
    if not file.is_file():
        return None
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    return ["background" if name == "_background_" else name for name in names if name != "__ignore__"] or None


def _scan(root: Path, layout: tuple[str, str], wanted: LabelMapOptions) -> MapValues:
    """Values in the label maps of all splits."""
    names = layout_splits(root, layout) if "{split}" in layout[1] else [""]
    return scan_maps(
        [
            root / labels / label
            for labels in dict.fromkeys(layout[1].format(split=name) for name in names)
            for label in without_copies(list_images(root / labels))
            if layout[0] != layout[1] or Path(label).stem.endswith(wanted.label_suffix or "")
        ]
    )


def _infer_classes(root: Path, layout: tuple[str, str], wanted: LabelMapOptions) -> MapClasses:
    """Classes from the values in the label maps of all splits."""
    found, divisor = _scan(root, layout, wanted), wanted.instance_divisor
    if divisor < _BINARY:
        return infer_classes(found, root, wanted.ignore)
    labels = {value // divisor if value >= divisor else value for value in found.values}
    numbers = range(max(labels - {IGNORE_LABEL, *wanted.ignore}, default=0) + 1)
    return MapClasses(tuple(f"class_{label}" for label in numbers), {label: label for label in numbers})
