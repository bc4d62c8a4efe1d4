"""Saliency: how much every pixel is foreground."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.results.saliency import SaliencyMap
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import IGNORE_LABEL, ImageInfo, Sample
from saccade.structures.text import printable
from saccade.tasks.base import ConstantBaseline
from saccade.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:
    from saccade.metrics.base import Evaluator

__all__ = ["TASK", "SaliencyTask"]

_PRIOR_SIDE = 64  # the mean mask of a data set is smooth; it is kept as a square of this side


class SaliencyTask(SegmentationTask):
    """Saliency task: ``probabilities`` (B, 1, H, W) of the canvas to ``SaliencyMap``, the soft map kept.

    It reads the ground truth of segmentation and differs from a segmentation network with one class in what counts: the
    soft map is the prediction, and the maximum F-measure decides instead of mean IoU.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((2, 2)))
        >>> decoded = {"probabilities": np.array([[[[0.9, 0.1], [0.2, 0.3]]]])}
        >>> TASK.results(decoded, [info], ("person",))[0].describe()
        'person 25.0%'
    """

    name = "saliency"
    decoded: ClassVar[Mapping[str, str]] = {"probabilities": "B1HW"}
    reads = "segmentation"
    fitness = (("max_F", {"max_F": 1.0}),)
    result_type = SaliencyMap

    def network_classes(self, class_names: Sequence[str]) -> int:
        """One: the foreground.

        Raises:
            ConfigError: If the data has other classes than ``background`` and one more, or one alone.
        """
        from saccade.metrics.segmentation import has_one_foreground

        if not has_one_foreground(class_names):
            shown = ", ".join(printable(name, limit=40) for name in class_names[:8])
            more = ", ..." if len(class_names) > 8 else ""
            raise ConfigError(
                f"saliency is one foreground against background, and the data has {len(class_names)} classes "
                f"({shown}{more}). Give data with two classes, of which class 0 is named 'background', or train a "
                "network for segmentation."
            )
        return 1

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> Evaluator:
        """Build the evaluator; the maximum F-measure decides."""
        from saccade.metrics.saliency import SaliencyEvaluator

        self.network_classes(data.class_names)
        return SaliencyEvaluator()

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """Learn the constant baseline: the mean mask, stretched over the image; objects lie in the middle of most."""
        import cv2

        side = (_PRIOR_SIDE, _PRIOR_SIDE)
        foreground, scored = np.zeros(side), np.zeros(side)
        for sample in samples:
            labels = np.asarray(sample.target["label_map"])
            valid = labels != IGNORE_LABEL
            for total, pixels in ((foreground, labels == 1), (scored, valid)):
                total += cv2.resize(pixels.astype(np.float32), side, interpolation=cv2.INTER_AREA)
        prior = (foreground / np.maximum(scored, 1e-6)).clip(0, 1).astype(np.float32)

        def predict(info: ImageInfo) -> Result:
            height, width = info.geometry.original_size
            soft = cv2.resize(prior, (width, height), interpolation=cv2.INTER_LINEAR)
            return self._result((soft >= 0.5).astype(np.uint8), info, data.class_names, soft)

        return predict

    def _names(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """A network of published weights may name no class."""
        return super()._names(class_names) if class_names else ("background", "foreground")


TASK = SaliencyTask()
