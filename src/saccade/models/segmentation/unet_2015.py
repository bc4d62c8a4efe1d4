"""U-Net as it was published: convolutions without padding, mirrored borders, overlapping tiles.

Paper: Olaf Ronneberger, Philipp Fischer, Thomas Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, arXiv 1505.04597.

No convolution is padded, so a pixel of the output never depends on anything that is not there: of 572 x 572 pixels the
network labels the 388 x 388 in the middle. What it needs around an image is the image's own mirror image (figure 2). A
large image is labelled in tiles whose inputs overlap by 184 pixels; put side by side, their outputs are those of the
whole image.

    572 x 572  encoder.0   64 x 568 x 568  --crop  88--->  decoder.3   64 x 388 x 388 -> head 1x1 -> C x 388 x 388
               encoder.1  128 x 280 x 280  --crop  40--->  decoder.2  128 x 196 x 196
               encoder.2  256 x 136 x 136  --crop  16--->  decoder.1  256 x 100 x 100
               encoder.3  512 x  64 x  64  --crop   4--->  decoder.0  512 x  52 x  52
               encoder.4 1024 x  28 x  28  --^

    encoder block: 2x2 max pool, then twice (3x3 convolution without padding, ReLU); dropout in the last two
    decoder block: 2x2 transposed convolution, concatenated with the cropped skip, then twice (3x3 convolution, ReLU)

Each side loses 92 pixels. All four poolings have whole windows if a side is 16 k + 12, of which 16 k - 172 are left.

``forward`` continues an image by its mirror image and labels all of it; :meth:`UNet2015.valid` is the network alone,
and :meth:`UNet2015.in_tiles` the strategy of figure 2. For the loss of equation 1 see ``data.border``
(:mod:`saccade.data.derived.border_weights`). The form with padding and BN, which most people mean by U-Net, is
:mod:`saccade.models.segmentation.unet`.

Differences from the paper: none in the network. What it leaves open is taken from the network that its authors
released with it: dropout of 0.5 behind the fourth and fifth encoder block. That release also has a ReLU behind each
transposed convolution and does not halve the channels in the last; figure 1, which is followed here, does. Pixels are
scaled to a deviation of about one, for which the initial weights of section 3 are made.

Published weights: none that are read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.models.segmentation.unet import initialise
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = ["MARGIN", "UNet2015", "mirror", "unet_2015"]

PAPER = "Ronneberger et al., MICCAI 2015, arXiv 1505.04597"

MARGIN = 92
"""Pixels that each side of an image loses."""

_STRIDE = 16  # of the coarsest feature map
_CROPS = (88, 40, 16, 4)  # of the skips on each side, fine to coarse: from 568 to 392, 280 to 200, 136 to 104, 64 to 56


def mirror(images: Tensor, margin: int, size: tuple[int, int]) -> Tensor:
    """Continue images by their mirror image on all sides; the first and last row and column are not repeated.

    Args:
        images: (B, C, H, W), of any size; what is wider than the image mirrors it several times.
        margin: Pixels at the left and at the top.
        size: (H', W') of the result; the rest is at the right and at the bottom.

    Returns:
        (B, C, H', W').

    Example:
        >>> mirror(torch.tensor([[[[1, 2, 3]]]]), margin=3, size=(1, 9))[0, 0, 0]
        tensor([2, 3, 2, 1, 2, 3, 2, 1, 2])
    """
    for axis, side in zip((2, 3), size, strict=True):
        period = 2 * images.shape[axis] - 2
        # Distance from the first pixel, folded at the last one and at the first one in turn.
        distance = (torch.arange(side, device=images.device) - margin).abs()
        folded = distance.remainder(torch.sym_max(period, 1))
        images = images.index_select(axis, torch.minimum(folded, (period - folded).abs()))
    return images


class ValidConvolution(nn.Sequential):
    """Double convolution without padding: twice 3x3 convolution, ReLU; H x W become H - 4 x W - 4.

    Example:
        >>> ValidConvolution(3, 8)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 8, 12, 12])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3),
            nn.ReLU(inplace=True),
        )


