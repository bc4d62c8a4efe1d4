"""UNet++: a U-Net of every depth in one network, which can be pruned to any of them after training.

Papers: Zongwei Zhou, Md Mahfuzur Rahman Siddiquee, Nima Tajbakhsh, Jianming Liang, "UNet++: A Nested U-Net
Architecture for Medical Image Segmentation", DLMIA 2018, arXiv 1807.10165; the same authors, "UNet++: Redesigning Skip
Connections to Exploit Multiscale Features in Image Segmentation", IEEE TMI 2020, arXiv 1912.05074.

A U-Net joins an encoder's feature map with a decoder's that means something quite different. UNet++ fills the skip
with convolutions that bring the two closer: node X(i,j) of level i sees all nodes before it on its level, and the node
below it, upsampled (equation 1). The nodes of level 0 are the outputs of U-Nets of depth 1 to 4; each has a head of its
own in training (deep supervision). So the network has two modes of inference: *accurate*, the mean of all four outputs,
and *fast*, one of them, where everything that this output does not need is pruned away.

    level 0   X0,0 --- X0,1 --- X0,2 --- X0,3 --- X0,4     32 x H    x W    heads 1 to 4: 1x1 on X0,1 .. X0,4
    level 1   X1,0 --- X1,1 --- X1,2 --- X1,3              64 x H/2  x W/2
    level 2   X2,0 --- X2,1 --- X2,2                      128 x H/4  x W/4
    level 3   X3,0 --- X3,1                               256 x H/8  x W/8
    level 4   X4,0                                        512 x H/16 x W/16

    X(i,j): X(i,0) .. X(i,j-1) and X(i+1,j-1), upsampled, concatenated; then twice (3x3 convolution, BN, ReLU)
    pruned at L2: X0,0 X1,0 X2,0 X0,1 X1,1 X0,2 and head 2

``unetpp(backbone=...)`` has any classifier in place of X(0,0) .. X(4,0).

Differences from the papers: BN and bilinear upsampling with aligned corners, as in the implementation that most people
use (4uiiurz1); over a backbone, nearest upsampling and convolutions without bias, as in segmentation-models-pytorch,
and outputs of the finest map's size, which are upsampled. Images whose sides are no multiple of the coarsest stride are
padded by their last row and column and the output is cropped.

Published weights: none; files of 4uiiurz1's training code load (``saccade.weights.layouts.unetpp``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import build_backbone
from saccade.models.classification.first_maps import keep_first_maps
from saccade.models.registry import create_model, register_model
from saccade.models.segmentation.base import Segmenter
from saccade.models.segmentation.unet import DoubleConvolution, initialise
from saccade.ops.padding import pad_to_multiple
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = ["BackboneUNetPlusPlus", "NestedDecoder", "NestedSegmenter", "UNetPlusPlus", "mean_of_outputs", "unetpp"]

PAPER = "Zhou et al., DLMIA 2018, arXiv 1807.10165"

Block = Callable[[int, int], nn.Module]


class BiasedConvolution(nn.Sequential):
    """Node of the network itself: twice 3x3 convolution with a bias, BN, ReLU.

    Example:
        >>> BiasedConvolution(3, 8)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class NestedDecoder(nn.ModuleDict):
    """Nodes X(i,j) with j >= 1, under the names ``x0_1``, ``x1_1`` ... (equation 1).

    Args:
        in_channels: Channels of X(0,0), X(1,0) ..., fine to coarse.
        channels: Channels of the nodes of each level but the last.
        block: Makes a node from its input and output channels.
        aligned: Upsample bilinearly with aligned corners; else the nearest value is taken.

    Example:
        >>> decoder = NestedDecoder((4, 8, 16), (4, 8), DoubleConvolution)
        >>> maps = [torch.zeros(1, channels, side, side) for channels, side in ((4, 32), (8, 16), (16, 8))]
        >>> list(decoder), [tuple(one.shape) for one in decoder(maps)]
        (['x0_1', 'x1_1', 'x0_2'], [(1, 4, 32, 32), (1, 4, 32, 32)])
    """

    def __init__(
        self, in_channels: Sequence[int], channels: Sequence[int], block: Block, aligned: bool = False
    ) -> None:
        super().__init__()
        self.depth = len(in_channels) - 1
        self.aligned = aligned
        for column in range(1, self.depth + 1):
            for level in range(self.depth + 1 - column):
                below = in_channels[level + 1] if column == 1 else channels[level + 1]
                joined = in_channels[level] + (column - 1) * channels[level] + below
                self[f"x{level}_{column}"] = block(joined, channels[level])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """X(0,1), X(0,2) ... of X(0,0), X(1,0) ..."""
        nodes = [[one] for one in maps]  # by level
        for column in range(1, self.depth + 1):
            for level in range(self.depth + 1 - column):
                below = self._upsampled(nodes[level + 1][column - 1], nodes[level][0])
                nodes[level].append(self[f"x{level}_{column}"](torch.cat([*nodes[level], below], dim=1)))
        return nodes[0][1:]

    def _upsampled(self, x: Tensor, like: Tensor) -> Tensor:
        if self.aligned:
            return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
        return F.interpolate(x, size=like.shape[-2:], mode="nearest")


