"""U-Net files of the Carvana car masks (milesial): ``inc.double_conv.0 ... up4.conv.double_conv.0 ... outc.conv``.

Only the form with transposed convolutions has the parameters of ``unet``; the one with bilinear upsampling has other
widths and is refused by its shapes. The values in it were trained on images of 0..1.
"""

from __future__ import annotations

import re

from torch import Tensor

from saccade.weights.loadable import Loadable

__all__ = ["NAME", "convert", "matches"]

NAME = "Carvana U-Net"

_RULES = (
    (re.compile(r"^inc\.double_conv\."), "encoder.0."),
    (re.compile(r"^down(\d)\.maxpool_conv\.1\.double_conv\."), r"encoder.\1."),
    (re.compile(r"^outc\.conv\."), "head."),
)
_UP = re.compile(r"^up(\d)\.(up|conv\.double_conv)\.")


def matches(keys: set[str]) -> bool:
    """Whether these are the names of the Carvana U-Net."""
    return {"inc.double_conv.0.weight", "down4.maxpool_conv.1.double_conv.0.weight", "outc.conv.weight"} <= keys


def convert(state: dict[str, Tensor], model: Loadable) -> dict[str, Tensor]:
    """The same tensors under the names of ``unet``.

    Example:
        >>> model = saccade.create_model("unet", base_channels=4)
        >>> list(convert({"inc.double_conv.0.weight": torch.zeros(4, 3, 3, 3)}, model))
        ['encoder.0.0.weight']
    """
    return {_rename(name): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    # up1 .. up4 count from the coarse end, as decoder.0 .. decoder.3 do
    return _UP.sub(lambda m: f"decoder.{int(m[1]) - 1}.{'up' if m[2] == 'up' else 'convolutions'}.", name)
