"""U-Net: segmentation learnt from few images.

Paper: Olaf Ronneberger, Philipp Fischer, Thomas Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, arXiv 1505.04597.

*What* a pixel belongs to takes a wide receptive field, and so coarse feature maps; *where* the border runs takes fine
ones. U-Net's encoder downsamples to coarse feature maps with many channels, its decoder upsamples them again, and at
every size the decoder concatenates the encoder's feature map of that size with its own (figure 1). The decoder has as
many channels as the encoder, so borders come out sharp from a few dozen training images.

    encoder.0  64 x H    x W    ------------------------->  decoder.3  64 x H    x W  -> head 1x1 -> C x H x W
    encoder.1 128 x H/2  x W/2  ----------------->  decoder.2 128 x H/2 x W/2
    encoder.2 256 x H/4  x W/4  --------->  decoder.1 256 x H/4 x W/4
    encoder.3 512 x H/8  x W/8  ->  decoder.0 512 x H/8 x W/8
    encoder.4 1024 x H/16 x W/16 --^

    encoder block: 2x2 max pool, then twice (3x3 convolution, BN, ReLU)
    decoder block: 2x2 transposed convolution, concatenated with the skip, then twice (3x3 convolution, BN, ReLU)

``unet_backbone`` has any classifier as its encoder and nearest upsampling in its decoder; ``unet_resnet34`` is the best
known of these.

Differences from the paper, whose own network is :mod:`saccade.models.segmentation.unet_2015`: convolutions are padded,
so that the output has the size of the image (the paper's 572 gives 388), and have BN instead of a bias, as in nearly
all later use; there is no dropout at the end of the encoder. Images whose sides are no multiple of 16 are padded by
their last row and column and the output is cropped. The paper's weight map for touching cells is ``data.border``, its
elastic deformation ``augment.elastic``; both go with every network for segmentation.

Published weights: the Carvana car masks for ``unet`` (values 0..1 in, hence the input spec),
segmentation-models-pytorch for ``unet_resnet34``; readers in ``saccade.weights.layouts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError, did_you_mean
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = ["BackboneUNet", "DoubleConvolution", "UNet", "initialise", "unet", "unet_backbone", "unet_resnet34"]

PAPER = "Ronneberger et al., MICCAI 2015, arXiv 1505.04597"

Merge = Literal["concat", "add"]


class DoubleConvolution(nn.Sequential):
    """Double convolution: twice 3x3 convolution, BN, ReLU; (B, in_channels, H, W) to (B, out_channels, H, W).

    Example:
        >>> DoubleConvolution(3, 8)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class UpBlock(nn.Module):
    """Decoder block: transposed convolution to twice the size and half the channels, skip, double convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
        self.convolutions = DoubleConvolution(in_channels, in_channels // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, H, W) and (B, C / 2, 2 H, 2 W) to (B, C / 2, 2 H, 2 W)."""
        return self.convolutions(torch.cat((skip, self.up(x)), dim=1))


