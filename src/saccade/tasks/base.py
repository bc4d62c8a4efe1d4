"""What the engine, the verbs and the exporter need to know of a task; nothing above this folder names one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from saccade.metrics.base import Evaluator
from saccade.results.base import Result
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target

__all__ = ["ConstantBaseline", "Task", "as_array"]

# What an answer that never looks at the image says of it.
ConstantBaseline = Callable[[ImageInfo], Result]


class Task(Protocol):
    """Turns decoded tensors into results in original pixels, scores them, and shows a target as a result."""

    name: str
    decoded_keys: tuple[str, ...]  # keys of Model.decode, in the order in which an exported graph returns them

    def results(
        self, decoded: Mapping[str, Tensor], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """One result an image, mapped back through its geometry."""
        ...

    def ground_truth(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """A target, in pixels of the canvas that ``info.geometry`` inverts, as the result of a perfect model."""
        ...

    def evaluator(self, data: DatasetInfo) -> Evaluator:
        """A fresh evaluator with the field's metric."""
        ...

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline | None:
        """The best answer that never looks at the image, learnt from ``samples``; None where there is none.

        A model that does not clearly beat it has learnt nothing.
        """
        ...


def as_array(value: Any) -> NDArray[Any]:
    """A decoded tensor, from whichever runtime, as a numpy array in memory; half precisions become float32."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" and array.dtype.itemsize < 4 else array
