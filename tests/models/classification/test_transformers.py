"""ViT and Swin: positions, windows, shifts and masks, against slow and obvious versions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from saccade.errors import ConfigError
from saccade.models.classification.swin import WindowAttention, relative_positions
from saccade.models.registry import create_model
from saccade.weights import load_weights


def test_attention_weights_reproduce_forward() -> None:
    torch.manual_seed(0)
    attention = create_model("vit_ti_16", image_size=32).blocks[0].attn
    x = torch.randn(2, 5, 192)
    weights = attention.attention(x)
    assert weights.shape == (2, 3, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    value = attention._split(x)[2]
    expected = attention.proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_positions_of_the_own_grid_are_untouched_and_others_are_interpolated() -> None:
    torch.manual_seed(0)
    model = create_model("vit_ti_16", image_size=64).eval()
    assert model._positions(4, 4) is model.pos_embed
    with torch.no_grad():
        # A table that rises linearly with the column stays a line on a finer grid.
        model.pos_embed[:, 1:] = torch.arange(4.0).repeat(4)[None, :, None]
    wide = model._positions(4, 8)[0, 1:, 0].view(4, 8)
    assert wide.shape == (4, 8)
    assert (wide.diff(dim=1) > 0).all()
    torch.testing.assert_close(wide[0], wide[3])
    torch.testing.assert_close(model._positions(4, 8)[:, 0], model.pos_embed[:, 0])


def test_a_file_of_another_grid_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = create_model("vit_ti_16", image_size=64, num_classes=3)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    large = create_model("vit_ti_16", image_size=96, num_classes=3)
    report = load_weights(large, tmp_path / "small.pth")
    assert report.missing == report.unexpected == ()
    torch.testing.assert_close(large.pos_embed, small._positions(6, 6))
    with pytest.raises(ConfigError, match="no multiple of the patch"):
        create_model("vit_ti_16", image_size=100)


def test_pixels_beyond_the_last_patch_are_filled_up_with_zeros() -> None:
    torch.manual_seed(0)
    model = create_model("vit_ti_16", image_size=64).eval()
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(1, 3, 50, 64)
    padded = torch.nn.functional.pad(images, (0, 0, 0, 14))
    with torch.no_grad():
        torch.testing.assert_close(model(images)["logits"], model(padded)["logits"])
        assert model.features(images)[0].shape == (1, 192, 4, 4)


def test_relative_positions_number_each_offset_once() -> None:
    index = relative_positions(3).view(9, 9)
    for first in range(9):
        for second in range(9):
            rows, columns = first // 3 - second // 3, first % 3 - second % 3
            assert index[first, second] == (rows + 2) * 5 + columns + 2
    assert index.unique().numel() == 25


def _slow_windows(module: WindowAttention, x: Tensor, shift: int) -> Tensor:
    """One token at a time: it attends to tokens of its window that were its neighbours before the map was rolled."""
    _, height, width, channels = x.shape
    side, heads = module.window_size, module.heads
    query, key, value = module.qkv(x).view(height, width, 3, heads, -1).unbind(2)
    table = module.relative_position_bias_table
    out = torch.zeros(height, width, heads, channels // heads)

    def window(row: int, column: int) -> tuple[int, int, int, int]:
        # Window in the rolled map, and the side of the cut that the token is on.
        rolled = (row - shift) % height, (column - shift) % width
        return rolled[0] // side, rolled[1] // side, int(row < shift), int(column < shift)

    for row in range(height):
        for column in range(width):
            mates = [(r, c) for r in range(height) for c in range(width) if window(r, c) == window(row, column)]
            for head in range(heads):
                scores = []
                for r, c in mates:
                    cell = ((row - shift) % height % side, (column - shift) % width % side)
                    other = ((r - shift) % height % side, (c - shift) % width % side)
                    offset = (cell[0] - other[0] + side - 1) * (2 * side - 1) + cell[1] - other[1] + side - 1
                    product = query[row, column, head] @ key[r, c, head] / (channels // heads) ** 0.5
                    scores.append(product + table[offset, head])
                weights = torch.stack(scores).softmax(0)
                out[row, column, head] = sum(w * value[r, c, head] for w, (r, c) in zip(weights, mates, strict=True))
    return module.proj(out.flatten(2))[None]


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_the_papers(shifted: bool) -> None:
    torch.manual_seed(0)
    module = WindowAttention(8, 2, shifted, window=4)
    torch.nn.init.normal_(module.relative_position_bias_table)
    x = torch.randn(1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(module(x), _slow_windows(module, x, 2 if shifted else 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (4, 4), (3, 13)])
def test_windows_come_back_and_attention_reproduces_forward(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = WindowAttention(8, 2, True, window=4)
    x = torch.randn(2, *size, 8)
    torch.testing.assert_close(module.from_windows(module.to_windows(x), size), x)
    weights = module.attention(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    value = module._split(module.to_windows(x))[2]
    mixed = module.proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(module(x), module.from_windows(mixed, size), rtol=1e-4, atol=1e-5)
    if max(size) <= 4:  # one window holds all: nothing is shifted
        assert module._plan(size)[1] == (0, 0)


def test_swins_maps_are_channels_first_and_the_last_is_normed() -> None:
    torch.manual_seed(0)
    model = create_model("swin_t").eval()
    with torch.no_grad():
        maps = model.features(torch.randn(1, 3, 64, 96))
    assert [tuple(one.shape) for one in maps] == [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    torch.testing.assert_close(maps[-1].mean(1), torch.zeros(1, 2, 3), atol=1e-5, rtol=0)
    activation = torch.zeros(1, 16, 24, 96)
    assert model.to_map(activation, (64, 96)).shape == (1, 96, 16, 24)
