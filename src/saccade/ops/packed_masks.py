"""Masks of many objects of one large image, each kept as the bits of the rectangle around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedMasks"]


class PackedMasks:
    """Masks of N objects in packed form, used like a bool array (N, H, W): indexed, iterated, converted to one.

    An image of 20,000 x 20,000 pixels has 400 MB a mask as an array; here an object costs one bit for every pixel of
    its own box. An integer index returns one mask in full; a slice, a list or a boolean array returns packed ones.

    Args:
        size: (height, width) of the image.
        windows: Rectangle of each mask, (N, 4) int64, x1, y1, x2, y2 inside the image.
        offsets: First byte of each mask and the end, (N + 1,) int64.
        bits: The rectangles row by row, eight pixels a byte, uint8.

    Example:
        >>> masks = PackedMasks.pack(np.eye(3, dtype=bool)[None], (100, 200), top=40, left=70)
        >>> masks.shape, int(masks[0].sum()), masks.windows.tolist()
        ((1, 100, 200), 3, [[70, 40, 73, 43]])
    """

    dtype = np.dtype(np.bool_)
    ndim = 3

    def __init__(
        self, size: tuple[int, int], windows: NDArray[np.int64], offsets: NDArray[np.int64], bits: NDArray[np.uint8]
    ) -> None:
        self.size = size
        self.windows = windows
        self.offsets = offsets
        self.bits = bits

    @classmethod
    def pack(cls, masks: NDArray[Any], size: tuple[int, int], top: int = 0, left: int = 0) -> PackedMasks:
        """Pack the masks of a tile into those of its image.

        Args:
            masks: (N, h, w), true inside the object.
            size: (height, width) of the image; what lies outside of it is cut off.
            top: Row of the image where the tile begins.
            left: Column where it begins.

        Returns:
            As many packed masks, of the image's size.
        """
        crops = []
        windows = np.zeros((len(masks), 4), np.int64)
        for index, mask in enumerate(masks):
            inside = np.asarray(mask[max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left], np.uint8)
            x, y, width, height = cv2.boundingRect(np.ascontiguousarray(inside)) if inside.size else (0, 0, 0, 0)
            crops.append(inside[y : y + height, x : x + width])
            x, y = x + max(left, 0), y + max(top, 0)
            windows[index] = x, y, x + width, y + height
        return cls._of(crops, windows, size)

    @classmethod
    def _of(cls, crops: Sequence[NDArray[Any]], windows: NDArray[np.int64], size: tuple[int, int]) -> PackedMasks:
        packed = [np.packbits(np.asarray(crop, np.bool_)) for crop in crops]
        offsets = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        return cls(size, windows, offsets, np.concatenate([np.zeros(0, np.uint8), *packed]))

    @classmethod
    def concatenate(cls, parts: Sequence[PackedMasks]) -> PackedMasks:
        """Join several packs of one image into one, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            parts[0].size,
            np.concatenate([part.windows for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.bits for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W)."""
        return len(self), *self.size

    def crop(self, index: int) -> NDArray[np.bool_]:
        """Mask ``index`` inside its window, (h, w)."""
        x1, y1, x2, y2 = self.windows[index].tolist()
        packed = self.bits[self.offsets[index] : self.offsets[index + 1]]
        flat = np.unpackbits(packed, count=(y2 - y1) * (x2 - x1))
        return flat.reshape(y2 - y1, x2 - x1).astype(np.bool_)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"mask {index} of {len(self)}")
            row = int(index) % len(self)
            x1, y1, x2, y2 = self.windows[row].tolist()
            mask = np.zeros(self.size, np.bool_)
            mask[y1:y2, x1:x2] = self.crop(row)
            return mask
        rows = np.arange(len(self))[index]
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        bytes_of = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return PackedMasks(self.size, self.windows[rows], offsets, self.bits[bytes_of])

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        full = np.zeros(self.shape, np.bool_)
        for index, (x1, y1, x2, y2) in enumerate(self.windows.tolist()):
            full[index, y1:y2, x1:x2] = self.crop(index)
        return full if dtype is None else full.astype(dtype, copy=False)

    def astype(self, dtype: Any) -> NDArray[Any]:
        """All masks as one array (N, H, W)."""
        return self.__array__(dtype)

    def unite(self, groups: NDArray[np.int64]) -> PackedMasks:
        """Unite masks by group.

        Args:
            groups: (N,) index of the union that each mask goes into, 0..M-1, each at least once.

        Returns:
            M masks, each the union of a group.
        """
        crops, windows = [], np.zeros((int(groups.max(initial=-1)) + 1, 4), np.int64)
        for group in range(len(windows)):
            rows = np.flatnonzero(groups == group)
            full = rows[(self.windows[rows, 2:] > self.windows[rows, :2]).all(axis=1)]
            if len(full):
                windows[group] = (*self.windows[full, :2].min(axis=0), *self.windows[full, 2:].max(axis=0))
            left, top, right, bottom = windows[group].tolist()
            union = np.zeros((bottom - top, right - left), np.bool_)
            for row in full.tolist():
                x1, y1, x2, y2 = self.windows[row].tolist()
                union[y1 - top : y2 - top, x1 - left : x2 - left] |= self.crop(row)
            crops.append(union)
        return self._of(crops, windows, self.size)
