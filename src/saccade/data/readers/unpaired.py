"""Images of two domains that do not belong together, for image translation: ``trainA``, ``trainB``, ``testA`` ...

The longer domain gives the length, and the shorter one is repeated. In training every image gets one of the other
domain that is drawn anew each epoch, all of them alike; in evaluation A is in order and B in a fixed permutation.
``target["target_image"]`` is the image of the other domain, in its own size, and ``target["paired"]`` is false: it does
not move with the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saccade.data.images.decode import read_image
from saccade.data.readers._common import check_task, has_images, list_images, resolve_split, split_order, subfolders
from saccade.data.readers._label_maps import map_table
from saccade.data.readers.paired import Side, check_side
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["UnpairedDataset", "matches", "read", "splits"]

_SEED = 0


class UnpairedDataset(TableDataset):
    """Images of one domain, each with one of the other domain that does not belong to it.

    Args:
        info: Name of the data set.
        root: Data folder.
        table: Files; ``maps`` are those of the other domain.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: AnnotationTable) -> None:
        super().__init__(info, root, table)
        self._others: list[str] | None = None  # files of the other domain, each once

    def annotation_path(self, index: int) -> str:
        """File of the image of the other domain."""
        return str(self.root / self.table.map_path(index))

    def target(self, index: int) -> Target:
        """``target_image`` (H, W, 3) uint8 in its own size, and ``paired`` () bool.

        Raises:
            DataError: If the image is broken.
        """
        return _other(self.annotation_path(index))

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Image ``index`` with an image of the other domain, each of which is as likely.

        Raises:
            DataError: If an image is broken.
        """
        if self._others is None:
            self._others = sorted({self.table.map_path(row) for row in range(len(self))})
        image = self.pixels(index)
        target = _other(str(self.root / self._others[int(rng.integers(len(self._others)))]))
        geometry = Geometry.identity((image.shape[0], image.shape[1]))
        return Sample(image, target, ImageInfo(int(self.image_ids[index]), self.path(index), geometry))

    def with_table(
        self,
        table: AnnotationTable,
        repairs: dict[str, int] | None = None,
        left_out: Sequence[tuple[str, str]] = (),
    ) -> TableDataset:
        """The same data set over another table, whose images of the other domain are the ones to draw from."""
        clone = super().with_table(table, repairs, left_out)
        assert isinstance(clone, UnpairedDataset)
        clone._others = None
        return clone


def _other(path: str) -> Target:
    return {"target_image": read_image(path), "paired": np.array(False)}


def matches(root: Path) -> bool:
    """Whether there are two folders of images such as ``trainA`` and ``trainB``."""
    return bool(_splits(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits that have both domains.

    Example:
        >>> for name in ("trainA", "trainB", "testA"):
        ...     Path(name).mkdir()
        ...     Path(name, "1.png").touch()
        >>> splits(Path())
        ('train',)
    """
    return tuple(_splits(root))


def read(root: Path, split: str, task: str | None = None, side: Side = "left") -> UnpairedDataset:
    """Read one split of two domains of images.

    Args:
        root: Data folder.
        split: ``train`` or ``test``.
        task: ``translation``.
        side: The input: ``left`` for domain A, ``right`` for B.

    Raises:
        DataError: If there is no such split, or ``side`` is neither.

    Example:
        >>> import cv2
        >>> for folder, size in (("trainA", (4, 5)), ("trainB", (6, 7))):
        ...     Path(folder).mkdir()
        ...     _ = cv2.imwrite(f"{folder}/1.png", np.zeros(size, np.uint8))
        >>> sample = read(Path(), "train").read(0)
        >>> sample.image.shape, sample.target["target_image"].shape
        ((4, 5, 3), (6, 7, 3))
    """
    check_task(task, ("translation",), "unpaired")
    check_side(side)
    names = _splits(root)
    if not names:
        raise DataError(f"{root}: there are no folders of images 'trainA' and 'trainB'. Put one domain in each.")
    own = resolve_split(split, names, root)
    domains = [[f"{own}{letter}/{name}" for name in list_images(root / f"{own}{letter}")] for letter in "AB"]
    order = np.random.default_rng(_SEED).permutation(len(domains[1]))
    domains[1] = [domains[1][index] for index in order.tolist()]
    inputs, others = domains if side == "left" else domains[::-1]
    count = max(len(inputs), len(others))
    table = map_table([(inputs[index % len(inputs)], others[index % len(others)]) for index in range(count)])
    return UnpairedDataset(DatasetInfo(root.name, "translation", (), split), root, table)


def _splits(root: Path) -> list[str]:
    names = [name[:-1] for name in subfolders(root) if name.endswith("A") and len(name) > 1]
    found = [name for name in names if all(has_images(root / f"{name}{letter}", recursive=False) for letter in "AB")]
    return sorted(found, key=split_order)
