"""FCN: a classifier that is convolutions throughout, and predicts a class for every pixel.

Paper: Jonathan Long, Evan Shelhamer, Trevor Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
2015, arXiv 1411.4038.

A fully connected layer is a convolution whose kernel is as large as its input (section 3.1). So a classifier without
its last layer slides over an image of any size and gives a coarse map of scores, which transposed convolutions that
begin as bilinear interpolation bring back to the pixels (3.3). *What* is known in the deepest layers, *where* in finer
ones: the skips score finer feature maps too, and add (4.2, figure 3).

    image                    pad 100 on every side
    pool3   256 at stride 8  -- scores.2 -------------------------crop 9--(+)-- x8,  crop 31 -> FCN-8s
    pool4   512 at stride 16 -- scores.1 -----crop 5--(+)------- x2 -------^
    pool5   512 at stride 32                           |------- x16, crop 27 -> FCN-16s
    fc6    4096, 7x7 without padding                   |
    fc7    4096, 1x1         -- scores.0 ------- x2 ---^
                                    |----------- x32, crop 19 -> FCN-32s

fc6 takes six locations away and poolings round up, so that an output of the image's size can be cut out of a padded
image of any size. What is added, or cut out, has to lie on the same pixels. In layers without padding a kernel of k
with stride s puts output i on the middle of inputs s i to s i + k - 1, and a transposed one does the reverse; followed
through the network, location i of pool3, pool4 and the scores of fc7 lies on pixel 8 i - 95.5, 16 i - 91.5 and
32 i + 12.5. The crops 5, 9 and 31 (27, 19) are the differences.

``fcn8s`` has any classifier as its body, without fc6 and fc7. Convolutions of today are padded, so its maps need no
crops: images are padded to whole strides, and transposed convolutions give exact multiples.

*Staged training* (4.2): a run with steps named ``fcn32s``, ``fcn16s`` and ``fcn8s`` trains one network with no skip,
one, two (recipe ``fcn_voc``). Score layers begin at zero, so a new skip changes nothing at first. In the steps before
the last, the last upsampling is a fixed bilinear one, as in the paper.

Differences from the paper: the loss is the mean over pixels in place of their sum, so learning rates are those of the
sum times the number of pixels of an image. The last upsampling, which the paper keeps bilinear, is a tensor of the
published files and learns like all else unless its rate is set to zero, as ``fcn_voc`` does (``lr_scale``). A file of
an intermediate step, loaded as FCN-8s, upsamples by three bilinear kernels in place of one. ``at_once`` scales pool4 by
0.01 and pool3 by 0.0001, for training without stages (Shelhamer et al. 2017, arXiv 1605.06211); that suits VGG-16,
whose activations no layer normalises, and ``fcn8s`` goes without.

Published weights: the authors' Caffe files as wkentaro/pytorch-fcn has them
(:mod:`saccade.weights.layouts.fcn_caffe`); ImageNet's VGG-16 goes into body, fc6 and fc7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import IMAGENET_SPEC, Classifier, build_backbone
from saccade.models.classification.vgg import DEPTHS, VGG, WIDTHS
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import ClassRows, linear_rows
from saccade.structures.dataset import VisionDataset

__all__ = [
    "CAFFE_MEAN",
    "FCN",
    "FCNVGG",
    "STEPS",
    "Upsampling",
    "bilinear_kernel",
    "fcn8s",
    "fcn8s_vgg16",
    "fcn16s_vgg16",
    "fcn32s_vgg16",
]

PAPER = "Long et al., CVPR 2015, arXiv 1411.4038"

STEPS = ("fcn32s", "fcn16s", "fcn8s")
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)  # of ImageNet's pixels, as the Caffe networks of these years subtract it
_AT_ONCE = (0.01, 0.0001)  # of pool4 and pool3


def bilinear_kernel(factor: int) -> Tensor:
    """Kernel with which a transposed convolution of stride ``factor`` interpolates bilinearly, (k, k).

    Example:
        >>> bilinear_kernel(2)[0]
        tensor([0.0625, 0.1875, 0.1875, 0.0625])
    """
    size = 2 * factor - factor % 2
    line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return line[:, None] * line


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution that begins as bilinear interpolation, each channel by itself (section 3.3).

    Args:
        channels: Of input and output.
        factor: Stride.
        padding: Rows and columns left out at each border; for exact multiples, ``factor // 2``.

    Example:
        >>> Upsampling(1, 2, padding=1)(torch.tensor([[[[0.0, 4.0]]]])).flatten(2)[0, 0, :4]
        tensor([0.0000, 0.7500, 2.2500, 2.2500], grad_fn=<...>)
    """

    def __init__(self, channels: int, factor: int, padding: int = 0) -> None:
        kernel = bilinear_kernel(factor)
        super().__init__(channels, channels, kernel.shape[0], factor, padding, bias=False)
        with torch.no_grad():
            self.weight.copy_(torch.eye(channels)[:, :, None, None] * kernel)


