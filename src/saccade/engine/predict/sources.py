"""What ``predict`` accepts: paths, folders, zips, videos, cameras, addresses, bytes, arrays, or lists of them.

A thing of a source that is no image is an error, or, if asked for, is named and passed over while the others go on.
"""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES, match_channels, read_image
from saccade.data.images.depth import pillow_pixels, to_uint8
from saccade.engine.predict.streams import (
    VIDEO_SUFFIXES,
    camera_number,
    count_frames,
    is_address,
    open_address,
    open_capture,
    read_frames,
    without_password,
)
from saccade.errors import ConfigError, DataError, did_you_mean
from saccade.structures.reading import is_archive, is_hidden, natural_key
from saccade.structures.text import printable

if TYPE_CHECKING:
    from saccade.data.readers.archive import ZipTree

__all__ = [
    "AS_GIVEN",
    "OnError",
    "Skipped",
    "Skips",
    "SourceImage",
    "SourceOptions",
    "count_source",
    "expand_source",
    "iter_images",
    "iter_source",
    "to_pixels",
]

logger = logging.getLogger("saccade")

OnError = Literal["raise", "skip"]
T = TypeVar("T")

_STACKED = 4  # dimensions of an array or tensor that holds several images


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


@dataclass(frozen=True)
class SourceOptions:
    """How a source is searched.

    Args:
        recursive: Search the folders below a folder too.
        every: Take each n-th frame of a video, camera or stream.

    Raises:
        ConfigError: If ``every`` is below 1.

    Example:
        >>> SourceOptions(every=0)
        Traceback (most recent call last):
        saccade.errors.ConfigError: every is 0; it counts frames from 1 (each of them) on.
    """

    recursive: bool = False
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every is {self.every}; it counts frames from 1 (each of them) on.")


AS_GIVEN = SourceOptions()


@dataclass(frozen=True)
class SourceImage:
    """Image of a source, not decoded yet.

    Args:
        name: File, or a name such as ``array-3``.
        content: Its path, encoded bytes, array, Pillow image or tensor.
        frame: Number of the frame in its video, camera or stream, from 0; None of an image of its own.
        seconds: Time of that frame.
    """

    name: str
    content: Any
    frame: int | None = None
    seconds: float | None = None


