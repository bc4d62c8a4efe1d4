"""Features of the regions of a data set on disk, compressed, so that steps without gradients pass over them often.

R-CNN's support vector machines and box regression need the features of every proposal of every training image several
times over, and computing them is nearly all of the work. A file an image holds them, as halves relative to the largest
of the image, compressed. Its name is a hash of what went into the network, pixels and boxes, so that an image is found
again after a killed run, and one that was augmented otherwise is not. Files of other weights are thrown away.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.errors import SaccadeError
from saccade.structures.files import atomic_write, write_text

__all__ = ["RegionCache", "RegionFeatures", "hash_tensors"]

logger = logging.getLogger("saccade")

_INDEX = "regions.json"
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class RegionFeatures:
    """Features of the regions of one image: its proposals, then the boxes of its objects.

    Args:
        features: (N, D) float32.
        boxes_xyxy: (N, 4) float32, pixels of the canvas; the last M are those of the objects.
        labels: (M,) int64: classes of the objects.

    Example:
        >>> regions = RegionFeatures(np.ones((3, 8), np.float32), np.zeros((3, 4), np.float32), np.array([5]))
        >>> regions.proposals, regions.objects_xyxy.shape
        (2, (1, 4))
    """

    features: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def proposals(self) -> int:
        """How many of the regions are proposals."""
        return len(self.boxes_xyxy) - len(self.labels)

    @property
    def objects_xyxy(self) -> NDArray[np.float32]:
        """Boxes of the objects, (M, 4)."""
        return self.boxes_xyxy[self.proposals :]


class RegionCache:
    """Folder of region features, computed with one state of the weights.

    Args:
        folder: Where the files lie; made if it is not there.
        weights: Hash of everything in the network that features depend on. Files in the folder that are of another are
            removed, which the log tells.

    Example:
        >>> cache = RegionCache(Path("regions"), weights="a1")
        >>> regions = RegionFeatures(np.eye(3, 4, dtype=np.float32), np.zeros((3, 4), np.float32), np.array([5]))
        >>> cache.save("image", regions)
        >>> cache.load("image").features[1], cache.load("another") is None
        (array([0., 1., 0., 0.], dtype=float32), True)
    """

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder = folder
        index = folder / _INDEX
        known = _weights_of(index)
        if known == weights:
            return
        stale = sorted(folder.glob("*.npz")) if folder.is_dir() else []
        if stale:
            logger.warning(
                "%s: features of %d images are of other weights (%.12s; now %.12s) and are computed anew.",
                folder, len(stale), known or "unknown", weights,
            )  # fmt: skip
        for file in stale:
            file.unlink()
        write_text(index, json.dumps({"weights": weights}))

    def path(self, key: str) -> Path:
        """File of an image."""
        return self.folder / f"{key}.npz"

    def load(self, key: str) -> RegionFeatures | None:
        """Features of an image; None if there are none, or their file is broken."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with path.open("rb") as stream, np.load(stream) as file:
                features = file["features"].astype(np.float32) * file["scale"]
                return RegionFeatures(features, file["boxes"], file["labels"])
        except _BROKEN as error:
            logger.warning("%s is broken (%s); its features are computed anew.", path, error)
            return None

    def load_all(self, keys: Sequence[str]) -> Iterator[RegionFeatures]:
        """Features of images that are known to be there, one after another.

        Raises:
            SaccadeError: If one has been removed or damaged since.
        """
        for key in keys:
            regions = self.load(key)
            if regions is None:
                raise SaccadeError(f"{self.path(key)} was removed or damaged while it was in use. Resume the run.")
            yield regions

    def save(self, key: str, regions: RegionFeatures) -> None:
        """Write the features of an image, whole or not at all.

        Raises:
            SaccadeError: If the disk is full or the folder cannot be written.
        """
        scale = np.float32(max(float(np.abs(regions.features).max(initial=0.0)), np.finfo(np.float32).tiny))

        def write(temporary: Path) -> None:
            np.savez_compressed(
                temporary,
                features=(regions.features / scale).astype(np.float16),
                scale=scale,
                boxes=regions.boxes_xyxy,
                labels=regions.labels,
            )

        atomic_write(self.path(key), write, durable=False)


def hash_tensors(*tensors: Tensor, text: str = "") -> str:
    """Hash of the content, the shapes and the types of tensors, and of a text.

    Example:
        >>> hash_tensors(torch.zeros(2, 3)) == hash_tensors(torch.zeros(2, 3)) != hash_tensors(torch.zeros(3, 2))
        True
    """
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _weights_of(index: Path) -> str | None:
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
