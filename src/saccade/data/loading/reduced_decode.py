"""Photographs decoded at a fraction of their size, for transforms that shrink them anyway.

A JPEG gives its half, quarter or eighth straight from the transform it is stored in, which is quicker than decoding it
whole (benchmarks/data_pipeline.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.combine import ConcatDataset
from saccade.data.images.decode import MAX_PIXELS, decode_jpeg, image_size
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.transforms.move import move_target, resize_pixels
from saccade.errors import DataError
from saccade.structures.dataset import VisionDataset
from saccade.structures.geometry import Geometry
from saccade.structures.sample import ImageInfo, Sample

__all__ = ["decode_reduced", "read_at_least"]


def read_at_least(dataset: VisionDataset, index: int, size: tuple[int, int]) -> Sample:
    """Read an image, decoded at 1/2, 1/4 or 1/8 where it stays at least as large as letterboxed into ``size``.

    Anything but a JPEG that the data set would decode as it lies on disk is read in the ordinary way, and so is a
    damaged one, so that its error is the ordinary one.

    Args:
        dataset: Any data set.
        index: Which image.
        size: Canvas (height, width) into which the image will be letterboxed.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> read_at_least(DigitScenes("detection", "train"), 0, (64, 64)).image.shape  # no JPEG: read whole
        (256, 256, 3)
    """
    if isinstance(dataset, ConcatDataset):
        part, inner = dataset.locate(index)
        return read_at_least(part, inner, size)
    if not isinstance(dataset, TableDataset) or type(dataset).read is not TableDataset.read:
        return dataset.read(index)
    if type(dataset).pixels is not TableDataset.pixels or dataset.channels not in (1, 3):
        return dataset.read(index)
    path = dataset.path(index)
    found = decode_reduced(Path(path), dataset.channels, size)
    if found is None:
        return dataset.read(index)
    image, original, factor = found
    small = (image.shape[0], image.shape[1])

    def remap(pixels: NDArray[Any], fill: int, linear: bool) -> NDArray[Any]:
        return resize_pixels(pixels, small, linear)

    # Pixel i of the smaller image covers pixels i * factor and on, so the scale is 1 / factor even where the last one
    # is cut short.
    matrix = np.diag([1 / factor, 1 / factor, 1.0])
    info = ImageInfo(int(dataset.image_ids[index]), path, Geometry.identity(original).then(matrix, small))
    return Sample(image, move_target(dataset.target(index), matrix, remap), info)


def decode_reduced(
    path: Path, channels: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int], int] | None:
    """Smaller pixels (h, w, channels) of a JPEG, the full (height, width) and their ratio.

    None if the file is to be read in the ordinary way.

    Args:
        path: The file.
        channels: 1 or 3.
        size: (height, width) that the pixels still cover.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite("a.jpg", np.zeros((480, 640, 3), np.uint8))
        >>> pixels, size, factor = decode_reduced(Path("a.jpg"), 1, (96, 96))
        >>> pixels.shape, size, factor
        ((120, 160, 1), (480, 640), 4)
    """
    raw = path.read_bytes() if path.is_file() else b""
    if not raw.startswith(b"\xff\xd8") or raw.rfind(b"\xff\xd9") < raw.find(b"\xff\xda"):
        return None
    try:
        height, width = image_size(raw)
    except DataError:
        return None
    # The header does not know the EXIF orientation; the larger of both gains is safe for either.
    gain = max(min(size[0] / height, size[1] / width), min(size[0] / width, size[1] / height))
    factor = next((factor for factor in (8, 4, 2) if gain * factor <= 1), 1)
    if factor == 1 or height * width > MAX_PIXELS:
        return None
    try:
        pixels = decode_jpeg(raw, str(path), grey=channels == 1, reduce=factor)
    except DataError:
        return None
    upright = pixels.shape[:2] == (-(-height // factor), -(-width // factor))
    image = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=2)
    return image, (height, width) if upright else (width, height), factor