class ValidUpBlock(nn.Module):
    """Decoder block: transposed convolution to twice the size and half the channels, cropped skip, convolutions.

    Args:
        in_channels: Channels of the coarser feature map.
        crop: Rows and columns of the skip that are left out on each side.
    """

    def __init__(self, in_channels: int, crop: int) -> None:
        super().__init__()
        self.crop = crop
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
        self.convolutions = ValidConvolution(in_channels, in_channels // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, H, W) and (B, C / 2, 2 H + 2 crop, 2 W + 2 crop) to (B, C / 2, 2 H - 4, 2 W - 4)."""
        inner = slice(self.crop, -self.crop)
        return self.convolutions(torch.cat((skip[..., inner, inner], self.up(x)), dim=1))


class UNet2015(Segmenter):
    """U-Net of figure 1: no padding, no BN, one input channel.

    Args:
        num_classes: Output channels.
        in_channels: 1 for grey, 3 for colour.
        base_channels: Channels of the finest feature maps; they double four times.
        dropout: Share of the values that are dropped at the end of the encoder in training.

    Example:
        >>> model = UNet2015(base_channels=4)
        >>> model.valid(torch.zeros(1, 1, 572, 572)).shape, model(torch.zeros(1, 1, 100, 60))["logits"].shape
        (torch.Size([1, 2, 388, 388]), torch.Size([1, 2, 100, 60]))
    """

    stage_names = (*(f"encoder.{level}" for level in range(5)), *(f"decoder.{level}" for level in range(4)))
    head_names = ("head",)
    class_rows = linear_rows("head")
    feature_strides = (1, 2, 4, 8, 16)

    def __init__(
        self, num_classes: int = 2, in_channels: int = 1, base_channels: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__(num_classes)
        self.input_spec = InputSpec(
            size=(388, 388),  # which its mirror image continues to 572 x 572
            channels=in_channels,
            resize="letterbox",
            mean=(127.5,) * in_channels,
            std=(63.75,) * in_channels,
        )
        widths = [base_channels * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            ValidConvolution(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.feature_channels = tuple(widths)
        self.decoder = nn.ModuleList(
            ValidUpBlock(channels, crop) for channels, crop in zip(widths[:0:-1], reversed(_CROPS), strict=True)
        )
        self.head = nn.Conv2d(base_channels, num_classes, 1)
        self.apply(initialise)

    def _encode(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for level, encoder in enumerate(self.encoder):
            x = encoder(self.pool(maps[-1]) if maps else images)
            maps.append(self.dropout(x) if level >= 3 else x)
        return maps

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the encoder for the mirrored images, cropped to what lies over the images themselves."""
        height, width = images.shape[-2:]
        cropped = []
        for one, stride in zip(self._encode(self.continued(images)), self.feature_strides, strict=True):
            rows, columns = -(-height // stride), -(-width // stride)
            first = round((MARGIN + 2) / stride) - 4  # location k begins at pixel (k + 4) stride - 2
            cropped.append(one[..., first : first + rows, first : first + columns])
        return cropped

    def continued(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) with their mirror image around them: as much as :meth:`valid` takes away.

        At the right and at the bottom it is up to 15 pixels more, so that all poolings have whole windows.
        """
        height, width = (-(-(side + 2 * MARGIN - 12) // _STRIDE) * _STRIDE + 12 for side in images.shape[-2:])
        return mirror(images, MARGIN, (height, width))

    def valid(self, images: Tensor) -> Tensor:
        """The network of figure 1: (B, in_channels, H, W) to logits (B, C, H - 184, W - 184) of the middle.

        Args:
            images: Of sides 16 k + 12, at least 188.

        Raises:
            ConfigError: For other sides.
        """
        height, width = images.shape[-2:]
        if height < 188 or width < 188 or height % _STRIDE != 12 or width % _STRIDE != 12:
            raise ConfigError(
                f"the unpadded U-Net takes sides of 188, 204 ... 572 ... pixels (16 k + 12), not {height}x{width}. "
                "Call the network itself, which continues images of any size by their mirror image."
            )
        return self._label(images)

    def _label(self, images: Tensor) -> Tensor:
        *skips, x = self._encode(images)
        for decoder in self.decoder:
            x = decoder(x, skips.pop())
        return self.head(x)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, in_channels, H, W) of any size, continued by their mirror image."""
        height, width = images.shape[-2:]
        return {"logits": self._label(self.continued(images))[..., :height, :width]}

    def in_tiles(self, images: Tensor, tile: int = 388) -> Tensor:
        """Logits (B, C, H, W) as ``forward`` gives them, computed tile by tile in the memory of one (figure 2).

        Neighbouring tiles are labelled from inputs that share 184 pixels. Tiles begin at multiples of the coarsest
        stride, where all poolings have the windows that they have in the whole image, so that nothing differs.

        Args:
            images: (B, in_channels, H, W) of any size.
            tile: Side of the part that is labelled at a time, 16 k + 4: 388 is that of figure 1.

        Raises:
            ConfigError: For another side.

        Example:
            >>> model, image = UNet2015(base_channels=2).eval(), torch.rand(1, 1, 70, 90)
            >>> torch.allclose(model.in_tiles(image, tile=36), model(image)["logits"], atol=1e-5)
            True
        """
        if tile < 20 or tile % _STRIDE != 4:
            raise ConfigError(f"tile is {tile}; it must be 20, 36, 52 ... 388 ... pixels (16 k + 4).")
        height, width = images.shape[-2:]
        step, side = tile - 4, tile + 2 * MARGIN
        rows, columns = (range(0, max(length - 4, 1), step) for length in (height, width))
        whole = mirror(images, MARGIN, (rows[-1] + side, columns[-1] + side))
        logits = images.new_empty(len(images), self.num_classes, height, width)
        for top in rows:
            for left in columns:
                labelled = self._label(whole[..., top : top + side, left : left + side])
                part = logits[..., top : top + tile, left : left + tile]
                part.copy_(labelled[..., : part.shape[-2], : part.shape[-1]])
        return logits


@register_model("segmentation", PAPER)
def unet_2015(
    num_classes: int = 2,
    in_channels: int = 1,
    base_channels: int = 64,
    dropout: float = 0.5,
    weights: str | None = None,
) -> UNet2015:
    """U-Net of 2015, unpadded; 31.0 M parameters, 150 G multiply-adds for 572 x 572 pixels, of which it labels 388.

    Example:
        >>> unet_2015(base_channels=4)(torch.zeros(1, 1, 64, 64))["logits"].shape
        torch.Size([1, 2, 64, 64])
    """
    return UNet2015(num_classes, in_channels, base_channels, dropout)
