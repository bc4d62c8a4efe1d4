"""Proposals kept on disk: files of boxes with the digest of the image that each row range belongs to.

A file is written whole and never changed: parts while a search runs, one file at its end. So a search that is killed
goes on behind its last part, and several searches may share a folder. What counts is the digest of an image and the
settings in the file's metadata; files of other settings or damaged ones are named in the log and not used.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from saccade.errors import SaccadeError
from saccade.structures.files import atomic_write

__all__ = ["BoxFile", "ProposalCache", "digest_of"]

logger = logging.getLogger("saccade")

_PART_IMAGES, _PART_SECONDS = 64, 10.0  # after so many images, or so long, a part is written
_DIGEST = 16  # bytes
_KIND = "proposals of saccade, 1"
_WHOLE = np.iinfo(np.uint16).max
_LEFT_OVER_SECONDS = 3600.0  # age of temporary files that nobody writes any more


class BoxFile:
    """Boxes of many images, mapped from a file, or in memory.

    Args:
        boxes: (N, 4), or the file that holds them; a process opens it when it reads the first rows.

    Example:
        >>> BoxFile(np.array([[0, 0, 8, 8], [2, 2, 4, 4]], np.uint16)).rows(1, 1)
        array([[2., 2., 4., 4.]], dtype=float32)
    """

    def __init__(self, boxes: NDArray[Any] | Path) -> None:
        self._boxes = boxes
        self._open: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_boxes": self._boxes, "_open": None}

    def rows(self, start: int, count: int) -> NDArray[np.float32]:
        """Rows from ``start`` on, (count, 4) float32; the caller's own."""
        if isinstance(self._boxes, Path):
            if self._open is None:
                self._open = safe_open(self._boxes, framework="numpy").get_slice("boxes")
            return np.array(self._open[start : start + count], np.float32).reshape(-1, 4)
        return self._boxes[start : start + count].astype(np.float32)


