"""MNIST's idx files: ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, plain or gzipped.

``t10k-`` is the test split. A file holds two zero bytes, the type (8: unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit number, then the values (http://yann.lecun.com/exdb/mnist, "the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from saccade.data.readers._common import check_task, resolve_split, split_order, standard_split
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo

__all__ = ["IdxDataset", "matches", "read", "splits"]

_MAX_BYTES = 1 << 30  # a header may promise anything; this bounds what is allocated for it


class IdxDataset(TableDataset):
    """Grey images in one array, with a class each.

    Args:
        info: Name and classes.
        root: Data folder.
        table: One object an image.
        images: (M, H, W) uint8.
        file: Name of the file of labels, for messages.
    """

    def __init__(self, info: DatasetInfo, root: Path, table: Any, images: NDArray[np.uint8], file: str) -> None:
        super().__init__(info, root, table, annotations=file, channels=1)
        self._images = images

    def path(self, index: int) -> str:
        """The idx file, and the number of the image in it."""
        return f"{self.root / self.table.path(index)}[{self.table.image_ids[index]}]"

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Grey pixels, shape (H, W, 1)."""
        return self._images[self.table.image_ids[index], :, :, None].copy()


def matches(root: Path) -> bool:
    """Whether there is a file of images in idx form."""
    return bool(_image_files(root))


def splits(root: Path) -> tuple[str, ...]:
    """Names of the splits whose images are there."""
    return tuple(_image_files(root))


def read(root: Path, split: str, task: str | None = None, class_names: Sequence[str] | None = None) -> IdxDataset:
    """Read one split of idx files; all of it is held in memory as uint8.

    Args:
        root: Data folder.
        split: ``train`` or ``test``.
        task: ``classification``.
        class_names: Names of labels 0..N-1; the digits, or as many numbers as there are labels, if not given.

    Raises:
        DataError: If a file is missing, malformed or shorter than its header states, or the two disagree.

    Example:
        >>> _ = Path("train-images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2, 4, 6) + bytes(48))
        >>> _ = Path("train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + bytes([7, 3]))
        >>> data = read(Path(), "train")
        >>> data.read(0).image.shape, int(data.target(0)["labels"])
        ((4, 6, 1), 7)
    """
    check_task(task, ("classification",), "idx")
    files = _image_files(root)
    image_file = files[resolve_split(split, files, root)]
    label_file = root / image_file.name.replace("images", "labels").replace("idx3", "idx1")
    images = _read_idx(image_file, dimensions=3)
    labels = _read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{label_file}: {len(labels)} labels for {len(images)} images. Fetch both files again.")
    names = class_names or [str(label) for label in range(max(10, int(labels.max(initial=0)) + 1))]
    builder = TableBuilder(names, boxes=False)
    for index, label in enumerate(labels.tolist()):
        builder.add_image(image_file.name, index, images.shape[1:])
        builder.add_object(names[label] if label < len(names) else str(label))
    info = DatasetInfo(root.name, "classification", tuple(names), split)
    return IdxDataset(info, root, builder.build(), images, label_file.name)


def _image_files(root: Path) -> dict[str, Path]:
    """Image file of each split; a plain file is preferred to its gzipped copy."""
    found: dict[str, Path] = {}
    for file in sorted(root.glob("*images?idx3-ubyte*"), key=lambda path: path.suffix == ".gz"):
        prefix = file.name.split("images")[0].rstrip("-_.").split("-")[-1]
        if file.suffix in ("", ".gz", ".idx3-ubyte") and file.is_file():
            split = "test" if prefix == "t10k" else standard_split(prefix)
            found.setdefault(split or "all", file)
    return {name: found[name] for name in sorted(found, key=split_order)}


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    try:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as stream:
            zeros, kind, count = struct.unpack(">HBB", stream.read(4))
            if zeros != 0 or kind != 8 or count != dimensions:
                raise DataError(f"{path}: this is not an idx file of {dimensions} dimensions of bytes. Fetch it again.")
            shape = struct.unpack(f">{count}I", stream.read(4 * count))
            if 0 in shape[1:]:
                raise DataError(f"{path}: the header gives images of {shape[1]}x{shape[2]} pixels. Fetch it again.")
            total = math.prod(shape)
            if total > _MAX_BYTES:
                raise DataError(f"{path}: the header promises {total:,} values, more than are read. Fetch it again.")
            values = np.frombuffer(stream.read(total), np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file does not exist. Put images and labels side by side.") from error
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: the file is truncated or damaged ({error}). Fetch it again.") from error
    if len(values) != total:
        raise DataError(f"{path}: {len(values)} of {total} values are there, the file is truncated. Fetch it again.")
    return values.reshape(shape)
