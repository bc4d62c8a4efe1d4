"""Images of results: conversion to 8-bit RGB, reading, writing, montages."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import ConfigError, DataError
from saccade.structures.files import atomic_write
from saccade.structures.reading import read_bytes

__all__ = [
    "PAPER",
    "Image",
    "blank_paper",
    "image_tag",
    "montage",
    "read_rgb",
    "show_image",
    "to_rgb8",
    "write_image",
    "write_png",
]

Image = NDArray[np.uint8]

PAPER = (24, 25, 30)  # background of legends and between images


def to_rgb8(image: NDArray[Any]) -> Image:
    """Convert any image to (H, W, 3) uint8 RGB.

    Args:
        image: (H, W) or (H, W, C). Grey is repeated, of more than three channels the first three are taken; 16-bit and
            float values are stretched so that the largest becomes 255 (floats up to 1 are taken as 0..1, integers up
            to 255 as they are).

    Example:
        >>> to_rgb8(np.array([[0, 1000], [2000, 4000]], np.uint16))[..., 0].tolist()
        [[0, 64], [128, 255]]
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    pixels = np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[..., :3]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    values = np.nan_to_num(pixels.astype(np.float32))
    largest = float(values.max(initial=0.0))
    if np.issubdtype(pixels.dtype, np.floating) and largest <= 1.0:
        values = values * 255
    elif largest > 255:
        values = values * (255 / largest)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def read_rgb(path: str | Path) -> Image:
    """Read an image file as (H, W, 3) uint8 RGB, EXIF orientation applied: for results without pixels.

    Raises:
        DataError: If there is no such file, or it is no image.

    Example:
        >>> read_rgb(write_image("photo.png", np.zeros((48, 64, 3), np.uint8))).shape
        (48, 64, 3)
    """
    import cv2

    try:
        data = np.frombuffer(read_bytes(path), np.uint8)
    except DataError as error:
        raise DataError(f"{error} To draw on it, pass the pixels as the result's `image`.") from error
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if decoded is None:
        raise DataError(f"{path}: is not an image that can be decoded. Pass the pixels as the result's `image`.")
    return np.ascontiguousarray(decoded[..., ::-1])


def write_image(path: str | Path, rgb: NDArray[Any]) -> Path:
    """Write an RGB image; the suffix decides the format (JPEG quality 95).

    Args:
        path: File; missing folders are made.
        rgb: Any image that :func:`to_rgb8` converts.

    Returns:
        The file.

    Raises:
        ConfigError: If the suffix is not that of an image.
        SaccadeError: If the file cannot be written.

    Example:
        >>> write_image("drawings/photo.jpg", np.zeros((48, 64, 3), np.uint8)).exists()
        True
    """
    import cv2

    target = Path(path)
    pixels = to_rgb8(rgb)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if target.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        done, data = cv2.imencode(target.suffix or ".", pixels[..., ::-1], options)
    except cv2.error:
        done = False
    if not done:
        raise ConfigError(
            f"{target}: '{target.suffix}' is no image format. Use .png, .jpg or .webp (or .json for the values)."
        )

    def write(path: Path) -> None:
        path.write_bytes(data.tobytes())

    atomic_write(target, write, durable=False)
    return target


def write_png(path: str | Path, pixels: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> Path:
    """Write pixels as they are to a PNG: grey, palette indices, RGB or RGBA.

    Args:
        path: File with suffix ``.png``; missing folders are made.
        pixels: (H, W), (H, W, 3) or (H, W, 4) uint8.
        palette: (256, 3) colours that (H, W) indices stand for.

    Returns:
        The file.

    Raises:
        ConfigError: If the suffix is another one: a lossy format would change the values.

    Example:
        >>> write_png("masks/photo.png", np.zeros((48, 64), np.uint8)).exists()
        True
    """
    from PIL import Image as PillowImage

    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ConfigError(f"{target}: maps and cut-outs are written as .png, which keeps every value. Use that suffix.")
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette.tobytes())
    atomic_write(target, partial(picture.save, format="PNG"), durable=False)
    return target


def image_tag(rgb: NDArray[Any]) -> str:
    """HTML of an image that holds its pixels itself, as JPEG.

    Example:
        >>> image_tag(np.zeros((48, 64, 3), np.uint8))[:32]
        '<img src="data:image/jpeg;base64'
    """
    import cv2

    _, data = cv2.imencode(".jpg", to_rgb8(rgb)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode("ascii")}">'


def show_image(rgb: NDArray[Any]) -> None:
    """Show an image: below the cell of a notebook, elsewhere in the system's viewer of images.

    Args:
        rgb: Any image that :func:`to_rgb8` converts.
    """
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(to_rgb8(rgb))
    notebook = sys.modules.get("IPython")
    if notebook is not None and notebook.get_ipython() is not None:
        notebook.display.display(picture)
    else:
        picture.show()


def blank_paper(height: int, width: int) -> Image:
    """An empty canvas in the colour of the paper.

    Example:
        >>> blank_paper(2, 3).shape, blank_paper(1, 1).tolist()
        ((2, 3, 3), [[[24, 25, 30]]])
    """
    # Repeating a row takes a tenth of the time of filling all of it with three numbers.
    return np.repeat(np.full((1, width, 3), PAPER, np.uint8), height, axis=0)


def montage(images: Sequence[NDArray[Any]], columns: int, cell: int = 512) -> Image:
    """Arrange images in a grid, row by row, each as large as its cell allows with its aspect kept.

    Args:
        images: Any images, of any sizes.
        columns: Images in a row.
        cell: Longer side of a cell in pixels; smaller if no image is that large.

    Example:
        >>> montage([np.zeros((100, 100, 3), np.uint8)] * 4, columns=2).shape  # with gaps of 6 pixels
        (218, 218, 3)
    """
    import cv2

    if not images:
        return blank_paper(cell, cell)
    tiles = [to_rgb8(image) for image in images]
    columns = max(1, min(columns, len(tiles)))
    tallest, widest = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    shrink = min(1.0, cell / max(tallest, widest))
    height, width, gap = max(1, round(tallest * shrink)), max(1, round(widest * shrink)), max(2, round(0.012 * cell))
    rows = -(-len(tiles) // columns)
    sheet = blank_paper(rows * (height + gap) + gap, columns * (width + gap) + gap)
    for index, tile in enumerate(tiles):
        factor = min(height / tile.shape[0], width / tile.shape[1])
        size = (
            max(1, min(width, round(tile.shape[1] * factor))),
            max(1, min(height, round(tile.shape[0] * factor))),
        )
        resized = cv2.resize(tile, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
        top = gap + (index // columns) * (height + gap) + (height - size[1]) // 2
        left = gap + (index % columns) * (width + gap) + (width - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = resized
    return sheet
