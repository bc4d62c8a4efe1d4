"""Swin Transformer: attention in shifted windows, and a pyramid of feature maps.

Paper: Ze Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, arXiv
2103.14030.

Attention among all tokens costs the square of their number, which forbids fine feature maps. Swin attends inside
windows of 7 x 7 tokens, so the cost grows with the image's area, and every second block shifts the windows by half, so
that tokens on two sides of a border share a window in the next block. Between stages 2 x 2 tokens are merged into one
of twice the channels, which gives the pyramid of feature maps that dense tasks need.

    image           3 x 224 x 224                channels, blocks of the stages, heads (section 3.3)
    patches 4 x 4   C  x 56 x 56, LayerNorm      T  96,  2 2  6 2,  3  6 12 24
    stage 1         C  x 56 x 56                 S  96,  2 2 18 2,  3  6 12 24
    merge, stage 2  2C x 28 x 28                 B 128,  2 2 18 2,  4  8 16 32
    merge, stage 3  4C x 14 x 14                 L 192,  2 2 18 2,  6 12 24 48
    merge, stage 4  8C x  7 x  7
    LayerNorm, mean over space, fc 1000

    block:  z' = z + windows(LN(z)),  z = z' + MLP(LN(z'))             (equation 3; every second block shifts)
    window: softmax(Q K^T / sqrt(d) + B) V, B read from a table of relative positions    (equation 4)

Shifted windows are regular windows of a feature map that was rolled by half a window; tokens that the rolling brought
together must not attend to each other, which a mask prevents (section 3.2, figure 4). Feature maps that are no multiple
of the window are padded with zeros; along a side no longer than one window nothing is shifted. Tokens are (B, H, W, C)
inside.

Differences from the paper: none in the layers. Names of modules are timm's.

Published weights: torchvision (T, S, B) and timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.stochastic_depth import StochasticDepth, linear_rates
from saccade.blocks.transformer import Mlp
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "PatchMerging", "SwinBlock", "SwinShape", "SwinTransformer", "WindowAttention", "swin_b", "swin_l", "swin_s",
    "swin_t",
]  # fmt: skip

PAPER = "Liu et al., ICCV 2021, arXiv 2103.14030"

WINDOW = 7


def relative_positions(window: int) -> Tensor:
    """Row of the bias table for each pair of tokens of a window: (window^2 * window^2,) int64 (section 3.2)."""
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))  # (M, 2): row, column
    offsets = cells[:, None] - cells[None, :] + window - 1  # 0 .. 2 * window - 2
    return (offsets[..., 0] * (2 * window - 1) + offsets[..., 1]).flatten()


class WindowAttention(nn.Module):
    """Window attention: self-attention inside windows, with relative position bias.

    Args:
        channels: Channels of a token.
        heads: Attention heads, which share the channels evenly.
        shifted: Whether windows are shifted by half their side.
        window: Side of a window in tokens.

    Example:
        >>> layer = WindowAttention(channels=12, heads=3, shifted=True)
        >>> x = torch.randn(1, 14, 14, 12)  # four windows of 7 x 7 tokens
        >>> layer(x).shape, layer.attention(x).shape
        (torch.Size([1, 14, 14, 12]), torch.Size([4, 3, 49, 49]))
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, shifted: bool, window: int = WINDOW) -> None:
        super().__init__()
        self.heads = heads
        self.window_size = window
        self.shift = window // 2 if shifted else 0
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_positions(window), persistent=False)

    def _plan(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size of the padded feature map, and by how much it is rolled."""
        height, width = (-(-side // self.window_size) * self.window_size for side in size)
        shifts = tuple(0 if side <= self.window_size else self.shift for side in (height, width))
        return (height, width), (shifts[0], shifts[1])

    def to_windows(self, x: Tensor) -> Tensor:
        """Cut tokens (B, H, W, C), padded and rolled, into windows (B * windows, M, C)."""
        batch, height, width, channels = x.shape
        (full_height, full_width), (down, right) = self._plan((height, width))
        x = F.pad(x, (0, 0, 0, full_width - width, 0, full_height - height))
        if down or right:
            x = x.roll((-down, -right), (1, 2))
        side = self.window_size
        x = x.view(batch, full_height // side, side, full_width // side, side, channels)
        return x.transpose(2, 3).reshape(-1, side * side, channels)

    def from_windows(self, windows: Tensor, size: tuple[int, int]) -> Tensor:
        """Put windows together again to tokens (B, H, W, C) of ``size`` (H, W): the inverse of ``to_windows``."""
        (height, width), (down, right) = self._plan(size)
        side, channels = self.window_size, windows.shape[2]
        x = windows.view(-1, height // side, width // side, side, side, channels).transpose(2, 3)
        x = x.reshape(-1, height, width, channels)
        if down or right:
            x = x.roll((down, right), (1, 2))
        return x[:, : size[0], : size[1]]

    def _bias(self, size: tuple[int, int]) -> Tensor:
        """Bias and mask added to the products of queries and keys: (1 or windows, heads, M, M)."""
        tokens = self.window_size**2
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.view(tokens, tokens, self.heads).permute(2, 0, 1).unsqueeze(0)
        (height, width), (down, right) = self._plan(size)
        if not down and not right:
            return bias
        # Regions between the cuts that rolling made: tokens of different regions are not neighbours.
        rows, columns = (
            (index >= side - self.window_size).long() + (index >= side - shift).long() if shift else 0 * index
            for side, shift, index in (
                (height, down, torch.arange(height, device=bias.device)),
                (width, right, torch.arange(width, device=bias.device)),
            )
        )
        side = self.window_size
        regions = (3 * rows[:, None] + columns[None, :]).view(height // side, side, width // side, side)
        regions = regions.transpose(1, 2).reshape(-1, tokens)  # (windows, M)
        apart = regions[:, None, :] != regions[:, :, None]
        return bias + apart[:, None].to(bias.dtype) * -100.0

    def _split(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B * windows, heads, M, d) each."""
        parts = self.qkv(windows).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        return query, key, value

    def attention(self, x: Tensor) -> Tensor:
        """Attention weights (B * windows, heads, M, M) of an input (B, H, W, C) of ``forward``; rows sum to one."""
        query, key, _ = self._split(self.to_windows(x))
        bias = self._bias((x.shape[1], x.shape[2]))
        bias = bias.repeat(query.shape[0] // bias.shape[0], 1, 1, 1)
        return ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        size = (x.shape[1], x.shape[2])
        query, key, value = self._split(self.to_windows(x))
        bias = self._bias(size).to(query.dtype)
        if bias.shape[0] > 1:
            # Windows as further heads: one bias serves all images of the batch without being copied.
            shape = (-1, bias.shape[0] * self.heads, *query.shape[2:])
            query, key, value = (part.reshape(shape) for part in (query, key, value))
            bias = bias.reshape(1, shape[1], *bias.shape[2:])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # equation 4
        mixed = mixed.reshape(-1, self.heads, *mixed.shape[2:]).transpose(1, 2).flatten(2)
        return self.from_windows(self.proj(mixed), size)


class SwinBlock(nn.Module):
    """Swin block: window attention and MLP, each behind a LayerNorm and with a shortcut (figure 3b).

    Args:
        channels: Channels of a token.
        heads: Attention heads.
        shifted: Whether windows are shifted.
        stochastic_depth: Rate at which a branch is left out.

    Example:
        >>> SwinBlock(12, heads=3, shifted=False, stochastic_depth=0.0)(torch.zeros(1, 14, 14, 12)).shape
        torch.Size([1, 14, 14, 12])
    """

    def __init__(self, channels: int, heads: int, shifted: bool, stochastic_depth: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, shifted)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)
        self.drop_path = StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchMerging(nn.Module):
    """Patch merging: 2 x 2 tokens become one of twice the channels; odd sides are padded with zeros (section 3.1).

    Args:
        channels: Channels in.

    Example:
        >>> PatchMerging(12)(torch.zeros(1, 7, 8, 12)).shape
        torch.Size([1, 4, 4, 24])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        out: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return out


class PatchEmbedding(nn.Module):
    """Patch embedding: 4 x 4 pixels projected and normalised; other sides are padded with zeros to multiples of 4.

    Args:
        channels: Channels of a token (C).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / 4, W / 4, C)."""
        images = F.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4))
        out: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return out


class SwinStage(nn.Module):
    """Swin stage: patch merging (except in the first), then blocks without and with shift in turn."""

    def __init__(self, channels: int, heads: int, merges: bool, rates: Sequence[float]) -> None:
        super().__init__()
        self.downsample = PatchMerging(channels // 2) if merges else nn.Identity()
        self.blocks = nn.Sequential(
            *(SwinBlock(channels, heads, number % 2 == 1, rate) for number, rate in enumerate(rates))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


@dataclass(frozen=True)
class SwinShape:
    """Sizes of a Swin Transformer: channels, blocks and heads (section 3.3).

    Args:
        channels: Channels of the first stage (C); each later stage doubles them.
        depths: Blocks of the four stages.
        heads: Attention heads of the four stages.

    Example:
        >>> SwinTransformer(SwinShape(12, (1, 1, 1, 1), (1, 2, 4, 8))).feature_channels
        (12, 24, 48, 96)
    """

    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


class SwinTransformer(Classifier):
    """Swin Transformer classifier: patches, four stages, LayerNorm, global mean, fc (figure 3a).

    Args:
        shape: Sizes of the network.
        num_classes: Outputs of the fc layer.
        stochastic_depth: Rate of the last block; lower ones have proportionally less.

    Example:
        >>> model = SwinTransformer(SwinShape(12, (1, 1, 1, 1), (1, 2, 4, 8)))
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(12, 16, 16), (24, 8, 8), (48, 4, 4), (96, 2, 2)]
    """

    stage_names = ("patch_embed", *(f"layers.{number}" for number in range(4)), "norm")
    head_names = ("head.fc",)
    class_rows = linear_rows("head.fc")
    feature_strides = (4, 8, 16, 32)

    def __init__(self, shape: SwinShape, num_classes: int = 1000, stochastic_depth: float = 0.2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_spec = IMAGENET_SPEC
        widths = [shape.channels * 2**number for number in range(len(shape.depths))]
        rates = linear_rates(stochastic_depth, sum(shape.depths))
        self.patch_embed = PatchEmbedding(shape.channels)
        stages, done = [], 0
        for number, (width, depth, heads) in enumerate(zip(widths, shape.depths, shape.heads, strict=True)):
            stages.append(SwinStage(width, heads, number > 0, rates[done : done + depth]))
            done += depth
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.ModuleDict({"fc": nn.Linear(widths[-1], num_classes)})
        self.feature_channels = tuple(widths)
        blocks = ((stage, block) for stage, depth in enumerate(shape.depths) for block in range(depth))
        names: dict[tuple[int, int], tuple[str, ...]] = {
            (stage, block): (f"layers.{stage}.blocks.{block}",) for stage, block in blocks
        }
        for stage in range(1, len(shape.depths)):
            names[stage, 0] += (f"layers.{stage}.downsample",)
        self.layer_names = (("patch_embed",), *names.values(), ("norm",))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def to_map(self, activation: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Tokens (B, H, W, C) as a feature map (B, C, H, W)."""
        return activation.permute(0, 3, 1, 2) if activation.ndim == 4 else activation

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the four stages, the last after its LayerNorm, at strides 4 to 32; images (B, 3, H, W)."""
        x = self.patch_embed(images)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
        maps[-1] = self.norm(x)
        return [one.permute(0, 3, 1, 2) for one in maps]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        tokens = self.norm(self.layers(self.patch_embed(images)))
        return {"logits": self.head["fc"](tokens.mean((1, 2)))}


def _swin(shape: SwinShape, num_classes: int, stochastic_depth: float, resize: int) -> SwinTransformer:
    model = SwinTransformer(shape, num_classes, stochastic_depth)
    model.input_spec = replace(IMAGENET_SPEC, crop_fraction=224 / resize)
    return model


@register_model("classification", PAPER, Reported(params=29e6, macs=4.5e9, top1=81.3, source="table 1a"))
def swin_t(num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None) -> SwinTransformer:
    """Swin-T; 28.3 M parameters, 4.5 G multiply-adds.

    Example:
        >>> swin_t(num_classes=3)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return _swin(SwinShape(96, (2, 2, 6, 2), (3, 6, 12, 24)), num_classes, stochastic_depth, 232)


