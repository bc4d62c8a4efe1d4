"""To be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saccade.data.annotations import TableDataset

__all__ = ["matches", "read", "splits"]


def matches(root: Path) -> bool:
    """Not yet."""
    return False


def splits(root: Path) -> tuple[str, ...]:
    """Not yet."""
    return ()


def read(root: Path, split: str, task: str | None = None, **options: Any) -> TableDataset:
    """Not yet."""
    raise NotImplementedError
