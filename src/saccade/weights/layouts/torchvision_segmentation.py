"""Segmenters of torchvision: ``backbone.*``, ``classifier.*`` and, in all but LR-ASPP, ``aux_classifier.*``.

FCN and DeepLabV3 over a ResNet, DeepLabV3 and LR-ASPP over MobileNetV3, whose trunk is the backbone itself there
(``backbone.0.0.weight``). A file without the auxiliary head loads, and the report lists what is missing.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "torchvision segmenter"

_BACKBONES = ("backbone.conv1.weight", "backbone.0.0.weight")
_FCN, _DEEPLAB, _LRASPP = "classifier.4.weight", "classifier.0.project.0.weight", "classifier.low_classifier.weight"
_UNIT = re.compile(r"^backbone\.(?=\d)")
_HEADS = {
    "aux_classifier.": "auxiliary_head.",
    "classifier.cbr.": "reduce.",
    "classifier.scale.": "gate.",
    "classifier.low_classifier.": "low_head.",
    "classifier.high_classifier.": "high_head.",
}


def matches(keys: set[str]) -> bool:
    """Whether these are the names of a torchvision segmenter.

    Example:
        >>> matches({"backbone.conv1.weight", "classifier.4.weight"})
        True
    """
    return any(key in keys for key in _BACKBONES) and any(key in keys for key in (_FCN, _DEEPLAB, _LRASPP))


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``model``.

    Example:
        >>> model = saccade.create_model("lraspp_mobilenet_v3_large")
        >>> list(convert({"backbone.0.0.weight": torch.zeros(16, 3, 3, 3)}, model))
        ['backbone.trunk.0.0.weight']
    """
    heads = dict(_HEADS)
    if _DEEPLAB in state:  # the first layer of the classifier is the pyramid
        heads |= {"classifier.0.": "aspp."}
        heads |= {f"classifier.{number}.": f"head.{number - 1}." for number in (1, 2, 4)}
    else:
        heads |= {"classifier.": "head."}

    def rename(name: str) -> str:
        for theirs, own in heads.items():
            if name.startswith(theirs):
                return own + name.removeprefix(theirs)
        return _UNIT.sub("backbone.trunk.", name)

    return {rename(name): tensor for name, tensor in state.items()}
