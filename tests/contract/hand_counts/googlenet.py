from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

# The reference runs the auxiliary classifiers too: 1x1 convolution over 4 x 4 places, two fully connected layers.
_AUXILIARY = sum(channels * 128 * 16 + 2048 * 1024 + 1024 * 1000 for channels in (512, 528))

COUNTS = {"googlenet": {"macs": REFERENCE["googlenet"]["macs"] - _AUXILIARY}}