def initialise(module: nn.Module) -> None:
    """Initialise as in section 3: Gaussian with standard deviation sqrt(2 / N), N the inputs of a unit; no bias.

    Example:
        >>> layer = nn.Conv2d(32, 128, 3)
        >>> initialise(layer)
        >>> abs(layer.weight.std().item() - (2 / (9 * 32)) ** 0.5) < 0.002
        True
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        # A pixel behind a 2x2 transposed convolution of stride 2 has one input pixel: N is the number of its channels.
        fan_in = module.in_channels * (9 if module.kernel_size == (3, 3) else 1)
        nn.init.normal_(module.weight, std=(2.0 / fan_in) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class UNet(Segmenter):
    """U-Net of figure 1, with padded convolutions and BN.

    Args:
        num_classes: Output channels.
        in_channels: 3 for colour, 1 for grey.
        base_channels: Channels of the finest feature maps; they double four times.

    Example:
        >>> model = UNet(base_channels=8)
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 3, 64, 64))]
        [(8, 64, 64), (16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    """

    stage_names = (*(f"encoder.{level}" for level in range(5)), *(f"decoder.{level}" for level in range(4)))
    head_names = ("head",)
    class_rows = linear_rows("head")
    feature_strides = (1, 2, 4, 8, 16)

    def __init__(self, num_classes: int = 2, in_channels: int = 3, base_channels: int = 64) -> None:
        super().__init__(num_classes)
        self.input_spec = InputSpec(
            size=(512, 512),
            channels=in_channels,
            resize="letterbox",
            pad_multiple=16,
            mean=(0.0,) * in_channels,
            std=(255.0,) * in_channels,
        )
        widths = [base_channels * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            DoubleConvolution(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.feature_channels = tuple(widths)
        self.decoder = nn.ModuleList(UpBlock(channels) for channels in widths[:0:-1])
        self.head = nn.Conv2d(base_channels, num_classes, 1)
        self.apply(initialise)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the encoder; images (B, in_channels, H, W) with H and W multiples of 16."""
        maps = [self.encoder[0](images)]
        for encoder in self.encoder[1:]:
            maps.append(encoder(self.pool(maps[-1])))
        return maps

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, in_channels, H, W) of any size."""
        height, width = images.shape[-2:]
        *skips, x = self.features(pad_to_multiple(images, 16))
        for decoder in self.decoder:
            x = decoder(x, skips.pop())
        return {"logits": self.head(x)[..., :height, :width]}


class SkipBlock(nn.Module):
    """Decoder block over a backbone: nearest upsampling, the skip of that size if there is one, double convolution.

    Args:
        in_channels: Channels of the coarser feature map.
        skip_channels: Channels of the backbone's feature map; 0 where it has none of that size.
        out_channels: Channels of the result.
        scale: Factor of the upsampling.
        merge: How the skip joins the upsampled map: ``concat``, or ``add`` after a 1x1 convolution to its channels.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, scale: int, merge: Merge = "concat"
    ) -> None:
        super().__init__()
        self.scale = scale
        added = merge == "add" and skip_channels > 0
        self.projection = nn.Conv2d(skip_channels, in_channels, 1, bias=False) if added else None
        self.convolutions = DoubleConvolution(in_channels + (0 if added else skip_channels), out_channels)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, scale H, scale W)."""
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        if skip is None:
            return self.convolutions(x)
        return self.convolutions(torch.cat((x, skip), dim=1) if self.projection is None else x + self.projection(skip))


class BackboneUNet(Segmenter):
    """U-Net over a classifier: one decoder block for each of its feature maps, and one more to full size.

    Args:
        backbone: Classifier without its head, whose ``features`` are the encoder.
        num_classes: Output channels.
        decoder_channels: Channels of the decoder's blocks, coarse to fine; a backbone with fewer feature maps takes
            the last of them.
        merge: How skips join the decoder: concatenated, as in the paper, or added, as in FCN and FPN.

    Raises:
        ConfigError: If there are fewer ``decoder_channels`` than blocks, or there is no such ``merge``.

    Example:
        >>> backbone = build_backbone("mobilenet_v3_small")
        >>> model = BackboneUNet(backbone, num_classes=2, decoder_channels=(32, 16, 8, 8, 8))
        >>> model(torch.zeros(1, 3, 50, 70))["logits"].shape
        torch.Size([1, 2, 50, 70])
    """

    head_names = ("head",)
    class_rows = linear_rows("head")

    def __init__(
        self,
        backbone: Classifier,
        num_classes: int,
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        merge: Merge = "concat",
    ) -> None:
        super().__init__(num_classes)
        if merge not in get_args(Merge):
            raise ConfigError(f"merge is '{merge}'.{did_you_mean(merge, get_args(Merge))}")
        maps = list(zip(backbone.feature_channels, backbone.feature_strides, strict=True))
        self.multiple = max(backbone.feature_strides)
        skips = maps[-2::-1] + ([(0, 1)] if maps[0][1] > 1 else [])
        if len(decoder_channels) < len(skips):
            given = len(decoder_channels)
            raise ConfigError(f"decoder_channels has {given} numbers; this backbone needs {len(skips)}.")

        self.backbone = backbone
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.decoder = nn.ModuleList()
        channels, stride = maps[-1]
        for (skip_channels, skip_stride), out_channels in zip(skips, decoder_channels[-len(skips) :], strict=True):
            self.decoder.append(SkipBlock(channels, skip_channels, out_channels, stride // skip_stride, merge))
            channels, stride = out_channels, skip_stride
        self.head = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.decoder.apply(initialise)
        self.head.apply(initialise)

        self.input_spec = replace(backbone.input_spec, size=(512, 512), resize="letterbox", pad_multiple=self.multiple)
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.neck_names = tuple(f"decoder.{level}" for level in range(len(skips)))

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, 3, H, W) of any size."""
        height, width = images.shape[-2:]
        *skips, x = self.features(pad_to_multiple(images, self.multiple))
        for block in self.decoder:
            x = block(x, skips.pop() if skips else None)
        return {"logits": self.head(x)[..., :height, :width]}


@register_model("segmentation", PAPER)
def unet(num_classes: int = 2, in_channels: int = 3, base_channels: int = 64, weights: str | None = None) -> UNet:
    """U-Net with padded convolutions and BN; 31.0 M parameters, 193 G multiply-adds at 512 x 512.

    Example:
        >>> unet(num_classes=2, base_channels=8)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 2, 64, 64])
    """
    return UNet(num_classes, in_channels, base_channels)


@register_model("segmentation", PAPER)
def unet_resnet34(num_classes: int = 1, weights: str | None = None) -> BackboneUNet:
    """U-Net over ResNet-34, with nearest upsampling; 24.4 M parameters, 31 G multiply-adds at 512 x 512.

    Example:
        >>> unet_resnet34()(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 1, 64, 64])
    """
    return BackboneUNet(build_backbone("resnet34"), num_classes)


@register_model("segmentation", PAPER)
def unet_backbone(
    num_classes: int = 2,
    backbone: str = "resnet18",
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    merge: Merge = "concat",
    weights: str | None = None,
) -> BackboneUNet:
    """U-Net over any registered classifier that has feature maps.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        backbone: Builder name of the classifier.
        decoder_channels: Channels of the decoder, coarse to fine.
        merge: How skips join the decoder: concat, as in the paper, or add.
        weights: Name or path of weights to load, if any.

    Example:
        >>> unet_backbone(num_classes=11, backbone="resnet50").input_spec.pad_multiple
        32
    """
    return BackboneUNet(build_backbone(backbone), num_classes, decoder_channels, merge)
