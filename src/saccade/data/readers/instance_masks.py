"""Images and instance maps (pixel value = number of the object, 0 = background), as Penn-Fudan has them.

``PNGImages/`` + ``PedMasks/<name>_mask.png``, or other folders by option. Boxes are the extent of each object's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.images.decode import read_label_map
from saccade.data.readers._common import UNSPLIT, check_task, choose, list_images, options_from
from saccade.data.readers._label_maps import InstanceMaskDataset, LabelMapDataset, instances_of
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["OPTIONS", "SPLITS_BY_OPTIONS", "InstanceMaskOptions", "matches", "read", "splits"]


@dataclass(frozen=True)
class InstanceMaskOptions:
    """Options of :func:`read`, by the names under which it takes them.

    Args:
        class_name: Class of all objects.
        masks: Give each object's mask as well.
        image_dir: Folder of the images below the data folder.
        label_dir: Folder of the instance maps.
        label_suffix: Part of an instance map's name behind the image's.
        ranges: Splits as index ranges in natural order of the names.
    """

    class_name: str = "pedestrian"
    masks: bool = False
    image_dir: str = "PNGImages"
    label_dir: str = "PedMasks"
    label_suffix: str = "_mask"
    ranges: Mapping[str, str] | None = None


OPTIONS = InstanceMaskOptions
SPLITS_BY_OPTIONS = True


def matches(root: Path) -> bool:
    """Whether Penn-Fudan's folders are there."""
    return (root / OPTIONS.image_dir).is_dir() and (root / OPTIONS.label_dir).is_dir()


def splits(root: Path, **options: Any) -> tuple[str, ...]:
    """``all``, as the format has no splits, and those of ``ranges``.

    Example:
        >>> splits(Path(), ranges={"train": "0-9", "val": "10-12"})
        ('all', 'train', 'val')
    """
    ranges = options_from(InstanceMaskOptions, options, "instance_masks").ranges or ()
    return tuple(dict.fromkeys((*UNSPLIT, *ranges)))


def read(root: Path, split: str, task: str | None = None, **options: Any) -> TableDataset:
    """Read one split of images and instance maps; all are decoded once to find the boxes.

    Args:
        root: Data folder.
        split: Name of the split.
        task: ``detection``, or ``segmentation``: every object is class 1, ``background`` is class 0.
        **options: Fields of :class:`InstanceMaskOptions`.

    Raises:
        DataError: If an image's instance map is missing or broken, or an option is unknown.

    Example:
        >>> import cv2
        >>> for file, pixels in (("PNGImages/a.png", np.zeros((2, 3, 3))), ("PedMasks/a_mask.png", np.eye(2, 3))):
        ...     Path(file).parent.mkdir()
        ...     _ = cv2.imwrite(file, pixels.astype(np.uint8))
        >>> data = read(Path(), "all")
        >>> data.info.class_names, data.target(0)["boxes"]
        (('pedestrian',), array([[0., 0., 2., 2.]]))
    """
    wanted = options_from(InstanceMaskOptions, options, "instance_masks")
    task = check_task(task, ("detection", "segmentation"), "instance_masks")
    images, labels = wanted.image_dir, wanted.label_dir
    names = list_images(root / images)
    maps = {Path(name).stem: name for name in list_images(root / labels)}
    builder = TableBuilder([wanted.class_name])
    for index in choose(len(names), split, wanted.ranges, root):
        stem = Path(names[index]).stem + wanted.label_suffix
        if stem not in maps:
            raise DataError(
                f"{root / labels}: there is no map '{stem}' for {names[index]}. Add it, or remove the image."
            )
        values = read_label_map(root / labels / maps[stem])
        builder.add_image(f"{images}/{names[index]}", index, values.shape[:2], map_path=f"{labels}/{maps[stem]}")
        for number, box, area in instances_of(values):
            builder.add_object(wanted.class_name, box, area=area, instance=number)
    table = builder.build()
    if task == "segmentation":
        lookup = np.ones(1 << 16, np.uint8)
        lookup[0] = 0
        info = DatasetInfo(root.name, task, ("background", wanted.class_name), split)
        return LabelMapDataset(info, root, table, lookup)
    return InstanceMaskDataset(DatasetInfo(root.name, task, (wanted.class_name,), split), root, table, wanted.masks)
