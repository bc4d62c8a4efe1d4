"""Images and instance maps (pixel value = number of the object, 0 = background), as Penn-Fudan has them.

``PNGImages/`` + ``PedMasks/<name>_mask.png``, or other folders by option. Boxes are the extent of each object's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import read_label_map
from saccade.data.readers._common import UNSPLIT, check_task, choose, list_images
from saccade.data.readers.masks import LabelMapDataset
from saccade.data.tables.annotations import AnnotationTable, TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["InstanceMaskDataset", "matches", "read", "read_objects", "splits"]

_IMAGE_DIR, _LABEL_DIR, _SUFFIX = "PNGImages", "PedMasks", "_mask"


class InstanceMaskDataset(TableDataset):
    """Boxes out of instance maps; ``extras["instance"]`` is each object's pixel value.

    Args:
        info: Name and classes.
        root: Data folder.
        table: Objects and the files of the maps.
        masks: Give one mask an object, ``target["masks"]``.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: AnnotationTable, masks: bool = False) -> None:
        super().__init__(info, root, table, masks=masks)

    def annotation_path(self, index: int) -> str:
        """File of the instance map."""
        return str(self.root / self.table.map_path(index))

    def object_masks(self, index: int) -> NDArray[np.uint8]:
        """One mask an object."""
        numbers = self.table.extras["instance"][self.table.objects(index)]
        return (read_label_map(self.annotation_path(index)) == numbers[:, None, None]).astype(np.uint8)


def matches(root: Path) -> bool:
    """Whether Penn-Fudan's folders are there."""
    return (root / _IMAGE_DIR).is_dir() and (root / _LABEL_DIR).is_dir()


def splits(root: Path) -> tuple[str, ...]:
    """The source has no split: ``all``, ``train``, ``val``."""
    return UNSPLIT


def read(
    root: Path,
    split: str,
    task: str | None = None,
    class_name: str = "pedestrian",
    masks: bool = False,
    image_dir: str = _IMAGE_DIR,
    label_dir: str = _LABEL_DIR,
    label_suffix: str = _SUFFIX,
    ranges: Mapping[str, str] | None = None,
) -> TableDataset:
    """Read one split; all maps of it are decoded once to find the boxes.

    Args:
        root: Data folder.
        split: Name of the part.
        task: ``detection``, or ``segmentation``: every object is class 1, ``background`` is class 0.
        class_name: What the objects are.
        masks: Give each object's mask as well.
        image_dir: Folder of the images below ``root``.
        label_dir: Folder of the instance maps.
        label_suffix: What a map's name has behind the image's.
        ranges: Splits as index ranges in natural order of the names.

    Raises:
        DataError: If an image's map is missing or broken.
    """
    task = check_task(task, ("detection", "segmentation"), "instance_masks")
    names = list_images(root / image_dir)
    maps = {Path(name).stem: name for name in list_images(root / label_dir)}
    builder = TableBuilder([class_name])
    for index in choose(len(names), split, ranges, root):
        stem = Path(names[index]).stem + label_suffix
        if stem not in maps:
            raise DataError(
                f"{root / label_dir}: there is no map '{stem}' for {names[index]}. Add it, or remove the image."
            )
        values = read_label_map(root / label_dir / maps[stem])
        builder.add_image(f"{image_dir}/{names[index]}", index, values.shape[:2], map_path=f"{label_dir}/{maps[stem]}")
        for number in np.unique(values[values > 0]).tolist():
            box, area = _extent(values == number)
            builder.add_object(class_name, box, area=area, instance=number)
    table = builder.build()
    if task == "segmentation":
        lookup = np.ones(1 << 16, np.uint8)
        lookup[0] = 0
        return LabelMapDataset(DatasetInfo(root.name, task, ("background", class_name), split), root, table, lookup)
    return InstanceMaskDataset(DatasetInfo(root.name, task, (class_name,), split), root, table, masks)


def read_objects(
    info: DatasetInfo,
    root: Path,
    files: Sequence[tuple[str, str]],
    lookup: NDArray[np.uint8],
    first_value: int,
    masks: bool,
) -> InstanceMaskDataset:
    """Objects out of maps whose values hold a class and the number of an object; all maps are decoded once.

    Args:
        info: Name and classes.
        root: Data folder.
        files: Image and map below ``root``.
        lookup: Class of each value, shape (65536,), uint8; none above the classes there are is an object.
        first_value: The smallest value that is an object.
        masks: Give each object's mask as well.
    """
    builder = TableBuilder(info.class_names)
    for image, label in files:
        values = read_label_map(root / label)
        builder.add_image(image, size=values.shape[:2], map_path=label)
        for number in np.unique(values[values >= first_value]).tolist():
            if lookup[number] < len(info.class_names):
                box, area = _extent(values == number)
                builder.add_object(info.class_names[lookup[number]], box, area=area, instance=number)
    return InstanceMaskDataset(info, root, builder.build(), masks)


def _extent(mask: NDArray[np.bool_]) -> tuple[tuple[float, float, float, float], float]:
    """Tight box in continuous coordinates, and number of pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)), float(mask.sum())
