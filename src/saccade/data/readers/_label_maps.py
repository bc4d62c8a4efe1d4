"""Label maps and instance maps: the data sets that read them, and tables from stored values or colours to classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_image, read_label_map
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.ops.mask_boxes import box_of_mask
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import IGNORE_LABEL, Sample, Target

__all__ = [
    "ColorMapDataset",
    "InstanceMaskDataset",
    "LabelMapDataset",
    "instance_masks",
    "instances_of",
    "label_lookup",
    "map_table",
    "palette_table",
    "read_objects",
]

_UNKNOWN = 254  # marks values that are not a class; labels therefore end at 253
_NUM_VALUES = 1 << 16  # of a pixel of 16 bits


class LabelMapDataset(TableDataset):
    """Images with one label map each.

    Args:
        info: Name and classes; label v is ``class_names[v]``.
        root: Data folder.
        table: Images and the files of their label maps.
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
        """``label_map`` (H, W) uint8 in the size of the file, 255 where pixels are ignored.

        Raises:
            DataError: If the label map is broken or holds values that are not a class.
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
        size = sample.target["label_map"].shape
        if size != sample.size:
            raise DataError(
                f"{self.annotation_path(index)}: the map is {size[1]}x{size[0]}, its image "
                f"{sample.size[1]}x{sample.size[0]}. Save both in the same size (labels by nearest pixel)."
            )
        return sample


class ColorMapDataset(LabelMapDataset):
    """Images with one label map each whose colours stand for classes.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Images and the files of their label maps.
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
        """``label_map`` (H, W) uint8, 255 where pixels are ignored.

        Raises:
            DataError: If the label map is broken or holds colours that stand for no class.
        """
        path = self.annotation_path(index)
        rgb = read_image(path).astype(np.uint32)
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        nearest = np.minimum(np.searchsorted(self._colors, codes), len(self._colors) - 1)
        strange = self._colors[nearest] != codes
        if strange.any():
            found, counts = np.unique(codes[strange], return_counts=True)
            order = np.argsort(-counts, kind="stable")[:5]
            listed = ", ".join(f"#{found[one]:06x} ({counts[one]} pixels)" for one in order.tolist())
            more = f" and {len(found) - 5} others" if len(found) > 5 else ""
            raise DataError(
                f"{path}: the palette has no colour {listed}{more}. Add it to 'palette' (255 to ignore it); if a JPEG "
                "blurred the colours, save the map as PNG."
            )
        return {"label_map": self._lookup[nearest]}


