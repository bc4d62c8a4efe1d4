"""Images and label maps of the same name in two folders, for segmentation.

Layouts that are found: ``train/`` + ``trainannot/`` (CamVid); ``train/image/`` + ``train/label/``, also ``images`` with
``masks`` or ``labels``; ``images/train/`` + ``masks/train/``, also ``annotations`` or ``labels``; ``images/`` +
``masks/``; ``JPEGImages/`` + ``SegmentationClass/``. Others are named by ``image_dir`` and ``label_dir``, in which
``{split}`` stands for the split.

A pixel's value is its class (of a palette image: its index), unless ``values`` maps values to classes; 255, and what
``ignore`` lists, counts for nothing. Two other codes are read if an option says so:

- ``palette``: colours stand for classes, ``{"#804080": "road", "#000000": 255}``.
- ``instance_divisor``: values are ``class * divisor + number of the object``, and below the divisor the class alone
  (Cityscapes: 1000). The task ``detection`` then gives each object, with its box and mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image, read_label_map
from saccade.data.readers._common import UNSPLIT, check_task, choose, has_images, list_images, resolve_split, subfolders
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import Sample, Target

__all__ = ["ColorMapDataset", "LabelMapDataset", "label_lookup", "matches", "palette_table", "read", "splits"]

IGNORE = 255
_UNKNOWN = 254  # marks values that are no class; labels therefore end at 253

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


class LabelMapDataset(TableDataset):
    """Images with one label map each.

    Args:
        info: Name and classes; label v is ``class_names[v]``.
        root: Data folder.
        table: Images and the files of their maps.
        lookup: Class of each stored value, shape (65536,), uint8.
        channels: Channels of the images.
        allow_16bit: Give the pixels of 16-bit files as they are.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        lookup: NDArray[np.uint8],
        channels: int = 3,
        allow_16bit: bool = False,
    ) -> None:
        super().__init__(info, root, table, channels=channels, allow_16bit=allow_16bit)
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
        """Image and label map.

        Raises:
            DataError: If they differ in size.
        """
        sample = super().read(index)
        mapped = sample.target["label_map"].shape
        if mapped != sample.size:
            raise DataError(
                f"{self.annotation_path(index)}: the map is {mapped[1]}x{mapped[0]}, its image "
                f"{sample.size[1]}x{sample.size[0]}. Save both in the same size (labels by nearest pixel)."
            )
        return sample


