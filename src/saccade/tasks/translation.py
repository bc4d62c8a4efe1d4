"""Image translation: an image becomes one of another domain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.derived.tiles import TileGrid
from saccade.results.base import Result
from saccade.results.images import read_rgb, to_rgb8
from saccade.results.translated_image import TranslatedImage
from saccade.structures.dataset import DatasetInfo
from saccade.structures.sample import ImageInfo, Sample, Target
from saccade.tasks.base import ConstantBaseline, MergeOptions, Task, as_array

if TYPE_CHECKING:
    from saccade.metrics.translation import TranslationEvaluator
    from saccade.ops.views import View

__all__ = ["TASK", "TranslationTask"]


class TranslationTask(Task):
    """Image translation task: ``image`` (B, 3, H, W) of the canvas, 0..255, to ``TranslatedImage``.

    Example:
        >>> from saccade.structures.geometry import Geometry
        >>> info = ImageInfo(0, "a.png", Geometry.identity((4, 6)))
        >>> (result,) = TASK.results({"image": np.full((1, 3, 4, 6), 99.7)}, [info], ())
        >>> result.output.shape, int(result.output.max())
        ((4, 6, 3), 100)
    """

    name = "translation"
    decoded: ClassVar[Mapping[str, str]] = {"image": "B3HW"}
    target_kinds = ("target_image", "paired")
    fitness = (("SSIM", {"SSIM": 1.0}), ("KID_thumbnails", {"KID_thumbnails": -1.0}))
    searched = ("augment.scale=1.0:1.3", "augment.translate=0:0.1")

    def results(
        self, decoded: Mapping[str, Any], infos: Sequence[ImageInfo], class_names: Sequence[str]
    ) -> list[Result]:
        """Turn outputs into one ``TranslatedImage`` an image, as large as the original."""
        images = as_array(decoded["image"])
        return [
            _result(info.geometry.invert_map(np.ascontiguousarray(image.transpose(1, 2, 0)), linear=True), info)
            for image, info in zip(images, infos, strict=True)
        ]

    def from_target(self, target: Target, info: ImageInfo, class_names: Sequence[str]) -> Result:
        """Show a target as a result: the image of the other domain; one that is no partner is resized."""
        image: NDArray[Any] = to_rgb8(np.asarray(target["target_image"]))
        paired = bool(target.get("paired", True))
        if paired:
            image = info.geometry.invert_map(image, linear=True)
        height, width = info.geometry.original_size
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return replace(_result(image, info), title="wanted" if paired else "other domain")

    def evaluator(self, data: DatasetInfo, decoded_keys: Collection[str] = ()) -> TranslationEvaluator:
        """Build the evaluator; SSIM decides on pairs, the kernel distance of thumbnails otherwise."""
        from saccade.metrics.translation import TranslationEvaluator

        return TranslationEvaluator()

    def constant_baseline(self, samples: Iterable[Sample], data: DatasetInfo) -> ConstantBaseline:
        """The baseline of translation changes nothing: the output is the input."""

        def predict(info: ImageInfo) -> Result:
            return _result(to_rgb8(read_rgb(info.path) if info.image is None else info.image), info)

        return predict

    def merge_views(
        self, decoded: Sequence[Mapping[str, Any]], views: Sequence[View], options: MergeOptions
    ) -> dict[str, Any]:
        """Merge views: the mean of their images, mirrored and resized back to the canvas."""
        from saccade.ops.views import mean_of_views  # with torch

        return {"image": mean_of_views([one["image"] for one in decoded], views)}

    def join_tiles(self, results: Iterable[Result], grid: TileGrid, options: MergeOptions) -> Result:
        """Join tiles: a mean, in which a pixel of a tile weighs more the farther it lies from the tile's border."""
        height, width = grid.size
        total, weights = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
        rise = [1 + np.minimum(np.arange(side), np.arange(side)[::-1]) for side in grid.tile]
        ramp = np.minimum.outer(rise[0], rise[1])[..., None].astype(np.float32)
        first: TranslatedImage | None = None
        for index, result in enumerate(results):
            assert isinstance(result, TranslatedImage)
            first = first or result
            top, left = grid.origin(index)
            window, part = _overlap((top, left), grid.tile, grid.size)
            total[window] += result.output[part] * ramp[part]
            weights[window] += ramp[part]
        assert first is not None, "a grid has at least one tile"
        return replace(first, output=_as_bytes(total / weights), image_size=grid.size, image=None)

    def join_parts(self, results: Sequence[Result]) -> Result:
        """Join the canvases that show one image: the mean of their outputs."""
        parts = [result for result in results if isinstance(result, TranslatedImage)]
        mean = np.mean([part.output for part in parts], axis=0)
        return replace(parts[0], output=_as_bytes(mean))


def _overlap(
    origin: tuple[int, int], tile: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What a tile shows of the image: the window in pixels of the image, and in those of the tile."""
    window, part = [], []
    for start, side, length in zip(origin, tile, size, strict=True):
        first, last = max(start, 0), min(start + side, length)
        window.append(slice(first, last))
        part.append(slice(first - start, last - start))
    return (window[0], window[1]), (part[0], part[1])


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _result(output: NDArray[Any], info: ImageInfo) -> TranslatedImage:
    return TranslatedImage(
        path=info.path,
        image_id=info.image_id,
        image_size=info.geometry.original_size,
        class_names=(),
        image=info.image,
        output=output if output.dtype == np.uint8 else _as_bytes(output),
    )


TASK = TranslationTask()
