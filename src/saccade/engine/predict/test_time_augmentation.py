"""Test-time augmentation: a runtime that predicts several views of every canvas and merges them.

It is a runtime itself, so evaluation, prediction and tiles take it as they take any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saccade.data.transforms.move import resize_pixels
from saccade.deploy.base import Runtime, max_detections_of, num_classes_of, points_of, score_thresholds_of
from saccade.deploy.torch_runtime import as_uint8
from saccade.errors import ConfigError
from saccade.models.base import Decoded
from saccade.models.finish import merge_of, run_finish
from saccade.ops.views import View, flip_order
from saccade.structures.kinds import kind_of
from saccade.tasks import get_task
from saccade.tasks.base import MergeOptions

__all__ = ["AugmentedRuntime"]


class AugmentedRuntime:
    """Test-time augmentation: predicts each canvas at several scales, plain and mirrored, and merges the predictions.

    Probabilities of an image or of its pixels are averaged; boxes go through weighted boxes fusion over the views
    (Solovyev et al. 2021) or suppression; points are averaged, with left and right exchanged in the mirror; of
    bottom-up networks the heatmaps and fields are, before people are made of them. The time is that of as many
    predictions as there are views.

    Args:
        runtime: What predicts.
        flip: Also predict the mirror image.
        scales: Factors on the canvas, each rounded to the network's ``pad_multiple``; exported files take their own
            canvas only.
        flip_pairs: Pairs of points that a mirror exchanges (``DatasetInfo.flip_pairs``); those that the network learnt
            with, if not given. A point with itself where none has a partner.
        merge: Of boxes: ``wbf`` or ``nms``.
        iou_threshold: Of boxes: overlap above which boxes of two views are one object.

    Raises:
        ConfigError: If a value is out of range, or the mirror would exchange points and ``flip_pairs`` is empty.

    Example:
        >>> from saccade.deploy.runtime import EagerRuntime
        >>> plain = EagerRuntime(saccade.create_model("resnet18", num_classes=3))
        >>> runtime = AugmentedRuntime(plain, scales=(0.83, 1.0))
        >>> runtime.name
        'resnet18 (torch, cpu, float32), 4 views'
        >>> runtime(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))["probabilities"].shape
        torch.Size([1, 3])
    """

    def __init__(
        self,
        runtime: Runtime,
        flip: bool = True,
        scales: Sequence[float] = (1.0,),
        flip_pairs: Sequence[tuple[int, int]] = (),
        merge: Literal["wbf", "nms"] = "wbf",
        iou_threshold: float = 0.55,
    ) -> None:
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ConfigError(f"test-time augmentation: scales are factors above 0, at least one; got {tuple(scales)}.")
        if merge not in ("wbf", "nms"):
            raise ConfigError(f"test-time augmentation: merge is '{merge}'. Choose from: nms, wbf.")
        if not 0 < iou_threshold <= 1:
            raise ConfigError(f"test-time augmentation: iou_threshold is a share, above 0 to 1; got {iou_threshold}.")
        self._task = get_task(runtime.task)
        flip_pairs = flip_pairs or points_of(runtime).flip_pairs
        points = len(runtime.class_names) if self._task.mirrored_points else 0
        if flip and points > 1 and not flip_pairs:
            raise ConfigError(
                f"test-time augmentation: a mirror exchanges left and right points, and {runtime.name} does not "
                "hold which. Pass flip_pairs, such as those of the data set (dataset.info.flip_pairs; a point with "
                "itself if none has a partner), or flip=False."
            )
        if points:
            flip_order(flip_pairs, points)  # refuses pairs of other points now
        self.runtime = runtime
        self.flips = (False, True) if flip else (False,)
        self.scales = tuple(scales)
        self.options = MergeOptions(merge, iou_threshold, tuple(flip_pairs))
        self.task, self.class_names, self.input_spec = runtime.task, runtime.class_names, runtime.input_spec
        self.input_names, self.decoded_keys = runtime.input_names, runtime.decoded_keys
        self.point_layout = points_of(runtime)
        self.num_classes, self.max_detections = num_classes_of(runtime), max_detections_of(runtime)
        self.score_thresholds = score_thresholds_of(runtime)
        if self.input_spec.fixed:
            for scale in self.scales:
                self.input_spec.with_size(self._size(self.input_spec.canvas, scale))  # refuses other sizes now
        number = len(self.flips) * len(self.scales)
        self.name = f"{runtime.name}, {number} view{'s' if number != 1 else ''}"

    def __call__(self, images: Tensor, **inputs: Tensor) -> Decoded:
        """Decoded tensors on the CPU of ``images`` (B, C, H, W), uint8.

        Further inputs move with the views: boxes are scaled and mirrored, images resized.

        Raises:
            ConfigError: If a further input is of a kind for which no rule is known.
        """
        finish, options = getattr(self.runtime, "finish", ("", {}))
        merge = merge_of(finish)
        # Maps are merged before people are made of them, where the function after the graph can do so.
        run = self.runtime if merge is None else self.runtime.run_graph  # type: ignore[attr-defined]
        canvases = as_uint8(images).permute(0, 2, 3, 1).numpy()
        canvas = (canvases.shape[1], canvases.shape[2])
        decoded, views = [], []
        for scale in self.scales:
            size = self._size(canvas, scale)
            resized = np.stack([resize_pixels(image, size) for image in canvases])
            for mirrored in self.flips:
                pixels = np.ascontiguousarray(resized[:, :, ::-1]) if mirrored else resized
                view = View(canvas, size, mirrored)
                moved = {name: self._moved(name, value, view) for name, value in inputs.items()}
                decoded.append(run(torch.from_numpy(pixels).permute(0, 3, 1, 2), **moved))
                views.append(view)
        if merge is None:
            return self._task.merge_views(decoded, views, self.options)
        return run_finish(finish, merge(decoded, views, self.options.flip_pairs, options), as_uint8(images), options)

    def _moved(self, name: str, value: Tensor, view: View) -> Tensor:
        """A further input in pixels of a view."""
        motion = kind_of(name).motion
        if motion == "none":
            return value
        if motion == "image":
            images = [resize_pixels(image, view.size) for image in value.permute(0, 2, 3, 1).numpy()]
            moved = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
            return moved.flip(3) if view.mirrored else moved
        if motion != "boxes":
            raise ConfigError(
                f"{self.runtime.name} takes {name}, for which test-time augmentation has no rule. Predict without it."
            )
        boxes = value * value.new_tensor([view.size[1] / view.canvas[1], view.size[0] / view.canvas[0]] * 2)
        if not view.mirrored:
            return boxes
        real = (value[..., 2:] > value[..., :2]).all(dim=-1, keepdim=True)  # padding stays zero
        x1, y1, x2, y2 = boxes.unbind(-1)
        return torch.stack([view.size[1] - x2, y1, view.size[1] - x1, y2], dim=-1) * real

    def _size(self, canvas: tuple[int, int], scale: float) -> tuple[int, int]:
        """The canvas as it is, or resized to the nearest size that the network takes."""
        if scale == 1:
            return canvas
        multiple = self.input_spec.pad_multiple
        height, width = (max(round(scale * side / multiple), 1) * multiple for side in canvas)
        return height, width
