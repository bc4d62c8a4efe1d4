"""Self-attention and the pre-norm encoder block.

Papers: Ashish Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762; Alexey Dosovitskiy et al.,
"An Image is Worth 16x16 Words", ICLR 2021, arXiv 2010.11929, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.stochastic_depth import StochasticDepth

__all__ = ["BlockSettings", "Mlp", "SelfAttention", "TransformerBlock"]


class SelfAttention(nn.Module):
    """Multi-head self-attention, ``softmax(Q K^T / sqrt(d)) V`` (Vaswani et al., section 3.2).

    Args:
        channels: Channels of a token.
        heads: Number of heads; each has ``channels / heads`` channels.

    Example:
        >>> attention, tokens = SelfAttention(64, heads=4), torch.zeros(1, 10, 64)
        >>> attention(tokens).shape, attention.attention(tokens).shape
        (torch.Size([1, 10, 64]), torch.Size([1, 4, 10, 10]))
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, heads, N, channels / heads) each."""
        batch, tokens, channels = x.shape
        parts = self.qkv(x).view(batch, tokens, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        return query, key, value

    def attention(self, x: Tensor) -> Tensor:
        """Attention weights (B, heads, N, N) for an input (B, N, channels) of ``forward``; rows sum to one."""
        query, key, _ = self._split(x)
        return ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, channels) -> the same shape."""
        query, key, value = self._split(x)
        mixed = F.scaled_dot_product_attention(query, key, value)  # (B, heads, N, d)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Feed-forward network of a transformer: two linear layers with an activation, applied to each token.

    Args:
        channels: Channels in and out.
        hidden: Channels between the layers.
        activation: Makes the activation.
        dropout: Rate of the dropout after each layer.

    Example:
        >>> Mlp(64, hidden=256)(torch.zeros(1, 10, 64)).shape
        torch.Size([1, 10, 64])
    """

    def __init__(
        self, channels: int, hidden: int, activation: Callable[[], nn.Module] = nn.GELU, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = activation()
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) -> the same shape."""
        out: Tensor = self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))
        return out


@dataclass(frozen=True)
class BlockSettings:
    """Settings that all blocks of a transformer encoder share.

    Args:
        channels: Channels of a token.
        heads: Heads of the attention.
        mlp_channels: Channels between the two layers of the MLP.
        activation: Makes the MLP's activation.
        dropout: Rate of the dropout after each linear layer except that of queries, keys and values.
        eps: Added to the variance in the LayerNorms.

    Example:
        >>> BlockSettings(channels=64, heads=4, mlp_channels=256).eps
        1e-06
    """

    channels: int
    heads: int
    mlp_channels: int
    activation: Callable[[], nn.Module] = nn.GELU
    dropout: float = 0.0
    eps: float = 1e-6


class TransformerBlock(nn.Module):
    """Pre-norm encoder block: attention and MLP, each after a LayerNorm and with a shortcut around both.

    Dosovitskiy et al., equations 2 and 3.

    Args:
        settings: Sizes, shared with the other blocks.
        stochastic_depth: Rate at which a branch is dropped in training.

    Example:
        >>> block = TransformerBlock(BlockSettings(channels=64, heads=4, mlp_channels=256))
        >>> block(torch.zeros(1, 10, 64)).shape
        torch.Size([1, 10, 64])
    """

    def __init__(self, settings: BlockSettings, stochastic_depth: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(settings.channels, settings.eps)
        self.attn = SelfAttention(settings.channels, settings.heads)
        self.norm2 = nn.LayerNorm(settings.channels, settings.eps)
        self.mlp = Mlp(settings.channels, settings.mlp_channels, settings.activation, settings.dropout)
        self.dropout = nn.Dropout(settings.dropout)
        self.drop_path = StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, channels) -> the same shape."""
        x = x + self.drop_path(self.dropout(self.attn(self.norm1(x))))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out
