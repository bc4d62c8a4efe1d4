r"""YOLOv1: You Only Look Once: Unified, Real-Time Object Detection.

Joseph Redmon, Santosh Divvala, Ross Girshick, Ali Farhadi, CVPR 2016, arXiv 1506.02640.

Detection as one regression: a network of convolutions looks at the whole image, and fully connected layers predict
everything at once. The canvas is divided into 7 x 7 grid cells. Each predicts two boxes with a confidence, and one set
of class probabilities for the object whose centre lies in it.

    images (B, 3, 448, 448), RGB -1..1
      |  24 convolutions, pooling between them (figure 3)      1024 x 7 x 7
      |  fully connected 512, 4096, dropout, then              7 x 7 x (2 x 5 + classes)
      |  a cell: classes (C) --- confidence of 2 boxes (2) --- boxes (2 x 4: x, y, sqrt w, sqrt h)

    fast: 9 convolutions 16 .. 1024, pooling before each but the first and the last two; fully connected 256, 4096

Limits, which the paper names (section 2.4): a cell has one object of one class, so that of two objects whose centres
lie in one cell one is lost, whatever is trained. Crowds of small objects are its weakness: ``assignable`` tells which
objects of an image can have a cell at all. The fully connected layers are made for one size of the canvas.

Differences from the paper: figure 3 has one hidden layer of 4096 units, which are three quarters of 271.7 M parameters
(``hidden=(4096,)`` builds it). This is the public small configuration of the authors, where a layer of 512 units comes
before it; in that of the fast network it has 256 units and no activation. In both, a network predicts square roots of
sides instead of sides. Outputs start around 0.5, the middle of their range. Today's ``yolov1.cfg`` has a locally
connected layer and three boxes a cell, and ``yolov1-tiny.cfg`` eight convolutions with BatchNorm: both are read by the
reader of Darknet's configurations.

Published weights: those of ``yolo-small.cfg`` (https://pjreddie.com/darknet/yolov1); layers are in the order of the
file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from saccade.blocks.conv_norm_act import ConvNormAct
from saccade.errors import ConfigError
from saccade.models.classification.darknet53 import LEAKY
from saccade.models.detection.yolo_grid import GridYOLO
from saccade.models.detection.yolov1_loss import Grid
from saccade.models.registry import register_model
from saccade.structures.input_spec import InputSpec

__all__ = ["YOLOv1", "yolov1", "yolov1_fast"]

_PAPER = "Redmon et al., CVPR 2016, arXiv 1506.02640"
_STRIDE = 64  # pixels a grid cell
_BOXES = 2  # a cell

# Convolutions of each stage: channels, side of the kernel, stride. Between stages is pooling.
_FULL: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((64, 7, 2),),
    ((192, 3, 1),),
    ((128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1)),
    (*((256, 1, 1), (512, 3, 1)) * 4, (512, 1, 1), (1024, 3, 1)),
    (*((512, 1, 1), (1024, 3, 1)) * 2, (1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1)),
)
_FAST: tuple[tuple[tuple[int, int, int], ...], ...] = (
    *(((width, 3, 1),) for width in (16, 32, 64, 128, 256, 512)),
    ((1024, 3, 1), (1024, 3, 1), (1024, 3, 1)),
)


class YOLOv1(GridYOLO):
    """YOLOv1 of either form.

    Args:
        num_classes: Classes without background.
        stages: Channels, side of the kernel and stride of the convolutions of each stage; pooling between stages.
        hidden: Makes the hidden fully connected layers from the number of their inputs, and tells that of their
            outputs.
        size: Canvas, the side of a square or (height, width), pixels, multiples of 64; the network takes no other.
        batch_norm: With BatchNorm behind each convolution, which came with YOLOv2.

    Raises:
        ConfigError: If a side is no multiple of 64.

    Example:
        >>> model = saccade.create_model("yolov1_fast", num_classes=3, size=(128, 192), hidden=(16,)).eval()
        >>> outputs = model(torch.zeros(1, 3, 128, 192))
        >>> {name: tuple(value.shape) for name, value in outputs.items()}
        {'classes': (1, 6, 3), 'confidence': (1, 6, 2), 'boxes': (1, 6, 2, 4)}
        >>> model.decode(outputs)["boxes"].shape
        torch.Size([1, 12, 4])
    """

    feature_strides = (_STRIDE,)
    neck_names = ("hidden",)
    head_names = ("head",)

    def __init__(
        self,
        num_classes: int,
        stages: Sequence[Sequence[tuple[int, int, int]]],
        hidden: Callable[[int], tuple[nn.Sequential, int]],
        size: int | Sequence[int] = 448,
        batch_norm: bool = False,
    ) -> None:
        grid = _grid(size)
        super().__init__(num_classes, grid, _BOXES)
        self.input_spec = InputSpec((grid.height, grid.width), mean=(127.5,) * 3, std=(127.5,) * 3, fixed=True)
        parts: list[nn.Module] = []
        channels = 3
        for number, stage in enumerate(stages):
            layers: list[nn.Module] = [nn.MaxPool2d(2, 2)] if number else []
            for out_channels, kernel, stride in stage:
                layers.append(_convolution(channels, out_channels, kernel, stride, batch_norm))
                channels = out_channels
            parts.append(nn.Sequential(*layers))
        self.trunk = nn.Sequential(*parts)
        self.feature_channels = (channels,)
        self.stage_names = tuple(f"trunk.{number}" for number in range(len(parts)))
        self.hidden, width = hidden(channels * self.cells)
        self.head = nn.Linear(width, self.cells * (num_classes + 5 * _BOXES))
        self.class_rows = {"head.weight": self.head_rows, "head.bias": self.head_rows}
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.3 / self.head.in_features**0.5)
        nn.init.constant_(self.head.bias, 0.5)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature map of stride 64 before the fully connected layers."""
        return [self.trunk(images)]

    def raw_outputs(self, images: Tensor) -> Tensor:
        """Outputs of the last layer, (B, cells x (classes + 10))."""
        raw: Tensor = self.head(self.hidden(self.trunk(images).flatten(1)))
        return raw

    def grid_of(self, size: tuple[int, int]) -> Grid:
        """Cells of the network that is made for another canvas (height, width); one at its end may be narrower."""
        rows, columns = (-(-side // _STRIDE) for side in size)
        return Grid(rows, columns, rows * _STRIDE, columns * _STRIDE)


def _grid(size: int | Sequence[int]) -> Grid:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 and side % _STRIDE == 0 for side in sides):
        raise ConfigError(
            f"size is {size!r}; YOLOv1 needs a side, or (height, width), in pixels that are multiples of {_STRIDE}, "
            f"since each of its grid cells has {_STRIDE}: 448 makes 7 x 7."
        )
    height, width = sides
    return Grid(height // _STRIDE, width // _STRIDE, height, width)


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int, batch_norm: bool) -> nn.Module:
    if batch_norm:
        return ConvNormAct(in_channels, out_channels, kernel, stride, activation=LEAKY)
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2), LEAKY())