def mean_of_outputs(outputs: Sequence[Tensor]) -> Tensor:
    """Logits whose probabilities are the mean of the probabilities of several outputs (the accurate mode).

    Args:
        outputs: Logits (B, C, H, W); of one class for a sigmoid, of several for a softmax.

    Returns:
        (B, C, H, W).

    Example:
        >>> outputs = [torch.tensor(one).logit().view(1, 1, 1, 2) for one in ([0.9, 0.4], [0.5, 0.2])]
        >>> mean_of_outputs(outputs).sigmoid()
        tensor([[[[0.7000, 0.3000]]]])
    """
    if len(outputs) == 1:
        return outputs[0]
    stacked = torch.stack(list(outputs))
    stacked = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
    if stacked.shape[2] == 1:
        return F.logsigmoid(stacked).logsumexp(0) - F.logsigmoid(-stacked).logsumexp(0)
    return stacked.log_softmax(2).logsumexp(0)


class NestedSegmenter(Segmenter):
    """What both forms of UNet++ share: decoder, heads, loss of every head, the two modes, pruning.

    The loss of each head is half the binary cross entropy and the Dice loss (2018, equation 2); with several classes
    the cross entropy is that of a softmax.

    Args:
        num_classes: Output channels of each head.
        decoder: The nodes.
        channels: Channels of the nodes of level 0.
        prune: Depth that it was pruned to, and then has one head; None for the whole network.

    Attributes:
        prune_levels: Depths to which it can be pruned.
    """

    cross_entropy_weight = 0.5
    multiple: int

    def __init__(self, num_classes: int, decoder: NestedDecoder, channels: int, prune: int | None) -> None:
        super().__init__(num_classes)
        self.dice_weight = 1.0
        self.prune_levels: tuple[int, ...] = tuple(range(1, decoder.depth + 1)) if prune is None else (prune,)
        self.decoder = decoder
        self.heads = nn.ModuleDict({str(level): nn.Conv2d(channels, num_classes, 1) for level in self.prune_levels})
        self.neck_names = tuple(f"decoder.{name}" for name in decoder)
        self.head_names = tuple(f"heads.{level}" for level in self.heads)
        self.class_rows = linear_rows(*self.head_names)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Logits (B, C, H, W) of each head, shallow to deep."""
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.multiple)
        nodes = self.decoder(self.features(padded)[: self.decoder.depth + 1])
        logits = [head(nodes[int(level) - 1]) for level, head in self.heads.items()]
        if self.feature_strides[0] > 1:
            size = padded.shape[-2:]
            logits = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in logits]
        return [one[..., :height, :width] for one in logits]

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, C, H, W) of images of any size: of the accurate mode, or of its one head once pruned."""
        return {"logits": mean_of_outputs(self.outputs(images))}

    def supervised(self, images: Tensor) -> Mapping[str, Tensor]:
        """``logits`` of the deepest head, and ``level1``, ``level2`` ... of those before it."""
        *shallow, deepest = self.outputs(images)
        return {"logits": deepest, **{f"level{number}": one for number, one in enumerate(shallow, start=1)}}

    def pruned(self, level: int) -> Segmenter:
        """The network in fast mode: the U-Net of depth ``level`` in it, without a weight that it does not need.

        Args:
            level: 1 to the depth of the network, whose last is all of it with its last head alone.

        Raises:
            ConfigError: If there is no such level, or it was not made by its builder.

        Example:
            >>> model = unetpp(base_channels=8).eval()
            >>> [sum(one.numel() for one in model.pruned(level).parameters()) for level in (1, 2, 3, 4)]
            [6753, 33009, 140865, 574929]
        """
        if level not in self.prune_levels:
            depths = ", ".join(map(str, self.prune_levels))
            raise ConfigError(f"prune is {level}; this network has outputs at depth {depths}. Choose one of them.")
        if len(self.prune_levels) == 1:
            return self
        if not self.builder_name:
            raise ConfigError("only a network that its builder made can be pruned: create_model('unetpp', ...).")
        with torch.random.fork_rng(devices=[]):
            model = create_model(self.builder_name, **{**self.builder_args, "prune": level})
        assert isinstance(model, NestedSegmenter)
        state = self.state_dict()
        own = model.state_dict()
        model.load_state_dict({name: state[name] for name in own})
        example = next(self.parameters())
        model.to(device=example.device, dtype=example.dtype).train(self.training)
        model.class_names, model.input_spec = self.class_names, self.input_spec
        model.finish, model.finish_options = self.finish, self.finish_options
        return model