class InstanceMaskDataset(TableDataset):
    """Images with one instance map each; ``extras["instance"]`` is each object's pixel value.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Objects and the files of the instance maps.
        masks: Give one mask an object, ``target["masks"]``.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: AnnotationTable, masks: bool = False) -> None:
        super().__init__(info, root, table, masks=masks)

    def annotation_path(self, index: int) -> str:
        """File of the instance map."""
        return str(self.root / self.table.map_path(index))

    def object_masks(self, index: int) -> NDArray[np.uint8]:
        """One mask an object, (N, H, W) of 0 and 1."""
        return instance_masks(read_label_map(self.annotation_path(index)), self.table, index)


def instance_masks(values: NDArray[Any], table: AnnotationTable, index: int) -> NDArray[np.uint8]:
    """Masks of the objects of image ``index``, whose pixel values are in ``extras["instance"]``.

    Args:
        values: Instance map, (H, W).
        table: Objects.
        index: Of the image.

    Returns:
        (N, H, W) of 0 and 1.
    """
    numbers = table.extras["instance"][table.objects(index)]
    return (values == numbers[:, None, None]).astype(np.uint8)


def instances_of(
    values: NDArray[Any], first_value: int = 1
) -> Iterator[tuple[int, tuple[float, float, float, float], float]]:
    """Value, tight box and area of each object of an instance map.

    Args:
        values: Instance map, (H, W).
        first_value: The smallest value that is an object.

    Example:
        >>> list(instances_of(np.array([[0, 0, 2], [0, 7, 2]])))
        [(2, (2.0, 0.0, 3.0, 2.0), 2.0), (7, (1.0, 1.0, 2.0, 2.0), 1.0)]
    """
    for number in np.unique(values[values >= first_value]).tolist():
        mask = values == number
        yield number, box_of_mask(mask), float(np.count_nonzero(mask))


def map_table(files: Sequence[tuple[str, str]]) -> AnnotationTable:
    """Table of images and the files that belong to them, without objects.

    Args:
        files: Image, and its label map or partner, below the data folder.

    Example:
        >>> map_table([("images/a.jpg", "masks/a.png")]).map_path(0)
        'masks/a.png'
    """
    builder = TableBuilder((), boxes=False)
    for image, label in files:
        builder.add_image(image, map_path=label)
    return builder.build()


def read_objects(
    info: DatasetInfo,
    root: Path,
    files: Sequence[tuple[str, str]],
    lookup: NDArray[np.uint8],
    first_value: int,
    masks: bool,
) -> InstanceMaskDataset:
    """Objects from instance maps whose values hold a class and the number of an object; all are decoded once.

    Args:
        info: Name and classes.
        root: Data folder.
        files: Image and instance map below ``root``.
        lookup: Class of each value, shape (65536,), uint8; values whose class does not exist are skipped.
        first_value: The smallest value that is an object.
        masks: Give each object's mask as well.
    """
    builder = TableBuilder(info.class_names)
    for image, label in files:
        values = read_label_map(root / label)
        builder.add_image(image, size=values.shape[:2], map_path=label)
        for number, box, area in instances_of(values, first_value):
            if lookup[number] < len(info.class_names):
                builder.add_object(info.class_names[lookup[number]], box, area=area, instance=number)
    return InstanceMaskDataset(info, root, builder.build(), masks)


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

    Example:
        >>> label_lookup(2, values={0: 0, 7: 1}, ignore=[9])[[0, 7, 9]]
        array([  0,   1, 255], dtype=uint8)
    """
    if num_classes > _UNKNOWN:
        raise DataError(
            f"{num_classes} classes are more than the {_UNKNOWN} that a label map holds. Join some of them."
        )
    lookup = np.full(_NUM_VALUES, _UNKNOWN, np.uint8)
    lookup[IGNORE_LABEL] = IGNORE_LABEL
    for value, label in (values or {label: label for label in range(num_classes)}).items():
        if not (0 <= label < num_classes or label == IGNORE_LABEL) or not 0 <= value < len(lookup):
            raise DataError(
                f"values: {value} becomes label {label}, but labels are 0-{num_classes - 1}. Correct the table."
            )
        lookup[value] = label
    for value in ignore:
        if not 0 <= value < len(lookup):
            raise DataError(f"ignore: {value} is not a pixel value. Write whole numbers from 0 to {len(lookup) - 1}.")
        lookup[value] = IGNORE_LABEL
    if instance_divisor > 1:
        lookup[instance_divisor:] = lookup[np.arange(instance_divisor, len(lookup)) // instance_divisor]
    return lookup


def palette_table(
    palette: Mapping[Any, int | str], class_names: Sequence[str] | None = None
) -> tuple[list[str], tuple[NDArray[np.uint32], NDArray[np.uint8]]]:
    """Class names, and the table from colours to labels.

    Args:
        palette: Label or name of the class by colour: ``"#rrggbb"``, ``"r,g,b"`` or three numbers; colours of 255 and
            ``ignore`` are ignored.
        class_names: Name of each label; if not given, names in the order in which the palette has them, or ``class_v``.

    Returns:
        Names; colours as red * 65536 + green * 256 + blue, (P,) uint32, rising, and their labels, (P,) uint8.

    Raises:
        DataError: If the palette is empty, or a colour or class in it is none.

    Example:
        >>> names, (colors, labels) = palette_table({"#804080": "road", "#000000": 255})
        >>> names, [f"#{code:06x}" for code in colors.tolist()], labels.tolist()
        (['road'], ['#000000', '#804080'], [255, 0])
    """
    labels = [value for value in palette.values() if value not in (IGNORE_LABEL, "ignore")]
    if class_names is None:
        words = list(dict.fromkeys(str(value) for value in labels if isinstance(value, str)))
        numbers = [value for value in labels if not isinstance(value, str)]
        class_names = words or [f"class_{label}" for label in range(max(numbers, default=-1) + 1)]
    names = list(class_names)
    found: dict[int, int] = {}
    for color, value in palette.items():
        label = names.index(value) if value in names else IGNORE_LABEL if value == "ignore" else value
        if isinstance(label, str) or not (0 <= label < min(len(names), _UNKNOWN) or label == IGNORE_LABEL):
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
        raise DataError(f"palette: '{color}' is not a colour. Write '#rrggbb', or 'r,g,b' of 0 to 255.") from error
    return red << 16 | green << 8 | blue
