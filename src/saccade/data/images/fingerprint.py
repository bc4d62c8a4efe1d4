"""Fingerprints of images: equal ones have equal content, near ones show resized or compressed copies of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Fingerprint", "fingerprint", "near_copies"]

_HASH_SIDE = 32  # pixels a side of the reduced image that is compared
_THUMB_SIDE = 16
_SMALLEST = 64  # pixels a side below which images are compared exactly only: small images are alike too easily
_FLAT = 1.0  # grey levels of deviation below which a reduced image has nothing to compare

_MOST_BITS = 8  # of 64 in which the hashes of two copies of an image may differ
_LEAST_CORRELATION = 0.995  # of their reduced copies
_BLOCK = 1024  # images that are compared with all before them at a time


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to find its copies.

    Args:
        digest: Hash of the pixels; empty for a uniform image, which is like every other.
        signs: Signs of the lowest frequencies, (64,); None where there is nothing to compare but the digest.
        thumb: Reduced grey copy, (256,) float32 of mean 0 and length 1; None where ``signs`` is.
    """

    digest: bytes = b""
    signs: NDArray[np.int8] | None = None
    thumb: NDArray[np.float32] | None = None


def fingerprint(pixels: NDArray[Any]) -> Fingerprint:
    """Hash of the content, signs of the lowest frequencies (Zauner 2010, "pHash") and a small copy of an image.

    Args:
        pixels: Decoded image, (H, W, C).

    Example:
        >>> rows = np.tile(np.arange(96, dtype=np.uint8)[:, None, None], (1, 80, 3))
        >>> fingerprint(rows).signs.shape, fingerprint(rows * 0)
        ((64,), Fingerprint(digest=b'', signs=None, thumb=None))
    """
    if int(pixels.max()) - int(pixels.min()) <= 2:
        return Fingerprint()  # all uniform images are alike, so their hash means nothing
    hashed = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    hashed.update(repr(pixels.shape).encode())
    digest = hashed.digest()
    if min(pixels.shape[:2]) < _SMALLEST:
        return Fingerprint(digest)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels[..., 0]
    small = cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if pixels.dtype == np.uint16:
        small /= 257
    if small.std() < _FLAT:
        return Fingerprint(digest)
    low = cv2.dct(small)[:8, :8].reshape(-1)
    low[0] = 0  # the mean brightness
    signs = np.where(low > np.median(low[1:]), 1, -1).astype(np.int8)
    thumb = cv2.resize(small, (_THUMB_SIDE, _THUMB_SIDE), interpolation=cv2.INTER_AREA).reshape(-1)
    thumb -= thumb.mean()
    length = float(np.linalg.norm(thumb))
    return Fingerprint(digest, signs, thumb / length if length > 0 else thumb)


def near_copies(
    signs: NDArray[np.float32], thumbs: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Pairs of images whose hashes and reduced copies agree, a block of images at a time.

    Args:
        signs: Signs of all images, (N, 64).
        thumbs: Their reduced copies, (N, 256).

    Yields:
        Rows of some images, (A,); rows of earlier ones, (B,); which of them agree, (A, B).

    Example:
        >>> signs, thumbs = np.ones((2, 64), np.float32), np.full((2, 256), 1 / 16, np.float32)
        >>> [(images, earlier, close) for images, earlier, close in near_copies(signs, thumbs)]
        [(array([1]), array([0]), array([[ True]]))]
    """
    # The product of two vectors of signs is 64 less twice the number of bits in which they differ.
    for start in range(0, len(signs), _BLOCK):
        end = min(start + _BLOCK, len(signs))
        alike = signs[start:end] @ signs[:end].T >= signs.shape[1] - 2 * _MOST_BITS
        alike &= np.arange(end)[None, :] < np.arange(start, end)[:, None]
        some, others = np.flatnonzero(alike.any(axis=1)), np.flatnonzero(alike.any(axis=0))
        if len(some):
            close = alike[np.ix_(some, others)]
            close &= thumbs[start + some] @ thumbs[others].T >= _LEAST_CORRELATION
            yield start + some, others, close
