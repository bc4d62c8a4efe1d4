from __future__ import annotations

from tests.contract.hand_counts import REFERENCE

_CLASSES = 80
# The reference runs the heads of the first hourglass too, at 128 x 128: 3x3 and 1x1 convolutions for 80 + 2 + 2 maps.
_FIRST_HEADS = 128**2 * (3 * 9 * 256 * 256 + 256 * (_CLASSES + 4))
# And it runs a projection in each tree of four blocks of DLA, whose result nothing reads.
_UNREAD = 64**2 * 64 * 128 + 32**2 * 128 * 256

COUNTS = {
    "centernet_hourglass104": {"macs": REFERENCE["centernet_hourglass104"]["macs"] - _FIRST_HEADS},
    "centernet_dla34": {"macs": REFERENCE["centernet_dla34"]["macs"] - _UNREAD},
    "centernet": REFERENCE["centernet_resnet18"],  # what it is by default
}
