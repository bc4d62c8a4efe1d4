"""Run-length coding of masks (COCO): lengths of alternating runs of 0 and 1 down the columns of the image.

The first run is of zeros and may be empty. Files hold the lengths as numbers, or compressed into a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["EncodedMask", "compress_runs", "decompress_runs", "mask_of_runs", "runs_of_mask"]


class EncodedMask(msgspec.Struct, gc=False):
    """Run-length encoded mask as COCO's files hold it.

    Args:
        size: (height, width).
        counts: Run lengths, or their compressed code.

    Example:
        >>> msgspec.json.decode('{"size": [2, 3], "counts": "222"}', type=EncodedMask).run_lengths()
        array([2, 2, 2])
    """

    size: tuple[int, int]
    counts: list[int] | str

    def run_lengths(self) -> NDArray[np.int64]:
        """Lengths of the runs, decompressed where they are compressed; not compared with the size.

        Raises:
            ValueError: If the compressed code is malformed.
            OverflowError: If a length exceeds 64 bits.
        """
        return decompress_runs(self.counts) if isinstance(self.counts, str) else np.array(self.counts, np.int64)


def mask_of_runs(runs: NDArray[np.uint32] | Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Mask (height, width) of 0 and 1 from run lengths.

    Raises:
        ValueError: If the runs do not sum to the image's pixels.

    Example:
        >>> mask_of_runs([2, 2, 2], height=2, width=3)
        array([[0, 1, 0],
               [0, 1, 0]], dtype=uint8)
    """
    lengths = np.asarray(runs, np.int64)
    if (lengths.size and lengths.min() < 0) or int(lengths.sum()) != height * width:
        raise ValueError(f"runs sum to {int(lengths.sum())}, not to {height * width} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2, lengths).astype(np.uint8)
    return flat.reshape(width, height).T


def runs_of_mask(mask: NDArray[Any]) -> list[int]:
    """Run lengths of a (H, W) mask; the first is 0 if the mask begins with a one.

    Example:
        >>> runs_of_mask(np.array([[0, 1, 0], [0, 1, 0]]))
        [2, 2, 2]
    """
    flat = np.asarray(mask, np.bool_).T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else list(lengths)


def compress_runs(runs: Sequence[int]) -> str:
    """COCO's compressed code of run lengths.

    A character holds five bits, counted from '0', and in its sixth bit whether more follow; from the fourth run on a
    number is the difference to the run two before it.

    Example:
        >>> compress_runs([2, 2, 2])
        '222'
    """
    code = bytearray()
    for position, run in enumerate(runs):
        value = int(run) - (int(runs[position - 2]) if position > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            code.append(48 + bits + (0 if done else 32))
            if done:
                break
    return code.decode()


def decompress_runs(text: str) -> NDArray[np.int64]:
    """Run lengths from COCO's compressed code: the inverse of :func:`compress_runs`.

    Raises:
        ValueError: If the text is no such code.

    Example:
        >>> decompress_runs("222")
        array([2, 2, 2])
    """
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("the run-length code has a strange character or breaks off")
    last = (codes & 32) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("the run-length code has a number without end")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 31) << shift, starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)  # the sign
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError("a run is negative")
    return values
