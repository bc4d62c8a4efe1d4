"""What ``predict`` accepts: a path, a folder, a glob, an array, a Pillow image, a tensor, or a list of any of them."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES, match_channels, read_image
from saccade.errors import DataError

__all__ = ["expand_source", "iter_source", "to_pixels"]


def iter_source(source: Any, channels: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (name, RGB pixels) one by one, so that memory does not grow with the source.

    Args:
        source: Path, folder (searched for images, not below it), glob, (H, W[, C]) array (RGB uint8, or float 0..1),
            Pillow image, (C, H, W) tensor, or an iterable of any of these.
        channels: What the network takes, 1 or 3.

    Raises:
        DataError: If nothing is there or a thing is no image; the message names it.

    Example:
        >>> [(name, pixels.shape) for name, pixels in iter_source([np.zeros((4, 6)), torch.rand(3, 8, 8)], channels=3)]
        [('array-0', (4, 6, 3)), ('array-1', (8, 8, 3))]
    """
    for position, item in enumerate(expand_source(source)):
        if isinstance(item, Path):
            yield str(item), read_image(item, channels)
        else:
            yield f"array-{position}", to_pixels(item, channels, position)


def expand_source(source: Any) -> Iterator[Any]:
    """Expand a source into its paths, arrays, Pillow images and tensors, one by one, none of them read.

    Example:
        >>> len(list(expand_source([np.zeros((4, 4)), [np.zeros((4, 4)), np.zeros((4, 4))]])))
        3
    """
    if isinstance(source, (str, Path)):
        yield from _expand_path(str(source))
    elif isinstance(source, Iterable) and not hasattr(source, "shape") and not hasattr(source, "getbands"):
        for item in source:
            yield from expand_source(item)
    else:
        yield source


def _expand_path(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"{path}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        yield from files
    elif path.exists():
        yield path
    else:
        files = [Path(match) for match in sorted(glob.glob(text, recursive=True)) if Path(match).is_file()]  # noqa: PTH207 - absolute patterns
        if not files:
            raise DataError(f"{text}: no such file, folder or pattern.")
        yield from files


def to_pixels(item: Any, channels: int, position: int) -> NDArray[Any]:
    """Convert an array, Pillow image or tensor to RGB or grey pixels (H, W, channels), uint8.

    Args:
        item: Number ``position`` of the source, for messages.
        channels: What the network takes, 1 or 3.
        position: Counted from 0.

    Raises:
        DataError: If its values or shape are not those of an image.

    Example:
        >>> to_pixels(torch.ones(1, 2, 2), channels=3, position=0)[0, 0]
        array([255, 255, 255], dtype=uint8)
    """
    if hasattr(item, "detach"):  # a tensor, (C, H, W) or (H, W)
        pixels = item.detach().cpu().numpy()
        pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    elif hasattr(item, "getbands"):  # a Pillow image
        from PIL import ImageOps

        pixels = np.asarray(ImageOps.exif_transpose(item).convert("L" if channels == 1 else "RGB"))
    else:
        pixels = np.asarray(item)
    if pixels.dtype.kind == "f" and pixels.size and pixels.min() >= 0.0 and pixels.max() <= 1.0:
        pixels = np.rint(pixels * 255.0).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise DataError(
            f"source {position}: expected pixels (H, W[, C]) as uint8 0..255 or float 0..1, or a (C, H, W) tensor; "
            f"got {pixels.dtype} {pixels.shape}."
        )
    return match_channels(pixels if pixels.ndim == 3 else pixels[..., None], channels, f"source {position}")
