"""What ``predict`` accepts: a path, a folder, a glob, an array, a Pillow image, a tensor, or a list of any of them.

A thing of a source that is no image is an error, or, if asked for, is named and passed over while the others go on.
"""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES, match_channels, read_image
from saccade.data.images.depth import pillow_pixels, to_uint8
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.reading import is_hidden
from saccade.structures.text import printable

__all__ = ["OnError", "Skipped", "Skips", "count_source", "expand_source", "iter_source", "to_pixels"]

logger = logging.getLogger("saccade")

OnError = Literal["raise", "skip"]
T = TypeVar("T")


@dataclass(frozen=True)
class Skipped:
    """Image that was left out because it cannot be read.

    Args:
        path: Its file, or a name such as ``array-3``.
        reason: What is wrong with it, and the remedy.
    """

    path: str
    reason: str


@dataclass
class Skips:
    """What happens to images that cannot be read, and those to which it happened.

    Args:
        on_error: Raise the error, or name the image and leave it out.
        images: Those left out so far.

    Raises:
        ConfigError: If ``on_error`` is neither.

    Example:
        >>> skips = Skips("skip")
        >>> [pixels.shape for _, pixels in iter_source([np.zeros((4, 6)), np.zeros(3)], channels=3, skips=skips)]
        [(4, 6, 3)]
        >>> skips.images[0].path
        'array-1'
    """

    on_error: OnError = "raise"
    images: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is '{self.on_error}'.{did_you_mean(self.on_error, ('raise', 'skip'))}")

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """Result of ``read``; None if it is no image and those are left out."""
        try:
            return read()
        except DataError as error:
            if self.on_error == "raise":
                raise
            self.images.append(Skipped(name, str(error)))
            logger.warning("%s The image is left out.", error)
            return None


def iter_source(source: Any, channels: int, skips: Skips | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (name, RGB pixels) one by one, so that memory does not grow with the source.

    Args:
        source: Path, folder (searched for images, not below it), glob, (H, W[, C]) array (RGB; uint8, uint16, or
            float 0..1), Pillow image, (C, H, W) tensor, or an iterable of any of these.
        channels: What the network takes, 1 or 3.
        skips: What happens to things that are no images; an error if not given.

    Raises:
        DataError: If nothing is there, or a thing is no image and they are not left out; the message names it.

    Example:
        >>> [(name, pixels.shape) for name, pixels in iter_source([np.zeros((4, 6)), torch.rand(3, 8, 8)], channels=3)]
        [('array-0', (4, 6, 3)), ('array-1', (8, 8, 3))]
    """
    skips = skips or Skips()
    for position, item in enumerate(expand_source(source, skips)):
        name = str(item) if isinstance(item, Path) else f"array-{position}"
        pixels = skips.attempt(name, lambda item=item, position=position: _pixels(item, channels, position))  # type: ignore[misc]
        if pixels is not None:
            yield name, pixels


def _pixels(item: Any, channels: int, position: int) -> NDArray[Any]:
    return read_image(item, channels) if isinstance(item, Path) else to_pixels(item, channels, position)


def expand_source(source: Any, skips: Skips | None = None) -> Iterator[Any]:
    """Expand a source into its paths, arrays, Pillow images and tensors, one by one, none of them read.

    Files of a folder that systems and editors leave there are passed over; those of other suffixes are counted and
    named.

    Args:
        source: As for :func:`iter_source`.
        skips: What happens to paths of a list at which there is nothing; an error if not given.

    Example:
        >>> len(list(expand_source([np.zeros((4, 4)), [np.zeros((4, 4)), np.zeros((4, 4))]])))
        3
    """
    if isinstance(source, (str, Path)):
        yield from _expand_path(str(source))
    elif isinstance(source, Iterable) and not hasattr(source, "shape") and not hasattr(source, "getbands"):
        for item in source:
            if isinstance(item, (str, Path)):
                found = (skips or Skips()).attempt(str(item), lambda item=item: _expand_path(str(item)))  # type: ignore[misc]
                yield from found or []
            else:
                yield from expand_source(item, skips)
    else:
        yield source


def count_source(source: str) -> int:
    """Count the images of a path, folder or pattern, none of them read; 0 where there is nothing.

    Example:
        >>> Path("a.png").touch()
        >>> count_source("."), count_source("*.jpg")
        (1, 0)
    """
    try:
        return len(_expand_path(source, quiet=True))
    except DataError:
        return 0


def _expand_path(text: str, quiet: bool = False) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            return _images_of(path, quiet)
        if path.exists():
            return [path]
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns
    except (OSError, ValueError) as error:  # rights, a null byte, a name too long
        raise DataError(f"{text}: {getattr(error, 'strerror', None) or error}. Check its name and rights.") from error
    files = [Path(match) for match in found if not Path(match).is_dir()]
    if not files:
        raise DataError(f"{text}: no such file, folder or pattern.")
    return files


def _images_of(folder: Path, quiet: bool) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if not is_hidden(file.name) and not file.is_dir())
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    others = Counter(file.suffix.lower() or "no suffix" for file in files if file.suffix.lower() not in IMAGE_SUFFIXES)
    left = printable(", ".join(f"{number} {suffix}" for suffix, number in sorted(others.items())), limit=200)
    if not images:
        raise DataError(
            f"{folder}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            + (f", but other files: {left}." if left else ".")
        )
    if left and not quiet:
        logger.warning("%s: files that are no images by their suffix are passed over: %s.", folder, left)
    return images


def to_pixels(item: Any, channels: int, position: int) -> NDArray[Any]:
    """Convert an array, Pillow image or tensor to RGB or grey pixels (H, W, channels), uint8.

    Other depths are scaled as those of files are: :func:`saccade.data.images.depth.to_uint8`.

    Args:
        item: Number ``position`` of the source, for messages.
        channels: What the network takes, 1 or 3.
        position: Counted from 0.

    Raises:
        DataError: If its shape is not that of an image, or its values are no brightness
            (:func:`saccade.data.images.depth.to_uint8`).

    Example:
        >>> to_pixels(torch.ones(1, 2, 2), channels=3, position=0)[0, 0]
        array([255, 255, 255], dtype=uint8)
    """
    name = f"source {position}"
    if hasattr(item, "getbands"):  # a Pillow image
        pixels: NDArray[Any] = pillow_pixels(item, name)
    elif hasattr(item, "detach"):  # a tensor, (C, H, W) or (H, W)
        pixels = _array_of(item)
        pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    else:
        try:
            pixels = np.asarray(item)
        except (ValueError, TypeError) as error:  # lists within lists of unequal length
            raise DataError(f"{name}: this is no image ({error}). Give pixels (H, W[, C]).") from error
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise DataError(
            f"{name}: expected pixels (H, W[, C]) as uint8 0..255, uint16 0..65535 or float 0..1, or a (C, H, W) "
            f"tensor; got {pixels.dtype} {pixels.shape}."
        )
    pixels = to_uint8(pixels, name)
    return match_channels(pixels if pixels.ndim == 3 else pixels[..., None], channels, name)


def _array_of(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    try:
        values: NDArray[Any] = tensor.numpy()
    except TypeError:  # bfloat16 and others that NumPy does not have
        values = tensor.float().numpy()
    return values
