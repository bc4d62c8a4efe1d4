"""Images in a folder or in a zip, listed and read in the same way; a zip is read in place, never unpacked.

:func:`open_tree` gives a :class:`FolderTree` or a :class:`ZipTree`. A reader that uses nothing else can read both. No
file is kept open: each image opens the zip, so that loader workers may be forked, spawned or threads. The directory of
a zip is not trusted: names may not leave it, and nothing is unpacked beyond its declared size, which is limited.
"""

from __future__ import annotations

import functools
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES, read_image
from saccade.data.readers._common import (
    check_name,
    has_images,
    is_split_name,
    list_images,
    subfolders,
)
from saccade.data.tables.annotations import AnnotationTable
from saccade.data.tables.table_dataset import TableDataset
from saccade.errors import DataError
from saccade.structures.dataset import DatasetInfo
from saccade.structures.reading import is_archive, is_hidden, natural_key, read_bytes

__all__ = [
    "MAX_MEMBER_BYTES",
    "FolderTree",
    "Tree",
    "ZipDataset",
    "ZipTree",
    "make_dataset",
    "open_tree",
]

MAX_MEMBER_BYTES = 1 << 30  # of one image or list, unpacked
_STORED, _DEFLATED = 0, 8
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra field


class Tree(Protocol):
    """Interface to the files below a root; names are relative and have slashes."""

    root: Path

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are skipped."""
        ...

    def images(self, below: str = "") -> list[str]:
        """Images in a folder and all below it, relative to it, in natural order."""
        ...

    def has_images(self, below: str = "") -> bool:
        """Whether there is an image in a folder or below it."""
        ...

    def files(self, below: str = "") -> list[str]:
        """Names of the files directly in a folder, sorted; hidden ones are skipped."""
        ...

    def texts(self) -> list[str]:
        """Names of the ``.txt`` files in the root itself, sorted."""
        ...

    def contains(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            DataError: If it is missing or damaged.
        """
        ...


