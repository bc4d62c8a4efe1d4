"""DeepLabV1: dense scores by dilated convolutions, from a network that was trained to classify.

Paper: Liang-Chieh Chen, George Papandreou, Iasonas Kokkinos, Kevin Murphy, Alan L. Yuille, "Semantic Image Segmentation
with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015, arXiv 1412.7062.

A classifier downsamples its image 32 times, too coarse for borders. DeepLab leaves the stride of its last two poolings
out and spreads the kernels behind them ("hole algorithm", section 3.1): with zeros between its weights a kernel sees
what it saw before, and four times as many locations come out in each direction. fc6 becomes a 3x3 kernel with a
dilation of 12, whose field of view is large at a fraction of the cost (LargeFOV, sections 3.2 and 5.2). A fully
connected CRF behind the network brings borders back (section 4; :mod:`saccade.ops.dense_crf`).

    image        3 x H    x W      H and W of the form 8 k + 1
    stage 1-3  256 x H/8  x W/8    pools 3x3 / 2
    stage 4    512 x H/8  x W/8    pool 3x3 / 1
    stage 5    512 x H/8  x W/8    convolutions of dilation 2, pool 3x3 / 1
    fc6       1024 x H/8  x W/8    3x3, dilation 12, padding 12
    fc7       1024 x H/8  x W/8    1x1
    score        C x H/8  x W/8    1x1; the loss is here
    logits       C x H    x W      bilinear

    multi_scale (MSc, section 4.3): image, pool1 to pool4 -> 3x3, 128 -> 1x1, 128 -> 1x1, C, added to the scores

Kernels of odd size keep the first location on the first pixel: location i lies on pixel 8 i. Canvases of 8 k + 1 pixels
therefore have a last location on their last pixel; others are padded by their last row and column. Scores are
upsampled corner on corner, and in the loss the labels of the pixels under the locations are taken (section 3.1: the
labels are subsampled by 8, every location weighs the same).

*Two stages* (section 4.3): MSc branches are added to a trained network, and they alone learn. In a run with the steps
``largefov`` and ``multi_scale`` the first trains without branches, the second, with ``freeze.trainable: head``, the
branches alone (recipe ``deeplabv1_voc``).

Differences from the paper: it concatenates the branches with fc7 before one classifier, which is a sum of one
classifier each; the sum is what is here. The loss is the mean over locations, of whatever number of images. Caffe's
poolings round sizes up; where sides are 8 k + 1 there is nothing to round. The definition published with the paper has
an average pooling behind pool5 that the paper does not mention, and this has not. ``deeplabv1`` takes any classifier,
at stride 8 where it can trade stride for dilation, else at its own; one whose locations lie in the middle of patches
(transformers, ConvNeXt, VGG as it is) is half a stride off at the corners.

Published weights: none in a layout that is read; ImageNet's VGG-16 goes in, fc6 and fc7 thinned out as in section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs, Targets
from saccade.models.classification.base import Classifier, build_backbone
from saccade.models.classification.vgg import DEPTHS, VGG, WIDTHS
from saccade.models.registry import register_model
from saccade.models.segmentation.base import Segmenter
from saccade.models.segmentation.fcn import CAFFE_MEAN
from saccade.ops.padding import pad_to_multiple
from saccade.structures.batch import pad_targets
from saccade.structures.class_rows import linear_rows
from saccade.structures.dataset import VisionDataset
from saccade.structures.kinds import IGNORE_LABEL

__all__ = ["CornerSegmenter", "DeepLabV1", "deeplabv1", "deeplabv1_largefov", "largefov_vgg16"]

PAPER = "Chen et al., ICLR 2015, arXiv 1412.7062"

_FILL = {"label_map": IGNORE_LABEL, "weight_map": 0.0}


class CornerSegmenter(Segmenter):
    """Segmenter that learns at the stride of its last feature map, corner on corner with the image.

    A subclass writes ``score``. Images are padded to a multiple of the stride and one pixel more, so that location i
    lies on pixel stride * i and the last location on the last pixel.

    Args:
        backbone: Classifier without its head.
        num_classes: Classes.
    """

    def __init__(self, backbone: Classifier, num_classes: int) -> None:
        super().__init__(num_classes)
        self.backbone = backbone
        self.feature_channels, self.feature_strides = backbone.feature_channels, backbone.feature_strides
        self.stride = backbone.feature_strides[-1]
        size = 320 // self.stride * self.stride + 1
        self.input_spec = replace(backbone.input_spec, size=(size, size), resize="letterbox")
        self.stage_names = tuple(f"backbone.{name}" for name in backbone.stage_names)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)

    def score(self, images: Tensor) -> Tensor:
        """Scores (B, C, h + 1, w + 1) of images (B, 3, stride h + 1, stride w + 1)."""
        raise NotImplementedError

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        """``logits`` at the stride of the network."""
        return {"logits": self.score(pad_to_multiple(images, self.stride, plus=1))}

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images (B, 3, H, W) of any size."""
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.stride, plus=1)
        logits = F.interpolate(self.score(padded), padded.shape[-2:], mode="bilinear", align_corners=True)
        return {"logits": logits[..., :height, :width]}

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``cross_entropy`` at the locations of the scores, for ``label_map`` (B, H, W); terms as in the base class."""
        padded = pad_targets(targets)
        height, width = images.shape[-2:]
        margin = (0, (1 - width) % self.stride, 0, (1 - height) % self.stride)
        for name, fill in _FILL.items():
            if name in padded:
                padded[name] = F.pad(padded[name], margin, value=fill)
        return super().loss(images, padded)


class DeepLabV1(CornerSegmenter):
    """DeepLabV1: fc6 with holes, fc7 and scores over the last feature map, and MSc branches.

    Args:
        backbone: Classifier without its head.
        num_classes: Classes.
        fc_channels: Channels of fc6 and fc7.
        rate: Dilation of fc6.
        multi_scale: Whether there are branches from the image and all feature maps but the last.
        branch_channels: Channels of a branch.

    Attributes:
        multi_scale: Whether branches are in use; :meth:`begin` sets it for the steps of training.

    Example:
        >>> model = DeepLabV1(build_backbone("resnet18", output_stride=8), num_classes=3, fc_channels=16)
        >>> {name: tuple(value.shape) for name, value in model.supervised(torch.zeros(1, 3, 65, 97)).items()}
        {'logits': (1, 3, 9, 13)}
        >>> model(torch.zeros(1, 3, 65, 97))["logits"].shape
        torch.Size([1, 3, 65, 97])
    """

    def __init__(
        self,
        backbone: Classifier,
        num_classes: int,
        fc_channels: int = 1024,
        rate: int = 12,
        multi_scale: bool = False,
        branch_channels: int = 128,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.fc6 = nn.Conv2d(self.feature_channels[-1], fc_channels, 3, padding=rate, dilation=rate)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout(0.5)
        self.fc8 = nn.Conv2d(fc_channels, num_classes, 1)

        self.multi_scale = multi_scale
        sources = [(3, 1), *zip(self.feature_channels[:-1], self.feature_strides[:-1], strict=True)]
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, branch_channels, 3, self.stride // stride, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(branch_channels, branch_channels, 1),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.Conv2d(branch_channels, num_classes, 1, bias=False),
            )
            for channels, stride in (sources if multi_scale else [])
        )
        for module in (self.fc6, self.fc7, *self.branches.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for score in self._scores():
            nn.init.normal_(score.weight, std=0.01)
        nn.init.zeros_(self.fc8.bias)  # type: ignore[arg-type]

        self._name_parts("")
        self.class_rows = {
            **linear_rows("fc8"),
            **linear_rows(*(f"branches.{index}.5" for index in range(len(self.branches))), bias=False),
        }

    def score(self, images: Tensor) -> Tensor:
        """Scores (B, C, h + 1, w + 1) of images (B, 3, stride h + 1, stride w + 1)."""
        *finer, x = self.features(images)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        scores: Tensor = self.fc8(x)
        if self.multi_scale:
            for branch, source in zip(self.branches, (images, *finer), strict=True):
                scores = scores + branch(source)
        return scores

    def begin(self, step: str, data: VisionDataset) -> None:
        """Leave the branches out in the step ``largefov``; make them the only heads in ``multi_scale``.

        Raises:
            ConfigError: If there are no branches for the step ``multi_scale``.
        """
        if step == "multi_scale" and not self.branches:
            raise ConfigError("step 'multi_scale': the network has no branches. Build it with multi_scale=True.")
        self.multi_scale = bool(self.branches) and step != "largefov"
        self._name_parts(step)

    def _scores(self) -> list[nn.Conv2d]:
        last = [self.fc8, *(branch.get_submodule("5") for branch in self.branches)]
        return [layer for layer in last if isinstance(layer, nn.Conv2d)]

    def _name_parts(self, step: str) -> None:
        stages = tuple(f"backbone.{name}" for name in self.backbone.stage_names)
        new = ("branches",) if self.branches else ()
        if step == "multi_scale" and new:  # section 4.3: what was learnt before stays as it is
            self.stage_names, self.neck_names, self.head_names = (*stages, "fc6", "fc7", "fc8"), (), new
        else:
            self.stage_names, self.neck_names, self.head_names = stages, ("fc6", "fc7"), ("fc8", *new)


def largefov_vgg16(base_channels: int = 64) -> VGG:
    """VGG-16 without its classifier, at stride 8: pools of 3x3, the last two without stride, dilated stage 5.

    Args:
        base_channels: Channels of the first stage.

    Example:
        >>> body = largefov_vgg16(base_channels=8)
        >>> body.feature_strides, [tuple(one.shape[2:]) for one in body.features(torch.zeros(1, 3, 321, 321))]
        ((2, 4, 8, 8, 8), [(161, 161), (81, 81), (41, 41), (41, 41), (41, 41)])
    """
    body = VGG(DEPTHS[16], fc_channels=1, widths=[base_channels * width // WIDTHS[0] for width in WIDTHS])
    body.remove_head()
    for number, stage in enumerate(body.trunk):
        assert isinstance(stage, nn.Sequential)
        stage[-1] = nn.MaxPool2d(3, stride=2 if number < 3 else 1, padding=1)
        for layer in stage:
            if isinstance(layer, nn.Conv2d) and number == 4:
                layer.dilation = layer.padding = (2, 2)
    body.feature_strides = (2, 4, 8, 8, 8)
    return body


@register_model("segmentation", PAPER)
def deeplabv1_largefov(
    num_classes: int = 21,
    multi_scale: bool = False,
    fc_channels: int = 1024,
    base_channels: int = 64,
    weights: str | None = None,
) -> DeepLabV1:
    """DeepLab-LargeFOV over VGG-16; 20.5 M parameters, 51 G multiply-adds at 321 x 321.

    Args:
        num_classes: Classes, the background included.
        multi_scale: Branches from the image and the first four pools (DeepLab-MSc-LargeFOV).
        fc_channels: Channels of fc6 and fc7.
        base_channels: Channels of the first stage; 64 in VGG-16.
        weights: Name or path of weights to load, if any.

    Example:
        >>> model = deeplabv1_largefov(num_classes=3, fc_channels=16, base_channels=8)
        >>> model(torch.zeros(1, 3, 60, 81))["logits"].shape
        torch.Size([1, 3, 60, 81])
    """
    model = DeepLabV1(largefov_vgg16(base_channels), num_classes, fc_channels, multi_scale=multi_scale)
    model.input_spec = replace(model.input_spec, mean=CAFFE_MEAN)
    return model


@register_model("segmentation", PAPER)
def deeplabv1(
    num_classes: int = 21,
    backbone: str = "resnet18",
    multi_scale: bool = False,
    fc_channels: int = 1024,
    rate: int = 12,
    weights: str | None = None,
) -> DeepLabV1:
    """DeepLabV1 over any registered classifier that has feature maps.

    Args:
        num_classes: Classes, the background included.
        backbone: Builder name of the classifier; at stride 8 where it can be.
        multi_scale: Branches from the image and all feature maps but the last.
        fc_channels: Channels of fc6 and fc7.
        rate: Dilation of fc6.
        weights: Name or path of weights to load, if any.

    Example:
        >>> deeplabv1(num_classes=11, fc_channels=64).feature_strides
        (2, 4, 8, 8, 8)
    """
    return DeepLabV1(build_backbone(backbone, output_stride=8), num_classes, fc_channels, rate, multi_scale)