@register_model("classification", PAPER, Reported(params=50e6, macs=8.7e9, top1=83.0, source="table 1a"))
def swin_s(num_classes: int = 1000, stochastic_depth: float = 0.3, weights: str | None = None) -> SwinTransformer:
    """Swin-S; 49.6 M parameters, 8.7 G multiply-adds."""
    return _swin(SwinShape(96, (2, 2, 18, 2), (3, 6, 12, 24)), num_classes, stochastic_depth, 246)


@register_model("classification", PAPER, Reported(params=88e6, macs=15.4e9, top1=83.5, source="table 1a"))
def swin_b(num_classes: int = 1000, stochastic_depth: float = 0.5, weights: str | None = None) -> SwinTransformer:
    """Swin-B; 87.8 M parameters, 15.4 G multiply-adds."""
    return _swin(SwinShape(128, (2, 2, 18, 2), (4, 8, 16, 32)), num_classes, stochastic_depth, 238)


@register_model("classification", PAPER, Reported(params=197e6, source="table 1b"))
def swin_l(num_classes: int = 1000, stochastic_depth: float = 0.2, weights: str | None = None) -> SwinTransformer:
    """Swin-L; 196.5 M parameters, 34.5 G multiply-adds."""
    return _swin(SwinShape(192, (2, 2, 18, 2), (6, 12, 24, 48)), num_classes, stochastic_depth, 248)
