"""Images and label maps of the same name in two folders, for segmentation.

Layouts that are found: ``train/`` + ``trainannot/`` (CamVid); ``train/image/`` + ``train/label/``, also ``images`` with
``masks`` or ``labels``; ``images/train/`` + ``masks/train/``, also ``annotations`` or ``labels``; ``images/`` +
``masks/``; ``JPEGImages/`` + ``SegmentationClass/``. Others are named by ``image_dir`` and ``label_dir``, in which
``{split}`` stands for the split.

A pixel's value is its class (of a palette image: its index), unless ``values`` maps values to classes; pixels of 255,
and of the values that ``ignore`` lists, are ignored. Two other codes are read if an option asks for it:

- ``palette``: colours stand for classes, ``{"#804080": "road", "#000000": 255}``.
- ``instance_divisor``: values are ``class * divisor + number of the object``, and below the divisor the class alone
  (Cityscapes: 1000). The task ``detection`` then gives each object, with its box and mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.images.decode import read_label_map
from saccade.data.readers._common import (
    UNSPLIT,
    check_task,
    choose,
    find_layout,
    layout_splits,
    list_images,
    options_from,
    resolve_split,
)
from saccade.data.readers._label_maps import (
    ColorMapDataset,
    LabelMapDataset,
    label_lookup,
    map_table,
    palette_table,
    read_objects,
)
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import IGNORE_LABEL

__all__ = ["OPTIONS", "LabelMapOptions", "matches", "read", "splits"]

_LABEL_FOLDERS = ("label", "labels", "mask", "masks", "annotations")
_PAIRS = [(images, labels) for images in ("image", "images") for labels in _LABEL_FOLDERS]
# Image folder, label folder; those with {split} first, because CamVid's train/ is also a folder of images.
_LAYOUTS = [
    ("{split}", "{split}annot"),
    *(("{split}/" + images, "{split}/" + labels) for images, labels in _PAIRS),
    *((images + "/{split}", labels + "/{split}") for images, labels in _PAIRS),
    *_PAIRS,
    ("JPEGImages", "SegmentationClass"),
]


@dataclass(frozen=True)
class LabelMapOptions:
    """Options of :func:`read`, by the names under which it takes them.

    Args:
        class_names: Name of each label; if not given, all label maps of the split are scanned: values 0 and 255 alone
            are ``background`` and ``foreground``, else label v is ``class_v``.
        values: Label of each stored value, such as ``{0: 0, 255: 1}``; values are labels if not given.
        ignore: Stored values that are ignored, beside 255 (which ``values`` may use).
        image_dir: Folder of the images below the data folder; ``{split}`` stands for the split.
        label_dir: Folder of the label maps.
        label_suffix: Part of a label map's name behind the image's, such as ``_mask``.
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
    label_suffix: str = ""
    ranges: Mapping[str, str] | None = None
    palette: Mapping[Any, int | str] | None = None
    instance_divisor: int = 0
    masks: bool = False
    channels: int = 3
    allow_16bit: bool = False


OPTIONS = LabelMapOptions


def matches(root: Path) -> bool:
    """Whether one of the known layouts of two folders is there."""
    return find_layout(root, _LAYOUTS) is not None


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that have both folders; ``all``, ``train``, ``val`` for a layout without splits.

    Example:
        >>> for name in ("train", "trainannot", "val", "valannot"):
        ...     Path(name).mkdir()
        ...     Path(name, "1.png").touch()
        >>> splits(Path())
        ('train', 'val')
    """
    layout = find_layout(root, _LAYOUTS)
    return UNSPLIT if layout is None or "{split}" not in layout[0] else tuple(layout_splits(root, layout))


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
    images, labels, pairs = _pairs_of_split(root, split, wanted)
    files = [(f"{images}/{image}", f"{labels}/{label}") for image, label in pairs]
    names, values = wanted.class_names, wanted.values
    if wanted.palette is not None:
        names, colors = palette_table(wanted.palette, names)
        info = DatasetInfo(root.name, task, tuple(names), split)
        return ColorMapDataset(info, root, map_table(files), colors, wanted.channels, wanted.allow_16bit)
    if names is None:
        names, values = _infer_classes([root / label for _, label in files], wanted)
    lookup = label_lookup(len(names), values, wanted.ignore, wanted.instance_divisor)
    info = DatasetInfo(root.name, task, tuple(names), split)
    if task == "detection":
        return read_objects(info, root, files, lookup, wanted.instance_divisor, wanted.masks)
    return LabelMapDataset(info, root, map_table(files), lookup, wanted.channels, wanted.allow_16bit)


def _pairs_of_split(root: Path, split: str, wanted: LabelMapOptions) -> tuple[str, str, list[tuple[str, str]]]:
    """Folders of a split below ``root``, and its images with their label maps."""
    if wanted.image_dir is not None and wanted.label_dir is not None:
        layout: tuple[str, str] | None = (wanted.image_dir, wanted.label_dir)
    else:
        layout = find_layout(root, _LAYOUTS)
    if layout is None:
        raise DataError(
            f"{root}: no pair of folders with images and label maps was found. Give image_dir and label_dir."
        )
    own = resolve_split(split, layout_splits(root, layout), root) if "{split}" in layout[0] else ""
    images, labels = (folder.format(split=own) for folder in layout)
    pairs = _pair(root, images, labels, wanted.label_suffix)
    if not own:
        pairs = [pairs[index] for index in choose(len(pairs), split, wanted.ranges, root)]
    return images, labels, pairs


def _pair(root: Path, images: str, labels: str, label_suffix: str) -> list[tuple[str, str]]:
    """Images with their label maps, by stem, in natural order."""
    names = list_images(root / images)
    maps = {Path(name).stem: name for name in list_images(root / labels)}
    if not names:
        raise DataError(f"{root / images}: there are no images. Put them there, or name another folder.")
    missing = [name for name in names if Path(name).stem + label_suffix not in maps]
    if missing:
        raise DataError(
            f"{root / images}: {len(missing)} images have no label map of the same name in {root / labels}: "
            f"{', '.join(missing[:5])}. Add the maps, or remove the images."
        )
    return [(name, maps[Path(name).stem + label_suffix]) for name in names]


def _infer_classes(files: Sequence[Path], wanted: LabelMapOptions) -> tuple[list[str], Mapping[int, int] | None]:
    """Class names, and the table of values, from the values in the label maps."""
    values, divisor = wanted.values, wanted.instance_divisor
    if values is not None:
        return [f"class_{label}" for label in range(max(values.values()) + 1)], values
    found: set[int] = set()
    for file in files:
        found.update(np.unique(read_label_map(file)).tolist())
    if found == {0, IGNORE_LABEL}:
        return ["background", "foreground"], {0: 0, IGNORE_LABEL: 1}
    if divisor > 1:
        found = {value // divisor if value >= divisor else value for value in found}
    classes = found - {IGNORE_LABEL, *wanted.ignore}
    return [f"class_{label}" for label in range(max(classes, default=0) + 1)], None