def _depth(prune: int | None, deepest: int) -> int:
    if prune is not None and not 1 <= prune <= deepest:
        raise ConfigError(f"prune is {prune}; this network can be pruned to a depth of 1 to {deepest}.")
    return deepest if prune is None else prune


class UNetPlusPlus(NestedSegmenter):
    """UNet++ of figure 1.

    Args:
        num_classes: Output channels of each head.
        in_channels: 3 for colour, 1 for grey.
        base_channels: Channels of level 0; they double four times.
        prune: Depth 1 to 4 of the network in fast mode; None for all of it.

    Raises:
        ConfigError: If ``prune`` is another number.

    Example:
        >>> model = UNetPlusPlus(base_channels=4)
        >>> {name: tuple(one.shape) for name, one in model.supervised(torch.zeros(1, 3, 40, 50)).items()}
        {'logits': (1, 1, 40, 50), 'level1': (1, 1, 40, 50), 'level2': (1, 1, 40, 50), 'level3': (1, 1, 40, 50)}
    """

    def __init__(
        self, num_classes: int = 1, in_channels: int = 3, base_channels: int = 32, prune: int | None = None
    ) -> None:
        depth = _depth(prune, 4)
        widths = [base_channels * 2**level for level in range(depth + 1)]
        decoder = NestedDecoder(widths, widths, BiasedConvolution, aligned=True)
        super().__init__(num_classes, decoder, base_channels, prune)
        self.input_spec = InputSpec(
            size=(512, 512),
            channels=in_channels,
            resize="letterbox",
            pad_multiple=16,
            mean=(0.0,) * in_channels,
            std=(255.0,) * in_channels,
        )
        self.encoder = nn.ModuleList(
            BiasedConvolution(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.apply(initialise)
        self.multiple = 2**depth
        self.feature_channels, self.feature_strides = tuple(widths), tuple(2**level for level in range(depth + 1))
        self.stage_names = tuple(f"encoder.{level}" for level in range(depth + 1))

    def features(self, images: Tensor) -> list[Tensor]:
        """X(0,0), X(1,0) ... of images (B, in_channels, H, W) whose sides are multiples of the coarsest stride."""
        maps = [self.encoder[0](images)]
        for encoder in self.encoder[1:]:
            maps.append(encoder(self.pool(maps[-1])))
        return maps


class BackboneUNetPlusPlus(NestedSegmenter):
    """UNet++ over a classifier, whose feature maps are X(0,0), X(1,0) ...

    Args:
        num_classes: Output channels of each head.
        backbone: Builder name of the classifier.
        decoder_channels: Channels of the nodes of each level, coarse to fine; a backbone with fewer feature maps takes
            the last of them.
        prune: Depth of the network in fast mode, 1 to one less than the feature maps; None for all of it.

    Raises:
        ConfigError: If the backbone has one feature map only, there are fewer ``decoder_channels`` than levels, or it
            cannot be pruned so.

    Example:
        >>> model = BackboneUNetPlusPlus(2, "mobilenet_v3_small", (32, 16, 8, 8))
        >>> model(torch.zeros(1, 3, 50, 70))["logits"].shape
        torch.Size([1, 2, 50, 70])
    """

    def __init__(
        self, num_classes: int, backbone: str, decoder_channels: Sequence[int], prune: int | None = None
    ) -> None:
        body = build_backbone(backbone)
        levels = len(body.feature_channels) - 1
        if levels < 1:
            raise ConfigError(f"backbone '{backbone}' has one feature map; UNet++ joins several. Choose another.")
        if len(decoder_channels) < levels:
            raise ConfigError(f"decoder_channels has {len(decoder_channels)} numbers; this backbone needs {levels}.")
        depth = _depth(prune, levels)
        keep_first_maps(body, depth + 1)
        channels = tuple(decoder_channels)[: -depth - 1 : -1]
        super().__init__(
            num_classes, NestedDecoder(body.feature_channels, channels, DoubleConvolution), channels[0], prune
        )
        self.backbone = body
        self.decoder.apply(initialise)
        self.heads.apply(initialise)
        self.multiple = max(body.feature_strides)
        self.input_spec = replace(body.input_spec, size=(512, 512), resize="letterbox", pad_multiple=self.multiple)
        self.feature_channels, self.feature_strides = body.feature_channels, body.feature_strides
        self.stage_names = tuple(f"backbone.{name}" for name in body.stage_names)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the backbone."""
        return self.backbone.features(images)[: len(self.feature_strides)]


@register_model("segmentation", PAPER)
def unetpp(
    num_classes: int = 1,
    in_channels: int = 3,
    base_channels: int = 32,
    backbone: str = "",
    decoder_channels: Sequence[int] = (256, 128, 64, 32),
    prune: int | None = None,
    weights: str | None = None,
) -> NestedSegmenter:
    """UNet++; 9.2 M parameters, 4.9 G multiply-adds at 96 x 96, or over any registered classifier.

    Args:
        num_classes: Output channels; 1 means foreground against background.
        in_channels: Channels of the images; of the network's own encoder.
        base_channels: Channels of the finest level; of the network's own encoder.
        backbone: Builder name of a classifier in place of the network's own encoder.
        decoder_channels: Channels of the nodes over a backbone, coarse to fine.
        prune: Depth of the network in fast mode; all of it, with all heads, if not given.
        weights: Name or path of weights to load, if any.

    Example:
        >>> unetpp(base_channels=8)(torch.zeros(1, 3, 64, 64))["logits"].shape
        torch.Size([1, 1, 64, 64])
        >>> unetpp(backbone="resnet18", num_classes=11).prune_levels
        (1, 2, 3, 4)
    """
    if not backbone:
        return UNetPlusPlus(num_classes, in_channels, base_channels, prune)
    if (in_channels, base_channels) != (3, 32):
        raise ConfigError("in_channels and base_channels are of unetpp's own encoder. Leave them out with a backbone.")
    return BackboneUNetPlusPlus(num_classes, backbone, decoder_channels, prune)
