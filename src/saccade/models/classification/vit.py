"""Vision Transformer: an image as a sentence of patches.

Paper: Alexey Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR
2021, arXiv 2010.11929.

Cut an image into patches, project each linearly to a token, add what is learnt of its position, put a class token in
front, and let a plain transformer encoder do the rest; the output at the class token classifies the image. Nothing
in it encodes neighbourhoods. With little data that is a weakness; with much, such a network overtakes convolutions.

    image                     3 x 224 x 224
    patches 16 x 16, linear   196 tokens of D               D, blocks, heads, MLP (table 1)
    class token in front      197                            Ti 192, 12,  3,  768   (Touvron et al. 2021)
    + position embedding                                     S  384, 12,  6, 1536
    L x block                                                B  768, 12, 12, 3072
    LayerNorm, class token                                   L 1024, 24, 16, 4096
    fc 1000                                                  H 1280, 32, 16, 5120   (patches 14 x 14)

    block (equations 2, 3):  z' = z + attention(LN(z)),  z = z' + MLP(LN(z'))

The hybrid (section 3.1) takes the locations of a ResNet's feature map as its patches: R50 is ResNet-50 with GroupNorm
and weight standardisation (Kolesnikov et al. 2020, BiT), its last stage left out for patches of 16 pixels
(``models.classification.bit``).

Differences from the paper: the hidden layer of the head in pre-training is left out. Images whose sides are no
multiple of the patch are padded with zeros at the right and below. Position embeddings of another grid are
interpolated bicubically (section 3.2). Dropout is 0 unless asked for (the paper's 0.1 for training on ImageNet alone is
the recipe's).

Published weights: torchvision and timm, whose names these are. A file whose position embeddings belong to another grid
is interpolated when it is loaded.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.blocks.stochastic_depth import linear_rates
from saccade.blocks.transformer import BlockSettings, TransformerBlock
from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier
from saccade.models.classification.bit import BiTBackbone
from saccade.models.registry import Reported, register_model
from saccade.structures.class_rows import linear_rows

__all__ = [
    "HybridEmbedding", "PatchEmbedding", "VisionTransformer", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16",
    "vit_l_32", "vit_r50_b_16", "vit_r50_l_32", "vit_s_16", "vit_s_32", "vit_ti_16",
]  # fmt: skip

PAPER = "Dosovitskiy et al., ICLR 2021, arXiv 2010.11929"


class PatchEmbedding(nn.Module):
    """Patch embedding: patches projected linearly, by a convolution whose stride is its kernel (E of equation 1).

    Args:
        channels: Channels of a token (D).
        patch: Side of a patch in pixels.

    Example:
        >>> PatchEmbedding(channels=192, patch=16)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 192, 4, 4])
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)
        nn.init.trunc_normal_(self.proj.weight, std=math.sqrt(1 / (3 * patch**2)))
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, H / patch, W / patch)."""
        out: Tensor = self.proj(images)
        return out


class HybridEmbedding(nn.Module):
    """Hybrid embedding: locations of a ResNet's feature map projected linearly (section 3.1).

    Args:
        backbone: Network whose feature map is embedded.
        channels: Channels of a token (D).

    Example:
        >>> HybridEmbedding(BiTBackbone((1, 1, 1)), channels=192)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 192, 4, 4])
    """

    def __init__(self, backbone: BiTBackbone, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.proj = nn.Conv2d(backbone.out_channels, channels, 1)
        nn.init.trunc_normal_(self.proj.weight, std=math.sqrt(1 / backbone.out_channels))
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, H / stride, W / stride)."""
        out: Tensor = self.proj(self.backbone(images))
        return out


