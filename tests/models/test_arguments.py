"""What a builder is given is checked before memory is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saccade.cli import main
from saccade.errors import ConfigError
from saccade.models.registry import create_model


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"num_classes": 1_000_000}, "num_classes is 1000000; it must be a whole number from 1 to 100,000"),
        ("yolox_nano", {"num_classes": 0}, "num_classes is 0; it must be a whole number from 1"),
        ("yolox_nano", {"num_classes": -3}, "num_classes is -3"),
        ("lenet5", {"num_classes": True}, "num_classes is True"),
        ("lenet5", {"num_classes": 2.0}, "num_classes is 2.0"),
        ("lenet5", {"num_classes": "ten"}, "num_classes is 'ten'"),
        ("lenet5", {"num_classes": float("nan")}, "num_classes is nan"),
        ("lenet5", {"num_classes": 10**5000}, "num_classes is a number of many digits"),
        ("lenet5", {"num_classes": [10]}, r"num_classes is \[10\]"),
        ("unet", {"base_channels": 1 << 30}, "base_channels is 1073741824; it must be a whole number from 1 to 65,536"),
        ("unet", {"in_channels": 100_000}, "in_channels is 100000"),
        ("vgg11", {"fc_channels": 1e9}, "fc_channels is 1000000000.0"),
        ("vgg11", {"dropout": "half"}, "dropout is 'half'; it must be a number from 0"),
        ("vgg11", {"dropout": float("inf")}, "dropout is inf"),
        ("vit_ti_16", {"image_size": 1 << 20}, "image_size is 1048576; it must be a whole number from 1 to 4,096"),
        ("yolox_nano", {"depthwise": "yes"}, "depthwise is 'yes'; it must be true or false"),
        ("resnet20_cifar", {"shortcut": 3}, "shortcut is 3; it must be a text"),
        ("unet_backbone", {"decoder_channels": [256, 0]}, "decoder_channels is .*a list of whole numbers above 0"),
        ("unet_backbone", {"decoder_channels": "256"}, "decoder_channels is '256'"),
        ("unet_backbone", {"decoder_channels": [8] * 1000}, "decoder_channels is"),
    ],
)
def test_what_no_network_has_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        create_model(name, **options)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_and_the_limit_itself_pass() -> None:
    assert create_model("lenet5", num_classes=np.int64(3)).num_classes == 3
    with torch.device("meta"):
        assert create_model("lenet5", num_classes=100_000).num_classes == 100_000


def test_the_shell_says_it_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "--model",
        "lenet5",
        "--model-args.num-classes",
        "many",
        "--data",
        "digit_scenes",
        "--epochs",
        "1",
    ]
    assert main(words) == 2
    assert "num_classes is 'many'; it must be a whole number" in capsys.readouterr().err
