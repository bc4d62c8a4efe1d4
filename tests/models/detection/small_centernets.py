"""CenterNets too narrow for any builder: for checks of the whole contract that a wide one would take minutes for."""

from __future__ import annotations

from saccade.models.detection.centernet import PAPER, CenterNet
from saccade.models.detection.dla import DLA, DLAUp
from saccade.models.detection.hourglass import StackedHourglass
from saccade.models.registry import register_model

CHANNELS, BLOCKS = (16, 16, 24, 24), (1, 1, 1, 2)


@register_model(task="detection", paper=PAPER)
def narrow_hourglass(num_classes: int = 2, weights: str | None = None) -> CenterNet:
    """Two hourglasses with a sixteenth of the channels, down to stride 32."""
    return CenterNet(StackedHourglass(2, CHANNELS, BLOCKS), num_classes, head_channels=CHANNELS[0])


@register_model(task="detection", paper=PAPER)
def narrow_dla(num_classes: int = 2, weights: str | None = None) -> CenterNet:
    """DLA-34 with a quarter of the channels."""
    return CenterNet(DLAUp(DLA((4, 8, 16, 32, 64, 128))), num_classes, head_channels=16)
