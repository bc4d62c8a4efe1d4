"""What every prediction can do, whatever its task."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

__all__ = ["Result"]


@dataclass
class Result(ABC):
    """A prediction (or a truth: the same type draws and scores both) for one picture, in pixels of the original.

    Args:
        path: File of the picture, or a name such as ``array-3``.
        image_id: The data set's number for it.
        image_size: (height, width) of the original.
        class_names: Names of labels 0..N-1.
        image: Original pixels (H, W, C), where they were kept.
    """

    path: str
    image_id: int
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    image: NDArray[Any] | None

    @abstractmethod
    def plot(self) -> NDArray[Any]:
        """The picture with the prediction drawn on it, (H, W, 3) uint8 RGB; the file is read again if the pixels were not kept."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values, class names included."""

    @abstractmethod
    def to_coco(self) -> list[dict[str, Any]]:
        """COCO result entries (``image_id``, ``category_id``, ...)."""

    @abstractmethod
    def to_supervision(self) -> Any:
        """The same as an object of the ``supervision`` package.

        Raises:
            SaccadeError: If supervision is not installed, or has no type for this task.
        """

    def save(self, path: str | Path) -> Path:
        """Write the drawing (``.png``, ``.jpg``) or the values (``.json``), by suffix; returns the file."""
        from saccade.results.drawing import write_image

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".json":
            target.write_text(json.dumps(self.to_json(), indent=1))
        else:
            write_image(target, self.plot())
        return target
