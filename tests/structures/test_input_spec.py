"""Normalisation: the same numbers as by hand, for every dtype and memory format."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from saccade.errors import ConfigError
from saccade.models.normalize import Normalize
from saccade.structures.input_spec import InputSpec

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def _images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_bytes_become_normalised_floats() -> None:
    images = _images()
    normalized = Normalize(InputSpec((5, 7), mean=MEAN, std=STD))(images)
    assert normalized.dtype == torch.float32
    for channel in range(3):
        torch.testing.assert_close(normalized[:, channel], (images[:, channel].float() - MEAN[channel]) / STD[channel])


def test_bgr_networks_see_blue_first() -> None:
    images = _images()
    spec = InputSpec((5, 7), mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0), channel_order="bgr")
    normalized = Normalize(spec)(images)
    torch.testing.assert_close(normalized[:, 0], images[:, 2].float() - 1.0)
    torch.testing.assert_close(normalized[:, 2], images[:, 0].float() - 3.0)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_memory_format_is_kept(order: str, dtype: torch.dtype) -> None:
    images = _images().to(dtype).contiguous(memory_format=torch.channels_last)
    normalized = Normalize(InputSpec((5, 7), channel_order=order))(images)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_pixels_stay_half_and_lose_only_the_last_rounding(dtype: torch.dtype) -> None:
    normalize = Normalize(InputSpec((5, 7), mean=MEAN, std=STD))
    torch.testing.assert_close(normalize(_images().to(dtype)), normalize(_images()).to(dtype), rtol=0, atol=0)


def test_grey_and_wider_pixels() -> None:
    spec = InputSpec((4, 4), channels=1, mean=(0.0,), std=(65535.0,), channel_order="bgr")
    assert Normalize(spec)(torch.full((1, 1, 4, 4), 65535, dtype=torch.int32)).unique().tolist() == [1.0]


def test_nothing_of_it_is_in_the_state() -> None:
    assert not Normalize(InputSpec((4, 4))).state_dict()


def test_spec_survives_json_and_refuses_unknown_fields() -> None:
    spec = InputSpec((416, 416), resize="letterbox", pad_multiple=32)
    assert InputSpec.from_dict(spec.to_dict() | {"size": [416, 416]}) == spec
    with pytest.raises(ConfigError, match="resize"):
        InputSpec.from_dict({"size": (1, 1), "resiz": "stretch"})


def test_unknown_resize_rules_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'letterbox'"):
        InputSpec((64, 64), resize="leterbox")  # type: ignore[arg-type]


def test_another_canvas_is_rounded_up_but_limits_of_the_sides_are_not() -> None:
    assert InputSpec((64, 64), pad_multiple=32).with_size((100, 130)).size == (128, 160)
    limits = InputSpec((800, 1333), resize="shorter_side", pad_multiple=32).with_size((640, 1333))
    assert limits.size == (640, 1333)
    assert limits.canvas == (640, 1344)


def test_networks_of_one_size_refuse_others() -> None:
    spec = InputSpec((448, 448), resize="stretch", pad_multiple=32, fixed=True)
    assert spec.with_size((440, 448)) == spec  # the same canvas
    with pytest.raises(ConfigError, match=r"takes images of 448x448 pixels .* only, and 512x448 was asked for"):
        spec.with_size((512, 448))
    assert InputSpec.from_dict(spec.to_dict()).fixed
    old = {key: value for key, value in spec.to_dict().items() if key != "fixed"}
    assert not InputSpec.from_dict(old).fixed


def test_importing_the_package_loads_no_torch() -> None:
    code = "import saccade, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(0, 32), (32, -1), (32.0, 32), (1 << 20, 32), (32,), ("32", "32"), (16_384, 16_384)])
def test_a_canvas_of_no_network_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match="a canvas "):
        InputSpec((32, 32)).with_size(size)
