"""From the sections of a ``.cfg`` to layers that are connected, with the shape of every output.

Shapes and numbers of weights are computed, and bounded, before a layer is made: a file of a stranger asks for no more
memory than networks have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from saccade.models.darknet.activations import ACTIVATIONS
from saccade.models.darknet.cfg import Section
from saccade.models.darknet.layers import (
    AveragePool,
    Connected,
    Convolution,
    Crop,
    Keep,
    Local,
    MaxPool,
    Multiply,
    Reorg,
    Route,
    Shortcut,
    Upsample,
)
from saccade.ops.conv_arithmetic import conv_output_size, pool_output_size
from saccade.structures.input_spec import MAX_PIXELS

__all__ = ["DarknetBody", "Layer", "Shape", "build_body", "canvas_of"]

_MAX_WEIGHTS = 1 << 29  # of all layers; YOLOv4-P7 has 0.3 x 2^30
_MAX_OUTPUTS = 1 << 28  # of one layer and image
_PREDICTIONS = ("yolo", "region", "detection", "softmax", "cost")


class Shape(NamedTuple):
    """Channels, height and width of an output."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Numbers of an image."""
        return self.channels * self.height * self.width


@dataclass(frozen=True)
class Layer:
    """A layer of the file.

    Args:
        section: Its section.
        sources: Numbers of the layers that it takes besides the one before it.
        input: Shape of the output before it.
        output: Shape of its own.
    """

    section: Section
    sources: tuple[int, ...]
    input: Shape
    output: Shape


