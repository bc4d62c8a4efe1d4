"""Pictures and label maps of the same name in two folders, for segmentation.

Layouts that are found: ``train/`` + ``trainannot/`` (CamVid); ``train/image/`` + ``train/label/``, also ``images`` with
``masks`` or ``labels``; ``images/train/`` + ``masks/train/``, also ``annotations`` or ``labels``; ``images/`` +
``masks/``; ``JPEGImages/`` + ``SegmentationClass/``. Others are named by ``image_dir`` and ``label_dir``, in which
``{split}`` stands for the split.

A pixel's value is its class, unless ``values`` maps values to classes; 255, and what ``ignore`` lists, counts for
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saccade.data.annotations import AnnotationTable, TableBuilder, TableDataset
from saccade.data.dataset import DatasetInfo
from saccade.data.images import read_label_map
from saccade.data.readers.common import (
    UNSPLIT,
    check_task,
    choose,
    has_images,
    list_images,
    resolve_split,
    subfolders,
)
from saccade.data.sample import Sample, Target
from saccade.errors import DataError

__all__ = ["LabelMapDataset", "label_lookup", "matches", "read", "splits"]

IGNORE = 255
_UNKNOWN = 254  # marks values that are no class; labels therefore end at 253

_LABEL_FOLDERS = ("label", "labels", "mask", "masks", "annotations")
_PAIRS = [(images, labels) for images in ("image", "images") for labels in _LABEL_FOLDERS]
# Picture folder, label folder; those with {split} first, because CamVid's train/ is also a folder of pictures.
_LAYOUTS = [
    ("{split}", "{split}annot"),
    *(("{split}/" + images, "{split}/" + labels) for images, labels in _PAIRS),
    *((images + "/{split}", labels + "/{split}") for images, labels in _PAIRS),
    *_PAIRS,
    ("JPEGImages", "SegmentationClass"),
]


class LabelMapDataset(TableDataset):
    """Pictures with one label map each.

    Args:
        info: Name and classes; label v is ``class_names[v]``.
        root: Data folder.
        table: Pictures and the files of their maps.
        lookup: Class of each stored value, shape (65536,), uint8.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: AnnotationTable, lookup: NDArray[np.uint8]) -> None:
        super().__init__(info, root, table)
        self._lookup = lookup

    def annotation_path(self, index: int) -> str:
        """File of the label map."""
        return str(self.root / self.table.map_path(index))

    def target(self, index: int) -> Target:
        """``label_map`` (H, W) uint8 in the size of the map, 255 where nothing counts.

        Raises:
            DataError: If the map is broken or holds values that are no class.
        """
        values = read_label_map(self.annotation_path(index))
        label_map = self._lookup[values]
        strange = label_map == _UNKNOWN
        if strange.any():
            found = ", ".join(str(value) for value in np.unique(values[strange])[:5])
            raise DataError(
                f"{self.annotation_path(index)}: pixel value {found} is none of 0-{len(self.info.class_names) - 1}. "
                "Add it to 'values' or 'ignore', or name its class."
            )
        return {"label_map": label_map}

    def read(self, index: int) -> Sample:
        """Picture and label map.

        Raises:
            DataError: If they differ in size.
        """
        sample = super().read(index)
        mapped = sample.target["label_map"].shape
        if mapped != sample.size:
            raise DataError(
                f"{self.annotation_path(index)}: the map is {mapped[1]}x{mapped[0]}, its picture "
                f"{sample.size[1]}x{sample.size[0]}. Save both in the same size (labels by nearest pixel)."
            )
        return sample


def matches(root: Path) -> bool:
    """Whether one of the known layouts of two folders is there."""
    return _find_layout(root) is not None


