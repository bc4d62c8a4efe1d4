"""RoIPool in exported files: torchvision's operator as those of ONNX and OpenVINO, which compute the same cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from saccade.ops.operators import torchvision_operators

__all__ = ["convert_roi_pool", "onnx_translations"]


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operators that the ONNX exporter does not take as they are, and what they become.

    The exporter's own translation of RoIPool has other arguments than the operator, so that it never fits.

    Example:
        >>> [str(operator) for operator in onnx_translations()]
        ['torchvision.roi_pool.default']
    """
    from onnxscript import opset18 as ops

    torchvision_operators()  # registers it

    def roi_pool(features: Any, boxes: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> Any:
        shape = [pooled_height, pooled_width]
        pooled = ops.MaxRoiPool(features, boxes, pooled_shape=shape, spatial_scale=spatial_scale)
        return pooled, pooled  # the second, where each maximum lies, is for gradients alone

    return {torch.ops.torchvision.roi_pool.default: roi_pool}


def convert_roi_pool(context: Any) -> list[Any]:
    """``torchvision::roi_pool(features, boxes, scale, height, width) -> (pooled, where)`` for OpenVINO's converter."""
    from openvino import opset13 as ops

    features, boxes = context.get_input(0), context.get_input(1)
    scale, height, width = (context.get_values_from_const_input(index) for index in (2, 3, 4))
    pooled = ops.roi_pooling(features, boxes, [int(height), int(width)], float(scale), "max")
    # The converter takes the first of the results by indexing.
    return [ops.unsqueeze(pooled, ops.constant(np.int64(0))).output(0)]