class ColorMapDataset(LabelMapDataset):
    """Images with one map each whose colours stand for classes.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Images and the files of their maps.
        palette: Colours and their labels (:func:`palette_table`).
        channels: Channels of the images.
        allow_16bit: Give the pixels of 16-bit files as they are.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: Path,
        table: AnnotationTable,
        palette: tuple[NDArray[np.uint32], NDArray[np.uint8]],
        channels: int = 3,
        allow_16bit: bool = False,
    ) -> None:
        super().__init__(info, root, table, palette[1], channels, allow_16bit)
        self._colors = palette[0]

    def target(self, index: int) -> Target:
        """``label_map`` (H, W) uint8, 255 where nothing counts.

        Raises:
            DataError: If the map is broken or holds colours that stand for no class.
        """
        path = self.annotation_path(index)
        rgb = read_image(path).astype(np.uint32)
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        places = np.minimum(np.searchsorted(self._colors, codes), len(self._colors) - 1)
        strange = self._colors[places] != codes
        if strange.any():
            found, counts = np.unique(codes[strange], return_counts=True)
            listed = ", ".join(f"#{code:06x}" for code in found[np.argsort(-counts)][:5].tolist())
            raise DataError(
                f"{path}: the palette has no colour {listed} ({int(strange.sum())} pixels). Add it to 'palette' "
                "(255 to ignore it); if a JPEG blurred the colours, save the map as PNG."
            )
        return {"label_map": self._lookup[places]}


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
    palette: Mapping[Any, int | str] | None = None,
    instance_divisor: int = 0,
    masks: bool = False,
    channels: int = 3,
    allow_16bit: bool = False,
) -> TableDataset:
    """Read one split.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``segmentation``, or ``detection`` with ``instance_divisor``.
        class_names: Name of each label; if not given, all maps of the split are looked through: values 0 and 255 alone
            are ``background`` and ``foreground``, else label v is ``class_v``.
        values: Label of each stored value, such as ``{0: 0, 255: 1}``; values are labels if not given.
        ignore: Stored values that count for nothing, beside 255 (which ``values`` may use).
        image_dir: Folder of the images below ``root``; ``{split}`` stands for the split.
        label_dir: Folder of the label maps.
        label_suffix: What a map's name has behind the image's, such as ``_mask``.
        ranges: Splits as index ranges in natural order of the names, such as ``{"train": "0-23", "val": "24-29"}``.
        palette: Label, or name of the class, by colour (``"#804080"`` or ``(128, 64, 128)``); 255 ignores it.
        instance_divisor: Values from this number on are class * divisor + number of the object.
        masks: Give each object's mask as well, for ``detection``.
        channels: Channels of the images: 3 for RGB, 1 for grey, or the number that the files have.
        allow_16bit: Give the pixels of 16-bit files as they are.

    Raises:
        DataError: If folders, images or maps are missing, or options contradict each other.
    """
    task = check_task(task, ("segmentation", "detection") if instance_divisor else ("segmentation",), "masks")
    if palette is not None and (values is not None or ignore or instance_divisor):
        raise DataError(f"{root}: 'palette' says all of colours. Remove values, ignore and instance_divisor.")
    layout = (image_dir, label_dir) if image_dir is not None and label_dir is not None else _find_layout(root)
    if layout is None:
        raise DataError(
            f"{root}: no pair of folders with images and label maps was found. Give image_dir and label_dir."
        )
    own = resolve_split(split, _layout_splits(root, layout), root) if "{split}" in layout[0] else ""
    images, labels = (folder.format(split=own) for folder in layout)
    pairs = _pair(root, images, labels, label_suffix)
    if not own:
        pairs = [pairs[index] for index in choose(len(pairs), split, ranges, root)]
    files = [(f"{images}/{image}", f"{labels}/{label}") for image, label in pairs]
    if palette is not None:
        class_names, colors = palette_table(palette, class_names)
        info = DatasetInfo(root.name, task, tuple(class_names), split)
        return ColorMapDataset(info, root, _table(files), colors, channels, allow_16bit)
    if class_names is None:
        class_names, values = _infer(root / labels, [label for _, label in pairs], ignore, values, instance_divisor)
    lookup = label_lookup(len(class_names), values, ignore, instance_divisor)
    info = DatasetInfo(root.name, task, tuple(class_names), split)
    if task == "detection":
        from saccade.data.readers.instance_masks import read_objects

        return read_objects(info, root, files, lookup, instance_divisor, masks)
    return LabelMapDataset(info, root, _table(files), lookup, channels, allow_16bit)


def _table(files: Sequence[tuple[str, str]]) -> AnnotationTable:
    builder = TableBuilder((), boxes=False)
    for image, label in files:
        builder.add_image(image, map_path=label)
    return builder.build()


def label_lookup(
    num_classes: int,
    values: Mapping[int, int] | None = None,
    ignore: Sequence[int] = (),
    instance_divisor: int = 0,
) -> NDArray[np.uint8]:
    """Table from stored value to label, shape (65536,), uint8.

    Args:
        num_classes: Labels are 0..num_classes-1.
        values: Label by stored value; the identity if not given.
        ignore: Stored values that become 255.
        instance_divisor: Values from this number on are class * divisor + number of the object.

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
    for value in ignore:
        if not 0 <= value < len(lookup):
            raise DataError(f"ignore: {value} is no value of a pixel. Write whole numbers from 0 to {len(lookup) - 1}.")
        lookup[value] = IGNORE
    if instance_divisor > 1:
        lookup[instance_divisor:] = lookup[np.arange(instance_divisor, len(lookup)) // instance_divisor]
    return lookup


def palette_table(
    palette: Mapping[Any, int | str], class_names: Sequence[str] | None = None
) -> tuple[list[str], tuple[NDArray[np.uint32], NDArray[np.uint8]]]:
    """Class names, and the table of colours.

    Args:
        palette: Label or name of the class by colour: ``"#rrggbb"``, ``"r,g,b"`` or three numbers; 255 and ``ignore``
            count for nothing.
        class_names: Name of each label; if not given, names in the order in which the palette has them, or ``class_v``.

    Returns:
        Names; colours as red * 65536 + green * 256 + blue, (P,) uint32, rising, and their labels, (P,) uint8.

    Raises:
        DataError: If the palette is empty, or a colour or class in it is none.
    """
    labels = [value for value in palette.values() if value not in (IGNORE, "ignore")]
    if class_names is None:
        words = list(dict.fromkeys(str(value) for value in labels if isinstance(value, str)))
        numbers = [value for value in labels if not isinstance(value, str)]
        class_names = words or [f"class_{label}" for label in range(max(numbers, default=-1) + 1)]
    names = list(class_names)
    found: dict[int, int] = {}
    for color, value in palette.items():
        label = names.index(value) if value in names else IGNORE if value == "ignore" else value
        if isinstance(label, str) or not (0 <= label < min(len(names), _UNKNOWN) or label == IGNORE):
            raise DataError(f"palette: colour {color} stands for '{value}', which is none of {len(names)} classes.")
        found[_color_code(color)] = label
    if not found:
        raise DataError("palette: it is empty. Write 'colour: class' for each class.")
    colors = np.array(sorted(found), np.uint32)
    return names, (colors, np.array([found[code] for code in colors.tolist()], np.uint8))


def _color_code(color: Any) -> int:
    """24 bits of ``"#rrggbb"``, ``"r,g,b"`` or three numbers."""
    try:
        if isinstance(color, str) and color.startswith("#"):
            if len(color) != 7:
                raise ValueError
            return int(color[1:], 16)
        red, green, blue = (int(part) for part in (color.split(",") if isinstance(color, str) else color))
        if not all(0 <= part <= 255 for part in (red, green, blue)):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise DataError(f"palette: '{color}' is no colour. Write '#rrggbb', or 'r,g,b' of 0 to 255.") from error
    return red << 16 | green << 8 | blue


def _find_layout(root: Path) -> tuple[str, str] | None:
    return next((layout for layout in _LAYOUTS if _layout_splits(root, layout)), None)


def _layout_splits(root: Path, layout: tuple[str, str]) -> list[str]:
    """Splits for which both folders hold images; one empty name for a layout without splits."""
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
    """Images with their maps, by stem, in natural order."""
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


def _infer(
    folder: Path,
    names: Sequence[str],
    ignore: Sequence[int],
    values: Mapping[int, int] | None,
    instance_divisor: int,
) -> tuple[list[str], Mapping[int, int] | None]:
    """Class names, and the table of values, from what the maps hold."""
    if values is not None:
        return [f"class_{label}" for label in range(max(values.values()) + 1)], values
    found: set[int] = set()
    for name in names:
        found.update(np.unique(read_label_map(folder / name)).tolist())
    if found == {0, IGNORE}:
        return ["background", "foreground"], {0: 0, IGNORE: 1}
    if instance_divisor > 1:
        found = {value // instance_divisor if value >= instance_divisor else value for value in found}
    classes = found - {IGNORE, *ignore}
    return [f"class_{label}" for label in range(max(classes, default=0) + 1)], None
