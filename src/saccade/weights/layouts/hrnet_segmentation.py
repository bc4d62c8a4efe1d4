"""HRNet segmentation files of its authors: ``stage2.0.branches.*``, ``fuse_layers``, ``last_layer``.

The backbone's names are ours. Files saved during training have ``model.`` before them and the loss's class weights
beside them (``loss.criterion.weight``), which are no part of the network.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.errors import WeightsError
from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "official HRNet segmentation"

_STEM = "stage2.0.fuse_layers.0.1.0.weight"
_CONTEXT = "ocr_distri_head."
# Convolution 0, BN 1, ReLU 2, convolution 3.
_LAST = ((re.compile(r"^last_layer\.([01])\."), r"neck.\1."), (re.compile(r"^last_layer\.3\."), "head."))


def matches(keys: set[str]) -> bool:
    """Whether these are the names of an HRNet for segmentation, object-contextual representations included.

    Example:
        >>> matches({"model.stage2.0.fuse_layers.0.1.0.weight", "model.last_layer.3.weight"})
        True
        >>> matches({"stage2.0.fuse_layers.0.1.0.weight", "final_layer.0.weight"})  # a classifier
        False
    """
    names = {_plain(key) for key in keys}
    return _STEM in names and ("last_layer.3.weight" in names or any(name.startswith(_CONTEXT) for name in names))


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``hrnet_w18_seg`` and its relatives.

    Raises:
        WeightsError: If the file's head has object-contextual representations.

    Example:
        >>> model = saccade.create_model("hrnet_seg")
        >>> state = {"model.conv1.weight": torch.zeros(64, 3, 3, 3), "model.last_layer.3.bias": torch.zeros(2)}
        >>> list(convert(state, model))
        ['backbone.conv1.weight', 'head.bias']
    """
    if any(_plain(name).startswith(_CONTEXT) for name in state):
        raise WeightsError(
            "this HRNet has a head of object-contextual representations (OCR), and no network here has. Take the "
            "authors' file of the same network without it."
        )
    prefix = backbone_prefix(model.state_dict(), _STEM) or ""
    return {_rename(_plain(name), prefix): one for name, one in state.items() if not name.startswith("loss.")}


def _plain(name: str) -> str:
    return name.removeprefix("model.")


def _rename(name: str, prefix: str) -> str:
    for pattern, replacement in _LAST:
        if pattern.match(name):
            return pattern.sub(replacement, name)
    return prefix + name