class DarknetBody(nn.Module):
    """All layers of a ``.cfg``, numbered as there.

    Args:
        modules: One a layer.
        layers: What is known of each.
    """

    def __init__(self, modules: Sequence[nn.Module], layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)
        self.sources = tuple(layer.sources for layer in layers)
        self.named = frozenset(source for sources in self.sources for source in sources)

    def forward(self, images: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """Outputs of some layers.

        Args:
            images: (B, C, H, W).
            wanted: Their numbers, rising.
        """
        kept: dict[int, Tensor] = {}
        x = images
        for number, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            x = layer(x, *[kept[source] for source in sources])
            if number in self.named or number in wanted:
                kept[number] = x
            if number == wanted[-1]:
                break
        return [kept[number] for number in wanted]


def canvas_of(net: Section) -> Shape:
    """Channels, height and width of the images that a ``[net]`` section asks for.

    Raises:
        ConfigError: If they are missing, or larger than images are.
    """
    for key in ("width", "height"):
        if key not in net:
            raise net.fault(f"has no {key}. Give that of the images: {key}=416.")
    shape = Shape(net.whole("channels", 3, 1, 64), net.whole("height", 0, 1), net.whole("width", 0, 1))
    if shape.height * shape.width > MAX_PIXELS:
        raise net.fault(f"asks for images of {shape.height} x {shape.width} pixels, more than {MAX_PIXELS:,} in all.")
    return shape


def build_body(sections: Sequence[Section]) -> tuple[DarknetBody, tuple[Layer, ...]]:
    """Layers of a ``.cfg``, and what is known of each.

    Args:
        sections: Of :func:`saccade.models.darknet.cfg.parse_cfg`.

    Raises:
        ConfigError: If a value is none, a layer takes one that is not before it, shapes do not fit, or it asks for far
            more than networks have.
    """
    builder = _Builder(canvas_of(sections[0]))
    for section in sections[1:]:
        builder.add(section)
    return DarknetBody(builder.modules, builder.layers), tuple(builder.layers)


class _Builder:
    """Adds layer by layer; ``before`` is the shape of the output so far."""

    def __init__(self, canvas: Shape) -> None:
        self.before = canvas
        self.layers: list[Layer] = []
        self.modules: list[nn.Module] = []
        self.weights = 0

    def add(self, section: Section) -> None:
        kinds: dict[str, Callable[[Section], tuple[nn.Module, Shape, tuple[int, ...]]]] = {
            "convolutional": self._convolutional,
            "maxpool": self._maxpool,
            "route": self._route,
            "shortcut": self._shortcut,
            "reorg": self._reorg,
            "reorg3d": self._reorg,
            "upsample": self._upsample,
            "avgpool": self._avgpool,
            "connected": self._connected,
            "local": self._local,
            "dropout": self._dropout,
            "scale_channels": self._multiply,
            "sam": self._multiply,
            "crop": self._crop,
        }
        _refuse(section, "dontload", "dontloadscales", "numload")  # the file would hold other numbers
        make = self._keep if section.kind in _PREDICTIONS else kinds[section.kind]
        module, shape, sources = make(section)
        self.modules.append(module)
        self.layers.append(Layer(section, sources, self.before, shape))
        self.before = shape

    def _claim(self, section: Section, shape: Shape, weights: int = 0) -> Shape:
        """Refuse a layer without output, or that asks for far more than any has, before it is made."""
        if min(shape) < 1:
            raise section.fault(
                f"has no output: its input is {_by(self.before)} (channels, height, width), its output would be "
                f"{_by(shape)}."
            )
        self.weights += weights
        for count, most, what in (
            (shape.size, _MAX_OUTPUTS, "outputs an image"),
            (self.weights, _MAX_WEIGHTS, "weights with the layers before it"),
        ):
            if count > most:
                raise section.fault(f"asks for {count:,} {what}, more than the {most:,} that networks have.")
        return shape

    def _keep(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        return Keep(), self.before, ()

    def _convolutional(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        _refuse(section, "binary", "xnor", "antialiasing", "share_index", "flipped", "assisted_excitation")
        _refuse(section, "sway", "rotate", "stretch", "stretch_sway")
        channels = self.before.channels
        filters, size = section.whole("filters", 1, 1), section.whole("size", 1, 1, 1_024)
        stride, groups = _strides(section), section.whole("groups", 1, 1)
        dilation = section.whole("dilation", 1, 1, 1_024)
        pad = size // 2 if section.whole("pad", 0, 0, 1) else section.whole("padding", 0, 0, 1_024)
        if channels % groups or filters % groups:
            raise section.fault(f"groups={groups} divide neither its {channels} input channels nor its filters evenly.")
        height, width = (
            conv_output_size(side, size, step, pad * dilation, dilation)
            for side, step in zip(self.before[1:], stride, strict=True)
        )
        # Over several iterations or over one (cbn): the same once it is trained.
        normalized = bool(section.whole("batch_normalize", 0, 0, 1) or section.whole("cbn", 0, 0, 1))
        weights = filters * (channels // groups * size * size + (4 if normalized else 1))
        shape = self._claim(section, Shape(filters, height, width), weights)
        conv = nn.Conv2d(channels, filters, size, stride, pad * dilation, dilation, groups=groups, bias=not normalized)
        return Convolution(conv, normalized, _activation(section, "logistic")), shape, ()

    def _connected(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        outputs = section.whole("output", 1, 1, 1 << 20)
        normalized = bool(section.whole("batch_normalize", 0, 0, 1))
        inputs = self.before.size
        shape = self._claim(section, Shape(outputs, 1, 1), outputs * (inputs + (4 if normalized else 1)))
        return Connected(inputs, outputs, normalized, _activation(section, "logistic")), shape, ()

    def _local(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        filters, size = section.whole("filters", 1, 1), section.whole("size", 1, 1, 1_024)
        stride, pad = section.whole("stride", 1, 1), section.whole("pad", 0, 0, 1)
        # Darknet counts outputs as if every padded kernel were 3x3.
        if pad and size != 3:
            raise section.fault(
                f"size={size} with pad=1; Darknet pads locally connected layers of size=3 only.", "size"
            )
        height, width = (conv_output_size(side, size, stride, pad) for side in self.before[1:])
        count = filters * height * width
        shape = self._claim(section, Shape(filters, height, width), count * (self.before.channels * size * size + 1))
        layer = Local(
            self.before.channels, filters, size, stride, pad, (height, width), _activation(section, "logistic")
        )
        return layer, shape, ()

    def _maxpool(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        _refuse(section, "maxpool_depth", "antialiasing")
        stride = _strides(section)
        size = section.whole("size", section.whole("stride", 1, 1), 1, 1_024)
        padding = section.whole("padding", size - 1, 0, 1_024)
        if padding - padding // 2 >= size:
            raise section.fault(f"padding={padding} is more than its windows of {size} reach; give up to {size - 1}.")
        height, width = (
            pool_output_size(side + padding, size, step) for side, step in zip(self.before[1:], stride, strict=True)
        )
        shape = self._claim(section, Shape(self.before.channels, height, width))
        return MaxPool(size, stride, padding), shape, ()

    def _avgpool(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        return AveragePool(), Shape(self.before.channels, 1, 1), ()

    def _upsample(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        stride = section.whole("stride", 2, 1, 1_024)
        channels, height, width = self.before
        shape = self._claim(section, Shape(channels, stride * height, stride * width))
        return Upsample(stride, section.real("scale", 1.0)), shape, ()

    def _dropout(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        return nn.Dropout(section.real("probability", 0.5, 0.0, 1.0)), self.before, ()

    def _reorg(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        _refuse(section, "flatten", "extra")
        stride, reverse = section.whole("stride", 1, 1, 1_024), bool(section.whole("reverse", 0, 0, 1))
        plain = section.kind == "reorg3d"
        if plain and reverse:
            raise section.fault("reverse=1 is read in [reorg] only.", "reverse")
        channels, height, width = self.before
        area = stride * stride
        if (reverse or not plain) and channels % area:
            raise section.fault(f"stride={stride} needs a multiple of {area} channels; its input has {channels}.")
        if not reverse and (height % stride or width % stride):
            raise section.fault(f"stride={stride} does not divide its input of {height} x {width} evenly.")
        if reverse:
            shape = Shape(channels // area, height * stride, width * stride)
        else:
            shape = Shape(channels * area, height // stride, width // stride)
        return Reorg(stride, plain, reverse), self._claim(section, shape), ()

    def _route(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        sources = self._sources(section, "layers")
        groups = section.whole("groups", 1, 1)
        group = section.whole("group_id", 0, 0, groups - 1)
        shapes = [self.layers[source].output for source in sources]
        for source, shape in zip(sources, shapes, strict=True):
            if shape.channels % groups:
                raise section.fault(f"groups={groups} do not divide the {shape.channels} channels of layer {source}.")
            if shape[1:] != shapes[0][1:]:
                raise section.fault(
                    f"joins maps of unequal size: layer {sources[0]} has {_by(shapes[0])} (channels, height, width), "
                    f"layer {source} has {_by(shape)}.",
                    "layers",
                )
        channels = sum(shape.channels // groups for shape in shapes)
        return Route(groups, group), self._claim(section, Shape(channels, *shapes[0][1:])), sources

    def _shortcut(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        sources = self._sources(section, "from")
        kind = section.word("weights_type", "none", ("none", "per_feature", "per_layer", "per_channel"))
        norm = section.word("weights_normalization", "none", ("none", "relu", "avg_relu", "softmax"))
        for source in sources:
            other = self.layers[source].output
            steps = {max(pair) // min(pair) for pair in zip(self.before[1:], other[1:], strict=True)}
            if len(steps) > 1 or (self.before.height - other.height) * (self.before.width - other.width) < 0:
                raise section.fault(
                    f"adds layer {source} of {_by(other)} (channels, height, width) to {_by(self.before)}; both sides "
                    "of one must be the same multiple of the other's.",
                    "from",
                )
        channels = self.before.channels
        each = {"none": 0, "per_channel": channels}.get(kind, 1)
        self._claim(section, self.before, each * (len(sources) + 1))
        layer = Shortcut(
            channels,
            len(sources),
            "none" if kind == "none" else "per_channel" if kind == "per_channel" else "per_feature",
            "none" if kind == "none" or norm == "none" else "softmax" if norm == "softmax" else "relu",
            _activation(section, "linear"),
        )
        return layer, self.before, sources

    def _multiply(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        sources = self._sources(section, "from")
        if len(sources) != 1:
            raise section.fault(f"from names {len(sources)} layers; it takes one.", "from")
        shape = self.layers[sources[0]].output
        wanted = shape
        if section.kind == "scale_channels":
            by_pixel = section.whole("scale_wh", 0, 0, 1)
            wanted = Shape(1, *shape[1:]) if by_pixel else Shape(shape.channels, 1, 1)
        if self.before != wanted:
            raise section.fault(
                f"multiplies layer {sources[0]} of {_by(shape)} by {_by(self.before)}; it needs {_by(wanted)}."
            )
        return Multiply(_activation(section, "linear")), shape, sources

    def _crop(self, section: Section) -> tuple[nn.Module, Shape, tuple[int, ...]]:
        channels, height, width = self.before
        shape = Shape(channels, section.whole("crop_height", 1, 1, height), section.whole("crop_width", 1, 1, width))
        return Crop(shape[1:], rescaled=not section.whole("noadjust", 0, 0, 1)), shape, ()

    def _sources(self, section: Section, key: str) -> tuple[int, ...]:
        """Layers that are named, by numbers from the first or, below 0, back from this one."""
        here = len(self.layers)
        named = section.wholes(key)
        if not named:
            raise section.fault(f"names no layers. Give {key}=-1, or further ones with commas between them.")
        sources = []
        for number in named:
            source = number if number >= 0 else here + number
            if not 0 <= source < here:
                raise section.fault(
                    f"{key} names layer {number}, which is not before this one (layer {here}); a layer takes the "
                    "outputs of earlier ones only.",
                    key,
                )
            sources.append(source)
        return tuple(sources)


def _strides(section: Section) -> tuple[int, int]:
    """Steps down and to the right."""
    stride = section.whole("stride", 1, 1, 1_024)
    return section.whole("stride_y", stride, 1, 1_024), section.whole("stride_x", stride, 1, 1_024)


def _activation(section: Section, default: str) -> str:
    return section.word("activation", default, ACTIVATIONS)


def _refuse(section: Section, *keys: str) -> None:
    for key in keys:
        if section.whole(key, 0):
            raise section.fault(f"{key}={section.values[key][0]} is not read; networks without it are.", key)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
