"""Decoded images kept in memory, after an estimate of what they take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.data.derived.base import DerivedDataset
from saccade.data.derived.image_sizes import image_sizes
from saccade.errors import ConfigError
from saccade.structures.dataset import VisionDataset
from saccade.structures.sample import Sample

__all__ = ["CachedDataset", "available_memory", "cached_bytes"]

_SAMPLED = 30  # images whose sizes are looked at for the estimate
_MARGIN = 1.1
_CONTAINER = Path("/sys/fs/cgroup")
_SHARE = 0.8  # of the memory that is free, which a cache may take


class CachedDataset(DerivedDataset):
    """Data set whose images are decoded once, before the first epoch, and kept in memory.

    Loader processes that are forked later share the pixels. Ground truth is read as ever, and images that are drawn in
    pairs (unpaired domains) are decoded each time.

    Args:
        dataset: Data set that holds the images.
        threads: That decode; as many as there are cores if not given.
        available: Bytes that are free; asked of the system if not given.

    Raises:
        ConfigError: If the images would take more than four fifths of the free memory.
        DataError: If an image cannot be read.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> scenes = DigitScenes("detection", "val", count=3, size=(64, 64))
        >>> cached = CachedDataset(scenes)
        >>> cached.bytes, np.array_equal(cached.read(2).image, scenes.read(2).image)
        (36864, True)
    """

    def __init__(self, dataset: VisionDataset, threads: int | None = None, available: int | None = None) -> None:
        free = available_memory() if available is None else available
        needed = cached_bytes(dataset)
        if free is not None and needed > _SHARE * free:
            raise ConfigError(
                f"data.cache: the {len(dataset):,} images of {dataset.info.name} take about {_gigabytes(needed)} once "
                f"they are decoded, and {_gigabytes(free)} of memory are free. Set data.cache to false, or resize the "
                "files to what the network sees."
            )
        super().__init__(dataset)
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            self._samples: Sequence[Sample] = list(pool.map(self._load, range(len(dataset))))

    def _load(self, index: int) -> Sample:
        sample = self.dataset.read(index)
        sample.target = {}
        return sample

    @property
    def bytes(self) -> int:
        """What the images take."""
        return sum(sample.image.nbytes for sample in self._samples)

    def read(self, index: int) -> Sample:
        """Image and ground truth of ``index``; the pixels are the caller's own."""
        kept = self._samples[index]
        return Sample(kept.image.copy(), self.target(index), kept.info, inputs=dict(kept.inputs))


def cached_bytes(dataset: VisionDataset) -> int:
    """About how many bytes the decoded images of a data set take: of thirty of them, with a tenth on top.

    Example:
        >>> from saccade.data.catalogue.digit_scenes import DigitScenes
        >>> cached_bytes(DigitScenes("detection", "val", count=10, size=(100, 100)))
        330000
    """
    count = len(dataset)
    if not count:
        return 0
    indices = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int)).tolist()
    pixels = image_sizes(dataset, indices).prod(axis=1).mean()
    channels = getattr(dataset, "channels", 3)
    return round(float(pixels) * channels * count * _MARGIN)


def available_memory() -> int | None:
    """Bytes of memory that are free for use; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    try:  # a container may have less; what it holds of files is given back when it is needed
        limit, used = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        return min(free, max(limit - used + int(stat["file"]), 0))
    except (OSError, ValueError, KeyError):
        return free


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
