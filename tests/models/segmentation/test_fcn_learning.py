"""FCN and DeepLab V1, V2 overfit four photographs of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.models.segmentation.overfit import overfits_four_people

SMALL: dict[str, Any] = {"num_classes": 2, "backbone": "mobilenet_v3_small"}


# Scores at an eighth are learnt from every eighth pixel: borders take a larger canvas.
@pytest.mark.data("human_segmentation")
@pytest.mark.parametrize(
    ("name", "options", "size", "steps"),
    [
        ("fcn8s", SMALL, 96, 40),
        ("fcn8s_vgg16", {"num_classes": 2, "fc_channels": 128, "base_channels": 8}, 64, 90),
        ("deeplabv1_largefov", {"num_classes": 2, "fc_channels": 64, "base_channels": 8}, 161, 90),
        ("deeplabv2", {**SMALL, "rates": (1, 2, 4, 6)}, 129, 40),
    ],
)
def test_overfits_four_people(name: str, options: dict[str, Any], size: int, steps: int, data_root: Path) -> None:
    overfits_four_people(data_root, name, options, size, steps)