def _connected(
    inputs: int, widths: Sequence[int], dropout: float, first_is_linear: bool = False
) -> tuple[nn.Sequential, int]:
    """Fully connected layers of these widths and dropout behind the last; and the last width."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers.append(nn.Linear(inputs, width))
        if number or not first_is_linear:
            layers.append(LEAKY())
        inputs = width
    return nn.Sequential(*layers, nn.Dropout(dropout)), inputs


@register_model(task="detection", paper=_PAPER)
def yolov1(
    num_classes: int = 20,
    size: int | tuple[int, int] = 448,
    hidden: tuple[int, ...] = (512, 4096),
    batch_norm: bool = False,
    dropout: float = 0.5,
    weights: str | None = None,
) -> YOLOv1:
    """YOLOv1: 24 convolutions, 448 pixels; 94.0 M parameters.

    Args:
        num_classes: Classes without background.
        size: Side of the square canvas, or (height, width), pixels; multiples of 64, each of which is a grid cell.
        hidden: Units of the fully connected layers before the last; ``(4096,)`` is the network of figure 3.
        batch_norm: With BatchNorm behind each convolution, which training from scratch needs on small data.
        dropout: Share of units that are dropped before the last layer (section 2.2).
        weights: As everywhere.

    Example:
        >>> with torch.device("meta"):
        ...     paper = yolov1(hidden=(4096,))
        >>> sum(parameter.numel() for parameter in paper.parameters())
        271703550
    """
    return YOLOv1(num_classes, _FULL, partial(_connected, widths=hidden, dropout=dropout), size, batch_norm)


@register_model(task="detection", paper=_PAPER)
def yolov1_fast(
    num_classes: int = 20,
    size: int | tuple[int, int] = 448,
    hidden: tuple[int, ...] = (256, 4096),
    batch_norm: bool = False,
    dropout: float = 0.5,
    weights: str | None = None,
) -> YOLOv1:
    """Fast YOLOv1: 9 convolutions, 448 pixels; 45.1 M parameters.

    Args:
        num_classes: Classes without background.
        size: As in :func:`yolov1`.
        hidden: As in :func:`yolov1`; of several, the first has no activation, as in the authors' configuration.
        batch_norm: As in :func:`yolov1`.
        dropout: As in :func:`yolov1`.
        weights: As everywhere.

    Example:
        >>> model = yolov1_fast(num_classes=3, size=(256, 320), hidden=(64,), batch_norm=True)
        >>> model.grid.rows, model.grid.columns, model.head.out_features
        (4, 5, 260)
    """
    connected = partial(_connected, widths=hidden, dropout=dropout, first_is_linear=len(hidden) > 1)
    return YOLOv1(num_classes, _FAST, connected, size, batch_norm)
