"""EfficientNets published by torchvision. Figures and file names: the metadata of its weights."""

from __future__ import annotations

from functools import partial

from saccade.weights.entry import Variant, torchvision_imagenet

__all__ = ["ROWS"]


_row = partial(torchvision_imagenet, layout="torchvision")


ROWS = (
    _row("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth", 77.692, 93.532),
    _row("efficientnet_b1", "efficientnet_b1_rwightman-bac287d4.pth", 78.642, 94.186),
    _row(
        "efficientnet_b1",
        "efficientnet_b1-c27df63c.pth",
        79.838,
        94.934,
        variant=Variant("imagenet_v2", preprocessing={"crop_fraction": 240 / 255}),
    ),
    _row("efficientnet_b2", "efficientnet_b2_rwightman-c35c1473.pth", 80.608, 95.31),
    _row("efficientnet_b3", "efficientnet_b3_rwightman-b3899882.pth", 82.008, 96.054),
    _row("efficientnet_b4", "efficientnet_b4_rwightman-23ab8bcd.pth", 83.384, 96.594),
    _row("efficientnet_b5", "efficientnet_b5_lukemelas-1a07897c.pth", 83.444, 96.628),
    _row("efficientnet_b6", "efficientnet_b6_lukemelas-24a108a5.pth", 84.008, 96.916),
    _row("efficientnet_b7", "efficientnet_b7_lukemelas-c5b4e57e.pth", 84.122, 96.908),
    _row("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b.pth", 84.228, 96.878),
    _row("efficientnet_v2_m", "efficientnet_v2_m-dc08266a.pth", 85.112, 97.156),
    _row(
        "efficientnet_v2_l",
        "efficientnet_v2_l-59c71312.pth",
        85.808,
        97.788,
        variant=Variant(preprocessing={"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}),
    ),
)
