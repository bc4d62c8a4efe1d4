"""Darknet's ``.weights`` files: a header, then floats in the order of the network's configuration.

A convolution with BatchNorm is bias, scale, mean, variance and kernel; one without is bias and kernel; a fully
connected layer is bias and weights. That is the order in which our networks hold their layers, so no configuration is
needed.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saccade.errors import WeightsError
from saccade.structures.text import printable
from saccade.weights.foreign import require_weights_file
from saccade.weights.loadable import Loadable

__all__ = ["count_darknet_classes", "read_darknet"]

_MAX_BYTES = 4 << 30  # the largest known, of YOLOv4-P7, has 1.1 GB


def read_darknet(path: str | Path, model: Loadable) -> dict[str, Tensor]:
    """Read a Darknet ``.weights`` file under the tensor names of a model.

    Args:
        path: The file. Its header is major, minor and revision as int32 and the number of images seen, which is int64
            from version 0.2 on and int32 before.
        model: A network whose layers are those of the file's configuration, in the same order.

    Raises:
        WeightsError: If the file is missing, or holds more or fewer floats than the model has.

    Example:
        >>> header, floats = np.array([0, 2, 0, 0, 0], "<i4"), np.array([1, 2, 3, 4], "<f4")
        >>> _ = Path("tiny.weights").write_bytes(header.tobytes() + floats.tobytes())
        >>> state = read_darknet("tiny.weights", torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)))  # bias, then kernel
        >>> {name: tensor.flatten().tolist() for name, tensor in state.items()}
        {'0.bias': [1.0, 2.0], '0.weight': [3.0, 4.0]}
    """
    own = model.state_dict()
    if any(".conv_exp." in name for name in own):
        raise WeightsError(
            f"'{printable(str(path))}' cannot be read into '{model.builder_name}': Darknet's files keep the two halves "
            "of a cross-stage partial layer apart, and this network has them in one. Darknet-19 and Darknet-53 are "
            "read."
        )
    floats, cut = _floats(path)
    order = _file_order(list(own))
    needed = sum(own[name].numel() for name in order)
    if len(floats) != needed or cut:
        name = getattr(model, "builder_name", "") or "the model"
        raise WeightsError(
            f"'{printable(str(path))}' (Darknet) holds {len(floats):,} floats, and {name} has {needed:,} weights and "
            "statistics. Create the model that the file was made for, with its number of classes."
        )
    state, at = {}, 0
    for name in order:
        count = own[name].numel()
        state[name] = torch.from_numpy(floats[at : at + count].astype(np.float32)).view(own[name].shape)
        at += count
    return state


def count_darknet_classes(path: str | Path, model: Loadable) -> int | None:
    """Classes of the head of a Darknet file, if all the rest is that of a network; None if it is not.

    Args:
        path: The file.
        model: A network whose layers are those of the file's configuration, for any number of classes.

    Raises:
        WeightsError: If the file is missing or no Darknet file.
    """
    floats, cut = _floats(path)
    own, rows = model.state_dict(), model.class_rows
    body = sum(own[name].numel() for name in _file_order(list(own)) if name not in rows)
    # A head of n classes has `fixed + n * per_class` numbers.
    each = fixed = 0
    for name, layout in rows.items():
        row = math.prod(side for axis, side in enumerate(own[name].shape) if axis not in layout.axes)
        if len(layout.axes) != 1:
            return None
        each += row * layout.groups * layout.per_class
        fixed += row * layout.groups * layout.fixed
    rest = len(floats) - body - fixed
    return rest // each if each and rest > 0 and rest % each == 0 and not cut else None


def _floats(path: str | Path) -> tuple[NDArray[np.float32], bool]:
    """The numbers after the header, and whether bytes are left over that make no number.

    Raises:
        WeightsError: If it is no regular file, too large, or has no header.
    """
    size = require_weights_file(path)
    if size > _MAX_BYTES:
        raise WeightsError(f"'{printable(str(path))}' has {size:,} bytes, more than the {_MAX_BYTES:,} that are read.")
    content = Path(path).read_bytes()
    if len(content) < 20:
        raise WeightsError(
            f"'{printable(str(path))}' is no Darknet file: it has {len(content)} bytes, less than the header."
        )
    major, minor, _ = (int(value) for value in np.frombuffer(content, "<i4", 3))
    start = 20 if major * 10 + minor >= 2 else 16
    usable = (len(content) - start) // 4 * 4
    return np.frombuffer(content, "<f4", usable // 4, offset=start), usable != len(content) - start


def _file_order(names: list[str]) -> list[str]:
    """Tensor names in the order of the file, layer by layer."""
    order: list[str] = []
    layers = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
    norms = {layer for layer in layers if f"{layer}.running_mean" in names}
    for index, layer in enumerate(layers):
        if layer in norms:
            continue
        following = layers[index + 1] if index + 1 < len(layers) else ""
        if following in norms:
            order += [f"{following}.{part}" for part in ("bias", "weight", "running_mean", "running_var")]
        elif f"{layer}.bias" in names:
            order.append(f"{layer}.bias")
        order.append(f"{layer}.weight")
    return order