def open_tree(root: Path) -> Tree:
    """Files of a folder or of a zip.

    Raises:
        DataError: If the zip is damaged or cannot be read.

    Example:
        >>> with zipfile.ZipFile("set.zip", "w") as archive:
        ...     archive.writestr("train/cat/a.jpg", b"...")
        >>> tree = open_tree(Path("set.zip"))
        >>> tree.folders("train"), tree.images("train")
        (['cat'], ['cat/a.jpg'])
    """
    if not is_archive(root):
        return FolderTree(root)
    state = root.stat()
    return _open_zip(root, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _open_zip(path: Path, modified: int, size: int) -> ZipTree:
    """A zip, cached: opening a data set lists its files several times, which takes seconds for a large zip."""
    return ZipTree(path)


class FolderTree:
    """Files in a folder.

    Args:
        root: The folder.

    Example:
        >>> Path("cat").mkdir()
        >>> Path("cat/a.jpg").touch()
        >>> FolderTree(Path()).images()
        ['cat/a.jpg']
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are skipped."""
        return subfolders(self.root / below) if (self.root / below).is_dir() else []

    def images(self, below: str = "") -> list[str]:
        """Images in a folder and all below it, relative to it, in natural order."""
        return list_images(self.root / below, recursive=True)

    def has_images(self, below: str = "") -> bool:
        """Whether there is an image in a folder or below it; stops at the first."""
        return has_images(self.root / below)

    def files(self, below: str = "") -> list[str]:
        """Names of the files directly in a folder, sorted; hidden ones are skipped."""
        folder = self.root / below
        entries = folder.iterdir() if folder.is_dir() else ()
        return sorted(entry.name for entry in entries if not is_hidden(entry.name) and entry.is_file())

    def texts(self) -> list[str]:
        """Names of the ``.txt`` files in the root itself, sorted."""
        return [name for name in self.files() if name.endswith(".txt")]

    def contains(self, name: str) -> bool:
        """Whether there is a file of that name."""
        try:
            return (self.root / name).is_file()
        except OSError:  # a name longer than the file system allows
            return False

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            DataError: If it cannot be read.
        """
        return read_bytes(self.root / name, MAX_MEMBER_BYTES)


class ZipTree:
    """Files in a zip, stored or deflated.

    The positions of the files are kept in a few arrays, sorted by name. A single folder that holds everything else, as
    many tools write it, is skipped, unless it is named like a split.

    Args:
        path: The zip.
        keep_top: Do not skip that folder.

    Raises:
        DataError: If it is damaged, or a name leaves it.

    Example:
        >>> with zipfile.ZipFile("set.zip", "w") as archive:
        ...     archive.writestr("set/train/cat/a.jpg", b"...")
        >>> tree = ZipTree(Path("set.zip"))
        >>> tree.images(), tree.read("train/cat/a.jpg")
        (['train/cat/a.jpg'], b'...')
    """

    def __init__(self, path: Path, keep_top: bool = False) -> None:
        self.root = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = sorted(
                    {member.filename: member for member in archive.infolist() if _is_visible(member)}.values(),
                    key=lambda member: member.filename.encode(),
                )
        except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
            raise DataError(f"{path}: the zip cannot be read ({error}). Copy or download it again.") from error
        for member in members:
            check_name(member.filename, path, "a name in it")
        names = [member.filename for member in members]
        self._top = "" if keep_top else _lone_folder(names)
        self._names = np.array([name.encode() for name in names], np.bytes_)
        # Offset of the local header, packed size, unpacked size, checksum, method, flags.
        self._members: NDArray[np.int64] = np.array(
            [(m.header_offset, m.compress_size, m.file_size, m.CRC, m.compress_type, m.flag_bits & 1) for m in members],
            np.int64,
        ).reshape(-1, 6)

    def folders(self, below: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted; also of empty ones that the zip lists."""
        rest = (name.split("/", 1) for name in self._below(below))
        return sorted({parts[0] for parts in rest if len(parts) == 2 and parts[0]})

    def images(self, below: str = "") -> list[str]:
        """Images in a folder and all below it, relative to it, in natural order."""
        return sorted((name for name in self._below(below) if _is_image(name)), key=natural_key)

    def has_images(self, below: str = "") -> bool:
        """Whether there is an image in a folder or below it."""
        return any(_is_image(name) for name in self._below(below))

    def files(self, below: str = "") -> list[str]:
        """Names of the files directly in a folder, sorted."""
        return sorted(name for name in self._below(below) if name and "/" not in name)

    def texts(self) -> list[str]:
        """Names of the ``.txt`` files in the root itself, sorted."""
        return sorted(name for name in self._below("") if "/" not in name and name.endswith(".txt"))

    def contains(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._find(name) is not None

    def read(self, name: str) -> bytes:
        """Bytes of a file; never more than it declares.

        Raises:
            DataError: If it is missing, damaged, too large, encrypted or packed by a method that is not read.
        """
        row = self._find(name)
        full = f"{self.root}/{name}"
        if row is None:
            raise DataError(f"{full}: the zip holds no such file. Restore it, or remove it from the list.")
        offset, packed_size, size, checksum, method, encrypted = self._members[row].tolist()
        if encrypted or method not in (_STORED, _DEFLATED):
            how = "is encrypted" if encrypted else f"is packed by method {method}"
            raise DataError(f"{full}: it {how}, which is not supported. Unpack the zip, and open the folder.")
        if max(size, packed_size) > MAX_MEMBER_BYTES:
            raise DataError(f"{full}: {size:,} bytes exceed the limit of {MAX_MEMBER_BYTES:,}. Remove it from the zip.")
        try:
            with self.root.open("rb") as file:
                file.seek(offset)
                signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                file.seek(name_length + extra_length, 1)
                packed = file.read(packed_size)
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1) if method else packed
        except (OSError, struct.error, zlib.error) as error:
            raise DataError(f"{full}: it cannot be read ({error}). Copy or download the zip again.") from error
        if signature != b"PK\3\4" or len(content) != size or zlib.crc32(content) != checksum:
            raise DataError(f"{full}: the zip is damaged here. Copy or download it again.")
        return content

    def _find(self, name: str) -> int | None:
        wanted = (self._top + name).encode()
        row = int(np.searchsorted(self._names, np.bytes_(wanted))) if len(self._names) else 0
        return row if row < len(self._names) and bytes(self._names[row]) == wanted else None

    def _below(self, folder: str) -> Iterable[str]:
        """Names below a folder, relative to it; they are consecutive in the sorted list."""
        prefix = (self._top + (folder.rstrip("/") + "/" if folder else "")).encode()
        # No UTF-8 text holds the byte 255.
        first, end = (int(np.searchsorted(self._names, np.bytes_(edge))) for edge in (prefix, prefix + b"\xff"))
        return (bytes(name).decode()[len(prefix.decode()) :] for name in self._names[first:end])


class ZipDataset(TableDataset):
    """Images in a zip and one table of annotations.

    Args:
        info: Name, task and classes.
        tree: The zip.
        table: Annotations; paths are names in the zip.
        channels: Channels of the images.
        allow_16bit: Give the pixels of 16-bit files as they are.
    """

    def __init__(
        self, info: DatasetInfo, tree: ZipTree, table: AnnotationTable, channels: int = 3, allow_16bit: bool = False
    ) -> None:
        super().__init__(info, tree.root, table, channels=channels, allow_16bit=allow_16bit)
        self.tree = tree

    def content(self, index: int) -> bytes:
        """Bytes of the encoded image."""
        return self.tree.read(self.table.path(index))

    def pixels(self, index: int) -> NDArray[Any]:
        """Decoded image, shape (H, W, C)."""
        return read_image(self.content(index), self.channels, self.allow_16bit, name=self.path(index))


def make_dataset(
    info: DatasetInfo, tree: Tree, table: AnnotationTable, channels: int = 3, allow_16bit: bool = False
) -> TableDataset:
    """Data set of a table whose paths are names in a tree.

    Args:
        info: Name, task and classes.
        tree: Folder or zip of the images.
        table: Annotations.
        channels: Channels of the images.
        allow_16bit: Give the pixels of 16-bit files as they are.
    """
    if isinstance(tree, ZipTree):
        return ZipDataset(info, tree, table, channels, allow_16bit)
    return TableDataset(info, tree.root, table, channels=channels, allow_16bit=allow_16bit)


def _is_visible(member: zipfile.ZipInfo) -> bool:
    """Whether it is neither hidden nor left there by a system."""
    parts = PurePosixPath(member.filename).parts
    return bool(parts) and not any(is_hidden(part) and part != ".." for part in parts)


def _is_image(name: str) -> bool:
    return not name.endswith("/") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _lone_folder(names: list[str]) -> str:
    """Single folder, with its slash, that holds everything else in folders of its own; empty if there is none."""
    tops = {name.split("/", 1)[0] for name in names}
    if len(tops) != 1 or any("/" not in name for name in names):
        return ""
    (top,) = tops
    deeper = any(name.count("/") > 1 for name in names)
    return f"{top}/" if deeper and not is_split_name(top) else ""
