"""U-Nets overfit four real photographs."""

from __future__ import annotations

import pytest
from tests.models.segmentation.overfit import overfits_four_people


@pytest.mark.data("human_segmentation")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"num_classes": 2, "base_channels": 8}),
        ("unet_2015", {"num_classes": 2, "in_channels": 3, "base_channels": 8, "dropout": 0.0}),
        ("unetpp", {"num_classes": 1, "base_channels": 8}),
        ("unetpp", {"num_classes": 2, "backbone": "mobilenet_v3_small", "decoder_channels": (32, 16, 16, 16)}),
    ],
    ids=["unet", "unet_2015", "unetpp", "unetpp_backbone"],
)
def test_overfits_four_photographs(data_root, name, options):
    # The unpadded network adds 184 pixels to each side.
    overfits_four_people(data_root, name, options, size=36 if name == "unet_2015" else 64)
