"""LeNet-5: the network that read cheques.

Paper: Yann LeCun, Leon Bottou, Yoshua Bengio, Patrick Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86(11), 1998.

A pixel means little without its neighbours, and a stroke is the same stroke wherever it is. So a unit sees a small
window only (local receptive fields), all units of a feature map share their weights (convolution), and feature maps
shrink layer by layer, because the exact location of a feature matters less than its location relative to the others
(subsampling).

    image        1 x 32 x 32   digits of 28 x 28 in the middle: strokes' ends reach the centre of the largest windows
    C1  5x5      6 x 28 x 28      156 parameters
    S2  / 2      6 x 14 x 14       12 in the original, 0 in the modern form
    C3  5x5     16 x 10 x 10    1,516 with the connections of table I, 2,416 with all
    S4  / 2     16 x  5 x  5       32 or 0
    C5  5x5    120 x  1 x  1   48,120
    F6          84             10,164
    output      10                  0 (radial basis functions, fixed) or 850 (linear)
                               60,000 or 61,706

``lenet5_1998`` is the paper's network; ``lenet5`` is the form found in today's textbooks: every map of C3 is connected
to all of S2, ReLU, max pooling, a linear output and cross entropy.

Differences from the paper: the squashing function, the subsampling, table I, the initialisation and the criterion of
``lenet5_1998`` are the paper's (section II.B, II.C and appendix A). The 7 x 12 images of the ten digits that serve as
codes are drawn anew, in the same spirit; the paper's set covers all of ASCII. Its stochastic diagonal
Levenberg-Marquardt step is not part of the network. Larger images than 32 x 32 give several C5 columns, as in the
paper; they are averaged.

Published weights: none.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import ConfigError
from saccade.models.base import Outputs
from saccade.models.classification.base import Classifier
from saccade.models.registry import register_model
from saccade.structures.class_rows import linear_rows
from saccade.structures.input_spec import InputSpec

__all__ = ["LeNet5", "LeNet5Original", "ScaledTanh", "SparseConvolution", "Subsampling", "lenet5", "lenet5_1998"]

PAPER = "LeCun et al., Proceedings of the IEEE 1998"

# Section II.B: paper white is -0.1 and ink 1.175, so that inputs have about mean 0 and variance 1. MNIST has ink as
# 255, and (v - 20) / 200 is exactly that range. A 28 x 28 digit is put in the middle of 32 x 32, not stretched.
MNIST_SPEC = InputSpec(
    size=(32, 32), channels=1, resize="none", align="center", pad_value=0, pad_multiple=32, mean=(20.0,), std=(200.0,)
)

# Table I: the maps of S2 that each of the sixteen maps of C3 is connected to.
TABLE_I: Final = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Ten images of 7 x 12 pixels, side by side: the target of the 84 units of F6 for each digit (compare figure 3).
DIGITS: Final = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## ....##. .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. .#..##. ##...## ######. ...##.. ..###.. .######
##...## ...##.. ...##.. ....##. ##..##. .....## ##...## ...##.. .##.##. .....##
##...## ...##.. ..##... .....## ##..##. .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## .##.... ##...## ....##.
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## ...##..
..###.. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .###...
"""


def digit_codes() -> Tensor:
    """Targets of F6, the images of ``DIGITS``: (10, 84), +1 ink and -1 paper."""
    rows = [line.split() for line in DIGITS.strip().splitlines()]  # twelve rows of ten digits
    return torch.tensor([[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)])


def _initialise(parameter: Tensor, fan_in: int) -> None:
    """Initialise uniformly in +-2.4 / F, with F the number of inputs of a unit (appendix A)."""
    nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


class ScaledTanh(nn.Module):
    """Scaled tanh: f(a) = A tanh(S a), A = 1.7159, S = 2/3, so that f(1) = 1 and f(-1) = -1 (appendix A).

    Example:
        >>> ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0, 9.0]))
        tensor([-1.0000,  0.0000,  1.0000,  1.7159])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise; any shape."""
        return 1.7159 * torch.tanh(2.0 / 3.0 * x)


class Subsampling(nn.Module):
    """Trainable subsampling: the sum of 2 x 2 pixels times a coefficient plus a bias, two numbers a map (S2).

    LeCun et al. 1998, section II.B.

    Args:
        channels: Channels in and out.

    Example:
        >>> layer = Subsampling(channels=6)
        >>> layer(torch.zeros(1, 6, 28, 28)).shape, sum(parameter.numel() for parameter in layer.parameters())
        (torch.Size([1, 6, 14, 14]), 12)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))
        for parameter in self.parameters():
            _initialise(parameter, fan_in=4)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2)."""
        return 4.0 * F.avg_pool2d(x, 2) * self.weight + self.bias


