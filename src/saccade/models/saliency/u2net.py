"""U2-Net: a U of U-Nets for salient object detection, trained from scratch.

Paper: Xuebin Qin, Zichen Zhang, Chenyang Huang, Masood Dehghan, Osmar R. Zaiane, Martin Jagersand, "U2-Net: Going
Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition 2020, arXiv 2005.09007.

Other networks take a classifier's backbone, whose early layers see a few pixels each. Here every stage of a U-Net is a
small U-Net itself, a residual U-block: it looks at its own feature map at many scales, most of them cheap because they
are coarse, and adds what it found to what it was given. So each stage has context from the first one on, and no
pretraining is needed. Every stage of the decoder, and the coarsest of the encoder, predicts saliency at its own
resolution; all six are upsampled, supervised, and fused by a 1x1 convolution (figure 5).

    encoder.0  RSU-7   64 x H    x W     ----------------->  decoder.4  RSU-7   64 x H    x W     -> side 1
    encoder.1  RSU-6  128 x H/2  x W/2   ------------->  decoder.3  RSU-6   64 x H/2  x W/2       -> side 2
    encoder.2  RSU-5  256 x H/4  x W/4   --------->  decoder.2  RSU-5  128 x H/4  x W/4           -> side 3
    encoder.3  RSU-4  512 x H/8  x W/8   ----->  decoder.1  RSU-4  256 x H/8  x W/8               -> side 4
    encoder.4  RSU-4F 512 x H/16 x W/16  ->  decoder.0  RSU-4F 512 x H/16 x W/16                  -> side 5
    encoder.5  RSU-4F 512 x H/32 x W/32  --------^                                                -> side 6
    fusion     1x1 over the six side outputs, upsampled: the prediction

    RSU-L(x):  x' = 3x3(x);  L - 1 convolutions on the way down, pooled between; one with dilation 2 at the bottom;
               L - 1 on the way up, each over its input upsampled and the skip of that size;  x' + the last of them
    RSU-4F:    the same without pooling, with dilations 1, 2, 4, 8, 4, 2, 1 (no resolution is left to give up)

U2-NetP has the same layers with 64 channels outside of the blocks and 16 inside.

Differences from the paper: none in the network. Images are resized to 320 x 320 without keeping their aspect, as in the
authors' code; that divides the pixels of an image by the image's own maximum before it subtracts ImageNet's mean, where
they are divided by 255 here (the same for every image with a white pixel; dark ones look darker). It also stretches
every predicted map to 0..1; probabilities are left as they are here.

Published weights: the authors' files (``u2net.pth``, ``u2netp.pth``, ``u2net_human_seg.pth``: Apache-2.0) load by their
path; reader in ``saccade.weights.layouts``. They lie on Google Drive, so there is no address on record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.base import Outputs
from saccade.models.registry import register_model
from saccade.models.saliency.base import SaliencyNetwork
from saccade.structures.input_spec import InputSpec

__all__ = ["RSU", "U2Net", "u2net", "u2netp"]

PAPER = "Qin et al., Pattern Recognition 2020, arXiv 2005.09007"


def _convolution(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution with a bias, as the authors have it, BN, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    """Initialise by Xavier (section 4.2)."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, ceil_mode=True)  # half the size, rounded up


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


