"""Detectors of torchvision over a ResNet and a feature pyramid: ``backbone.body.*``, ``backbone.fpn.*``, ``head.*``.

Those of two stages have ``rpn.head.*`` and ``roi_heads.*`` in place of ``head.*``.

Published files have the names of older releases (``inner_blocks.0.weight``, ``classification_head.conv.2.weight``),
files saved today newer ones (``inner_blocks.0.0.weight``, ``classification_head.conv.1.0.weight``); both are read.

*Frozen BatchNorm.* Published files come from networks whose BatchNorm was frozen, which have no
``num_batches_tracked``. For RetinaNet (as for Faster, Mask and Keypoint R-CNN) torchvision's loader sets its eps to 0
afterwards, since that is how they were trained: it computes ``(x - mean) / sqrt(var)``. Ours has the usual eps of 1e-5,
so the variances are lowered by as much. A variance below that becomes 0, and the scale takes over what is left of the
factor, so that the output is the same and no variance is negative. FCOS keeps its eps, and so do its numbers. A network
that was trained from frozen ImageNet weights without ever having been loaded from a published file has the eps too, and
names by which it cannot be told apart; its scores then differ by some 1e-5 over the variance.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from saccade.weights.loadable import Loadable
from saccade.weights.prefix import backbone_prefix

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision detector"

_EPS = 1e-5  # of BatchNorm here
_BODY, _FPN = "backbone.body.", "backbone.fpn."
_VARIANCE = ".running_var"
# Layers of the subnets of RetinaNet: a convolution and a ReLU each.
_SECOND_VERSION = "head.classification_head.conv.0.1.weight"  # GroupNorm in the subnets of RetinaNet
_SUBNET = re.compile(r"^(head\.(?:classification|regression)_head\.conv)\.(\d+)\.0\.")
# Detectors of two stages: where their parts are here. The convolutions of masks stand one behind a ReLU of the other.
_RPN_CONV = re.compile(r"^rpn\.head\.conv\.(?:0\.0\.)?(?=weight|bias)")
_MASK_FCN = re.compile(r"^roi_heads\.mask_head\.(?:mask_fcn(\d+)|(\d+)\.0)\.")
_STAGES = {
    "rpn.head.": "rpn.",
    "roi_heads.box_head.": "box_branch.head.",
    "roi_heads.box_predictor.": "box_branch.predictor.",
    "roi_heads.mask_predictor.": "branches.mask.predictor.",
    "roi_heads.keypoint_head.": "branches.keypoints.head.",
    "roi_heads.keypoint_predictor.": "branches.keypoints.predictor.",
}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a torchvision detector over a ResNet with a feature pyramid.

    Those of ``retinanet_resnet50_fpn_v2`` are not: no network here has its subnets.

    Example:
        >>> matches({"backbone.body.conv1.weight", "backbone.fpn.inner_blocks.0.weight"})
        True
    """
    pyramid = any(key.startswith(f"{_FPN}inner_blocks.0.") for key in keys)
    return "backbone.body.conv1.weight" in keys and pyramid and _SECOND_VERSION not in keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``, with frozen BatchNorm as ours computes it.

    Example:
        >>> model = saccade.create_model("retinanet", num_classes=2, channels=32)
        >>> list(convert({"backbone.fpn.inner_blocks.0.0.weight": torch.zeros(32, 128, 1, 1)}, model))
        ['pyramid.fpn.inner_blocks.0.weight']
    """
    pyramid = backbone_prefix(model.state_dict(), "inner_blocks.0.weight") or "fpn."
    frozen = not any(name.endswith("num_batches_tracked") for name in state)
    if frozen and not any("bbox_ctrness" in name for name in state):
        state = _with_eps(state)
    return {_rename(name, pyramid): tensor for name, tensor in state.items()}


def _rename(name: str, pyramid: str) -> str:
    if name.startswith(_BODY):
        return "backbone." + name.removeprefix(_BODY)
    if name.startswith(_FPN):
        inner = name.removeprefix(_FPN).removeprefix("extra_blocks.")
        return pyramid + re.sub(r"_blocks\.(\d+)\.0\.", r"_blocks.\1.", inner)
    name = _SUBNET.sub(lambda found: f"{found[1]}.{2 * int(found[2])}.", name)
    name = _RPN_CONV.sub("rpn.conv.", name)
    name = _MASK_FCN.sub(
        lambda found: f"branches.mask.head.{2 * (int(found[1]) - 1 if found[1] else int(found[2]))}.", name
    )
    for theirs, own in _STAGES.items():
        if name.startswith(theirs):
            return own + name.removeprefix(theirs)
    return name


def _with_eps(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Variances and scales that give with our eps what the file's give without one."""
    changed = dict(state)
    for name, variance in state.items():
        scale = name.removesuffix(_VARIANCE) + ".weight"
        if name.startswith(_BODY) and name.endswith(_VARIANCE) and scale in state:
            lowered = (variance.double() - _EPS).clamp(min=0)
            rest = ((lowered + _EPS) / variance.double()).sqrt()
            changed[name] = lowered.to(variance.dtype)
            changed[scale] = torch.where(variance > 0, state[scale].double() * rest, 0).to(variance.dtype)
    return changed
