"""Input specification of a network: size rule, normalisation, channel order; one record for training and export."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any, Literal, get_args

from saccade.errors import ConfigError, did_you_mean

__all__ = ["MAX_PIXELS", "MAX_SIDE", "InputSpec"]

MAX_SIDE = 16_384
# Of a canvas: more than any network is made for, and still a few gigabytes in its first layers.
MAX_PIXELS = 1 << 25

ResizeRule = Literal["letterbox", "stretch", "center_crop", "shorter_side", "multiple", "none", "rectangle"]


@dataclass(frozen=True)
class InputSpec:
    """Input specification: how an image of any size becomes the network's input.

    Args:
        size: Canvas (height, width) in pixels at which the network is trained and evaluated by default.
        channels: 3 for colour, 1 for grey; images are converted on reading.
        resize: ``letterbox`` keeps the aspect and pads; ``stretch`` does not; ``center_crop`` resizes the shorter side
            to ``size / crop_fraction`` and crops. The canvas of these is ``size``; that of the others follows the
            image: ``shorter_side`` keeps the aspect and makes the shorter side the smaller number of ``size``, or the
            longer side the larger one if it would exceed it (torchvision's detectors: (800, 1333)), then pads to
            ``pad_multiple``; ``rectangle`` resizes as ``letterbox`` and pads to ``pad_multiple`` only; ``multiple``
            stretches each side to the nearest multiple of ``pad_multiple``; ``none`` keeps the pixels and pads to
            ``pad_multiple``.
        align: Where an image sits on a canvas that it does not fill.
        pad_value: Grey value 0..255 of the padding.
        pad_multiple: Height and width of the canvas are multiples of this.
        mean: Subtracted per channel, in units of 0..255.
        std: Divided by per channel, in units of 0..255.
        channel_order: ``rgb`` or ``bgr`` (what the *network* sees; images are RGB everywhere else).
        crop_fraction: Share of the shorter side that ``center_crop`` keeps (0.875 on ImageNet).
        object_crops: Of networks that find one object: objects are cut out by their boxes, so many times as large, at
            the aspect of ``size``, before anything else happens (top-down); 0: the network sees whole images.
        fixed: The network takes ``size`` only, because fully connected layers are made for it.

    Raises:
        ConfigError: If the rule is unknown, or there are not as many means and deviations as channels.

    Example:
        >>> spec = InputSpec((416, 416), resize="letterbox", pad_multiple=32)
        >>> spec.with_size((500, 700)).size
        (512, 704)
    """

    size: tuple[int, int]
    channels: int = 3
    resize: ResizeRule = "stretch"
    align: Literal["center", "top_left"] = "center"
    pad_value: int = 114
    pad_multiple: int = 1
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (255.0, 255.0, 255.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    crop_fraction: float = 0.875
    fixed: bool = False
    object_crops: float = 0.0

    def __post_init__(self) -> None:
        if self.resize not in get_args(ResizeRule):
            raise ConfigError(
                f"input_spec.resize is '{self.resize}'.{did_you_mean(str(self.resize), get_args(ResizeRule))}"
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ConfigError(
                f"input_spec.mean and .std need {self.channels} values each, got {self.mean} and {self.std}."
            )

    def with_size(self, size: tuple[int, int]) -> InputSpec:
        """Copy the rules for another canvas (height, width), rounded up to ``pad_multiple``.

        The limits of ``shorter_side`` are no canvas and stay as they are.

        Raises:
            ConfigError: If the network is ``fixed`` to another size, or a side is no whole number above 0 or beyond all
                networks.
        """
        sides: tuple[Any, ...] = tuple(size)  # a configuration may hold anything
        if len(sides) != 2 or not all(isinstance(side, Integral) and 0 < int(side) <= MAX_SIDE for side in sides):
            raise ConfigError(f"a canvas has a height and a width of 1 to {MAX_SIDE:,} pixels; got {str(size)[:60]}.")
        if size[0] * size[1] > MAX_PIXELS:
            raise ConfigError(f"a canvas of {_by(size)} pixels is more than {MAX_PIXELS:,} in all. Use tiles instead.")
        sized = replace(self, size=size)
        sized = sized if self.resize == "shorter_side" else replace(sized, size=sized.canvas)
        if self.fixed and sized.size != self.size:
            raise ConfigError(
                f"this network takes images of {_by(self.size)} pixels (height x width) only, and {_by(sized.size)} "
                "was asked for. Leave out sizes, scales and multi-scale training, or choose a network that takes any "
                "size."
            )
        return sized

    @property
    def canvas(self) -> tuple[int, int]:
        """``size`` rounded up to ``pad_multiple``: canvas of joined and cropped images, whatever the rule."""
        height, width = (-(-side // self.pad_multiple) * self.pad_multiple for side in self.size)
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """Build from the values of :meth:`to_dict`; unknown keys are errors.

        Raises:
            ConfigError: If a key is unknown.
        """
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f"input_spec has no field '{key}'.{did_you_mean(key, known)}")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
