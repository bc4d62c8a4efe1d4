"""Every family overfits 32 photographs: heavy networks at reduced width or size, as each row states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.models.classification.overfit import learns_32_scenes

from saccade.models.registry import get_builder, list_models

_FREE = {"dropout_rate": 0.0}  # overfitting needs no regularisation


# Builder: options that make it smaller, side of the images, learning rate, attributes.
ROWS: dict[str, tuple[dict[str, Any], int, float, dict[str, Any]]] = {
    "alexnet": ({"fc_channels": 256}, 96, 1e-3, _FREE),
    "alexnet_2012": ({"fc_channels": 256}, 96, 5e-4, _FREE),
    "vgg11": ({"fc_channels": 256}, 32, 3e-4, _FREE),
    "vgg11_bn": ({"fc_channels": 256}, 32, 1e-3, _FREE),
    "googlenet": ({}, 48, 5e-4, _FREE | {"auxiliary_weight": 0.0}),
    "googlenet_bn": ({}, 64, 2e-3, _FREE),
    "resnet18": ({}, 48, 2e-3, {}),
    "resnext50_32x4d": ({}, 48, 1e-3, {}),
    "preact_resnet18": ({}, 48, 1e-3, {}),
    "resnet20_cifar": ({}, 32, 1e-2, {}),
    "mobilenet_v1_0_50": ({}, 48, 5e-3, _FREE),
    "mobilenet_v2": ({}, 48, 3e-3, _FREE),
    "mobilenet_v3_small": ({}, 64, 3e-3, _FREE),
    "shufflenet_v1_g3": ({}, 48, 5e-3, {}),
    "shufflenet_v2_x0_5": ({}, 64, 5e-3, {}),
    "efficientnet_b0": ({"stochastic_depth": 0.0}, 48, 3e-3, _FREE),
    "efficientnet_v2_b0": ({"stochastic_depth": 0.0}, 48, 3e-3, _FREE),
    "vit_ti_16": ({"image_size": 64}, 64, 1e-3, {}),
    "swin_t": ({"stochastic_depth": 0.0}, 28, 5e-4, {}),
    "convnext_tiny": ({"stochastic_depth": 0.0}, 48, 1e-3, {}),
    "mobilevit_xxs": ({}, 64, 5e-3, _FREE),
    "spp_net_classifier": ({"hidden": 256, "levels": (2, 1), "dropout": 0.0}, 64, 1e-3, {}),
    "darknet19": ({}, 48, 1e-3, {}),
    "darknet53": ({}, 32, 1e-3, {}),
    "cspdarknet53": ({}, 32, 1e-3, {}),
    "hrnet_w18_small": ({}, 48, 2e-3, {}),
}

# Of papers with two rows, the one that takes half a minute.
_SLOW = {"alexnet_2012", "vgg11"}


@pytest.mark.data("intel_scenes")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in _SLOW)) for name in ROWS])
def test_learns_32_photographs(name: str, data_root: Path) -> None:
    options, size, rate, attributes = ROWS[name]
    learns_32_scenes(data_root, name, options, size, lr=rate, attributes=attributes)


def test_every_family_has_a_row() -> None:
    """One row a paper; LeNet-5 learns digits in its own test."""
    learning = {get_builder(name).paper for name in ROWS}
    for name in list_models("classification"):
        paper = get_builder(name).paper
        assert paper in learning or name.startswith("lenet5"), f"{name}: add a row"