def splits(root: Path) -> tuple[str, ...]:
    """Names of the parts that have both folders, or ``all``, ``train``, ``val`` without a split."""
    layout = _find_layout(root)
    return UNSPLIT if layout is None or "{split}" not in layout[0] else tuple(_layout_splits(root, layout))


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    values: Mapping[int, int] | None = None,
    ignore: Sequence[int] = (),
    image_dir: str | None = None,
    label_dir: str | None = None,
    label_suffix: str = "",
    ranges: Mapping[str, str] | None = None,
) -> LabelMapDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``segmentation``.
        class_names: Name of each label; if not given, all maps of the split are looked through: values 0 and 255 alone
            are ``background`` and ``foreground``, else label v is ``class_v``.
        values: Label of each stored value, such as ``{0: 0, 255: 1}``; values are labels if not given.
        ignore: Stored values that count for nothing, beside 255 (which ``values`` may use).
        image_dir: Folder of the pictures below ``root``; ``{split}`` stands for the split.
        label_dir: Folder of the label maps.
        label_suffix: What a map's name has behind the picture's, such as ``_mask``.
        ranges: Splits as index ranges in natural order of the names, such as ``{"train": "0-23", "val": "24-29"}``.

    Raises:
        DataError: If folders, pictures or maps are missing.
    """
    check_task(task, ("segmentation",), "masks")
    layout = (image_dir, label_dir) if image_dir is not None and label_dir is not None else _find_layout(root)
    if layout is None:
        raise DataError(
            f"{root}: no pair of folders with pictures and label maps was found. Give image_dir and label_dir."
        )
    own = resolve_split(split, _layout_splits(root, layout), root) if "{split}" in layout[0] else ""
    images, labels = (folder.format(split=own) for folder in layout)
    pairs = _pair(root, images, labels, label_suffix)
    if not own:
        pairs = [pairs[index] for index in choose(len(pairs), split, ranges, root)]
    builder = TableBuilder((), boxes=False)
    for image, label in pairs:
        builder.add_image(f"{images}/{image}", map_path=f"{labels}/{label}")
    if class_names is None:
        class_names, values = _infer(root / labels, [label for _, label in pairs], ignore, values)
    info = DatasetInfo(root.name, "segmentation", tuple(class_names), split)
    return LabelMapDataset(info, root, builder.build(), label_lookup(len(class_names), values, ignore))


def label_lookup(
    num_classes: int, values: Mapping[int, int] | None = None, ignore: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """Table from stored value to label, shape (65536,), uint8.

    Args:
        num_classes: Labels are 0..num_classes-1.
        values: Label by stored value; the identity if not given.
        ignore: Stored values that become 255.

    Raises:
        DataError: If there are more classes than a byte holds, or ``values`` names a label that does not exist.
    """
    if num_classes > _UNKNOWN:
        raise DataError(
            f"{num_classes} classes are more than the {_UNKNOWN} that a label map holds. Join some of them."
        )
    lookup = np.full(1 << 16, _UNKNOWN, np.uint8)
    lookup[IGNORE] = IGNORE
    for value, label in (values or {label: label for label in range(num_classes)}).items():
        if not (0 <= label < num_classes or label == IGNORE) or not 0 <= value < len(lookup):
            raise DataError(
                f"values: {value} becomes label {label}, but labels are 0-{num_classes - 1}. Correct the table."
            )
        lookup[value] = label
    lookup[list(ignore)] = IGNORE
    return lookup


def _find_layout(root: Path) -> tuple[str, str] | None:
    return next((layout for layout in _LAYOUTS if _layout_splits(root, layout)), None)


def _layout_splits(root: Path, layout: tuple[str, str]) -> list[str]:
    """Splits for which both folders hold pictures; one empty name for a layout without splits."""
    images, labels = layout
    if "{split}" not in images:
        names = [""]
    else:
        head = images.split("{split}")[0]
        names = subfolders(root / head) if (root / head).is_dir() else []
    return [
        name
        for name in names
        if all(has_images(root / folder.format(split=name), recursive=False) for folder in (images, labels))
    ]


def _pair(root: Path, images: str, labels: str, label_suffix: str) -> list[tuple[str, str]]:
    """Pictures with their maps, by stem, in natural order."""
    pictures = list_images(root / images)
    maps = {Path(name).stem: name for name in list_images(root / labels)}
    if not pictures:
        raise DataError(f"{root / images}: there are no pictures. Put them there, or name another folder.")
    missing = [name for name in pictures if Path(name).stem + label_suffix not in maps]
    if missing:
        raise DataError(
            f"{root / images}: {len(missing)} pictures have no label map of the same name in {root / labels}: "
            f"{', '.join(missing[:5])}. Add the maps, or remove the pictures."
        )
    return [(name, maps[Path(name).stem + label_suffix]) for name in pictures]


def _infer(
    folder: Path, names: Sequence[str], ignore: Sequence[int], values: Mapping[int, int] | None
) -> tuple[list[str], Mapping[int, int] | None]:
    """Class names, and the table of values, from what the maps hold."""
    if values is not None:
        return [f"class_{label}" for label in range(max(values.values()) + 1)], values
    found: set[int] = set()
    for name in names:
        found.update(np.unique(read_label_map(folder / name)).tolist())
    if found == {0, IGNORE}:
        return ["background", "foreground"], {0: 0, IGNORE: 1}
    classes = found - {IGNORE, *ignore}
    return [f"class_{label}" for label in range(max(classes, default=0) + 1)], None
