"""What the engine, the verbs and the exporter need to know of a task; nothing above this folder names one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from saccade.data.dataset import DatasetInfo
from saccade.data.sample import ImageInfo, Target
from saccade.metrics.base import Evaluator
from saccade.results.base import Result

__all__ = ["Task"]


class Task(Protocol):
    """A task turns decoded tensors into results in original pixels, scores them, and shows a truth as a result."""

    name: str
    decoded_keys: tuple[str, ...]  # keys of Model.decode, in the order in which an exported graph returns them

    def results(self, decoded: Mapping[str, Tensor], infos: Sequence[ImageInfo], class_names: Sequence[str]) -> list[Result]:
        """One result an image, mapped back through its geometry."""
        ...

    def truth(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """A target as the result a perfect model would give; ``target`` is in pixels of the canvas that ``info.geometry`` inverts."""
        ...

    def evaluator(self, data: DatasetInfo) -> Evaluator:
        """A fresh evaluator with the field's metric."""
        ...
