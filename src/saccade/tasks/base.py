"""Interface of tasks to the engine, the verbs and the exporter; nothing above this folder names a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.tiles import TileGrid
from saccade.data.writers.drafts import Draft
from saccade.errors import ConfigError
from saccade.results.base import Result
from saccade.results.findings import Fault, ImageFindings
from saccade.results.images import Image, montage
from saccade.structures.dataset import DatasetInfo
from saccade.structures.geometry import Geometry
from saccade.structures.point_layout import PointLayout
from saccade.structures.sample import ImageInfo, Sample, Target

if TYPE_CHECKING:
    from torch import Tensor

    from saccade.metrics.base import Evaluator
    from saccade.ops.views import View

__all__ = ["ConstantBaseline", "MergeOptions", "Task", "as_array"]

# A prediction that ignores the image.
ConstantBaseline = Callable[[ImageInfo], Result]


@dataclass(frozen=True)
class MergeOptions:
    """Options by which the predictions of several views or tiles of one image are merged.

    Args:
        boxes: Weighted boxes fusion (``wbf``) or suppression (``nms``).
        iou_threshold: Overlap above which two boxes are one object.
        flip_pairs: Pairs of points that a mirror exchanges.

    Example:
        >>> MergeOptions(boxes="nms", iou_threshold=0.5)
        MergeOptions(boxes='nms', iou_threshold=0.5, flip_pairs=())
    """

    boxes: Literal["wbf", "nms"] = "wbf"
    iou_threshold: float = 0.55
    flip_pairs: tuple[tuple[int, int], ...] = ()


class Task(ABC):
    """Base of tasks: turns decoded tensors into results in original pixels, scores them, shows a target as a result.

    Attributes:
        name: The file's name.
        decoded: Shape of each decoded tensor: a letter stands for the same number everywhere, a digit for itself; a
            key that ends in ``?`` is optional. Exported graphs give them in this order.
        target_kinds: Kinds of ground truth that it scores.
        reads: Task for which readers give that ground truth; the task itself if empty.
        mirrored_points: A mirror exchanges named points, so test-time augmentation needs ``flip_pairs``.
        fitness: What a search of settings maximises, of which the first that an epoch has counts: its name, and the
            weight of each figure in it, negative where lower is better.
        searched: Strengths of augmentation that a search of settings tries if it is not told, ``field=lowest:highest``;
            mirrors are left alone, since whether a mirrored image is right is not a matter of score.
        on_demand: Kinds of ground truth that readers give only to who asks for them by name.
        open_set: Networks have no classes of their own (``num_classes`` 0): those of another split may be others.
        fault_kinds: Kinds of errors that ``inspect`` finds in images, in the order of a page, each with what a reader
            has to know of their drawings.
        pixel_key: Decoded map (B, C, H, W) whose tiles are merged pixel by pixel; empty: results are joined instead.
    """

    name: ClassVar[str]
    decoded: ClassVar[Mapping[str, str]]
    target_kinds: ClassVar[tuple[str, ...]]
    reads: ClassVar[str] = ""
    mirrored_points: ClassVar[bool] = False
    fitness: ClassVar[Sequence[tuple[str, Mapping[str, float]]]] = (("loss", {"loss": -1.0}),)
    searched: ClassVar[Sequence[str]] = ("augment.translate=0:0.2",)
    on_demand: ClassVar[Sequence[str]] = ()
    open_set: ClassVar[bool] = False
    pixel_key: ClassVar[str] = ""
    fault_kinds: ClassVar[Mapping[str, str]] = {
        "worst": "Images by rising score, each beside its ground truth (right).",
    }

    @property
    def decoded_keys(self) -> tuple[str, ...]:
        """Keys that every network of the task decodes."""
        return tuple(key for key in self.decoded if not key.endswith("?"))

    @property
    def optional_keys(self) -> tuple[str, ...]:
        """Keys that a network of the task may decode beside them."""
        return tuple(key.removesuffix("?") for key in self.decoded if key.endswith("?"))

    @property
    def ground_truth_task(self) -> str:
        """Task for which readers give the ground truth."""
        return self.reads or self.name

    def network_classes(self, class_names: Sequence[str]) -> int:
        """How many classes a network has that learns from data with these class names.

        Raises:
            ConfigError: If the task cannot be learnt from data with such classes.
        """
        return len(class_names)

    @abstractmethod
    def results(
        self, decoded: Mapping[str, Tensor], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn decoded tensors into one result an image, mapped back through its geometry."""

    def with_points(self, results: Sequence[Result], points: PointLayout) -> list[Result]:
        """The same results, which know names and skeleton of their keypoints; those without keypoints as they are."""
        return list(results)

    @abstractmethod
    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Turn a target, in pixels of the canvas that ``info.geometry`` inverts, into the result of a perfect model."""

    @abstractmethod
    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> Evaluator:
        """Build an evaluator of the field's metric; the model's ``decoded_keys`` may choose the figure that decides."""

    def inspect(self, result: Result, target: Target, data: DatasetInfo) -> ImageFindings:
        """Find the figures and errors of one image; both arguments are in its pixels.

        Where a task has no rule of its own: the metric of that image alone, and the result beside its ground truth.

        Args:
            result: What the user sees, that is, without objects below the threshold.
            target: Ground truth.
            data: Class names, as for the evaluator.
        """
        evaluator = self.evaluator(data)
        evaluator.update([result], [target])
        report = evaluator.compute()
        figures: dict[str, float | int | str] = {name: float(value) for name, value in report.values.items()}
        about = ImageInfo(result.image_id, result.path, Geometry.identity(result.image_size))
        truth = self.from_target(target, about, data.class_names)

        def draw(image: NDArray[Any]) -> Image:
            return montage([replace(one, image=image).plot() for one in (result, truth)], columns=2, cell=450)

        caption = f"{report.primary} {figures[report.primary]:.3f}; right: ground truth"
        fault = Fault("worst", -report.score, caption, draw)
        return ImageFindings(figures, report.primary, report.higher_is_better, [fault])

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline | None:
        """Learn the best prediction that ignores the image from ``samples``; None where there is none.

        A model that does not clearly beat it has learnt nothing.
        """
        return None

    def merge_views(
        self, decoded: Sequence[Mapping[str, Tensor]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Tensor]:
        """Merge the decoded tensors of mirrored and resized views into those of the batch.

        Raises:
            ConfigError: If the task has no rule.
        """
        raise ConfigError(f"{self.name} has no rule to merge several views. Predict without test-time augmentation.")

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join the results of tiles, in the order of the grid, into one in pixels of the whole image.

        Raises:
            ConfigError: If the task has no rule.
        """
        raise ConfigError(f"{self.name} has no rule to join the results of several tiles. Predict without tiles.")

    def has_pixel_scores(self, example: Result) -> bool:
        """Whether a result like ``example`` keeps a score of every pixel beside its class."""
        return False

    def from_pixels(self, example: Result, labels: NDArray[Any], scores: NDArray[Any] | None) -> Result:
        """Build the result of the whole image, like ``example``, from the merged tiles of ``pixel_key``.

        Args:
            example: Result of one tile.
            labels: (H, W) class of each pixel.
            scores: (H, W) value of the last channel; None without :meth:`has_pixel_scores` or for very large images.

        Raises:
            ConfigError: If the task has no ``pixel_key``.
        """
        raise ConfigError(f"{self.name} predicts no map of pixels.")

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the results of the canvases that show one image (object crops), all in pixels of the image.

        Raises:
            ConfigError: If the task has no rule.
        """
        raise ConfigError(f"{self.name} has no rule to join the results of several canvases of one image.")

    def drafts(self, result: Result) -> list[Draft]:
        """Objects of a result as labels to be corrected.

        Raises:
            ConfigError: If the task has no labels that a person draws.
        """
        raise ConfigError(f"{self.name} predicts no labels that could be corrected. Use predict.")

    def draft_info(self, class_names: Sequence[str], points: PointLayout) -> tuple[DatasetInfo, tuple[str, ...]]:
        """Describe a data set of such labels, and name the classes of its objects.

        Args:
            class_names: Of the network.
            points: Layout of the keypoints that it gives.
        """
        info = DatasetInfo(
            "labels",
            self.ground_truth_task,
            tuple(class_names),
            "all",
            flip_pairs=points.flip_pairs,
            point_names=points.names,
            skeleton=points.skeleton,
        )
        return info, tuple(class_names)

    def search_gallery(self, gallery: Iterable[tuple[Result, str]], count: int) -> Callable[[Result], Result]:
        """Prepare the search of a gallery; what it gives adds the nearest images of the gallery to a result.

        Args:
            gallery: Result and class (empty if there are none) of each of its images.
            count: How many nearest images, at most.

        Raises:
            ConfigError: If the task does not compare images; the gallery is not asked for its first one then.
            DataError: If the gallery has no image.
        """
        raise ConfigError(f"{self.name} compares no images with others. Leave the gallery out.")


def as_array(value: Any) -> NDArray[Any]:
    """Convert a decoded tensor of any runtime to a NumPy array in memory; half precisions become float32.

    Example:
        >>> as_array(torch.ones(2, dtype=torch.bfloat16))
        array([1., 1.], dtype=float32)
    """
    if hasattr(value, "detach"):  # a tensor, told without importing torch
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" and array.dtype.itemsize < 4 else array