def iter_source(source: Any, channels: int, skips: Skips | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (name, RGB pixels) one by one, so that memory does not grow with the source.

    Args:
        source: Path, folder (searched for images and videos), glob, zip, video file, number of a camera, address of an
            image or stream, encoded bytes, (H, W[, C]) or (N, H, W, C) array (RGB; uint8, uint16, or float 0..1),
            Pillow image, (C, H, W) or (N, C, H, W) tensor, or an iterable of any of these.
        channels: What the network takes, 1 or 3.
        skips: What happens to things that are no images; an error if not given.

    Raises:
        DataError: If nothing is there, or a thing is no image and they are not left out; the message names it.

    Example:
        >>> [(name, pixels.shape) for name, pixels in iter_source([np.zeros((4, 6)), torch.rand(3, 8, 8)], channels=3)]
        [('array-0', (4, 6, 3)), ('array-1', (8, 8, 3))]
    """
    return ((image.name, pixels) for image, pixels in iter_images(source, channels, skips))


def iter_images(
    source: Any, channels: int, skips: Skips | None = None, options: SourceOptions = AS_GIVEN
) -> Iterator[tuple[SourceImage, NDArray[Any]]]:
    """Yield each image of a source with its RGB pixels, one by one.

    Args:
        source: As for :func:`iter_source`.
        channels: What the network takes, 1 or 3.
        skips: What happens to things that are no images; an error if not given.
        options: How the source is searched.

    Raises:
        DataError: If nothing is there, or a thing is no image and they are not left out.

    Example:
        >>> [(image.name, pixels.shape) for image, pixels in iter_images(torch.rand(2, 3, 8, 8), channels=3)]
        [('array-0', (8, 8, 3)), ('array-1', (8, 8, 3))]
    """
    skips = skips or Skips()
    for position, image in enumerate(expand_source(source, skips, options)):
        pixels = skips.attempt(image.name, partial(_pixels, image, channels, position))
        if pixels is not None:
            yield image, pixels


def _pixels(image: SourceImage, channels: int, position: int) -> NDArray[Any]:
    if isinstance(image.content, Path | bytes):
        return read_image(image.content, channels, name=image.name)
    return to_pixels(image.content, channels, position)


def expand_source(source: Any, skips: Skips | None = None, options: SourceOptions = AS_GIVEN) -> Iterator[SourceImage]:
    """Expand a source into its images, one by one; files of images are not read yet.

    Files of a folder that systems and editors leave there are passed over; those of other suffixes are counted and
    named.

    Args:
        source: As for :func:`iter_source`.
        skips: What happens to paths of a list at which there is nothing, and to videos and members of a zip that cannot
            be read; an error if not given.
        options: How it is searched.

    Example:
        >>> [image.name for image in expand_source([np.zeros((4, 4)), [np.zeros((4, 4)), np.zeros((4, 4))]])]
        ['array-0', 'array-1', 'array-2']
    """
    return _Expansion(skips or Skips(), options).of(source)


class _Expansion:
    """One pass over a source; it counts the images, since those without a file are named by their place."""

    def __init__(self, skips: Skips, options: SourceOptions) -> None:
        self.skips, self.options = skips, options
        self.count = 0

    def of(self, source: Any) -> Iterator[SourceImage]:
        for image in self._any(source, whole=True):
            yield image
            self.count += 1

    def _any(self, source: Any, whole: bool = False) -> Iterator[SourceImage]:
        camera = camera_number(source) if whole else None  # numbers within lists are pixels, if anything
        if camera is not None:
            yield from self._frames(camera, f"camera-{camera}", live=True)
        elif isinstance(source, str) and is_address(source):
            yield from self._address(source)
        elif isinstance(source, str | Path):
            find = partial(_expand_path, str(source), self.options)
            for path in (find() if whole else self.skips.attempt(str(source), find)) or []:
                yield from self._file(path)
        elif isinstance(source, bytes | bytearray):
            yield SourceImage(f"bytes-{self.count}", bytes(source))
        elif isinstance(source, Iterable) and not hasattr(source, "shape") and not hasattr(source, "getbands"):
            for item in source:
                yield from self._any(item)
        else:
            for item in source if getattr(source, "ndim", 0) == _STACKED else [source]:
                yield SourceImage(f"array-{self.count}", item)

    def _file(self, path: Path) -> Iterator[SourceImage]:
        if is_archive(path):
            yield from self._members(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield from self._frames(str(path), str(path))
        else:
            yield SourceImage(str(path), path)

    def _members(self, path: Path) -> Iterator[SourceImage]:
        """Images of a zip, read one by one where they are; nothing is unpacked to the disk."""
        tree = self.skips.attempt(str(path), partial(_open_zip, path))
        if tree is None:
            return
        for name in tree.images():
            content = self.skips.attempt(f"{path}/{name}", partial(tree.read, name))
            if content is not None:
                yield SourceImage(f"{path}/{name}", content)

    def _address(self, address: str) -> Iterator[SourceImage]:
        name = without_password(address)
        found = self.skips.attempt(name, partial(open_address, address))
        if isinstance(found, bytes):
            yield SourceImage(name, found)
        elif found is not None:
            yield from self._frames(found, name, live=True)

    def _frames(self, source: Any, name: str, live: bool = False) -> Iterator[SourceImage]:
        """Frames of a file, a camera, or a stream that is open already."""
        is_open = not isinstance(source, str | int)
        capture = source if is_open else self.skips.attempt(name, partial(open_capture, source, name))
        frames = iter(()) if capture is None else read_frames(capture, name, self.options.every, live)
        while (frame := self.skips.attempt(name, partial(next, frames, None))) is not None:
            yield SourceImage(name, frame.pixels, frame.number, frame.seconds)


def _zip(path: Path) -> ZipTree:
    from saccade.data.readers.archive import ZipTree

    return ZipTree(path, keep_top=True)


def _open_zip(path: Path) -> ZipTree:
    tree = _zip(path)
    if not tree.has_images():
        raise DataError(f"{path}: the zip holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Look into it.")
    return tree


def count_source(source: str, options: SourceOptions = AS_GIVEN) -> int:
    """Count the images of a path, folder, pattern, zip or video, none of them read; 0 where it cannot be known.

    Example:
        >>> Path("a.png").touch()
        >>> count_source("."), count_source("*.jpg"), count_source("rtsp://10.0.0.7/live")
        (1, 0, 0)
    """
    if is_address(source) or camera_number(source) is not None:
        return 0
    try:
        return sum(_count(path, options) for path in _expand_path(source, options, quiet=True))
    except DataError:
        return 0


def _count(path: Path, options: SourceOptions) -> int:
    if is_archive(path):
        return len(_zip(path).images())
    return count_frames(path, options.every) if path.suffix.lower() in VIDEO_SUFFIXES else 1


def _expand_path(text: str, options: SourceOptions, quiet: bool = False) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            return _images_of(path, options.recursive, quiet)
        if path.exists():
            return [path]
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns
    except (OSError, ValueError) as error:  # rights, a null byte, a name too long
        raise DataError(f"{text}: {getattr(error, 'strerror', None) or error}. Check its name and rights.") from error
    files = [Path(match) for match in found if not Path(match).is_dir()]
    if not files:
        raise DataError(f"{text}: no such file, folder or pattern.")
    return files


def _images_of(folder: Path, recursive: bool, quiet: bool) -> list[Path]:
    files = list(_files_of(folder, recursive))
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    images = [file for file in files if file.suffix.lower() in known]
    others = Counter(file.suffix.lower() or "no suffix" for file in files if file.suffix.lower() not in known)
    left = printable(", ".join(f"{number} {suffix}" for suffix, number in sorted(others.items())), limit=200)
    if not images:
        below = not recursive and any(file.suffix.lower() in known for file in _files_of(folder, recursive=True))
        raise DataError(
            f"{folder}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            + (f", but other files: {left}." if left else ".")
            + (" There are some in the folders below it: recursive (--recursive) finds them." if below else "")
        )
    if left and not quiet:
        logger.warning("%s: files that are no images by their suffix are passed over: %s.", folder, left)
    return images


def _files_of(folder: Path, recursive: bool) -> Iterator[Path]:
    """Files of a folder in natural order, then those of each folder below it that is no link."""
    entries = sorted(
        (entry for entry in folder.iterdir() if not is_hidden(entry.name)), key=lambda entry: natural_key(entry.name)
    )
    yield from (entry for entry in entries if not entry.is_dir())
    for entry in entries if recursive else ():
        if entry.is_dir() and not entry.is_symlink():
            yield from _files_of(entry, recursive)


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
            f"{name}: expected pixels (H, W[, C]) as uint8 0..255, uint16 0..65535 or float 0..1, a (C, H, W) "
            f"tensor, or several of them stacked; got {pixels.dtype} {pixels.shape}."
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