class VisionTransformer(Classifier):
    """Vision Transformer classifier: patch embedding, transformer encoder, fc on the class token.

    Args:
        embedding: Module from images (B, 3, H, W) to tokens (B, D, rows, columns).
        patch: Pixels from one token to the next.
        depth: Blocks.
        settings: Settings of the blocks.
        num_classes: Outputs of the fc layer.
        image_size: Side of the images whose grid has its own position embeddings; others are interpolated.
        stochastic_depth: Rate of the last block; lower ones have proportionally less.

    Raises:
        ConfigError: If ``image_size`` is no multiple of the patch.

    Example:
        >>> settings = BlockSettings(channels=24, heads=3, mlp_channels=96)
        >>> model = VisionTransformer(PatchEmbedding(24, 16), 16, 2, settings, num_classes=3, image_size=64)
        >>> model(torch.zeros(1, 3, 64, 80))["logits"].shape  # another grid: position embeddings are interpolated
        torch.Size([1, 3])
    """

    head_names = ("head",)
    class_rows = linear_rows("head")

    def __init__(
        self,
        embedding: PatchEmbedding | HybridEmbedding,
        patch: int,
        depth: int,
        settings: BlockSettings,
        num_classes: int = 1000,
        image_size: int = 224,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise ConfigError(f"image_size {image_size} is no multiple of the patch of {patch} pixels.")
        self.num_classes = num_classes
        self.patch = patch
        self.grid = image_size // patch
        channels = settings.channels
        self.input_spec = replace(IMAGENET_SPEC, size=(image_size, image_size))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid**2, channels))
        self.patch_embed = embedding
        self.dropout = nn.Dropout(settings.dropout)
        rates = linear_rates(stochastic_depth, depth)
        self.blocks = nn.Sequential(*(TransformerBlock(settings, rate) for rate in rates))
        self.norm = nn.LayerNorm(channels, settings.eps)
        self.head = nn.Linear(channels, num_classes)
        self.stage_names = (
            "patch_embed",
            "cls_token",
            "pos_embed",
            *(f"blocks.{number}" for number in range(depth)),
            "norm",
        )
        # Only the class token leaves the last block for the head: the other tokens count in that block's input.
        self.cam_layer = f"blocks.{depth - 1}.norm1"
        self.feature_channels = (channels,)
        self.feature_strides = (patch,)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):  # Glorot's, as in the authors' code; a head of zeros is theirs too
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings of a grid, the class token's first: (1, 1 + rows * columns, D)."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        first, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        table = grid.transpose(1, 2).reshape(1, -1, self.grid, self.grid).float()
        table = F.interpolate(table, (rows, columns), mode="bicubic", align_corners=False, antialias=True)
        return torch.cat((first, table.flatten(2).transpose(1, 2).to(first.dtype)), dim=1)

    def _encode(self, images: Tensor) -> Tensor:
        """Tokens after the last LayerNorm, (B, 1 + N, D)."""
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        patches = self.patch_embed(images)  # (B, D, rows, columns)
        rows, columns = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B, N, D)
        tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        tokens = self.dropout(tokens + self._positions(rows, columns))  # equation 1
        out: Tensor = self.norm(self.blocks(tokens))
        return out

    def to_map(self, activation: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Tokens (B, 1 + N, C) or (B, N, C) as a feature map (B, C, rows, columns), without the class token."""
        if activation.ndim != 3:
            return activation
        rows, columns = (-(-side // self.patch) for side in image_size)
        return activation[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))

    def features(self, images: Tensor) -> list[Tensor]:
        """One feature map, the patch tokens after the last LayerNorm; images (B, 3, H, W)."""
        return [self.to_map(self._encode(images), (images.shape[2], images.shape[3]))]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes)."""
        return {"logits": self.head(self._encode(images)[:, 0])}  # equation 4


def _vit(
    size: tuple[int, int, int], patch: int, num_classes: int, image_size: int, dropout: float, hybrid: bool = False
) -> VisionTransformer:
    """ViT of a row of table 1, ``size`` = (D, blocks, heads)."""
    channels, depth, heads = size
    settings = BlockSettings(channels, heads, 4 * channels, dropout=dropout)
    embedding: PatchEmbedding | HybridEmbedding
    if hybrid:
        embedding = HybridEmbedding(BiTBackbone((3, 4, 9) if patch == 16 else (3, 4, 6, 3)), channels)
    else:
        embedding = PatchEmbedding(channels, patch)
    return VisionTransformer(embedding, patch, depth, settings, num_classes, image_size)


TI, S, B, L, H = (192, 12, 3), (384, 12, 6), (768, 12, 12), (1024, 24, 16), (1280, 32, 16)


@register_model("classification", PAPER)
def vit_ti_16(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-Ti/16; 5.7 M parameters, 1.3 G multiply-adds.

    Example:
        >>> vit_ti_16(num_classes=3, image_size=64)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 3])
    """
    return _vit(TI, 16, num_classes, image_size, dropout)


@register_model("classification", PAPER)
def vit_s_16(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-S/16; 22.1 M parameters, 4.6 G multiply-adds."""
    return _vit(S, 16, num_classes, image_size, dropout)


@register_model("classification", PAPER)
def vit_s_32(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-S/32; 22.9 M parameters, 1.1 G multiply-adds."""
    return _vit(S, 32, num_classes, image_size, dropout)


@register_model("classification", PAPER, Reported(params=86e6, top1=77.91, source="tables 1 and 5 (ImageNet alone)"))
def vit_b_16(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-B/16; 86.6 M parameters, 17.6 G multiply-adds."""
    return _vit(B, 16, num_classes, image_size, dropout)


@register_model("classification", PAPER, Reported(top1=73.38, source="table 5 (ImageNet alone)"))
def vit_b_32(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-B/32; 88.2 M parameters, 4.4 G multiply-adds."""
    return _vit(B, 32, num_classes, image_size, dropout)


@register_model("classification", PAPER, Reported(params=307e6, top1=76.53, source="tables 1 and 5 (ImageNet alone)"))
def vit_l_16(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-L/16; 304.3 M parameters, 61.6 G multiply-adds."""
    return _vit(L, 16, num_classes, image_size, dropout)


@register_model("classification", PAPER, Reported(top1=71.16, source="table 5 (ImageNet alone)"))
def vit_l_32(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-L/32; 306.5 M parameters, 15.4 G multiply-adds."""
    return _vit(L, 32, num_classes, image_size, dropout)


@register_model("classification", PAPER, Reported(params=632e6, source="table 1"))
def vit_h_14(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """ViT-H/14; 632.0 M parameters, 167.3 G multiply-adds."""
    return _vit(H, 14, num_classes, image_size, dropout)


@register_model("classification", PAPER)
def vit_r50_b_16(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """Hybrid ViT, R50+B/16; 98.7 M parameters, 21.5 G multiply-adds."""
    return _vit(B, 16, num_classes, image_size, dropout, hybrid=True)


@register_model("classification", PAPER)
def vit_r50_l_32(
    num_classes: int = 1000, image_size: int = 224, dropout: float = 0.0, weights: str | None = None
) -> VisionTransformer:
    """Hybrid ViT, R50+L/32; 329.0 M parameters, 19.4 G multiply-adds."""
    return _vit(L, 32, num_classes, image_size, dropout, hybrid=True)