class ProposalCache:
    """Boxes by digest of their image, for one setting of a method.

    Args:
        folder: Where files are; None keeps everything in memory.
        method: Name of the method, for the names of files.
        settings: All that the boxes depend on besides the image.
    """

    def __init__(self, folder: Path | None, method: str, settings: str) -> None:
        self.folder, self.settings = folder, settings
        key = hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()
        self._stem = f"{method}-{key}"
        self._files: list[BoxFile] = []
        self._rows: dict[bytes, tuple[int, int, int]] = {}  # digest -> file, first row, rows
        self._parts: list[Path] = []
        self._digests: list[bytes] = []
        self._boxes: list[NDArray[np.float32]] = []
        self._written = time.monotonic()
        self.others: list[Path] = []  # files of other settings
        self._scan()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def find(self, digest: bytes) -> tuple[BoxFile, int, int]:
        """File, first row and number of rows of an image."""
        file, start, count = self._rows[digest]
        return self._files[file], start, count

    def add(self, digest: bytes, boxes_xyxy: NDArray[np.float32]) -> None:
        """Keep the boxes of an image; now and then a part is written."""
        self._digests.append(digest)
        self._boxes.append(boxes_xyxy)
        late = time.monotonic() - self._written >= _PART_SECONDS
        if self.folder is not None and (late or len(self._digests) >= _PART_IMAGES):
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last part; where that is not possible, keep it in memory."""
        digests, boxes = self._digests, self._boxes
        self._digests, self._boxes, self._written = [], [], time.monotonic()
        if not digests:
            return
        rows, offsets = _joined(boxes)
        if self.folder is not None:
            path = self.folder / f"{self._stem}-{secrets.token_hex(4)}.part.safetensors"
            try:
                self._write(path, digests, boxes)
            except SaccadeError as error:
                logger.warning("proposals are kept in memory alone: %s", error)
                self.folder = None
            else:
                self._parts.append(path)
                self._take(BoxFile(path), digests, offsets)
                return
        self._take(BoxFile(rows), digests, offsets)

    def finish(self) -> None:
        """Write the rest, and join all parts, those of killed searches too, to one file."""
        self.flush()
        if self.folder is None or not self._parts:
            return
        digests: list[bytes] = []
        boxes: list[NDArray[np.float32]] = []
        joined: list[Path] = []
        for path in self._parts:
            with suppress(OSError, SafetensorError):  # another search joined it meanwhile
                digests_of, offsets = self._read(path)
                all_boxes = BoxFile(path).rows(0, int(offsets[-1]))
                digests += digests_of
                boxes += np.split(all_boxes, offsets[1:-1])
                joined.append(path)
        if digests:
            try:
                self._write(self.folder / f"{self._stem}-{secrets.token_hex(4)}.safetensors", digests, boxes)
            except SaccadeError as error:  # the parts are there
                logger.warning("parts of proposals are not joined: %s", error)
                return
            for path in joined:
                path.unlink(missing_ok=True)
        for left in self.folder.glob(f".{self._stem}*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_OVER_SECONDS:
                    left.unlink()
        self._scan()

    def _write(self, path: Path, digests: Sequence[bytes], boxes: Sequence[NDArray[np.float32]]) -> None:
        rows, offsets = _joined(boxes)
        if (rows == np.rint(rows)).all() and (rows <= _WHOLE).all():
            rows = rows.astype(np.uint16)
        tensors: dict[str, NDArray[Any]] = {
            "digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST),
            "offsets": offsets,
            "boxes": rows,
        }
        metadata = {"kind": _KIND, "settings": self.settings}
        atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata))

    def _scan(self) -> None:
        """Take all files of these settings."""
        self._files, self._rows, self._parts, self.others = [], {}, [], []
        if self.folder is None or not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                if _metadata(path).get("settings") != self.settings:
                    self.others.append(path)
                    continue
                digests, offsets = self._read(path)
            except FileNotFoundError:
                continue
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                logger.warning("%s: the file is no cache of proposals, or damaged (%s); it is not used.", path, error)
                continue
            self._take(BoxFile(path), digests, offsets)
            if path.name.endswith(".part.safetensors"):
                self._parts.append(path)

    def _take(self, file: BoxFile, digests: Sequence[bytes], offsets: NDArray[np.int64]) -> None:
        self._files.append(file)
        for number, digest in enumerate(digests):
            start = int(offsets[number])
            self._rows[digest] = (len(self._files) - 1, start, int(offsets[number + 1]) - start)

    @staticmethod
    def _read(path: Path) -> tuple[list[bytes], NDArray[np.int64]]:
        """Digests and offsets of a file.

        Raises:
            ValueError: If they do not belong together.
        """
        with safe_open(path, framework="numpy") as file:
            digests, offsets = file.get_tensor("digests"), file.get_tensor("offsets")
            shape = tuple(file.get_slice("boxes").get_shape())
        if digests.dtype != np.uint8 or digests.shape != (len(offsets) - 1, _DIGEST) or shape != (offsets[-1], 4):
            raise ValueError(f"{digests.shape} digests, {offsets.shape} offsets and {shape} boxes do not fit")
        if offsets[0] != 0 or (np.diff(offsets) < 1).any():
            raise ValueError("an image has no boxes")
        return [row.tobytes() for row in digests], offsets


def _metadata(path: Path) -> Mapping[str, str]:
    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _joined(boxes: Sequence[NDArray[np.float32]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    offsets = np.cumsum([0, *(len(rows) for rows in boxes)], dtype=np.int64)
    return np.concatenate([np.zeros((0, 4), np.float32), *boxes]), offsets


def digest_of(*chunks: bytes | memoryview) -> bytes:
    """Digest of some content, as the cache keys images by it."""
    hashed = hashlib.blake2b(digest_size=_DIGEST)
    for chunk in chunks:
        hashed.update(chunk)
    return hashed.digest()