class SparseConvolution(nn.Module):
    """Sparsely connected 5x5 convolution: each output channel is connected to some input channels (table I).

    Absent connections have no weights.

    Args:
        table: Input channels of each output channel.

    Example:
        >>> layer = SparseConvolution(TABLE_I)  # C3
        >>> layer(torch.zeros(1, 6, 14, 14)).shape, sum(parameter.numel() for parameter in layer.parameters())
        (torch.Size([1, 16, 10, 10]), 1516)
    """

    index: Tensor

    def __init__(self, table: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        connections = [(output, channel) for output, channels in enumerate(table) for channel in channels]
        self.weight = nn.Parameter(torch.empty(len(connections), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(table)))
        # Row of each (output, input) pair in `weight`; absent pairs point at a row of zeros behind the last.
        index = torch.full((len(table), 1 + max(channel for _, channel in connections)), len(connections))
        for row, (output, channel) in enumerate(connections):
            index[output, channel] = row
            _initialise(self.weight.data[row], fan_in=25 * len(table[output]))
        for output, channels in enumerate(table):
            _initialise(self.bias.data[output], fan_in=25 * len(channels))
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 6, H, W) to (B, 16, H - 4, W - 4)."""
        kernel = F.pad(self.weight, (0, 0, 0, 0, 0, 1))[self.index]  # (16, 6, 5, 5)
        return F.conv2d(x, kernel, self.bias)


class _LeNet(Classifier):
    """Base of both LeNets: input size, and feature maps for dense models."""

    input_spec = MNIST_SPEC
    feature_channels = (6, 16)
    feature_strides = (2, 4)
    unused_by_features = ("c5", "f6", "output")

    def _subsampled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """S2 (B, 6, 14, 14) and S4 (B, 16, 5, 5)."""
        raise NotImplementedError

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps S2 and S4, at strides 2 and 4; images (B, 1, H, W).

        The convolutions are unpadded, so the image is padded first: with 6 more pixels on every side S4 covers the
        image exactly, and S2 is cropped by its outermost two.
        """
        s2, s4 = self._subsampled(F.pad(images, (6, 6, 6, 6), mode="replicate"))
        return [s2[..., 2:-2, 2:-2], s4]


class LeNet5(_LeNet):
    """LeNet-5 in its modern form: ReLU, max pooling, all connections, linear output.

    Args:
        num_classes: Outputs of the last layer.

    Example:
        >>> model = LeNet5()
        >>> [tuple(one.shape[1:]) for one in model.features(torch.zeros(1, 1, 32, 32))]
        [(6, 16, 16), (16, 8, 8)]
    """

    stage_names = ("c1", "c3", "c5", "f6")
    head_names = ("output",)
    class_rows = linear_rows("output")

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.c1 = nn.Conv2d(1, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        for layer in (self.c1, self.c3, self.c5, self.f6, self.output):
            # He et al. 2015: the variance of activations survives ReLU; the output has none behind it.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer is self.output else "relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def _subsampled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        s2 = F.max_pool2d(F.relu(self.c1(images)), 2)
        return s2, F.max_pool2d(F.relu(self.c3(s2)), 2)

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, num_classes) of images (B, 1, H, W) with H, W >= 32."""
        _, s4 = self._subsampled(images)
        c5 = F.relu(self.c5(s4)).mean((2, 3))  # (B, 120)
        return {"logits": self.output(F.relu(self.f6(c5)))}


class RadialBasis(nn.Module):
    """Radial basis output: squared distance of F6 to each class's code, y_i = sum_j (x_j - w_ij)^2 (equation 7)."""

    codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", digit_codes())

    def forward(self, x: Tensor) -> Tensor:
        """(B, 84) to penalties (B, 10), zero where F6 equals the code of the class."""
        return (x.unsqueeze(1) - self.codes).square().sum(-1)


class LeNet5Original(_LeNet):
    """LeNet-5 of 1998: trainable subsampling, sparse C3, radial basis outputs.

    Attributes:
        rubbish_penalty: j of equation 9: the penalty of an image for being none of the ten digits. Penalties of wrong
            digits that are well above it are pushed up no further.

    Example:
        >>> sum(parameter.numel() for parameter in LeNet5Original().parameters())
        60000
    """

    stage_names = ("c1", "s2", "c3", "s4", "c5")
    head_names = ("f6",)  # the codes of the ten digits above it are fixed
    rubbish_penalty: float = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 10
        self.squash = ScaledTanh()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseConvolution(TABLE_I)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis()
        for layer, fan_in in ((self.c1, 25), (self.c5, 400), (self.f6, 120)):
            for parameter in layer.parameters():
                _initialise(parameter, fan_in)

    def _subsampled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        s2 = self.squash(self.s2(self.squash(self.c1(images))))
        return s2, self.squash(self.s4(self.squash(self.c3(s2))))

    def forward(self, images: Tensor) -> Outputs:
        """``logits`` (B, 10), the negative penalties -y, of images (B, 1, H, W) with H, W >= 32."""
        _, s4 = self._subsampled(images)
        c5 = self.squash(self.c5(s4)).mean((2, 3))  # (B, 120)
        f6 = self.squash(self.f6(c5))  # (B, 84)
        return {"logits": -self.output(f6)}

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Maximum a posteriori criterion, equation 9: y_D + log(exp(-j) + sum_i exp(-y_i)), mean over the batch.

        That is cross entropy with an eleventh class of constant penalty j which is never the ground truth.
        """
        rubbish = torch.full_like(logits[:, :1], -self.rubbish_penalty)
        if labels.is_floating_point():
            labels = F.pad(labels, (0, 1))
        return F.cross_entropy(torch.cat((logits, rubbish), dim=1), labels)


@register_model("classification", PAPER)
def lenet5(num_classes: int = 10, weights: str | None = None) -> LeNet5:
    """LeNet-5 in its modern form; 61,706 parameters, 416,520 multiply-adds at 32 x 32.

    Example:
        >>> lenet5()(torch.zeros(1, 1, 32, 32))["logits"].shape
        torch.Size([1, 10])
    """
    return LeNet5(num_classes)


@register_model("classification", PAPER)
def lenet5_1998(num_classes: int = 10, weights: str | None = None) -> LeNet5Original:
    """LeNet-5 of 1998; 60,000 trainable parameters.

    Raises:
        ConfigError: If ``num_classes`` is not 10: the fixed codes are images of the ten digits.

    Example:
        >>> lenet5_1998()(torch.zeros(1, 1, 32, 32))["logits"].shape
        torch.Size([1, 10])
    """
    if num_classes != 10:
        raise ConfigError(
            f"lenet5_1998 has no {num_classes} classes: its output units are fixed images of the ten digits. "
            "Use 'lenet5', whose output is trained."
        )
    return LeNet5Original()
