"""DeepLabV3: dilated convolutions at several rates side by side, and the context of the whole image.

Paper: Liang-Chieh Chen, George Papandreou, Florian Schroff, Hartwig Adam, "Rethinking Atrous Convolution for Semantic
Image Segmentation", 2017, arXiv 1706.05587.

Objects come in all sizes, so atrous spatial pyramid pooling (ASPP) looks at the last feature map with kernels of
several dilation rates at once. At the largest rates most of a 3x3 kernel lies in the padding and it degenerates to a
1x1 (figure 4); what it was meant to see, the whole image, therefore comes from the mean over the map (section 3.3). BN
in every branch makes the pyramid trainable, and loss is computed on logits upsampled to the image, so that no label is
lost (section 4.1).

    image 3 x H x W -> ResNet, stride 8 or 16, last stage with multi-grid rates -> C5 2048 x h x w

    ASPP   C5 -> 1x1                       -> 256 --+
              -> 3x3, rate 6  (12)         -> 256 --|
              -> 3x3, rate 12 (24)         -> 256 --+-> 1280 -> 1x1 -> 256 (dropout 0.5)
              -> 3x3, rate 18 (36)         -> 256 --|      each with BN and ReLU; in brackets: at stride 8
              -> mean over space, 1x1      -> 256 --+
    head   256 -> 3x3 256, BN, ReLU -> 1x1 C -> upsampled bilinearly -> C x H x W

*Multi-grid.* The three blocks of the last stage have the rates of the stage (2 at stride 16, 4 at stride 8) times (1,
2, 4), since equal rates one behind the other leave the same pixels out (section 3.2.1).

*Output stride.* Weights do not depend on it: a network trained at stride 16 predicts at stride 8, with doubled rates
(``model.output_stride = 8``, or ``output_stride=8`` of the builder with the same weights).

Differences from the paper: the 3x3 convolution of the head, the dropout and the auxiliary head (FCN's, on C4, weight
0.4) are those of the networks that torchvision publishes. Those were trained without multi-grid, their first block of a
dilated stage having the rate of the stage before; and over MobileNetV3 with the rates of stride 8 at stride 16. The
builders with a backbone in their names have these settings, ``deeplabv3`` the paper's. BN has torch's momentum of 0.1,
where the paper's training has 0.0003 (decay 0.9997); ``norm_momentum`` sets it.

Published weights: torchvision, trained on the images of COCO that show VOC's 20 classes; reader in
``saccade.weights.layouts.torchvision_segmentation``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.mobilenet_v3 import MobileNetV3
from saccade.models.classification.resnet import ResNet
from saccade.models.registry import create_model, register_model
from saccade.models.segmentation.fcn_resnet import AuxiliarySegmenter
from saccade.structures.class_rows import linear_rows

__all__ = [
    "ASPP",
    "DeepLabV3",
    "ImagePooling",
    "aspp_rates",
    "deeplabv3",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "set_multi_grid",
]

PAPER = "Chen et al., 2017, arXiv 1706.05587"
MULTI_GRID = (1, 2, 4)  # section 4.2, table 4
RATES = (6, 12, 18)  # at stride 16, section 3.3


def _branch(in_channels: int, out_channels: int, rate: int = 0) -> nn.Sequential:
    """Branch of the pyramid: 3x3 convolution of that rate (1x1 for 0), BN, ReLU."""
    kernel, dilation = (3, rate) if rate else (1, 1)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=rate, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ImagePooling(nn.Sequential):
    """Image pooling: mean over space, 1x1 convolution, BN and ReLU, the same at every location (section 3.3).

    In a batch of one image each channel has a single value, which has no variance: BN then takes its running
    statistics in training too.

    Args:
        in_channels: Channels of the feature map.
        out_channels: Channels of the result.

    Example:
        >>> ImagePooling(8, 4).train()(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 4, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_branch(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, out_channels, h, w)."""
        pool, convolution, norm, activation = self
        pooled = convolution(pool(x))
        if isinstance(norm, nn.BatchNorm2d) and norm.training and len(pooled) == 1:
            pooled = F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            pooled = norm(pooled)
        context: Tensor = activation(pooled).expand(-1, -1, *x.shape[-2:])
        return context


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, 3x3 convolutions of several rates, image pooling; joined by a 1x1.

    Args:
        in_channels: Channels of the feature map.
        rates: Dilation rates of the 3x3 convolutions; empty: none of them.
        image_pooling: With the branch of the whole image.
        channels: Channels of each branch and of the result.

    Example:
        >>> pyramid = ASPP(64, rates=(6, 12, 18), channels=32)
        >>> pyramid(torch.zeros(2, 64, 9, 9)).shape, pyramid.project[0].in_channels
        (torch.Size([2, 32, 9, 9]), 160)
    """

    def __init__(
        self, in_channels: int, rates: Sequence[int] = RATES, image_pooling: bool = True, channels: int = 256
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_branch(in_channels, channels, rate) for rate in (0, *rates))
        if image_pooling:
            self.convs.append(ImagePooling(in_channels, channels))
        self.project = nn.Sequential(*_branch(len(self.convs) * channels, channels), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels, h, w)."""
        out: Tensor = self.project(torch.cat([branch(x) for branch in self.convs], dim=1))
        return out


def aspp_rates(output_stride: int) -> tuple[int, ...]:
    """Rates of the pyramid at an output stride: 6, 12, 18 at 16, which cover the same pixels at another (section 3.3).

    Example:
        >>> aspp_rates(8), aspp_rates(32)
        ((12, 24, 36), (3, 6, 9))
    """
    return tuple(max(rate * 16 // output_stride, 1) for rate in RATES)


def set_multi_grid(backbone: Classifier, grid: Sequence[int]) -> None:
    """Give the blocks of a ResNet's last stage the rate of the stage times the numbers of ``grid`` (section 3.2.1).

    Args:
        backbone: A ResNet or ResNeXt, changed in place.
        grid: Number of each block, in order; a stage of fewer blocks takes the first of them.

    Raises:
        ConfigError: If it is another network, or has more blocks there.

    Example:
        >>> backbone = build_backbone("resnet50", output_stride=16)
        >>> set_multi_grid(backbone, (1, 2, 4))
        >>> [block.conv2.dilation for block in backbone.layer4]
        [(2, 2), (4, 4), (8, 8)]
    """
    if not isinstance(backbone, ResNet):
        name = backbone.builder_name or type(backbone).__name__
        raise ConfigError(f"multi_grid needs the last stage of a ResNet, and '{name}' has none. Pass multi_grid=().")
    if len(backbone.layer4) > len(grid):
        raise ConfigError(
            f"multi_grid has {len(grid)} numbers; the last stage of '{backbone.builder_name}' has "
            f"{len(backbone.layer4)} blocks. Give one a block."
        )
    stage_rate = 32 // backbone.feature_strides[-1]
    for block, unit_rate in zip(backbone.layer4, grid, strict=False):
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                rate = stage_rate * unit_rate
                module.dilation, module.padding = (rate, rate), (rate, rate)


class DeepLabV3(AuxiliarySegmenter):
    """DeepLabV3: ASPP and a head on a classifier's last feature map, an auxiliary head on an earlier one.

    Args:
        backbone: Classifier without its head.
        num_classes: Output channels.
        rates: Dilation rates of the pyramid; those of :func:`aspp_rates` if not given, none if empty.
        image_pooling: With the branch of the whole image.
        auxiliary_map: Index of the feature map below the auxiliary head; the last but one if not given.

    Example:
        >>> model = DeepLabV3(build_backbone("mobilenet_v3_small", output_stride=16), num_classes=2)
        >>> {name: tuple(one.shape) for name, one in model.supervised(torch.zeros(2, 3, 50, 70)).items()}
        {'logits': (2, 2, 50, 70), 'auxiliary': (2, 2, 50, 70)}
    """

    neck_names = ("aspp",)
    class_rows = linear_rows("head.3", "auxiliary_head.4")

    def __init__(
        self,
        backbone: Classifier,
        num_classes: int,
        rates: Sequence[int] | None = None,
        image_pooling: bool = True,
        auxiliary_map: int | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, auxiliary_map)
        if rates is None:
            rates = aspp_rates(backbone.feature_strides[-1])
        self.aspp = ASPP(backbone.feature_channels[-1], rates, image_pooling)
        self.head = nn.Sequential(
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, num_classes, 1),
        )

    def scores(self, maps: list[Tensor]) -> Tensor:
        """Class scores (B, C, h, w) at the resolution of the last feature map."""
        scores: Tensor = self.head(self.aspp(maps[-1]))
        return scores

    @property
    def output_stride(self) -> int:
        """Stride of the last feature map; setting it changes strides and rates, not weights.

        Raises:
            ConfigError: If the network cannot have that stride.

        Example:
            >>> model = deeplabv3(backbone="resnet18", output_stride=16)
            >>> model.output_stride = 8
            >>> model.feature_strides, model.aspp.convs[1][0].dilation
            ((2, 4, 8, 8, 8), (12, 12))
        """
        return self.feature_strides[-1]

    @output_stride.setter
    def output_stride(self, stride: int) -> None:
        if stride == self.output_stride:
            return
        arguments = {**self.builder_args, "output_stride": stride}
        with torch.device("meta"):
            other = create_model(self.builder_name, **arguments)
        if other.feature_strides[-1] != stride:
            raise ConfigError(
                f"output_stride {stride}: the backbone of this network has stride {self.output_stride} and no dilation."
            )
        for name, module in other.named_modules():
            own = self.get_submodule(name)
            if isinstance(module, nn.Conv2d) and isinstance(own, nn.Conv2d):
                own.stride, own.padding, own.dilation = module.stride, module.padding, module.dilation
        self.feature_strides = self.backbone.feature_strides = other.feature_strides
        self.builder_args = arguments


def _over_resnet(
    name: str, num_classes: int, output_stride: int, multi_grid: Sequence[int], rates: Sequence[int] | None
) -> DeepLabV3:
    backbone = build_backbone(name, output_stride=output_stride)
    if multi_grid:
        set_multi_grid(backbone, multi_grid)
    return DeepLabV3(backbone, num_classes, rates)


@register_model("segmentation", PAPER)
def deeplabv3_resnet50(
    num_classes: int = 21,
    output_stride: int = 8,
    multi_grid: Sequence[int] = (),
    rates: Sequence[int] | None = None,
    weights: str | None = None,
) -> DeepLabV3:
    """DeepLabV3 over ResNet-50; 42.0 M parameters, 169 G multiply-adds at 520 x 520.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        output_stride: Stride of the last feature map: 32, 16 or 8.
        multi_grid: Numbers of the last stage's three blocks, (1, 2, 4) in the paper; empty as in the published weights.
        rates: Rates of the pyramid; those of the paper for the output stride if not given.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = deeplabv3_resnet50(num_classes=11, output_stride=16, multi_grid=(1, 2, 4)).eval()
        >>> model(torch.zeros(1, 3, 65, 97))["logits"].shape
        torch.Size([1, 11, 65, 97])
    """
    return _over_resnet("resnet50", num_classes, output_stride, multi_grid, rates)


@register_model("segmentation", PAPER)
def deeplabv3_resnet101(
    num_classes: int = 21,
    output_stride: int = 8,
    multi_grid: Sequence[int] = (),
    rates: Sequence[int] | None = None,
    weights: str | None = None,
) -> DeepLabV3:
    """DeepLabV3 over ResNet-101; 61.0 M parameters, 249 G multiply-adds at 520 x 520.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        output_stride: Stride of the last feature map: 32, 16 or 8.
        multi_grid: Numbers of the last stage's three blocks, (1, 2, 4) in the paper; empty as in the published weights.
        rates: Rates of the pyramid; those of the paper for the output stride if not given.
        weights: Name or path of weights to load, if any.
    """
    return _over_resnet("resnet101", num_classes, output_stride, multi_grid, rates)


@register_model("segmentation", PAPER)
def deeplabv3_mobilenet_v3_large(
    num_classes: int = 21,
    output_stride: int = 16,
    rates: Sequence[int] | None = (12, 24, 36),
    weights: str | None = None,
) -> DeepLabV3:
    """DeepLabV3 over MobileNetV3-Large; 11.0 M parameters, 10 G multiply-adds at 520 x 520.

    The auxiliary head is on the feature map of stride 8.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        output_stride: Stride of the last feature map: 32, 16 or 8.
        rates: Rates of the pyramid, as in the published weights; null: those of the paper for the output stride.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = deeplabv3_mobilenet_v3_large().eval()
        >>> model(torch.zeros(1, 3, 65, 97))["logits"].shape, model.auxiliary_head[0].in_channels
        (torch.Size([1, 21, 65, 97]), 40)
    """
    backbone = build_backbone("mobilenet_v3_large", output_stride=output_stride)
    assert isinstance(backbone, MobileNetV3)
    backbone.read_strided_units()
    return DeepLabV3(backbone, num_classes, rates, auxiliary_map=2)


@register_model("segmentation", PAPER)
def deeplabv3(
    num_classes: int = 21,
    backbone: str = "resnet50",
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    rates: Sequence[int] | None = None,
    image_pooling: bool = True,
    norm_momentum: float | None = None,
    weights: str | None = None,
) -> DeepLabV3:
    """DeepLabV3 with the paper's settings, over any registered classifier that has feature maps.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        backbone: Builder name of the classifier.
        output_stride: Stride of the last feature map: 32, or 16 or 8 where the backbone can trade strides for dilation;
            others have their own.
        multi_grid: Numbers of the blocks of the last stage; (1, 2, 4) over ResNets and none over others if not given,
            none if empty.
        rates: Rates of the pyramid; those of the paper for the output stride if not given, no dilated branch if empty.
        image_pooling: With the branch of the whole image.
        norm_momentum: Momentum of all BN, 0.0003 in the paper's training; as each has it if not given.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = deeplabv3(num_classes=11, backbone="resnet18", output_stride=8)
        >>> [block.conv1.dilation for block in model.backbone.layer4], model.aspp.convs[1][0].dilation
        ([(4, 4), (8, 8)], (12, 12))
    """
    body = build_backbone(backbone, output_stride=output_stride)
    if multi_grid is None:
        multi_grid = MULTI_GRID if isinstance(body, ResNet) else ()
    if multi_grid:
        set_multi_grid(body, multi_grid)
    model = DeepLabV3(body, num_classes, rates, image_pooling)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and norm_momentum is not None:
            module.momentum = norm_momentum
    return model