class RSU(nn.Module):
    """Residual U-block: a U-Net of one convolution a level, added to its input (section 3.1, figure 2 (e)).

    Args:
        in_channels: Channels of the input.
        inner_channels: Channels inside of the U.
        out_channels: Channels of the result.
        depth: Convolutions from the top to the bottom (L of RSU-L).
        pooled: Whether the levels are pooled; else each has twice the dilation of the one before (RSU-4F).

    Example:
        >>> RSU(3, 4, 8, depth=5)(torch.zeros(2, 3, 33, 50)).shape
        torch.Size([2, 8, 33, 50])
    """

    def __init__(
        self, in_channels: int, inner_channels: int, out_channels: int, depth: int, pooled: bool = True
    ) -> None:
        super().__init__()
        self.pooled = pooled
        dilations = [1] * (depth - 1) + [2] if pooled else [2**level for level in range(depth)]
        self.input = _convolution(in_channels, out_channels)
        self.down = nn.ModuleList(
            _convolution(inner_channels if level else out_channels, inner_channels, dilations[level])
            for level in range(depth - 1)
        )
        self.bottom = _convolution(inner_channels, inner_channels, dilations[-1])
        self.up = nn.ModuleList(
            _convolution(2 * inner_channels, inner_channels if level else out_channels, dilations[level])
            for level in reversed(range(depth - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        whole = x = self.input(x)
        skips: list[Tensor] = []
        for layer in self.down:
            x = layer(_pool(x) if self.pooled and skips else x)
            skips.append(x)
        x = self.bottom(x)
        for number, layer in enumerate(self.up):
            skip = skips.pop()
            if self.pooled and number > 0:  # the bottom has the size of the last level
                x = _upsample(x, skip)
            x = layer(torch.cat((x, skip), dim=1))
        return whole + x


def _blocks(in_channels: Sequence[int], inner: Sequence[int], out_channels: Sequence[int]) -> list[RSU]:
    """RSU-7, 6, 5, 4 and 4F, as many as there are channels given."""
    depths = (7, 6, 5, 4, 4, 4)
    return [
        RSU(*channels, depth=depths[level], pooled=level < 4)
        for level, channels in enumerate(zip(in_channels, inner, out_channels, strict=True))
    ]


class U2Net(SaliencyNetwork):
    """U2-Net: encoder and decoder of residual U-blocks, six side outputs and their fusion (section 3.2, table 1).

    Args:
        encoder: Channels inside of each of the six blocks of the encoder, and of its result.
        decoder: The same of the five blocks of the decoder, coarse to fine.
        num_classes: 1.

    Example:
        >>> small = [(4, 8)] * 6
        >>> model = U2Net(small, small[:5]).eval()
        >>> outputs = model.supervised(torch.zeros(1, 3, 75, 101))
        >>> list(outputs), {tuple(one.shape) for one in outputs.values()}
        (['logits', 'side1', 'side2', 'side3', 'side4', 'side5', 'side6'], {(1, 1, 75, 101)})
    """

    stage_names = (*(f"encoder.{level}" for level in range(6)), *(f"decoder.{level}" for level in range(5)))
    head_names = ("sides", "fusion")
    feature_strides = (1, 2, 4, 8, 16, 32)
    input_spec = InputSpec(
        size=(320, 320), resize="stretch", pad_multiple=32, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )

    def __init__(
        self, encoder: Sequence[tuple[int, int]], decoder: Sequence[tuple[int, int]], num_classes: int = 1
    ) -> None:
        super().__init__(num_classes)
        inner, channels = zip(*encoder, strict=True)
        self.feature_channels = channels
        self.encoder = nn.ModuleList(_blocks((3, *channels[:-1]), inner, channels))

        fine_inner, fine = zip(*reversed(decoder), strict=True)  # fine to coarse, as the encoder
        coarser = (*fine[1:], channels[-1])
        joined = [below + skip for below, skip in zip(coarser, channels[:-1], strict=True)]
        self.decoder = nn.ModuleList(reversed(_blocks(joined, fine_inner, fine)))

        self.sides = nn.ModuleList(nn.Conv2d(one, num_classes, 3, padding=1) for one in (*fine, channels[-1]))
        self.fusion = nn.Conv2d(6 * num_classes, num_classes, 1)
        self.apply(_initialise)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the encoder; sides are halved and rounded up from one to the next."""
        maps = [self.encoder[0](images)]
        for block in self.encoder[1:]:
            maps.append(block(_pool(maps[-1])))
        return maps

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        """``logits`` and the six side outputs, fine to coarse, all (B, 1, H, W); each weighs 1 (equation 1)."""
        sides = self._sides(images)
        named = {f"side{number}": side for number, side in enumerate(sides, start=1)}
        return {"logits": self.fusion(torch.cat(sides, dim=1)), **named}

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, 1, H, W) of images (B, 3, H, W) of any size."""
        return {"logits": self.fusion(torch.cat(self._sides(images), dim=1))}

    def _sides(self, images: Tensor) -> list[Tensor]:
        """Side outputs at the size of the images, fine to coarse."""
        *skips, x = self.features(images)
        maps = [x]
        for block in self.decoder:
            skip = skips.pop()
            x = block(torch.cat((_upsample(x, skip), skip), dim=1))
            maps.append(x)
        sides = [side(one) for side, one in zip(self.sides, reversed(maps), strict=True)]
        return [sides[0], *(_upsample(side, images) for side in sides[1:])]


@register_model("saliency", PAPER)
def u2net(num_classes: int = 1, base_channels: int = 64, weights: str | None = None) -> U2Net:
    """U2-Net; 44.0 M parameters, 58.6 G multiply-adds at 320 x 320.

    Args:
        num_classes: 1.
        base_channels: Channels of the finest stage; all others follow.
        weights: Path of weights to load, if any.

    Example:
        >>> u2net(base_channels=8).feature_channels
        (8, 16, 32, 64, 64, 64)
    """
    outer = [base_channels * factor for factor in (1, 2, 4, 8, 8, 8)]
    inner = [base_channels * factor // 2 for factor in (1, 1, 2, 4, 8, 8)]
    decoder = [
        (base_channels * narrow // 4, base_channels * wide)
        for narrow, wide in ((16, 8), (8, 4), (4, 2), (2, 1), (1, 1))
    ]
    return U2Net(list(zip(inner, outer, strict=True)), decoder, num_classes)


@register_model("saliency", PAPER)
def u2netp(num_classes: int = 1, base_channels: int = 64, weights: str | None = None) -> U2Net:
    """U2-NetP, as many channels in every stage; 1.13 M parameters, 19.8 G multiply-adds at 320 x 320.

    Args:
        num_classes: 1.
        base_channels: Channels outside of the blocks; inside are a quarter of them.
        weights: Path of weights to load, if any.

    Example:
        >>> u2netp(base_channels=8)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 1, 64, 64])
    """
    stage = (base_channels // 4, base_channels)
    return U2Net([stage] * 6, [stage] * 5, num_classes)