class FCN(Segmenter):
    """Fully convolutional network with skips over any classifier (figure 3).

    Args:
        backbone: Classifier without its head.
        num_classes: Classes.
        skips: Finer feature maps that are scored beside the coarsest one, each of another stride; 2 in FCN-8s.
        coarse_channels: Channels of the map that the first score layer sees; the backbone's last if not given.

    Attributes:
        skips: How many of them are in use; :meth:`begin` sets it for the steps of staged training.

    Raises:
        ConfigError: If the backbone has too few feature maps.

    Example:
        >>> model = FCN(build_backbone("mobilenet_v3_small"), num_classes=3)
        >>> model(torch.zeros(1, 3, 50, 70))["logits"].shape
        torch.Size([1, 3, 50, 70])
    """

    skip_crops: tuple[int, ...] = (0, 0)
    last_crops: tuple[int, ...] = (0, 0, 0)  # with no skip in use, one, two
    padded = True
    scales: tuple[float, float] | None = None  # of the maps that the skips score

    def __init__(
        self,
        backbone: Classifier,
        num_classes: int,
        skips: int = 2,
        coarse_channels: int | None = None,
    ) -> None:
        super().__init__(num_classes)
        last_of = {stride: index for index, stride in enumerate(backbone.feature_strides)}
        strides = sorted(last_of, reverse=True)[: skips + 1]
        if not 0 <= skips <= 2 or len(strides) <= skips:
            found = ", ".join(map(str, sorted(last_of)))
            raise ConfigError(
                f"an FCN scores 1 to 3 feature maps of different strides, and {skips + 1} are asked for of a backbone "
                f"with the strides {found}. Choose fewer maps or another backbone."
            )
        self.skips = skips
        self.backbone = backbone
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.multiple = strides[0]
        self.input_spec = replace(backbone.input_spec, size=(512, 512), resize="letterbox", pad_multiple=self.multiple)
        self._levels = [last_of[stride] for stride in strides]
        channels = [self.feature_channels[level] for level in self._levels]
        channels[0] = coarse_channels or channels[0]
        scores = [nn.Conv2d(width, num_classes, 1) for width in channels]
        self.scores = nn.ModuleList(scores)
        self._factors = [a // b for a, b in zip(strides, [*strides[1:], 1], strict=True)]
        *between, last = (Upsampling(num_classes, factor, self._margin(factor)) for factor in self._factors)
        self.upsamplings = nn.ModuleList(between)
        self.last_upsampling = last
        for score in scores:  # section 4.2: a new skip leaves the predictions as they are
            for parameter in score.parameters():
                nn.init.zeros_(parameter)

        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)
        self.head_names = ("scores", *(["upsamplings"] if between else []), "last_upsampling")
        kernels = [*(f"upsamplings.{level}" for level in range(skips)), "last_upsampling"]
        self.class_rows = {
            **linear_rows(*(f"scores.{level}" for level in range(skips + 1))),
            **{f"{name}.weight": ClassRows(axes=(0, 1)) for name in kernels},
        }

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def _scored_maps(self, images: Tensor) -> list[Tensor]:
        """Maps to score, coarse to fine."""
        maps = self.features(pad_to_multiple(images, self.multiple))
        return [maps[level] for level in self._levels]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes, H, W) of images (B, 3, H, W) of any size."""
        maps = self._scored_maps(images)
        x = self.scores[0](maps[0])
        for level in range(self.skips):
            x = self.upsamplings[level](x)
            finer = maps[level + 1] if self.scales is None else maps[level + 1] * self.scales[level]
            x = x + _crop(self.scores[level + 1](finer), self.skip_crops[level], x.shape[-2:])
        if self.skips == len(self.upsamplings):
            x = self.last_upsampling(x)
        else:
            x = self._upsample_fixed(x, math.prod(self._factors[self.skips :]))
        return {"logits": _crop(x, self.last_crops[self.skips], images.shape[-2:])}

    def begin(self, step: str, data: VisionDataset) -> None:
        """Use no skip in the step ``fcn32s``, one in ``fcn16s``, two in ``fcn8s``; in a step of another name, all.

        Raises:
            ConfigError: If the name begins like these, and the network has no such step.
        """
        own = STEPS[: len(self.upsamplings) + 1]
        if step.startswith("fcn") and step not in own:
            raise ConfigError(f"step '{step}' of {self.builder_name or 'FCN'}: its steps are {', '.join(own)}.")
        self.skips = own.index(step) if step in own else len(self.upsamplings)

    def _margin(self, factor: int) -> int:
        return factor // 2 if self.padded else 0

    def _upsample_fixed(self, x: Tensor, factor: int) -> Tensor:
        channels = x.shape[1]
        kernel = bilinear_kernel(factor).to(x).expand(channels, 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=factor, padding=self._margin(factor), groups=channels)


class FCNVGG(FCN):
    """FCN-32s, -16s and -8s of the paper: over VGG with fc6 and fc7 as convolutions, and padding of 100.

    Args:
        backbone: A VGG without its head.
        num_classes: Classes.
        skips: 0 in FCN-32s, 1 in FCN-16s, 2 in FCN-8s.
        at_once: Scale the skips down, for training without stages.
        fc_channels: Channels of fc6 and fc7.
        dropout: Dropout rate after fc6 and fc7.

    Example:
        >>> model = FCNVGG(VGG(DEPTHS[11], widths=(4, 8, 8, 8, 8)), num_classes=3, fc_channels=8)
        >>> model(torch.zeros(1, 3, 45, 33))["logits"].shape
        torch.Size([1, 3, 45, 33])
    """

    skip_crops = (5, 9)
    last_crops = (19, 27, 31)
    padded = False
    neck_names = ("fc6", "fc7")

    def __init__(
        self,
        backbone: VGG,
        num_classes: int,
        skips: int = 2,
        at_once: bool = False,
        fc_channels: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(backbone, num_classes, skips, coarse_channels=fc_channels)
        if at_once:
            self.scales = _AT_ONCE
        for module in backbone.trunk.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True
        self.fc6 = nn.Conv2d(backbone.feature_channels[-1], fc_channels, 7)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.input_spec = replace(IMAGENET_SPEC, size=(500, 500), resize="letterbox", mean=CAFFE_MEAN)

    def _scored_maps(self, images: Tensor) -> list[Tensor]:
        """fc7, and pool4 and pool3, of the padded images."""
        # The first convolution pads by 1 itself: 100 in all.
        *finer, x = self.features(F.pad(images, (99, 99, 99, 99)))  # (B, 512, (H + 198) / 32, ...), rounded up
        x = self.dropout(F.relu(self.fc6(x)))  # six locations fewer
        x = self.dropout(F.relu(self.fc7(x)))
        return [x, *(finer[level] for level in self._levels[1:])]


def _crop(x: Tensor, start: int, size: Sequence[int]) -> Tensor:
    """Part of that size from row and column ``start`` on."""
    return x[..., start : start + size[0], start : start + size[1]]


def _vgg16_body(base_channels: int) -> VGG:
    """VGG-16 without its classifier, of the given width of its first stage."""
    body = VGG(DEPTHS[16], fc_channels=1, widths=[base_channels * width // WIDTHS[0] for width in WIDTHS])
    body.remove_head()
    return body


@register_model("segmentation", PAPER)
def fcn32s_vgg16(
    num_classes: int = 21, fc_channels: int = 4096, base_channels: int = 64, weights: str | None = None
) -> FCNVGG:
    """FCN-32s over VGG-16; 136.2 M parameters, 181 G multiply-adds at 500 x 500."""
    return FCNVGG(_vgg16_body(base_channels), num_classes, 0, fc_channels=fc_channels)


@register_model("segmentation", PAPER)
def fcn16s_vgg16(
    num_classes: int = 21, fc_channels: int = 4096, base_channels: int = 64, weights: str | None = None
) -> FCNVGG:
    """FCN-16s over VGG-16; 134.8 M parameters, 181 G multiply-adds at 500 x 500."""
    return FCNVGG(_vgg16_body(base_channels), num_classes, 1, fc_channels=fc_channels)


@register_model("segmentation", PAPER)
def fcn8s_vgg16(
    num_classes: int = 21,
    fc_channels: int = 4096,
    base_channels: int = 64,
    at_once: bool = False,
    weights: str | None = None,
) -> FCNVGG:
    """FCN-8s over VGG-16; 134.5 M parameters, 182 G multiply-adds at 500 x 500.

    Args:
        num_classes: Classes, the background included.
        fc_channels: Channels of fc6 and fc7.
        base_channels: Channels of the first stage; 64 in VGG-16.
        at_once: Scale the skips down, for training without stages.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = fcn8s_vgg16(num_classes=3, fc_channels=16, base_channels=8)
        >>> model(torch.zeros(1, 3, 61, 40))["logits"].shape
        torch.Size([1, 3, 61, 40])
    """
    return FCNVGG(_vgg16_body(base_channels), num_classes, 2, at_once, fc_channels)


@register_model("segmentation", PAPER)
def fcn8s(
    num_classes: int = 21,
    backbone: str = "resnet18",
    maps: int = 3,
    weights: str | None = None,
) -> FCN:
    """FCN-8s over any registered classifier that has feature maps of three strides.

    Args:
        num_classes: Classes, the background included.
        backbone: Builder name of the classifier.
        maps: Feature maps that are scored: of a backbone of stride 32, 3 make an FCN-8s, 2 an FCN-16s, 1 an FCN-32s.
        weights: Name or path of weights to load, if any.

    Example:
        >>> fcn8s(num_classes=11, backbone="mobilenet_v3_small").input_spec.pad_multiple
        32
    """
    return FCN(build_backbone(backbone), num_classes, maps - 1)
