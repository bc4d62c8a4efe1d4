"""Data sets: opened by name or path, checked, converted, augmented and loaded.

Every name is loaded on first use, so that importing one sub-package does not import the others.

Example:
    >>> from saccade.data import open_dataset
    >>> open_dataset("digit_scenes", "val").info.task
    'detection'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.data.derived.in_memory import MemoryDataset as MemoryDataset
    from saccade.data.images.decode import read_image as read_image
    from saccade.data.open import open_dataset as open_dataset
    from saccade.structures.dataset import DatasetInfo as DatasetInfo
    from saccade.structures.dataset import VisionDataset as VisionDataset

__all__ = ["DatasetInfo", "MemoryDataset", "VisionDataset", "open_dataset", "read_image"]

_MODULES = {
    "DatasetInfo": "saccade.structures.dataset",
    "MemoryDataset": "saccade.data.derived.in_memory",
    "VisionDataset": "saccade.structures.dataset",
    "open_dataset": "saccade.data.open",
    "read_image": "saccade.data.images.decode",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
