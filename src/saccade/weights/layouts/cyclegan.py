"""CycleGAN generators of its authors (``latest_net_G_A.pth``): ``model.1.weight ... model.10.conv_block.1.weight``.

The names are those of ``cyclegan_resnet9_generator``. Files of 2017 hold running statistics of the instance norms as
well, which their program ignores, and generators that were trained with dropout have their second convolution of a
block one position later.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "CycleGAN generator"

_STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of one generator with residual blocks.

    Example:
        >>> matches({"model.1.weight", "model.4.weight", "model.10.conv_block.1.weight"})
        True
    """
    return {"model.1.weight", "model.4.weight", "model.10.conv_block.1.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors without statistics, under the names of a generator without dropout.

    Example:
        >>> model = saccade.create_model("cyclegan_resnet6_generator", base_channels=4)
        >>> norm, convolution = "model.2.running_mean", "model.10.conv_block.6.bias"
        >>> list(convert({norm: torch.zeros(4), convolution: torch.zeros(16)}, model))
        ['model.10.conv_block.5.bias']
    """
    return {
        re.sub(r"\.conv_block\.6\.", ".conv_block.5.", name): tensor
        for name, tensor in state.items()
        if not _STATISTICS.search(name)
    }
